//! The job document: what the operator (or a person) tells the streamer to do, as YAML or JSON.
//!
//! Owns: the document's fields, their defaults, units and ranges, and the one function that turns what was read
//! ([`RawJob`]) into what the code sees ([`Job`]). Does not own: how a Kafka client or a store is made of it.
//!
//! ```text
//! text ──serde──▶ RawJob ──resolve──▶ Job          every fault of the document in one answer (JobFaults)
//! ```
//!
//! Invariants: an unknown field is refused, never ignored; a `Job` that exists is complete and in range; no secret is
//! ever part of either form, only the paths of the files that hold them.

mod raw;
mod resolve;
mod resolved;
mod scalar;
mod selection;

pub use raw::{
    RawAnchor, RawAuthentication, RawAzure, RawBackup, RawCluster, RawFilesystem, RawGcs, RawHttp, RawJob, RawS3,
    RawStorage, RawTls, RawTopics,
};
pub use resolve::{ALLOWED_PROPERTIES, Fault, JobFaults, resolve};
pub use resolved::{
    Anchor, Authentication, Azure, AzureCredentials, BackupSettings, Cluster, Compression, Filesystem, Gcs,
    GcsCredentials, HttpSettings, Job, Location, S3, S3Credentials, ScramMechanism, Storage, Tls, Username, defaults,
};
pub use scalar::Scalar;
pub use selection::TopicSelection;

#[cfg(test)]
mod tests;
