//! What a Strimzi cluster tells of itself: addresses, trust, and who the client is.
//!
//! Owns: reading `Kafka`, `KafkaUser` and their Secrets. Does not own: what pods make of it (`crate::build`).
//!
//! | module | owns |
//! | --- | --- |
//! | [`fetch`] | the only user of the Kubernetes API: reads what the others judge, and puts the answer together |
//! | [`kafka`], [`user`] | the few fields that are read of Strimzi's resources |
//! | [`listener`] | which listener, and where |
//! | [`trust`], [`user`] | which keys of which Secrets |
//! | [`access`] | the `KafkaUser` that somebody has to create |
//! | [`cluster`] | KRaft or ZooKeeper, how many brokers |
//! | [`names`] | every name that is Strimzi's |
//! | [`error`] | why it cannot be told, and the way out |

pub mod access;
pub mod cluster;
pub mod error;
mod expiry;
pub mod fetch;
pub mod kafka;
pub mod listener;
pub mod names;
pub mod trust;
pub mod user;

#[cfg(test)]
mod tests;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use access::Purpose;
pub use cluster::MetadataMode;
pub use error::Error;
pub use expiry::Expiry;
pub use fetch::discover;

/// How a client proves who it is, as a `KafkaUser` has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// By a certificate.
    Tls,
    /// By a name and a password.
    ScramSha512,
}

impl Authentication {
    /// The word that Strimzi has for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tls => "tls",
            Self::ScramSha512 => "scram-sha-512",
        }
    }
}

impl fmt::Display for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is to be discovered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The namespace of the pods: credentials of a user in another one are copied there, if that user says so.
    pub home: String,
    /// The namespace of the cluster.
    pub namespace: String,
    /// The name of the cluster.
    pub name: String,
    /// The listener to use; the best if left out.
    pub listener: Option<String>,
    /// Who the client is to be; nobody if left out.
    pub user: Option<User>,
    /// What the client is for. Decides what the user has to be allowed where it is missing.
    pub purpose: Purpose,
}

/// A `KafkaUser`, as a backup or a restore names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// What it has to have.
    pub authentication: Authentication,
    /// Its name.
    pub name: String,
    /// Its namespace; where the cluster's User Operator looks for users if left out.
    pub namespace: Option<String>,
}

/// A Secret.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretRef {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The certificates that brokers are trusted by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Where they are.
    pub secret: SecretRef,
    /// The keys that hold one each, PEM; in order, not empty.
    pub keys: Vec<String>,
    /// More of them, PEM, which no Secret holds: a listener's own, where the CAs of the cluster did not sign it.
    pub certificates: Vec<String>,
}

/// Who the client is, and where its secret is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// A client certificate.
    Tls {
        /// Where certificate and key are.
        secret: SecretRef,
        /// The key of the certificate, PEM.
        certificate_key: String,
        /// The key of the private key, PEM.
        private_key_key: String,
    },
    /// Name and password.
    ScramSha512 {
        /// The user's name in Kafka.
        username: String,
        /// Where the password is.
        secret: SecretRef,
        /// The key of the password.
        password_key: String,
    },
}

impl Credentials {
    /// Where the secret part is.
    pub fn secret(&self) -> &SecretRef {
        match self {
            Self::Tls { secret, .. } | Self::ScramSha512 { secret, .. } => secret,
        }
    }
}

/// A Kafka cluster as a client needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovered {
    /// `host:port`, several by comma.
    pub bootstrap_servers: String,
    /// The trust of the listener; `None` for plain text.
    pub tls: Option<Trust>,
    /// Who the client is; `None` where the listener asks nobody.
    pub authentication: Option<Credentials>,
    /// The id of the cluster, as soon as Strimzi tells it.
    pub cluster_id: Option<String>,
    /// What a person should know though it stops nothing, such as that the status has no listeners.
    pub warnings: Vec<String>,
    /// When the certificates end that are used.
    pub expiries: Vec<Expiry>,
    /// The name of the listener.
    pub listener: String,
    /// What is known of the cluster beside.
    pub cluster: Cluster,
}

/// What Strimzi says of a cluster, as the status of a backup has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cluster {
    /// The version of Strimzi's resources that is read, v1 or v1beta2.
    pub api_version: String,
    /// The version of Strimzi that last carried the cluster out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub strimzi_version: Option<String>,
    /// The version of Kafka; not told while the cluster is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kafka_version: Option<String>,
    /// Where it keeps its metadata; Migrating on the way from one to the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata_mode: Option<MetadataMode>,
    /// The number of brokers that it is to have, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brokers: Option<i64>,
}
