//! The stored documents of each version, as bytes: read for ever, and still written to the letter.
//!
//! They are one backup: the manifest, number 3, follows on [`before`] and folds into the state of the checkpoint, which is
//! that of the snapshot. Sealing the hour that is over then writes the bucket manifest.

mod state;
mod upkeep;

use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStoreExt as _;

use super::super::*;
use crate::checkpoint::{Block, Checkpoint};
use crate::crypt::{KeyRing, MasterKeyId};
use crate::document::{self, FORMAT_VERSION, Kind};
use crate::identity::Identity;
use crate::ids::{ClusterId, SnapshotId};
use crate::layout::{self, Origin, SegmentName, SegmentPlace};
use crate::sample::{at, behind, counting_key, gap, golden, hole, key, range, run, segment, topic};
use crate::seal::{self, BucketManifest, Order, Sealed, SealedBucket};
use crate::snapshot::{Keep, Label, Snapshot};
use crate::store::{self, Store};
use state::{after, before};
use upkeep::{base, bucket_manifest, refined, replacing, retiring, sealed};

const IDENTITY: &str = "identity-v1.json";
const MANIFEST: &str = "manifest-v1.json.zst";
const CHECKPOINT: &str = "checkpoint-v1.json.zst";
const BUCKET_MANIFEST: &str = "bucket-manifest-v1.json.zst";
const SNAPSHOT: &str = "snapshot-v1.json";
const SEALED_IDENTITY: &str = "sealed-identity-v1.json";
const SEALED_MANIFEST: &str = "sealed-manifest-v1.json.zst";

fn backup() -> BackupId {
    "0a3f048d-e48e-42b8-9c7b-3e654a060dde".parse().expect("a UUID")
}

fn identity() -> Identity {
    Identity {
        format_version: 1,
        kind: Kind::Identity,
        backup: backup(),
        name: "orders-dr".to_owned(),
        cluster: ClusterId::new("Srl66qMmTGyPgAmP2t4qYA"),
        created_at: at(-10),
        encryption: None,
    }
}

/// That of an encrypted backup, which was begun under the master key of the example in docs/format.md.
fn sealed_identity() -> Identity {
    identity().with_encryption(MasterKeyId::of_file(&counting_key(0x40)).expect("an id"))
}

fn last(offset: i64, leader_epoch: i32) -> Option<LastRecord> {
    Some(LastRecord { offset: Offset::new(offset), leader_epoch: LeaderEpoch::new(leader_epoch) })
}

fn moved(
    key: &PartitionKey,
    next: i64,
    last_record: Option<LastRecord>,
    highest: Option<TimestampMs>,
) -> PartitionPosition {
    let PartitionKey { topic, lineage, partition } = key.clone();
    let (next_offset, highest_timestamp) = (Offset::new(next), highest);
    PartitionPosition { topic, lineage, partition, next_offset, last_record, highest_timestamp, filed: None }
}

fn described(partitions: u32, config: &[(&str, &str)]) -> TopicDescription {
    let map = |of: &[(&str, &str)]| of.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let inherited: &[(&str, &str)] = if config.is_empty() { &[("retention.ms", "604800000")] } else { &[] };
    let (config, inherited) = (map(config), map(inherited));
    TopicDescription { partitions, replication_factor: 3, config, inherited }
}

fn happened(name: &str, lineage: i32, kind: TopicEventKind, id: &str) -> TopicEvent {
    TopicEvent {
        topic: topic(name),
        lineage: Lineage::new(lineage),
        event: kind,
        topic_id: TopicId::new(id),
        partition: None,
        description: None,
    }
}

fn place(number: usize) -> SegmentName {
    SegmentName { shard: Shard::ONLY, epoch: Epoch::new(2), sequence: Sequence::new(3), number, origin: Origin::Cut }
}

fn intake() -> Segment {
    let run = |key: PartitionKey, offsets, first_row, rows| Run {
        topic: key.topic,
        lineage: key.lineage,
        partition: key.partition,
        range: range(offsets),
        row_group: 0,
        first_row,
        rows,
        largest_record: 1_048_645,
        min_timestamp: at(100),
        max_timestamp: at(101),
        leader_epoch: LeaderEpoch::new(4),
        bucket: Bucket::of(at(0)),
    };
    let mut absurd = run(key("orders", 0, 0), 100..110, 3, 4);
    (absurd.min_timestamp, absurd.max_timestamp) = (TimestampMs::new(i64::MIN), TimestampMs::new(i64::MAX));
    absurd.leader_epoch = LeaderEpoch::UNKNOWN;
    Segment {
        object: layout::segment(&SegmentPlace::Intake(Bucket::of(at(0))), place(0)),
        bytes: 6457,
        sha256: Sha256::of(b"the intake segment"),
        footer_bytes: 1998,
        footer_sha256: Sha256::of(b"the intake segment's footer"),
        rows: 7,
        raw_bytes: 16_822,
        runs: vec![run(key("customers", 1, 0), 0..3, 0, 3), absurd],
    }
}

fn filed() -> Segment {
    let bucket = Bucket::of(at(3600));
    Segment {
        object: layout::segment(&SegmentPlace::Topic(topic("payments").into(), bucket), place(1)),
        bytes: 9_000_000,
        sha256: Sha256::of(b"the topic segment"),
        footer_bytes: 2345,
        footer_sha256: Sha256::of(b"the topic segment's footer"),
        rows: 5,
        raw_bytes: 30_000_000,
        runs: vec![Run {
            topic: topic("payments"),
            lineage: Lineage::FIRST,
            partition: PartitionId::new(0),
            range: range(0..5),
            row_group: 1,
            first_row: 0,
            rows: 5,
            largest_record: 9_000_071,
            min_timestamp: at(-5),
            max_timestamp: at(3601),
            leader_epoch: LeaderEpoch::new(0),
            bucket,
        }],
    }
}

fn groups() -> Segment {
    let bucket = Bucket::of(at(120));
    Segment {
        object: layout::segment(&SegmentPlace::Groups(bucket), place(2)),
        bytes: 3210,
        sha256: Sha256::of(b"the offsets of groups"),
        footer_bytes: 987,
        footer_sha256: Sha256::of(b"the offsets of groups' footer"),
        rows: 2,
        raw_bytes: 60,
        runs: vec![Run { bucket, ..run(&key("__consumer_offsets", 0, 7), 20..30, 2) }],
    }
}

fn image() -> GroupImage {
    GroupImage {
        object: layout::segment(&SegmentPlace::Groups(Bucket::of(at(120))), place(3)),
        bytes: 4321,
        sha256: Sha256::of(b"the image of groups"),
        rows: 12,
        newest: Some(at(84)),
        unreadable: 2,
    }
}

fn events() -> Vec<TopicEvent> {
    let added = described(1, &[("cleanup.policy", "compact"), ("retention.ms", "-1")]);
    vec![
        TopicEvent { description: Some(added), ..happened("payments", 0, TopicEventKind::Added, "pay-1") },
        TopicEvent { description: Some(described(3, &[])), ..happened("orders", 0, TopicEventKind::Changed, "ord-1") },
        TopicEvent {
            partition: Some(PartitionId::new(1)),
            ..happened("orders", 1, TopicEventKind::Truncated, "ord-1")
        },
        happened("customers", 0, TopicEventKind::Deleted, "cus-1"),
        TopicEvent {
            description: Some(described(1, &[])),
            ..happened("customers", 1, TopicEventKind::Recreated, "cus-2")
        },
        happened("private", 0, TopicEventKind::Excluded, "pri-1"),
        happened("audit", 0, TopicEventKind::Included, "aud-1"),
    ]
}

fn frontier() -> Frontier {
    Frontier {
        until: Some(at(119)),
        behind: vec![
            behind(&key("orders", 1, 1), None, BehindReason::Backlog),
            behind(&key("payments", 0, 0), Some(at(90)), BehindReason::OpenTransaction),
            behind(&key("audit", 0, 0), Some(at(80)), BehindReason::Unreachable),
            behind(&key("orders", 0, 0), Some(at(70)), BehindReason::Corrupt),
            behind(&key("__consumer_offsets", 0, 7), Some(at(85)), BehindReason::Backlog),
        ],
        groups: Some(GroupStanding::Followed),
    }
}

/// Every field, optional ones with and without; every reason and every event.
fn manifest() -> Manifest {
    Manifest {
        format_version: 1,
        kind: Kind::Manifest,
        backup: backup(),
        shard: Shard::ONLY,
        sequence: Sequence::new(3),
        epoch: Epoch::new(2),
        nonce: Nonce::new(uuid::uuid!("ade008fa-6211-49e4-8d55-8b11949257a1")),
        previous: Sha256::of(b"manifest 2"),
        observed_at: at(120),
        claim: Some(Claim { writer: "orders-dr-7f9c".to_owned(), software: "0.1.0".to_owned() }),
        segments: vec![intake(), filed(), groups()],
        group_image: Some(image()),
        gaps: gaps(),
        holes: vec![hole(&key("orders", 0, 0), 110..112)],
        topics: events(),
        positions: vec![
            moved(&key("__consumer_offsets", 0, 7), 30, last(29, 1), Some(at(84))),
            moved(&key("audit", 0, 0), 9, None, None),
            moved(&key("customers", 0, 0), 52, last(49, 3), Some(at(50))),
            moved(&key("customers", 1, 0), 3, last(2, 4), Some(at(101))),
            moved(&key("orders", 0, 0), 112, last(108, -1), Some(TimestampMs::new(i64::MAX))),
            moved(&key("payments", 0, 0), 5, last(4, 0), Some(at(3601))),
        ],
        refined: Some(replacing()),
        retired: Some(retiring()),
        frontier: frontier(),
    }
}

fn gaps() -> Vec<Gap> {
    vec![
        Gap { after: Some(at(80)), ..gap(&key("orders", 0, 0), 90..95, GapReason::RetentionOverrun) },
        gap(&key("orders", 0, 0), 95..100, GapReason::DeletedByUser),
        gap(&key("audit", 0, 0), 5..9, GapReason::Excluded),
        gap(&key("customers", 0, 0), 50..52, GapReason::TopicDeleted),
    ]
}

fn checkpoint() -> Checkpoint {
    let block = |to: u64, content: &[u8]| {
        let (to, sha256) = (Sequence::new(to), Sha256::of(content));
        let object = layout::checkpoint(Shard::ONLY, to, &sha256);
        Block {
            object,
            sha256,
            from: to,
            to,
            segments: 0,
            bytes: 0,
            intake_bytes: 0,
            min_timestamp: None,
            max_timestamp: None,
        }
    };
    let (min_timestamp, max_timestamp) = (Some(at(0)), Some(at(89)));
    let second = Block { segments: 3, bytes: 4000, min_timestamp, max_timestamp, ..block(2, b"checkpoint 2") };
    Checkpoint {
        format_version: 1,
        kind: Kind::Checkpoint,
        state: after(),
        sealed: Some(sealed()),
        blocks: vec![block(1, b"checkpoint 1"), second],
        segments: vec![intake(), filed(), groups(), refined(), base()],
    }
}

fn snapshot() -> Snapshot {
    let id = SnapshotId::new("backup-20260213-070100").expect("legal");
    let nonce = Nonce::new(uuid::uuid!("5c3e2f0a-9d1b-4a57-8d43-0e1f6a7b8c9d"));
    Snapshot::of(&after(), Label { id, nonce, asked_at: at(60), keep: Some(Keep::Forever) }).expect("a head")
}

fn json(stored: &Bytes) -> String {
    let json = zstd::stream::decode_all(stored.as_ref()).expect("any zstd tool reads it");
    String::from_utf8(json).expect("text")
}

fn written<T: document::Document>(document: &T) -> String {
    String::from_utf8(document::to_json(document).expect("json")).expect("text")
}

/// What release 0.1.0 wrote must be read for ever. Files are added here, never changed.
#[test]
fn a12_golden_documents_of_all_versions_are_read_to_their_values() {
    assert_eq!(document::from_json::<Identity>(&golden::read(IDENTITY)).expect("read"), identity());
    assert_eq!(document::from_json::<Identity>(&golden::read(SEALED_IDENTITY)).expect("read"), sealed_identity());
    assert_eq!(document::unpack::<Manifest>(&golden::read(MANIFEST)).expect("read"), manifest());
    assert_eq!(document::unpack::<Checkpoint>(&golden::read(CHECKPOINT)).expect("read"), checkpoint());
    assert_eq!(document::unpack::<BucketManifest>(&golden::read(BUCKET_MANIFEST)).expect("read"), bucket_manifest());
    assert_eq!(document::unseal::<Snapshot>(&golden::read(SNAPSHOT)).expect("read"), snapshot());
}

/// An older release of the same version refuses a field that it does not know, so none may appear, move or vanish.
#[test]
fn a12_documents_of_the_present_version_are_written_to_the_letter_as_the_golden_ones() {
    assert_eq!(FORMAT_VERSION, 1, "a new version: add its golden files, and keep reading these");
    assert_eq!(written(&identity()).as_bytes(), golden::read(IDENTITY));
    assert_eq!(written(&sealed_identity()).as_bytes(), golden::read(SEALED_IDENTITY));
    assert_eq!(written(&manifest()), json(&golden::read(MANIFEST)));
    assert_eq!(written(&checkpoint()), json(&golden::read(CHECKPOINT)));
    assert_eq!(written(&bucket_manifest()), json(&golden::read(BUCKET_MANIFEST)));
    assert_eq!(document::seal(&snapshot()).expect("sealed"), golden::read(SNAPSHOT));
    let packed = document::pack(&manifest()).expect("packed");
    assert_eq!(document::unpack::<Manifest>(&packed).expect("unpacked"), manifest());
}

#[test]
fn the_golden_manifest_folds_into_the_state_of_the_golden_checkpoint() {
    let stored = golden::read(MANIFEST);
    let mut state = before();
    state.fold(&document::unpack(&stored).expect("read"), Sha256::of(&stored)).expect("legal");
    assert_eq!(state, document::unpack::<Checkpoint>(&golden::read(CHECKPOINT)).expect("read").state);
}

#[tokio::test]
async fn a_reader_believes_the_golden_checkpoint_by_the_golden_manifest() {
    let store = Store::memory();
    let digest = Sha256::of(&golden::read(CHECKPOINT));
    for (key, name) in [
        (layout::identity(), IDENTITY),
        (layout::manifest(Shard::ONLY, Sequence::new(3)), MANIFEST),
        (layout::checkpoint(Shard::ONLY, Sequence::new(3), &digest), CHECKPOINT),
    ] {
        store.inner.put(&key.below(&store.prefix), golden::read(name).into()).await.expect("put");
    }
    let log = reader::open(&store, Shard::ONLY).await.expect("readable").expect("a backup");
    assert_eq!((log.identity, log.state, log.ignored), (identity(), after(), Vec::new()));
    assert_eq!(
        (&log.blocks[..2], &*log.block_segments),
        (&checkpoint().blocks[..], &vec![intake(), filed(), groups(), refined(), base()])
    );
}

/// Intake stays, what is filed under a later hour too; all else that the checkpoint lists is live, and of the hour that is over.
#[tokio::test]
async fn a12_sealing_what_the_golden_checkpoint_lists_writes_the_golden_bucket_manifest_to_the_letter() {
    let store = Store::memory();
    let (stored, number) = (golden::read(CHECKPOINT), Sequence::new(3));
    let digest = Sha256::of(&stored);
    let object = layout::checkpoint(Shard::ONLY, number, &digest);
    store.inner.put(&object.below(&store.prefix), stored.into()).await.expect("put");
    let block = Block::new(object, digest, number, number, &checkpoint().segments);
    let order = Order::new(store.clone(), after(), None, &[block], Bucket::of(at(3600))).expect("an hour that is over");
    let done = seal::seal(order).await.expect("sealed");
    let bucket = &done.sealed.buckets[0];
    assert_eq!((done.sealed.buckets.len(), bucket.segments, bucket.groups), (1, 3, Some((number, number))));
    assert_eq!(done.left.iter().map(|block| block.segments).collect::<Vec<_>>(), [2]);
    let written =
        store.inner.get(&bucket.object.below(&store.prefix)).await.expect("there").bytes().await.expect("bytes");
    assert_eq!(json(&written), json(&golden::read(BUCKET_MANIFEST)));
}

/// The golden manifest as it lies in an encrypted backup. Another implementation (Python's `cryptography`) sealed it, by the backup keys of
/// the example in docs/format.md; the nonce is 00 to 0b. It is read for ever, and none that is sealed here is like it.
#[tokio::test]
async fn a12_the_golden_sealed_manifest_is_opened_at_its_place_alone() {
    let keys = [(0, counting_key(0)), (1, counting_key(0x20))];
    let ring = Arc::new(KeyRing::new(backup(), keys.into()).expect("keys"));
    let below = Store::memory();
    let above = store::sealed(&below, Arc::clone(&ring));
    let [place, other] = [3, 4].map(|number| layout::manifest(Shard::ONLY, Sequence::new(number)));
    for key in [&place, &other] {
        below.inner.put(&key.below(&below.prefix), golden::read(SEALED_MANIFEST).into()).await.expect("put");
    }
    let opened = async |key: &ObjectKey| above.inner.get(&key.below(&above.prefix)).await?.bytes().await;
    let stored = opened(&place).await.expect("bytes");
    assert_eq!(stored, golden::read(MANIFEST));
    assert_eq!(document::unpack::<Manifest>(&stored).expect("read"), manifest());
    let error =
        document::unpack::<Manifest>(&opened(&other).await.expect("bytes")).expect_err("sealed for another place");
    assert!(error.to_string().contains("its seal does not open"), "{error}");
    let anew = ring.seal_document(place.as_str(), &stored).expect("sealed");
    assert_eq!((anew.len(), &anew[..8]), (golden::read(SEALED_MANIFEST).len(), &golden::read(SEALED_MANIFEST)[..8]));
    assert_ne!(anew, golden::read(SEALED_MANIFEST), "its nonce is drawn");
}

#[test]
#[ignore = "writes the golden files of a new version, once"]
fn write_golden_documents() {
    golden::create(IDENTITY, &document::to_json(&identity()).expect("json"));
    golden::create(SEALED_IDENTITY, &document::to_json(&sealed_identity()).expect("json"));
    golden::create(MANIFEST, &document::pack(&manifest()).expect("packed"));
    golden::create(CHECKPOINT, &document::pack(&checkpoint()).expect("packed"));
    golden::create(BUCKET_MANIFEST, &document::pack(&bucket_manifest()).expect("packed"));
    golden::create(SNAPSHOT, &document::seal(&snapshot()).expect("sealed"));
}
