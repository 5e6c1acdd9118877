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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document;
    use crate::sample::{at, identity};

    fn admitted(name: &str, cluster: &str) -> Result<(), Mismatch> {
        identity().admits(name, &ClusterId::new(cluster))
    }

    const CLUSTER: &str = "4L6g3nShT-eMCtK--X86sw";

    #[test]
    fn a09_a_job_of_the_same_name_and_cluster_is_admitted_and_no_other() {
        assert_eq!(admitted("orders-dr", CLUSTER), Ok(()));
        let (found, wanted) = ("orders-dr".to_owned(), "orders".to_owned());
        assert_eq!(admitted("orders", CLUSTER), Err(Mismatch::Name { found, wanted }));
    }

    #[test]
    fn a10_another_cluster_is_told_before_another_name() {
        let (found, wanted) = (ClusterId::new(CLUSTER), ClusterId::new("other"));
        assert_eq!(admitted("orders", "other"), Err(Mismatch::Cluster { found, wanted }));
    }

    #[test]
    fn a_new_identity_says_version_and_kind_and_comes_back() {
        let json = document::to_json(&identity()).expect("json");
        let text = String::from_utf8(json.clone()).expect("text");
        assert!(text.starts_with(r#"{"formatVersion":1,"kind":"identity","backup":""#), "{text}");
        assert_eq!(document::from_json::<Identity>(&json).expect("identity"), identity());
        assert_eq!(identity().created_at, at(0));
    }
}
