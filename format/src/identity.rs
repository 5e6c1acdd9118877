//! `backup.json`: whose backup lies under a prefix. Created once, before the first manifest, never changed.

use serde::{Deserialize, Serialize};

use crate::document::{Document, FORMAT_VERSION, Kind};
use crate::ids::{BackupId, ClusterId, TimestampMs};

/// The identity of a backup. Its digest is the `previous` of the log's first manifest, so it cannot be swapped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Identity {
    /// Always 1 today.
    pub format_version: u32,
    /// Always `identity`.
    pub kind: Kind,
    /// The backup's own id.
    pub backup: BackupId,
    /// The name that its job gives it.
    pub name: String,
    /// The Kafka cluster it is a backup of.
    pub cluster: ClusterId,
    /// When it was created.
    pub created_at: TimestampMs,
}

impl Document for Identity {
    const KIND: Kind = Kind::Identity;
}

/// Why a job must not write to the backup that is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    /// Another job's backup.
    #[error(
        "the prefix holds the backup {found:?}, and this job's name is {wanted:?}; use another prefix, or the same name"
    )]
    Name {
        /// The name in the store.
        found: String,
        /// The job's.
        wanted: String,
    },
    /// Another cluster's backup.
    #[error(
        "the prefix holds a backup of Kafka cluster {found}, and this job's cluster is {wanted}; use another prefix"
    )]
    Cluster {
        /// The cluster id in the store.
        found: ClusterId,
        /// The job's.
        wanted: ClusterId,
    },
}

impl Identity {
    /// A new identity.
    pub fn new(backup: BackupId, name: &str, cluster: ClusterId, created_at: TimestampMs) -> Self {
        let (format_version, kind) = (FORMAT_VERSION, Kind::Identity);
        Self { format_version, kind, backup, name: name.to_owned(), cluster, created_at }
    }

    /// Whether a job of that name for that cluster may write here.
    ///
    /// # Errors
    /// [`Mismatch`] names both sides of the first difference.
    pub fn admits(&self, name: &str, cluster: &ClusterId) -> Result<(), Mismatch> {
        if self.cluster != *cluster {
            return Err(Mismatch::Cluster { found: self.cluster.clone(), wanted: cluster.clone() });
        }
        if self.name != name {
            return Err(Mismatch::Name { found: self.name.clone(), wanted: name.to_owned() });
        }
        Ok(())
    }
}
