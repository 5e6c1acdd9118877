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

    /// Reads an RFC 3339 time with zone, to the millisecond: what [`TimestampMs::to_rfc3339`] writes, and the same
    /// instant in any other zone.
    ///
    /// # Errors
    /// [`NotATime`] with what is wrong: a missing or unknown zone, a day that does not exist, a leap second, a fraction
    /// finer than a millisecond, which is refused and not rounded.
    pub fn from_rfc3339(text: &str) -> Result<Self, NotATime> {
        let failed = |why: &str| NotATime { text: text.to_owned(), why: why.to_owned() };
        let time = chrono::DateTime::parse_from_rfc3339(text).map_err(|error| failed(&error.to_string()))?;
        if text.ends_with("-00:00") {
            return Err(failed("-00:00 says that the zone is not known; write Z for UTC"));
        }
        match time.timestamp_subsec_nanos() {
            1_000_000_000.. => Err(failed("a leap second is no instant of its own here; write the second after it")),
            nanos if nanos % 1_000_000 != 0 => Err(failed("record timestamps have milliseconds, and this is finer")),
            _ => Ok(Self(time.timestamp_millis())),
        }
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

/// A text is no instant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not an RFC 3339 time with a zone, such as 2026-02-13T07:00:00Z or 2026-02-13T08:00:00.250+01:00: {why}"
)]
pub struct NotATime {
    text: String,
    why: String,
}

/// A name that breaks the rule of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("illegal {kind} {value:?}: {rule}")]
pub struct IllegalName {
    kind: &'static str,
    value: String,
    rule: &'static str,
}

const CONSUMER_OFFSETS: &str = "__consumer_offsets";

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

    /// Kafka's own topic with the committed offsets of all consumer groups: `__consumer_offsets`. It is not backed up
    /// as it is, but decoded ([`crate::groups`]).
    pub fn consumer_offsets() -> Self {
        Self(CONSUMER_OFFSETS.into())
    }

    /// Whether it is [`TopicName::consumer_offsets`].
    pub fn is_consumer_offsets(&self) -> bool {
        self.as_str() == CONSUMER_OFFSETS
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

macro_rules! key_part {
    ($(#[$doc:meta])* $name:ident, $kind:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Accepts 1 to 128 of `[a-zA-Z0-9._-]` that begin with a letter or a digit: legal as a part of every key, file
            /// name and group name.
            ///
            /// # Errors
            /// [`IllegalName`] with the rule it breaks.
            pub fn new(id: impl Into<String>) -> Result<Self, IllegalName> {
                let value = id.into();
                if is_key_part(&value) {
                    return Ok(Self(value));
                }
                let rule = "it must be 1 to 128 of [a-zA-Z0-9._-] and begin with a letter or a digit";
                Err(IllegalName { kind: $kind, value, rule })
            }

            /// The id.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IllegalName;
            fn try_from(id: String) -> Result<Self, IllegalName> {
                Self::new(id)
            }
        }

        impl FromStr for $name {
            type Err = IllegalName;
            fn from_str(id: &str) -> Result<Self, IllegalName> {
                Self::new(id)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

/// The most bytes of an id: a file name may have 255, of which the store needs some.
const MOST_ID_BYTES: usize = 128;

fn is_key_part(text: &str) -> bool {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    text.len() <= MOST_ID_BYTES && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(legal)
}

key_part!(
    /// The name of a snapshot, such as `backup-20260213-020000`.
    SnapshotId,
    "snapshot id"
);
key_part!(
    /// The name of a restore: who starts one again under its id goes on with it.
    RestoreId,
    "restore id"
);

impl SnapshotId {
    /// The id of a snapshot that got none: `backup-YYYYMMDD-HHMMSS`, in UTC.
    pub fn of_instant(asked: TimestampMs) -> Self {
        use chrono::Datelike as _;
        // Other years are written with a sign, which no id has.
        let time = chrono::DateTime::from_timestamp_millis(asked.0).filter(|time| (0..=9999).contains(&time.year()));
        Self(time.map_or_else(
            || format!("backup-{}", asked.0.unsigned_abs()),
            |time| time.format("backup-%Y%m%d-%H%M%S").to_string(),
        ))
    }
}

/// A consumer group's id: any text that is not empty, as the group's members chose it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct GroupId(std::sync::Arc<str>);

impl GroupId {
    /// Accepts what a broker accepts.
    ///
    /// # Errors
    /// [`IllegalName`] with the rule it breaks.
    pub fn new(id: impl Into<String>) -> Result<Self, IllegalName> {
        let value = id.into();
        if value.is_empty() || value.len() > MOST_GROUP_ID_BYTES {
            let rule = "a consumer group's id has 1 to 32767 bytes";
            return Err(IllegalName { kind: "consumer group id", value, rule });
        }
        Ok(Self(value.into()))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for GroupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for GroupId {
    type Error = IllegalName;
    fn try_from(id: String) -> Result<Self, IllegalName> {
        Self::new(id)
    }
}

impl From<GroupId> for String {
    fn from(id: GroupId) -> Self {
        id.0.as_ref().to_owned()
    }
}

/// The most bytes of a group's id: Kafka's protocol gives its length 16 bits with a sign.
const MOST_GROUP_ID_BYTES: usize = 32_767;

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
    fn ids_of_snapshots_and_restores_are_legal_in_every_key() {
        for legal in ["a", "9", "backup-20260213-020000", "Before.the_upgrade-2", &"x".repeat(128)] {
            assert!(SnapshotId::new(legal).is_ok() && RestoreId::new(legal).is_ok(), "{legal}");
        }
        for illegal in
            ["", ".", "..", ".a", "-a", "_a", "a/b", "../x", "a b", "ä", "a\0", "a%2f", "a#1", &"x".repeat(129)]
        {
            let error = SnapshotId::new(illegal).expect_err(illegal).to_string();
            assert!(error.contains(&format!("{illegal:?}")) && error.contains("1 to 128"), "{error}");
            assert!(serde_json::from_value::<RestoreId>(illegal.into()).is_err(), "{illegal:?}");
        }
    }

    #[test]
    fn a_snapshot_without_an_id_is_called_after_its_second_in_utc() {
        let id = SnapshotId::of_instant(TimestampMs::new(1_770_948_000_999));
        assert_eq!(id.as_str(), "backup-20260213-020000");
        let extremes = [TimestampMs::new(i64::MIN), TimestampMs::new(i64::MAX), TimestampMs::new(253_402_300_800_000)];
        for id in extremes.map(SnapshotId::of_instant) {
            assert_eq!(SnapshotId::new(id.as_str()), Ok(id));
        }
    }

    #[test]
    fn a75_times_are_rfc_3339_with_a_zone_to_the_millisecond() {
        let read = TimestampMs::from_rfc3339;
        assert_eq!(read("2026-02-13T08:00:00.250+01:00"), Ok(TimestampMs::new(1_770_966_000_250)));
        assert_eq!(read("1969-12-31T23:59:59.999Z"), Ok(TimestampMs::new(-1)));
        for wrong in [
            "2026-02-13",
            "2026-02-13T08:00:00",
            "2026-02-30T08:00:00Z",
            "2026-02-13T08:00:00 CET",
            "2026-02-13T08:00:00-00:00",
            "2026-12-31T23:59:60Z",
            "2026-02-13T08:00:00.0001Z",
            "1770966000000",
            "now",
            "",
        ] {
            let error = read(wrong).expect_err(wrong).to_string();
            assert!(error.contains(&format!("{wrong:?}")) && error.contains("RFC 3339"), "{error}");
        }
    }

    #[test]
    fn timestamps_outside_the_calendar_still_print() {
        assert_eq!(TimestampMs::new(0).to_rfc3339(), "1970-01-01T00:00:00.000Z");
        assert_eq!(TimestampMs::new(i64::MAX).to_rfc3339(), "9223372036854775807 ms");
    }
}
