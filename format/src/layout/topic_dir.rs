//! The directory of one topic.

use std::fmt;

use crate::ids::{TopicDigest, TopicName};

/// What stands for a topic in the keys of its segments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicDir {
    /// Its name: `topic=<name>`.
    Named(TopicName),
    /// A keyed digest of its name, where the backup is encrypted: `digest=<32 hex digits>`.
    Digest(TopicDigest),
}

impl TopicDir {
    /// Reads what is displayed.
    pub(super) fn parse(part: &str) -> Option<Self> {
        match part.split_once('=')? {
            ("topic", name) => TopicName::new(name).ok().map(Self::Named),
            ("digest", digest) => digest.parse().ok().map(Self::Digest),
            _ => None,
        }
    }
}

impl From<TopicName> for TopicDir {
    fn from(topic: TopicName) -> Self {
        Self::Named(topic)
    }
}

impl fmt::Display for TopicDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Named(topic) => write!(f, "topic={topic}"),
            Self::Digest(digest) => write!(f, "digest={digest}"),
        }
    }
}
