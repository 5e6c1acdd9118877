//! Judges the `storage` block.

use super::super::raw::{RawAnchor, RawAzure, RawFilesystem, RawGcs, RawS3, RawStorage};
use super::super::resolved::{
    Anchor, Azure, AzureCredentials, Filesystem, Gcs, GcsCredentials, Location, S3, S3Credentials, Storage,
};
use super::Faults;
use crate::ids::Sequence;

/// The block alone: which keys seal the backup stands elsewhere, and the caller adds it.
pub(super) fn resolve(raw: RawStorage, faults: &mut Faults) -> Option<Storage> {
    let kind = faults.required_text("storage.type", raw.r#type);
    if let Some(kind) = &kind {
        let present = [
            ("filesystem", raw.filesystem.is_some()),
            ("s3", raw.s3.is_some()),
            ("azure", raw.azure.is_some()),
            ("gcs", raw.gcs.is_some()),
        ];
        for (block, _) in present.iter().filter(|(block, is_set)| *is_set && block != kind) {
            let message = format!("is set while storage.type is {kind:?}; remove the block or change the type");
            faults.push(&format!("storage.{block}"), message);
        }
    }
    let location = match kind.as_deref() {
        Some("filesystem") => faults
            .required("storage.filesystem", raw.filesystem)
            .and_then(|raw| filesystem(raw, faults))
            .map(Location::Filesystem),
        Some("s3") => faults.required("storage.s3", raw.s3).and_then(|raw| s3(raw, faults)).map(Location::S3),
        Some("azure") => {
            faults.required("storage.azure", raw.azure).and_then(|raw| azure(raw, faults)).map(Location::Azure)
        }
        Some("gcs") => faults.required("storage.gcs", raw.gcs).and_then(|raw| gcs(raw, faults)).map(Location::Gcs),
        Some(other) => {
            faults.push("storage.type", format!("{other:?} is not one of filesystem, s3, azure, gcs"));
            None
        }
        None => None,
    };
    let anchor = raw.anchor.and_then(|raw| anchor(raw, faults));
    Some(Storage { location: location?, anchor, encryption: None })
}

fn filesystem(raw: RawFilesystem, faults: &mut Faults) -> Option<Filesystem> {
    let path = faults.required_file("storage.filesystem.path", raw.path)?;
    if !path.is_absolute() {
        let message = format!("{} is relative, and would mean another place from another directory", path.display());
        faults.push("storage.filesystem.path", format!("{message}; write it from /"));
        return None;
    }
    Some(Filesystem { path })
}

fn s3(raw: RawS3, faults: &mut Faults) -> Option<S3> {
    let credentials = s3_credentials(&raw, faults);
    let region = raw.region.and_then(|region| faults.required_text("storage.s3.region", Some(region)));
    let endpoint = raw.endpoint.and_then(|url| endpoint("storage.s3.endpoint", url, faults));
    let prefix = prefix("storage.s3.prefix", raw.prefix, faults);
    let ca_file = faults.file("storage.s3.caFile", raw.ca_file);
    let bucket = bucket("storage.s3.bucket", raw.bucket, faults)?;
    let virtual_hosted_style = raw.virtual_hosted_style.unwrap_or(false);
    Some(S3 { bucket, region, endpoint, prefix, credentials, virtual_hosted_style, ca_file })
}

fn s3_credentials(raw: &RawS3, faults: &mut Faults) -> S3Credentials {
    let key_id = faults.file("storage.s3.accessKeyIdFile", raw.access_key_id_file.clone());
    let secret = faults.file("storage.s3.secretAccessKeyFile", raw.secret_access_key_file.clone());
    let session_token_file = faults.file("storage.s3.sessionTokenFile", raw.session_token_file.clone());
    let file = faults.file("storage.s3.credentialsFile", raw.credentials_file.clone());
    if file.is_some() && (key_id.is_some() || secret.is_some() || session_token_file.is_some()) {
        let message = "is set beside accessKeyIdFile, secretAccessKeyFile or sessionTokenFile; keep one way";
        faults.push("storage.s3.credentialsFile", message);
    }
    if let Some(file) = file {
        return S3Credentials::CredentialsFile(file);
    }
    match (key_id, secret) {
        (Some(access_key_id_file), Some(secret_access_key_file)) => {
            S3Credentials::KeyFiles { access_key_id_file, secret_access_key_file, session_token_file }
        }
        (None, Some(_)) => {
            faults.push("storage.s3.accessKeyIdFile", "is missing; secretAccessKeyFile needs it");
            S3Credentials::Environment
        }
        (Some(_), None) => {
            faults.push("storage.s3.secretAccessKeyFile", "is missing; accessKeyIdFile needs it");
            S3Credentials::Environment
        }
        (None, None) => {
            if session_token_file.is_some() {
                let message = "needs accessKeyIdFile and secretAccessKeyFile; set them or remove it";
                faults.push("storage.s3.sessionTokenFile", message);
            }
            S3Credentials::Environment
        }
    }
}

fn azure(raw: RawAzure, faults: &mut Faults) -> Option<Azure> {
    let account_key = faults.file("storage.azure.accountKeyFile", raw.account_key_file);
    let sas_token = faults.file("storage.azure.sasTokenFile", raw.sas_token_file);
    let credentials = match (account_key, sas_token) {
        (Some(_), Some(_)) => {
            faults.push("storage.azure.sasTokenFile", "is set beside accountKeyFile; keep one of them");
            AzureCredentials::Environment
        }
        (Some(file), None) => AzureCredentials::AccountKeyFile(file),
        (None, Some(file)) => AzureCredentials::SasTokenFile(file),
        (None, None) => AzureCredentials::Environment,
    };
    let endpoint = raw.endpoint.and_then(|url| endpoint("storage.azure.endpoint", url, faults));
    let prefix = prefix("storage.azure.prefix", raw.prefix, faults);
    let ca_file = faults.file("storage.azure.caFile", raw.ca_file);
    let storage_account = bucket("storage.azure.storageAccount", raw.storage_account, faults);
    let container = bucket("storage.azure.container", raw.container, faults)?;
    Some(Azure { container, storage_account: storage_account?, prefix, endpoint, credentials, ca_file })
}

fn gcs(raw: RawGcs, faults: &mut Faults) -> Option<Gcs> {
    let credentials = faults
        .file("storage.gcs.serviceAccountFile", raw.service_account_file)
        .map_or(GcsCredentials::Environment, GcsCredentials::ServiceAccountFile);
    let endpoint = raw.endpoint.and_then(|url| endpoint("storage.gcs.endpoint", url, faults));
    let prefix = prefix("storage.gcs.prefix", raw.prefix, faults);
    let ca_file = faults.file("storage.gcs.caFile", raw.ca_file);
    let bucket = bucket("storage.gcs.bucket", raw.bucket, faults)?;
    Some(Gcs { bucket, prefix, endpoint, credentials, ca_file })
}

fn anchor(raw: RawAnchor, faults: &mut Faults) -> Option<Anchor> {
    let backup = faults.required_text("storage.anchor.backup", raw.backup).and_then(|text| {
        text.parse().map_err(|_| faults.push("storage.anchor.backup", format!("{text:?} is no UUID"))).ok()
    });
    let sequence = faults.required("storage.anchor.sequence", raw.sequence).and_then(|value| {
        let number = value.integer().and_then(|number| u64::try_from(number).ok()).filter(|number| *number > 0);
        if number.is_none() {
            faults.push("storage.anchor.sequence", format!("{value:?} is no manifest's number; they begin at 1"));
        }
        number.map(Sequence::new)
    });
    let sha256 = faults.required_text("storage.anchor.sha256", raw.sha256).and_then(|text| {
        text.parse().map_err(|_| faults.push("storage.anchor.sha256", format!("{text:?} is not 64 hex digits"))).ok()
    });
    Some(Anchor { backup: backup?, sequence: sequence?, sha256: sha256? })
}

/// A bucket's, container's or account's name. The providers' finer rules are theirs to tell.
fn bucket(path: &str, raw: Option<String>, faults: &mut Faults) -> Option<String> {
    let name = faults.required_text(path, raw)?;
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '$');
    if !(3..=255).contains(&name.len()) || !name.chars().all(legal) {
        let message = format!(
            "{name:?} is no name of its kind; write the bare name, 3 characters or more, without scheme and prefix"
        );
        faults.push(path, message);
        return None;
    }
    Some(name)
}

/// A prefix, without slashes at its ends.
fn prefix(path: &str, raw: Option<String>, faults: &mut Faults) -> String {
    let text = raw.unwrap_or_default();
    let prefix = text.trim().trim_matches('/').to_owned();
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '=');
    let legal_part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.chars().all(legal);
    if !prefix.is_empty() && !prefix.split('/').all(legal_part) {
        let message = format!("{text:?} is no prefix; write parts of [a-zA-Z0-9._=-] separated by single slashes");
        faults.push(path, message);
    }
    prefix
}

/// An `http(s)://` URL, without credentials and query.
pub(super) fn endpoint(path: &str, raw: String, faults: &mut Faults) -> Option<String> {
    let url = faults.required_text(path, Some(raw))?.trim_end_matches('/').to_owned();
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let host = rest.and_then(|rest| rest.split('/').next()).unwrap_or_default();
    if host.contains('@') {
        // Not echoed: what stands before the @ may be a password.
        faults.push(path, "has credentials in it; give them by file or environment");
        return None;
    }
    if host.is_empty() || host.contains(char::is_whitespace) || url.contains(['?', '#']) {
        faults.push(path, "is no endpoint; write http(s)://host[:port], without query");
        return None;
    }
    Some(url)
}
