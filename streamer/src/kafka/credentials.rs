//! The files that say who the client is and whom it trusts: read once per connection, watched for change.
//!
//! Owns: reading them whole and consistently, and noticing that they changed. Does not own: what they mean to librdkafka
//! ([`super::client_config`]), nor the bearer token, which is read again by itself ([`super::context`]).
//!
//! Invariants: contents live only until the client is made; what is kept is a digest. Secrets have no `Debug`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::job::{Authentication, Cluster, Username};

use super::error::ConfigurationFault;

/// How often the files are read over when they change meanwhile: a mounted Secret is swapped at once, so twice is ample.
const ATTEMPTS: usize = 5;

/// The files of one connection, and what they held when it was made.
#[derive(Clone)]
pub(super) struct CredentialFiles {
    paths: Vec<PathBuf>,
    fingerprint: Sha256,
}

/// What the files hold.
#[derive(Default)]
pub(super) struct Credentials {
    /// CA certificates, one after the other.
    pub(super) ca: Option<String>,
    pub(super) certificate: Option<String>,
    pub(super) key: Option<String>,
    pub(super) key_password: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<String>,
}

impl CredentialFiles {
    /// Reads all files of the cluster's connection, as they stood at one instant: a certificate and a key of two
    /// different generations would not fit.
    ///
    /// # Errors
    /// Every file that cannot be read, or is not text; that of the bearer token is looked at too.
    pub(super) fn read(cluster: &Cluster) -> Result<(Self, Credentials), ConfigurationFault> {
        let paths = paths(cluster);
        let mut faults: Vec<_> =
            paths.iter().chain(token_file(cluster)).filter_map(|path| read_text(path).err()).collect();
        match faults.len() {
            0 => {}
            1 => return Err(faults.remove(0)),
            _ => return Err(ConfigurationFault::Files(faults)),
        }
        let mut fingerprint = fingerprint(&paths)?;
        let mut credentials = read_all(cluster)?;
        for _ in 1..ATTEMPTS {
            let after = self::fingerprint(&paths)?;
            if after == fingerprint {
                break;
            }
            fingerprint = after;
            credentials = read_all(cluster)?;
        }
        Ok((Self { paths, fingerprint }, credentials))
    }

    /// A digest of what the files hold now.
    ///
    /// # Errors
    /// The first file that cannot be read.
    pub(super) fn fingerprint(&self) -> Result<Sha256, ConfigurationFault> {
        fingerprint(&self.paths)
    }

    /// Whether they hold something else than when the connection was made. Files that cannot be read are not a change:
    /// the connection that stands is better than none.
    pub(super) fn changed(&self) -> bool {
        match self.fingerprint() {
            Ok(now) => now != self.fingerprint,
            Err(fault) => {
                tracing::debug!(%fault, "credential file cannot be read; the connection stays as it is");
                false
            }
        }
    }
}

/// A file's text without the line break at its end.
pub(super) fn read_text(path: &Path) -> Result<String, ConfigurationFault> {
    let not_text = || ConfigurationFault::NotText { path: path.to_owned() };
    let text = String::from_utf8(read_bytes(path)?).map_err(|_| not_text())?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line));
    if text.is_empty() || text.contains('\0') { Err(not_text()) } else { Ok(text.to_owned()) }
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, ConfigurationFault> {
    std::fs::read(path)
        .map_err(|error| ConfigurationFault::Unreadable { path: path.to_owned(), error: Arc::new(error) })
}

fn read_all(cluster: &Cluster) -> Result<Credentials, ConfigurationFault> {
    let mut found = Credentials::default();
    if let Some(tls) = &cluster.tls {
        if !tls.ca_files.is_empty() {
            let certificates: Result<Vec<String>, _> = tls.ca_files.iter().map(|path| read_text(path)).collect();
            found.ca = Some(certificates?.join("\n"));
        }
        found.certificate = tls.certificate_file.as_deref().map(read_text).transpose()?;
        found.key = tls.key_file.as_deref().map(read_text).transpose()?;
        found.key_password = tls.key_password_file.as_deref().map(read_text).transpose()?;
    }
    if let Some((username, password_file)) = user(cluster) {
        found.username = Some(match username {
            Username::Literal(name) => name.clone(),
            Username::File(path) => read_text(path)?,
        });
        found.password = Some(read_text(password_file)?);
    }
    Ok(found)
}

fn user(cluster: &Cluster) -> Option<(&Username, &PathBuf)> {
    match &cluster.authentication {
        Some(
            Authentication::Scram { username, password_file, .. } | Authentication::Plain { username, password_file },
        ) => Some((username, password_file)),
        Some(Authentication::OauthBearer { .. } | Authentication::Tls) | None => None,
    }
}

/// Found missing at the start, it is a fault of the job; later, one of the connection.
fn token_file(cluster: &Cluster) -> Option<&PathBuf> {
    match &cluster.authentication {
        Some(Authentication::OauthBearer { token_file }) => Some(token_file),
        _ => None,
    }
}

fn paths(cluster: &Cluster) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    if let Some(tls) = &cluster.tls {
        paths.extend(tls.ca_files.iter().cloned());
        paths.extend([&tls.certificate_file, &tls.key_file, &tls.key_password_file].into_iter().flatten().cloned());
    }
    if let Some((username, password_file)) = user(cluster) {
        paths.push(password_file.clone());
        if let Username::File(path) = username {
            paths.push(path.clone());
        }
    }
    paths
}

fn fingerprint(paths: &[PathBuf]) -> Result<Sha256, ConfigurationFault> {
    let contents = paths.iter().map(|path| read_bytes(path)).collect::<Result<Vec<_>, _>>()?;
    Ok(Sha256::of_each(&contents))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use strimzi_backup_format::job::ScramMechanism;

    fn cluster(dir: &Path) -> Cluster {
        Cluster {
            bootstrap_servers: "localhost:1".to_owned(),
            tls: None,
            authentication: Some(Authentication::Scram {
                mechanism: ScramMechanism::Sha512,
                username: Username::File(dir.join("user")),
                password_file: dir.join("password"),
            }),
            properties: BTreeMap::new(),
        }
    }

    #[test]
    fn a_changed_file_is_noticed_and_a_missing_one_is_no_change() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("user"), "backup\n").unwrap();
        std::fs::write(dir.path().join("password"), "first").unwrap();
        let (files, credentials) = CredentialFiles::read(&cluster(dir.path())).unwrap();
        assert_eq!(credentials.username.as_deref(), Some("backup"));
        assert_eq!(credentials.password.as_deref(), Some("first"));
        assert!(!files.changed());
        std::fs::write(dir.path().join("password"), "second").unwrap();
        assert!(files.changed());
        std::fs::remove_file(dir.path().join("password")).unwrap();
        assert!(!files.changed());
    }

    #[test]
    fn every_unreadable_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let fault = CredentialFiles::read(&cluster(dir.path())).err().unwrap();
        let text = fault.to_string();
        assert!(matches!(fault, ConfigurationFault::Files(faults) if faults.len() == 2), "{text}");
        assert!(text.contains("/user") && text.contains("/password"), "{text}");
        std::fs::write(dir.path().join("user"), "backup").unwrap();
        let fault = CredentialFiles::read(&cluster(dir.path())).err().unwrap();
        assert!(matches!(fault, ConfigurationFault::Unreadable { .. }), "{fault}");
    }
}
