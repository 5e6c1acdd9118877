//! Where a backup is kept.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where the backup is kept: exactly the block that `type` names.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = (
    "(self.type == 's3') == has(self.s3) && (self.type == 'azure') == has(self.azure) && (self.type == 'gcs') == has(self.gcs)",
    "storage must have exactly the block that type names: s3, azure or gcs"
))]
pub struct Storage {
    /// The kind of store.
    pub r#type: StorageType,
    /// For `type: s3`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub s3: Option<S3>,
    /// For `type: azure`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<Azure>,
    /// For `type: gcs`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gcs: Option<Gcs>,
    /// What the backup there must at least hold. Default: nothing; then an emptied prefix looks like a new one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Anchor>,
}

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum StorageType {
    /// S3, or what speaks its protocol with conditional writes.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Gcs,
}

/// A bucket of S3 or compatible.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct S3 {
    /// The bucket; it must exist.
    #[schemars(length(min = 1, max = 255))]
    pub bucket: String,
    /// The region. Default: `us-east-1`, or that of the pod's identity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub region: Option<String>,
    /// `http(s)://host[:port]` of a compatible store. Default: AWS's own for the region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048), regex(pattern = r"^https?://[^/?#]+/?$"))]
    pub endpoint: Option<String>,
    /// Where in the bucket. Default: its root.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub prefix: String,
    /// The keys: `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (and `AWS_SESSION_TOKEN`), or `accessKey` and `secretKey`;
    /// with `key`, an AWS credentials file. Default: the identity of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<CredentialsSecret>,
    /// `bucket.host` instead of `host/bucket` in URLs. Default false.
    #[serde(default)]
    pub virtual_hosted_style: bool,
    /// More CA certificates (PEM) to trust for the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<CaSecret>,
}

/// A container of Azure Blob Storage.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Azure {
    /// The container; it must exist.
    #[schemars(length(min = 1, max = 63))]
    pub container: String,
    /// The storage account.
    #[schemars(length(min = 1, max = 63))]
    pub storage_account: String,
    /// Where in the container. Default: its root.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub prefix: String,
    /// `http(s)://host[:port]`. Default: Azure's own for the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub endpoint: Option<String>,
    /// The key: `AZURE_STORAGE_KEY` or `accountKey`, or a signature in `AZURE_STORAGE_SAS_TOKEN` or `sasToken`; with `key`, that
    /// one, an account key or a signature. Default: the identity of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<CredentialsSecret>,
    /// More CA certificates (PEM) to trust for the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<CaSecret>,
}

/// A bucket of Google Cloud Storage.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Gcs {
    /// The bucket; it must exist.
    #[schemars(length(min = 1, max = 255))]
    pub bucket: String,
    /// Where in the bucket. Default: its root.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub prefix: String,
    /// `http(s)://host[:port]`. Default: Google's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    pub endpoint: Option<String>,
    /// The service account's key as JSON: in `credentials.json`, `service-account.json`, `key.json` or
    /// `GOOGLE_SERVICE_ACCOUNT_KEY`; with `key`, in that one. Default: the identity of the pod.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<CredentialsSecret>,
    /// More CA certificates (PEM) to trust for the endpoint.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_secret: Option<CaSecret>,
}

/// A Secret in the namespace of the resource.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CredentialsSecret {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The one key that is used, a file in the usual format of the store. Default: the store's usual keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: Option<String>,
}

/// A CA certificate in a Secret in the namespace of the resource.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct CaSecret {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key that holds the certificates, PEM.
    #[serde(default = "ca_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

fn ca_key() -> String {
    "ca.crt".to_owned()
}

/// A manifest that a backup must hold, as `strimzi-backup inspect` prints it.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Anchor {
    /// The backup's UUID.
    #[schemars(length(equal = 36))]
    pub backup: String,
    /// The sequence of the manifest.
    #[schemars(range(min = 0))]
    pub sequence: i64,
    /// The manifest's SHA-256.
    #[schemars(regex(pattern = r"^[0-9a-f]{64}$"))]
    pub sha256: String,
}

/// What the storage of one kind has in common with the others.
#[derive(Clone, Copy, Debug)]
pub struct Secrets<'a> {
    /// The credentials.
    pub credentials: Option<&'a CredentialsSecret>,
    /// The CA.
    pub ca: Option<&'a CaSecret>,
}

impl Storage {
    /// The Secrets that the block of `type` names.
    pub fn secrets(&self) -> Secrets<'_> {
        let (credentials, ca) = match self.r#type {
            StorageType::S3 => self.s3.as_ref().map(|s3| (&s3.credentials_secret, &s3.ca_secret)),
            StorageType::Azure => self.azure.as_ref().map(|azure| (&azure.credentials_secret, &azure.ca_secret)),
            StorageType::Gcs => self.gcs.as_ref().map(|gcs| (&gcs.credentials_secret, &gcs.ca_secret)),
        }
        .unwrap_or((&None, &None));
        Secrets { credentials: credentials.as_ref(), ca: ca.as_ref() }
    }

    /// The same place, reached with other credentials.
    pub fn with_credentials(&self, secret: &CredentialsSecret) -> Self {
        let mut storage = self.clone();
        let credentials = [
            storage.s3.as_mut().map(|s3| &mut s3.credentials_secret),
            storage.azure.as_mut().map(|azure| &mut azure.credentials_secret),
            storage.gcs.as_mut().map(|gcs| &mut gcs.credentials_secret),
        ];
        credentials.into_iter().flatten().for_each(|old| *old = Some(secret.clone()));
        storage
    }
}
