//! `KafkaBackup`: a cluster's topics, backed up without end, with snapshots by a schedule.

use k8s_openapi::api::core::v1::ResourceRequirements;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Authentication, ConsumerGroups, Duration, Quantity, StrimziClusterRef, Topics};
use super::encryption::Encryption;
use super::status::KafkaBackupStatus;
use super::storage::{CredentialsSecret, Storage};
use super::template::Template;

/// What is backed up, where to, and how.
#[derive(CustomResource, Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "kafkabackup.com",
    version = "v1alpha1",
    kind = "KafkaBackup",
    plural = "kafkabackups",
    shortname = "kb",
    category = "strimzi",
    namespaced,
    status = "KafkaBackupStatus",
    derive = "PartialEq",
    doc = "Topics of a Strimzi cluster, backed up without end.",
    printcolumn(name = "Cluster", type_ = "string", json_path = ".spec.strimziClusterRef.name", description = "The Kafka cluster"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status", description = "Whether the topics are protected"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason", description = "Why, or why not"),
    printcolumn(name = "From", type_ = "string", json_path = ".status.recoverable.from", description = "The first moment that a restore may choose"),
    printcolumn(name = "Until", type_ = "string", json_path = ".status.recoverable.until", description = "The last one, as last reported"),
    printcolumn(name = "Lag", type_ = "integer", json_path = ".status.lagSeconds", description = "Seconds between that and the report"),
    printcolumn(name = "Snapshot", type_ = "date", json_path = ".status.backupHistory[?(@.status==\"Completed\")].completionTime", description = "When the last snapshot was made"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = (
        "self.metadata.name.size() <= 42",
        "the name of a KafkaBackup has at most 42 characters: those of the objects that are made of it are longer and have limits"
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.retention) || !self.retention.pruneOnSchedule || has(self.schedule)",
    "retention.pruneOnSchedule needs a schedule to prune by: set schedule, or leave pruneOnSchedule out and run strimzi-backup prune yourself"
), validation = (
    "(has(self.backup) && has(self.backup.encryption) && self.backup.encryption.enabled) == (has(oldSelf.backup) && has(oldSelf.backup.encryption) && oldSelf.backup.encryption.enabled)",
    "a backup is sealed from its first object on or never: backup.encryption.enabled cannot change; take another prefix, with another KafkaBackup"
))]
pub struct KafkaBackupSpec {
    /// The Kafka cluster. Another one needs a KafkaBackup, and a prefix, of its own.
    // `namespace` is a word of CEL: rules have to write `__namespace__`.
    #[x_kube(validation = (
        "self.name == oldSelf.name && has(self.__namespace__) == has(oldSelf.__namespace__) && (!has(self.__namespace__) || self.__namespace__ == oldSelf.__namespace__)",
        "a backup belongs to one Kafka cluster: strimziClusterRef.name and namespace cannot change; make another KafkaBackup"
    ))]
    pub strimzi_cluster_ref: StrimziClusterRef,
    /// Who reads. Default: nobody, for listeners that ask for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// Which topics. Default: all but internal ones.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topics: Option<Topics>,
    /// Whose committed offsets. Default: of all consumer groups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub consumer_groups: Option<ConsumerGroups>,
    /// Where the backup is kept. Credentials, trust and anchor may change, the place may not.
    #[x_kube(validation = (
        "self.type == oldSelf.type && (!has(self.s3) || !has(oldSelf.s3) || (self.s3.bucket == oldSelf.s3.bucket && self.s3.prefix == oldSelf.s3.prefix && has(self.s3.region) == has(oldSelf.s3.region) && (!has(self.s3.region) || self.s3.region == oldSelf.s3.region) && has(self.s3.endpoint) == has(oldSelf.s3.endpoint) && (!has(self.s3.endpoint) || self.s3.endpoint == oldSelf.s3.endpoint)))",
        "a backup stays where it is: type, and s3.bucket, prefix, region and endpoint of storage cannot change; make another KafkaBackup"
    ), validation = (
        "!has(self.azure) || !has(oldSelf.azure) || (self.azure.container == oldSelf.azure.container && self.azure.storageAccount == oldSelf.azure.storageAccount && self.azure.prefix == oldSelf.azure.prefix && has(self.azure.endpoint) == has(oldSelf.azure.endpoint) && (!has(self.azure.endpoint) || self.azure.endpoint == oldSelf.azure.endpoint))",
        "a backup stays where it is: azure.container, storageAccount, prefix and endpoint of storage cannot change; make another KafkaBackup"
    ), validation = (
        "!has(self.gcs) || !has(oldSelf.gcs) || (self.gcs.bucket == oldSelf.gcs.bucket && self.gcs.prefix == oldSelf.gcs.prefix && has(self.gcs.endpoint) == has(oldSelf.gcs.endpoint) && (!has(self.gcs.endpoint) || self.gcs.endpoint == oldSelf.gcs.endpoint))",
        "a backup stays where it is: gcs.bucket, prefix and endpoint of storage cannot change; make another KafkaBackup"
    ))]
    pub storage: Storage,
    /// How it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<BackupSpec>,
    /// When snapshots are made. Default: by trigger only; the backup itself runs always.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// How long the backup is kept. Default: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<Retention>,
    /// What the store charges, for what metrics tell of costs. Default: the list price of S3 Standard in us-east-1, in dollars.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prices: Option<Prices>,
    /// When the stored backup is verified. Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verification: Option<VerificationSchedule>,
    /// Whether the streamer stands still, and with it snapshots. Kafka keeps what is not read meanwhile, for as long as the
    /// retention of its topics lasts. Default false.
    #[serde(default)]
    pub suspend: bool,
    /// What becomes of the stored backup when this resource is deleted. Default `Retain`: it stays.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
    /// What the streamer may use, and each verification. Default: 500m CPU and 512Mi of memory asked for, 1Gi of memory at the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<ResourceRequirements>,
    /// Additions to pods.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
}

impl KafkaBackupSpec {
    /// How the backup is sealed, where it is.
    pub fn encryption(&self) -> Option<&Encryption> {
        self.backup.as_ref()?.encryption.as_ref().filter(|encryption| encryption.enabled)
    }

    /// Whether the schedule asks for prunes too.
    pub fn prunes(&self) -> bool {
        self.retention.as_ref().is_some_and(|retention| retention.prune_on_schedule)
    }

    /// The credentials that only prunes have, if any are named.
    pub fn prune_credentials(&self) -> Option<&CredentialsSecret> {
        self.retention.as_ref()?.storage_credentials.as_ref()
    }
}

/// What becomes of a stored backup when its resource is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays.
    #[default]
    Retain,
    /// It is deleted first, for good. Whatever cannot be deleted within some minutes stays, and an event says how to delete it.
    Delete,
}

/// How a backup is made.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.compressionLevel) || !has(self.compression) || self.compression in ['zstd', 'gzip']",
    "compressionLevel is for zstd (1 to 19) and gzip (1 to 9) only: leave it out"
), validation = (
    "!has(self.compressionLevel) || !has(self.compression) || self.compression != 'gzip' || self.compressionLevel <= 9",
    "compressionLevel of gzip is 1 to 9"
))]
pub struct BackupSpec {
    /// How segments are compressed. Default `zstd`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Compression>,
    /// 1 to 19 for zstd, 1 to 9 for gzip. Default 1; for gzip 6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 19))]
    pub compression_level: Option<i32>,
    /// With which keys the backup is sealed. Default: it is not. The keys may change, whether it is sealed may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Where a cut brings more bytes than this, it makes another segment. Default 256Mi; 1Mi to 5Gi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_size: Option<Quantity>,
    /// A topic with this many bytes in a cut gets a segment of its own. Default 16Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_segment_bytes: Option<Quantity>,
    /// With this many bytes in intake segments, they are written anew by topic; at the latest every hour. Default 256Mi.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refine_bytes: Option<Quantity>,
    /// The recovery point of a healthy backup. Default 5s; 200ms to 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32))]
    pub commit_interval: Option<Duration>,
    /// How often it is recorded that nothing came. Default 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32))]
    pub heartbeat_interval: Option<Duration>,
    /// How often topics are looked up. Default 30s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32))]
    pub metadata_interval: Option<Duration>,
    /// The ceiling for records in memory. Default 256Mi; at least 64Mi. The container needs about 240Mi more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_budget: Option<Quantity>,
    /// Encodings and uploads at once. Default 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 64))]
    pub parallelism: Option<i32>,
}

/// How segments are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip.
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

impl Compression {
    /// The name in the job document.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }
}

/// A schedule as cron has it, without a time zone or seconds in it.
const CRON: &str = r"^(@(yearly|annually|monthly|weekly|daily|midnight|hourly)|[^\s=@]+(\s+[^\s=]+){4})$";

/// A name of the IANA database of time zones.
const ZONE: &str = r"^[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+)*$";

/// When snapshots are made.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// Minute, hour, day of month, month, day of week; or `@daily` and the like.
    #[schemars(length(min = 1, max = 128), regex(pattern = CRON))]
    pub cron: String,
    /// The time zone that `cron` is meant in, by its name in the IANA database.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64), regex(pattern = ZONE))]
    #[x_kube(validation = ("self != 'Local'", "timezone must be named, such as UTC or Europe/Berlin"))]
    pub timezone: String,
    /// Whether no snapshots are made by it. Default false.
    #[serde(default)]
    pub suspend: bool,
}

fn utc() -> String {
    "UTC".to_owned()
}

/// When the stored backup is verified, and how deep. `suspend` of the backup does not suspend it: what is stored can be harmed
/// all the same.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct VerificationSchedule {
    /// Minute, hour, day of month, month, day of week; or `@weekly` and the like.
    #[schemars(length(min = 1, max = 128), regex(pattern = CRON))]
    pub cron: String,
    /// The time zone that `cron` is meant in, by its name in the IANA database.
    #[serde(default = "utc")]
    #[schemars(length(min = 1, max = 64), regex(pattern = ZONE))]
    #[x_kube(validation = ("self != 'Local'", "timezone must be named, such as UTC or Europe/Berlin"))]
    pub timezone: String,
    /// 1: the documents, and that every segment is there. 2: and every byte of every segment, which reads them all. 3: and every
    /// record. Default 2.
    #[serde(default = "every_byte")]
    #[schemars(range(min = 1, max = 3))]
    pub level: i32,
    /// Whether nothing is verified by it. Default false.
    #[serde(default)]
    pub suspend: bool,
}

fn every_byte() -> i32 {
    2
}

/// How a price is written: as a text, since a number of a resource is best a whole one.
const PRICE: &str = "^[0-9]+([.][0-9]+)?$";

/// What a store charges, in any currency.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prices {
    /// For 1,000 requests that write or list. Default 0.005.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = PRICE))]
    pub put: Option<String>,
    /// For 1,000 GET or HEAD requests. Default 0.0004.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = PRICE))]
    pub get: Option<String>,
    /// For a GB stored over a month. Default 0.023.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = PRICE))]
    pub storage: Option<String>,
    /// For a GB read from the store. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32), regex(pattern = PRICE))]
    pub received: Option<String>,
}

/// How long a backup is kept: what neither `maxAge` nor `maxBackups` keeps, the streamer retires, and a prune deletes. With neither,
/// everything is kept.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!has(self.storageCredentials) || self.pruneOnSchedule",
    "storageCredentials is for prunes by the schedule alone: set pruneOnSchedule to true, or leave it out"
))]
pub struct Retention {
    /// The newest so many snapshots can be restored, and everything since. Default: no limit; at least 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_backups: Option<i32>,
    /// Instants that are no older can be restored. Default: no limit; at least 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32))]
    pub max_age: Option<Duration>,
    /// What is kept may become as short as this at once. Without it, a change that would shorten it by more than half is held.
    /// Default: none; at least 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32))]
    pub acknowledge_shrink_to: Option<Duration>,
    /// How long the objects of what is retired are left for those who read them still. Default 24h; 0s to 90d.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 32))]
    pub grace_period: Option<Duration>,
    /// Whether the objects of what is retired are deleted, whenever `schedule` asks for a snapshot. Default false: nothing is
    /// deleted.
    #[serde(default)]
    pub prune_on_schedule: bool,
    /// The credentials of prunes, which alone need the right to delete; of the same form as `credentialsSecret` of the storage.
    /// Default: those of the storage.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub storage_credentials: Option<CredentialsSecret>,
}
