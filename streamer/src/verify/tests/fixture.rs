//! A small backup with some of everything, written by the writer's own code.
//!
//! | manifest | adds |
//! | --- | --- |
//! | 1 | the claim |
//! | 2 | two topics; an intake segment: `orders-0` [0, 20), `orders-1` [0, 10), `shipments-0` [100, 130) |
//! | 3 | a topic segment of two row groups: `orders-0` [20, 60); a gap in `orders-1`; a hole in `shipments-0`; a checkpoint |
//! | 4 | an intake segment: `orders-1` [15, 25), `shipments-0` [132, 140) |
//! | 5 | a heartbeat; a checkpoint |
//! | 6 | a topic segment: `shipments-0` [140, 150) |

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use serde::{Deserialize, Serialize};
use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::crypt::FileSeal;
use strimzi_backup_format::document;
use strimzi_backup_format::identity::Identity;
use strimzi_backup_format::ids::{
    BackupId, ClusterId, LeaderEpoch, Nonce, Offset, PartitionKey, Sequence, Shard, SnapshotId, TimestampMs, TopicId,
    TopicName,
};
use strimzi_backup_format::job::Anchor;
use strimzi_backup_format::layout::{self, ObjectKey, Origin, SegmentName, SegmentPlace};
use strimzi_backup_format::manifest::log::{self, Draft, LogWriter};
use strimzi_backup_format::manifest::reader;
use strimzi_backup_format::manifest::{
    Claim, Frontier, Gap, GapReason, Hole, LastRecord, Manifest, PartitionPosition, Segment, TopicDescription,
    TopicEvent, TopicEventKind,
};
use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::record::{HeaderRef, RecordRef, TimestampType};
use strimzi_backup_format::sample;
use strimzi_backup_format::segment::batch::BatchBuilder;
use strimzi_backup_format::segment::encode::{
    Codec, EncodeOptions, EncodedSegment, RunInput, SegmentWriter, encode_row_group,
};
use strimzi_backup_format::snapshot::{Label, Snapshot, catalog};
use strimzi_backup_format::store::{self, Store};

use super::key;
use crate::keys::sealed_by;
use crate::keys::tests::{TestKeys, found};

/// 2026-02-13T07:00:00Z; the record at offset n of a partition is n seconds later.
pub(super) const START: i64 = 1_770_966_000_000;

/// Whether a backup is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sealing {
    /// In the clear.
    Open,
    /// By backup key 0, whose bytes are always the same.
    Key,
}

impl Sealing {
    /// What lies in `below`, as who has the keys of that backup sees it.
    pub(super) fn over(self, below: &Store, backup: BackupId) -> Store {
        match self {
            Self::Open => below.clone(),
            Self::Key => store::sealed(below, sample::ring(backup)),
        }
    }
}

pub(super) struct Backup {
    pub(super) store: Store,
    /// What lies below a seal; where there is none, the same.
    below: Store,
    pub(super) id: BackupId,
    writer: LogWriter,
    segments: Vec<Segment>,
    drawn: u128,
}

/// One partition's offsets, every one a record.
pub(super) fn run(topic: &str, partition: i32, base: i64, next: i64) -> RunInput {
    let mut builder = BatchBuilder::new(false);
    for offset in base..next {
        let value = format!("{{\"number\":{offset},\"of\":\"{topic}\"}}");
        let headers = [HeaderRef { key: b"trace", value: Some(b"1") }, HeaderRef { key: b"none", value: None }];
        builder.append(&RecordRef {
            offset: Offset::new(offset),
            timestamp: TimestampMs::new(START + offset * 1000),
            timestamp_type: TimestampType::CreateTime,
            leader_epoch: LeaderEpoch::new(1),
            key: Some(format!("key {}", offset % 7).as_bytes()),
            value: (offset % 5 != 0).then_some(value.as_bytes()),
            headers: if offset % 3 == 0 { &headers } else { &[] },
        });
    }
    let bucket = Bucket::of(TimestampMs::new(START));
    RunInput { key: key(topic, partition), range: range(base, next), bucket, batches: vec![builder.finish()] }
}

pub(super) fn range(base: i64, next: i64) -> OffsetRange {
    OffsetRange::new(Offset::new(base), Offset::new(next)).expect("a range")
}

pub(super) fn position(key: PartitionKey, next: i64) -> PartitionPosition {
    let PartitionKey { topic, lineage, partition } = key;
    let last = Offset::new(next - 1);
    PartitionPosition {
        topic,
        lineage,
        partition,
        next_offset: Offset::new(next),
        last_record: Some(LastRecord { offset: last, leader_epoch: LeaderEpoch::new(1) }),
        highest_timestamp: Some(TimestampMs::new(START + last.get() * 1000)),
        filed: None,
    }
}

pub(super) fn added(topic: &str, partitions: u32) -> TopicEvent {
    let config = BTreeMap::from([("retention.ms".to_owned(), "1000".to_owned())]);
    TopicEvent {
        topic: TopicName::new(topic).expect("topic"),
        lineage: strimzi_backup_format::ids::Lineage::FIRST,
        event: TopicEventKind::Added,
        topic_id: TopicId::new(format!("id of {topic}")),
        partition: None,
        description: Some(TopicDescription { partitions, replication_factor: 1, config, inherited: BTreeMap::new() }),
    }
}

impl Backup {
    /// The backup of the table above, in memory.
    pub(super) async fn small() -> Self {
        Self::small_as(Sealing::Open, 1).await
    }

    /// The same, encrypted or not, with another identity for another number.
    pub(super) async fn small_as(sealing: Sealing, number: u128) -> Self {
        Self::small_over(sealing, Store::memory(), number).await
    }

    /// The same, which lies in `below`.
    pub(super) async fn small_over(sealing: Sealing, below: Store, number: u128) -> Self {
        Self { below: below.clone(), ..Self::small_in(sealing.over(&below, id(number)), number).await }
    }

    /// The same in that store, with another identity for another number.
    pub(super) async fn small_in(store: Store, number: u128) -> Self {
        Self::claimed(store, number).await.filled().await
    }

    /// The same, encrypted from its first object on.
    pub(super) async fn small_encrypted_in(store: Store, keys: &TestKeys) -> Self {
        let ring = found(&store, identity(1), keys).await;
        Self::begun(sealed_by(&store, ring), id(1)).await.filled().await
    }

    /// What the table has after the claim.
    async fn filled(mut self) -> Self {
        let first = vec![run("orders", 0, 0, 20), run("orders", 1, 0, 10), run("shipments", 0, 100, 130)];
        let segment = self.upload(intake(), vec![first]).await;
        let topics = vec![added("orders", 2), added("shipments", 1)];
        let positions =
            vec![position(key("orders", 0), 20), position(key("orders", 1), 10), position(key("shipments", 0), 130)];
        self.commit(Draft { segments: vec![segment], topics, positions, ..Draft::default() }).await;

        let halves = vec![vec![run("orders", 0, 20, 40)], vec![run("orders", 0, 40, 60)]];
        let place = self.filed("orders");
        let segment = self.upload(place, halves).await;
        let PartitionKey { topic, lineage, partition } = key("orders", 1);
        let (reason, observed_at) = (GapReason::RetentionOverrun, TimestampMs::new(START));
        let gaps = vec![Gap { topic, lineage, partition, range: range(10, 15), reason, after: None, observed_at }];
        let PartitionKey { topic, lineage, partition } = key("shipments", 0);
        let holes = vec![Hole { topic, lineage, partition, range: range(130, 132) }];
        let positions =
            vec![position(key("orders", 0), 60), position(key("orders", 1), 15), position(key("shipments", 0), 132)];
        self.commit(Draft { segments: vec![segment], gaps, holes, positions, ..Draft::default() }).await;
        self.writer.checkpoint().await.expect("checkpoint");

        let third = vec![run("orders", 1, 15, 25), run("shipments", 0, 132, 140)];
        let segment = self.upload(intake(), vec![third]).await;
        let positions = vec![position(key("orders", 1), 25), position(key("shipments", 0), 140)];
        self.commit(Draft { segments: vec![segment], positions, ..Draft::default() }).await;
        self.commit(Draft::default()).await;
        self.writer.checkpoint().await.expect("checkpoint");

        let place = self.filed("shipments");
        let segment = self.upload(place, vec![vec![run("shipments", 0, 140, 150)]]).await;
        let positions = vec![position(key("shipments", 0), 150)];
        self.commit(Draft { segments: vec![segment], positions, ..Draft::default() }).await;
        self
    }

    /// An identity and a claim.
    pub(super) async fn claimed(store: Store, number: u128) -> Self {
        let identity = identity(number);
        log::create_identity(&store, &identity).await.expect("identity");
        Self::begun(store, identity.backup).await
    }

    /// A claim, below an identity that is there.
    async fn begun(store: Store, id: BackupId) -> Self {
        let empty = reader::open(&store, Shard::ONLY).await.expect("readable").expect("a backup");
        let writer = LogWriter::new(store.clone(), Shard::ONLY, empty);
        let mut backup = Self { below: store.clone(), store, id, writer, segments: Vec::new(), drawn: 0 };
        let claim = Claim { writer: "pod-0".to_owned(), software: "test".to_owned() };
        let nonce = backup.draw();
        let claim = backup.writer.prepare_claim(claim, nonce, TimestampMs::new(START)).expect("prepared");
        backup.writer.commit(&claim).await.expect("claimed");
        backup
    }

    fn draw(&mut self) -> Nonce {
        self.drawn += 1;
        Nonce::new(uuid::Uuid::from_u128(self.drawn))
    }

    /// Encodes and uploads a segment of the next manifest.
    pub(super) async fn upload(&mut self, place: SegmentPlace, groups: Vec<Vec<RunInput>>) -> Segment {
        let seal = self.store.seal_file(&self.object(&place)).expect("a data key");
        let encoded = encode_sealed(self.id, groups, seal);
        self.upload_encoded(place, encoded).await
    }

    /// The key of a segment of the next manifest.
    fn object(&self, place: &SegmentPlace) -> ObjectKey {
        let (epoch, sequence) = (self.writer.epoch(), self.writer.next_sequence());
        layout::segment(place, SegmentName { shard: Shard::ONLY, epoch, sequence, number: 0, origin: Origin::Cut })
    }

    /// Where what is filed of a topic lies in this backup.
    fn filed(&self, topic: &str) -> SegmentPlace {
        let topic = self.store.topic_dir(&TopicName::new(topic).expect("topic"));
        SegmentPlace::Topic(topic, Bucket::of(TimestampMs::new(START)))
    }

    pub(super) async fn upload_encoded(&mut self, place: SegmentPlace, encoded: EncodedSegment) -> Segment {
        let object = self.object(&place);
        let EncodedSegment { parts, bytes, sha256, footer_bytes, footer_sha256, rows, raw_bytes, runs } = encoded;
        self.put(object.as_str(), parts.concat()).await;
        Segment { object, bytes, sha256, footer_bytes, footer_sha256, rows, raw_bytes, runs }
    }

    /// Commits the next manifest, ten seconds after the one before.
    pub(super) async fn commit(&mut self, mut draft: Draft) {
        let observed_at = TimestampMs::new(START + i64::try_from(self.drawn).expect("few") * 10_000);
        draft.frontier = Frontier { until: Some(observed_at), ..Frontier::default() };
        self.segments.extend(draft.segments.iter().cloned());
        let nonce = self.draw();
        let prepared = self.writer.prepare(draft, nonce, observed_at).expect("prepared");
        self.writer.commit(&prepared).await.expect("committed");
    }

    /// A commit of that segment alone, whose one run is the start of `topic`.
    pub(super) async fn commit_start(&mut self, topic: &str, segment: Segment) {
        let run = segment.runs[0].clone();
        let positions = vec![position(run.key(), run.range.next_offset().get())];
        let topics = vec![added(topic, 1)];
        self.commit(Draft { segments: vec![segment], topics, positions, ..Draft::default() }).await;
    }

    pub(super) fn segment(&self, number: usize) -> &Segment {
        &self.segments[number]
    }

    pub(super) fn rows(&self) -> u64 {
        self.writer.state().totals.rows
    }

    /// A snapshot of what the log says now.
    pub(super) async fn snapshot(&mut self, id: &str) -> Snapshot {
        let (id, nonce, asked_at) = (SnapshotId::new(id).expect("legal"), self.draw(), TimestampMs::new(START));
        let snapshot = Snapshot::of(self.writer.state(), Label { id, nonce, asked_at, keep: None }).expect("a head");
        catalog::create(&self.store, &snapshot).await.expect("created");
        snapshot
    }

    pub(super) fn anchor(&self) -> Anchor {
        let head = self.writer.state().head.expect("head");
        Anchor { backup: self.id, sequence: head.sequence, sha256: head.sha256 }
    }

    pub(super) fn manifest_key(sequence: u64) -> String {
        layout::manifest(Shard::ONLY, Sequence::new(sequence)).to_string()
    }

    /// The checkpoints' keys, oldest first.
    pub(super) async fn checkpoint_keys(&self) -> Vec<String> {
        self.keys().await.into_iter().filter(|key| key.starts_with("checkpoints/")).collect()
    }

    /// All keys below the prefix, sorted.
    pub(super) async fn keys(&self) -> Vec<String> {
        let found: Vec<_> = self.store.inner.list(None).try_collect().await.expect("listed");
        let mut keys: Vec<String> = found.into_iter().map(|meta| meta.location.to_string()).collect();
        keys.sort();
        keys
    }

    fn path(&self, key: &str) -> object_store::path::Path {
        object_store::path::Path::from_iter(
            self.store.prefix.parts().chain(object_store::path::Path::from(key).parts()),
        )
    }

    pub(super) async fn get(&self, key: &str) -> Bytes {
        self.store.inner.get(&self.path(key)).await.expect("there").bytes().await.expect("bytes")
    }

    pub(super) async fn put(&self, key: &str, bytes: Vec<u8>) {
        self.store.inner.put(&self.path(key), bytes.into()).await.expect("put");
    }

    pub(super) async fn delete(&self, key: &str) {
        self.store.inner.delete(&self.path(key)).await.expect("deleted");
    }

    /// The bytes as they are stored, sealed or not.
    pub(super) async fn stored(&self, key: &str) -> Bytes {
        self.below.inner.get(&self.path(key)).await.expect("there").bytes().await.expect("bytes")
    }

    /// Puts bytes in the place of those that are stored, as who has no key does.
    pub(super) async fn damage(&self, key: &str, bytes: Vec<u8>) {
        self.below.inner.put(&self.path(key), bytes.into()).await.expect("put");
    }

    /// Changes one byte of those that are stored.
    pub(super) async fn flip(&self, key: &str, at: usize) {
        let mut bytes = self.stored(key).await.to_vec();
        bytes[at] ^= 0x10;
        self.damage(key, bytes).await;
    }

    /// Rewrites a stored document with its digest right.
    pub(super) async fn rewrite<T: document::Document>(&self, key: &str, change: impl FnOnce(&mut T)) -> Bytes {
        let mut found: T = document::unpack(&self.get(key).await).expect("a document");
        change(&mut found);
        let bytes = document::pack(&found).expect("packed");
        self.put(key, bytes.to_vec()).await;
        bytes
    }

    pub(super) async fn rewrite_manifest(&self, sequence: u64, change: impl FnOnce(&mut Manifest)) {
        self.rewrite(&Self::manifest_key(sequence), change).await;
    }

    /// Rewrites a manifest's JSON, as whoever knows the format can, with its digest right.
    pub(super) async fn rewrite_json(&self, sequence: u64, change: impl FnOnce(String) -> String) {
        self.rewrite(&Self::manifest_key(sequence), |raw: &mut RawManifest| {
            raw.0 = serde_json::from_str(&change(raw.0.to_string())).expect("json");
        })
        .await;
    }
}

/// A manifest's JSON, whatever it says.
#[derive(Serialize, Deserialize)]
#[serde(transparent)]
struct RawManifest(serde_json::Value);

impl document::Document for RawManifest {
    const KIND: document::Kind = document::Kind::Manifest;
}

/// The id of the backup of a number.
pub(super) fn id(number: u128) -> BackupId {
    BackupId::new(uuid::Uuid::from_u128(number))
}

fn identity(number: u128) -> Identity {
    Identity::new(id(number), "small", ClusterId::new("cluster"), TimestampMs::new(START))
}

pub(super) fn encode(backup: BackupId, groups: Vec<Vec<RunInput>>) -> EncodedSegment {
    encode_sealed(backup, groups, None)
}

fn encode_sealed(backup: BackupId, groups: Vec<Vec<RunInput>>, seal: Option<FileSeal>) -> EncodedSegment {
    let options = EncodeOptions::new(backup, Codec::Zstd(1)).expect("options");
    let mut writer = SegmentWriter::new(&options, seal).expect("writer");
    for group in groups {
        writer.append(encode_row_group(&options, group).expect("encoded")).expect("appended");
    }
    writer.finish().expect("finished")
}

pub(super) fn intake() -> SegmentPlace {
    SegmentPlace::Intake(Bucket::of(TimestampMs::new(START)))
}

pub(super) fn filed(topic: &str) -> SegmentPlace {
    SegmentPlace::Topic(TopicName::new(topic).expect("topic").into(), Bucket::of(TimestampMs::new(START)))
}
