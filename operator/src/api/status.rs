//! What is told of a resource. Output only: nothing is read back from it but the times of conditions.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a backup stands.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KafkaBackupStatus {
    /// `Ready`, `Streaming`, `Reconciled`, and while it is so `ReconciliationPaused`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = kube::core::ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The generation that the rest is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The id of the Kafka cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_id: Option<String>,
    /// The last snapshot that was asked for by schedule or trigger and has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_backup: Option<Backup>,
    /// Snapshots that were asked for, newest first, as far as their Jobs are kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backup_history: Vec<Backup>,
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
    /// With `dryRun`: what would be read and written, the first 32 KiB of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
}
