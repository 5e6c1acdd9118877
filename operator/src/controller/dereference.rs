//! Reads what a resource names: the Kafka cluster, Secrets, the KafkaBackup of a restore.

use std::collections::BTreeMap;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};

use super::error::Error;
use crate::api::{
    Authentication, AuthenticationType, Encryption, ExistingTopicPolicy, KafkaBackup, KafkaBackupSpec,
    KafkaRestoreSpec, Storage, StrimziClusterRef,
};
use crate::build::{self, Parts, Source, StoreKeys};
use crate::strimzi::{self, Discovered, Purpose, Request, SecretRef, User};

/// What a resource names, as it is now.
#[derive(Clone, Debug)]
pub struct Dereferenced {
    /// The Kafka cluster.
    pub kafka: Discovered,
    /// The keys of the store's credentials.
    pub keys: Option<StoreKeys>,
    /// What Secrets of other namespaces hold, as far as pods need it.
    pub foreign: BTreeMap<SecretRef, BTreeMap<String, ByteString>>,
    /// Whether the cluster or its user is in another namespace than the resource.
    pub is_elsewhere: bool,
}

impl Dereferenced {
    /// As the objects are built of it.
    pub fn parts(&self) -> Parts<'_> {
        Parts { kafka: &self.kafka, keys: self.keys.as_ref(), foreign: &self.foreign }
    }
}

/// What is asked of a cluster on behalf of a resource in `namespace`.
pub fn request(
    namespace: &str,
    cluster: &StrimziClusterRef,
    authentication: Option<&Authentication>,
    purpose: Purpose,
) -> Request {
    let user = authentication.map(|authentication| User {
        authentication: match authentication.r#type {
            AuthenticationType::Tls => strimzi::Authentication::Tls,
            AuthenticationType::ScramSha512 => strimzi::Authentication::ScramSha512,
        },
        name: authentication.kafka_user_ref.name.clone(),
        namespace: authentication.kafka_user_ref.namespace.clone(),
    });
    Request {
        home: namespace.to_owned(),
        namespace: cluster.namespace.clone().unwrap_or_else(|| namespace.to_owned()),
        name: cluster.name.clone(),
        listener: cluster.listener_name.clone(),
        user,
        purpose,
    }
}

/// What the user of a restore has to be allowed.
pub fn purpose(spec: &KafkaRestoreSpec) -> Purpose {
    let policy = spec.restore.as_ref().and_then(|restore| restore.existing_topic_policy);
    Purpose::Restore {
        groups: spec.consumer_groups.as_ref().is_some_and(|groups| groups.restore),
        overwrite: policy == Some(ExistingTopicPolicy::Overwrite),
    }
}

/// Reads what a resource in `namespace` names.
///
/// # Errors
/// [`Error::Discovery`], [`Error::SecretMissing`], [`Error::Credentials`], [`Error::Api`].
pub async fn dereference(
    client: &Client,
    namespace: &str,
    request: &Request,
    storage: &Storage,
    encryption: Option<&Encryption>,
) -> Result<Dereferenced, Error> {
    let kafka = strimzi::discover(client, request).await.map_err(Box::new)?;
    let keys = store_keys(client, namespace, storage).await?;
    sealed_by(client, namespace, encryption).await?;
    let foreign = foreign(client, namespace, &kafka).await?;
    let is_elsewhere = request.namespace != namespace || !foreign.is_empty();
    Ok(Dereferenced { kafka, keys, foreign, is_elsewhere })
}

async fn store_keys(client: &Client, namespace: &str, storage: &Storage) -> Result<Option<StoreKeys>, Error> {
    let secrets = storage.secrets();
    if let Some(ca) = secrets.ca {
        let data = secret(client, namespace, &ca.name, "storage.caSecret").await?;
        // Without it no pod would start, and none would say why.
        build::of_key(&ca.name, &ca.key, &data)?;
    }
    let Some(credentials) = secrets.credentials else { return Ok(None) };
    let data = secret(client, namespace, &credentials.name, "storage.credentialsSecret").await?;
    Ok(Some(build::find_credentials(storage.r#type, credentials, &data)?))
}

/// Looks whether what a backup is sealed with is there: without it no pod would start, and none would say why. Nothing of it is
/// kept.
async fn sealed_by(client: &Client, namespace: &str, encryption: Option<&Encryption>) -> Result<(), Error> {
    let files = encryption.map(Encryption::files).unwrap_or_default();
    for file in files {
        let data = secret(client, namespace, file.secret, file.field).await?;
        if file.is_master_key {
            build::master_key(file.secret, file.key, &data)?;
        } else {
            build::of_key(file.secret, file.key, &data)?;
        }
    }
    Ok(())
}

/// The keys of the credentials that only prunes have, if the resource names any.
///
/// # Errors
/// [`Error::SecretMissing`], [`Error::Credentials`], [`Error::Api`].
pub async fn prune_keys(client: &Client, namespace: &str, spec: &KafkaBackupSpec) -> Result<Option<StoreKeys>, Error> {
    let Some(credentials) = spec.prune_credentials() else { return Ok(None) };
    let data = secret(client, namespace, &credentials.name, "retention.storageCredentials").await?;
    Ok(Some(build::find_credentials(spec.storage.r#type, credentials, &data)?))
}

/// Where a stored backup is deleted: with the credentials that only prunes have, or with those of the storage. And the keys of
/// these. What it is sealed with may be gone: deleting reads nothing.
///
/// # Errors
/// [`Error::SecretMissing`], [`Error::Credentials`], [`Error::Api`].
pub async fn deleter(
    client: &Client,
    namespace: &str,
    spec: &KafkaBackupSpec,
) -> Result<(Storage, Option<StoreKeys>), Error> {
    match spec.prune_credentials() {
        Some(secret) => Ok((spec.storage.with_credentials(secret), prune_keys(client, namespace, spec).await?)),
        None => Ok((spec.storage.clone(), store_keys(client, namespace, &spec.storage).await?)),
    }
}

async fn foreign(
    client: &Client,
    namespace: &str,
    kafka: &Discovered,
) -> Result<BTreeMap<SecretRef, BTreeMap<String, ByteString>>, Error> {
    let trust = kafka.tls.as_ref().filter(|trust| !trust.keys.is_empty());
    let trust = trust.map(|trust| (&trust.secret, trust.keys.clone()));
    let user = kafka.authentication.as_ref();
    let user = user.map(|credentials| (credentials.secret(), build::credential_keys(credentials)));
    let mut foreign = BTreeMap::new();
    for (place, keys) in trust.into_iter().chain(user).filter(|(place, _)| place.namespace != namespace) {
        let mut data = secret(client, &place.namespace, &place.name, "strimziClusterRef").await?;
        data.retain(|key, _| keys.contains(key));
        foreign.insert(place.clone(), data);
    }
    Ok(foreign)
}

async fn secret(
    client: &Client,
    namespace: &str,
    name: &str,
    field: &'static str,
) -> Result<BTreeMap<String, ByteString>, Error> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(name).await.map_err(|source| Error::api(format!("read Secret {name:?}"), source))?;
    let missing = || Error::SecretMissing { field, name: name.to_owned(), namespace: namespace.to_owned() };
    Ok(found.ok_or_else(missing)?.data.unwrap_or_default())
}

/// Where the backup of a restore is kept, how it is sealed, and what it has to hold at least.
///
/// # Errors
/// [`Error::BackupMissing`], [`Error::Api`].
pub async fn source(client: &Client, namespace: &str, spec: &KafkaRestoreSpec) -> Result<Source, Error> {
    if let Some(storage) = &spec.storage {
        let encryption = spec.encryption.clone().filter(|encryption| encryption.enabled);
        return Ok(Source { storage: storage.clone(), encryption });
    }
    let name = spec.backup_ref.as_ref().and_then(|backup| backup.name.clone()).unwrap_or_default();
    let api: Api<KafkaBackup> = Api::namespaced(client.clone(), namespace);
    let found = api.get_opt(&name).await.map_err(|source| Error::api(format!("read KafkaBackup {name:?}"), source))?;
    let missing = || Error::BackupMissing { name: name.clone(), namespace: namespace.to_owned() };
    found.map(Source::of).ok_or_else(missing)
}
