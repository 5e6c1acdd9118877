//! `backup.json`: whose backup lies under a prefix. Created once, before the first manifest, never changed.

use serde::{Deserialize, Serialize};

use crate::crypt::MasterKeyId;
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
    /// How everything else is encrypted; absent where nothing is. It stays as it is for the life of the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
}

/// How a backup is encrypted: no secret, and enough to ask for the right key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Encryption {
    /// What seals.
    pub scheme: Scheme,
    /// The master key that the backup was begun under. Which ones open it now, `keys/` says.
    pub master_key: MasterKeyId,
}

/// What seals a backup ([`crate::crypt`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scheme {
    /// AES-256-GCM, under keys that HKDF-SHA-256 derives.
    #[serde(rename = "AES-256-GCM")]
    Aes256Gcm,
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
        Self { format_version, kind, backup, name: name.to_owned(), cluster, created_at, encryption: None }
    }

    /// The same of a backup that is encrypted from its first object on, and begun under that master key.
    #[must_use]
    pub fn with_encryption(self, master_key: MasterKeyId) -> Self {
        Self { encryption: Some(Encryption { scheme: Scheme::Aes256Gcm, master_key }), ..self }
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
        assert!(!text.contains("encryption"), "{text}");
    }

    #[test]
    fn a33_the_identity_of_an_encrypted_backup_says_how_and_by_which_master_key() {
        let closed = identity().with_encryption("file:0123456789abcdef".parse().expect("legal"));
        let json = document::to_json(&closed).expect("json");
        let text = String::from_utf8(json.clone()).expect("text");
        let end = r#","encryption":{"scheme":"AES-256-GCM","masterKey":"file:0123456789abcdef"}}"#;
        assert!(text.ends_with(end), "{text}");
        assert_eq!(document::from_json::<Identity>(&json).expect("identity"), closed);
        let other = text.replace("AES-256-GCM", "ROT13");
        assert!(document::from_json::<Identity>(other.as_bytes()).is_err(), "an unknown scheme is not guessed");
    }
}
