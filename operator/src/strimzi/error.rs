//! Why a cluster cannot be reached from what Strimzi says of it.

use std::fmt;

use super::Authentication;

/// A resource, as errors name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    kind: &'static str,
    namespace: String,
    name: String,
}

impl Place {
    /// Names a resource.
    pub fn new(kind: &'static str, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }
}

impl Place {
    /// As kubectl takes it.
    fn command_line(&self) -> String {
        format!("{} {} --namespace {}", self.kind.to_lowercase(), self.name, self.namespace)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// Why discovery failed. Each names the resource, the field and the way out; none holds anything of a Secret but the
/// names of its keys.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The API server does not serve Strimzi's resources.
    #[error(
        "the API server serves no resources of the group kafka.strimzi.io: install Strimzi, or its resource \
         definitions"
    )]
    NotInstalled,

    /// It serves them in versions that are too old or too new.
    #[error(
        "the API server serves the group kafka.strimzi.io in {served}, and {understood} are understood: bring \
         Strimzi to 0.40 or newer, or this operator to a newer release"
    )]
    VersionNotServed {
        /// The versions that are served.
        served: String,
        /// The versions that would do.
        understood: String,
    },

    /// There is no such cluster.
    #[error("there is no {place}: put right spec.strimziClusterRef, or create it")]
    ClusterMissing {
        /// The cluster.
        place: Place,
    },

    /// A field has a shape that no version of the API has.
    #[error("{place} is not as Strimzi writes it: bring this operator to a release that knows this version of Strimzi")]
    Unreadable {
        /// The resource.
        place: Place,
        /// Which field.
        source: serde_json::Error,
    },

    /// The listener that was asked for is not there.
    #[error(
        "{place} has no listener {listener} in spec.kafka.listeners ({names}): put right \
         spec.strimziClusterRef.listenerName"
    )]
    ListenerMissing {
        /// The cluster.
        place: Place,
        /// The name that was asked for.
        listener: String,
        /// Those that there are.
        names: String,
    },

    /// No listener is there for the authentication that was asked for.
    #[error(
        "{place} has no listener with authentication {wanted} in spec.kafka.listeners ({listeners}): add one, or \
         change spec.authentication"
    )]
    NoListener {
        /// The cluster.
        place: Place,
        /// The authentication.
        wanted: &'static str,
        /// Those that there are, with the authentication of each.
        listeners: String,
    },

    /// The listener wants another authentication than was asked for.
    #[error(
        "listener {listener} of {place} takes authentication {listens}, and spec.authentication says {wanted}: \
         change it, or spec.strimziClusterRef.listenerName"
    )]
    AuthenticationDiffers {
        /// The cluster.
        place: Place,
        /// The listener.
        listener: String,
        /// What it takes.
        listens: String,
        /// What was asked for.
        wanted: &'static str,
    },

    /// The listener wants an authentication that no `KafkaUser` gives.
    #[error(
        "listener {listener} of {place} has authentication {listens}, for which Strimzi makes no credentials: use a \
         listener with authentication tls or scram-sha-512 ({listeners})"
    )]
    AuthenticationUnknown {
        /// The cluster.
        place: Place,
        /// The listener.
        listener: String,
        /// What it takes.
        listens: String,
        /// Those that there are, with the authentication of each.
        listeners: String,
    },

    /// The listener wants authentication, and none was asked for.
    #[error(
        "listener {listener} of {place} wants authentication {authentication}, and spec.authentication is left out: \
         create this KafkaUser{note}, and set spec.authentication to {{type: {authentication}, kafkaUserRef: {{name: \
         {user}}}}}\n{yaml}"
    )]
    AuthenticationMissing {
        /// The cluster.
        place: Place,
        /// The listener.
        listener: String,
        /// What it wants.
        authentication: Authentication,
        /// The name of the user in the YAML.
        user: String,
        /// What else has to be there for it to work; begins with a space and a parenthesis, or is empty.
        note: &'static str,
        /// The `KafkaUser` to create.
        yaml: String,
    },

    /// There is no such user.
    #[error("there is no {place}: put right spec.authentication.kafkaUserRef, or create it{note}\n{yaml}")]
    UserMissing {
        /// The user.
        place: Place,
        /// As in [`Error::AuthenticationMissing`].
        note: &'static str,
        /// The `KafkaUser` to create.
        yaml: String,
    },

    /// The user has other credentials than the listener wants.
    #[error(
        "{place} has spec.authentication.type {has}, and {wanted} is asked for: change it there, or \
         spec.authentication.type here"
    )]
    UserDiffers {
        /// The user.
        place: Place,
        /// What it has.
        has: String,
        /// What was asked for.
        wanted: Authentication,
    },

    /// The user is one of another cluster.
    #[error(
        "{place} has the label strimzi.io/cluster: {has}, and the cluster is {wanted}: name a user of that cluster"
    )]
    UserOfAnotherCluster {
        /// The user.
        place: Place,
        /// What its label says; nothing where it has none.
        has: String,
        /// The cluster.
        wanted: String,
    },

    /// The user is in another namespace, and does not say that its credentials may be copied.
    #[error(
        "{place} does not allow that its credentials are copied into namespace {home}: its owner says so with \
         `kubectl annotate {} {annotation}={home}`; or create the backup in its namespace",
        place.command_line()
    )]
    UserNotShared {
        /// The user.
        place: Place,
        /// The namespace of the pods.
        home: String,
        /// What would allow it.
        annotation: &'static str,
    },

    /// A Secret that Strimzi makes is not there.
    #[error("there is no {place}, with {what}: Strimzi makes it{why}")]
    SecretMissing {
        /// The Secret.
        place: Place,
        /// What it would hold.
        what: &'static str,
        /// Why it may not have done so, or what to look at.
        why: String,
    },

    /// A Secret lacks what Strimzi puts there.
    #[error(
        "{place} has no key {key}, with {what}: if Strimzi made it, delete it, and Strimzi makes it anew; else add \
         the key"
    )]
    KeyMissing {
        /// The Secret.
        place: Place,
        /// The key.
        key: &'static str,
        /// What it would hold.
        what: &'static str,
    },

    /// The listener has no address, and none that could be told from its name.
    #[error(
        "listener {listener} of {place} is of type {kind} and has no address in status.listeners{not_ready}: wait \
         until Strimzi has put the cluster right, or name a listener of type internal in \
         spec.strimziClusterRef.listenerName"
    )]
    AddressMissing {
        /// The cluster.
        place: Place,
        /// The listener.
        listener: String,
        /// Its type.
        kind: String,
        /// What the cluster says of itself; begins with a parenthesis, or is empty.
        not_ready: String,
    },

    /// The listener has a certificate of its own, and nothing tells it.
    #[error(
        "listener {listener} of {place} has a certificate of its own (configuration.brokerCertChainAndKey), and the cluster does \
         not tell it in status.listeners{not_ready}: wait until Strimzi has put the cluster right, or name another listener in \
         spec.strimziClusterRef.listenerName"
    )]
    CertificateMissing {
        /// The cluster.
        place: Place,
        /// The listener.
        listener: String,
        /// What the cluster says of itself; begins with a space and a parenthesis, or is empty.
        not_ready: String,
    },

    /// The API server did not answer, or not with what was asked for.
    #[error("{what}{way_out}")]
    Api {
        /// What was being done.
        what: String,
        /// What a refusal needs; begins with a colon, or is empty.
        way_out: &'static str,
        /// What it said.
        source: kube::Error,
    },
}

impl Error {
    /// The reason of the condition that tells it; a constant of the API.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::NotInstalled | Self::VersionNotServed { .. } | Self::Unreadable { .. } => "StrimziNotFound",
            Self::ClusterMissing { .. } => "ClusterNotFound",
            Self::ListenerMissing { .. } | Self::NoListener { .. } => "ListenerNotFound",
            Self::AddressMissing { .. } => "ListenerWithoutAddress",
            Self::CertificateMissing { .. } => "ListenerWithoutCertificate",
            Self::AuthenticationMissing { .. } => "AuthenticationRequired",
            Self::AuthenticationDiffers { .. } | Self::AuthenticationUnknown { .. } | Self::UserDiffers { .. } => {
                "AuthenticationMismatch"
            }
            Self::UserNotShared { .. } => "KafkaUserNotShared",
            Self::UserMissing { .. } | Self::UserOfAnotherCluster { .. } => "KafkaUserNotFound",
            Self::SecretMissing { .. } | Self::KeyMissing { .. } => "SecretNotFound",
            Self::Api { .. } => "KubernetesApiFailed",
        }
    }

    /// Whether the same may succeed without any resource being changed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Api { .. })
    }
}
