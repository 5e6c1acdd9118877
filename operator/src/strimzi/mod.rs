//! What a Strimzi cluster tells of itself: addresses, trust, and who the client is.
//!
//! Owns: reading `Kafka`, `KafkaUser` and their Secrets. Does not own: what pods make of it (`crate::build`).

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
#[derive(Clone, Debug, PartialEq, Eq)]
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
}
