//! What stands in the way of a restore, and what to know before it begins. Pure.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use strimzi_backup_format::ids::{GroupId, TimestampMs, TopicName};
use strimzi_backup_format::job::{ExistingTopicPolicy, TopicCreation};

use super::dates::Dates;
use super::groups::GroupConflict;
use super::plan::{Action, Basis, TopicPlan};
use crate::kafka::{BrokerError, Operation, TargetError, TargetTopic};

/// Why a restore must not begin. Every one is told at once.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The topic is there, and the document does not say what to do with it.
    #[error(
        "topic {topic} is there already, with {partitions} partitions and {records}: map {source_topic} to another name \
         (topicMapping), or set existingTopicPolicy: append or overwrite"
    )]
    Exists {
        /// The topic at the target.
        topic: TopicName,
        /// Its name in the backup.
        source_topic: TopicName,
        /// Its partitions.
        partitions: usize,
        /// What is in it.
        records: Records,
    },
    /// The topic is not there, and the restore must not create it.
    #[error("topic {topic} is missing: create it with {partitions} partitions, or set topicCreation: auto")]
    Missing {
        /// The topic at the target.
        topic: TopicName,
        /// The partitions it needs.
        partitions: u32,
    },
    /// The topic is there with another number of partitions.
    #[error(
        "topic {topic} has {found} partitions and {wanted} are restored: set partitions: {found} in topicMapping to spread \
         the records anew, or map {source_topic} to another name"
    )]
    Partitions {
        /// The topic at the target.
        topic: TopicName,
        /// Its name in the backup.
        source_topic: TopicName,
        /// Its partitions.
        found: usize,
        /// The partitions it needs.
        wanted: u32,
    },
    /// Two topics would be mixed.
    #[error("topics {first} and {second} would both be restored into {topic}: map one to another name (topicMapping)")]
    SharedTarget {
        /// The topic at the target.
        topic: TopicName,
        /// A topic in the backup.
        first: TopicName,
        /// Another one.
        second: TopicName,
    },
    /// The user lacks rights.
    #[error(
        "the target does not let this user {} {resource}; in the acls of its KafkaUser: {}",
        listed(missing), resource.acl(needed)
    )]
    Rights {
        /// To what.
        resource: Resource,
        /// Those that are known to be missing.
        missing: Vec<Operation>,
        /// All that a restore needs of it.
        needed: Vec<Operation>,
    },
    /// The target does not say what the topic is.
    #[error("the target does not describe topic {topic}: {code}")]
    Undescribed {
        /// The topic at the target.
        topic: TopicName,
        /// The broker's code.
        code: BrokerError,
    },
    /// The target gives every record its own time.
    #[error(
        "topic {topic} has message.timestamp.type=LogAppendTime, which dates records anew: set CreateTime while it is restored"
    )]
    DatesAnew {
        /// The topic at the target.
        topic: TopicName,
    },
    /// The target refuses old or early records.
    #[error("topic {topic} refuses timestamps {limit} of what is restored (from {} to {}): raise {setting} while it is restored",
        lowest.to_rfc3339(), highest.to_rfc3339())]
    Timestamps {
        /// The topic at the target.
        topic: TopicName,
        /// The lowest timestamp.
        lowest: TimestampMs,
        /// The highest timestamp.
        highest: TimestampMs,
        /// Which of them it refuses.
        limit: &'static str,
        /// The setting that decides.
        setting: &'static str,
    },
    /// A record would not be taken.
    #[error(
        "topic {topic} takes records of at most {limit} bytes (max.message.bytes), and one of up to {bytes} is restored, counted \
         without compression: {}",
        if *is_created { "set raiseMessageLimit: true to create it with as much".to_owned() }
        else { format!("raise it to {bytes} while it is restored") }
    )]
    RecordTooLarge {
        /// The topic at the target.
        topic: TopicName,
        /// Bytes of the largest record in a batch of its own.
        bytes: u64,
        /// The most that the topic takes.
        limit: u64,
        /// Whether the restore creates the topic.
        is_created: bool,
    },
    /// The progress of so many partitions cannot be kept.
    #[error(
        "topic {topic}: {sources} partitions cannot be restored into {targets}: set partitions of topicMapping to more"
    )]
    TooManySources {
        /// The topic at the target.
        topic: TopicName,
        /// Partitions in the backup.
        sources: usize,
        /// Partitions at the target.
        targets: u32,
    },
    /// The brokers would refuse the topic, or this user.
    #[error("the target would refuse: {0}")]
    Refused(TargetError),
    /// Offsets of groups cannot be restored.
    #[error(transparent)]
    Group(#[from] GroupConflict),
}

impl Conflict {
    /// The rights that are missing, if some are.
    pub(super) fn of_rights(resource: Resource, missing: Vec<Operation>, needed: &[Operation]) -> Option<Self> {
        (!missing.is_empty()).then(|| Self::Rights { resource, missing, needed: needed.to_vec() })
    }
}

/// What ACLs are about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A topic.
    Topic(TopicName),
    /// A consumer group.
    Group(String),
    /// A transactional id.
    TransactionalId(String),
}

impl Resource {
    /// The entry of a `KafkaUser`'s `acls` that allows `operations`.
    fn acl(&self, operations: &[Operation]) -> String {
        let (kind, name) = match self {
            Self::Topic(name) => ("topic", name.as_str()),
            Self::Group(name) => ("group", name.as_str()),
            Self::TransactionalId(name) => ("transactionalId", name.as_str()),
        };
        let operations = listed(operations);
        format!("{{resource: {{type: {kind}, name: {name}, patternType: literal}}, operations: [{operations}]}}")
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name}"),
            Self::Group(name) => write!(f, "group {name}"),
            Self::TransactionalId(name) => write!(f, "transactional id {name}"),
        }
    }
}

fn listed(operations: &[Operation]) -> String {
    operations.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

/// What is in an existing topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Records {
    /// Nothing.
    None,
    /// So many offsets.
    Offsets(u64),
}

impl Records {
    fn of(topic: &TargetTopic) -> Self {
        let spans = topic.partitions.iter().map(|one| one.end.get().saturating_sub(one.start.get()));
        match spans.sum::<i64>().unsigned_abs() {
            0 => Self::None,
            offsets => Self::Offsets(offsets),
        }
    }
}

impl fmt::Display for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("no records"),
            Self::Offsets(1) => f.write_str("1 offset"),
            Self::Offsets(offsets) => write!(f, "{offsets} offsets"),
        }
    }
}

/// What to know before a restore begins. None of it stops it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "warning")]
pub enum Warning {
    /// Records older than the topic's retention: it deletes them soon, or as soon as it holds again.
    Retention {
        /// The topic at the target.
        topic: TopicName,
        /// Its `retention.ms`.
        retention_ms: i64,
        /// Whether it has none of its own: then it is what the brokers say, and this is what Kafka's own default is.
        is_default: bool,
        /// The oldest record.
        oldest: TimestampMs,
        /// Whether it holds while records are written.
        at_once: bool,
    },
    /// Records without a timestamp hide how old others are, and the target refuses old ones: it may refuse some of these.
    HiddenTimestamps {
        /// The topic at the target.
        topic: TopicName,
        /// Its `message.timestamp.before.max.ms`.
        before_max_ms: i64,
    },
    /// Records are spread over another number of partitions.
    Spread {
        /// The topic at the target.
        topic: TopicName,
        /// Partitions in the backup.
        from: u32,
        /// Partitions at the target.
        to: u32,
    },
    /// Fewer replicas than the topic had, for want of brokers.
    Replicas {
        /// The topic at the target.
        topic: TopicName,
        /// Replicas it gets.
        replicas: u16,
    },
    /// The topic gets a higher limit than it had, so that it takes the largest record.
    RaisesLimit {
        /// The topic at the target.
        topic: TopicName,
        /// Its `max.message.bytes`.
        bytes: u64,
        /// What it would be otherwise, if that is known.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        instead_of: Option<u64>,
    },
    /// The topic is deleted with what is in it.
    Deletes {
        /// The topic at the target.
        topic: TopicName,
        /// Offsets in it.
        offsets: u64,
    },
    /// What groups committed is not all known: a release of Kafka wrote records that the streamer could not read.
    UnreadableOffsets {
        /// How many records.
        records: u64,
    },
    /// A group has committed offsets for what is restored already; they are replaced.
    ReplacesOffsets {
        /// The group at the target.
        group: GroupId,
        /// For how many partitions.
        partitions: usize,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retention { topic, retention_ms, is_default, oldest, at_once } => {
                let whose = if *is_default { ", Kafka's default, for want of its own" } else { "" };
                let when = if *at_once { "at once" } else { "when the restore ends" };
                let oldest = oldest.to_rfc3339();
                write!(
                    f,
                    "topic {topic} keeps records for {retention_ms} ms (retention.ms{whose}) and the oldest is of {oldest}: "
                )?;
                write!(f, "the brokers begin to delete older ones {when}; raise retention.ms to keep them")
            }
            Self::HiddenTimestamps { topic, before_max_ms } => write!(
                f,
                "topic {topic} refuses timestamps of more than {before_max_ms} ms ago (message.timestamp.before.max.ms), and records \
                 without one hide how old others are: raise it while they are restored, or the restore may stop half way"
            ),
            Self::Spread { topic, from, to } => write!(
                f,
                "topic {topic}: records of {from} partitions are spread over {to} by key: the order across partitions is lost"
            ),
            Self::Replicas { topic, replicas } => {
                write!(f, "topic {topic} is created with {replicas} replicas: the target has no more brokers")
            }
            Self::RaisesLimit { topic, bytes, instead_of } => {
                let instead = instead_of.map(|limit| format!(" instead of {limit}")).unwrap_or_default();
                write!(
                    f,
                    "topic {topic} is created with max.message.bytes={bytes}{instead}, for its largest record (raiseMessageLimit)"
                )
            }
            Self::Deletes { topic, offsets } => {
                write!(f, "topic {topic} is deleted with {offsets} offsets (overwrite)")
            }
            Self::UnreadableOffsets { records } => write!(
                f,
                "{records} records of consumer groups were of a version that the streamer did not know: what they committed is \
                 not restored"
            ),
            Self::ReplacesOffsets { group, partitions } => {
                write!(
                    f,
                    "group {group} has committed offsets for {partitions} of these partitions already: they are replaced"
                )
            }
        }
    }
}

/// `log.retention.hours` of brokers that set nothing: 7 days.
const DEFAULT_RETENTION_MS: i64 = 7 * 24 * 3_600_000;

/// Finds what is wrong with, and what to know of, one topic's plan. `dates` is of what is restored of it.
pub(super) fn find(
    plan: &TopicPlan,
    dates: Option<Dates>,
    basis: &Basis<'_>,
    conflicts: &mut Vec<Conflict>,
    warnings: &mut Vec<Warning>,
) {
    if plan.has_too_many_sources() {
        let (topic, sources, targets) = (plan.target.clone(), plan.partitions.len(), plan.target_partitions);
        conflicts.push(Conflict::TooManySources { topic, sources, targets });
    }
    if let Some(to) = plan.respread() {
        warnings.push(Warning::Spread { topic: plan.target.clone(), from: plan.source_partitions, to });
    }
    match basis.target.topics.get(&plan.target) {
        Some(Ok(found)) => find_existing(plan, dates, basis, found, conflicts, warnings),
        // What may not be described is told with the other rights.
        Some(Err(code)) if code.is_denied() => {}
        Some(Err(code)) if !code.is_unknown() => {
            conflicts.push(Conflict::Undescribed { topic: plan.target.clone(), code: *code });
        }
        _ if basis.settings.topic_creation == TopicCreation::Manual => {
            conflicts.push(Conflict::Missing { topic: plan.target.clone(), partitions: plan.target_partitions });
        }
        _ => {}
    }
    if plan.is_created() {
        warnings.extend(retention(plan, dates, &plan.settings, basis.now, false));
    }
}

fn find_existing(
    plan: &TopicPlan,
    dates: Option<Dates>,
    basis: &Basis<'_>,
    found: &TargetTopic,
    conflicts: &mut Vec<Conflict>,
    warnings: &mut Vec<Warning>,
) {
    let Basis { settings, now, .. } = *basis;
    let (topic, source_topic) = (plan.target.clone(), plan.source.clone());
    if plan.action == Action::Recreate {
        if let Records::Offsets(offsets) = Records::of(found) {
            warnings.push(Warning::Deletes { topic, offsets });
        }
        return;
    }
    // Who asks for `manual` has created the topic, and it is to be empty.
    let is_prepared = settings.topic_creation == TopicCreation::Manual && found.is_empty();
    if settings.existing_topic_policy == ExistingTopicPolicy::Fail && !is_prepared {
        let (partitions, records) = (found.partitions.len(), Records::of(found));
        conflicts.push(Conflict::Exists { topic, source_topic, partitions, records });
        return;
    }
    if u32::try_from(found.partitions.len()) != Ok(plan.target_partitions) {
        let (found, wanted) = (found.partitions.len(), plan.target_partitions);
        conflicts.push(Conflict::Partitions { topic, source_topic, found, wanted });
        return;
    }
    if found.settings.effective.get("message.timestamp.type").is_some_and(|kind| kind == "LogAppendTime") {
        conflicts.push(Conflict::DatesAnew { topic });
    }
    if let Some(dates) = dates {
        let (refused, hidden) = timestamps(plan, dates, found, now);
        conflicts.extend(refused);
        warnings.extend(hidden);
    }
    warnings.extend(retention(plan, dates, &found.settings.effective, now, true));
}

/// Timestamps that the target would refuse, as `message.timestamp.{before,after}.max.ms` say; −1 is always taken. Where it hides
/// others, a warning.
fn timestamps(
    plan: &TopicPlan,
    dates: Dates,
    found: &TargetTopic,
    now: TimestampMs,
) -> (Vec<Conflict>, Option<Warning>) {
    let number = |setting| found.settings.number(setting).unwrap_or(i64::MAX);
    let (before, after) = ("message.timestamp.before.max.ms", "message.timestamp.after.max.ms");
    let (lowest, highest) = (dates.lowest.unwrap_or(dates.min), dates.max);
    let conflict =
        |limit, setting| Conflict::Timestamps { topic: plan.target.clone(), lowest, highest, limit, setting };
    let is_older = |timestamp: TimestampMs| now.get().saturating_sub(timestamp.get()) > number(before);
    let too_old = dates.lowest.is_some_and(is_older);
    let too_new = highest.get().saturating_sub(now.get()) > number(after);
    // But for −1, Kafka knows no timestamp before 0.
    let may_be_too_old = dates.may_be_lower && !too_old && is_older(TimestampMs::new(0));
    let hidden =
        may_be_too_old.then(|| Warning::HiddenTimestamps { topic: plan.target.clone(), before_max_ms: number(before) });
    let too_old = too_old.then(|| conflict("as old as the lowest", before));
    let refused = too_old.into_iter().chain(too_new.then(|| conflict("as late as the highest", after)));
    (refused.collect(), hidden)
}

/// What the age of records means under these settings. A topic that is compacted alone deletes nothing for its age.
fn retention(
    plan: &TopicPlan,
    dates: Option<Dates>,
    settings: &BTreeMap<String, String>,
    now: TimestampMs,
    at_once: bool,
) -> Option<Warning> {
    let own: Option<i64> = settings.get("retention.ms").and_then(|set| set.parse().ok());
    let (retention_ms, is_default) = (own.unwrap_or(DEFAULT_RETENTION_MS), own.is_none());
    if retention_ms < 0 {
        return None;
    }
    let deletes = settings.get("cleanup.policy").is_none_or(|policy| policy.contains("delete"));
    let oldest = dates.filter(|_| deletes)?.oldest()?;
    let topic = plan.target.clone();
    let is_older = now.get().saturating_sub(oldest.get()) > retention_ms;
    is_older.then_some(Warning::Retention { topic, retention_ms, is_default, oldest, at_once })
}

/// Topics that would be mixed in one.
pub(super) fn find_shared_targets(topics: &[TopicPlan], conflicts: &mut Vec<Conflict>) {
    for (number, second) in topics.iter().enumerate() {
        let same = topics.iter().take(number).find(|first| first.target == second.target);
        conflicts.extend(same.map(|first| Conflict::SharedTarget {
            topic: second.target.clone(),
            first: first.source.clone(),
            second: second.source.clone(),
        }));
    }
}
