//! The only builder and parser of object keys, relative to a backup's prefix.
//!
//! ```text
//! backup.json
//! manifests/<shard>/<sequence:020>.json.zst
//! checkpoints/<shard>/<sequence:020>-<sha256:8>.json.zst
//! buckets/<date>/<hour>/<shard>-<sequence:020>-<sha256:8>.json.zst
//! snapshots/<id>.json
//! restores/<id>/plan.json, report.json
//! intake/<date>/<hour>/<shard>-<epoch>-<sequence>-<n>.parquet
//! topics/<topic>/date=<YYYY-MM-DD>/hour=<HH>/<shard>-<epoch>-<sequence>-<n>.parquet, or -r<n> where it was refined
//! base/<topic>/date=<YYYY-MM-DD>/hour=<HH>/<shard>-<epoch>-<sequence>-r<n>.parquet
//! groups/date=<YYYY-MM-DD>/hour=<HH>/<shard>-<epoch>-<sequence>-<n>.parquet
//! keys/<number:04>-<wrap:04>.json
//! probe/create-once
//! ```
//! A topic is `topic=<name>`; where the backup is encrypted, `digest=<32 hex digits>` ([`TopicDir`]).
//!
//! Every segment's name holds its writer's epoch and a sequence: that of the manifest that will name it, or, where it was
//! refined, the one that it is refined through, with a number that the writer counts on; for a base, the newest when it was
//! begun. So no two writers ever use one name, and no writer uses one twice.

mod topic_dir;

use object_store::path::Path;
use serde::{Deserialize, Serialize};

use crate::bucket::Bucket;
use crate::checksum::Sha256;
use crate::ids::{Epoch, RestoreId, Sequence, Shard, SnapshotId};
pub use topic_dir::TopicDir;

/// The key of an object below the backup's prefix, as manifests name it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectKey(String);

/// A key that this layout does not make: outside the prefix, or in no known form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not the key of an object of a backup")]
pub struct ForeignKey(String);

impl ObjectKey {
    /// The key below the prefix.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The full key in the store, below `prefix`.
    pub fn below(&self, prefix: &Path) -> Path {
        Path::from_iter(prefix.parts().chain(Path::from(self.0.as_str()).parts()))
    }

    /// What the segment of this key holds; `None` where the key is not a segment's.
    pub fn segment(&self) -> Option<SegmentPlace> {
        parse_segment(&self.0).map(|(place, _)| place)
    }

    /// The sequence in the name of a segment: that of the manifest that names it; where it was refined, the one that it is
    /// refined through; of a base, the newest when it was begun. `None` where the key is not a segment's.
    pub fn segment_sequence(&self) -> Option<Sequence> {
        parse_segment(&self.0).map(|(_, sequence)| sequence)
    }
}

impl std::fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<ObjectKey> for String {
    fn from(key: ObjectKey) -> Self {
        key.0
    }
}

impl TryFrom<String> for ObjectKey {
    type Error = ForeignKey;

    /// Accepts the keys of segments, checkpoints and bucket manifests, which stored documents may name: nothing that climbs
    /// out of the prefix.
    fn try_from(key: String) -> Result<Self, ForeignKey> {
        let derived = || checkpoint_sequence(&key).or_else(|| bucket_manifest_sequence(&key));
        if parse_segment(&key).is_some() || derived().is_some() { Ok(Self(key)) } else { Err(ForeignKey(key)) }
    }
}

/// Where a segment is filed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SegmentPlace {
    /// Many topics, under the hour it was cut in.
    Intake(Bucket),
    /// One topic, under the bucket of its records.
    Topic(TopicDir, Bucket),
    /// Of the old records of one compacted topic the newest of each key, under the last bucket that they come from.
    Base(TopicDir, Bucket),
    /// Offsets of consumer groups, under the hour they were cut in.
    Groups(Bucket),
}

/// The key of the identity document.
pub fn identity() -> ObjectKey {
    ObjectKey("backup.json".to_owned())
}

/// The folder of a shard's manifests.
pub fn manifests(shard: Shard) -> ObjectKey {
    ObjectKey(format!("manifests/{shard}"))
}

/// The key of one manifest.
pub fn manifest(shard: Shard, sequence: Sequence) -> ObjectKey {
    ObjectKey(format!("manifests/{shard}/{:020}.json.zst", sequence.get()))
}

/// The folder of a shard's checkpoints.
pub fn checkpoints(shard: Shard) -> ObjectKey {
    ObjectKey(format!("checkpoints/{shard}"))
}

/// The key of a checkpoint whose stored bytes have `digest`.
pub fn checkpoint(shard: Shard, sequence: Sequence, digest: &Sha256) -> ObjectKey {
    ObjectKey(format!("checkpoints/{shard}/{:020}-{}.json.zst", sequence.get(), digest.short()))
}

/// The folder of what was not refined yet.
pub fn intake() -> ObjectKey {
    ObjectKey("intake".to_owned())
}

/// The folder of the segments of one topic each.
pub fn topics() -> ObjectKey {
    ObjectKey("topics".to_owned())
}

/// The folder of what is kept of the old records of compacted topics.
pub fn base() -> ObjectKey {
    ObjectKey("base".to_owned())
}

/// The folder of the offsets of consumer groups.
pub fn groups() -> ObjectKey {
    ObjectKey("groups".to_owned())
}

/// The folder of the bucket manifests.
pub fn buckets() -> ObjectKey {
    ObjectKey("buckets".to_owned())
}

/// The key of a bucket manifest whose stored bytes have `digest`.
pub fn bucket_manifest(bucket: Bucket, shard: Shard, through: Sequence, digest: &Sha256) -> ObjectKey {
    let (date, hour, through, digest) = (bucket.date(), bucket.hour(), through.get(), digest.short());
    ObjectKey(format!("buckets/{date}/{hour}/{shard}-{through:020}-{digest}.json.zst"))
}

/// The manifest after which the segments were live that the bucket manifest of this key lists.
pub fn bucket_manifest_sequence(key: &str) -> Option<Sequence> {
    let ["buckets", date, hour, name] = key.split('/').collect::<Vec<_>>()[..] else { return None };
    Bucket::parse(date, hour)?;
    let (shard, name) = name.split_once('-')?;
    derived_sequence(shard, name)
}

/// The folder of the snapshots.
pub fn snapshots() -> ObjectKey {
    ObjectKey("snapshots".to_owned())
}

/// The key of a snapshot.
pub fn snapshot(id: &SnapshotId) -> ObjectKey {
    ObjectKey(format!("snapshots/{id}.json"))
}

/// The snapshot a key stands for.
pub fn snapshot_id(key: &str) -> Option<SnapshotId> {
    SnapshotId::new(key.strip_prefix("snapshots/")?.strip_suffix(".json")?).ok()
}

/// The folder of what restores keep.
pub fn restores() -> ObjectKey {
    ObjectKey("restores".to_owned())
}

/// The key of a restore's plan.
pub fn restore_plan(id: &RestoreId) -> ObjectKey {
    ObjectKey(format!("restores/{id}/plan.json"))
}

/// The key of a restore's report.
pub fn restore_report(id: &RestoreId) -> ObjectKey {
    ObjectKey(format!("restores/{id}/report.json"))
}

/// The folder of the wrapped backup keys.
pub fn key_wraps() -> ObjectKey {
    ObjectKey("keys".to_owned())
}

/// The key of one wrap of a backup key.
pub fn key_wrap(number: u32, wrap: u32) -> ObjectKey {
    ObjectKey(format!("keys/{number:04}-{wrap:04}.json"))
}

/// The backup key and which of its wraps a key stands for.
pub fn key_wrap_number(key: &str) -> Option<(u32, u32)> {
    let (number, wrap) = key.strip_prefix("keys/")?.strip_suffix(".json")?.split_once('-')?;
    let (number, wrap) = (number.parse().ok()?, wrap.parse().ok()?);
    (key_wrap(number, wrap).as_str() == key).then_some((number, wrap))
}

/// The key of the object that shows that the store refuses to overwrite.
pub fn probe() -> ObjectKey {
    ObjectKey("probe/create-once".to_owned())
}

/// The key of what lies at a place in the store, below `prefix`; `None` where it does not lie there.
pub fn key_at<'a>(location: &'a Path, prefix: &Path) -> Option<&'a str> {
    Some(location.as_ref().strip_prefix(prefix.as_ref())?.trim_start_matches('/'))
}

/// Whether a key has the form of one of this layout. What lies under any other is somebody else's.
pub fn is_known(key: &str) -> bool {
    match key.split('/').collect::<Vec<_>>()[..] {
        ["manifests", shard, name] => {
            let is_shard = shard.len() == 4 && shard.bytes().all(|b| b.is_ascii_digit());
            is_shard && manifest_sequence(name).is_some()
        }
        ["restores", id, "plan.json" | "report.json"] => RestoreId::new(id).is_ok(),
        _ => {
            let documents = [identity(), probe()];
            documents.iter().any(|known| known.as_str() == key)
                || snapshot_id(key).is_some()
                || key_wrap_number(key).is_some()
                || ObjectKey::try_from(key.to_owned()).is_ok()
        }
    }
}

/// The sequence a manifest key (with or without a prefix before it) stands for.
pub fn manifest_sequence(key: &str) -> Option<Sequence> {
    sequence_number(key.rsplit('/').next()?.strip_suffix(".json.zst")?)
}

/// The sequence a checkpoint key stands for.
pub fn checkpoint_sequence(key: &str) -> Option<Sequence> {
    let rest = key.strip_prefix("checkpoints/")?;
    let (shard, name) = rest.split_once('/')?;
    derived_sequence(shard, name)
}

/// The sequence in the name of a document whose digest is in it too.
fn derived_sequence(shard: &str, name: &str) -> Option<Sequence> {
    let (sequence, digest) = name.strip_suffix(".json.zst")?.split_once('-')?;
    let digits = |text: &str, len: usize| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
    (digits(shard, 4) && digits(digest, 8)).then(|| sequence_number(sequence)).flatten()
}

fn sequence_number(digits: &str) -> Option<Sequence> {
    let legal = digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit());
    legal.then(|| digits.parse().ok().map(Sequence::new)).flatten()
}

/// How a segment came to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Of records as they arrived.
    Cut,
    /// Of other segments, whose place it takes.
    Refined,
}

/// What makes a segment's name unique: who writes it, and when in the writer's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentName {
    /// The writer's shard.
    pub shard: Shard,
    /// The writer's epoch.
    pub epoch: Epoch,
    /// The manifest that will name it, or through which it is refined; of a base, the newest when it was begun.
    pub sequence: Sequence,
    /// Its number among the segments of that manifest, or among all that the writer has made of others.
    pub number: usize,
    /// How it came to be.
    pub origin: Origin,
}

/// The key of a segment.
pub fn segment(place: &SegmentPlace, name: SegmentName) -> ObjectKey {
    let SegmentName { shard, epoch, sequence, number, origin } = name;
    let mark = if origin == Origin::Refined { "r" } else { "" };
    let file = format!("{shard}-{:010}-{:020}-{mark}{number:04}.parquet", epoch.get(), sequence.get());
    ObjectKey(match place {
        SegmentPlace::Intake(bucket) => format!("intake/{}/{}/{file}", bucket.date(), bucket.hour()),
        SegmentPlace::Topic(topic, bucket) => {
            format!("topics/{topic}/date={}/hour={}/{file}", bucket.date(), bucket.hour())
        }
        SegmentPlace::Base(topic, bucket) => {
            format!("base/{topic}/date={}/hour={}/{file}", bucket.date(), bucket.hour())
        }
        SegmentPlace::Groups(bucket) => format!("groups/date={}/hour={}/{file}", bucket.date(), bucket.hour()),
    })
}

fn parse_segment(key: &str) -> Option<(SegmentPlace, Sequence)> {
    let parts: Vec<&str> = key.split('/').collect();
    let named = |date: &str, hour: &str| Bucket::parse(date.strip_prefix("date=")?, hour.strip_prefix("hour=")?);
    let (place, file) = match parts.as_slice() {
        ["intake", date, hour, file] => (SegmentPlace::Intake(Bucket::parse(date, hour)?), file),
        [folder @ ("topics" | "base"), topic, date, hour, file] => {
            let topic = TopicDir::parse(topic)?;
            let place = if *folder == "base" { SegmentPlace::Base } else { SegmentPlace::Topic };
            (place(topic, named(date, hour)?), file)
        }
        ["groups", date, hour, file] => (SegmentPlace::Groups(named(date, hour)?), file),
        _ => return None,
    };
    let mut numbers: Vec<&str> = file.strip_suffix(".parquet")?.split('-').collect();
    if let (SegmentPlace::Topic(..) | SegmentPlace::Base(..), Some(number)) = (&place, numbers.last_mut()) {
        *number = number.strip_prefix('r').unwrap_or(number);
    }
    let lengths = numbers.iter().map(|n| n.len()).collect::<Vec<_>>();
    let digits = numbers.iter().all(|n| n.bytes().all(|b| b.is_ascii_digit()));
    let legal = digits && lengths.starts_with(&[4, 10, 20]) && lengths.len() == 4 && lengths[3] >= 4;
    Some((place, sequence_number(numbers.get(2)?)?)).filter(|_| legal)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::{TimestampMs, TopicDigest, TopicName};

    fn name(number: usize) -> SegmentName {
        SegmentName {
            shard: Shard::ONLY,
            epoch: Epoch::new(3),
            sequence: Sequence::new(42),
            number,
            origin: Origin::Cut,
        }
    }

    #[test]
    fn keys_read_as_documented() {
        let bucket = Bucket::of(TimestampMs::new(1_770_966_000_123));
        let topic = TopicDir::from(TopicName::new("orders").expect("topic"));
        assert_eq!(manifest(Shard::ONLY, Sequence::new(7)).as_str(), "manifests/0000/00000000000000000007.json.zst");
        assert_eq!(
            segment(&SegmentPlace::Topic(topic, bucket), name(1)).as_str(),
            "topics/topic=orders/date=2026-02-13/hour=07/0000-0000000003-00000000000000000042-0001.parquet"
        );
        let digest = TopicDir::Digest(TopicDigest::new([0xab; 16]));
        assert_eq!(
            segment(&SegmentPlace::Base(digest, bucket), SegmentName { origin: Origin::Refined, ..name(1) }).as_str(),
            "base/digest=abababababababababababababababab/date=2026-02-13/hour=07/\
             0000-0000000003-00000000000000000042-r0001.parquet"
        );
        assert_eq!(
            segment(&SegmentPlace::Intake(bucket), name(0)).as_str(),
            "intake/2026-02-13/07/0000-0000000003-00000000000000000042-0000.parquet"
        );
        assert_eq!(
            segment(&SegmentPlace::Groups(bucket), name(0)).as_str(),
            "groups/date=2026-02-13/hour=07/0000-0000000003-00000000000000000042-0000.parquet"
        );
        let digest = Sha256::of(b"abc");
        let key = checkpoint(Shard::ONLY, Sequence::new(7), &digest);
        assert_eq!(key.as_str(), "checkpoints/0000/00000000000000000007-ba7816bf.json.zst");
        assert_eq!(checkpoint_sequence(key.as_str()), Some(Sequence::new(7)));
        let id = SnapshotId::new("backup-20260213-020000").expect("legal");
        assert_eq!(snapshot(&id).as_str(), "snapshots/backup-20260213-020000.json");
        assert_eq!(snapshot_id(snapshot(&id).as_str()), Some(id));
        for foreign in ["snapshots/.json", "snapshots/a/b.json", "snapshots/a", "manifests/a.json"] {
            assert_eq!(snapshot_id(foreign), None, "{foreign}");
        }
        assert_eq!(key_wrap(1, 20).as_str(), "keys/0001-0020.json");
        for (number, wrap) in [(0, 0), (1, 20), (9999, 12_345), (u32::MAX, u32::MAX)] {
            assert_eq!(key_wrap_number(key_wrap(number, wrap).as_str()), Some((number, wrap)));
        }
        for foreign in
            ["keys/1-0020.json", "keys/00001-0020.json", "keys/+001-0020.json", "keys/0001.json", "x/0001-0020.json"]
        {
            assert_eq!(key_wrap_number(foreign), None, "{foreign}");
        }
        assert_eq!(manifest_sequence("p/manifests/0000/00000000000000000007.json.zst"), Some(Sequence::new(7)));
    }

    #[test]
    fn every_key_of_this_layout_is_known_and_no_other() {
        let bucket = Bucket::of(TimestampMs::new(1_770_966_000_123));
        let digest = Sha256::of(b"abc");
        let (snapshot_id, restore_id) = (SnapshotId::new("daily").expect("legal"), RestoreId::new("r").expect("legal"));
        let topic = SegmentPlace::Topic(TopicName::new("orders").expect("topic").into(), bucket);
        let hidden = SegmentPlace::Topic(TopicDir::Digest(TopicDigest::new([7; 16])), bucket);
        for key in [
            identity(),
            probe(),
            manifest(Shard::ONLY, Sequence::new(7)),
            checkpoint(Shard::ONLY, Sequence::new(7), &digest),
            bucket_manifest(bucket, Shard::ONLY, Sequence::new(7), &digest),
            snapshot(&snapshot_id),
            restore_plan(&restore_id),
            restore_report(&restore_id),
            key_wrap(0, 1),
            segment(&topic, SegmentName { origin: Origin::Refined, ..name(3) }),
            segment(&hidden, name(3)),
            segment(&SegmentPlace::Intake(bucket), name(0)),
            segment(&SegmentPlace::Groups(bucket), name(0)),
        ] {
            assert!(is_known(key.as_str()), "{key}");
        }
        for key in [
            "",
            "notes.txt",
            "old/backup.json",
            "manifests/0000/7.json.zst",
            "manifests/a/00000000000000000007.json.zst",
            "manifests/0000/x/00000000000000000007.json.zst",
            "restores/r/notes.txt",
            "topics/topic=orders/notes.txt",
            "probe/other",
            "keys/notes.txt",
            "keys/0000-0.json",
        ] {
            assert!(!is_known(key), "{key}");
        }
    }

    #[test]
    fn a60_keys_that_climb_out_are_foreign() {
        for key in [
            "../x",
            "topics/topic=../date=2026-02-13/hour=07/0000-0000000003-00000000000000000042-0001.parquet",
            "topics/topic=a%2f/date=2026-02-13/hour=07/0000-0000000003-00000000000000000042-0001.parquet",
            "topics/digest=../date=2026-02-13/hour=07/0000-0000000003-00000000000000000042-0001.parquet",
            "topics/orders/date=2026-02-13/hour=07/0000-0000000003-00000000000000000042-0001.parquet",
            "intake/2026-02-13/07/../../../etc/passwd",
            "keys/0000-0000.json",
            "intake/2026-02-13/99/0000-0000000003-00000000000000000042-0000.parquet",
            "/etc/passwd",
            "backup.json",
        ] {
            assert!(ObjectKey::try_from(key.to_owned()).is_err(), "{key}");
        }
    }

    proptest! {
        #[test]
        fn a53_segment_keys_parse_back(
            topic in "[a-zA-Z0-9._-]{1,249}", millis in 0..253_402_300_799_999i64, number in 0..100_000usize,
            digest in any::<[u8; 16]>(),
        ) {
            prop_assume!(topic != "." && topic != "..");
            let topic = TopicDir::from(TopicName::new(topic).expect("legal"));
            let bucket = Bucket::of(TimestampMs::new(millis));
            let of_topic = [topic, TopicDir::Digest(TopicDigest::new(digest))].into_iter().flat_map(|topic| {
                [SegmentPlace::Topic(topic.clone(), bucket), SegmentPlace::Base(topic, bucket)]
            });
            for place in of_topic.chain([SegmentPlace::Intake(bucket), SegmentPlace::Groups(bucket)]) {
                let key = segment(&place, name(number));
                prop_assert_eq!(key.segment(), Some(place));
                prop_assert_eq!(key.segment_sequence(), Some(Sequence::new(42)));
                prop_assert_eq!(ObjectKey::try_from(key.as_str().to_owned()), Ok(key));
            }
        }
    }
}
