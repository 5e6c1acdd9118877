//! The document as serde reads and writes it: every field optional, nothing judged, nothing unknown let through.
//!
//! What a field means, its default and its range stand at its counterpart in [`super::resolved`]; where the names
//! differ, the doc says so.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use super::Scalar;

macro_rules! raw {
    ($(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        // What serde says where something else stands; by itself it would name the type.
        #[serde(rename_all = "camelCase", deny_unknown_fields, expecting = "a block of fields, `field: value` each")]
        pub struct $name {
            $(
                $(#[$field_doc])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )*
        }
    };
}

raw!(
    /// The whole document.
    RawJob {
        /// See [`super::Job::name`].
        name: Scalar,
        /// The Kafka cluster; required.
        cluster: RawCluster,
        /// Which topics; all but internal ones if left out.
        topics: RawTopics,
        /// Which consumer groups; all if left out.
        consumer_groups: RawConsumerGroups,
        /// Where the backup is kept; required.
        storage: RawStorage,
        /// How it is made.
        backup: RawBackup,
        /// How long it is kept; for ever if left out.
        retention: RawRetention,
        /// What the store charges, for what is told of costs.
        prices: RawPrices,
        /// The address of health and metrics.
        http: RawHttp,
    }
);

raw!(
    /// `cluster`: how the Kafka cluster is reached.
    RawCluster {
        /// See [`super::Cluster::bootstrap_servers`]; required.
        bootstrap_servers: String,
        /// Its presence, even empty, switches TLS on.
        #[serde(deserialize_with = "present")]
        tls: RawTls,
        /// How the client proves who it is; none if left out.
        authentication: RawAuthentication,
        /// See [`super::Cluster::properties`].
        properties: BTreeMap<String, Scalar>,
    }
);

raw!(
    /// `cluster.tls`.
    RawTls {
        /// See [`super::Tls::ca_files`].
        ca_files: Vec<PathBuf>,
        /// See [`super::Tls::certificate_file`].
        certificate_file: PathBuf,
        /// See [`super::Tls::key_file`].
        key_file: PathBuf,
        /// See [`super::Tls::key_password_file`].
        key_password_file: PathBuf,
        /// See [`super::Tls::verify_hostname`].
        verify_hostname: bool,
    }
);

raw!(
    /// `cluster.authentication`: which of the fields belong, `type` decides.
    RawAuthentication {
        /// `scram-sha-512`, `scram-sha-256`, `plain`, `oauthbearer` or `tls`.
        r#type: String,
        /// The user name, for SCRAM and PLAIN.
        username: Scalar,
        /// The file that holds the user name, instead of `username`.
        username_file: PathBuf,
        /// The file that holds the password, for SCRAM and PLAIN.
        password_file: PathBuf,
        /// The file that holds the bearer token, for OAUTHBEARER.
        token_file: PathBuf,
    }
);

raw!(
    /// `topics`: regular expressions over the whole topic name.
    RawTopics {
        /// See [`super::TopicSelection`].
        include: Vec<String>,
        /// See [`super::TopicSelection`].
        exclude: Vec<String>,
    }
);

raw!(
    /// `consumerGroups`: regular expressions over the whole id of a group.
    RawConsumerGroups {
        /// See [`super::GroupSelection`]; an empty list: none.
        include: Vec<String>,
        /// See [`super::GroupSelection`].
        exclude: Vec<String>,
    }
);

raw!(
    /// `storage`: exactly the block that `type` names must be present.
    RawStorage {
        /// `filesystem`, `s3`, `azure` or `gcs`.
        r#type: String,
        /// For `type: filesystem`.
        filesystem: RawFilesystem,
        /// For `type: s3`.
        s3: RawS3,
        /// For `type: azure`.
        azure: RawAzure,
        /// For `type: gcs`.
        gcs: RawGcs,
        /// See [`super::Anchor`].
        anchor: RawAnchor,
    }
);

raw!(
    /// `storage.filesystem`.
    RawFilesystem {
        /// See [`super::Filesystem::path`].
        path: PathBuf,
    }
);

raw!(
    /// `storage.s3`.
    RawS3 {
        /// See [`super::S3::bucket`].
        bucket: String,
        /// See [`super::S3::region`].
        region: String,
        /// See [`super::S3::endpoint`].
        endpoint: String,
        /// See [`super::S3::prefix`].
        prefix: String,
        /// The file that holds the access key id; with `secretAccessKeyFile`.
        access_key_id_file: PathBuf,
        /// The file that holds the secret access key.
        secret_access_key_file: PathBuf,
        /// The file that holds the session token of temporary keys.
        session_token_file: PathBuf,
        /// An AWS credentials file (INI), instead of the key files.
        credentials_file: PathBuf,
        /// See [`super::S3::virtual_hosted_style`].
        virtual_hosted_style: bool,
        /// See [`super::S3::ca_file`].
        ca_file: PathBuf,
    }
);

raw!(
    /// `storage.azure`.
    RawAzure {
        /// See [`super::Azure::container`].
        container: String,
        /// See [`super::Azure::storage_account`].
        storage_account: String,
        /// See [`super::Azure::prefix`].
        prefix: String,
        /// See [`super::Azure::endpoint`].
        endpoint: String,
        /// The file that holds an account key.
        account_key_file: PathBuf,
        /// The file that holds a shared access signature.
        sas_token_file: PathBuf,
        /// See [`super::Azure::ca_file`].
        ca_file: PathBuf,
    }
);

raw!(
    /// `storage.gcs`.
    RawGcs {
        /// See [`super::Gcs::bucket`].
        bucket: String,
        /// See [`super::Gcs::prefix`].
        prefix: String,
        /// See [`super::Gcs::endpoint`].
        endpoint: String,
        /// The service account's key as JSON.
        service_account_file: PathBuf,
        /// See [`super::Gcs::ca_file`].
        ca_file: PathBuf,
    }
);

raw!(
    /// `storage.anchor`: all three fields are required.
    RawAnchor {
        /// The backup's UUID.
        backup: String,
        /// The sequence of a manifest.
        sequence: Scalar,
        /// That manifest's SHA-256, 64 hex digits.
        sha256: String,
    }
);

raw!(
    /// `backup`: see [`super::BackupSettings`] for every field.
    RawBackup {
        /// `zstd`, `lz4`, `snappy`, `gzip` or `none`.
        compression: String,
        /// zstd 1 to 19, gzip 1 to 9; refused with the others.
        compression_level: Scalar,
        /// A size, such as `256Mi`.
        segment_size: Scalar,
        /// A size, such as `16Mi`.
        topic_segment_bytes: Scalar,
        /// A size, such as `256Mi`.
        refine_bytes: Scalar,
        /// A duration, such as `5s`.
        commit_interval: Scalar,
        /// A duration, such as `30s`.
        heartbeat_interval: Scalar,
        /// A duration, such as `30s`.
        metadata_interval: Scalar,
        /// A size, such as `256Mi`.
        memory_budget: Scalar,
        /// A number.
        parallelism: Scalar,
        /// With which keys it is sealed; its presence, even empty, has it judged.
        #[serde(deserialize_with = "present")]
        encryption: RawEncryption,
    }
);

raw!(
    /// `backup.encryption` of a job document, `encryption` of a restore document: `keyFile` or `transit`.
    RawEncryption {
        /// Required. With `false`, the rest is kept and means nothing.
        enabled: bool,
        /// See [`super::KeySource::Files`].
        key_file: PathBuf,
        /// See [`super::KeySource::Files`].
        previous_key_files: Vec<PathBuf>,
        /// See [`super::Transit`].
        transit: RawTransit,
    }
);

raw!(
    /// `transit`: see [`super::Transit`] for every field; `tokenFile` or `kubernetes` is required.
    RawTransit {
        /// Required.
        address: String,
        /// See [`super::Transit::mount`].
        mount: String,
        /// Required.
        key: String,
        /// See [`super::Transit::namespace`].
        namespace: String,
        /// See [`super::Transit::ca_file`].
        ca_file: PathBuf,
        /// The file that holds a token of Vault.
        token_file: PathBuf,
        /// Its presence, even empty, has Vault asked for a token by the pod's service account.
        #[serde(deserialize_with = "present")]
        kubernetes: RawKubernetesAuth,
    }
);

raw!(
    /// `transit.kubernetes`: see [`super::TransitAuth::Kubernetes`].
    RawKubernetesAuth {
        /// Required.
        role: String,
        /// Where the Kubernetes auth method is mounted.
        mount: String,
        /// The file that holds the service account's token.
        token_file: PathBuf,
    }
);

raw!(
    /// `retention`: see [`super::Retention`] for every field.
    RawRetention {
        /// A duration, such as `30d`.
        max_age: Scalar,
        /// A number.
        max_backups: Scalar,
        /// A duration, such as `1d`.
        acknowledge_shrink_to: Scalar,
        /// A duration, such as `24h`.
        grace_period: Scalar,
    }
);

raw!(
    /// `prices`: see [`super::Prices`] for every field.
    RawPrices {
        /// A number, such as `0.005`.
        put: Scalar,
        /// A number, such as `0.0004`.
        get: Scalar,
        /// A number, such as `0.023`.
        storage: Scalar,
        /// A number, such as `0.09`.
        received: Scalar,
    }
);

raw!(
    /// `http`.
    RawHttp {
        /// See [`super::HttpSettings::address`].
        address: String,
    }
);

raw!(
    /// The whole restore document.
    RawRestoreJob {
        /// The Kafka cluster that is restored into; required.
        cluster: RawCluster,
        /// Where the backup is kept; required.
        storage: RawStorage,
        /// With which keys it is sealed; its presence, even empty, has it judged.
        #[serde(deserialize_with = "present")]
        encryption: RawEncryption,
        /// What is restored, and how; required.
        restore: RawRestore,
        /// The address of health and metrics; none are served if left out.
        http: RawHttp,
    }
);

raw!(
    /// `restore`: see [`super::RestoreSettings`] for every field.
    RawRestore {
        /// Required.
        id: Scalar,
        /// A snapshot's id.
        backup_id: Scalar,
        /// The newest instant if left out.
        point_in_time: RawPointInTime,
        /// RFC 3339 with zone.
        start_timestamp: Scalar,
        /// Which topics; all but internal ones if left out.
        topics: RawTopics,
        /// Other names and other numbers of partitions.
        topic_mapping: Vec<RawTopicMapping>,
        /// `auto` or `manual`.
        topic_creation: String,
        /// `fail`, `append` or `overwrite`.
        existing_topic_policy: String,
        /// `fail` or `accept`.
        on_gap: String,
        /// Offsets of consumer groups; none if left out.
        consumer_groups: RawRestoreGroups,
        /// `true` or `false`.
        raise_message_limit: bool,
        /// A number.
        parallelism: Scalar,
        /// A size, such as `50Mi`: of a second.
        throttle: Scalar,
    }
);

raw!(
    /// `restore.pointInTime`: exactly one of the fields.
    RawPointInTime {
        /// RFC 3339 with zone.
        timestamp: Scalar,
        /// A duration, such as `2h`.
        offset_from_end: Scalar,
    }
);

raw!(
    /// One entry of `restore.topicMapping`.
    RawTopicMapping {
        /// Required.
        source_topic: Scalar,
        /// Required.
        target_topic: Scalar,
        /// A number.
        partitions: Scalar,
    }
);

raw!(
    /// `restore.consumerGroups`: see [`super::RestoreGroups`].
    RawRestoreGroups {
        /// Whether offsets of groups are restored.
        restore: bool,
        /// See [`super::GroupSelection`].
        include: Vec<String>,
        /// See [`super::GroupSelection`].
        exclude: Vec<String>,
        /// Groups that get another id.
        mapping: Vec<RawGroupMapping>,
    }
);

raw!(
    /// One entry of `restore.consumerGroups.mapping`.
    RawGroupMapping {
        /// Required.
        source_group: Scalar,
        /// Required.
        target_group: Scalar,
    }
);

/// Reads a block whose presence alone means something: `tls:` with nothing after it is present, and read as absent it
/// would silently send records and passwords in the clear.
fn present<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Ok(Some(Option::deserialize(deserializer)?.unwrap_or_default()))
}
