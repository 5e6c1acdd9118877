//! Identifier and measure newtypes: what Kafka and the backup count and name things with.
//!
//! Owns: the types and their legal values. Does not own: ranges of offsets ([`crate::offset_range`]) or
//! object keys ([`crate::layout`]). Conversion from bare integers is explicit, at the Kafka and Parquet edges only.

mod digest;
mod names;
mod time;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

pub use digest::{NotATopicDigest, TopicDigest};
pub use names::{GroupId, IllegalName, RestoreId, SnapshotId, TopicName};
pub use time::NotATime;

macro_rules! integer {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name($inner);

        impl $name {
            /// Wraps the bare number.
            pub const fn new(value: $inner) -> Self {
                Self(value)
            }

            /// The bare number.
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

integer!(
    /// A record's offset in its partition, or a position between records.
    Offset(i64)
);
integer!(
    /// A partition's number within its topic.
    PartitionId(i32)
);
integer!(
    /// The leader epoch a record was written under; −1 where the broker did not say.
    LeaderEpoch(i32)
);
integer!(
    /// Milliseconds since 1970-01-01T00:00:00Z. Record timestamps may be any 64-bit value, also negative.
    TimestampMs(i64)
);
integer!(
    /// One life of a topic, counted from 0: a re-created topic, or a log that was truncated, starts the next.
    Lineage(i32)
);
integer!(
    /// The number a writer claims in the manifest log; the higher one fences the lower.
    Epoch(u64)
);
integer!(
    /// The place of a manifest in its shard's log, counted from 1 without a hole.
    Sequence(u64)
);

impl Offset {
    /// The offset after this one. Saturates at the largest offset, which no broker hands out.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl LeaderEpoch {
    /// The broker did not tell.
    pub const UNKNOWN: Self = Self(-1);
}

impl Lineage {
    /// A topic's first life.
    pub const FIRST: Self = Self(0);
}

impl Epoch {
    /// The epoch that fences this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl Sequence {
    /// The first slot of a log.
    pub const FIRST: Self = Self(1);

    /// The slot after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A topic's id as the broker prints it (22 characters of URL-safe base64): it changes when a topic is re-created.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicId(String);

impl TopicId {
    /// Wraps the broker's text.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The broker's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A Kafka cluster's id, as the broker tells it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(String);

impl ClusterId {
    /// Wraps the broker's text.
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// The broker's text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The identity of one backup: drawn once, when its prefix is first used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BackupId(uuid::Uuid);

impl BackupId {
    /// Wraps a UUID that the caller drew.
    pub const fn new(id: uuid::Uuid) -> Self {
        Self(id)
    }

    /// Its 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for BackupId {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

/// Drawn for each manifest, so that a writer can tell its own from another's of the same bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Nonce(uuid::Uuid);

impl Nonce {
    /// Wraps a UUID that the caller drew.
    pub const fn new(id: uuid::Uuid) -> Self {
        Self(id)
    }
}

/// A shard's name in keys: four digits. There is one, `0000`, as long as one streamer serves a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Shard(u16);

impl Shard {
    /// The only shard of an unsharded backup.
    pub const ONLY: Self = Self(0);

    /// The shard of that number.
    pub const fn new(number: u16) -> Self {
        Self(number)
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}", self.0)
    }
}

/// One partition in one life of its topic: what offsets are unique in.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionKey {
    /// The topic.
    pub topic: TopicName,
    /// Which life of the topic.
    pub lineage: Lineage,
    /// The partition.
    pub partition: PartitionId,
}

impl fmt::Display for PartitionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)?;
        if self.lineage != Lineage::FIRST {
            write!(f, " (lineage {})", self.lineage)?;
        }
        Ok(())
    }
}
