//! What to trust: the certificates of a cluster's CAs. Pure.

use k8s_openapi::api::core::v1::Secret;
use sha2::{Digest, Sha256};

use super::error::{Error, Place};
use super::{SecretRef, Trust};

/// Enough that two sets of certificates are told apart.
const DIGEST_BYTES: usize = 16;

/// The CAs in the Secret of a cluster: every `*.crt`. While the key of the CA is replaced there are two, and brokers
/// have certificates of both.
///
/// # Errors
/// [`Error::KeyMissing`] where there is none.
pub fn trust(place: &SecretRef, found: &Secret) -> Result<Trust, Error> {
    let keys: Vec<String> = certificates(found).map(|(key, _)| key.to_owned()).collect();
    if keys.is_empty() {
        let place = Place::new("Secret", &place.namespace, &place.name);
        return Err(Error::KeyMissing {
            place,
            key: "ca.crt",
            what: "the certificate of the CA that signs the brokers",
        });
    }
    Ok(Trust { secret: place.clone(), keys, certificates: Vec::new() })
}

/// A hash of these certificates, and of those that no Secret holds. They are public, so that it may stand in an
/// annotation.
pub fn digest(found: &Secret, more: &[String]) -> String {
    let mut hash = Sha256::new();
    for (key, certificate) in certificates(found) {
        // No key and no certificate in PEM has a null byte.
        hash.update([key.as_bytes(), &[0], certificate, &[0]].concat());
    }
    for certificate in more {
        hash.update([certificate.as_bytes(), &[0]].concat());
    }
    hash.finalize().iter().take(DIGEST_BYTES).map(|byte| format!("{byte:02x}")).collect()
}

fn certificates(found: &Secret) -> impl Iterator<Item = (&str, &[u8])> {
    let all = found.data.iter().flatten();
    all.filter(|(key, _)| key.ends_with(".crt")).map(|(key, value)| (key.as_str(), value.0.as_slice()))
}
