//! What to trust: the certificates of a cluster's CAs. Pure.

use k8s_openapi::api::core::v1::Secret;

use super::error::{Error, Place};
use super::{SecretRef, Trust};

/// The CAs in the Secret of a cluster: every `*.crt`. While the key of the CA is replaced there are two, and brokers
/// have certificates of both.
///
/// # Errors
/// [`Error::KeyMissing`] where there is none.
pub fn trust(place: &SecretRef, found: &Secret) -> Result<Trust, Error> {
    let keys = found.data.iter().flatten().map(|(key, _)| key);
    let keys: Vec<String> = keys.filter(|key| key.ends_with(".crt")).cloned().collect();
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
