//! Identifier and measure newtypes: what Kafka and the backup count and name things with.
//!
//! Owns: the types and their legal values. Does not own: ranges of offsets ([`crate::offset_range`]) or
//! object keys ([`crate::layout`]). Conversion from bare integers is explicit, at the Kafka and Parquet edges only.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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

impl TimestampMs {
    /// RFC 3339 in UTC to the millisecond, or the bare number where no calendar date exists.
    pub fn to_rfc3339(self) -> String {
        chrono::DateTime::from_timestamp_millis(self.0)
            .map_or_else(|| format!("{} ms", self.0), |time| time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
    }

    /// This instant moved by `millis`, saturating.
    #[must_use]
    pub const fn plus_millis(self, millis: i64) -> Self {
        Self(self.0.saturating_add(millis))
    }

    /// Whole milliseconds from `earlier` to this instant; 0 where `earlier` is later.
    pub fn millis_since(self, earlier: Self) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}

/// A name is not one Kafka could have made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("illegal {kind} {value:?}: {rule}")]
pub struct IllegalName {
    kind: &'static str,
    value: String,
    rule: &'static str,
}

/// A topic name: 1 to 249 of `[a-zA-Z0-9._-]`, neither `.` nor `..` (Kafka's own rule), so it is legal in every path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicName(std::sync::Arc<str>);

impl TopicName {
    /// Accepts a name that Kafka accepts.
    ///
    /// # Errors
    /// [`IllegalName`] with the rule it breaks.
    pub fn new(name: impl Into<String>) -> Result<Self, IllegalName> {
        let name = name.into();
        let legal_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.chars().all(legal_char) {
            let rule = "a topic name is 1 to 249 of [a-zA-Z0-9._-], and neither '.' nor '..'";
            return Err(IllegalName { kind: "topic name", value: name, rule });
        }
        Ok(Self(name.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the name starts with `__`, as Kafka's own topics do.
    pub fn is_internal(&self) -> bool {
        self.0.starts_with("__")
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for TopicName {
    type Error = IllegalName;
    fn try_from(name: String) -> Result<Self, IllegalName> {
        Self::new(name)
    }
}

impl FromStr for TopicName {
    type Err = IllegalName;
    fn from_str(name: &str) -> Result<Self, IllegalName> {
        Self::new(name)
    }
}

impl From<TopicName> for String {
    fn from(name: TopicName) -> Self {
        name.0.as_ref().to_owned()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a53_topic_names_are_kafkas_and_nothing_else() {
        for legal in ["a", "a.b_c-D9", "__consumer_offsets", "...", "-", &"x".repeat(249)] {
            assert!(TopicName::new(legal).is_ok(), "{legal}");
        }
        for illegal in ["", ".", "..", "a/b", "../x", "a b", "ä", "a\0", "a%2f", "a=b", &"x".repeat(250)] {
            assert!(TopicName::new(illegal).is_err(), "{illegal:?}");
        }
    }

    #[test]
    fn timestamps_outside_the_calendar_still_print() {
        assert_eq!(TimestampMs::new(0).to_rfc3339(), "1970-01-01T00:00:00.000Z");
        assert_eq!(TimestampMs::new(i64::MAX).to_rfc3339(), "9223372036854775807 ms");
    }
}
