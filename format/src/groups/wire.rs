//! One record of `__consumer_offsets`, as the broker's group coordinator writes it.
//!
//! Owns: the bytes of keys and values, of every version that a coordinator writes or still may hold. Does not own: what
//! becomes of them ([`super::row`]).
//!
//! Invariants: no bytes make it fail or panic; what cannot be read with certainty is [`Decoded::Unknown`], never a guess.
//!
//! ```text
//! key    i16 version (0 or 1: an offset)  group str  topic str  partition i32         str: i16 length, bytes
//! value  i16 0, 2   offset i64  metadata str  time i64
//!        i16 1      offset i64  metadata str  time i64  expires i64
//!        i16 3      offset i64  leader epoch i32  metadata str  time i64
//!        i16 4      offset i64  leader epoch i32  metadata compact str  time i64  tagged fields (0: topic id)
//! ```

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::CommittedOffset;
use crate::ids::{GroupId, LeaderEpoch, Offset, PartitionId, TimestampMs, TopicId, TopicName};

/// What a record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// What a group has committed for a partition, or that it has no longer.
    Offset {
        /// The group.
        group: GroupId,
        /// The topic that it reads.
        topic: TopicName,
        /// The partition that it reads.
        partition: PartitionId,
        /// What stands from now on.
        committed: Committed,
    },
    /// A record of a known kind that holds no offset, such as who the group's members are.
    Other,
    /// A record that this release cannot read: keep its bytes.
    Unknown {
        /// The group, where the key could be read.
        group: Option<GroupId>,
        /// What is wrong with it.
        why: Unknown,
    },
}

/// What stands from a record on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Committed {
    /// Nothing: the offset expired or was deleted.
    Deleted,
    /// This offset.
    At(CommittedOffset),
}

/// Why a record of `__consumer_offsets` cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// It has no key.
    #[error("the record has no key")]
    NoKey,
    /// The coordinator that wrote it is newer than this release.
    #[error("keys of version {0} are not known to this release")]
    KeyVersion(i16),
    /// Its key is cut short, too long, or names no group or partition.
    #[error("the key is not that of an offset")]
    Key,
    /// Its key names a topic that cannot exist.
    #[error("the key has an illegal topic name")]
    Topic,
    /// The coordinator that wrote it is newer than this release.
    #[error("values of version {0} are not known to this release")]
    ValueVersion(i16),
    /// Its value is cut short, too long, or no text where text belongs.
    #[error("the value is not that of an offset")]
    Value,
    /// It commits an offset that no record has.
    #[error("the committed offset {0} is negative")]
    NegativeOffset(i64),
}

/// Reads a record, whatever its bytes.
pub fn decode(key: Option<&[u8]>, value: Option<&[u8]>) -> Decoded {
    let Some(key) = key else { return Decoded::Unknown { group: None, why: Unknown::NoKey } };
    let mut key = Reader { bytes: key };
    match key.i16() {
        Some(0 | 1) => decode_offset(key, value),
        Some(version) if is_other(version) => Decoded::Other,
        Some(version) => Decoded::Unknown { group: None, why: Unknown::KeyVersion(version) },
        None => Decoded::Unknown { group: None, why: Unknown::Key },
    }
}

/// Whether keys of this version are of records without offsets: the state of classic groups (2), consumer groups (3 to 8,
/// 16), share groups (9 to 15) and streams groups (17 to 24), as Kafka 3.6 to 4.3 and the release after it number them.
fn is_other(version: i16) -> bool {
    (2..=24).contains(&version)
}

fn decode_offset(mut key: Reader<'_>, value: Option<&[u8]>) -> Decoded {
    let group = key.text().and_then(|group| GroupId::new(group).ok());
    let unknown = |why| Decoded::Unknown { group: group.clone(), why };
    let (Some(topic), Some(partition), true) = (key.text(), key.i32().filter(|number| *number >= 0), key.is_empty())
    else {
        return unknown(Unknown::Key);
    };
    let Some(group) = group.clone() else { return unknown(Unknown::Key) };
    let Ok(topic) = TopicName::new(topic) else { return unknown(Unknown::Topic) };
    let committed = match value.map(decode_value).transpose() {
        Ok(committed) => committed.map_or(Committed::Deleted, Committed::At),
        Err(why) => return unknown(why),
    };
    Decoded::Offset { group, topic, partition: PartitionId::new(partition), committed }
}

fn decode_value(bytes: &[u8]) -> Result<CommittedOffset, Unknown> {
    let mut value = Reader { bytes };
    let version = value.i16().ok_or(Unknown::Value)?;
    if !(0..=4).contains(&version) {
        return Err(Unknown::ValueVersion(version));
    }
    let committed = read_value(&mut value, version).filter(|_| value.is_empty()).ok_or(Unknown::Value)?;
    if committed.offset.get() < 0 {
        return Err(Unknown::NegativeOffset(committed.offset.get()));
    }
    Ok(committed)
}

fn read_value(value: &mut Reader<'_>, version: i16) -> Option<CommittedOffset> {
    let offset = Offset::new(value.i64()?);
    let leader_epoch = if version >= 3 { value.i32()? } else { LeaderEpoch::UNKNOWN.get() };
    let leader_epoch = LeaderEpoch::new(leader_epoch.max(LeaderEpoch::UNKNOWN.get()));
    let metadata = if version >= 4 { value.compact_text()? } else { value.text()? }.to_owned();
    let committed_at = TimestampMs::new(value.i64()?);
    if version == 1 {
        value.i64()?;
    }
    let topic_id = if version >= 4 { read_topic_id(value)? } else { None };
    Some(CommittedOffset { offset, leader_epoch, metadata, committed_at, topic_id })
}

/// Reads the tagged fields; those of other tags are of newer coordinators, and made to be passed over.
fn read_topic_id(value: &mut Reader<'_>) -> Option<Option<TopicId>> {
    let mut topic_id = None;
    for _ in 0..value.varint()? {
        let tag = value.varint()?;
        let len = usize::try_from(value.varint()?).ok()?;
        let field = value.take(len)?;
        if tag == 0 {
            let id: &[u8; 16] = field.try_into().ok()?;
            topic_id = (*id != [0; 16]).then(|| TopicId::new(URL_SAFE_NO_PAD.encode(id)));
        }
    }
    Some(topic_id)
}

/// Bytes that are read from the front; `None` where they end too early.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(len)?;
        self.bytes = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.i16()?).ok()?;
        str::from_utf8(self.take(len)?).ok()
    }

    /// A text whose length plus one stands before it; 0 would be null, which no field here may be.
    fn compact_text(&mut self) -> Option<&'a str> {
        let len = usize::try_from(self.varint()?.checked_sub(1)?).ok()?;
        str::from_utf8(self.take(len)?).ok()
    }

    /// An unsigned number of at most 32 bits, seven to a byte.
    fn varint(&mut self) -> Option<u32> {
        let mut number = 0_u64;
        for shift in (0..35).step_by(7) {
            let [byte] = self.array()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(number).ok();
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    /// Version 1, group `g`, topic `orders`, partition 3.
    const KEY: &[u8] = b"\0\x01\0\x01g\0\x06orders\0\0\0\x03";

    /// The offset 258, and whatever follows.
    fn value(version: u8, rest: &[u8]) -> Vec<u8> {
        [&[0, version, 0, 0, 0, 0, 0, 0, 1, 2], rest].concat()
    }

    const META: &[u8] = b"\0\x02hi";
    const TIME: &[u8] = &[0, 0, 0, 0, 0, 0, 0, 9];
    const EPOCH: &[u8] = &[0, 0, 0, 7];
    const ID: [u8; 16] = [0xfb, 0xff, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

    fn v4(tags: &[u8]) -> Vec<u8> {
        value(4, &[EPOCH, b"\x03hi", TIME, tags].concat())
    }

    /// A value of each version.
    fn values() -> Vec<Vec<u8>> {
        vec![
            value(0, &[META, TIME].concat()),
            value(1, &[META, TIME, TIME].concat()),
            value(2, &[META, TIME].concat()),
            value(3, &[EPOCH, META, TIME].concat()),
            v4(&[0]),
            v4(&[&[1, 0, 16], &ID[..]].concat()),
        ]
    }

    fn committed(value: &[u8]) -> CommittedOffset {
        match decode(Some(KEY), Some(value)) {
            Decoded::Offset { group, topic, partition, committed: Committed::At(committed) } => {
                assert_eq!((group.as_str(), topic.as_str(), partition.get()), ("g", "orders", 3));
                committed
            }
            other => unreachable!("{other:?}"),
        }
    }

    fn why(key: &[u8], value: &[u8]) -> Unknown {
        match decode(Some(key), Some(value)) {
            Decoded::Unknown { why, .. } => why,
            other => unreachable!("{other:?}"),
        }
    }

    #[test]
    fn offsets_of_every_version_are_read() {
        for (number, value) in values().iter().enumerate() {
            let epoch = if number >= 3 { LeaderEpoch::new(7) } else { LeaderEpoch::UNKNOWN };
            let found = committed(value);
            assert_eq!((found.offset, found.leader_epoch), (Offset::new(258), epoch), "{number}");
            assert_eq!((found.metadata.as_str(), found.committed_at), ("hi", TimestampMs::new(9)), "{number}");
            let id = (number == 5).then(|| TopicId::new("-_8CAwQFBgcICQoLDA0ODw"));
            assert_eq!(found.topic_id, id, "{number}");
        }
        let old_key = [&[0, 0], &KEY[2..]].concat();
        assert_eq!(decode(Some(&old_key), None), decode(Some(KEY), None));
        assert!(matches!(decode(Some(KEY), None), Decoded::Offset { committed: Committed::Deleted, .. }));
    }

    #[test]
    fn tags_of_newer_coordinators_are_passed_over_and_nothing_stands_for_no_topic_id() {
        assert!(committed(&v4(&[&[2, 0, 16], &ID[..], &[9, 2, 1, 1]].concat())).topic_id.is_some());
        assert_eq!(committed(&v4(&[1, 9, 2, 1, 1])).topic_id, None);
        assert_eq!(committed(&v4(&[&[1, 0, 16], &[0; 16][..]].concat())).topic_id, None);
        let negative = value(3, &[&[0xff, 0xff, 0xff, 0xf0], META, TIME].concat());
        assert_eq!(committed(&negative).leader_epoch, LeaderEpoch::UNKNOWN);
    }

    #[test]
    fn records_of_groups_that_hold_no_offset_are_other() {
        for version in 2..=24 {
            assert_eq!(decode(Some(&[0, version, 0, 1, b'g']), Some(b"anything")), Decoded::Other, "{version}");
        }
    }

    #[test]
    fn a57_no_truncation_or_extension_is_taken_for_an_offset() {
        let good = values();
        for len in 0..KEY.len() {
            assert_eq!(why(&KEY[..len], &good[4]), Unknown::Key, "cut to {len}");
        }
        assert_eq!(why(&[KEY, b"x"].concat(), &good[4]), Unknown::Key);
        for value in &good {
            for len in 0..value.len() {
                assert_eq!(why(KEY, &value[..len]), Unknown::Value, "cut to {len}");
            }
            assert_eq!(why(KEY, &[value, &b"x"[..]].concat()), Unknown::Value);
        }
    }

    #[test]
    fn what_cannot_be_read_says_why_and_whose_it_is() {
        let good = &values()[0];
        assert_eq!(why(&[0, 25], good), Unknown::KeyVersion(25));
        assert_eq!(why(&[0xff, 0xff], good), Unknown::KeyVersion(-1));
        assert_eq!(why(KEY, &value(5, &[])), Unknown::ValueVersion(5));
        assert_eq!(why(b"\0\x01\0\x01g\0\x01/\0\0\0\x03", good), Unknown::Topic);
        assert_eq!(why(b"\0\x01\0\0\0\x01t\0\0\0\x03", good), Unknown::Key, "no group");
        assert_eq!(why(b"\0\x01\xff\xff\0\x01t\0\0\0\x03", good), Unknown::Key, "null for a group");
        assert_eq!(why(b"\0\x01\0\x01\xff\0\x01t\0\0\0\x03", good), Unknown::Key, "no text");
        assert_eq!(why(b"\0\x01\0\x01g\0\x01t\xff\xff\xff\xff", good), Unknown::Key, "partition -1");
        assert_eq!(why(KEY, &v4(&[1, 0, 3, 1, 2, 3])), Unknown::Value, "a topic id of 3 bytes");
        let negative = [&[0, 0], &[0xff; 8][..], META, TIME].concat();
        let expected = Decoded::Unknown { group: GroupId::new("g").ok(), why: Unknown::NegativeOffset(-1) };
        assert_eq!(decode(Some(KEY), Some(&negative)), expected);
        assert_eq!(decode(None, Some(good)), Decoded::Unknown { group: None, why: Unknown::NoKey });
    }

    proptest! {
        #[test]
        fn a60_no_bytes_make_decoding_panic(
            key in option::of(vec(any::<u8>(), 0..40)), value in option::of(vec(any::<u8>(), 0..80)), version in 0..6u8,
        ) {
            decode(key.as_deref(), value.as_deref());
            let value = value.map(|value| [&[0, version], &value[..]].concat());
            decode(Some(KEY), value.as_deref());
            decode(key.map(|key| [&[0, 1], &key[..]].concat()).as_deref(), value.as_deref());
        }
    }
}
