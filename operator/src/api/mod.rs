//! The custom resources `KafkaBackup` and `KafkaRestore`, as users write them and as `crds` prints them.
//!
//! Owns: fields, defaults, and what the API server refuses by itself (CEL rules). Does not own: what needs more than the
//! resource to be judged, such as whether a pattern is a regular expression; the documents of `strimzi_backup_format::job`
//! judge that, once, for operator and pods alike. A field that is here does what it says; what is not there yet is
//! refused by a rule that says so, or is not here.

// What `KubeSchema` derives repeats the structs with their `pub`, out of reach.
#![allow(unreachable_pub)]

mod common;
mod encryption;
mod kafka_backup;
mod kafka_restore;
mod status;
mod storage;
mod template;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt as _;

pub use common::{
    Authentication, AuthenticationType, ConsumerGroups, Duration, KafkaUserRef, Quantity, StrimziClusterRef, Topics,
};
pub use encryption::{Encryption, KeySecret, KubernetesAuth, SecretFile, Transit};
pub use kafka_backup::{
    BackupSpec, Compression, DeletionPolicy, KafkaBackup, KafkaBackupSpec, Prices, Retention, Schedule,
    VerificationSchedule,
};
pub use kafka_restore::{
    BackupRef, ExistingTopicPolicy, GroupMapping, KafkaRestore, KafkaRestoreSpec, OnGap, PointInTime,
    RestoreConsumerGroups, RestoreSpec, TopicCreation, TopicMapping,
};
pub use status::{
    Backup, Gaps, GroupsHeld, Instant, JobFailure, KafkaBackupStatus, KafkaRestoreStatus, Outcome, Prune, Reported,
    RestorePod, RestoreProgress, RetentionHeld, Stored, Sums, Verification, VerificationStatus, Window,
};
pub use storage::{Anchor, Azure, CaSecret, CredentialsSecret, Gcs, S3, Storage, StorageType};
pub use template::{ContainerTemplate, Metadata, PodTemplate, ServiceAccountTemplate, Template};

/// The API group.
pub const GROUP: &str = "kafkabackup.com";

/// The annotation that asks for one snapshot now; removed when it was asked for.
pub const TRIGGER: &str = "kafkabackup.com/trigger";

/// The value of [`TRIGGER`].
pub const TRIGGER_NOW: &str = "now";

/// The finalizer of a KafkaBackup with `deletionPolicy: Delete`.
pub const CLEANUP: &str = "kafkabackup.com/cleanup";

/// Strimzi's annotation: while it is `true`, changes of the resource are not carried out.
pub const PAUSE: &str = "strimzi.io/pause-reconciliation";

/// The definitions of all custom resources.
pub fn crds() -> [CustomResourceDefinition; 2] {
    [KafkaBackup::crd(), KafkaRestore::crd()]
}

#[cfg(test)]
mod tests;
