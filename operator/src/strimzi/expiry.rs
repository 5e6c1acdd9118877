//! When certificates end that Strimzi ought to have renewed by then. Pure.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use x509_parser::pem::Pem;

use super::SecretRef;

/// How long before its end a certificate is warned of. Strimzi renews its own 30 days before, so that one that comes this
/// near is one that nobody renews.
const NOTICE: SignedDuration = SignedDuration::from_hours(72);

/// When the certificates end by which a client is known, or knows the brokers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// `cluster-ca` or `user`.
    pub certificate: &'static str,
    /// Where they are.
    pub secret: SecretRef,
    /// When the last of them ends: while a CA is replaced, the one before is there too, and may have ended.
    pub at: Timestamp,
}

impl Expiry {
    /// That of the certificates under these keys; `None` where none can be read, which the client will tell.
    pub fn of(certificate: &'static str, secret: &SecretRef, found: &Secret, keys: &[&str]) -> Option<Self> {
        let data = found.data.as_ref()?;
        let texts = keys.iter().filter_map(|key| data.get(*key));
        let ends = texts.flat_map(|text| Pem::iter_from_buffer(&text.0)).filter_map(|pem| {
            let seconds = pem.ok()?.parse_x509().ok()?.validity().not_after.timestamp();
            Timestamp::from_second(seconds).ok()
        });
        Some(Self { certificate, secret: secret.clone(), at: ends.max()? })
    }

    /// What to say of it at the instant `now`, if anything.
    pub fn warning(&self, now: Timestamp) -> Option<String> {
        let left = self.at.duration_since(now);
        let when = match left {
            left if left > NOTICE => return None,
            left if left.is_positive() => format!("ends at {}, in {} hours", self.at, left.as_hours()),
            _ => format!("ended at {}", self.at),
        };
        let (what, SecretRef { namespace, name }) = (self.certificate, &self.secret);
        Some(format!(
            "the certificate of the {what} in Secret {namespace}/{name} {when}, and Strimzi has not renewed it: look at the \
             log of its operators"
        ))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;

    use super::*;

    const OLD: &str = include_str!("testdata/old.crt");
    const NEW: &str = include_str!("testdata/new.crt");

    fn expiry(entries: &[(&str, &str)]) -> Option<Expiry> {
        let data: BTreeMap<_, _> =
            entries.iter().map(|(key, text)| ((*key).to_owned(), ByteString(text.as_bytes().to_vec()))).collect();
        let keys: Vec<_> = entries.iter().map(|(key, _)| *key).collect();
        let secret = SecretRef { namespace: "kafka".to_owned(), name: "shop-cluster-ca-cert".to_owned() };
        Expiry::of("cluster-ca", &secret, &Secret { data: Some(data), ..Secret::default() }, &keys)
    }

    #[test]
    fn a30_a_certificate_is_warned_of_72_hours_before_its_end() {
        let old = expiry(&[("ca.crt", OLD)]).unwrap();
        let told = |now: &str| old.warning(now.parse().unwrap());
        assert_eq!(told("2026-02-25T23:59:59Z"), None);
        let warning = told("2026-02-27T00:00:00Z").unwrap();
        assert!(warning.contains("kafka/shop-cluster-ca-cert ends at 2026-03-01T00:00:00Z, in 48 hours"), "{warning}");
        assert!(told("2026-03-02T00:00:00Z").unwrap().contains("ended at 2026-03-01T00:00:00Z"));
    }

    #[test]
    fn a30_while_a_ca_is_replaced_the_newer_one_counts() {
        let both = expiry(&[("ca-2026.crt", OLD), ("ca.crt", NEW)]).unwrap();
        assert_eq!(both.at.to_string(), "2027-01-01T00:00:00Z");
        assert_eq!(expiry(&[("ca.crt", &format!("{OLD}{NEW}"))]), Some(both));
        assert_eq!(expiry(&[("ca.crt", "one")]), None);
    }
}
