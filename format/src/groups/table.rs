//! What groups have committed as of a moment: the fold of the rows up to it.
//!
//! Owns: which row wins, and holding a million of them in little memory. Does not own: where rows come from.
//!
//! Invariant: the same rows in any order, any of them repeated, make the same table.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

use super::row::{OffsetRow, RowKind};
use super::{CommittedOffset, GroupOffsets};
use crate::ids::{GroupId, LeaderEpoch, Lineage, Offset, PartitionId, TimestampMs, TopicId, TopicName};

/// The newest row for each group and partition.
///
/// The row with the highest lineage and log offset wins. All rows of a group are in one partition of
/// `__consumer_offsets`, so these two say which came later. A [`RowKind::Delete`] takes its entry away and stays known, so
/// that an older commit that comes after it does not bring the entry back. A [`RowKind::Raw`] row changes nothing.
///
/// A new lineage (`__consumer_offsets` was created anew, or its log was cut back) does not take away what older ones said:
/// it stays until the new one says otherwise. The broker has forgotten these offsets, but their groups have not read
/// anything again, and not to lose them with the broker's log is what a backup is for. What a group then gets may be older
/// than its last commit, never newer, so it may read records twice but skips none. The price: a deletion that only
/// the lost part of the log recorded is not seen.
#[derive(Debug, Default)]
pub struct Table {
    groups: Names<GroupId>,
    topics: Names<TopicName>,
    topic_ids: Names<TopicId>,
    entries: BTreeMap<Key, Entry>,
    live: usize,
    newest: Option<TimestampMs>,
    unreadable: u64,
}

/// Group and topic by their numbers, so that an entry takes some tens of bytes, however long their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    group: u32,
    topic: u32,
    partition: PartitionId,
}

/// The row that won.
#[derive(Debug)]
struct Entry {
    lineage: Lineage,
    log_partition: PartitionId,
    log_offset: Offset,
    timestamp: TimestampMs,
    /// Absent where it was deleted.
    committed: Option<Compact>,
}

impl Entry {
    /// What decides; the partition only where a log broke the rule that a group has one, so that the order never matters.
    fn rank(&self) -> (Lineage, Offset, PartitionId) {
        (self.lineage, self.log_offset, self.log_partition)
    }
}

/// A [`CommittedOffset`] in fewer bytes.
#[derive(Debug)]
struct Compact {
    offset: Offset,
    leader_epoch: LeaderEpoch,
    topic_id: Option<u32>,
    committed_at: TimestampMs,
    metadata: Box<str>,
}

/// Names by numbers, each held once.
#[derive(Debug)]
struct Names<T> {
    numbers: HashMap<T, u32>,
    all: Vec<T>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self { numbers: HashMap::new(), all: Vec::new() }
    }
}

impl<T: Clone + Eq + Hash> Names<T> {
    fn number(&mut self, name: T) -> u32 {
        if let Some(number) = self.numbers.get(&name) {
            return *number;
        }
        let number = u32::try_from(self.all.len()).expect("memory holds fewer than 2^32 names");
        self.all.push(name.clone());
        self.numbers.insert(name, number);
        number
    }

    fn name(&self, number: u32) -> Option<T> {
        self.all.get(usize::try_from(number).ok()?).cloned()
    }
}

impl Table {
    /// Takes a row in, in whatever order.
    pub fn take(&mut self, row: OffsetRow) {
        self.newest = self.newest.max(Some(row.timestamp));
        self.unreadable += u64::from(row.kind == RowKind::Raw);
        let (Some(group), Some(topic), Some(partition)) = (row.group, row.topic, row.partition) else { return };
        let committed = match row.kind {
            RowKind::Raw => return,
            RowKind::Delete => None,
            RowKind::Commit | RowKind::Image => row.committed.map(|committed| self.compact(committed)),
        };
        let key = Key { group: self.groups.number(group), topic: self.topics.number(topic), partition };
        let (lineage, log_partition, log_offset) = (row.lineage, row.log_partition, row.log_offset);
        let entry = Entry { lineage, log_partition, log_offset, timestamp: row.timestamp, committed };
        let before = self.entries.get(&key);
        if before.is_some_and(|before| before.rank() >= entry.rank()) {
            return;
        }
        self.live -= usize::from(before.is_some_and(|before| before.committed.is_some()));
        self.live += usize::from(entry.committed.is_some());
        self.entries.insert(key, entry);
    }

    /// How many offsets are live.
    pub fn len(&self) -> usize {
        self.live
    }

    /// Whether no offset is live.
    pub fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// The highest timestamp of all rows ever taken, whatever their kind.
    pub fn newest(&self) -> Option<TimestampMs> {
        self.newest
    }

    /// How many rows could not be read when they were captured.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Takes in what an image knows beside its rows: when the newest row was that it was made from, whatever became of
    /// that, and how many could not be read.
    pub fn rests_on(&mut self, newest: Option<TimestampMs>, unreadable: u64) {
        self.newest = self.newest.max(newest);
        self.unreadable += unreadable;
    }

    /// Lets go of the groups that are not wanted any more.
    pub fn retain(&mut self, is_wanted: impl Fn(&GroupId) -> bool) {
        let rows: Vec<OffsetRow> =
            self.image().into_iter().filter(|row| row.group.as_ref().is_some_and(&is_wanted)).collect();
        self.restart(&rows);
    }

    /// What is live, as [`RowKind::Image`] rows sorted by group, topic and partition. Each takes a few hundred bytes.
    pub fn image(&self) -> Vec<OffsetRow> {
        let mut rows: Vec<OffsetRow> =
            self.live().map(|(key, entry, committed)| self.row(key, entry, committed)).collect();
        rows.sort_by(|a, b| (&a.group, &a.topic, a.partition).cmp(&(&b.group, &b.topic, b.partition)));
        rows
    }

    /// Begins anew with what is live, `image` of this table: deletions and names that nothing refers to are let go. From then
    /// on rows must come in the order of the log.
    pub fn restart(&mut self, image: &[OffsetRow]) {
        let (newest, unreadable) = (self.newest, self.unreadable);
        *self = Self::default();
        image.iter().for_each(|row| self.take(row.clone()));
        self.rests_on(newest, unreadable);
    }

    /// What is live, by group and partition.
    pub fn offsets(&self) -> GroupOffsets {
        let mut offsets = GroupOffsets::new();
        for (key, _, committed) in self.live() {
            if let (Some(group), Some(topic)) = (self.groups.name(key.group), self.topics.name(key.topic)) {
                offsets.entry(group).or_default().insert((topic, key.partition), self.expand(committed));
            }
        }
        offsets
    }

    fn live(&self) -> impl Iterator<Item = (&Key, &Entry, &Compact)> {
        self.entries.iter().filter_map(|(key, entry)| Some((key, entry, entry.committed.as_ref()?)))
    }

    fn row(&self, key: &Key, entry: &Entry, committed: &Compact) -> OffsetRow {
        OffsetRow {
            kind: RowKind::Image,
            group: self.groups.name(key.group),
            topic: self.topics.name(key.topic),
            partition: Some(key.partition),
            committed: Some(self.expand(committed)),
            timestamp: entry.timestamp,
            lineage: entry.lineage,
            log_partition: entry.log_partition,
            log_offset: entry.log_offset,
            raw_key: None,
            raw_value: None,
        }
    }

    fn compact(&mut self, committed: CommittedOffset) -> Compact {
        let CommittedOffset { offset, leader_epoch, metadata, committed_at, topic_id } = committed;
        let topic_id = topic_id.map(|id| self.topic_ids.number(id));
        Compact { offset, leader_epoch, topic_id, committed_at, metadata: metadata.into() }
    }

    fn expand(&self, committed: &Compact) -> CommittedOffset {
        let Compact { offset, leader_epoch, topic_id, committed_at, ref metadata } = *committed;
        let topic_id = topic_id.and_then(|number| self.topic_ids.name(number));
        CommittedOffset { offset, leader_epoch, metadata: metadata.to_string(), committed_at, topic_id }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::groups::sample::{commit, delete, raw};

    #[test]
    fn a_table_that_begins_anew_holds_the_same_and_no_deletions() {
        let mut table = fold([commit("a", "t", 0, 1, 1), commit("b", "t", 0, 2, 2), delete("a", "t", 0, 9)]);
        let (image, newest) = (table.image(), table.newest());
        table.restart(&image);
        assert_eq!((table.image(), table.newest(), table.entries.len()), (image, newest, 1));
        assert_eq!(table.groups.all.len(), 1);
        table.take(commit("a", "t", 0, 3, 10));
        assert_eq!(table.len(), 2);
    }

    fn fold(rows: impl IntoIterator<Item = OffsetRow>) -> Table {
        let mut table = Table::default();
        rows.into_iter().for_each(|row| table.take(row));
        table
    }

    #[test]
    fn the_last_commit_counts_and_a_deletion_takes_it_away() {
        let table = fold([commit("g", "t", 0, 5, 10), commit("g", "t", 0, 3, 9), commit("h", "t", 1, 2, 11)]);
        assert_eq!(table.len(), 2);
        let found = table.image();
        assert_eq!(found.iter().map(|row| row.log_offset.get()).collect::<Vec<_>>(), [10, 11]);
        assert!(found.iter().all(|row| row.kind == RowKind::Image));
        let mut table = fold([delete("g", "t", 0, 12), commit("g", "t", 0, 5, 10)]);
        assert!(table.is_empty() && table.image().is_empty() && table.offsets().is_empty());
        table.take(commit("g", "t", 0, 6, 13));
        assert_eq!(table.offsets().len(), 1);
    }

    #[test]
    fn a_later_lineage_wins_and_what_it_does_not_speak_of_stays() {
        let later = OffsetRow { lineage: Lineage::new(1), ..commit("g", "t", 0, 1, 0) };
        let offsets = fold([later, commit("g", "t", 0, 90, 1000), commit("g", "t", 1, 80, 999)]).offsets();
        let found: Vec<i64> =
            offsets.values().flat_map(|of_group| of_group.values().map(|at| at.offset.get())).collect();
        assert_eq!(found, [1, 80]);
    }

    #[test]
    fn raw_rows_change_nothing_but_the_newest_time() {
        let table = fold([commit("g", "t", 0, 5, 10), raw(20)]);
        assert_eq!((table.len(), table.newest()), (1, Some(raw(20).timestamp)));
        assert_eq!(Table::default().newest(), None);
    }

    #[test]
    fn an_entry_takes_some_tens_of_bytes() {
        assert!(size_of::<Key>() + size_of::<Entry>() <= 96, "{}", size_of::<Key>() + size_of::<Entry>());
    }

    fn any_rows() -> impl Strategy<Value = Vec<OffsetRow>> {
        let row = (0..2usize, 0..2usize, 0..2i32, 0..2i32, 0..4u8);
        vec(row, 0..30).prop_map(|rows| {
            let row = |(at, (group, topic, partition, lineage, kind))| {
                let (group, topic) = (["g", "h"][group], ["t", "u"][topic]);
                let row = match kind {
                    0 => raw(at),
                    1 => delete(group, topic, partition, at),
                    _ => commit(group, topic, partition, at * 7, at),
                };
                OffsetRow { lineage: Lineage::new(lineage), ..row }
            };
            (0..).zip(rows).map(row).collect()
        })
    }

    proptest! {
        #[test]
        fn the_order_of_rows_does_not_matter(
            (in_order, shuffled) in any_rows().prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
        ) {
            let mut sorted = in_order;
            sorted.sort_by_key(|row| (row.lineage, row.log_offset));
            let mut plain = GroupOffsets::new();
            for row in sorted.iter().filter(|row| row.kind != RowKind::Raw) {
                let of_group = plain.entry(row.group.clone().expect("a group")).or_default();
                let partition = (row.topic.clone().expect("a topic"), row.partition.expect("a partition"));
                match row.committed.clone() {
                    Some(committed) => of_group.insert(partition, committed),
                    None => of_group.remove(&partition),
                };
            }
            plain.retain(|_, of_group| !of_group.is_empty());
            let (expected, found) = (fold(sorted), fold(shuffled.iter().chain(&shuffled).cloned()));
            prop_assert_eq!(found.offsets(), plain);
            prop_assert_eq!(found.image(), expected.image());
            prop_assert_eq!((found.len(), found.newest()), (expected.image().len(), expected.newest()));
            prop_assert_eq!(fold(found.image()).image(), expected.image());
        }
    }
}
