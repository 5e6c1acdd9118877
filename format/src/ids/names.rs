//! Names that follow a rule: of topics, consumer groups, snapshots and restores.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::TimestampMs;

/// A name that breaks the rule of its kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("illegal {kind} {value:?}: {rule}")]
pub struct IllegalName {
    kind: &'static str,
    value: String,
    rule: &'static str,
}

/// How a text with a rule is made from others, and shown.
macro_rules! checked_text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl TryFrom<String> for $name {
            type Error = IllegalName;
            fn try_from(text: String) -> Result<Self, IllegalName> {
                Self::new(text)
            }
        }

        impl FromStr for $name {
            type Err = IllegalName;
            fn from_str(text: &str) -> Result<Self, IllegalName> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(text: $name) -> Self {
                text.as_str().to_owned()
            }
        }
    };
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

checked_text!(TopicName);

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

        checked_text!($name);
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

checked_text!(GroupId);

/// The most bytes of a group's id: Kafka's protocol gives its length 16 bits with a sign.
const MOST_GROUP_ID_BYTES: usize = 32_767;

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
}
