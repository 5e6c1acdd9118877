//! Why a resource cannot be carried out.

use strimzi_backup_format::job::JobFaults;

use crate::build::CredentialsFault;
use crate::strimzi;

/// Why a resource cannot be carried out. Never holds anything of a Secret but the names of its keys.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The Kafka cluster cannot be used as it is.
    #[error(transparent)]
    Discovery(#[from] Box<strimzi::Error>),

    /// The resource asks for what cannot be: every fault of it.
    #[error("the spec cannot be carried out: {0}")]
    Invalid(#[from] JobFaults),

    /// A Secret does not hold what it should.
    #[error(transparent)]
    Credentials(#[from] CredentialsFault),

    /// A Secret that the resource names is not there.
    #[error(
        "{field} names the Secret {name:?}, which is not in namespace {namespace:?}: create it, or name another one"
    )]
    SecretMissing {
        /// The field that names it.
        field: &'static str,
        /// Its name.
        name: String,
        /// The namespace.
        namespace: String,
    },

    /// The KafkaBackup of a restore is not there.
    #[error(
        "backupRef.name is {name:?}, and there is no such KafkaBackup in namespace {namespace:?}: where it is gone, make a \
         KafkaRestore that says in storage where its backup is kept"
    )]
    BackupMissing {
        /// Its name.
        name: String,
        /// The namespace.
        namespace: String,
    },

    /// The Job of a restore is there already, and another resource had it made.
    #[error(
        "there is a Job {name:?} already, of an earlier resource of this name: Kubernetes removes it with that one, in moments; \
         if it stays, delete it"
    )]
    JobOfAnother {
        /// Its name.
        name: String,
    },

    /// The API server refuses an object as it is.
    #[error("the API server refuses {what}: {message}")]
    Refused {
        /// The object.
        what: String,
        /// Its words.
        message: String,
    },

    /// The API server did not do what was asked of it.
    #[error("{what}")]
    Api {
        /// What was being done.
        what: String,
        /// What it said.
        source: Box<kube::Error>,
    },

    /// The API server did not say all that it was asked for.
    #[error(
        "the API server did not answer within {seconds} s: it is overloaded, or a connection to it was cut off; all is asked for \
         again"
    )]
    NoAnswer {
        /// How long it was waited for, in seconds.
        seconds: u64,
    },

    /// A document cannot be written; a fault of the operator.
    #[error("write the document of the pods")]
    Document {
        /// Why.
        #[from]
        source: serde_norway::Error,
    },
}

impl Error {
    /// What an answer of the API server means: 400 and 422 are about the object, all else about the moment or the rights.
    pub fn api(what: impl Into<String>, source: kube::Error) -> Self {
        match source {
            kube::Error::Api(status) if matches!(status.code, 400 | 422) => {
                Self::Refused { what: what.into(), message: status.message.clone() }
            }
            source => Self::Api { what: what.into(), source: Box::new(source) },
        }
    }

    /// The reason of the condition that tells it; a constant of the API.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Discovery(error) => error.reason(),
            Self::Invalid(_) | Self::Refused { .. } => "InvalidSpec",
            Self::Credentials(CredentialsFault::NoMasterKey { .. }) => "EncryptionKeyInvalid",
            Self::Credentials(_) | Self::SecretMissing { .. } => "SecretNotFound",
            Self::BackupMissing { .. } => "BackupNotFound",
            Self::JobOfAnother { .. } => "JobOfAnother",
            Self::Api { .. } | Self::NoAnswer { .. } => "KubernetesApiFailed",
            Self::Document { .. } => "InternalError",
        }
    }

    /// Whether the same may succeed without any resource being changed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Discovery(error) => error.is_retryable(),
            Self::Api { .. } | Self::NoAnswer { .. } => true,
            _ => false,
        }
    }

    /// Whether the API server does not let the operator do it: a right is missing, or the namespace is about to go.
    pub fn is_forbidden(&self) -> bool {
        let Self::Api { source, .. } = self else { return false };
        matches!(&**source, kube::Error::Api(status) if status.code == 403)
    }

    /// The error and its causes, for a condition.
    pub fn told(&self) -> String {
        chain(self)
    }
}

/// An error and its causes, each said once.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        // Some repeat their cause in their own words.
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}
