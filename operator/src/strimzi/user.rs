//! Which `KafkaUser` the client is, and where its credentials lie. Pure.

use k8s_openapi::api::core::v1::Secret;
use serde::Deserialize;
use serde_json::Value;

use super::error::{Error, Place};
use super::kafka::{Condition, Kafka, Metadata, not_ready, read};
use super::{Authentication, Credentials, SecretRef, User, names};

/// What is read of a `KafkaUser`.
#[derive(Clone, Debug, Deserialize)]
pub struct KafkaUser {
    /// Its name, namespace and labels.
    pub metadata: Metadata,
    /// What its owner wants.
    #[serde(default)]
    pub spec: KafkaUserSpec,
    /// What Strimzi last said; without name and Secret after a failure and while it is paused.
    #[serde(default)]
    pub status: KafkaUserStatus,
}

/// `spec` of a `KafkaUser`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct KafkaUserSpec {
    /// How it proves who it is.
    pub authentication: Option<UserAuthentication>,
}

/// `spec.authentication` of a `KafkaUser`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct UserAuthentication {
    /// `tls`, `tls-external` or `scram-sha-512`.
    pub r#type: String,
}

/// `status` of a `KafkaUser`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct KafkaUserStatus {
    /// Its name in Kafka: `CN=…` with TLS.
    pub username: Option<String>,
    /// The Secret with its credentials.
    pub secret: Option<String>,
    /// `Ready`, `NotReady`, `ReconciliationPaused`.
    pub conditions: Vec<Condition>,
}

/// A user that may be used, whose Secret is to be read.
#[derive(Debug)]
pub struct Accepted {
    /// Where its credentials are.
    pub secret: SecretRef,
    user: KafkaUser,
    authentication: Authentication,
}

/// What errors call a user of this cluster.
pub fn place(kafka: &Kafka, user: &User) -> Place {
    Place::new("KafkaUser", user.namespace.as_deref().unwrap_or(kafka.user_namespace()), &user.name)
}

/// Judges a user as the API server gave it, for pods in the namespace `home`.
///
/// # Errors
/// [`Error::Unreadable`], [`Error::UserOfAnotherCluster`], [`Error::UserDiffers`], [`Error::UserNotShared`].
pub fn accept(kafka: &Kafka, wanted: &User, home: &str, value: &Value) -> Result<Accepted, Error> {
    let place = place(kafka, wanted);
    let user: KafkaUser = read(&place, value)?;
    let cluster = user.metadata.labels.get(names::CLUSTER_LABEL).cloned().unwrap_or_default();
    if cluster != kafka.metadata.name {
        return Err(Error::UserOfAnotherCluster { place, has: cluster, wanted: kafka.metadata.name.clone() });
    }
    let has = user.spec.authentication.as_ref().map_or("none", |authentication| &authentication.r#type);
    if has != wanted.authentication.as_str() {
        let has = has.to_owned();
        return Err(Error::UserDiffers { place, has, wanted: wanted.authentication });
    }
    if !is_shared_with(&user.metadata, home) {
        return Err(Error::UserNotShared { place, home: home.to_owned(), annotation: names::ALLOWED_NAMESPACES });
    }
    let secret = SecretRef { namespace: user.metadata.namespace.clone(), name: secret_name(kafka, &user) };
    Ok(Accepted { secret, user, authentication: wanted.authentication })
}

/// Whether the credentials of a user may be in this namespace. Whoever may create a backup there could read them.
fn is_shared_with(user: &Metadata, home: &str) -> bool {
    let allowed = user.annotations.get(names::ALLOWED_NAMESPACES).map_or("", String::as_str);
    user.namespace == home || allowed.split(',').map(str::trim).any(|one| one == "*" || one == home)
}

/// As its status says, else as Strimzi would name it.
fn secret_name(kafka: &Kafka, user: &KafkaUser) -> String {
    let operator = kafka.spec.entity_operator.user_operator.as_ref();
    let prefix = operator.and_then(|operator| operator.secret_prefix.as_deref()).unwrap_or_default();
    user.status.secret.clone().unwrap_or_else(|| format!("{prefix}{}", user.metadata.name))
}

impl Accepted {
    /// Its credentials, if its Secret holds them.
    ///
    /// # Errors
    /// [`Error::SecretMissing`], with what the user says of itself, and [`Error::KeyMissing`].
    pub fn credentials(self, found: Option<&Secret>) -> Result<Credentials, Error> {
        let place = Place::new("Secret", &self.secret.namespace, &self.secret.name);
        let Some(found) = found else {
            let user = Place::new("KafkaUser", &self.user.metadata.namespace, &self.user.metadata.name);
            let why = not_ready(&self.user.status.conditions).map_or_else(
                || format!(" for {user}: wait, or look at the log of the User Operator"),
                |why| format!(" once {user} is ready ({why})"),
            );
            return Err(Error::SecretMissing { place, what: "the credentials of the user", why });
        };
        let has = |key: &str| found.data.as_ref().is_some_and(|data| data.contains_key(key));
        let needed: &[(&'static str, &'static str)] = match self.authentication {
            Authentication::Tls => &[
                (names::USER_CERTIFICATE_KEY, "the user's certificate"),
                (names::USER_KEY_KEY, "the user's private key"),
            ],
            Authentication::ScramSha512 => &[(names::PASSWORD_KEY, "the user's password")],
        };
        if let Some(&(key, what)) = needed.iter().find(|(key, _)| !has(key)) {
            return Err(Error::KeyMissing { place, key, what });
        }
        Ok(self.into_credentials())
    }

    fn into_credentials(self) -> Credentials {
        let secret = self.secret;
        match self.authentication {
            Authentication::Tls => Credentials::Tls {
                secret,
                certificate_key: names::USER_CERTIFICATE_KEY.to_owned(),
                private_key_key: names::USER_KEY_KEY.to_owned(),
            },
            Authentication::ScramSha512 => Credentials::ScramSha512 {
                // The Secret does not hold it.
                username: self.user.status.username.unwrap_or(self.user.metadata.name),
                secret,
                password_key: names::PASSWORD_KEY.to_owned(),
            },
        }
    }
}
