//! Every name of an object, of a path in a pod, and of a label that is ours.

use std::collections::BTreeMap;

/// What writes our objects, in `metadata.managedFields`.
pub const FIELD_MANAGER: &str = "strimzi-backup-operator";

/// The label that names the KafkaBackup or KafkaRestore that an object belongs to.
pub const INSTANCE: &str = "app.kubernetes.io/instance";
/// The label that says which part of it.
pub const COMPONENT: &str = "app.kubernetes.io/component";
/// The label that names the Kafka cluster. Strimzi's own labels are never on our objects: it would delete some of them and
/// take others for its own.
pub const CLUSTER: &str = "kafkabackup.com/cluster";
/// The label that names the kind of the resource that an object belongs to.
pub const KIND: &str = "kafkabackup.com/kind";
/// The annotation of pods that changes with their documents, so that they start anew.
pub const CONFIG_DIGEST: &str = "kafkabackup.com/config-sha256";

/// The program in the image.
pub const PROGRAM: &str = "/usr/local/bin/strimzi-backup";
/// Where the pod's documents are.
pub const CONFIG_DIR: &str = "/etc/strimzi-backup/config";
/// Where the certificates of the cluster's CAs are.
pub const KAFKA_CA_DIR: &str = "/etc/strimzi-backup/kafka-ca";
/// Where the client's secrets are.
pub const KAFKA_USER_DIR: &str = "/etc/strimzi-backup/kafka-user";
/// Where the credentials of the store are.
pub const STORAGE_DIR: &str = "/etc/strimzi-backup/storage";
/// Where the CA of the store is.
pub const STORAGE_CA_DIR: &str = "/etc/strimzi-backup/storage-ca";

/// Where the keys are that a backup is sealed with, and what Vault is asked with: each in a folder named after its Secret.
pub const ENCRYPTION_DIR: &str = "/etc/strimzi-backup/encryption";

/// The key of the job document.
pub const JOB_FILE: &str = "job.yaml";
/// The key of the job document of prunes that have credentials of their own.
pub const PRUNE_FILE: &str = "prune.yaml";
/// The key of the restore document.
pub const RESTORE_FILE: &str = "restore.yaml";
/// The key of certificates that no Secret holds.
pub const CERTIFICATES_FILE: &str = "listener.crt";

/// The port of health and metrics, and its name.
pub const HTTP_PORT: (&str, i32) = ("http", 9090);

/// A part of a resource: its objects are named after both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The pod that streams, and what all pods of a backup share.
    Streamer,
    /// The pods that make snapshots.
    Snapshot,
    /// The pods that delete what was retired.
    Prune,
    /// The pods that verify what is stored.
    Verify,
    /// The pod that deletes the stored backup.
    Destroy,
    /// The pod that restores.
    Restore,
}

impl Part {
    /// The word for it in names and labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Streamer => "streamer",
            Self::Snapshot => "snapshot",
            Self::Prune => "prune",
            Self::Verify => "verify",
            Self::Destroy => "destroy",
            Self::Restore => "restore",
        }
    }
}

/// The name of an object of a part of a resource.
pub fn object(resource: &str, part: Part) -> String {
    format!("{resource}-{}", part.word())
}

/// The name of the copy of a Secret from another namespace, `kafka-ca` or `kafka-user`.
pub fn copy(resource: &str, part: Part, role: &str) -> String {
    format!("{}-{role}", object(resource, part))
}

/// The labels that choose the pods of a part.
pub fn selector(kind: &str, resource: &str, part: Part) -> BTreeMap<String, String> {
    [("app.kubernetes.io/name", "strimzi-backup"), (INSTANCE, resource), (COMPONENT, part.word()), (KIND, kind)]
        .map(|(label, value)| (label.to_owned(), value.to_owned()))
        .into()
}

/// The labels of an object of a part.
pub fn labels(kind: &str, resource: &str, part: Part, cluster: &str) -> BTreeMap<String, String> {
    let mut labels = selector(kind, resource, part);
    labels.insert("app.kubernetes.io/managed-by".to_owned(), FIELD_MANAGER.to_owned());
    labels.insert("app.kubernetes.io/part-of".to_owned(), "strimzi-backup".to_owned());
    // A label takes 63 characters; the name of a cluster that has more is not one of Strimzi's.
    if cluster.len() <= 63 {
        labels.insert(CLUSTER.to_owned(), cluster.to_owned());
    }
    labels
}
