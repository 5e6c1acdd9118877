//! The job document and the restore document: what the operator (or a person) tells the streamer, or a restore, to do, as YAML
//! or JSON.
//!
//! Owns: the documents' fields, their defaults, units and ranges, and the functions that turn what was read ([`RawJob`],
//! [`RawRestoreJob`]) into what the code sees ([`Job`], [`RestoreJob`]). Does not own: how a Kafka client or a store is made
//! of it, or whether a backup holds what a restore asks for.
//!
//! ```text
//! text ──serde──▶ RawJob ──resolve──▶ Job          every fault of the document in one answer (JobFaults)
//! text ──serde──▶ RawRestoreJob ──resolve_restore(now)──▶ RestoreJob
//! ```
//!
//! Invariants: an unknown field is refused, never ignored; a `Job` or `RestoreJob` that exists is complete and in range; no secret is
//! ever part of either form, only the paths of the files that hold them.

mod prices;
mod raw;
mod resolve;
mod resolved;
mod restore;
mod scalar;
mod selection;

pub use prices::{Prices, parse_price};
pub use raw::{
    RawAnchor, RawAuthentication, RawAzure, RawBackup, RawCluster, RawConsumerGroups, RawEncryption, RawFilesystem,
    RawGcs, RawGroupMapping, RawHttp, RawJob, RawKubernetesAuth, RawPointInTime, RawPrices, RawRestore,
    RawRestoreGroups, RawRestoreJob, RawRetention, RawS3, RawStorage, RawTls, RawTopicMapping, RawTopics, RawTransit,
};
pub use resolve::{ALLOWED_PROPERTIES, Fault, JobFaults, resolve, resolve_restore};
pub use resolved::{
    Anchor, Authentication, Azure, AzureCredentials, BackupSettings, Cluster, Compression, Encryption, Filesystem, Gcs,
    GcsCredentials, HttpSettings, Job, KeySource, Location, Retention, S3, S3Credentials, ScramMechanism, Storage, Tls,
    Transit, TransitAuth, Username, defaults,
};
pub use restore::{
    ExistingTopicPolicy, OnGap, RestoreGroups, RestoreJob, RestoreSettings, Stop, TopicCreation, TopicTarget, Until,
};
pub use scalar::Scalar;
pub use selection::{GroupSelection, RESTORE_GROUP_PREFIX, TopicSelection};

#[cfg(test)]
mod tests;
