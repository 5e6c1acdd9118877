//! Judges the block that says with which keys a backup is sealed: `backup.encryption` of a job document, `encryption` of a restore
//! document.

use std::path::PathBuf;

use super::super::raw::{RawEncryption, RawKubernetesAuth, RawTransit};
use super::super::resolved::{Encryption, KeySource, Transit, TransitAuth, defaults};
use super::Faults;
use super::storage::endpoint;

/// The encryption that `path` asks for; `None` where it is not enabled. A block that is switched off is not judged: it is a text
/// that somebody keeps.
pub(super) fn resolve(path: &str, raw: RawEncryption, faults: &mut Faults) -> Option<Encryption> {
    let field = |field: &str| format!("{path}.{field}");
    // A block without it must not be taken for one that is switched off.
    if !faults.required(&field("enabled"), raw.enabled)? {
        return None;
    }
    let current = faults.file(&field("keyFile"), raw.key_file.clone());
    let previous = previous(&field("previousKeyFiles"), raw.previous_key_files.clone().unwrap_or_default(), faults);
    let provider = match (raw.key_file.is_some(), raw.transit) {
        (true, Some(_)) => {
            faults.push(&field("transit"), "is set beside keyFile; keep one of them");
            None
        }
        (true, None) => current.map(|current| KeySource::Files { current, previous }),
        (false, Some(raw_transit)) => {
            if raw.previous_key_files.is_some() {
                let message = "belongs to keyFile; transit keeps earlier versions of its key itself, so remove it";
                faults.push(&field("previousKeyFiles"), message);
            }
            transit(&field("transit"), raw_transit, faults).map(KeySource::Transit)
        }
        (false, None) => {
            faults.push(path, "is enabled without a key; set keyFile or transit");
            None
        }
    };
    provider.map(|provider| Encryption { provider })
}

fn previous(path: &str, files: Vec<PathBuf>, faults: &mut Faults) -> Vec<PathBuf> {
    let mut judged = Vec::with_capacity(files.len());
    for (index, file) in files.into_iter().enumerate() {
        judged.extend(faults.file(&format!("{path}[{index}]"), Some(file)));
    }
    judged
}

fn transit(path: &str, raw: RawTransit, faults: &mut Faults) -> Option<Transit> {
    let field = |field: &str| format!("{path}.{field}");
    let address = faults.required(&field("address"), raw.address);
    let address = address.and_then(|url| endpoint(&field("address"), url, faults));
    let mount = mount(&field("mount"), raw.mount, defaults::TRANSIT_MOUNT, faults);
    let key = key(&field("key"), raw.key, faults);
    let namespace = raw.namespace.and_then(|text| faults.required_text(&field("namespace"), Some(text)));
    let ca_file = faults.file(&field("caFile"), raw.ca_file);
    let auth = auth(path, raw.token_file, raw.kubernetes, faults);
    Some(Transit { address: address?, mount: mount?, key: key?, namespace, ca_file, auth: auth? })
}

fn auth(
    path: &str,
    token_file: Option<PathBuf>,
    kubernetes: Option<RawKubernetesAuth>,
    faults: &mut Faults,
) -> Option<TransitAuth> {
    let field = |field: &str| format!("{path}.{field}");
    match (token_file, kubernetes) {
        (Some(_), Some(_)) => {
            faults.push(&field("kubernetes"), "is set beside tokenFile; keep one of them");
            None
        }
        (Some(file), None) => faults.file(&field("tokenFile"), Some(file)).map(|file| TransitAuth::Token { file }),
        (None, Some(raw)) => kubernetes_auth(&field("kubernetes"), raw, faults),
        (None, None) => {
            faults.push(path, "does not say who asks; set tokenFile or kubernetes");
            None
        }
    }
}

fn kubernetes_auth(path: &str, raw: RawKubernetesAuth, faults: &mut Faults) -> Option<TransitAuth> {
    let field = |field: &str| format!("{path}.{field}");
    let role = faults.required_text(&field("role"), raw.role);
    let mount = mount(&field("mount"), raw.mount, defaults::KUBERNETES_MOUNT, faults);
    let token_file = raw.token_file.unwrap_or_else(|| PathBuf::from(defaults::KUBERNETES_TOKEN_FILE));
    let token_file = faults.file(&field("tokenFile"), Some(token_file));
    Some(TransitAuth::Kubernetes { role: role?, mount: mount?, token_file: token_file? })
}

/// Where an engine of Vault is mounted; it becomes part of an URL and of the id of a master key.
fn mount(path: &str, raw: Option<String>, default: &str, faults: &mut Faults) -> Option<String> {
    let Some(text) = raw else { return Some(default.to_owned()) };
    let mount = text.trim().trim_matches('/');
    if !mount.split('/').all(is_name) {
        let message = format!("{text:?} is no mount; write parts of [a-zA-Z0-9._-] separated by single slashes");
        faults.push(path, message);
        return None;
    }
    Some(mount.to_owned())
}

/// The name of a key of the transit engine.
fn key(path: &str, raw: Option<String>, faults: &mut Faults) -> Option<String> {
    let name = faults.required_text(path, raw)?;
    if !is_name(&name) {
        faults.push(path, format!("{name:?} is no name of a key; use [a-zA-Z0-9._-]"));
        return None;
    }
    Some(name)
}

/// Whether it may be one part of a path in Vault.
fn is_name(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !text.is_empty() && text != "." && text != ".." && text.chars().all(legal)
}
