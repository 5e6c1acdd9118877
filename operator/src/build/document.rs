//! The job document and the restore document that pods mount. What a pod sees of a secret is a path.

use std::path::PathBuf;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use strimzi_backup_format::job::{
    RawAnchor, RawAuthentication, RawAzure, RawBackup, RawCluster, RawConsumerGroups, RawEncryption, RawGcs,
    RawGroupMapping, RawHttp, RawJob, RawKubernetesAuth, RawPointInTime, RawPrices, RawRestore, RawRestoreGroups,
    RawRestoreJob, RawRetention, RawS3, RawStorage, RawTls, RawTopicMapping, RawTopics, RawTransit, Scalar,
};

use super::Source;
use super::credentials::StoreKeys;
use super::names::{
    CERTIFICATES_FILE, CONFIG_DIR, ENCRYPTION_DIR, HTTP_PORT, KAFKA_CA_DIR, KAFKA_USER_DIR, STORAGE_CA_DIR, STORAGE_DIR,
};
use crate::api::{
    BackupSpec, Encryption, KafkaBackupSpec, KafkaRestoreSpec, KeySecret, Prices, RestoreSpec, Retention, Storage,
    StorageType, Topics, Transit,
};
use crate::strimzi::{Credentials, Discovered};

/// The job document of a backup. `name` is recorded in the store as whose backup it is.
pub fn job(name: &str, spec: &KafkaBackupSpec, kafka: &Discovered, keys: Option<&StoreKeys>) -> RawJob {
    RawJob {
        name: Some(Scalar::new(name)),
        cluster: Some(cluster(kafka)),
        topics: spec.topics.as_ref().map(topics),
        consumer_groups: spec
            .consumer_groups
            .as_ref()
            .map(|groups| RawConsumerGroups { include: groups.include.clone(), exclude: groups.exclude.clone() }),
        storage: Some(storage(&spec.storage, keys)),
        backup: spec.backup.as_ref().map(backup),
        retention: spec.retention.as_ref().map(retention),
        prices: spec.prices.as_ref().map(prices),
        http: Some(http()),
    }
}

/// The job document of who deletes a stored backup: it asks the store alone, and the Kafka cluster, which a document has to
/// name, may be gone. `name` is whose backup it is.
pub fn destroy(name: &str, spec: &KafkaBackupSpec, keys: Option<&StoreKeys>) -> RawJob {
    let bootstrap_servers = format!("{}-kafka-bootstrap:9092", spec.strimzi_cluster_ref.name);
    RawJob {
        name: Some(Scalar::new(name)),
        cluster: Some(cluster(&Discovered { bootstrap_servers, ..Discovered::default() })),
        topics: None,
        consumer_groups: None,
        storage: Some(storage(&spec.storage, keys)),
        backup: None,
        retention: None,
        prices: None,
        http: None,
    }
}

/// The restore document of a restore from `from`.
pub fn restore(
    id: &str,
    spec: &KafkaRestoreSpec,
    from: &Source,
    kafka: &Discovered,
    keys: Option<&StoreKeys>,
) -> RawRestoreJob {
    RawRestoreJob {
        cluster: Some(cluster(kafka)),
        storage: Some(storage(&from.storage, keys)),
        encryption: from.encryption.as_ref().map(encryption),
        restore: Some(settings(id, spec)),
        http: Some(http()),
    }
}

fn cluster(kafka: &Discovered) -> RawCluster {
    let mut tls = kafka.tls.as_ref().map(|trust| {
        let certificates = (!trust.certificates.is_empty()).then(|| PathBuf::from(CONFIG_DIR).join(CERTIFICATES_FILE));
        let keys = trust.keys.iter().map(|key| PathBuf::from(KAFKA_CA_DIR).join(key));
        RawTls { ca_files: Some(keys.chain(certificates).collect()), ..RawTls::default() }
    });
    let file = |key: &str| Some(PathBuf::from(KAFKA_USER_DIR).join(key));
    let authentication = kafka.authentication.as_ref().map(|credentials| match credentials {
        Credentials::Tls { certificate_key, private_key_key, .. } => {
            let tls = tls.get_or_insert_default();
            tls.certificate_file = file(certificate_key);
            tls.key_file = file(private_key_key);
            RawAuthentication { r#type: Some("tls".to_owned()), ..RawAuthentication::default() }
        }
        Credentials::ScramSha512 { username, password_key, .. } => RawAuthentication {
            r#type: Some("scram-sha-512".to_owned()),
            username: Some(Scalar::new(username)),
            password_file: file(password_key),
            ..RawAuthentication::default()
        },
    });
    RawCluster { bootstrap_servers: Some(kafka.bootstrap_servers.clone()), tls, authentication, properties: None }
}

fn topics(topics: &Topics) -> RawTopics {
    RawTopics { include: topics.include.clone(), exclude: topics.exclude.clone() }
}

fn http() -> RawHttp {
    RawHttp { address: Some(format!("0.0.0.0:{}", HTTP_PORT.1)) }
}

fn storage(storage: &Storage, keys: Option<&StoreKeys>) -> RawStorage {
    let file = |key: &String| PathBuf::from(STORAGE_DIR).join(key);
    let ca_file = storage.secrets().ca.map(|ca| PathBuf::from(STORAGE_CA_DIR).join(&ca.key));
    let given = |text: &String| (!text.is_empty()).then(|| text.clone());
    let kind = match storage.r#type {
        StorageType::S3 => "s3",
        StorageType::Azure => "azure",
        StorageType::Gcs => "gcs",
    };
    let mut raw = RawStorage { r#type: Some(kind.to_owned()), ..RawStorage::default() };
    raw.s3 = storage.s3.as_ref().map(|s3| RawS3 {
        bucket: Some(s3.bucket.clone()),
        region: s3.region.clone(),
        endpoint: s3.endpoint.clone(),
        prefix: given(&s3.prefix),
        virtual_hosted_style: s3.virtual_hosted_style.then_some(true),
        ca_file: ca_file.clone(),
        ..s3_keys(keys, &file)
    });
    raw.azure = storage.azure.as_ref().map(|azure| RawAzure {
        container: Some(azure.container.clone()),
        storage_account: Some(azure.storage_account.clone()),
        prefix: given(&azure.prefix),
        endpoint: azure.endpoint.clone(),
        account_key_file: keys.and_then(|keys| match keys {
            StoreKeys::AzureAccountKey(key) => Some(file(key)),
            _ => None,
        }),
        sas_token_file: keys.and_then(|keys| match keys {
            StoreKeys::AzureSas(key) => Some(file(key)),
            _ => None,
        }),
        ca_file: ca_file.clone(),
    });
    raw.gcs = storage.gcs.as_ref().map(|gcs| RawGcs {
        bucket: Some(gcs.bucket.clone()),
        prefix: given(&gcs.prefix),
        endpoint: gcs.endpoint.clone(),
        service_account_file: keys.and_then(|keys| match keys {
            StoreKeys::GcsServiceAccount(key) => Some(file(key)),
            _ => None,
        }),
        ca_file,
    });
    raw.anchor = storage.anchor.as_ref().map(|anchor| RawAnchor {
        backup: Some(anchor.backup.clone()),
        sequence: Some(Scalar::new(anchor.sequence.to_string())),
        sha256: Some(anchor.sha256.clone()),
    });
    raw
}

fn s3_keys(keys: Option<&StoreKeys>, file: &impl Fn(&String) -> PathBuf) -> RawS3 {
    match keys {
        Some(StoreKeys::S3 { access, secret, session }) => RawS3 {
            access_key_id_file: Some(file(access)),
            secret_access_key_file: Some(file(secret)),
            session_token_file: session.as_ref().map(file),
            ..RawS3::default()
        },
        Some(StoreKeys::S3File(key)) => RawS3 { credentials_file: Some(file(key)), ..RawS3::default() },
        _ => RawS3::default(),
    }
}

/// A number or a text, as a scalar.
fn scalar(value: &IntOrString) -> Scalar {
    match value {
        IntOrString::Int(number) => Scalar::new(number.to_string()),
        IntOrString::String(text) => Scalar::new(text),
    }
}

fn backup(spec: &BackupSpec) -> RawBackup {
    RawBackup {
        compression: spec.compression.map(|compression| compression.name().to_owned()),
        compression_level: spec.compression_level.map(|level| Scalar::new(level.to_string())),
        segment_size: spec.segment_size.as_ref().map(scalar),
        topic_segment_bytes: spec.topic_segment_bytes.as_ref().map(scalar),
        refine_bytes: spec.refine_bytes.as_ref().map(scalar),
        commit_interval: spec.commit_interval.as_ref().map(Scalar::new),
        heartbeat_interval: spec.heartbeat_interval.as_ref().map(Scalar::new),
        metadata_interval: spec.metadata_interval.as_ref().map(Scalar::new),
        memory_budget: spec.memory_budget.as_ref().map(scalar),
        parallelism: spec.parallelism.map(|number| Scalar::new(number.to_string())),
        encryption: spec.encryption.as_ref().filter(|encryption| encryption.enabled).map(encryption),
    }
}

/// With which keys a backup is sealed that is.
fn encryption(encryption: &Encryption) -> RawEncryption {
    let key_file = |secret: &KeySecret| encryption_file(&secret.name, &secret.key);
    let previous = encryption.previous_key_secrets.as_ref();
    RawEncryption {
        enabled: Some(true),
        key_file: encryption.key_secret.as_ref().map(key_file),
        previous_key_files: previous.map(|secrets| secrets.iter().map(key_file).collect()),
        transit: encryption.transit.as_ref().map(transit),
    }
}

fn transit(transit: &Transit) -> RawTransit {
    let Transit { address, mount, key, namespace, ca_secret, token_secret, kubernetes } = transit;
    RawTransit {
        address: Some(address.clone()),
        mount: mount.clone(),
        key: Some(key.clone()),
        namespace: namespace.clone(),
        ca_file: ca_secret.as_ref().map(|ca| encryption_file(&ca.name, &ca.key)),
        token_file: token_secret.as_ref().map(|token| encryption_file(&token.name, &token.key)),
        // The token is where pods have it.
        kubernetes: kubernetes.as_ref().map(|auth| RawKubernetesAuth {
            role: Some(auth.role.clone()),
            mount: auth.mount.clone(),
            token_file: None,
        }),
    }
}

/// Where a key of a Secret is in the pod. What the pod says of a file names the Secret, and another Secret is another document.
fn encryption_file(secret: &str, key: &str) -> PathBuf {
    [ENCRYPTION_DIR, secret, key].iter().collect()
}

/// When objects are deleted, and with whose rights, is not the streamer's.
fn retention(spec: &Retention) -> RawRetention {
    RawRetention {
        max_age: spec.max_age.as_ref().map(Scalar::new),
        max_backups: spec.max_backups.map(|number| Scalar::new(number.to_string())),
        acknowledge_shrink_to: spec.acknowledge_shrink_to.as_ref().map(Scalar::new),
        grace_period: spec.grace_period.as_ref().map(Scalar::new),
    }
}

fn prices(spec: &Prices) -> RawPrices {
    RawPrices {
        put: spec.put.as_ref().map(Scalar::new),
        get: spec.get.as_ref().map(Scalar::new),
        storage: spec.storage.as_ref().map(Scalar::new),
        received: spec.received.as_ref().map(Scalar::new),
    }
}

fn settings(id: &str, spec: &KafkaRestoreSpec) -> RawRestore {
    let how = spec.restore.clone().unwrap_or_default();
    let RestoreSpec { topic_creation, existing_topic_policy, on_gap, .. } = how;
    RawRestore {
        id: Some(Scalar::new(id)),
        backup_id: spec.backup_ref.as_ref().and_then(|backup| backup.backup_id.as_ref()).map(Scalar::new),
        point_in_time: spec.point_in_time.as_ref().map(|point| RawPointInTime {
            timestamp: point.timestamp.as_ref().map(Scalar::new),
            offset_from_end: point.offset_from_end.as_ref().map(Scalar::new),
        }),
        start_timestamp: how.start_timestamp.as_ref().map(Scalar::new),
        topics: spec.topics.as_ref().map(topics),
        topic_mapping: spec.topic_mapping.as_ref().map(|list| {
            let mapping = list.iter().map(|mapping| RawTopicMapping {
                source_topic: Some(Scalar::new(&mapping.source_topic)),
                target_topic: Some(Scalar::new(&mapping.target_topic)),
                partitions: mapping.partitions.map(|number| Scalar::new(number.to_string())),
            });
            mapping.collect()
        }),
        topic_creation: topic_creation.map(|choice| choice.word().to_owned()),
        existing_topic_policy: existing_topic_policy.map(|choice| choice.word().to_owned()),
        on_gap: on_gap.map(|choice| choice.word().to_owned()),
        consumer_groups: groups(spec),
        raise_message_limit: how.raise_message_limit,
        parallelism: how.parallelism.map(|number| Scalar::new(number.to_string())),
        throttle: how.throttle.as_ref().map(scalar),
    }
}

fn groups(spec: &KafkaRestoreSpec) -> Option<RawRestoreGroups> {
    let groups = spec.consumer_groups.as_ref()?;
    let mapping = |list: &Vec<crate::api::GroupMapping>| {
        let mapping = list.iter().map(|mapping| RawGroupMapping {
            source_group: Some(Scalar::new(&mapping.source_group)),
            target_group: Some(Scalar::new(&mapping.target_group)),
        });
        mapping.collect()
    };
    Some(RawRestoreGroups {
        restore: Some(groups.restore),
        include: groups.include.clone(),
        exclude: groups.exclude.clone(),
        mapping: groups.mapping.as_ref().map(mapping),
    })
}
