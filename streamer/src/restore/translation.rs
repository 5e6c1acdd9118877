//! Which offsets at the target stand for offsets of the backup. Pure.
//!
//! For each source partition the plan wants some offsets translated. The first record written at or after one of them stands for
//! it; an offset that no record follows stands for the end behind the last record. Both are known once the records of a
//! transaction were acknowledged, and travel with the progress in that very transaction:
//!
//! ```text
//! send ─▶ Crossing: record number n of the transaction stands for W ─▶ account: number 0 is at x ─▶ W is at x + n
//! ```
//!
//! Invariants: a translation is committed with the record that it speaks of; it is never above the first record at or after the
//! wanted offset, so that a group which goes on there misses none.

use std::collections::BTreeMap;

use strimzi_backup_format::ids::{Offset, PartitionKey};

use crate::kafka::Written;

/// Offsets that are translated in one partition at most: what is committed with an offset has 4,096 bytes, and 256 translations
/// take up to 3,700 of them.
pub const MOST_OFFSETS: usize = 256;

/// An offset at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The offset.
    pub offset: Offset,
    /// Whether nothing lies between it and the record that it stands for. Otherwise it is below that by a few records,
    /// since the target did not tell where each record is.
    pub is_exact: bool,
}

impl Place {
    const fn exact(offset: Offset) -> Self {
        Self { offset, is_exact: true }
    }
}

/// What is known of the translations of one source partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Translated {
    /// For the lowest wanted offsets, in their order.
    pub found: Vec<Place>,
    /// The end behind the last record written; absent before the first. Kept up while an offset is not found.
    pub end: Option<Place>,
}

/// What is known of the translations of every partition that has some.
pub type Translations = BTreeMap<PartitionKey, Translated>;

impl Translated {
    /// The place of the wanted offset of this number once everything is written; `start` is where the partition ended before.
    pub fn place(&self, number: usize, start: Offset) -> Place {
        self.found.get(number).copied().or(self.end).unwrap_or(Place::exact(start))
    }

    /// As it is committed: the end, and the differences of the others from one to the next, in base 36; `~` marks what is
    /// not exact.
    pub fn encode(&self, into: &mut String) {
        if let Some(end) = self.end {
            put(into, end, 0);
        }
        into.push(':');
        let mut before = 0;
        for (number, place) in self.found.iter().enumerate() {
            if number > 0 {
                into.push(',');
            }
            put(into, *place, before);
            before = place.offset.get();
        }
    }

    /// Reads what [`Translated::encode`] wrote; `None` for anything else.
    pub fn decode(end: &str, found: &str) -> Option<Self> {
        let end = if end.is_empty() { None } else { Some(take(end, 0)?) };
        let mut places: Vec<Place> = Vec::new();
        for text in found.split(',').filter(|_| !found.is_empty()) {
            let before = places.last().map_or(0, |place| place.offset.get());
            places.push(take(text, before)?);
        }
        (places.len() <= MOST_OFFSETS).then_some(Self { found: places, end })
    }
}

fn put(into: &mut String, place: Place, before: i64) {
    if !place.is_exact {
        into.push('~');
    }
    let mut rest = place.offset.get().saturating_sub(before).max(0).unsigned_abs();
    let mut digits = Vec::new();
    loop {
        let digit = u32::try_from(rest % 36).unwrap_or(0);
        digits.push(char::from_digit(digit, 36).unwrap_or('0'));
        rest /= 36;
        if rest == 0 {
            break;
        }
    }
    into.extend(digits.iter().rev());
}

fn take(text: &str, before: i64) -> Option<Place> {
    let (is_exact, digits) = text.strip_prefix('~').map_or((true, text), |digits| (false, digits));
    let is_digit = |byte: u8| byte.is_ascii_digit() || byte.is_ascii_lowercase();
    if digits.is_empty() || !digits.bytes().all(is_digit) {
        return None;
    }
    let offset = i64::from_str_radix(digits, 36).ok()?.checked_add(before)?;
    Some(Place { offset: Offset::new(offset), is_exact })
}

/// The target did not tell where each record of a transaction is. Written again, it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untold;

/// Finds the translations of one source partition, transaction by transaction.
#[derive(Debug)]
pub struct Crossing {
    /// The wanted offsets, in order.
    wanted: Vec<Offset>,
    translated: Translated,
    /// Where the partition ended before the first record.
    start: Offset,
    /// Records of the partition in the open transaction.
    sent: u64,
    /// The numbers of those in it that wanted offsets stand for: the first is for the first that is not found.
    crossed: Vec<u64>,
}

impl Crossing {
    /// Goes on with what is found; `start` is where the partition at the target ended before the restore.
    pub fn new(wanted: Vec<Offset>, translated: Translated, start: Offset) -> Self {
        Self { wanted, translated, start, sent: 0, crossed: Vec::new() }
    }

    /// A record was sent.
    pub fn sent(&mut self, offset: Offset) {
        while self.next_wanted().is_some_and(|wanted| offset >= wanted) {
            self.crossed.push(self.sent);
        }
        self.sent += 1;
    }

    fn next_wanted(&self) -> Option<Offset> {
        self.wanted.get(self.translated.found.len() + self.crossed.len()).copied()
    }

    /// Whether it must be known where the records of the open transaction are before it is committed.
    pub fn needs_account(&self) -> bool {
        self.sent > 0 && self.translated.found.len() < self.wanted.len()
    }

    /// Takes the account of the open transaction, all of whose records were acknowledged; the next one begins. Where it does
    /// not tell enough, `is_last_try` takes an offset that is certainly not too high.
    ///
    /// # Errors
    /// [`Untold`], unless it is the last try.
    pub fn settle(&mut self, written: Option<Written>, is_last_try: bool) -> Result<(), Untold> {
        if self.needs_account() {
            let is_told = written.is_some_and(|written| written.is_contiguous() && written.count == self.sent);
            if !is_told && !is_last_try {
                return Err(Untold);
            }
            let offsets = written.and_then(|written| written.offsets);
            // Records lie in the order in which they were sent, so number n is not below the first and n more.
            let first = offsets.map_or_else(|| self.end(), |(first, _)| first);
            let at = |number: u64| Place {
                offset: Offset::new(first.get().saturating_add(i64::try_from(number).unwrap_or(i64::MAX))),
                is_exact: is_told || (number == 0 && offsets.is_some()),
            };
            self.translated.found.extend(self.crossed.iter().map(|number| at(*number)));
            let end = offsets.map(|(_, last)| Place::exact(last.next()));
            self.translated.end = Some(end.unwrap_or_else(|| Place { is_exact: false, ..at(self.sent) }));
        }
        self.sent = 0;
        self.crossed.clear();
        Ok(())
    }

    /// No record of the open transaction is below it.
    fn end(&self) -> Offset {
        self.translated.end.map_or(self.start, |end| end.offset)
    }

    /// What is found.
    pub const fn translated(&self) -> &Translated {
        &self.translated
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn offsets(numbers: &[i64]) -> Vec<Offset> {
        numbers.iter().copied().map(Offset::new).collect()
    }

    fn crossing(wanted: &[i64]) -> Crossing {
        Crossing::new(offsets(wanted), Translated::default(), Offset::new(0))
    }

    /// One transaction of records at these source offsets, found from `first` on without anything between.
    fn transaction(crossing: &mut Crossing, sources: &[i64], first: i64) {
        sources.iter().for_each(|source| crossing.sent(Offset::new(*source)));
        let count = sources.len() as u64;
        let last = first + i64::try_from(count).expect("few") - 1;
        let offsets = (count > 0).then_some((Offset::new(first), Offset::new(last)));
        crossing.settle(offsets.map(|_| Written { offsets, count }), false).expect("told");
    }

    fn places(translated: &Translated, wanted: usize, start: i64) -> Vec<(i64, bool)> {
        let place = |number| translated.place(number, Offset::new(start));
        (0..wanted).map(place).map(|place| (place.offset.get(), place.is_exact)).collect()
    }

    #[test]
    fn a73_the_first_record_at_or_after_an_offset_stands_for_it() {
        let mut crossing = crossing(&[0, 10, 12, 13, 90, 91]);
        transaction(&mut crossing, &[5, 10, 11], 100);
        transaction(&mut crossing, &[14, 15], 104);
        transaction(&mut crossing, &[90], 107);
        let found = places(crossing.translated(), 6, 0);
        assert_eq!(found, [(100, true), (101, true), (104, true), (104, true), (107, true), (108, true)]);
    }

    #[test]
    fn a73_an_offset_that_no_record_follows_stands_for_the_end() {
        let mut crossing = crossing(&[90]);
        assert_eq!(places(crossing.translated(), 1, 7), [(7, true)], "nothing was written: where the partition ended");
        transaction(&mut crossing, &[1, 2], 50);
        transaction(&mut crossing, &[], 0);
        assert_eq!(places(crossing.translated(), 1, 7), [(52, true)]);
    }

    #[test]
    fn an_account_is_needed_only_while_an_offset_is_not_found() {
        let mut crossing = crossing(&[3]);
        assert!(!crossing.needs_account(), "nothing was sent");
        crossing.sent(Offset::new(1));
        assert!(crossing.needs_account(), "the record may be the last");
        let mut crossing = self::crossing(&[3]);
        transaction(&mut crossing, &[4], 10);
        crossing.sent(Offset::new(5));
        assert!(!crossing.needs_account());
        assert!(crossing.settle(None, false).is_ok());
    }

    #[test]
    fn a73_what_is_not_told_is_asked_for_again_and_then_taken_too_low_rather_than_too_high() {
        let written = |first, last, count| Written { offsets: Some((Offset::new(first), Offset::new(last))), count };
        let untold = Written { offsets: None, count: 3 };
        for (account, expected) in [
            (written(10, 15, 3), [(10, true), (12, false), (16, true)]),
            (untold, [(40, false), (42, false), (43, false)]),
        ] {
            let wanted = offsets(&[1, 3, 9]);
            let mut crossing = Crossing::new(wanted, Translated::default(), Offset::new(40));
            (1..=3).for_each(|source| crossing.sent(Offset::new(source)));
            assert_eq!(crossing.settle(Some(account), false), Err(Untold));
            assert_eq!(crossing.settle(Some(account), true), Ok(()));
            assert_eq!(places(crossing.translated(), 3, 40), expected);
        }
    }

    #[test]
    fn the_longest_translations_fit_beside_the_progress() {
        let step = i64::MAX / 257;
        let place = |number| Place { offset: Offset::new(step * number), is_exact: false };
        let found: Vec<Place> = (1..=256).map(place).collect();
        let longest = Translated { found, end: Some(Place { offset: Offset::new(i64::MAX), is_exact: false }) };
        let mut text = String::new();
        longest.encode(&mut text);
        assert!(text.len() <= 3700, "{} bytes", text.len());
        let (end, found) = text.split_once(':').expect("two parts");
        assert_eq!(Translated::decode(end, found), Some(longest));
    }

    #[test]
    fn what_no_restore_wrote_is_not_read() {
        for (end, found) in
            [("", "1,"), ("", ","), ("A", ""), ("-1", ""), ("", "+1"), ("~", ""), ("", "1.2"), ("zzzzzzzzzzzzzzz", "")]
        {
            assert_eq!(Translated::decode(end, found), None, "{end:?} {found:?}");
        }
        assert_eq!(Translated::decode("", ""), Some(Translated::default()));
    }

    /// Rising source offsets, with the target offset of each, some transactions apart.
    fn written() -> impl Strategy<Value = Vec<Vec<(i64, i64)>>> {
        let transaction = prop::collection::vec(1_i64..5, 0..6);
        (prop::collection::vec((transaction, 1_i64..4), 0..6), 0_i64..100).prop_map(|(transactions, first)| {
            let (mut source, mut target) = (0, first);
            let mut place = |steps: Vec<i64>, after: i64| {
                let records = steps.into_iter().map(|step| {
                    source += step;
                    target += 1;
                    (source, target - 1)
                });
                let records: Vec<(i64, i64)> = records.collect();
                target += after;
                records
            };
            transactions.into_iter().map(|(steps, after)| place(steps, after)).collect()
        })
    }

    proptest! {
        #[test]
        fn a73_translations_are_those_of_a_plain_search_wherever_a_restore_is_killed(
            transactions in written(),
            wanted in prop::collection::btree_set(0_i64..80, 1..20),
        ) {
            let wanted: Vec<i64> = wanted.into_iter().collect();
            let mut translated = Translated::default();
            for records in &transactions {
                // Each transaction goes on from what the one before has committed, as after a kill.
                let mut text = String::new();
                translated.encode(&mut text);
                let (end, found) = text.split_once(':').expect("two parts");
                prop_assert_eq!(Translated::decode(end, found), Some(translated.clone()));
                let mut crossing = Crossing::new(offsets(&wanted), translated, Offset::new(0));
                let sources: Vec<i64> = records.iter().map(|(source, _)| *source).collect();
                transaction(&mut crossing, &sources, records.first().map_or(0, |(_, target)| *target));
                translated = crossing.translated().clone();
            }
            let all: Vec<(i64, i64)> = transactions.into_iter().flatten().collect();
            let end = all.last().map_or(0, |(_, target)| target + 1);
            let search = |wanted: &i64| all.iter().find(|(source, _)| source >= wanted).map_or(end, |(_, target)| *target);
            let expected: Vec<(i64, bool)> = wanted.iter().map(|wanted| (search(wanted), true)).collect();
            prop_assert_eq!(places(&translated, wanted.len(), 0), expected);
        }

        #[test]
        fn translations_come_back_as_they_were_committed(
            steps in prop::collection::vec((0_i64..1 << 40, any::<bool>()), 0..256),
            end in prop::option::of((0_i64.., any::<bool>())),
        ) {
            let mut at = 0;
            let found = steps.into_iter().map(|(step, is_exact)| {
                at += step;
                Place { offset: Offset::new(at), is_exact }
            });
            let end = end.map(|(end, is_exact)| Place { offset: Offset::new(end), is_exact });
            let translated = Translated { found: found.collect(), end };
            let mut text = String::new();
            translated.encode(&mut text);
            prop_assert!(text.len() <= 3700);
            let (end, found) = text.split_once(':').expect("two parts");
            prop_assert_eq!(Translated::decode(end, found), Some(translated));
        }
    }
}
