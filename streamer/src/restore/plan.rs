//! The plan of a restore: everything that it reads and writes, and everything that stands in its way. Pure.
//!
//! ```text
//! document + Point + segments touched + Target ──▶ build ──▶ Plan, Conflicts
//! ```
//!
//! Owns: the stored document and its rules. The executor makes no choices: what is not in the plan does not happen. A plan
//! is stored before the first write and never changes, so a restore that is started again does the same.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::document::{Document, FORMAT_VERSION, Kind};
use strimzi_backup_format::ids::{
    BackupId, ClusterId, Lineage, Offset, PartitionId, PartitionKey, RestoreId, SnapshotId, TimestampMs, TopicId,
    TopicName,
};
use strimzi_backup_format::job::{ExistingTopicPolicy, RestoreSettings, TopicCreation, TopicTarget};
use strimzi_backup_format::manifest::Gap;
use strimzi_backup_format::segment::slice::{estimated_bytes, estimated_requests};
use strimzi_backup_format::slice::{Ends, Touched};
use strimzi_backup_format::state::{Head, State};

use super::conflict::{Conflict, Warning};
use super::dates::Dates;
use super::groups::{self, GroupPlan, Held};
use super::point::{Absent, Chosen, Point};
use super::record_size;
use crate::kafka::{BrokerError, TargetTopic};

/// Source partitions whose progress one target partition can carry: what is committed with an offset has 4,096 bytes, and
/// each takes up to 105 of them.
const SOURCES_PER_TARGET: usize = 38;

/// What a restore writes in a second when nothing slows it down, for the estimate of its time; measured in `benchmarks/`.
const RAW_BYTES_PER_SECOND: u64 = 100 << 20;

/// A restore from its first to its last record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Plan {
    /// Always 1 today.
    pub format_version: u32,
    /// Always `restorePlan`.
    pub kind: Kind,
    /// The backup that is read.
    pub backup: BackupId,
    /// The restore's name.
    pub restore: RestoreId,
    /// When it was planned.
    pub created_at: TimestampMs,
    /// The Kafka cluster that is written to.
    pub target: ClusterId,
    /// What of the restore document decides about records and topics: one of the same name must ask for the same.
    pub asked: Sha256,
    /// The newest manifest that was looked at; the snapshot's, where there is one.
    pub manifest: Head,
    /// The first instant that was kept then; absent: all were. Once it is another, records that are to be read may be gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<TimestampMs>,
    /// The snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
    /// The first timestamp, inclusive; absent: the lowest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<TimestampMs>,
    /// The last timestamp, inclusive; absent: the highest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<TimestampMs>,
    /// The topics, by their names in the backup.
    pub topics: Vec<TopicPlan>,
    /// Consumer groups whose offsets are restored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<GroupPlan>,
    /// Selected topics of which nothing is restored.
    pub absent: Vec<Absent>,
    /// Accepted gaps.
    pub gaps: Vec<Gap>,
    /// Accepted partitions whose first copy was not complete.
    pub incomplete: Vec<Incomplete>,
    /// What to know before it begins.
    pub warnings: Vec<Warning>,
    /// What is read.
    pub reads: Reads,
    /// About how many requests to the store that takes.
    pub requests: u64,
    /// About how long it takes, in seconds.
    pub estimated_seconds: u64,
}

impl Document for Plan {
    const KIND: Kind = Kind::RestorePlan;
}

/// A partition whose first copy was not complete at the moment: some of its older records may be missing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Incomplete {
    /// The topic.
    pub topic: TopicName,
    /// Which life of the topic.
    pub lineage: Lineage,
    /// The partition.
    pub partition: PartitionId,
}

impl Incomplete {
    fn of(key: &PartitionKey) -> Self {
        let PartitionKey { topic, lineage, partition } = key.clone();
        Self { topic, lineage, partition }
    }
}

/// What becomes of one topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TopicPlan {
    /// Its name in the backup.
    pub source: TopicName,
    /// Its name at the target.
    pub target: TopicName,
    /// What happens to the topic itself.
    pub action: Action,
    /// The topic id of the one that is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing: Option<TopicId>,
    /// Where its partitions end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub existing_ends: Vec<Offset>,
    /// How many partitions it has in the backup.
    pub source_partitions: u32,
    /// How many it has at the target.
    pub target_partitions: u32,
    /// Replicas of each, where it is created.
    pub replication_factor: u16,
    /// Its `max.message.bytes`, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_message_bytes: Option<u64>,
    /// What is set on it in the end, where it is created.
    pub settings: BTreeMap<String, String>,
    /// What is set on it while records are written, instead or in addition, where it is created: nothing may be deleted,
    /// compacted away, refused or dated anew meanwhile.
    pub lifted: BTreeMap<String, String>,
    /// Its partitions in the backup.
    pub partitions: Vec<PartitionPlan>,
}

/// What happens to a topic at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub enum Action {
    /// It is created.
    Create,
    /// Records are added to it.
    Append,
    /// It is deleted and created.
    Recreate,
}

impl Action {
    /// The name as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Create => "Create",
            Self::Append => "Append",
            Self::Recreate => "Recreate",
        }
    }
}

/// What is read of one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PartitionPlan {
    /// Its number in the backup.
    pub partition: PartitionId,
    /// Which life of the topic.
    pub lineage: Lineage,
    /// The first offset that is not restored.
    pub end: Offset,
    /// What is read of it.
    #[serde(flatten)]
    pub reads: Reads,
    /// No record that is restored has a lower timestamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_timestamp: Option<TimestampMs>,
    /// No record that is restored has a higher timestamp.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_timestamp: Option<TimestampMs>,
}

/// How much is read. Runs that a moment cuts through count whole, so records and bytes are upper bounds; bytes are shares of
/// their segments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reads {
    /// Segments.
    pub segments: u64,
    /// Runs.
    pub runs: u64,
    /// Records, at most.
    pub records: u64,
    /// Stored bytes, about.
    pub bytes: u64,
    /// Bytes of keys, values and headers, about.
    pub raw_bytes: u64,
    /// The most bytes of one record in an uncompressed batch of its own, at most; 0 where nothing is read.
    pub largest_record: u64,
}

/// What the target is like before the first write.
#[derive(Clone, Debug)]
pub struct Target {
    /// The cluster.
    pub cluster: ClusterId,
    /// How many brokers it has.
    pub brokers: usize,
    /// The largest record batch that a topic takes which has no `max.message.bytes` of its own, if the user may know.
    pub max_message_bytes: Option<u64>,
    /// What it says of the topics that are to be written.
    pub topics: BTreeMap<TopicName, Result<TargetTopic, BrokerError>>,
}

/// What a plan is made from.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// The backup.
    pub backup: BackupId,
    /// What the document asks for.
    pub settings: &'a RestoreSettings,
    /// What of it decides.
    pub asked: Sha256,
    /// The records.
    pub point: &'a Point,
    /// Where they lie.
    pub touched: &'a [Touched],
    /// What the backup is, for the lives of topics and their gaps.
    pub state: &'a State,
    /// What groups had committed at the moment; absent: it was not looked for.
    pub groups: Option<&'a Held>,
    /// The target.
    pub target: &'a Target,
    /// The present.
    pub now: TimestampMs,
}

/// Plans a restore. With a conflict it must not begin.
pub fn build(basis: Basis<'_>) -> (Plan, Vec<Conflict>) {
    let Basis { backup, settings, asked, point, touched, state, target, now, .. } = basis;
    let (mut conflicts, mut warnings) = (Vec::new(), Vec::new());
    let reads = reads_by_partition(touched, point);
    let topics: Vec<TopicPlan> = point
        .topics
        .iter()
        .map(|(source, chosen)| {
            let mut plan = topic(basis, source, chosen, &reads);
            match record_size::fit(&mut plan, settings.raise_message_limit) {
                Ok(raised) => warnings.extend(raised),
                Err(conflict) => conflicts.push(conflict),
            }
            let dates = plan.keys().filter_map(|key| Some(reads.get(&key)?.1)).reduce(Dates::and);
            super::conflict::find(&plan, dates, &basis, &mut conflicts, &mut warnings);
            if plan.is_created() && u32::from(plan.replication_factor) < chosen.description.replication_factor {
                let (topic, replicas) = (plan.target.clone(), plan.replication_factor);
                warnings.push(Warning::Replicas { topic, replicas });
            }
            plan
        })
        .collect();
    super::conflict::find_shared_targets(&topics, &mut conflicts);
    let (groups, of_groups) = groups::plan(&basis, &topics);
    conflicts.extend(of_groups.into_iter().map(Conflict::Group));
    let unreadable = basis.groups.map(|held| held.unreadable).filter(|records| *records > 0);
    warnings.extend(unreadable.map(|records| Warning::UnreadableOffsets { records }));
    let total = total(touched);
    let rate = settings.throttle_bytes.map_or(RAW_BYTES_PER_SECOND, |limit| limit.get().min(RAW_BYTES_PER_SECOND));
    let plan = Plan {
        format_version: FORMAT_VERSION,
        kind: Kind::RestorePlan,
        backup,
        restore: settings.id.clone(),
        created_at: now,
        target: target.cluster.clone(),
        asked,
        manifest: point.manifest,
        retired: state.retired.map(|retired| retired.before),
        snapshot: settings.stop.snapshot.clone(),
        start: point.start,
        until: point.until,
        topics,
        groups,
        absent: point.absent.clone(),
        gaps: point.gaps.clone(),
        incomplete: point.incomplete.iter().map(Incomplete::of).collect(),
        warnings,
        reads: total,
        requests: touched.iter().map(|one| estimated_requests(&one.segment, &one.wanted)).sum(),
        estimated_seconds: total.raw_bytes.div_ceil(rate).max(1),
    };
    (plan, conflicts)
}

type Extents = BTreeMap<PartitionKey, (Reads, Dates)>;

fn reads_by_partition(touched: &[Touched], point: &Point) -> Extents {
    let mut found = Extents::new();
    for Touched { segment, wanted } in touched {
        let mut seen = BTreeSet::new();
        for part in wanted {
            let (key, dates) = (part.run.key(), Dates::of(part, point.start, point.until));
            let (reads, all) = found.entry(key.clone()).or_insert((Reads::default(), dates));
            reads.segments += u64::from(seen.insert(key));
            reads.add(segment, &part.run);
            *all = all.and(dates);
        }
    }
    found
}

fn total(touched: &[Touched]) -> Reads {
    let mut total = Reads { segments: touched.len() as u64, ..Reads::default() };
    for Touched { segment, wanted } in touched {
        wanted.iter().for_each(|part| total.add(segment, &part.run));
    }
    total
}

impl Reads {
    fn add(&mut self, segment: &strimzi_backup_format::manifest::Segment, run: &strimzi_backup_format::manifest::Run) {
        self.runs += 1;
        self.records += run.rows;
        self.bytes += estimated_bytes(segment, run);
        let share = u128::from(segment.raw_bytes) * u128::from(run.rows) / u128::from(segment.rows.max(1));
        self.raw_bytes += u64::try_from(share).unwrap_or(u64::MAX);
        self.largest_record = self.largest_record.max(run.largest_record);
    }
}

fn topic(basis: Basis<'_>, source: &TopicName, chosen: &Chosen, reads: &Extents) -> TopicPlan {
    let TopicTarget { topic: target, partitions } = basis.settings.target(source);
    // Partitions that were added later are made only where records of theirs are restored.
    let held = chosen.keys(source).filter(|key| reads.contains_key(key));
    let held = held.map(|key| key.partition.get().unsigned_abs() + 1).max().unwrap_or(0);
    let source_partitions = held.max(chosen.description.partitions);
    let existing = basis.target.topics.get(&target).and_then(|found| found.as_ref().ok());
    let action = match (existing, basis.settings.existing_topic_policy, basis.settings.topic_creation) {
        (None, _, TopicCreation::Auto) => Action::Create,
        (None, _, TopicCreation::Manual) => Action::Append,
        (Some(_), ExistingTopicPolicy::Overwrite, _) => Action::Recreate,
        (Some(_), ExistingTopicPolicy::Append | ExistingTopicPolicy::Fail, _) => Action::Append,
    };
    let is_created = action != Action::Append;
    let brokers = u32::try_from(basis.target.brokers).unwrap_or(u32::MAX);
    let replicas = chosen.description.replication_factor.clamp(1, brokers.max(1));
    let settings = if is_created { settings_for(&chosen.description.config, replicas) } else { BTreeMap::new() };
    TopicPlan {
        source: source.clone(),
        target,
        action,
        existing: existing.and_then(|found| found.id.clone()),
        existing_ends: existing.map(|found| found.partitions.iter().map(|one| one.end).collect()).unwrap_or_default(),
        source_partitions,
        target_partitions: partitions.map_or(source_partitions, std::num::NonZeroU32::get),
        replication_factor: u16::try_from(replicas).unwrap_or(u16::MAX),
        max_message_bytes: match existing.filter(|_| !is_created) {
            Some(found) => record_size::limit(&found.settings.effective),
            None if is_created => record_size::limit(&settings).or(basis.target.max_message_bytes),
            None => None,
        },
        lifted: if is_created { lifted(&settings) } else { BTreeMap::new() },
        settings,
        partitions: chosen.keys(source).map(|key| partition(&key, basis.point, reads)).collect(),
    }
}

fn partition(key: &PartitionKey, point: &Point, reads: &Extents) -> PartitionPlan {
    let found = reads.get(key);
    PartitionPlan {
        partition: key.partition,
        lineage: key.lineage,
        end: point.ends.get(key).copied().unwrap_or(Offset::new(0)),
        reads: found.map_or_else(Reads::default, |(reads, _)| *reads),
        min_timestamp: found.map(|(_, dates)| dates.min),
        max_timestamp: found.map(|(_, dates)| dates.max),
    }
}

/// The topic's own settings, as far as the target can keep them: more replicas in sync than there are would refuse all writes.
fn settings_for(config: &BTreeMap<String, String>, replicas: u32) -> BTreeMap<String, String> {
    const IN_SYNC: &str = "min.insync.replicas";
    let mut settings = config.clone();
    if config.get(IN_SYNC).and_then(|set| set.parse::<u32>().ok()).is_some_and(|wanted| wanted > replicas) {
        settings.insert(IN_SYNC.to_owned(), replicas.to_string());
    }
    settings
}

/// Settings under which everything that is written stays as it is.
fn lifted(settings: &BTreeMap<String, String>) -> BTreeMap<String, String> {
    let any_time = i64::MAX.to_string();
    let lifted = [
        ("cleanup.policy", "delete"),
        ("retention.ms", "-1"),
        ("retention.bytes", "-1"),
        ("message.timestamp.type", "CreateTime"),
        ("message.timestamp.before.max.ms", any_time.as_str()),
        ("message.timestamp.after.max.ms", any_time.as_str()),
    ];
    let differs = |(name, value): &(&str, &str)| settings.get(*name).is_none_or(|set| set != value);
    lifted.into_iter().filter(differs).map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

impl Plan {
    /// Where each partition ends, exclusive.
    pub fn ends(&self) -> Ends {
        self.topics.iter().flat_map(TopicPlan::ends).collect()
    }
}

impl TopicPlan {
    /// Whether the restore creates it.
    pub fn is_created(&self) -> bool {
        self.action != Action::Append
    }

    /// The most bytes of one record that is restored, in an uncompressed batch of its own.
    pub fn largest_record(&self) -> u64 {
        self.partitions.iter().map(|one| one.reads.largest_record).max().unwrap_or(0)
    }

    /// The number of partitions that records are spread over anew; `None` where each keeps its own. Order then holds within
    /// a source partition and key only.
    pub fn respread(&self) -> Option<u32> {
        (self.target_partitions != self.source_partitions).then_some(self.target_partitions)
    }

    /// Whether one target partition would have to carry the progress of more source partitions than it can.
    pub fn has_too_many_sources(&self) -> bool {
        let targets = usize::try_from(self.target_partitions.max(1)).unwrap_or(usize::MAX);
        self.partitions.len().div_ceil(targets) > SOURCES_PER_TARGET
    }

    /// Its partitions, as the backup names them.
    pub fn keys(&self) -> impl Iterator<Item = PartitionKey> {
        let key = |one: &PartitionPlan| PartitionKey {
            topic: self.source.clone(),
            lineage: one.lineage,
            partition: one.partition,
        };
        self.partitions.iter().map(key)
    }

    fn ends(&self) -> impl Iterator<Item = (PartitionKey, Offset)> {
        self.keys().zip(self.partitions.iter().map(|one| one.end))
    }
}

#[cfg(test)]
mod tests;
