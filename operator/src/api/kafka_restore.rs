//! `KafkaRestore`: records of a backup, written into a cluster once.

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Authentication, Quantity, StrimziClusterRef, Topics};
use super::encryption::Encryption;
use super::status::KafkaRestoreStatus;
use super::storage::Storage;
use super::template::Template;

/// What is restored, where to, and how. Only `suspend` may change.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "kafkabackup.com",
    version = "v1alpha1",
    kind = "KafkaRestore",
    plural = "kafkarestores",
    shortname = "kr",
    category = "strimzi",
    namespaced,
    status = "KafkaRestoreStatus",
    derive = "PartialEq",
    doc = "Records of a backup, written into a Strimzi cluster once.",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.strimziClusterRef.name", description = "The Kafka cluster that is written to"),
    printcolumn(name = "Backup", type_ = "string", json_path = ".spec.backupRef.name", description = "The KafkaBackup"),
    printcolumn(name = "Status", type_ = "string", json_path = ".status.restore.status", description = "How far it is"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", description = "Why"),
    printcolumn(name = "Started", type_ = "date", json_path = ".status.restore.startTime"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = (
        "self.metadata.name.size() <= 42",
        "the name of a KafkaRestore has at most 42 characters: those of the objects that are made of it are longer and have limits"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.storage) != (has(self.backupRef) && has(self.backupRef.name))",
    "name either a KafkaBackup (backupRef.name) or, where it is gone, its storage"
), validation = (
    "!has(self.encryption) || has(self.storage)",
    "encryption belongs to storage: a restore of a KafkaBackup has the encryption of that"
), validation = (
    "has(self.encryption) == has(oldSelf.encryption) && (!has(self.encryption) || self.encryption == oldSelf.encryption)",
    "a restore is carried out as it was written, only suspend may change: make another KafkaRestore with other keys"
), validation = (
    "self.strimziClusterRef == oldSelf.strimziClusterRef && has(self.authentication) == has(oldSelf.authentication) && (!has(self.authentication) || self.authentication == oldSelf.authentication) && has(self.backupRef) == has(oldSelf.backupRef) && (!has(self.backupRef) || self.backupRef == oldSelf.backupRef) && has(self.storage) == has(oldSelf.storage) && (!has(self.storage) || self.storage == oldSelf.storage)",
    "a restore is carried out as it was written, only suspend may change: make another KafkaRestore for another cluster, user or backup"
), validation = (
    "has(self.pointInTime) == has(oldSelf.pointInTime) && (!has(self.pointInTime) || self.pointInTime == oldSelf.pointInTime) && has(self.topics) == has(oldSelf.topics) && (!has(self.topics) || self.topics == oldSelf.topics) && has(self.topicMapping) == has(oldSelf.topicMapping) && (!has(self.topicMapping) || self.topicMapping == oldSelf.topicMapping) && has(self.consumerGroups) == has(oldSelf.consumerGroups) && (!has(self.consumerGroups) || self.consumerGroups == oldSelf.consumerGroups) && has(self.restore) == has(oldSelf.restore) && (!has(self.restore) || self.restore == oldSelf.restore)",
    "a restore is carried out as it was written, only suspend may change: make another KafkaRestore for another moment, other topics or groups"
), validation = (
    "self.dryRun == oldSelf.dryRun && has(self.resources) == has(oldSelf.resources) && (!has(self.resources) || self.resources == oldSelf.resources) && has(self.template) == has(oldSelf.template) && (!has(self.template) || self.template == oldSelf.template)",
    "a restore is carried out as it was written, only suspend may change: dryRun, resources and template cannot"
))]
pub struct KafkaRestoreSpec {
    /// The Kafka cluster that is written to.
    pub strimzi_cluster_ref: StrimziClusterRef,
    /// Who writes. Default: nobody, for listeners that ask for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// The backup, and the snapshot of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_ref: Option<BackupRef>,
    /// Where the backup is kept, instead of `backupRef.name`: where that resource is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// With which keys that backup is sealed, beside `storage`. Default: it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Where it stops. Default: at the newest instant that the backup holds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point_in_time: Option<PointInTime>,
    /// Which topics, by their names in the backup. Default: all but internal ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<Topics>,
    /// Topics that get another name or another number of partitions. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub topic_mapping: Option<Vec<TopicMapping>>,
    /// Offsets of consumer groups. Default: of none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_groups: Option<RestoreConsumerGroups>,
    /// How it is done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restore: Option<RestoreSpec>,
    /// Whether it ends with its plan, which is then in the status, and writes nothing anywhere. Default false.
    #[serde(default)]
    pub dry_run: bool,
    /// Whether it stands still; it goes on exactly where it was. Default false.
    #[serde(default)]
    pub suspend: bool,
    /// What the pod may use. Default: 500m CPU and 512Mi of memory asked for, 1Gi of memory at the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Additions to the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
}

/// The backup, and the snapshot of it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct BackupRef {
    /// A KafkaBackup in the namespace of this resource; only its `storage` and `backup.encryption` are used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 42))]
    pub name: Option<String>,
    /// A snapshot: stop at its exact positions. Default: none, `pointInTime` alone says where to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 128), regex(pattern = r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$"))]
    pub backup_id: Option<String>,
}

/// The last record timestamp that belongs to a restore.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.timestamp) != has(self.offsetFromEnd)",
    "pointInTime needs exactly one of timestamp and offsetFromEnd"
))]
pub struct PointInTime {
    /// RFC 3339 with a zone, to the millisecond: `2026-02-13T01:30:00.000Z`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = (TIMESTAMP_RULE, TIMESTAMP_MESSAGE))]
    pub timestamp: Option<String>,
    /// A duration, so long before the newest instant that the backup holds: `2h`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32))]
    pub offset_from_end: Option<String>,
}

const TIMESTAMP_RULE: &str = r"self.matches('^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,3})?(Z|[+-][0-9]{2}:[0-9]{2})$') && !self.endsWith('-00:00')";
const TIMESTAMP_MESSAGE: &str =
    "write the time as RFC 3339 with a zone and at most milliseconds, such as 2026-02-13T01:30:00.000Z";

/// Where the records of a topic go.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct TopicMapping {
    /// The topic, by its name in the backup.
    #[schemars(length(max = 249), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    pub source_topic: String,
    /// Its name in the target cluster.
    #[schemars(length(max = 249), regex(pattern = r"^[a-zA-Z0-9._-]+$"))]
    pub target_topic: String,
    /// Its number of partitions. Default: as in the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub partitions: Option<i32>,
}

/// Whose offsets are restored, by regular expressions over the whole id of a consumer group.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreConsumerGroups {
    /// Whether any are. Default false.
    #[serde(default)]
    pub restore: bool,
    /// Those that are meant. Default: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 1000)))]
    pub include: Option<Vec<String>>,
    /// Those among them that are not. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 1000)))]
    pub exclude: Option<Vec<String>>,
    /// Groups that get another id. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1000))]
    pub mapping: Option<Vec<GroupMapping>>,
}

/// A group that gets another id.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct GroupMapping {
    /// Its id in the backup.
    #[schemars(length(min = 1, max = 1000))]
    pub source_group: String,
    /// Its id in the target cluster.
    #[schemars(length(min = 1, max = 1000))]
    pub target_group: String,
}

/// How a restore is done.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct RestoreSpec {
    /// Who creates topics that are not there. Default `auto`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_creation: Option<TopicCreation>,
    /// What happens where a target topic is there already. Default `fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub existing_topic_policy: Option<ExistingTopicPolicy>,
    /// What happens where offsets in range are lost. Default `fail`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_gap: Option<OnGap>,
    /// The first record timestamp that belongs to it, RFC 3339 with a zone. Default: the oldest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    #[x_kube(validation = (TIMESTAMP_RULE, TIMESTAMP_MESSAGE))]
    pub start_timestamp: Option<String>,
    /// Whether a topic that is created gets a `max.message.bytes` that its largest record needs. Default false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raise_message_limit: Option<bool>,
    /// Segments fetched and decoded at once. Default 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub parallelism: Option<i32>,
    /// The most bytes that are produced in a second. Default: no limit; 64Ki to 1Ti.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttle: Option<Quantity>,
}

macro_rules! choice {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
        pub enum $name {
            $($(#[$variant_doc])* #[serde(rename = $word)] $variant,)*
        }

        impl $name {
            /// The word in the restore document.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

choice!(
    /// Who creates topics that are not there.
    TopicCreation {
        /// The restore, as the backup describes them.
        Auto = "auto",
        /// Somebody else, before.
        Manual = "manual",
    }
);

choice!(
    /// What happens where a target topic is there already.
    ExistingTopicPolicy {
        /// The restore ends before its first write.
        Fail = "fail",
        /// Records are added after those that are there.
        Append = "append",
        /// The topic is deleted and created anew.
        Overwrite = "overwrite",
    }
);

choice!(
    /// What happens where offsets in range are lost.
    OnGap {
        /// The restore ends before its first write.
        Fail = "fail",
        /// They are named, and the rest is restored.
        Accept = "accept",
    }
);
