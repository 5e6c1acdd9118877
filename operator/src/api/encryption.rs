//! With which keys a backup is sealed.

use kube::KubeSchema;
use serde::{Deserialize, Serialize};

use super::storage::CaSecret;

/// With which keys a backup is sealed: `keySecret`, or a key of Vault or OpenBao.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "!self.enabled || has(self.keySecret) || has(self.transit)",
    "encryption is enabled without a key: set keySecret or transit"
), validation = (
    "!self.enabled || !has(self.keySecret) || !has(self.transit)",
    "encryption has two places for its key: keep one of keySecret and transit"
), validation = (
    "!self.enabled || !has(self.previousKeySecrets) || !has(self.transit)",
    "previousKeySecrets belongs to keySecret; transit keeps earlier versions of its key itself: leave previousKeySecrets out"
))]
pub struct Encryption {
    /// Whether the backup is sealed: from its first object on, or never. While it is false, the rest means nothing.
    pub enabled: bool,
    /// The master key: 32 bytes, as they are, as 64 hex digits, or as base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret: Option<KeySecret>,
    /// Master keys that came before it, for what they still open. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub previous_key_secrets: Option<Vec<KeySecret>>,
    /// A key of the transit engine of HashiCorp Vault or OpenBao, which never leaves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transit: Option<Transit>,
}

/// One key of a Secret in the namespace of the resource.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeySecret {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key of it.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// A key of the transit engine of Vault or OpenBao.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "has(self.tokenSecret) || has(self.kubernetes)",
    "transit does not say who asks: set tokenSecret or kubernetes"
), validation = (
    "!has(self.tokenSecret) || !has(self.kubernetes)",
    "transit says twice who asks: keep one of tokenSecret and kubernetes"
))]
pub struct Transit {
    /// `http(s)://host[:port]`.
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^/?#@]+/?$"))]
    pub address: String,
    /// Where the engine is mounted. Default `transit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = MOUNT))]
    pub mount: Option<String>,
    /// The name of the key.
    #[schemars(length(max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
    /// The namespace of Vault Enterprise or OpenBao. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub namespace: Option<String>,
    /// More CA certificates (PEM) to trust for the address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<CaSecret>,
    /// Where a token of Vault is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_secret: Option<KeySecret>,
    /// Has Vault give a token for the service account of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubernetes: Option<KubernetesAuth>,
}

/// Where an engine or an auth method is mounted: parts, separated by single slashes.
const MOUNT: &str = r"^[-._a-zA-Z0-9]+(/[-._a-zA-Z0-9]+)*$";

/// The Kubernetes auth method of Vault or OpenBao.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KubernetesAuth {
    /// Its role, which has to let in the service account of the pods.
    #[schemars(length(min = 1, max = 253))]
    pub role: String,
    /// Where it is mounted. Default `kubernetes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512), regex(pattern = MOUNT))]
    pub mount: Option<String>,
}

/// A key of a Secret that pods need as a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SecretFile<'a> {
    /// The field that names it.
    pub field: &'static str,
    /// The Secret.
    pub secret: &'a str,
    /// The key of it.
    pub key: &'a str,
    /// Whether it holds a master key.
    pub is_master_key: bool,
}

impl<'a> SecretFile<'a> {
    fn master_key(field: &'static str, secret: &'a KeySecret) -> Self {
        Self { field, secret: &secret.name, key: &secret.key, is_master_key: true }
    }

    fn other(field: &'static str, secret: &'a str, key: &'a str) -> Self {
        Self { field, secret, key, is_master_key: false }
    }
}

impl Encryption {
    /// What pods need of Secrets.
    pub fn files(&self) -> Vec<SecretFile<'_>> {
        let current = self.key_secret.iter().map(|secret| SecretFile::master_key("encryption.keySecret", secret));
        let previous = self.previous_key_secrets.iter().flatten();
        let previous = previous.map(|secret| SecretFile::master_key("encryption.previousKeySecrets", secret));
        let token = self.transit.iter().filter_map(|transit| transit.token_secret.as_ref());
        let token = token.map(|secret| SecretFile::other("encryption.transit.tokenSecret", &secret.name, &secret.key));
        let ca = self.transit.iter().filter_map(|transit| transit.ca_secret.as_ref());
        let ca = ca.map(|ca| SecretFile::other("encryption.transit.caSecret", &ca.name, &ca.key));
        current.chain(previous).chain(token).chain(ca).collect()
    }

    /// Whether pods show Vault the token of their service account.
    pub fn shows_token(&self) -> bool {
        self.transit.as_ref().is_some_and(|transit| transit.kubernetes.is_some())
    }
}
