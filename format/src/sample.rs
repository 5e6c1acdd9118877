//! What tests build documents and logs of: few words for long values.

#![allow(missing_docs, reason = "for tests alone; the names are those of the types")]

pub mod golden;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::ops::Range;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;

use crate::bucket::Bucket;
use crate::checksum::Sha256;
use crate::crypt::{KeyRing, SecretKey};
use crate::identity::Identity;
use crate::ids::{
    BackupId, ClusterId, Epoch, LeaderEpoch, Lineage, Nonce, Offset, PartitionId, PartitionKey, Sequence, Shard,
    TimestampMs, TopicId, TopicName,
};
use crate::layout::{self, Origin, SegmentName, SegmentPlace};
use crate::manifest::log::{self, Draft, LogWriter, Prepared};
use crate::manifest::reader::{self, Log};
use crate::manifest::{
    Behind, BehindReason, Claim, Frontier, Gap, GapReason, Hole, LastRecord, PartitionPosition, Run, Segment,
    TopicDescription, TopicEvent, TopicEventKind,
};
use crate::offset_range::OffsetRange;
use crate::seal;
use crate::state::State;
use crate::store::Store;
use crate::store::faulty::{FaultControl, FaultyStore};

/// So many seconds after 2026-02-13T07:00:00Z.
pub fn at(seconds: i64) -> TimestampMs {
    TimestampMs::new(1_770_966_000_000 + seconds * 1000)
}

pub fn backup() -> BackupId {
    BackupId::new(uuid::Uuid::from_u128(42))
}

/// The keys of a backup that is encrypted by one, whose bytes are always the same.
pub fn ring(backup: BackupId) -> Arc<KeyRing> {
    Arc::new(KeyRing::new(backup, [(0, SecretKey::new([7; 32]))].into()).expect("a key"))
}

/// A key whose bytes count up from that one: in no form are two parts of it alike.
pub fn counting_key(first: u8) -> SecretKey {
    SecretKey::new(std::array::from_fn(|at| first + u8::try_from(at).expect("few")))
}

/// Where a text shows a part of a secret, in any form that bytes are printed in: as text, as numbers, in hex or in base64, with white
/// space anywhere. Eight bytes in a row are no accident, nor are six in base64, which may begin at any of three bytes.
pub fn shown_of(secret: &[u8], text: &str) -> Option<String> {
    let dense = |text: &str| text.split_whitespace().collect::<String>();
    let numbers = |part: &[u8]| part.iter().map(u8::to_string).collect::<Vec<_>>().join(",");
    let text = dense(text);
    let in_bytes = secret.windows(8).flat_map(|part| {
        [numbers(part), hex::encode(part), hex::encode_upper(part), dense(&part.escape_ascii().to_string())]
    });
    let in_base64 = secret.windows(6).map(|part| BASE64.encode(part));
    in_bytes.chain(in_base64).find(|form| text.contains(form.as_str()))
}

/// Insists that neither form of `Debug` shows a part of a secret.
pub fn assert_prints_none_of(secret: &[u8], value: &dyn Debug) {
    for printed in [format!("{value:?}"), format!("{value:#?}")] {
        assert_eq!(shown_of(secret, &printed), None, "{printed}");
    }
}

pub fn nonce(number: u128) -> Nonce {
    Nonce::new(uuid::Uuid::from_u128(number))
}

pub fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("legal name")
}

pub fn key(name: &str, lineage: i32, partition: i32) -> PartitionKey {
    PartitionKey { topic: topic(name), lineage: Lineage::new(lineage), partition: PartitionId::new(partition) }
}

pub fn range(offsets: Range<i64>) -> OffsetRange {
    OffsetRange::new(Offset::new(offsets.start), Offset::new(offsets.end)).expect("legal range")
}

/// A run whose records were written in the second of its first offset.
pub fn run(key: &PartitionKey, offsets: Range<i64>, rows: u64) -> Run {
    let PartitionKey { topic, lineage, partition } = key.clone();
    let time = at(offsets.start);
    Run {
        topic,
        lineage,
        partition,
        range: range(offsets),
        row_group: 0,
        first_row: 0,
        rows,
        largest_record: 100,
        min_timestamp: time,
        max_timestamp: time,
        leader_epoch: LeaderEpoch::new(1),
        bucket: Bucket::of(time),
    }
}

/// The key of an intake segment.
pub fn intake(sequence: Sequence, number: usize) -> layout::ObjectKey {
    let name = SegmentName { shard: Shard::ONLY, epoch: Epoch::new(1), sequence, number, origin: Origin::Cut };
    layout::segment(&SegmentPlace::Intake(Bucket::of(at(0))), name)
}

/// An intake segment of these runs, of 1,000 bytes.
pub fn segment(runs: Vec<Run>) -> Segment {
    Segment {
        object: intake(Sequence::new(2), 0),
        bytes: 1000,
        sha256: Sha256::of(b"a segment"),
        footer_bytes: 100,
        footer_sha256: Sha256::of(b"its footer"),
        rows: runs.iter().map(|run| run.rows).sum(),
        raw_bytes: 3000,
        runs,
    }
}

pub fn gap(key: &PartitionKey, offsets: Range<i64>, reason: GapReason) -> Gap {
    let PartitionKey { topic, lineage, partition } = key.clone();
    Gap { topic, lineage, partition, range: range(offsets), reason, after: None, observed_at: at(0) }
}

pub fn hole(key: &PartitionKey, offsets: Range<i64>) -> Hole {
    let PartitionKey { topic, lineage, partition } = key.clone();
    Hole { topic, lineage, partition, range: range(offsets) }
}

/// The position after the record at `next - 1`.
pub fn position(key: &PartitionKey, next: i64) -> PartitionPosition {
    let PartitionKey { topic, lineage, partition } = key.clone();
    PartitionPosition {
        topic,
        lineage,
        partition,
        next_offset: Offset::new(next),
        last_record: Some(LastRecord { offset: Offset::new(next - 1), leader_epoch: LeaderEpoch::new(1) }),
        highest_timestamp: Some(at(next - 1)),
        filed: None,
    }
}

pub fn behind(key: &PartitionKey, until: Option<TimestampMs>, reason: BehindReason) -> Behind {
    let PartitionKey { topic, lineage, partition } = key.clone();
    Behind { topic, lineage, partition, until, reason }
}

pub fn description(partitions: u32) -> TopicDescription {
    TopicDescription { partitions, replication_factor: 3, config: BTreeMap::new(), inherited: BTreeMap::new() }
}

/// An event of a topic of two partitions, whose id is that of no other life.
pub fn event(name: &str, lineage: i32, event: TopicEventKind) -> TopicEvent {
    let described = matches!(event, TopicEventKind::Added | TopicEventKind::Recreated | TopicEventKind::Changed);
    TopicEvent {
        topic: topic(name),
        lineage: Lineage::new(lineage),
        event,
        topic_id: TopicId::new(format!("{name} {lineage}")),
        partition: (event == TopicEventKind::Truncated).then_some(PartitionId::new(0)),
        description: described.then(|| description(2)),
    }
}

pub fn identity() -> Identity {
    Identity::new(backup(), "orders-dr", ClusterId::new("4L6g3nShT-eMCtK--X86sw"), at(0))
}

pub fn empty_state() -> State {
    State::empty(backup(), Shard::ONLY, Sha256::of(b"identity"))
}

/// What `offsets` of one partition add: all of them records, in a segment of their own.
pub fn captured(key: &PartitionKey, offsets: Range<i64>) -> Draft {
    let rows = u64::try_from(offsets.end - offsets.start).expect("legal range");
    let (next, until) = (offsets.end, Some(at(offsets.end)));
    Draft {
        segments: vec![segment(vec![run(key, offsets, rows)])],
        positions: vec![position(key, next)],
        frontier: Frontier { until, ..Frontier::default() },
        ..Draft::default()
    }
}

/// A store in memory that fails as its control says.
pub fn faulty() -> (Store, FaultControl) {
    let memory = Store::memory();
    let faulty = FaultyStore::new(Arc::clone(&memory.inner));
    let control = faulty.control().clone();
    (memory.with_inner(Arc::new(faulty)), control)
}

/// A writer of the log in `store`, which holds nothing yet, before its claim.
pub async fn unclaimed(store: &Store) -> LogWriter {
    log::create_identity(store, &identity()).await.expect("identity");
    let log = reader::open(store, Shard::ONLY).await.expect("readable").expect("identity");
    LogWriter::new(store.clone(), Shard::ONLY, log)
}

/// A log that holds nothing yet.
pub fn empty_log() -> Log {
    Log {
        state: empty_state(),
        identity: identity(),
        sealed: None,
        blocks: Vec::new(),
        block_segments: Arc::default(),
        tail: Vec::new(),
        ignored: Vec::new(),
    }
}

pub fn prepare_claim(writer: &LogWriter) -> Prepared {
    let claim = Claim { writer: format!("pod-{}", writer.epoch()), software: "0.1.0".to_owned() };
    writer.prepare_claim(claim, nonce(0), at(0)).expect("legal claim")
}

/// The writer of the log in `store`, which holds its claim and no more.
pub async fn claimed(store: &Store) -> LogWriter {
    let mut writer = unclaimed(store).await;
    let claim = prepare_claim(&writer);
    writer.commit(&claim).await.expect("claimed");
    writer
}

/// The next manifest, observed as many seconds after the start as its number is. Its intake segments get their names.
pub fn prepare(writer: &LogWriter, mut draft: Draft) -> Prepared {
    let number = writer.next_sequence().get();
    for (number, segment) in draft.segments.iter_mut().enumerate().filter(|(_, segment)| segment.is_intake()) {
        segment.object = intake(writer.next_sequence(), number);
    }
    let observed_at = at(i64::try_from(number).expect("few manifests"));
    writer.prepare(draft, nonce(number.into()), observed_at).expect("legal draft")
}

pub async fn commit(writer: &mut LogWriter, draft: Draft) -> Prepared {
    let prepared = prepare(writer, draft);
    writer.commit(&prepared).await.expect("committed");
    prepared
}

/// The writer of a log in `store` of so many hours, with a record in each, all of them sealed; its newest manifest has a checkpoint.
pub async fn sealed(store: &Store, hours: i64) -> LogWriter {
    let mut writer = claimed(store).await;
    let orders = key("orders", 0, 0);
    for hour in 0..hours {
        let (bucket, offsets) = (Bucket::of(at(hour * 3600)), hour..hour + 1);
        let run = Run { bucket, ..run(&orders, offsets.clone(), 1) };
        let (epoch, sequence) = (writer.epoch(), writer.next_sequence());
        let name = SegmentName { shard: Shard::ONLY, epoch, sequence, number: 0, origin: Origin::Cut };
        let object = layout::segment(&SegmentPlace::Topic(run.topic.clone().into(), bucket), name);
        let segments = vec![Segment { object, ..segment(vec![run]) }];
        commit(&mut writer, Draft { segments, ..captured(&orders, offsets) }).await;
    }
    writer.checkpoint().await.expect("written");
    let order = writer.to_seal(Bucket::of(at(hours * 3600))).expect("hours that are over");
    writer.sealed(seal::seal(order).await.expect("sealed"));
    commit(&mut writer, Draft::default()).await;
    writer.checkpoint().await.expect("written");
    writer
}
