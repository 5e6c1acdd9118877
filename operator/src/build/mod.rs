//! From a validated resource to the objects that carry it out.
//!
//! Owns: documents, pods and what belongs to them, with their names and labels. Pure: no client, no clock. Does not own: when and
//! in which order they are applied.
//!
//! Invariants: every object has its owner, so that Kubernetes removes it with the resource; no label of Strimzi's is on any; a
//! pod's document has no secret, only paths.

mod access;
mod backup;
mod credentials;
mod destroy;
mod document;
pub mod monitor;
mod network;
mod pod;
mod restore;

pub mod names;

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ObjectMeta;
use sha2::{Digest as _, Sha256};

pub use access::Access;
pub use backup::{BackupObjects, Pruner, ValidBackup, backup, snapshot_job};
pub use credentials::{Fault as CredentialsFault, StoreKeys, find as find_credentials, master_key, of_key};
pub use destroy::{DestroyObjects, ValidDestroy, destroy};
pub use document::{destroy as destroy_document, job as job_document, restore as restore_document};
pub use pod::{Mount, Shown};
pub use restore::{RestoreObjects, ValidRestore, restore};

use crate::api::{Encryption, KafkaBackup, Storage, Template};
use crate::strimzi::{Credentials, Discovered, SecretRef};
use names::Part;

/// The image of all pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its name, with tag or digest.
    pub name: String,
    /// When it is pulled. Default: as Kubernetes chooses.
    pub pull_policy: Option<String>,
}

/// What is the same for all resources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The image.
    pub image: Image,
    /// Whether NetworkPolicies are made.
    pub network_policies: bool,
}

/// The resource that objects are made for.
#[derive(Clone, Debug)]
pub struct Subject<'a> {
    /// `KafkaBackup` or `KafkaRestore`.
    pub kind: &'static str,
    /// Its name.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// What makes its objects go with it.
    pub owner: OwnerReference,
    /// The name of the Kafka cluster.
    pub cluster: &'a str,
    /// The user's additions.
    pub template: Option<&'a Template>,
    /// The part that its shared objects are named after.
    pub part: Part,
}

impl Subject<'_> {
    /// The labels of objects and pods of a part.
    pub fn labels(&self, part: Part) -> BTreeMap<String, String> {
        names::labels(&self.kind.to_lowercase(), self.name, part, self.cluster)
    }

    /// The labels that choose the pods of a part.
    pub fn selector(&self, part: Part) -> BTreeMap<String, String> {
        names::selector(&self.kind.to_lowercase(), self.name, part)
    }

    /// The resource, as its pods name it when they tell how they stand.
    pub fn resource(&self) -> String {
        format!("{}/{}/{}", self.kind.to_lowercase(), self.namespace, self.name)
    }

    /// The name of the service account.
    pub fn service_account(&self) -> String {
        names::object(self.name, self.part)
    }

    /// Name, labels and owner of the objects of a part.
    pub fn metadata(&self, part: Part) -> ObjectMeta {
        ObjectMeta {
            name: Some(names::object(self.name, part)),
            namespace: Some(self.namespace.to_owned()),
            labels: Some(self.labels(part)),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        }
    }
}

/// A stored backup, as a restore reads it.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Where it is kept.
    pub storage: Storage,
    /// How it is sealed, where it is.
    pub encryption: Option<Encryption>,
}

impl Source {
    /// That of a KafkaBackup. It has to hold what its streamer has told last, unless the resource says itself what that is: so a
    /// restore finds out that somebody has set the log back.
    pub fn of(backup: KafkaBackup) -> Self {
        let told = backup.status.and_then(|status| status.streamer.anchor);
        let encryption = backup.spec.encryption().cloned();
        let mut storage = backup.spec.storage;
        storage.anchor = storage.anchor.or(told);
        Self { storage, encryption }
    }
}

/// What pods are made of beside the resource's own words.
#[derive(Clone, Debug)]
pub struct Parts<'a> {
    /// The Kafka cluster.
    pub kafka: &'a Discovered,
    /// The keys of the store's credentials.
    pub keys: Option<&'a StoreKeys>,
    /// The Secrets of other namespaces that pods need, and what they hold. Pods see those of their own only.
    pub foreign: &'a BTreeMap<SecretRef, BTreeMap<String, ByteString>>,
}

/// The documents of the pods.
fn config_map(subject: &Subject<'_>, file: &str, document: String, kafka: &Discovered) -> ConfigMap {
    let mut data = BTreeMap::from([(file.to_owned(), document)]);
    if let Some(trust) = kafka.tls.as_ref().filter(|trust| !trust.certificates.is_empty()) {
        data.insert(names::CERTIFICATES_FILE.to_owned(), trust.certificates.join("\n"));
    }
    ConfigMap { metadata: subject.metadata(subject.part), data: Some(data), ..ConfigMap::default() }
}

/// What changes with the documents. Secrets are not part of it: pods read them again when they change.
fn digest(config_map: &ConfigMap) -> String {
    let mut digest = Sha256::new();
    for (name, text) in config_map.data.iter().flatten() {
        digest.update(name);
        digest.update([0]);
        digest.update(text);
        digest.update([0]);
    }
    digest.finalize().iter().fold(String::new(), |mut hex, byte| {
        // Writing into a String does not fail.
        let _infallible = write!(hex, "{byte:02x}");
        hex
    })
}

/// The secrets of the store, and of what a backup is sealed with.
fn storage_mounts(storage: &Storage, keys: Option<&StoreKeys>, encryption: Option<&Encryption>) -> Vec<Mount> {
    let secrets = storage.secrets();
    let credentials = secrets
        .credentials
        .zip(keys)
        .map(|(secret, keys)| Mount::storage(secret.name.clone(), keys.all().into_iter().map(str::to_owned).collect()));
    let ca = secrets.ca.map(|ca| Mount::storage_ca(ca.name.clone(), ca.key.clone()));
    credentials.into_iter().chain(ca).chain(encryption.and_then(Mount::encryption)).collect()
}

/// The secrets of the Kafka client, and copies of those that are in another namespace.
fn kafka_mounts(subject: &Subject<'_>, parts: &Parts<'_>) -> (Vec<Mount>, Vec<Secret>) {
    let mut copies = Vec::new();
    let mut local = |secret: &SecretRef, role: &str| {
        let Some(data) = parts.foreign.get(secret) else { return secret.name.clone() };
        let name = names::copy(subject.name, subject.part, role);
        let metadata = ObjectMeta { name: Some(name.clone()), ..subject.metadata(subject.part) };
        copies.push(Secret { metadata, data: Some(data.clone()), ..Secret::default() });
        name
    };
    let ca = parts.kafka.tls.as_ref().filter(|trust| !trust.keys.is_empty());
    let ca = ca.map(|trust| Mount::kafka_ca(local(&trust.secret, "kafka-ca")));
    let user =
        parts.kafka.authentication.as_ref().map(|credentials| {
            Mount::kafka_user(local(credentials.secret(), "kafka-user"), credential_keys(credentials))
        });
    (ca.into_iter().chain(user).collect(), copies)
}

/// The keys of a client's Secret that are used.
pub fn credential_keys(credentials: &Credentials) -> Vec<String> {
    match credentials {
        Credentials::Tls { certificate_key, private_key_key, .. } => {
            vec![certificate_key.clone(), private_key_key.clone()]
        }
        Credentials::ScramSha512 { password_key, .. } => vec![password_key.clone()],
    }
}

#[cfg(test)]
mod tests;
