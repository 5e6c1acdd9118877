//! Which old records of compacted partitions are needed: of each key the newest. Pure.
//!
//! Keys that do not fit into memory are looked at in rounds: each round takes those whose digest is below a bound, and the bound
//! goes down while memory is short. What stays is one bit for each record.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::ids::{Offset, PartitionKey, TimestampMs};
use strimzi_backup_format::record::Record;

/// What one key takes in memory, with the room that the table leaves.
const BYTES_PER_KEY: usize = 96;

/// Fewer would make rounds without end.
const FEWEST_KEYS: usize = 16;

/// Finds out what is not needed.
#[derive(Debug)]
pub(super) struct Newest {
    /// The first instant that is kept.
    horizon: TimestampMs,
    /// So many keys are held at once.
    most: usize,
    /// The digests of this round: from here …
    from: u128,
    /// … to here, inclusive.
    to: u128,
    keys: HashMap<u128, Seen>,
    /// The number of the next record of this round.
    number: usize,
    dropped: Dropped,
    /// What of a record its digest is made of.
    identity: Vec<u8>,
}

/// What was seen of a key.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// Its newest record up to the horizon, by its place in Kafka: offset and number.
    newest: Option<(Offset, usize)>,
    is_tombstone: bool,
    /// Whether a record of later than the horizon is kept besides: a tombstone behind it is needed.
    has_later: bool,
}

/// The records that are not needed, by number.
#[derive(Debug)]
pub(crate) struct Dropped {
    bits: Vec<u64>,
    count: u64,
}

impl Dropped {
    fn new(records: usize) -> Self {
        Self { bits: vec![0; records.div_ceil(64)], count: 0 }
    }

    /// A record may be met in several rounds.
    fn drop(&mut self, number: usize) {
        let bit = 1_u64 << (number % 64);
        if let Some(bits) = self.bits.get_mut(number / 64).filter(|bits| **bits & bit == 0) {
            *bits |= bit;
            self.count += 1;
        }
    }

    /// Whether a record is not needed.
    pub(crate) fn holds(&self, number: usize) -> bool {
        self.bits.get(number / 64).is_some_and(|bits| bits & (1 << (number % 64)) != 0)
    }

    /// How many are not.
    pub(super) fn count(&self) -> u64 {
        self.count
    }
}

impl Newest {
    /// To look at so many records, with this much memory for their keys.
    pub(super) fn new(records: usize, horizon: TimestampMs, memory: usize) -> Self {
        Self {
            horizon,
            most: (memory / BYTES_PER_KEY).max(FEWEST_KEYS),
            from: 0,
            to: u128::MAX,
            keys: HashMap::new(),
            number: 0,
            dropped: Dropped::new(records),
            identity: Vec::new(),
        }
    }

    /// Takes the next record in; in each round all of them, in the same order.
    pub(super) fn take(&mut self, partition: &PartitionKey, record: &Record) {
        let number = self.number;
        self.number += 1;
        // Kafka takes no record without a key into a compacted topic. One that is there is older than its compaction.
        let Some(key) = &record.key else { return };
        let digest = self.digest(partition, key);
        if digest < self.from || digest > self.to {
            return;
        }
        let seen = match self.keys.entry(digest) {
            Entry::Occupied(seen) => seen.into_mut(),
            Entry::Vacant(place) => place.insert(Seen::default()),
        };
        if record.timestamp > self.horizon {
            seen.has_later = true;
        } else {
            let this = (record.offset, number);
            let older = match seen.newest {
                Some(newest) if newest > this => Some(this),
                before => {
                    (seen.newest, seen.is_tombstone) = (Some(this), record.value.is_none());
                    before
                }
            };
            older.into_iter().for_each(|(_, number)| self.dropped.drop(number));
        }
        self.make_room();
    }

    /// Ends a round. Says whether there has to be another one.
    pub(super) fn end_round(&mut self) -> bool {
        for seen in std::mem::take(&mut self.keys).into_values() {
            // What has no record any more needs no word that it was deleted.
            if let Some((_, number)) = seen.newest.filter(|_| seen.is_tombstone && !seen.has_later) {
                self.dropped.drop(number);
            }
        }
        self.number = 0;
        let more = self.to < u128::MAX;
        (self.from, self.to) = (self.to.saturating_add(1), u128::MAX);
        more
    }

    /// What is not needed, after the last round.
    pub(super) fn finish(self) -> Dropped {
        self.dropped
    }

    fn digest(&mut self, partition: &PartitionKey, key: &[u8]) -> u128 {
        self.identity.clear();
        self.identity.extend(partition.lineage.get().to_le_bytes());
        self.identity.extend(partition.partition.get().to_le_bytes());
        self.identity.extend(key);
        Sha256::of(&self.identity).half()
    }

    /// Leaves the upper half of the digests to another round, until the rest fits.
    fn make_room(&mut self) {
        while self.keys.len() > self.most {
            let to = self.from + (self.to - self.from) / 2;
            self.to = to;
            self.keys.retain(|digest, _| *digest <= to);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use strimzi_backup_format::ids::{Lineage, PartitionId, TopicName};
    use strimzi_backup_format::record::TimestampType;

    use super::*;

    fn partition(number: i32) -> PartitionKey {
        let topic = TopicName::new("accounts").expect("legal");
        PartitionKey { topic, lineage: Lineage::FIRST, partition: PartitionId::new(number) }
    }

    fn record(offset: i64, (millis, key, value): (i64, Option<u8>, bool)) -> Record {
        Record {
            offset: Offset::new(offset),
            timestamp: TimestampMs::new(millis),
            timestamp_type: TimestampType::CreateTime,
            key: key.map(|key| vec![key].into()),
            value: value.then(|| b"a value".to_vec().into()),
            headers: Vec::new(),
        }
    }

    /// What a consumer knows of each key once it has read what is of `until` or before.
    fn table(records: &[Record], until: i64) -> BTreeMap<Vec<u8>, Offset> {
        let mut table = BTreeMap::new();
        for record in records.iter().filter(|record| record.timestamp.get() <= until) {
            let Some(key) = &record.key else { continue };
            match &record.value {
                Some(_) => table.insert(key.to_vec(), record.offset),
                None => table.remove(&key.to_vec()),
            };
        }
        table
    }

    fn dropped(records: &[Record], horizon: i64, memory: usize) -> Dropped {
        let mut newest = Newest::new(records.len(), TimestampMs::new(horizon), memory);
        loop {
            records.iter().for_each(|record| newest.take(&partition(0), record));
            if !newest.end_round() {
                return newest.finish();
            }
        }
    }

    #[test]
    fn a78_of_each_key_the_newest_stays_and_of_a_deleted_one_nothing() {
        let written =
            [(1, Some(1), true), (2, Some(2), true), (3, Some(1), true), (4, Some(2), false), (5, None, true)];
        let records: Vec<Record> = (0..).zip(written).map(|(offset, of)| record(offset, of)).collect();
        let dropped = dropped(&records, 9, 1 << 20);
        let stays: Vec<usize> = (0..records.len()).filter(|number| !dropped.holds(*number)).collect();
        assert_eq!((stays, dropped.count()), (vec![2, 4], 3));
    }

    #[test]
    fn the_same_key_in_another_partition_is_another_one() {
        let mut newest = Newest::new(2, TimestampMs::new(9), 1 << 20);
        for number in [0, 1] {
            newest.take(&partition(number), &record(0, (1, Some(7), true)));
        }
        assert!(!newest.end_round());
        assert_eq!(newest.finish().count(), 0);
    }

    #[test]
    fn a78_what_is_looked_at_in_many_rounds_is_dropped_and_counted_once() {
        // Sixty keys, of which sixteen are held at once, each written three times.
        let written = (0..180_u8).map(|number| (1, Some(number % 60), true));
        let records: Vec<Record> = (0..).zip(written).map(|(offset, of)| record(offset, of)).collect();
        let dropped = dropped(&records, 9, 0);
        assert_eq!((0..180).filter(|number| dropped.holds(*number)).collect::<Vec<_>>(), (0..120).collect::<Vec<_>>());
        assert_eq!(dropped.count(), 120);
    }

    #[test]
    fn a78_a_tombstone_stays_where_a_later_record_of_its_key_is_kept_before_it() {
        let written = [(20, Some(1), true), (5, Some(1), false), (20, Some(2), true), (5, Some(3), false)];
        let records: Vec<Record> = (0..).zip(written).map(|(offset, of)| record(offset, of)).collect();
        let dropped = dropped(&records, 9, 1 << 20);
        assert_eq!([0, 1, 2, 3].map(|number| dropped.holds(number)), [false, false, false, true]);
    }

    proptest! {
        /// At each instant from the horizon on, what stays makes the same table as everything.
        #[test]
        fn a78_at_every_kept_instant_the_table_is_that_of_all_records(
            written in prop::collection::vec((0..40_i64, prop::option::weighted(0.95, 0..60_u8), any::<bool>()), 0..300),
            horizon in 0..40_i64,
            is_short in any::<bool>(),
        ) {
            let records: Vec<Record> = (0..).zip(written).map(|(offset, of)| record(offset, of)).collect();
            let dropped = dropped(&records, horizon, if is_short { 0 } else { 1 << 20 });
            let kept: Vec<Record> =
                records.iter().enumerate().filter(|(number, _)| !dropped.holds(*number)).map(|(_, record)| record.clone()).collect();
            prop_assert_eq!(dropped.count(), (records.len() - kept.len()) as u64);
            for until in horizon..41 {
                prop_assert_eq!(table(&kept, until), table(&records, until), "at {}", until);
            }
            let of_the_past: Vec<_> = kept.iter().filter(|record| record.timestamp.get() <= horizon).collect();
            let keys: BTreeSet<_> = of_the_past.iter().filter_map(|record| record.key.clone()).collect();
            let with_key = of_the_past.iter().filter(|record| record.key.is_some()).count();
            prop_assert_eq!(keys.len(), with_key, "a key of the past is held twice");
        }
    }
}
