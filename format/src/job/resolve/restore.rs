//! Judges a restore document. `cluster`, `storage` and `topics` are judged as those of a job document.

use std::collections::BTreeMap;
use std::num::{NonZeroU32, NonZeroU64};
use std::ops::RangeInclusive;
use std::time::Duration;

use super::super::raw::{
    RawGroupMapping, RawPointInTime, RawRestore, RawRestoreGroups, RawRestoreJob, RawTopicMapping,
};
use super::super::restore::{
    ExistingTopicPolicy, OnGap, RestoreGroups, RestoreJob, RestoreSettings, Stop, TopicCreation, TopicTarget, Until,
};
use super::super::selection::RESTORE_GROUP_PREFIX;
use super::super::{GroupSelection, Scalar, Storage, TopicSelection};
use super::{Document, Faults, GIB, JobFaults};
use crate::ids::{GroupId, IllegalName, RestoreId, SnapshotId, TimestampMs, TopicName};
use crate::manifest::invariants::MAX_PARTITIONS;

const OFFSET_RANGE: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(100 * 365 * 86_400);
const THROTTLE_RANGE: RangeInclusive<u64> = (64 << 10)..=1024 * GIB;

impl RestoreJob {
    /// Reads a document, YAML or JSON, at the instant `now`: what lies after it cannot be restored to.
    ///
    /// # Errors
    /// [`JobFaults`] with every fault of the document.
    pub fn parse(text: &str, now: TimestampMs) -> Result<Self, JobFaults> {
        resolve_restore(super::read(Document::Restore, text)?, now)
    }
}

/// Turns what was read into what the code sees, at the instant `now`.
///
/// # Errors
/// [`JobFaults`] with every fault of the document.
pub fn resolve_restore(raw: RawRestoreJob, now: TimestampMs) -> Result<RestoreJob, JobFaults> {
    let mut faults = Faults::default();
    let cluster = faults.required("cluster", raw.cluster).and_then(|raw| super::cluster::resolve(raw, &mut faults));
    let storage = faults.required("storage", raw.storage).and_then(|raw| super::storage::resolve(raw, &mut faults));
    let encryption = raw.encryption.and_then(|raw| super::encryption::resolve("encryption", raw, &mut faults));
    let restore = faults.required("restore", raw.restore).and_then(|raw| restore(raw, now, &mut faults));
    let http = raw.http.and_then(|raw| super::http(raw, &mut faults));
    match (cluster, storage, restore) {
        (Some(cluster), Some(storage), Some(restore)) if faults.0.is_empty() => {
            let storage = Storage { encryption, ..storage };
            Ok(RestoreJob { cluster, storage, restore, http })
        }
        _ => Err(JobFaults { document: Document::Restore, faults: faults.0 }),
    }
}

fn restore(raw: RawRestore, now: TimestampMs, faults: &mut Faults) -> Option<RestoreSettings> {
    let id = faults.required("restore.id", raw.id);
    let id = id.and_then(|id| named("restore.id", &id, RestoreId::new, faults));
    let snapshot = raw.backup_id.and_then(|id| named("restore.backupId", &id, SnapshotId::new, faults));
    let until = raw.point_in_time.and_then(|raw| until(&raw, now, faults));
    let start = instant("restore.startTimestamp", raw.start_timestamp.as_ref(), now, faults);
    if let (Some(start), Some(Until::At(stop))) = (start, until)
        && start > stop
    {
        let (start, stop) = (start.to_rfc3339(), stop.to_rfc3339());
        let message = format!("{start} is after restore.pointInTime.timestamp, {stop}; nothing would be restored");
        faults.push("restore.startTimestamp", message);
    }
    let topics = super::topics("restore.topics", raw.topics.unwrap_or_default(), faults);
    let topic_mapping = topic_mapping(raw.topic_mapping.unwrap_or_default(), &topics, faults);
    let creations = [("auto", TopicCreation::Auto), ("manual", TopicCreation::Manual)];
    let policies = [
        ("fail", ExistingTopicPolicy::Fail),
        ("append", ExistingTopicPolicy::Append),
        ("overwrite", ExistingTopicPolicy::Overwrite),
    ];
    let gaps = [("fail", OnGap::Fail), ("accept", OnGap::Accept)];
    Some(RestoreSettings {
        topic_creation: choice("restore.topicCreation", raw.topic_creation.as_deref(), &creations, faults),
        existing_topic_policy: choice(
            "restore.existingTopicPolicy",
            raw.existing_topic_policy.as_deref(),
            &policies,
            faults,
        ),
        on_gap: choice("restore.onGap", raw.on_gap.as_deref(), &gaps, faults),
        groups: raw.consumer_groups.and_then(|raw| groups(raw, faults)),
        raise_message_limit: raw.raise_message_limit.unwrap_or_default(),
        parallelism: super::parallelism("restore.parallelism", raw.parallelism.as_ref(), faults),
        throttle_bytes: throttle(raw.throttle.as_ref(), faults),
        id: id?,
        stop: Stop { snapshot, until },
        start,
        topics,
        topic_mapping,
    })
}

/// A name of its kind, or a fault that says its rule.
fn named<T>(
    path: &str,
    value: &Scalar,
    new: impl Fn(String) -> Result<T, IllegalName>,
    faults: &mut Faults,
) -> Option<T> {
    new(value.as_str().to_owned()).map_err(|error| faults.push(path, error.to_string())).ok()
}

fn until(raw: &RawPointInTime, now: TimestampMs, faults: &mut Faults) -> Option<Until> {
    let at = instant("restore.pointInTime.timestamp", raw.timestamp.as_ref(), now, faults);
    let from_end = raw.offset_from_end.as_ref().and_then(|value| offset_from_end(value, faults));
    match (&raw.timestamp, &raw.offset_from_end) {
        (Some(_), Some(_)) => {
            faults.push("restore.pointInTime.offsetFromEnd", "is set beside timestamp; keep one of them");
        }
        (None, None) => {
            let message = "is empty; write timestamp or offsetFromEnd, or leave it out to restore the newest";
            faults.push("restore.pointInTime", message);
        }
        _ => {}
    }
    at.map(Until::At).or(from_end.map(Until::FromEnd))
}

/// An instant that is not in the future.
fn instant(path: &str, value: Option<&Scalar>, now: TimestampMs, faults: &mut Faults) -> Option<TimestampMs> {
    match TimestampMs::from_rfc3339(value?.as_str()) {
        Ok(time) if time > now => {
            let (time, now) = (time.to_rfc3339(), now.to_rfc3339());
            faults.push(path, format!("{time} is in the future; it is {now} now. Is its zone the right one?"));
            None
        }
        Ok(time) => Some(time),
        Err(error) => {
            faults.push(path, error.to_string());
            None
        }
    }
}

fn offset_from_end(value: &Scalar, faults: &mut Faults) -> Option<Duration> {
    let path = "restore.pointInTime.offsetFromEnd";
    let reported = faults.0.len();
    let offset = faults.duration(path, Some(value), *OFFSET_RANGE.start(), &OFFSET_RANGE);
    if !offset.subsec_nanos().is_multiple_of(1_000_000) {
        faults.push(path, format!("{value:?} is finer than a millisecond, which no record timestamp is"));
    }
    (faults.0.len() == reported).then_some(offset)
}

fn topic_mapping(
    raw: Vec<RawTopicMapping>,
    topics: &TopicSelection,
    faults: &mut Faults,
) -> BTreeMap<TopicName, TopicTarget> {
    let well_selected = faults.0.iter().all(|fault| !fault.path.starts_with("restore.topics."));
    let mut mapping: BTreeMap<TopicName, TopicTarget> = BTreeMap::new();
    // Where each source and each target was named first.
    let (mut sources, mut targets) = (BTreeMap::new(), BTreeMap::new());
    for (index, RawTopicMapping { source_topic, target_topic, partitions }) in raw.into_iter().enumerate() {
        let entry = format!("restore.topicMapping[{index}]");
        let path = |field: &str| format!("{entry}.{field}");
        let mut place =
            Place { entry: &entry, field: "sourceTopic", named_first: &mut sources, twice: "is mapped twice" };
        let source = mapped(&mut place, source_topic, TopicName::new, faults);
        let twice = "is the target of two topics, whose records would be mixed";
        let mut place = Place { entry: &entry, field: "targetTopic", named_first: &mut targets, twice };
        let target = mapped(&mut place, target_topic, TopicName::new, faults);
        let partitions = partitions.and_then(|value| self::partitions(&path("partitions"), &value, faults));
        if let Some(source) = source.as_ref().filter(|source| well_selected && !topics.selects(source)) {
            let message =
                format!("{:?} is not chosen by restore.topics, so nothing would go where it says", source.as_str());
            faults.push(&path("sourceTopic"), message + "; include it there, or take the entry out");
        }
        if let (Some(source), Some(topic)) = (source, target) {
            mapping.insert(source, TopicTarget { topic, partitions });
        }
    }
    mapping
}

/// Where a mapping names something, what its entries before have named there, and what is wrong with naming it twice.
struct Place<'a, T> {
    entry: &'a str,
    field: &'static str,
    named_first: &'a mut BTreeMap<T, String>,
    twice: &'static str,
}

/// A name that no entry before has named in the same place.
fn mapped<T: Clone + Ord + ToString>(
    place: &mut Place<'_, T>,
    raw: Option<Scalar>,
    new: impl Fn(String) -> Result<T, IllegalName>,
    faults: &mut Faults,
) -> Option<T> {
    let path = format!("{}.{}", place.entry, place.field);
    let name = faults.required(&path, raw)?;
    let name = named(&path, &name, new, faults)?;
    if let Some(first) = place.named_first.get(&name) {
        faults.push(&path, format!("{:?} {}: {first} names it too", name.to_string(), place.twice));
        return None;
    }
    place.named_first.insert(name.clone(), place.entry.to_owned());
    Some(name)
}

/// The groups whose offsets are restored, if any.
fn groups(raw: RawRestoreGroups, faults: &mut Faults) -> Option<RestoreGroups> {
    let selection = super::groups("restore.consumerGroups", raw.include, raw.exclude, faults);
    let mapping = group_mapping(raw.mapping.unwrap_or_default(), &selection, faults);
    let restore = raw.restore.unwrap_or_default();
    if !restore && !mapping.is_empty() {
        let message = "is set while restore is not; set restore: true to restore offsets of groups, or take it out";
        faults.push("restore.consumerGroups.mapping", message);
    }
    restore.then_some(RestoreGroups { selection, mapping })
}

fn group_mapping(
    raw: Vec<RawGroupMapping>,
    selection: &GroupSelection,
    faults: &mut Faults,
) -> BTreeMap<GroupId, GroupId> {
    let chooses = |path: &str| path.starts_with("restore.consumerGroups.");
    let well_selected = faults.0.iter().all(|fault| !chooses(&fault.path));
    let mut mapping = BTreeMap::new();
    let (mut sources, mut targets) = (BTreeMap::new(), BTreeMap::new());
    for (index, RawGroupMapping { source_group, target_group }) in raw.into_iter().enumerate() {
        let entry = format!("restore.consumerGroups.mapping[{index}]");
        let mut place =
            Place { entry: &entry, field: "sourceGroup", named_first: &mut sources, twice: "is mapped twice" };
        let source = mapped(&mut place, source_group, GroupId::new, faults);
        let twice = "is the target of two groups, of whose offsets it can have only one";
        let mut place = Place { entry: &entry, field: "targetGroup", named_first: &mut targets, twice };
        let target = mapped(&mut place, target_group, GroupId::new, faults);
        if let Some(source) = source.as_ref().filter(|source| well_selected && !selection.selects(source)) {
            let message = "is not chosen by restore.consumerGroups, so nothing would go where it says; include it there, or \
                           take the entry out";
            faults.push(&format!("{entry}.sourceGroup"), format!("{:?} {message}", source.as_str()));
        }
        if let Some(target) = target.as_ref().filter(|target| target.as_str().starts_with(RESTORE_GROUP_PREFIX)) {
            let message = format!("{:?} is where a restore keeps its progress; choose another id", target.as_str());
            faults.push(&format!("{entry}.targetGroup"), message);
        }
        mapping.extend(source.zip(target));
    }
    mapping
}

fn partitions(path: &str, value: &Scalar, faults: &mut Faults) -> Option<NonZeroU32> {
    let most = i64::try_from(MAX_PARTITIONS).unwrap_or(i64::MAX);
    let number = faults.integer(path, Some(value), 1, &(1..=most));
    u32::try_from(number).ok().and_then(NonZeroU32::new)
}

fn throttle(value: Option<&Scalar>, faults: &mut Faults) -> Option<NonZeroU64> {
    let bytes = faults.bytes("restore.throttle", Some(value?), *THROTTLE_RANGE.start(), &THROTTLE_RANGE);
    NonZeroU64::new(bytes)
}

/// One of several words; the default where absent or at fault.
fn choice<T: Copy + Default>(path: &str, value: Option<&str>, choices: &[(&str, T)], faults: &mut Faults) -> T {
    let Some(value) = value else { return T::default() };
    if let Some((_, chosen)) = choices.iter().find(|(word, _)| *word == value.trim()) {
        return *chosen;
    }
    let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
    faults.push(path, format!("{value:?} is not one of {}", words.join(", ")));
    T::default()
}
