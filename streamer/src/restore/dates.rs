//! Which timestamps a restore writes, as far as runs tell. Pure.
//!
//! Kafka's −1 stands for no timestamp, and every topic takes it. A run that begins with it does not say which timestamp is the
//! lowest after that.

use strimzi_backup_format::ids::TimestampMs;
use strimzi_backup_format::segment::slice::Wanted;

/// What a record without a timestamp has.
const NONE: TimestampMs = TimestampMs::new(-1);

/// The timestamps of some records that are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dates {
    /// No record has a lower one.
    pub(super) min: TimestampMs,
    /// No record has a higher one.
    pub(super) max: TimestampMs,
    /// The lowest that is known, but for −1; absent where none is.
    pub(super) lowest: Option<TimestampMs>,
    /// Whether there may be lower ones: a run has records without a timestamp and others.
    pub(super) may_be_lower: bool,
}

impl Dates {
    /// Those of the records of a run that are wanted and lie from `start` to `until`, inclusive.
    pub(super) fn of(wanted: &Wanted, start: Option<TimestampMs>, until: Option<TimestampMs>) -> Self {
        let (first, last) = (wanted.run.min_timestamp, wanted.run.max_timestamp);
        let min = start.map_or(first, |start| start.max(first));
        let max = until.map_or(last, |until| until.min(last));
        let may_be_lower = min == NONE && max > NONE;
        // A run that is restored to its end has a record of its highest timestamp.
        let is_whole = wanted.offsets == wanted.run.range && max == last;
        let lowest = if min == NONE { (may_be_lower && is_whole).then_some(last) } else { Some(min) };
        Self { min, max, lowest, may_be_lower }
    }

    /// How old the oldest is, at most; `None` where no record has a timestamp.
    pub(super) fn oldest(self) -> Option<TimestampMs> {
        if self.may_be_lower { Some(self.min) } else { self.lowest }
    }

    /// Those of both.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            min: self.min.min(other.min),
            max: self.max.max(other.max),
            lowest: [self.lowest, other.lowest].into_iter().flatten().min(),
            may_be_lower: self.may_be_lower || other.may_be_lower,
        }
    }
}

#[cfg(test)]
mod tests {
    use strimzi_backup_format::ids::Offset;
    use strimzi_backup_format::offset_range::OffsetRange;

    use super::super::sample::{at, key, run};
    use super::*;

    fn wanted(min: TimestampMs, max: TimestampMs) -> Wanted {
        let mut run = run(&key("orders", 0, 0), 0..10, 0..0);
        (run.min_timestamp, run.max_timestamp) = (min, max);
        Wanted::all(run)
    }

    #[test]
    fn a_run_without_a_record_of_no_timestamp_says_which_is_the_lowest() {
        let dates = Dates::of(&wanted(at(5), at(9)), None, None);
        assert_eq!(dates, Dates { min: at(5), max: at(9), lowest: Some(at(5)), may_be_lower: false });
        assert_eq!(dates.oldest(), Some(at(5)));
        let cut = Dates::of(&wanted(at(5), at(9)), Some(at(6)), Some(at(8)));
        assert_eq!(cut, Dates { min: at(6), max: at(8), lowest: Some(at(6)), may_be_lower: false });
    }

    #[test]
    fn a_run_that_begins_with_no_timestamp_has_its_highest_where_all_of_it_is_restored() {
        let run = wanted(NONE, at(9));
        let hidden = |max, lowest| Dates { min: NONE, max, lowest, may_be_lower: true };
        assert_eq!(Dates::of(&run, None, None), hidden(at(9), Some(at(9))));
        assert_eq!(Dates::of(&run, None, Some(at(9))), hidden(at(9), Some(at(9))));
        assert_eq!(Dates::of(&run, None, Some(at(8))), hidden(at(8), None));
        let offsets = OffsetRange::new(Offset::new(0), Offset::new(9)).expect("legal range");
        assert_eq!(Dates::of(&Wanted { offsets, ..run.clone() }, None, None), hidden(at(9), None));
        let later = Dates::of(&run, Some(at(3)), None);
        assert_eq!(later, Dates { min: at(3), max: at(9), lowest: Some(at(3)), may_be_lower: false }, "without them");
        let none = Dates::of(&wanted(NONE, NONE), None, None);
        assert_eq!(none, Dates { min: NONE, max: NONE, lowest: None, may_be_lower: false });
        assert_eq!([Dates::of(&run, None, None).oldest(), none.oldest()], [Some(NONE), None]);
    }

    #[test]
    fn no_timestamp_in_one_run_hides_nothing_of_another() {
        let [hiding, plain] = [wanted(NONE, at(9)), wanted(at(4), at(7))].map(|run| Dates::of(&run, None, None));
        let both = Dates { min: NONE, max: at(9), lowest: Some(at(4)), may_be_lower: true };
        assert_eq!([hiding.and(plain), plain.and(hiding)], [both, both]);
    }
}
