//! The names that Strimzi gives: its API, and what it makes for a cluster.

/// The group of all of Strimzi's resources that discovery reads.
pub const GROUP: &str = "kafka.strimzi.io";

/// The API versions that discovery understands, the best first. Until 0.48 v1beta2 alone is served, from 1.0 on v1
/// alone.
pub const VERSIONS: &[&str] = &["v1", "v1beta2"];

/// The label by which users, topics and node pools belong to a cluster.
pub const CLUSTER_LABEL: &str = "strimzi.io/cluster";

/// The annotation that says whether a cluster has moved from ZooKeeper to KRaft; not looked at from 0.48 on.
pub const KRAFT_ANNOTATION: &str = "strimzi.io/kraft";

/// The annotation that says whether node pools count; not looked at from 0.48 on, where they always do.
pub const NODE_POOLS_ANNOTATION: &str = "strimzi.io/node-pools";

/// The annotation of a `KafkaUser` that names the namespaces to which its credentials may be copied: one, several by
/// comma, or `*`. Ours: Strimzi keeps users for their own namespace.
pub const ALLOWED_NAMESPACES: &str = "kafkabackup.com/allowed-namespaces";

/// The key of the password in the Secret of a SCRAM user.
pub const PASSWORD_KEY: &str = "password";

/// The key of the certificate in the Secret of a TLS user. (`ca.crt` beside it is the CA of clients, not that of
/// brokers.)
pub const USER_CERTIFICATE_KEY: &str = "user.crt";

/// The key of the private key in the Secret of a TLS user.
pub const USER_KEY_KEY: &str = "user.key";

/// The Secret with the certificates of the CAs that sign the brokers of a cluster.
pub fn cluster_ca(cluster: &str) -> String {
    format!("{cluster}-cluster-ca-cert")
}

/// The Service through which clients in the same Kubernetes cluster find all listeners of type `internal`.
pub fn internal_bootstrap(cluster: &str) -> String {
    format!("{cluster}-kafka-bootstrap")
}

/// The Service of one listener of any other type.
pub fn listener_bootstrap(cluster: &str, listener: &str) -> String {
    format!("{cluster}-kafka-{listener}-bootstrap")
}
