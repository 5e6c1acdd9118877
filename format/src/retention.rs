//! How long a backup is kept: which instants, and so which records. Pure.
//!
//! An instant is kept with all that Kafka held then: restoring it must bring back what a consumer could have read. So a record
//! goes once it is older than the kept instants and Kafka's own retention of its topic together. What Kafka keeps for ever is kept
//! whole. Of what it compacts, the newest record of each key as of the first kept instant is kept, in a base ([`Aged`]).
//!
//! Records go by hours ([`Bucket`]): those of a partition never go back as its offsets go up, so what goes is always its
//! beginning, and one offset says it all ([`PartitionStart`]).

mod aged;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::bucket::Bucket;
use crate::ids::{Lineage, Offset, PartitionKey, Sequence, TimestampMs, TopicName};
use crate::job::Retention;
use crate::manifest::{PartitionStart, Retired, Run, Segment, TopicDescription, TopicEventKind};
use crate::slice::Ends;
use crate::state::{DESCRIPTIONS_KEPT, Position, State, TopicState, Totals};
pub use aged::{Aged, AgedSegment};

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
    /// Of those that are filed under hours before `before` the newest of each key; all others.
    Newest {
        /// The hour of the first kept instant.
        before: Bucket,
        /// Nothing that is filed under an earlier hour than this, where Kafka deletes old records too.
        since: Option<Bucket>,
    },
}

/// Which records of `key` are kept where the kept instants begin at `window`.
pub fn kept(state: &State, key: &PartitionKey, window: TimestampMs) -> Kept {
    let Some(topic) = state.topics.get(&key.topic) else { return Kept::All };
    if ended(state, topic, key).is_some_and(|end| end <= window) {
        return Kept::Nothing;
    }
    let ago = |retention| Bucket::of(window.plus_millis(-millis(retention)));
    match kafka_keeps(topic, window) {
        KafkaKeeps::All => Kept::All,
        KafkaKeeps::For(retention) => Kept::From(ago(retention)),
        KafkaKeeps::Newest(retention) => Kept::Newest { before: Bucket::of(window), since: retention.map(ago) },
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

/// What Kafka kept of the records of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum KafkaKeeps {
    /// All, for ever; or nobody knows.
    All,
    /// All, for so long.
    For(Duration),
    /// The newest of each key; for so long, where it deletes old ones too.
    Newest(Option<Duration>),
}

/// What Kafka kept of the records of a topic, at most, at any instant from `since` on.
fn kafka_keeps(topic: &TopicState, since: TimestampMs) -> KafkaKeeps {
    // What the topic was like before the oldest that is remembered was forgotten, and may have been kept for longer.
    let oldest = topic.earlier.first().filter(|_| topic.earlier.len() >= DESCRIPTIONS_KEPT);
    if oldest.is_some_and(|oldest| since < oldest.until) {
        return KafkaKeeps::All;
    }
    let earlier = topic.earlier.iter().filter(|earlier| since < earlier.until).map(|earlier| &earlier.description);
    let of_one = |description: &TopicDescription| {
        let millis = description.effective("retention.ms").and_then(|millis| millis.parse::<u64>().ok());
        let retention = millis.map(Duration::from_millis).filter(|_| description.has_cleanup_policy("delete"));
        match retention {
            _ if description.has_cleanup_policy("compact") => KafkaKeeps::Newest(retention),
            Some(retention) => KafkaKeeps::For(retention),
            None => KafkaKeeps::All,
        }
    };
    let all = earlier.chain([&topic.description]).map(of_one);
    all.reduce(|one, other| match (one, other) {
        (KafkaKeeps::For(one), KafkaKeeps::For(other)) => KafkaKeeps::For(one.max(other)),
        (KafkaKeeps::Newest(one), KafkaKeeps::Newest(other)) => {
            KafkaKeeps::Newest(one.zip(other).map(|(one, other)| one.max(other)))
        }
        // What was compacted at one kept instant and whole at another is kept whole.
        _ => KafkaKeeps::All,
    })
    .unwrap_or(KafkaKeeps::All)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

/// Gathers what goes, from the segments of sealed buckets.
#[derive(Debug)]
pub struct Gleaner<'a> {
    state: &'a State,
    window: TimestampMs,
    limits: Limits<'a>,
    groups: Option<Sequence>,
    kept: BTreeMap<PartitionKey, Kept>,
    partitions: BTreeMap<PartitionKey, Gleaned>,
    aged: BTreeMap<TopicName, Aged>,
    freed: Totals,
}

/// How far what is seen of a log goes.
#[derive(Clone, Copy, Debug)]
pub struct Limits<'a> {
    /// Segments of later manifests stay: before their records others may lie that are not sealed yet.
    pub refined: Sequence,
    /// What later manifests have named is not in sealed buckets yet.
    pub sealed: Sequence,
    /// Where the kept snapshots end, the lowest of each partition. What comes later, under an old timestamp, takes the place of
    /// nothing that they need.
    pub cuts: &'a Ends,
}

/// What becomes of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Stays,
    Goes,
    /// The newest record of each key stays, in a base.
    Ages,
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
    /// To gather what goes where the kept instants begin at `window`.
    pub fn new(state: &'a State, window: TimestampMs, limits: Limits<'a>) -> Self {
        // The newest image of before the window begins holds what its first instants need. One that was made later, of groups that
        // were behind, is of no use to a snapshot of between.
        let is_before = |at: &&crate::state::GroupImageAt| {
            let holds_all = at.until.is_some_and(|until| until <= window);
            at.observed_at <= window && holds_all && at.image.newest.is_none_or(|newest| newest <= window)
        };
        let groups = state.group_images.iter().rev().find(is_before);
        let groups = groups.map(|image| image.sequence);
        let (kept, partitions, aged) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { state, window, limits, groups, kept, partitions, aged, freed: Totals::default() }
    }

    /// The hour from which on nothing goes, of any partition.
    pub fn end(&self) -> Bucket {
        // What ends with offsets that no run has, as transactions do, never begins at its end.
        let held = self.state.positions.iter().filter(|(_, held)| held.rows > 0);
        let ends = held.filter_map(|(key, _)| match kept(self.state, key, self.window) {
            Kept::All => None,
            Kept::From(bucket) | Kept::Newest { before: bucket, .. } => Some(bucket),
            Kept::Nothing => Some(Bucket::of(TimestampMs::new(i64::MAX))),
        });
        let image = self.state.group_images.iter().find(|image| Some(image.sequence) == self.groups);
        let groups = image.map(|image| Bucket::of(Bucket::of(image.observed_at).end()));
        ends.chain(groups).max().unwrap_or(Bucket::of(TimestampMs::new(0)))
    }

    /// Takes in a segment of a sealed bucket. Says whether anything of it stays, so far.
    pub fn take(&mut self, segment: &Segment) -> bool {
        if !self.state.holds(segment) {
            return false;
        }
        let mut seen = AgedSegment { segment: segment.clone(), aging: Vec::new(), going: Vec::new(), stays: false };
        // Of a segment with several lives of a topic, one may have been retired before.
        for run in self.state.live_runs(segment) {
            let (key, fate) = (run.key(), self.fate(segment, run));
            let of_compacted = matches!(self.kept(&key), Kept::Newest { .. });
            let held = self.state.position(&key);
            let gleaned = self.partitions.entry(key).or_default();
            match fate {
                Fate::Stays => {
                    gleaned.stays(run);
                    seen.stays = true;
                }
                Fate::Goes if of_compacted => seen.going.push(run.clone()),
                Fate::Goes => gleaned.goes(run, held),
                Fate::Ages => seen.aging.push(run.clone()),
            }
        }
        let stays = seen.stays;
        if let Some(run) = seen.aging.first().or(seen.going.first()) {
            self.aged.entry(run.topic.clone()).or_default().segments.push(seen);
            return true;
        }
        if !stays {
            self.freed = self.freed.plus(segment).unwrap_or(self.freed);
        }
        stays
    }

    fn fate(&mut self, segment: &Segment, run: &Run) -> Fate {
        let is_base = segment.base().is_some();
        let sequence = segment.object.segment_sequence();
        if !is_base && sequence.is_none_or(|sequence| sequence > self.limits.refined) {
            return Fate::Stays;
        }
        if segment.holds_groups() {
            return if sequence <= self.groups { Fate::Goes } else { Fate::Stays };
        }
        let key = run.key();
        let is_in_cuts = || self.limits.cuts.get(&key).is_none_or(|cut| run.range.next_offset() <= *cut);
        match self.kept(&key) {
            Kept::Nothing => Fate::Goes,
            Kept::From(first) | Kept::Newest { since: Some(first), .. } if run.bucket < first => Fate::Goes,
            Kept::Newest { before, .. } if is_base || (run.bucket < before && is_in_cuts()) => Fate::Ages,
            _ => Fate::Stays,
        }
    }

    fn kept(&mut self, key: &PartitionKey) -> Kept {
        let Self { state, window, limits, .. } = *self;
        let of_key = || match state.position(key).and_then(|held| held.base) {
            // All of a base must be seen, where something of its partition goes.
            Some(base) if base.added > limits.sealed => Kept::All,
            _ => kept(state, key, window),
        };
        *self.kept.entry(key.clone()).or_insert_with(of_key)
    }

    /// The topics whose base is to be made anew: enough has come since that it is worth it, or something else of a partition with
    /// a base goes. The others stay as they are.
    pub fn aged(&mut self) -> Vec<Aged> {
        let mut due = Vec::new();
        for mut aged in std::mem::take(&mut self.aged).into_values() {
            self.stay(&aged.shorten());
            if aged.is_due(self.state) {
                due.push(aged);
            } else {
                self.leave(&aged);
            }
        }
        due
    }

    /// What goes, with the bases that were made of what has aged; `None` where there was no room to make one: it stays. `lowest` is
    /// at or below every timestamp of what is sealed and was not taken in; what is not sealed, the writer counts as it commits.
    pub fn finish(mut self, lowest: TimestampMs, made: Vec<(Aged, Option<Vec<Segment>>)>) -> Retired {
        let mut base = Vec::new();
        for (aged, segments) in made {
            let Some(segments) = segments else {
                self.leave(&aged);
                continue;
            };
            for aged in &aged.segments {
                self.go(&aged.aging);
                self.go(&aged.going);
                self.free(aged, !aged.stays);
            }
            for segment in segments {
                self.stay(&segment.runs);
                base.push(segment);
            }
        }
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
        Retired { before: window, starts, base, group_images_before, freed }
    }

    /// What of a topic goes where no base is made of what has aged.
    fn leave(&mut self, aged: &Aged) {
        let bound = aged.bound_to_base(self.state);
        for aged in &aged.segments {
            let (stays, goes): (Vec<Run>, Vec<Run>) =
                aged.going.iter().cloned().partition(|run| bound.contains(&run.key()));
            self.stay(&aged.aging);
            self.stay(&stays);
            self.go(&goes);
            self.free(aged, !aged.stays && aged.aging.is_empty() && stays.is_empty());
        }
    }

    fn stay(&mut self, runs: &[Run]) {
        for run in runs {
            self.partitions.entry(run.key()).or_default().stays(run);
        }
    }

    fn go(&mut self, runs: &[Run]) {
        for run in runs {
            let key = run.key();
            let held = self.state.position(&key);
            self.partitions.entry(key).or_default().goes(run, held);
        }
    }

    fn free(&mut self, aged: &AgedSegment, whole: bool) {
        if whole {
            self.freed = self.freed.plus(&aged.segment).unwrap_or(self.freed);
        }
    }
}

impl Gleaned {
    fn stays(&mut self, run: &Run) {
        let lowest = run.min_timestamp;
        self.lowest = Some(self.lowest.map_or(lowest, |other| other.min(lowest)));
    }

    /// What is before the end of the run goes; where the run is of a base, before the start of its partition.
    fn goes(&mut self, run: &Run, held: Option<&Position>) {
        let start = held.map_or(Offset::new(0), |held| held.first_offset);
        self.next = self.next.max(Some(run.range.next_offset().max(start)));
        self.rows = self.rows.saturating_add(run.rows);
    }
}

#[cfg(test)]
mod tests;
