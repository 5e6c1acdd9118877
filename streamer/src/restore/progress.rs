//! How far a restore is, as it is committed to the target together with the records. Pure.
//!
//! The offsets of the restore's own group are keyed by partitions that the target has. Each source partition is at home in
//! one target partition, and everything about it travels in the metadata of that one's offset:
//!
//! ```text
//! 1 <partition>.<lineage>=<next offset>:<records>:<bytes> …
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use strimzi_backup_format::ids::{Lineage, Offset, PartitionId, PartitionKey, TopicName};

use super::plan::{Plan, TopicPlan};
use crate::kafka::{CommittedOffset, GroupOffset};

/// The version of what is written into the metadata.
const VERSION: &str = "1";

/// A partition as the target names it.
pub type TargetPartition = (TopicName, PartitionId);

/// What is restored of one source partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The first source offset that is not restored.
    pub next: Offset,
    /// Records written.
    pub records: u64,
    /// Their bytes of keys, values and headers.
    pub bytes: u64,
}

impl Default for Done {
    fn default() -> Self {
        Self { next: Offset::new(0), records: 0, bytes: 0 }
    }
}

/// What is restored of every source partition.
pub type Progress = BTreeMap<PartitionKey, Done>;

/// What the target says of the progress cannot be believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProgressFault {
    /// Something else uses the group.
    #[error("the progress of the restore, kept in group {group} at {}-{}, cannot be read: {metadata:?}", at.0, at.1)]
    Unreadable {
        /// The group.
        group: String,
        /// Where.
        at: TargetPartition,
        /// What is there.
        metadata: String,
    },
    /// Some of it is missing.
    #[error(
        "the target lost the progress of {missing} (offsets expire after offsets.retention.minutes; a deleted topic takes them \
         along): delete what was restored so far and start a restore with another id"
    )]
    Lost {
        /// A partition whose progress is missing.
        missing: PartitionKey,
    },
}

/// The progress before the first record.
pub fn none(plan: &Plan) -> Progress {
    plan.ends().into_keys().map(|key| (key, Done::default())).collect()
}

/// The progress after the last record.
pub fn is_complete(plan: &Plan, progress: &Progress) -> bool {
    plan.ends().iter().all(|(key, end)| progress.get(key).is_some_and(|done| done.next >= *end))
}

/// Where the progress of a source partition is at home.
pub fn home(topic: &TopicPlan, partition: PartitionId) -> TargetPartition {
    let targets = i32::try_from(topic.target_partitions.max(1)).unwrap_or(i32::MAX);
    (topic.target.clone(), PartitionId::new(partition.get() % targets))
}

/// The homes of everything that is restored.
pub fn homes(plan: &Plan) -> BTreeMap<TargetPartition, Vec<PartitionKey>> {
    let mut homes: BTreeMap<TargetPartition, Vec<PartitionKey>> = BTreeMap::new();
    for topic in &plan.topics {
        for one in &topic.partitions {
            let key = PartitionKey { topic: topic.source.clone(), lineage: one.lineage, partition: one.partition };
            homes.entry(home(topic, one.partition)).or_default().push(key);
        }
    }
    homes
}

/// What is to be committed for one home.
pub fn offset(home: &TargetPartition, sources: &[PartitionKey], progress: &Progress) -> GroupOffset {
    let mut metadata = VERSION.to_owned();
    let mut records = 0;
    for key in sources {
        let done = progress.get(key).copied().unwrap_or_default();
        records += done.records;
        // Writing into a text cannot fail.
        let _ = write!(metadata, " {}.{}={}:{}:{}", key.partition, key.lineage, done.next, done.records, done.bytes);
    }
    let offset = match sources {
        [only] => progress.get(only).copied().unwrap_or_default().next,
        _ => Offset::new(i64::try_from(records).unwrap_or(i64::MAX)),
    };
    GroupOffset { topic: home.0.clone(), partition: home.1, offset, metadata: Some(metadata) }
}

/// The progress that was committed; `None` where nothing was.
///
/// # Errors
/// [`ProgressFault`] where it is not whole.
pub fn read(
    plan: &Plan,
    group: &str,
    committed: &BTreeMap<TargetPartition, Option<CommittedOffset>>,
) -> Result<Option<Progress>, ProgressFault> {
    if committed.values().all(Option::is_none) {
        return Ok(None);
    }
    let mut progress = Progress::new();
    for (home, sources) in homes(plan) {
        let metadata = committed.get(&home).and_then(|found| found.as_ref()?.metadata.as_deref());
        let Some(metadata) = metadata else {
            return Err(ProgressFault::Lost { missing: sources.into_iter().next().unwrap_or_else(|| unnamed(&home)) });
        };
        let unreadable =
            || ProgressFault::Unreadable { group: group.to_owned(), at: home.clone(), metadata: metadata.to_owned() };
        let found = parse(metadata).ok_or_else(unreadable)?;
        for key in sources {
            let done = *found.get(&(key.partition, key.lineage)).ok_or_else(unreadable)?;
            progress.insert(key, done);
        }
    }
    Ok(Some(progress))
}

fn unnamed((topic, partition): &TargetPartition) -> PartitionKey {
    PartitionKey { topic: topic.clone(), lineage: Lineage::FIRST, partition: *partition }
}

fn parse(metadata: &str) -> Option<BTreeMap<(PartitionId, Lineage), Done>> {
    let mut parts = metadata.split(' ');
    if parts.next() != Some(VERSION) {
        return None;
    }
    let entry = |part: &str| {
        let (source, done) = part.split_once('=')?;
        let (partition, lineage) = source.split_once('.')?;
        let [next, records, bytes] = <[&str; 3]>::try_from(done.split(':').collect::<Vec<_>>()).ok()?;
        let next = Offset::new(next.parse().ok().filter(|next: &i64| *next >= 0)?);
        let done = Done { next, records: records.parse().ok()?, bytes: bytes.parse().ok()? };
        Some(((PartitionId::new(partition.parse().ok()?), Lineage::new(lineage.parse().ok()?)), done))
    };
    parts.map(entry).collect()
}
