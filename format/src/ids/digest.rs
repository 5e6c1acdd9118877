//! What stands for a topic where its name is not to be read.

use std::fmt;
use std::str::FromStr;

/// A keyed digest of a topic's name, in keys of objects of a backup that is encrypted: 32 lower-case hex digits
/// ([`crate::crypt::KeyRing::topic_digest`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicDigest([u8; 16]);

/// Not 32 lower-case hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the digest of a topic's name (32 lower-case hex digits)")]
pub struct NotATopicDigest(String);

impl TopicDigest {
    /// Wraps the bytes of a digest.
    pub const fn new(digest: [u8; 16]) -> Self {
        Self(digest)
    }
}

impl fmt::Display for TopicDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for TopicDigest {
    type Err = NotATopicDigest;

    /// One text for one digest, since it is a part of keys: capitals are refused.
    fn from_str(text: &str) -> Result<Self, NotATopicDigest> {
        let mut digest = [0; 16];
        let is_lower = text.bytes().all(|b| !b.is_ascii_uppercase());
        match hex::decode_to_slice(text, &mut digest) {
            Ok(()) if is_lower => Ok(Self(digest)),
            _ => Err(NotATopicDigest(text.to_owned())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_has_one_text() {
        let text = "176500256d25370599f1e4430e4ebbf7";
        let digest: TopicDigest = text.parse().expect("legal");
        assert_eq!(digest.to_string(), text);
        for illegal in ["", &text[1..], &format!("{text}0"), &text.to_uppercase(), "orders"] {
            let error = illegal.parse::<TopicDigest>().expect_err(illegal).to_string();
            assert!(error.contains(&format!("{illegal:?}")), "{error}");
        }
    }
}
