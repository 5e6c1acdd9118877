//! Credentials from files, read again for every use.
//!
//! A mounted Secret changes under a running process, and the next request must use the new one without a restart. Files are
//! a few bytes in memory-backed volumes and requests are few, so they are simply read each time, and parsed only when their
//! content changed; a modification time would miss a swapped symbolic link.
//!
//! Two files of one Secret are read one after the other; a swap in between pairs an old id with a new key, the store
//! denies that one request, and the caller's next try reads both anew.

use std::fmt;
use std::io;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::{AwsCredential, AwsCredentialProvider};
use object_store::azure::{AzureAccessKey, AzureCredential, AzureCredentialProvider, split_sas};
use object_store::gcp::{GcpCredential, GcpCredentialProvider, GoogleCloudStorageBuilder};
use parking_lot::Mutex;

use crate::checksum::Sha256;

/// A credential file that cannot be used. Never shows content.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// It cannot be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the file system said.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{} {what}", file.display())]
    Content {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        what: &'static str,
    },
}

impl From<CredentialError> for object_store::Error {
    fn from(error: CredentialError) -> Self {
        Self::Generic { store: "credentials", source: Box::new(error) }
    }
}

type Parse<T> = dyn Fn(&[PathBuf], &[String]) -> Result<T, CredentialError> + Send + Sync;

/// Something parsed from files, as they are now.
struct Watched<T> {
    files: Vec<PathBuf>,
    parse: Box<Parse<T>>,
    last: Mutex<Option<(Sha256, Arc<T>)>>,
}

impl<T> Watched<T> {
    /// Fails at once where the files are unusable now, so that a wrong path shows at the start.
    fn new(files: Vec<PathBuf>, parse: Box<Parse<T>>) -> Result<Self, CredentialError> {
        let watched = Self { files, parse, last: Mutex::new(None) };
        watched.load()?;
        Ok(watched)
    }

    fn load(&self) -> Result<Arc<T>, CredentialError> {
        let contents = self.files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
        let digest = Sha256::of_each(&contents);
        let mut last = self.last.lock();
        if let Some((known, value)) = last.as_ref()
            && *known == digest
        {
            return Ok(Arc::clone(value));
        }
        let value = Arc::new((self.parse)(&self.files, &contents)?);
        *last = Some((digest, Arc::clone(&value)));
        Ok(value)
    }
}

pub(super) fn read(file: &FilePath) -> Result<String, CredentialError> {
    let text =
        std::fs::read_to_string(file).map_err(|source| CredentialError::Read { file: file.to_owned(), source })?;
    // Tools and editors end a file with a line break that is not the secret's.
    let text = text.trim();
    if text.is_empty() {
        return Err(CredentialError::Content { file: file.to_owned(), what: "is empty" });
    }
    Ok(text.to_owned())
}

impl<T> fmt::Debug for Watched<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("files", &self.files).finish_non_exhaustive()
    }
}

#[async_trait]
impl CredentialProvider for Watched<AwsCredential> {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        Ok(self.load()?)
    }
}

#[async_trait]
impl CredentialProvider for Watched<AzureCredential> {
    type Credential = AzureCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AzureCredential>> {
        Ok(self.load()?)
    }
}

#[async_trait]
impl CredentialProvider for Watched<GcpCredentialProvider> {
    type Credential = GcpCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<GcpCredential>> {
        self.load()?.get_credential().await
    }
}

fn content_error(files: &[PathBuf], what: &'static str) -> CredentialError {
    CredentialError::Content { file: files.first().cloned().unwrap_or_default(), what }
}

/// Keys one to a file: id, secret and, if there is a third, session token.
pub(super) fn s3_key_files(files: Vec<PathBuf>) -> Result<AwsCredentialProvider, CredentialError> {
    let parse = |files: &[PathBuf], contents: &[String]| match contents {
        [key_id, secret_key, rest @ ..] => {
            Ok(AwsCredential { key_id: key_id.clone(), secret_key: secret_key.clone(), token: rest.first().cloned() })
        }
        _ => Err(content_error(files, "stands without its secret key")),
    };
    Ok(Arc::new(Watched::<AwsCredential>::new(files, Box::new(parse))?))
}

/// An AWS credentials file.
pub(super) fn s3_credentials_file(file: PathBuf) -> Result<AwsCredentialProvider, CredentialError> {
    let parse = |files: &[PathBuf], contents: &[String]| {
        let text = contents.first().map(String::as_str).unwrap_or_default();
        let section =
            ini_section(text).ok_or_else(|| content_error(files, "has no section [default], and several others"))?;
        let value = |name: &str| section.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
        Ok(AwsCredential {
            key_id: value("aws_access_key_id").ok_or_else(|| content_error(files, "names no aws_access_key_id"))?,
            secret_key: value("aws_secret_access_key")
                .ok_or_else(|| content_error(files, "names no aws_secret_access_key"))?,
            token: value("aws_session_token"),
        })
    };
    Ok(Arc::new(Watched::<AwsCredential>::new(vec![file], Box::new(parse))?))
}

/// The entries of `[default]`, or of the only section; keys in lower case.
fn ini_section(text: &str) -> Option<Vec<(String, String)>> {
    let mut sections: Vec<(String, Vec<(String, String)>)> = Vec::new();
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            sections.push((name.trim().to_owned(), Vec::new()));
        } else if let (Some((_, entries)), Some((key, value))) = (sections.last_mut(), line.split_once('=')) {
            entries.push((key.trim().to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
    let index = sections.iter().position(|(name, _)| name == "default").or((sections.len() == 1).then_some(0))?;
    Some(sections.swap_remove(index).1)
}

/// An account key, base64.
pub(super) fn azure_account_key(file: PathBuf) -> Result<AzureCredentialProvider, CredentialError> {
    let parse = |files: &[PathBuf], contents: &[String]| {
        let key = contents.first().map(String::as_str).unwrap_or_default();
        AzureAccessKey::try_new(key)
            .map(AzureCredential::AccessKey)
            .map_err(|_| content_error(files, "is no account key (base64)"))
    };
    Ok(Arc::new(Watched::<AzureCredential>::new(vec![file], Box::new(parse))?))
}

/// A shared access signature.
pub(super) fn azure_sas_token(file: PathBuf) -> Result<AzureCredentialProvider, CredentialError> {
    let parse = |files: &[PathBuf], contents: &[String]| {
        let token = contents.first().map(String::as_str).unwrap_or_default();
        split_sas(token)
            .map(AzureCredential::SASToken)
            .map_err(|_| content_error(files, "is no shared access signature (key=value&…)"))
    };
    Ok(Arc::new(Watched::<AzureCredential>::new(vec![file], Box::new(parse))?))
}

/// A service account's key as JSON. `builder` is that of the store, for its endpoint and connection settings.
pub(super) fn gcs_service_account(
    file: PathBuf,
    builder: GoogleCloudStorageBuilder,
) -> Result<GcpCredentialProvider, CredentialError> {
    let parse = move |files: &[PathBuf], contents: &[String]| {
        let key = contents.first().map(String::as_str).unwrap_or_default();
        let store = builder.clone().with_service_account_key(key).build();
        // The cause is left out: it may quote the key.
        let store = store.map_err(|_| content_error(files, "is no service account key (JSON)"))?;
        Ok(Arc::clone(store.credentials()))
    };
    Ok(Arc::new(Watched::<GcpCredentialProvider>::new(vec![file], Box::new(parse))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a28_a_replaced_secret_is_used_by_the_next_request() {
        let folder = tempfile::tempdir().expect("folder");
        let (id, secret) = (folder.path().join("id"), folder.path().join("secret"));
        std::fs::write(&id, "old\n").expect("write");
        std::fs::write(&secret, "s1").expect("write");
        let provider = s3_key_files(vec![id.clone(), secret.clone()]).expect("usable");
        assert_eq!(provider.get_credential().await.expect("read").key_id, "old");
        std::fs::write(&id, "new").expect("write");
        let credential = provider.get_credential().await.expect("read");
        assert_eq!((credential.key_id.as_str(), credential.token.as_deref()), ("new", None));
        std::fs::remove_file(&secret).expect("remove");
        let error = provider.get_credential().await.expect_err("gone");
        assert!(error.to_string().contains("secret"), "{error}");
        assert!(!format!("{provider:?}").contains("s1"));
    }

    #[test]
    fn credentials_files_are_read_as_awss_own_tools_do() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("credentials");
        let text =
            "# mine\n[other]\naws_access_key_id=x\n[default]\nAWS_ACCESS_KEY_ID = a\naws_secret_access_key=b=c\n";
        std::fs::write(&file, text).expect("write");
        assert!(s3_credentials_file(file.clone()).is_ok());
        let section = ini_section(text).expect("default");
        assert_eq!(section[1], ("aws_secret_access_key".to_owned(), "b=c".to_owned()));
        std::fs::write(&file, "[a]\n[b]\n").expect("write");
        assert!(s3_credentials_file(file.clone()).is_err());
        std::fs::write(&file, "\n").expect("write");
        let error = s3_credentials_file(file).expect_err("empty");
        assert!(error.to_string().ends_with("is empty"), "{error}");
    }

    #[test]
    fn azure_keys_and_signatures_are_judged_at_the_start() {
        let folder = tempfile::tempdir().expect("folder");
        let file = folder.path().join("key");
        std::fs::write(&file, "bm90IGEga2V5\n").expect("write");
        assert!(azure_account_key(file.clone()).is_ok());
        std::fs::write(&file, "%%%").expect("write");
        assert!(azure_account_key(file.clone()).is_err());
        std::fs::write(&file, "?sv=2020&sig=abc").expect("write");
        assert!(azure_sas_token(file).is_ok());
    }
}
