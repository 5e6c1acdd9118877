//! From a job's storage to an opened store. Nothing is asked of the store yet: [`super::probe`] does that.
//!
//! Settings that every kind shares: three tries within ten seconds inside one call, since callers have loops of their own
//! that back off and report; 60 s for a request (a part is 8 MiB), 5 s to connect.

use std::error::Error as _;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{BackoffConfig, Certificate, ClientConfigKey, ClientOptions, ObjectStore, RetryConfig};

use super::credentials::{self, CredentialError};
use super::{Kind, PART_BYTES, Store};
use crate::job;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a body may stand still.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
const RETRIES: usize = 2;
const RETRY_TIMEOUT: Duration = Duration::from_secs(10);
const USER_AGENT: &str = concat!("strimzi-backup/", env!("CARGO_PKG_VERSION"));

/// The storage cannot be opened; nothing was asked of it yet, so a person must change something.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory is not there, so nothing is in it.
    #[error("the directory {} is not there", path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// The directory is not there and cannot be made.
    #[error("cannot open the directory {} (it is created only where its parent exists)", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// The credentials cannot be read, or are not of their kind.
    #[error("cannot use the credentials of {place}")]
    Credentials {
        /// The store.
        place: String,
        /// Which file and why.
        source: CredentialError,
    },
    /// Several of the files that the job names for it cannot be read, or are empty.
    #[error("{}", listed(.0))]
    Files(Vec<CredentialError>),
    /// The CA certificates cannot be read.
    #[error("cannot use the CA certificates in {}", path.display())]
    Certificates {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The settings contradict each other.
    #[error("cannot open {place}")]
    Settings {
        /// The store.
        place: String,
        /// What the client said.
        source: object_store::Error,
    },
}

/// Opens the storage of a job for reading: a directory that is not there is not made.
///
/// # Errors
/// [`OpenError`].
pub fn open(storage: &job::Storage) -> Result<Store, OpenError> {
    let files = files(&storage.location);
    let faults: Vec<CredentialError> = files.into_iter().filter_map(|file| credentials::read(file).err()).collect();
    if faults.len() > 1 {
        return Err(OpenError::Files(faults));
    }
    let store = match &storage.location {
        job::Location::Filesystem(filesystem) => open_filesystem(filesystem),
        job::Location::S3(s3) => open_s3(s3),
        job::Location::Azure(azure) => open_azure(azure),
        job::Location::Gcs(gcs) => open_gcs(gcs),
    }?;
    Ok(Store { anchor: storage.anchor, ..store })
}

/// Opens the storage of a job for its writer, who may find a new place.
///
/// # Errors
/// [`OpenError`].
pub fn open_to_write(storage: &job::Storage) -> Result<Store, OpenError> {
    if let job::Location::Filesystem(job::Filesystem { path }) = &storage.location
        && !path.is_dir()
    {
        // Not with its parents: a missing mount must not become a backup on the root file system.
        std::fs::create_dir(path).map_err(|source| OpenError::Directory { path: path.clone(), source })?;
    }
    open(storage)
}

/// The files that must be readable for the store to be opened.
fn files(location: &job::Location) -> Vec<&PathBuf> {
    let (credentials, ca_file) = match location {
        job::Location::Filesystem(_) => (Vec::new(), None),
        job::Location::S3(s3) => (s3_files(&s3.credentials), s3.ca_file.as_ref()),
        job::Location::Azure(azure) => match &azure.credentials {
            job::AzureCredentials::Environment => (Vec::new(), azure.ca_file.as_ref()),
            job::AzureCredentials::AccountKeyFile(file) | job::AzureCredentials::SasTokenFile(file) => {
                (vec![file], azure.ca_file.as_ref())
            }
        },
        job::Location::Gcs(gcs) => match &gcs.credentials {
            job::GcsCredentials::Environment => (Vec::new(), gcs.ca_file.as_ref()),
            job::GcsCredentials::ServiceAccountFile(file) => (vec![file], gcs.ca_file.as_ref()),
        },
    };
    credentials.into_iter().chain(ca_file).collect()
}

fn listed(faults: &[CredentialError]) -> String {
    let with_cause = |fault: &CredentialError| match fault.source() {
        Some(cause) => format!("{fault}: {cause}"),
        None => fault.to_string(),
    };
    faults.iter().map(with_cause).collect::<Vec<_>>().join("; ")
}

fn s3_files(credentials: &job::S3Credentials) -> Vec<&PathBuf> {
    match credentials {
        job::S3Credentials::Environment => Vec::new(),
        job::S3Credentials::KeyFiles { access_key_id_file, secret_access_key_file, session_token_file } => {
            [access_key_id_file, secret_access_key_file].into_iter().chain(session_token_file).collect()
        }
        job::S3Credentials::CredentialsFile(file) => vec![file],
    }
}

fn open_filesystem(filesystem: &job::Filesystem) -> Result<Store, OpenError> {
    let path = &filesystem.path;
    if !path.is_dir() {
        return Err(OpenError::Missing { path: path.clone() });
    }
    let description = format!("file://{}", path.display());
    let store = LocalFileSystem::new_with_prefix(path)
        .map_err(|source| OpenError::Settings { place: description.clone(), source })?
        // Without it a power loss takes objects that were answered with success.
        .with_fsync(true);
    Ok(opened(store, "", description, Kind::Filesystem(path.clone())))
}

fn open_s3(s3: &job::S3) -> Result<Store, OpenError> {
    let place = place("s3", &s3.bucket, &s3.prefix);
    let credentials_failed = |source| OpenError::Credentials { place: place.clone(), source };
    let mut builder = match &s3.credentials {
        job::S3Credentials::Environment => AmazonS3Builder::from_env(),
        job::S3Credentials::KeyFiles { access_key_id_file, secret_access_key_file, session_token_file } => {
            let files = [Some(access_key_id_file), Some(secret_access_key_file), session_token_file.as_ref()];
            let provider = credentials::s3_key_files(files.into_iter().flatten().cloned().collect());
            AmazonS3Builder::new().with_credentials(provider.map_err(credentials_failed)?)
        }
        job::S3Credentials::CredentialsFile(file) => AmazonS3Builder::new()
            .with_credentials(credentials::s3_credentials_file(file.clone()).map_err(credentials_failed)?),
    };
    builder = builder
        .with_bucket_name(&s3.bucket)
        // Named although it is the default: without it there is no create-once.
        .with_conditional_put(S3ConditionalPut::ETagMatch)
        .with_virtual_hosted_style_request(s3.virtual_hosted_style)
        .with_allow_http(s3.allow_http())
        .with_retry(retry())
        .with_client_options(client_options(s3.allow_http(), s3.ca_file.as_ref())?);
    if let Some(region) = s3.known_region() {
        builder = builder.with_region(region);
    }
    if let Some(endpoint) = &s3.endpoint {
        builder = builder.with_endpoint(s3_endpoint(endpoint, s3));
    }
    let store = builder.build().map_err(|source| OpenError::Settings { place: place.clone(), source })?;
    Ok(opened(store, &s3.prefix, place, Kind::S3))
}

/// The client expects the bucket in the host already where the style is virtual-hosted.
fn s3_endpoint(endpoint: &str, s3: &job::S3) -> String {
    match endpoint.split_once("://") {
        Some((scheme, host)) if s3.virtual_hosted_style => format!("{scheme}://{}.{host}", s3.bucket),
        _ => endpoint.to_owned(),
    }
}

fn open_azure(azure: &job::Azure) -> Result<Store, OpenError> {
    let place = place("azure", &format!("{}/{}", azure.storage_account, azure.container), &azure.prefix);
    let credentials_failed = |source| OpenError::Credentials { place: place.clone(), source };
    let mut builder = match &azure.credentials {
        job::AzureCredentials::Environment => MicrosoftAzureBuilder::from_env(),
        job::AzureCredentials::AccountKeyFile(file) => MicrosoftAzureBuilder::new()
            .with_credentials(credentials::azure_account_key(file.clone()).map_err(credentials_failed)?),
        job::AzureCredentials::SasTokenFile(file) => MicrosoftAzureBuilder::new()
            .with_credentials(credentials::azure_sas_token(file.clone()).map_err(credentials_failed)?),
    };
    builder = builder
        .with_account(&azure.storage_account)
        .with_container_name(&azure.container)
        .with_allow_http(azure.allow_http())
        .with_retry(retry())
        .with_client_options(client_options(azure.allow_http(), azure.ca_file.as_ref())?);
    if let Some(endpoint) = &azure.endpoint {
        builder = builder.with_endpoint(endpoint.clone());
    }
    let store = builder.build().map_err(|source| OpenError::Settings { place: place.clone(), source })?;
    Ok(opened(store, &azure.prefix, place, Kind::Azure))
}

fn open_gcs(gcs: &job::Gcs) -> Result<Store, OpenError> {
    let place = place("gs", &gcs.bucket, &gcs.prefix);
    let base = |builder: GoogleCloudStorageBuilder| -> Result<_, OpenError> {
        let builder = builder
            .with_bucket_name(&gcs.bucket)
            .with_retry(retry())
            .with_client_options(client_options(gcs.allow_http(), gcs.ca_file.as_ref())?);
        Ok(match &gcs.endpoint {
            Some(endpoint) => builder.with_base_url(endpoint),
            None => builder,
        })
    };
    let builder = match &gcs.credentials {
        job::GcsCredentials::Environment => base(GoogleCloudStorageBuilder::from_env())?,
        job::GcsCredentials::ServiceAccountFile(file) => {
            let builder = base(GoogleCloudStorageBuilder::new())?;
            let provider = credentials::gcs_service_account(file.clone(), builder.clone())
                .map_err(|source| OpenError::Credentials { place: place.clone(), source })?;
            builder.with_credentials(provider)
        }
    };
    let store = builder.build().map_err(|source| OpenError::Settings { place: place.clone(), source })?;
    Ok(opened(store, &gcs.prefix, place, Kind::Gcs))
}

fn opened(store: impl ObjectStore, prefix: &str, description: String, kind: Kind) -> Store {
    let (inner, prefix) = (Arc::new(store), Path::from(prefix));
    Store { inner, prefix, description, kind, anchor: None, keys: None, part_bytes: PART_BYTES }
}

fn place(scheme: &str, bucket: &str, prefix: &str) -> String {
    if prefix.is_empty() { format!("{scheme}://{bucket}") } else { format!("{scheme}://{bucket}/{prefix}") }
}

fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            base: 2.0,
        },
        max_retries: RETRIES,
        retry_timeout: RETRY_TIMEOUT,
    }
}

fn client_options(allow_http: bool, ca_file: Option<&PathBuf>) -> Result<ClientOptions, OpenError> {
    let mut options = ClientOptions::new()
        .with_timeout(REQUEST_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
        .with_read_timeout(READ_TIMEOUT)
        .with_config(ClientConfigKey::UserAgent, USER_AGENT)
        .with_allow_http(allow_http);
    if let Some(path) = ca_file {
        let failed =
            |source: Box<dyn std::error::Error + Send + Sync>| OpenError::Certificates { path: path.clone(), source };
        let pem = std::fs::read(path).map_err(|error| failed(Box::new(error)))?;
        let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| failed(Box::new(error)))?;
        if certificates.is_empty() {
            return Err(failed("it holds no PEM certificate".into()));
        }
        for certificate in certificates {
            options = options.with_root_certificate(certificate);
        }
    }
    Ok(options)
}
