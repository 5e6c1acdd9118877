//! How long a backup is kept: which instants, and so which records. Pure.
//!
//! An instant is kept with all that Kafka held then: restoring it must bring back what a consumer could have read. So a record
//! goes once it is older than the kept instants and Kafka's own retention of its topic together. What Kafka keeps for ever, or
//! compacts, is kept whole.
//!
//! Records go by hours ([`Bucket`]): those of a partition never go back as its offsets go up, so what goes is always its
//! beginning, and one offset says it all ([`PartitionStart`]).

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bucket::Bucket;
use crate::ids::{Lineage, Offset, PartitionKey, Sequence, TimestampMs};
use crate::job::Retention;
use crate::manifest::{PartitionStart, Retired, Segment, TopicEventKind};
use crate::state::{State, TopicState, Totals};

/// A snapshot, as far as retention is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// The instant of its manifest.
    pub observed_at: TimestampMs,
    /// Whether it is kept whatever its age.
    pub keep_forever: bool,
}

/// What becomes of the kept instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: no policy asks for more than what was retired already.
    Unmoved,
    /// They begin here from now on.
    Move(TimestampMs),
    /// They would become fewer than half as long at once, and nobody has acknowledged that: nothing is done.
    Held {
        /// Where they would begin.
        wanted: TimestampMs,
        /// How long they are now, in milliseconds.
        from_millis: u64,
        /// How long they would be.
        to_millis: u64,
    },
}

/// Where the kept instants begin, as the policy and the snapshots say; `None` where nothing limits them.
pub fn window(policy: &Retention, snapshots: &[Boundary], now: TimestampMs) -> Option<TimestampMs> {
    let by_age = policy.max_age.map(|age| now.plus_millis(-millis(age)));
    let mut instants: Vec<TimestampMs> = snapshots.iter().map(|snapshot| snapshot.observed_at).collect();
    instants.sort_unstable();
    let by_count = policy.max_backups.and_then(|most| {
        let most = usize::try_from(most.get()).unwrap_or(usize::MAX);
        let oldest_kept = instants.len().saturating_sub(most);
        // While there are fewer, they limit nothing by themselves.
        let enough = instants.len() >= most || by_age.is_some();
        instants.get(oldest_kept).copied().filter(|_| enough)
    });
    let forever = snapshots.iter().filter(|snapshot| snapshot.keep_forever).map(|snapshot| snapshot.observed_at);
    let limit = [by_age, by_count].into_iter().flatten().min()?;
    Some(forever.fold(limit, TimestampMs::min))
}

/// Whether the kept instants may begin at `wanted`.
pub fn judge(policy: &Retention, state: &State, wanted: TimestampMs, now: TimestampMs) -> Verdict {
    let Some(since) = state.recoverable_from().filter(|since| *since < wanted) else { return Verdict::Unmoved };
    let measured_at = state.retired.map_or(now, |retired| retired.observed_at);
    let (from_millis, to_millis) = (measured_at.millis_since(since), now.millis_since(wanted));
    let acknowledged = policy.acknowledged.is_some_and(|shortest| u128::from(to_millis) >= shortest.as_millis());
    if to_millis < from_millis / 2 && !acknowledged {
        return Verdict::Held { wanted, from_millis, to_millis };
    }
    Verdict::Move(wanted)
}

/// Which records of a partition are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All.
    All,
    /// Those that are filed under this hour or a later one.
    From(Bucket),
    /// None: at no kept instant did Kafka have them.
    Nothing,
}

/// Which records of `key` are kept where the kept instants begin at `window`.
pub fn kept(state: &State, key: &PartitionKey, window: TimestampMs) -> Kept {
    let Some(topic) = state.topics.get(&key.topic) else { return Kept::All };
    if ended(state, topic, key).is_some_and(|end| end <= window) {
        return Kept::Nothing;
    }
    match kafka_keeps(topic, window) {
        Some(retention) => Kept::From(Bucket::of(window.plus_millis(-millis(retention)))),
        None => Kept::All,
    }
}

/// When the life of a topic, or of one of its partitions, was over; `None` while it goes on.
fn ended(state: &State, topic: &TopicState, key: &PartitionKey) -> Option<TimestampMs> {
    let own = usize::try_from(key.lineage.get()).ok()?;
    let deleted = topic.lives.get(own)?.deleted;
    let later = topic.lives.iter().enumerate().skip(own + 1).find(|(number, life)| {
        let lineage = Lineage::new(i32::try_from(*number).unwrap_or(i32::MAX));
        let truncated = || state.position(&PartitionKey { lineage, ..key.clone() }).is_some();
        life.began == TopicEventKind::Recreated || truncated()
    });
    [deleted, later.map(|(_, life)| life.since)].into_iter().flatten().min()
}

/// How long Kafka kept records of a topic, at most, at any instant from `since` on; `None`: for ever, or not known.
fn kafka_keeps(topic: &TopicState, since: TimestampMs) -> Option<Duration> {
    let earlier = topic.earlier.iter().filter(|earlier| since < earlier.until).map(|earlier| &earlier.description);
    earlier.chain([&topic.description]).try_fold(Duration::ZERO, |longest, description| {
        let compacts = description.effective("cleanup.policy").is_none_or(|policy| policy.contains("compact"));
        let millis = description.effective("retention.ms")?.parse::<u64>().ok().filter(|_| !compacts)?;
        Some(longest.max(Duration::from_millis(millis)))
    })
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Gathers what goes, from the segments of sealed buckets.
#[derive(Debug)]
pub struct Gleaner<'a> {
    state: &'a State,
    window: TimestampMs,
    /// Segments of later manifests stay: before their records others may lie that are not sealed yet.
    through: Sequence,
    groups: Option<Sequence>,
    kept: BTreeMap<PartitionKey, Kept>,
    partitions: BTreeMap<PartitionKey, Gleaned>,
    freed: Totals,
}

/// What was seen of a partition.
#[derive(Clone, Copy, Debug, Default)]
struct Gleaned {
    /// Up to where, and how many records, may go.
    next: Option<Offset>,
    rows: u64,
    /// The lowest timestamp of what stays.
    lowest: Option<TimestampMs>,
}

impl<'a> Gleaner<'a> {
    /// To gather what goes where the kept instants begin at `window`, of what is refined and sealed through `through`.
    pub fn new(state: &'a State, window: TimestampMs, through: Sequence) -> Self {
        // The newest image of before the window begins holds what its first instants need.
        let is_before = |at: &&crate::state::GroupImageAt| {
            at.until.is_some_and(|until| until <= window) && at.image.newest.is_none_or(|newest| newest <= window)
        };
        let groups = state.group_images.iter().rev().find(is_before);
        let (kept, partitions) = (BTreeMap::new(), BTreeMap::new());
        let groups = groups.map(|image| image.sequence);
        Self { state, window, through, groups, kept, partitions, freed: Totals::default() }
    }

    /// The hour from which on nothing goes, of any partition.
    pub fn end(&self) -> Bucket {
        let held = self.state.positions.iter().filter(|(_, held)| held.first_offset < held.next_offset);
        let ends = held.filter_map(|(key, _)| match kept(self.state, key, self.window) {
            Kept::All => None,
            Kept::From(bucket) => Some(bucket),
            Kept::Nothing => Some(Bucket::of(TimestampMs::new(i64::MAX))),
        });
        let image = self.state.group_images.iter().find(|image| Some(image.sequence) == self.groups);
        let groups = image.map(|image| Bucket::of(Bucket::of(image.observed_at).end()));
        ends.chain(groups).max().unwrap_or(Bucket::of(TimestampMs::new(0)))
    }

    /// Takes in a segment of a sealed bucket. Says whether anything of it stays.
    pub fn take(&mut self, segment: &Segment) -> bool {
        if !self.state.holds(segment) {
            return false;
        }
        let sequence = segment.object.segment_sequence();
        let is_old = sequence.is_some_and(|sequence| sequence <= self.through);
        let mut goes = is_old;
        // Of a segment with several lives of a topic, one may have been retired before.
        for run in segment.runs.iter().filter(|run| self.state.holds_run(run)) {
            let key = run.key();
            let of_run = if segment.holds_groups() {
                is_old && sequence <= self.groups
            } else {
                let kept = *self.kept.entry(key.clone()).or_insert_with_key(|key| kept(self.state, key, self.window));
                is_old && (kept == Kept::Nothing || matches!(kept, Kept::From(first) if run.bucket < first))
            };
            let gleaned = self.partitions.entry(key).or_default();
            if of_run {
                gleaned.next = gleaned.next.max(Some(run.range.next_offset()));
                gleaned.rows = gleaned.rows.saturating_add(run.rows);
            } else {
                let lowest = run.min_timestamp;
                gleaned.lowest = Some(gleaned.lowest.map_or(lowest, |other| other.min(lowest)));
                goes = false;
            }
        }
        if goes {
            self.freed = self.freed.plus(segment).unwrap_or(self.freed);
        }
        !goes
    }

    /// What goes. `lowest` is at or below every timestamp of what was not taken in.
    pub fn finish(self, lowest: TimestampMs) -> Retired {
        let Self { state, window, groups, partitions, mut freed, .. } = self;
        let starts = partitions.into_iter().filter_map(|(key, gleaned)| {
            let PartitionKey { topic, lineage, partition } = key;
            let lowest_timestamp = gleaned.lowest.map_or(lowest, |seen| seen.min(lowest));
            let first_offset = gleaned.next?;
            Some(PartitionStart { topic, lineage, partition, first_offset, rows: gleaned.rows, lowest_timestamp })
        });
        let starts = starts.collect();
        let old = |image: &&crate::state::GroupImageAt| groups.is_some_and(|first| image.sequence < first);
        let images: Vec<_> = state.group_images.iter().filter(old).collect();
        for at in &images {
            freed = freed.plus_object(at.image.bytes).unwrap_or(freed);
        }
        let group_images_before = groups.filter(|_| !images.is_empty());
        Retired { before: window, starts, group_images_before, freed }
    }
}

#[cfg(test)]
mod tests;
