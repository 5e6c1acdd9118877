//! Where a restore stops: from what the document asks and what the backup holds, the exact records. Pure.
//!
//! Owns: the moment, which life of each topic stood at it, and where each partition ends. Does not own: which segments hold
//! the records ([`strimzi_backup_format::slice`]), or what becomes of them at the target ([`super::plan`]).

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use strimzi_backup_format::coverage::{self, PartitionCoverage};
use strimzi_backup_format::ids::{Lineage, Offset, PartitionId, PartitionKey, SnapshotId, TimestampMs, TopicName};
use strimzi_backup_format::job::{OnGap, RestoreSettings, Until};
use strimzi_backup_format::manifest::{Frontier, Gap, TopicDescription};
use strimzi_backup_format::slice::Ends;
use strimzi_backup_format::snapshot::Snapshot;
use strimzi_backup_format::state::{Head, State, TopicState};

/// How many topics an error names.
const SHOWN_TOPICS: usize = 5;

/// The records of a restore: those of its partitions below their ends, with a timestamp in `[start, until]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The newest manifest that it was read from; the snapshot's where there is one.
    pub manifest: Head,
    /// The first timestamp, inclusive; absent: the lowest.
    pub start: Option<TimestampMs>,
    /// The last timestamp, inclusive; absent: the highest.
    pub until: Option<TimestampMs>,
    /// The topics, by their names in the backup.
    pub topics: BTreeMap<TopicName, Chosen>,
    /// Where each partition ends, exclusive.
    pub ends: Ends,
    /// Selected topics that did not exist at that moment, or were not captured.
    pub absent: Vec<Absent>,
    /// Gaps that records of the restore are missing in; accepted by the document.
    pub gaps: Vec<Gap>,
    /// Partitions whose first copy was not complete; accepted by the document.
    pub incomplete: Vec<PartitionKey>,
}

/// A topic as it stood at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chosen {
    /// What it is like.
    pub description: TopicDescription,
    /// Which life each of its partitions was in.
    pub lineages: BTreeMap<PartitionId, Lineage>,
}

/// A selected topic of which nothing is restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Absent {
    /// The topic.
    pub topic: TopicName,
    /// Why.
    pub because: Absence,
    /// Since when it was so; until when, where it was not seen yet.
    pub at: TimestampMs,
}

impl fmt::Display for Absent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = if self.because == Absence::NotYet { "until" } else { "since" };
        write!(f, "{}: {} {since} {}", self.topic, self.because.as_str(), self.at.to_rfc3339())
    }
}

/// Why nothing of a topic is restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum Absence {
    /// It was first seen later.
    NotYet,
    /// It had been deleted by then.
    Deleted,
    /// It was not selected by the backup at that moment.
    Excluded,
}

impl Absence {
    /// The name as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotYet => "NotYet",
            Self::Deleted => "Deleted",
            Self::Excluded => "Excluded",
        }
    }
}

/// The backup cannot be restored as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointFault {
    /// The first copy lasts.
    #[error("nothing can be restored yet: the first copy of the topics is not complete; see `strimzi-backup inspect`")]
    NothingYet,
    /// The moment is before the window.
    #[error("pointInTime: {} is before the window of the backup: the earliest moment is {}", wanted.to_rfc3339(), earliest.to_rfc3339())]
    BeforeWindow {
        /// The moment asked for.
        wanted: TimestampMs,
        /// The nearest that would work.
        earliest: TimestampMs,
    },
    /// The snapshot is of an instant that retention does not keep any longer.
    #[error(
        "backupId: the snapshot {id} is of {}, and the backup is kept since {}; what only it needed is retired: take a later \
         snapshot, or a pointInTime from then on", observed_at.to_rfc3339(), kept_since.to_rfc3339()
    )]
    Retired {
        /// The snapshot.
        id: SnapshotId,
        /// Its instant.
        observed_at: TimestampMs,
        /// The first instant that is kept.
        kept_since: TimestampMs,
    },
    /// The moment is after the window.
    #[error("pointInTime: {} is after what the backup holds: the latest moment is {}", wanted.to_rfc3339(), latest.to_rfc3339())]
    AfterWindow {
        /// The moment asked for.
        wanted: TimestampMs,
        /// The nearest that would work.
        latest: TimestampMs,
    },
    /// The window has no moment in it: partitions were behind when the first copy was complete.
    #[error(
        "pointInTime: the backup has no moment to restore to yet: its first copy is of {}, and it holds everything until {} only; \
         wait until it has caught up (`strimzi-backup inspect`), or leave pointInTime out to restore all there is",
        earliest.to_rfc3339(), latest.to_rfc3339()
    )]
    EmptyWindow {
        /// Where the window begins.
        earliest: TimestampMs,
        /// Where it ends.
        latest: TimestampMs,
    },
    /// The restore would begin after it ends.
    #[error("startTimestamp: {} is after the moment of the restore, {}", start.to_rfc3339(), until.to_rfc3339())]
    InsideOut {
        /// The first timestamp asked for.
        start: TimestampMs,
        /// The last.
        until: TimestampMs,
    },
    /// Nothing is selected that was there.
    #[error("topics: {}", none_of(.include, .exclude, .held, .absent))]
    NoTopic {
        /// What selects topics.
        include: Vec<String>,
        /// What takes some of them out.
        exclude: Vec<String>,
        /// The topics that the backup holds.
        held: Vec<TopicName>,
        /// Those that are selected.
        absent: Vec<Absent>,
    },
    /// Records in range are lost.
    #[error(
        "{} lineage {} lost the offsets {} ({}): {}; or set onGap: accept to restore what there is",
        PartitionOf(.0), .0.lineage, .0.range, .0.reason.as_str(), nearest(.0)
    )]
    Gap(Box<Gap>),
    /// A first copy in range was not complete.
    #[error("the first copy of {0} was not complete at that moment: exclude the topic, or set onGap: accept")]
    FirstCopy(PartitionKey),
}

/// Why no topic is restored, and what could be.
fn none_of(include: &[String], exclude: &[String], held: &[TopicName], absent: &[Absent]) -> String {
    if held.is_empty() {
        return "the backup holds none".to_owned();
    }
    if !absent.is_empty() {
        let absent = some(absent);
        return format!(
            "none that is selected was there at that moment ({absent}); take another moment or other topics"
        );
    }
    let exclude = if exclude.is_empty() { String::new() } else { format!(" without exclude {exclude:?}") };
    let (count, held) = (held.len(), some(held));
    format!(
        "include {include:?}{exclude} selects none of the {count} of the backup ({held}); an entry must match a whole \
         name"
    )
}

/// The first of them, and how many more there are.
fn some<T: fmt::Display>(all: &[T]) -> String {
    let mut shown: Vec<String> = all.iter().take(SHOWN_TOPICS).map(ToString::to_string).collect();
    let more = all.len() - shown.len();
    if more > 0 {
        shown.push(format!("{more} more"));
    }
    shown.join(", ")
}

struct PartitionOf<'a>(&'a Gap);

impl fmt::Display for PartitionOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.0.topic, self.0.partition)
    }
}

/// The nearest times that a gap leaves.
fn nearest(gap: &Gap) -> String {
    let later = format!("a startTimestamp after {}", gap.observed_at.to_rfc3339());
    match ends_before(gap) {
        Some(after) => format!("it is outside of a restore until before {}, or with {later}", after.to_rfc3339()),
        None => format!("it is outside of a restore with {later}"),
    }
}

/// The timestamp below which a gap has nothing, as far as producers' clocks go up. A highest timestamp from after the gap was
/// found is of a clock that was ahead, and says nothing.
fn ends_before(gap: &Gap) -> Option<TimestampMs> {
    gap.after.filter(|after| *after <= gap.observed_at)
}

/// What there is to choose from: the newest state of the log, or a snapshot of an earlier one.
struct Held<'a> {
    head: Head,
    topics: &'a BTreeMap<TopicName, TopicState>,
    ends: Ends,
    /// Partitions whose first copy was not complete.
    copying: BTreeSet<PartitionKey>,
}

pub(super) fn held_end(held: &PartitionCoverage) -> (PartitionKey, Offset) {
    let PartitionCoverage { topic, lineage, partition, next_offset, .. } = held.clone();
    (PartitionKey { topic, lineage, partition }, next_offset)
}

pub(super) fn frontier<'a>(state: &'a State, snapshot: Option<&'a Snapshot>) -> &'a Frontier {
    snapshot.map_or(&state.frontier, |snapshot| &snapshot.frontier)
}

impl<'a> Held<'a> {
    fn of(state: &'a State, snapshot: Option<&'a Snapshot>) -> Option<Self> {
        let behind = &frontier(state, snapshot).behind;
        let copying = behind.iter().filter(|behind| behind.until.is_none()).map(|behind| behind.key());
        let ends = match snapshot {
            None => state.positions.iter().map(|(key, position)| (key.clone(), position.next_offset)).collect(),
            Some(snapshot) => snapshot.positions.iter().map(held_end).collect(),
        };
        Some(Self {
            head: snapshot.map_or(state.head?, |snapshot| snapshot.manifest),
            topics: snapshot.map_or(&state.topics, |snapshot| &snapshot.topics),
            ends,
            copying: copying.collect(),
        })
    }
}

/// Resolves what is to be restored of a backup that stands at `state`, or tells everything that stands in the way.
///
/// # Errors
/// Every [`PointFault`] there is.
pub fn resolve(
    settings: &RestoreSettings,
    state: &State,
    snapshot: Option<&Snapshot>,
) -> Result<Point, Vec<PointFault>> {
    let held = Held::of(state, snapshot).ok_or_else(|| vec![PointFault::NothingYet])?;
    check_kept(state, snapshot).map_err(|fault| vec![fault])?;
    let until = moment(settings, state, snapshot).map_err(|fault| vec![fault])?;
    if let (Some(start), Some(until)) = (settings.start, until)
        && start > until
    {
        return Err(vec![PointFault::InsideOut { start, until }]);
    }
    let mut point = Point {
        manifest: held.head,
        start: settings.start,
        until,
        topics: BTreeMap::new(),
        ends: Ends::new(),
        absent: Vec::new(),
        gaps: Vec::new(),
        incomplete: Vec::new(),
    };
    for (name, topic) in held.topics.iter().filter(|(name, _)| settings.topics.selects(name)) {
        match choose(state, &held, name, topic, until) {
            Ok(chosen) => {
                point.ends.extend(chosen.keys(name).map(|key| {
                    let end = held.ends.get(&key).copied().unwrap_or(Offset::new(0));
                    (key, end)
                }));
                point.topics.insert(name.clone(), chosen);
            }
            Err((because, at)) => point.absent.push(Absent { topic: name.clone(), because, at }),
        }
    }
    if point.topics.is_empty() {
        return Err(vec![no_topic(settings, &held, point.absent)]);
    }
    point.gaps = state.gaps.iter().filter(|gap| point.misses(gap)).cloned().collect();
    point.incomplete = point.ends.keys().filter(|key| held.copying.contains(key)).cloned().collect();
    point.accepted(settings.on_gap)
}

fn no_topic(settings: &RestoreSettings, held: &Held<'_>, absent: Vec<Absent>) -> PointFault {
    let [include, exclude] = settings.topics.written().map(|entries| entries.into_iter().map(str::to_owned).collect());
    let held = held.topics.keys().filter(|topic| !topic.is_consumer_offsets()).cloned().collect();
    PointFault::NoTopic { include, exclude, held, absent }
}

/// Fails where retention has retired what the snapshot needs.
fn check_kept(state: &State, snapshot: Option<&Snapshot>) -> Result<(), PointFault> {
    let (Some(snapshot), Some(retired)) = (snapshot, state.retired) else { return Ok(()) };
    let (observed_at, kept_since) = (snapshot.manifest.observed_at, retired.before);
    if !snapshot.is_retired(Some(kept_since)) {
        return Ok(());
    }
    Err(PointFault::Retired { id: snapshot.id.clone(), observed_at, kept_since })
}

/// The last timestamp; `None` where everything that is held is wanted.
fn moment(
    settings: &RestoreSettings,
    state: &State,
    snapshot: Option<&Snapshot>,
) -> Result<Option<TimestampMs>, PointFault> {
    let Some(stop) = settings.stop.until else {
        // Everything held needs no window: which first copies are not complete is told by partition.
        let Frontier { until, behind, .. } = frontier(state, snapshot);
        let was_looked = until.is_some() || !behind.is_empty();
        return if was_looked { Ok(None) } else { Err(PointFault::NothingYet) };
    };
    let (from, latest) = match snapshot {
        None => (state.recoverable_from(), coverage::recoverable_until(state)),
        Some(snapshot) => {
            let kept_since = state.retired.map(|retired| retired.before);
            (snapshot.recoverable_from.max(kept_since), snapshot.recoverable_until)
        }
    };
    let (Some(earliest), Some(latest)) = (from, latest) else { return Err(PointFault::NothingYet) };
    if latest < earliest && snapshot.is_none() {
        return Err(PointFault::EmptyWindow { earliest, latest });
    }
    let wanted = match stop {
        Until::At(wanted) => wanted,
        Until::FromEnd(back) => {
            let back = i64::try_from(back.as_millis()).unwrap_or(i64::MAX);
            TimestampMs::new(latest.get().saturating_sub(back))
        }
    };
    if wanted < earliest {
        return Err(PointFault::BeforeWindow { wanted, earliest });
    }
    // The snapshot's positions end the restore then.
    if wanted > latest && snapshot.is_none() {
        return Err(PointFault::AfterWindow { wanted, latest });
    }
    Ok(Some(wanted))
}

/// The life of a topic at the moment, or why there was none.
fn choose(
    state: &State,
    held: &Held<'_>,
    name: &TopicName,
    topic: &TopicState,
    until: Option<TimestampMs>,
) -> Result<Chosen, (Absence, TimestampMs)> {
    let number = |index: usize| Lineage::new(i32::try_from(index).unwrap_or(i32::MAX));
    let began = |since: TimestampMs| until.is_none_or(|until| since <= until);
    let all = || topic.lives.iter().enumerate().map(|(index, life)| (number(index), life));
    let keys = held.ends.range(first_key(name)..).take_while(|(key, _)| key.topic == *name).map(|(key, _)| key);
    // When a topic was first seen, its records may have been there for a while.
    let has_records = keys.clone().any(|key| {
        key.lineage == Lineage::FIRST && state.position(key).and_then(|held| held.lowest_timestamp).is_some_and(began)
    });
    let mut then = all().filter(|(lineage, life)| began(life.since) || (*lineage == Lineage::FIRST && has_records));
    let Some((_, life)) = then.next_back() else {
        return Err((Absence::NotYet, topic.lives.first().map_or(TimestampMs::new(0), |life| life.since)));
    };
    if let Some(deleted) = life.deleted.filter(|deleted| began(*deleted)) {
        return Err((Absence::Deleted, deleted));
    }
    let pause = topic.selected.iter().rev().find(|interval| began(interval.from)).and_then(|interval| interval.until);
    if let Some(excluded) = pause.filter(|excluded| began(*excluded)) {
        return Err((Absence::Excluded, excluded));
    }
    // Of one life of the topic, each partition in the newest lineage that began by then: a truncated partition begins a
    // lineage of its own.
    let lives: BTreeSet<Lineage> = all()
        .filter(|(lineage, other)| {
            other.topic_id == life.topic_id && (began(other.since) || *lineage == Lineage::FIRST)
        })
        .map(|(lineage, _)| lineage)
        .collect();
    let mut lineages = BTreeMap::new();
    let current = topic.current.iter().map(|(partition, lineage)| (*partition, *lineage));
    for (partition, lineage) in keys.map(|key| (key.partition, key.lineage)).chain(current) {
        if lives.contains(&lineage) {
            let newest = lineages.entry(partition).or_insert(lineage);
            *newest = lineage.max(*newest);
        }
    }
    let description = until.map_or(&topic.description, |until| topic.description_at(until));
    Ok(Chosen { description: description.clone(), lineages })
}

fn first_key(topic: &TopicName) -> PartitionKey {
    PartitionKey { topic: topic.clone(), lineage: Lineage::FIRST, partition: PartitionId::new(0) }
}

impl Chosen {
    /// Its partitions in the lives they were in.
    pub fn keys<'a>(&'a self, topic: &'a TopicName) -> impl Iterator<Item = PartitionKey> + 'a {
        self.lineages.iter().map(|(partition, lineage)| PartitionKey {
            topic: topic.clone(),
            lineage: *lineage,
            partition: *partition,
        })
    }
}

impl Point {
    /// Whether records of the restore may be missing in a gap. What was lost came after what had been captured before, and
    /// before it was found missing.
    fn misses(&self, gap: &Gap) -> bool {
        let in_reach = self.ends.get(&gap.key()).is_some_and(|end| gap.range.base() < *end);
        let too_late = self.until.zip(ends_before(gap)).is_some_and(|(until, after)| until < after);
        let too_early = self.start.is_some_and(|start| gap.observed_at < start);
        in_reach && !too_late && !too_early
    }

    fn accepted(self, on_gap: OnGap) -> Result<Self, Vec<PointFault>> {
        let gaps = self.gaps.iter().map(|gap| PointFault::Gap(Box::new(gap.clone())));
        let faults: Vec<PointFault> = gaps.chain(self.incomplete.iter().cloned().map(PointFault::FirstCopy)).collect();
        if on_gap == OnGap::Fail && !faults.is_empty() { Err(faults) } else { Ok(self) }
    }
}

#[cfg(test)]
mod tests;
