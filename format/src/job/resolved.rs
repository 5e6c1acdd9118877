//! What the code sees of a job: complete, in range, in the units its types name. Only [`super::resolve()`] makes these.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use crate::checksum::Sha256;
use crate::ids::{BackupId, Sequence};

use super::{GroupSelection, Prices, TopicSelection};

/// What holds where the document says nothing.
pub mod defaults {
    use std::time::Duration;

    /// `name`.
    pub const NAME: &str = "backup";
    /// `topics.include`.
    pub const INCLUDE: &str = ".*";
    /// `backup.compressionLevel` for zstd: level 1 measured best in bytes per CPU second.
    pub const ZSTD_LEVEL: i32 = 1;
    /// `backup.compressionLevel` for gzip.
    pub const GZIP_LEVEL: u32 = 6;
    /// `backup.segmentSize`.
    pub const SEGMENT_BYTES: u64 = 256 << 20;
    /// `backup.topicSegmentBytes`.
    pub const TOPIC_SEGMENT_BYTES: u64 = 16 << 20;
    /// `backup.refineBytes`.
    pub const REFINE_BYTES: u64 = 256 << 20;
    /// `retention.gracePeriod`.
    pub const GRACE_PERIOD: Duration = Duration::from_secs(86_400);
    /// `backup.commitInterval`.
    pub const COMMIT_INTERVAL: Duration = Duration::from_secs(5);
    /// `backup.heartbeatInterval`.
    pub const HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);
    /// `backup.metadataInterval`.
    pub const METADATA_INTERVAL: Duration = Duration::from_secs(30);
    /// `backup.memoryBudget`.
    pub const MEMORY_BUDGET_BYTES: u64 = 256 << 20;
    /// `backup.parallelism`.
    pub const PARALLELISM: usize = 4;
    /// `transit.mount`: where Vault's own documents mount the engine.
    pub const TRANSIT_MOUNT: &str = "transit";
    /// `transit.kubernetes.mount`.
    pub const KUBERNETES_MOUNT: &str = "kubernetes";
    /// `transit.kubernetes.tokenFile`: where Kubernetes mounts the token of a pod's service account.
    pub const KUBERNETES_TOKEN_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";
    /// `http.address`.
    pub const HTTP_ADDRESS: &str = "127.0.0.1:9090";
}

/// One streamer's job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Identity label, recorded in the store when the prefix is first used; another name on the same prefix is refused.
    /// Default `backup`; 1 to 253 of `[a-zA-Z0-9._-]`.
    pub name: String,
    /// The Kafka cluster to read.
    pub cluster: Cluster,
    /// The topics to read.
    pub topics: TopicSelection,
    /// The consumer groups whose committed offsets are backed up (`consumerGroups`). Default: all; `None`, and
    /// `__consumer_offsets` is not read, with `include: []`.
    pub consumer_groups: Option<GroupSelection>,
    /// Where the backup is kept.
    pub storage: Storage,
    /// How it is made.
    pub backup: BackupSettings,
    /// How long it is kept.
    pub retention: Retention,
    /// What the store charges: inspection and metrics reckon with it what a month costs.
    pub prices: Prices,
    /// Health and metrics.
    pub http: HttpSettings,
}

/// How the Kafka cluster is reached.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// `host:port`, several by comma; enough to find the cluster by, not all its brokers. Required.
    pub bootstrap_servers: String,
    /// TLS, if the document has a `tls` block; else plain text.
    pub tls: Option<Tls>,
    /// Who the client is; anonymous where absent.
    pub authentication: Option<Authentication>,
    /// librdkafka properties from [`super::ALLOWED_PROPERTIES`], handed on as they are. Default: none.
    pub properties: BTreeMap<String, String>,
}

/// TLS to the brokers. Files are PEM.
#[derive(Clone, Debug)]
pub struct Tls {
    /// The certificates that a broker's may be signed by. Default: none here, the system's roots are used.
    pub ca_files: Vec<PathBuf>,
    /// The client's certificate, for mutual TLS. Default: none. Together with `keyFile`.
    pub certificate_file: Option<PathBuf>,
    /// The client's private key. Default: none. Together with `certificateFile`.
    pub key_file: Option<PathBuf>,
    /// The file that holds the private key's password. Default: the key has none.
    pub key_password_file: Option<PathBuf>,
    /// Whether a broker's certificate must be for the host that was dialled. Default true; false lets whoever holds any
    /// certificate of the same CA stand in for a broker.
    pub verify_hostname: bool,
}

/// A user name, or where to read it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Username {
    /// As the document says.
    Literal(String),
    /// The content of a file, without the line break at its end.
    File(PathBuf),
}

/// The hash of SCRAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScramMechanism {
    /// `SCRAM-SHA-256`.
    Sha256,
    /// `SCRAM-SHA-512`, the one Strimzi makes users for.
    Sha512,
}

/// How the client proves who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// Name and password; the password does not travel.
    Scram {
        /// The hash.
        mechanism: ScramMechanism,
        /// The user.
        username: Username,
        /// The file that holds the password.
        password_file: PathBuf,
    },
    /// Name and password as they are: without TLS, anyone on the path reads them.
    Plain {
        /// The user.
        username: Username,
        /// The file that holds the password.
        password_file: PathBuf,
    },
    /// A bearer token, re-read from its file when it is about to expire.
    OauthBearer {
        /// The file that holds the token.
        token_file: PathBuf,
    },
    /// The client certificate of [`Cluster::tls`], which then has one with its key.
    Tls,
}

/// Where the backup is kept, and what is known of it.
#[derive(Clone, Debug)]
pub struct Storage {
    /// The place.
    pub location: Location,
    /// What the log there must at least hold. Default: none; then an emptied prefix looks like a new one.
    pub anchor: Option<Anchor>,
    /// How it is sealed: `backup.encryption` of a job document, `encryption` of a restore document. Default: not at all. A backup
    /// is sealed from its first object on or never.
    pub encryption: Option<Encryption>,
}

/// How a backup is sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encryption {
    /// Where the master key is.
    pub provider: KeySource,
}

/// Where the master key is, which never enters the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// In files, each 32 bytes: as they are, as 64 hex digits, or as base64.
    Files {
        /// The key that wraps what is new (`keyFile`).
        current: PathBuf,
        /// Keys that wrapped before it, for reading (`previousKeyFiles`). Default: none.
        previous: Vec<PathBuf>,
    },
    /// In Vault or OpenBao, which wraps and unwraps, and never gives it out.
    Transit(Transit),
}

/// A key of the transit engine of Vault or OpenBao.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transit {
    /// `http(s)://host[:port]`. Required. `http://` allows plain text: then whoever is on the path reads backup keys.
    pub address: String,
    /// Where the engine is mounted. Default `transit`.
    pub mount: String,
    /// The name of the key. Required.
    pub key: String,
    /// The namespace of Vault Enterprise or OpenBao. Default: none.
    pub namespace: Option<String>,
    /// More CA certificates (PEM) to trust for the address. Default: the system's roots alone.
    pub ca_file: Option<PathBuf>,
    /// Who asks.
    pub auth: TransitAuth,
}

/// Who asks Vault. Files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransitAuth {
    /// Whoever a token is of (`tokenFile`).
    Token {
        /// The file that holds the token.
        file: PathBuf,
    },
    /// A service account of Kubernetes (`kubernetes`).
    Kubernetes {
        /// The role of the auth method. Required.
        role: String,
        /// Where the auth method is mounted. Default `kubernetes`.
        mount: String,
        /// The service account's token. Default: where Kubernetes mounts it.
        token_file: PathBuf,
    },
}

/// One of the supported kinds of store.
#[derive(Clone, Debug)]
pub enum Location {
    /// A directory.
    Filesystem(Filesystem),
    /// S3, or what speaks its protocol with conditional writes.
    S3(S3),
    /// Azure Blob Storage.
    Azure(Azure),
    /// Google Cloud Storage.
    Gcs(Gcs),
}

/// A directory on a file system with hard links and honest fsync.
#[derive(Clone, Debug)]
pub struct Filesystem {
    /// The directory, absolute. The streamer creates it where its parent exists. Required.
    pub path: PathBuf,
}

/// A bucket of S3 or compatible.
#[derive(Clone, Debug)]
pub struct S3 {
    /// The bucket; it must exist. Required.
    pub bucket: String,
    /// The region. Default: `AWS_REGION`, else `us-east-1`.
    pub region: Option<String>,
    /// `http(s)://host[:port]` of a compatible store. Default: AWS's own for the region. `http://` allows plain text.
    pub endpoint: Option<String>,
    /// Where in the bucket. Default: its root.
    pub prefix: String,
    /// The keys.
    pub credentials: S3Credentials,
    /// `bucket.host` instead of `host/bucket` in URLs. Default false.
    pub virtual_hosted_style: bool,
    /// More CA certificates (PEM) to trust for the endpoint. Default: the system's roots alone.
    pub ca_file: Option<PathBuf>,
}

/// Where S3 keys come from. Files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum S3Credentials {
    /// The `AWS_*` variables: keys, web identity, pod identity, or the instance's role. The default.
    Environment,
    /// One value to a file, as a mounted Secret has them.
    KeyFiles {
        /// The access key id.
        access_key_id_file: PathBuf,
        /// The secret access key.
        secret_access_key_file: PathBuf,
        /// The session token of temporary keys.
        session_token_file: Option<PathBuf>,
    },
    /// An AWS credentials file; its section `[default]`, or its only one.
    CredentialsFile(PathBuf),
}

/// A container of Azure Blob Storage.
#[derive(Clone, Debug)]
pub struct Azure {
    /// The container; it must exist. Required.
    pub container: String,
    /// The storage account. Required.
    pub storage_account: String,
    /// Where in the container. Default: its root.
    pub prefix: String,
    /// The account's URL where it is not `https://<account>.blob.core.windows.net`. `http://` allows plain text.
    pub endpoint: Option<String>,
    /// The key.
    pub credentials: AzureCredentials,
    /// More CA certificates (PEM) to trust for the endpoint. Default: the system's roots alone.
    pub ca_file: Option<PathBuf>,
}

/// Where Azure's key comes from. Files are read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AzureCredentials {
    /// The `AZURE_*` variables: workload identity, client secret, or the managed identity. The default.
    Environment,
    /// An account key, base64.
    AccountKeyFile(PathBuf),
    /// A shared access signature, with or without the `?` before it.
    SasTokenFile(PathBuf),
}

/// A bucket of Google Cloud Storage.
#[derive(Clone, Debug)]
pub struct Gcs {
    /// The bucket; it must exist. Required.
    pub bucket: String,
    /// Where in the bucket. Default: its root.
    pub prefix: String,
    /// `http(s)://host[:port]` of a compatible store. Default: Google's.
    pub endpoint: Option<String>,
    /// The key.
    pub credentials: GcsCredentials,
    /// More CA certificates (PEM) to trust for the endpoint. Default: the system's roots alone.
    pub ca_file: Option<PathBuf>,
}

/// Where Google's key comes from. The file is read again when it changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GcsCredentials {
    /// The `GOOGLE_*` variables, or the metadata server (workload identity). The default.
    Environment,
    /// A service account's key as JSON.
    ServiceAccountFile(PathBuf),
}

/// What the log must at least hold. A prefix that was emptied, or set back to an older copy, does not, and is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Anchor {
    /// The backup's identity.
    pub backup: BackupId,
    /// A manifest of its log.
    pub sequence: Sequence,
    /// That manifest's digest.
    pub sha256: Sha256,
}

/// How the backup is made. All of it may be changed between two runs.
#[derive(Clone, Debug)]
pub struct BackupSettings {
    /// The codec of segments. Default zstd at level 1. More level: fewer bytes stored, more CPU per record.
    pub compression: Compression,
    /// Where a cut brings more than this into one segment, another is begun (`segmentSize`): bytes of keys, values and
    /// headers before encoding. What one partition brings stays together. Default 256Mi; 1Mi to 5Gi. Smaller: more files
    /// and requests. It does not touch the recovery point.
    pub segment_bytes: u64,
    /// A topic with this much waiting at a cut gets a segment of its own, encoded once. Default 16Mi; 64Ki to
    /// `segmentSize`. Smaller: more topics in files of their own, more files and requests.
    pub topic_segment_bytes: u64,
    /// With this much in intake segments, stored, they are written anew as segments of one topic and hour each
    /// (`refineBytes`); at the latest when the hour is over. Default 256Mi; 64Ki to 64Gi. Smaller: queries of `topics/` see
    /// records earlier, in smaller files.
    pub refine_bytes: u64,
    /// The time between cuts, and so the recovery point of a healthy backup. Default 5s; 200ms to 10m. Shorter: more
    /// requests per hour (at least two each) and smaller segments.
    pub commit_interval: Duration,
    /// With nothing to commit, how often `recoverable.until` moves. Default 30s; 200ms to 10m. One request each.
    pub heartbeat_interval: Duration,
    /// How often topics, partitions and configurations are looked up. Default 30s; 200ms to 1h. A new topic waits this
    /// long to be seen; it is read from its start, so nothing is lost by waiting.
    pub metadata_interval: Duration,
    /// The ceiling for records held in memory: waiting, encoding and uploading. Default 256Mi; at least 64Mi. When it
    /// is spent, fetching pauses. The process needs about 240Mi beside it.
    pub memory_budget_bytes: u64,
    /// Uploads and encodings at once. Default 4; 1 to 64. More: faster catch-up, more CPU and connections.
    pub parallelism: NonZeroUsize,
}

/// How long a backup is kept: what neither `maxAge` nor `maxBackups` keeps, is retired. With neither, everything is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Instants that are no older can be restored. Default: no limit; at least 1h. A record goes once it is older than this and
    /// Kafka's own retention of its topic together, so that each of these instants comes back with all that Kafka held then.
    /// Of compacted topics the newest record of each key is kept; those that Kafka keeps for ever are kept whole.
    pub max_age: Option<Duration>,
    /// The newest so many snapshots can be restored (`maxBackups`), and everything since. Default: no limit; at least 1.
    pub max_backups: Option<NonZeroU32>,
    /// What is kept may become as short as this at once (`acknowledgeShrinkTo`). Without it, a change that would shorten it by more
    /// than half is held. Default: none.
    pub acknowledged: Option<Duration>,
    /// How long the objects of what is retired are left for those who read them still (`gracePeriod`). Default 24h; up to 90d.
    pub grace: Duration,
}

impl Retention {
    /// Whether anything is ever retired.
    pub fn is_limited(&self) -> bool {
        self.max_age.is_some() || self.max_backups.is_some()
    }
}

/// The codec of segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// Zstandard; 1 to 19, default 1.
    Zstd {
        /// 1 (fast) to 19 (small).
        level: i32,
    },
    /// gzip; 1 to 9, default 6.
    Gzip {
        /// 1 (fast) to 9 (small).
        level: u32,
    },
    /// LZ4 (raw blocks).
    Lz4,
    /// Snappy.
    Snappy,
}

/// Where health and metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HttpSettings {
    /// `address:port`. Default `127.0.0.1:9090`; in a pod, `0.0.0.0:9090`, so that probes reach it. Port 0: any free.
    pub address: SocketAddr,
}

impl S3 {
    /// The region, where the document or `AWS_REGION` names one.
    pub fn known_region(&self) -> Option<String> {
        self.region.clone().or_else(|| std::env::var("AWS_REGION").ok())
    }

    /// Whether plain text is allowed: only where the endpoint asks for it.
    pub fn allow_http(&self) -> bool {
        is_plain_http(self.endpoint.as_deref())
    }
}

impl Azure {
    /// Whether plain text is allowed: only where the endpoint asks for it.
    pub fn allow_http(&self) -> bool {
        is_plain_http(self.endpoint.as_deref())
    }
}

impl Gcs {
    /// Whether plain text is allowed: only where the endpoint asks for it.
    pub fn allow_http(&self) -> bool {
        is_plain_http(self.endpoint.as_deref())
    }
}

fn is_plain_http(endpoint: Option<&str>) -> bool {
    endpoint.is_some_and(|url| url.starts_with("http://"))
}
