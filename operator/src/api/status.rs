//! What is told of a resource. The operator writes most of it; what is marked so, pods write themselves, under field managers
//! of their own. Of what the operator writes, it reads back only the times of conditions and what Jobs that are gone had made.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Anchor;
use crate::strimzi::Cluster;

/// How a backup stands.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaBackupStatus {
    /// `Ready`, `Streaming`, `NoGaps`, `GroupsCovered`, with `retention` `RetentionHeld`, with `verification` `Verified`,
    /// `Reconciled`, and while it is so `ReconciliationPaused`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The generation that the rest is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The id of the Kafka cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// What Strimzi tells of the Kafka cluster, as it was last found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Cluster>,
    /// The last snapshot that was asked for by schedule or trigger and has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup: Option<Backup>,
    /// Snapshots that were asked for, newest first, as far as their Jobs are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backup_history: Vec<Backup>,
    /// When the schedule asks for the next snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_scheduled_backup: Option<Time>,
    /// The last prune by the schedule that has ended well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_prune: Option<Prune>,
    /// Why the last prune by the schedule failed, while no later one has succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prune_failure: Option<JobFailure>,
    /// The last verification by the schedule that came to a result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_verification: Option<Verification>,
    /// Why the last verification by the schedule came to no result, while no later one has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification_failure: Option<JobFailure>,
    /// What the streamer tells.
    #[serde(flatten)]
    pub streamer: Reported,
}

/// What a streamer tells of its backup, from the manifests, within 30 seconds; what matters, at once.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Reported {
    /// The id of the backup in the store: what `strimzi-backup destroy` takes. Written by the streamer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup_id: Option<String>,
    /// The newest manifest, as `storage.anchor` takes it. Restores by `backupRef` insist on it. Written by the streamer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Anchor>,
    /// The window that a restore may choose its moment from. Written by the streamer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recoverable: Option<Window>,
    /// Seconds from `recoverable.until` to `reportedAt`: what would have been lost if Kafka had been lost then. Written by the
    /// streamer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lag_seconds: Option<i64>,
    /// The lowest timestamp of a record that is held. Written by the streamer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_timestamp: Option<Instant>,
    /// The highest timestamp of a record that is held. Written by the streamer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_timestamp: Option<Instant>,
    /// Offsets that could not be captured. Written by the streamer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gaps: Option<Gaps>,
    /// How the offsets of consumer groups stand. Written by the streamer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumer_groups: Option<GroupsHeld>,
    /// What keeps the streamer from going on for more than 15 seconds: `StoreFailing`, `KafkaUnreachable` or
    /// `EncryptionKeyUnavailable`. Written by the streamer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// Which key cannot be had and why, with `EncryptionKeyUnavailable`. Written by the streamer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble_message: Option<String>,
    /// Why nothing is retired although something is older than what `retention` keeps, or may be. Written by the streamer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retention_held: Option<RetentionHeld>,
    /// What is stored. Written by the streamer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stored: Option<Stored>,
    /// When this was written. Written by the streamer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported_at: Option<Instant>,
    /// The pod that wrote this. Written by the streamer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported_by: Option<String>,
}

/// An instant to the millisecond, RFC 3339 in UTC.
pub type Instant = String;

/// A window of time, both ends included.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
pub struct Window {
    /// The first instant; absent while the first copy lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Instant>,
    /// The last instant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Instant>,
}

/// Offsets that could not be captured.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gaps {
    /// How many gaps there are.
    pub count: i64,
    /// How many offsets are missing.
    pub lost_offsets: i64,
    /// The one that was found last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
}

/// How the offsets of consumer groups stand.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
pub struct GroupsHeld {
    /// `Streaming`, `FirstCopy`, `NotSelected`, `Denied`, `Unreachable` or `Damaged`.
    pub state: String,
    /// The first instant whose offsets are held.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Instant>,
    /// The last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Instant>,
}

/// Why nothing is retired.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
pub struct RetentionHeld {
    /// `Shrinks`, `Clock`, `Restore` or `Failed`.
    pub reason: String,
    /// Why, and the way out.
    pub message: String,
}

/// What is stored.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
pub struct Stored {
    /// Records.
    pub records: i64,
    /// Bytes of segments.
    pub bytes: i64,
    /// Segments.
    pub segments: i64,
    /// Topics that were ever captured.
    pub topics: i64,
    /// Partitions that were ever captured.
    pub partitions: i64,
}

/// A snapshot that was asked for.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backup {
    /// Its id: what `backupRef.backupId` of a KafkaRestore takes.
    pub id: String,
    /// How far it is.
    pub status: Outcome,
    /// When it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it was made, or given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// What it holds, once it is made.
    #[serde(flatten)]
    pub sums: Sums,
}

/// What a snapshot holds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Sums {
    /// Bytes of the segments up to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_bytes: Option<i64>,
    /// Records up to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub records: Option<i64>,
    /// Topics that were captured up to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topics_backed_up: Option<i64>,
    /// Partitions that were captured up to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partitions_backed_up: Option<i64>,
    /// The lowest timestamp of a record in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest_timestamp: Option<Instant>,
    /// The highest timestamp of a record in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_timestamp: Option<Instant>,
    /// The last moment that a restore of it may choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recoverable_until: Option<Instant>,
}

/// A prune that has ended well.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prune {
    /// When it ended.
    pub time: Time,
    /// Objects that it deleted.
    pub deleted_objects: i64,
    /// Their bytes.
    pub deleted_bytes: i64,
    /// Objects that the store did not delete, as those that it protects; the next prune tries again.
    pub refused_objects: i64,
    /// From which instant on the backup is kept; absent while nothing was retired.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept_since: Option<Instant>,
}

/// Work that was given up.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct JobFailure {
    /// Its Job.
    pub job: String,
    /// When it was given up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Time>,
    /// What its last pod said.
    pub message: String,
}

/// A verification that came to a result.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Verification {
    /// Its Job. The log of its pod has the whole report.
    pub job: String,
    /// When it ended.
    pub completion_time: Time,
    /// Whether everything that it looked at holds.
    pub status: VerificationStatus,
    /// How deep it looked: 1, 2 or 3.
    pub level: i64,
    /// How many things do not hold.
    pub findings: i64,
    /// Objects that it looked at: manifests, checkpoints, snapshots and segments.
    pub objects: i64,
    /// Bytes of the segments among them.
    pub bytes: i64,
    /// Records that were decoded and found right; at level 3 alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub records: Option<i64>,
    /// The window that can be restored in spite of the findings: it begins after every record that is harmed. Without `from` no
    /// moment is safe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recoverable: Option<Window>,
    /// The first findings.
    pub message: String,
}

/// What a verification came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum VerificationStatus {
    /// Everything holds.
    Succeeded,
    /// Something does not.
    Failed,
}

/// How far work is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum Outcome {
    /// It has not begun.
    Pending,
    /// It is done now.
    Running,
    /// It stands still because somebody asked for that.
    Suspended,
    /// It is done.
    Completed,
    /// It was given up.
    Failed,
}

/// How a restore stands.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaRestoreStatus {
    /// `Ready`, `Reconciled`, and while it is so `ReconciliationPaused`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The generation that the rest is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreProgress>,
}

/// How far a restore is.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreProgress {
    /// Its id in the store and at the target: what `strimzi-backup restores` lists.
    pub id: String,
    /// How far it is.
    pub status: Outcome,
    /// When it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_time: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completion_time: Option<Time>,
    /// The last record timestamp that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_in_time_target: Option<String>,
    /// What its pod tells.
    #[serde(flatten)]
    pub pod: RestorePod,
    /// With `dryRun`: what would be read and written, the first 32 KiB of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}

/// What the pod of a restore tells: while it runs every 30 seconds, and at its end.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RestorePod {
    /// `Writing`, `Finishing` or `Done`. Written by the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<String>,
    /// Records that the plan reads, at most. Written by the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub planned_records: Option<i64>,
    /// Records at the target. Written by the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored_records: Option<i64>,
    /// Their bytes of keys, values and headers. Written by the pod, at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored_bytes: Option<i64>,
    /// Topics that were restored. Written by the pod, at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored_topics: Option<i64>,
    /// Partitions that were restored. Written by the pod, at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restored_partitions: Option<i64>,
    /// The highest timestamp of a record that was restored. Written by the pod, at its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actual_point_in_time: Option<Instant>,
}
