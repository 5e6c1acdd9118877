//! Which row groups are copied, and that nobody who reads the files can tell.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::ids::{
    BackupId, Epoch, LeaderEpoch, Lineage, Offset, PartitionId, PartitionKey, Sequence, Shard, TimestampMs, TopicName,
};
use strimzi_backup_format::layout::{self, Origin, SegmentName, SegmentPlace};
use strimzi_backup_format::manifest::{Run, Segment};
use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::record::{Record, RecordRef, TimestampType};
use strimzi_backup_format::segment::batch::BatchBuilder;
use strimzi_backup_format::segment::decode::SegmentReader;
use strimzi_backup_format::segment::encode::{
    Codec, EncodeOptions, EncodedSegment, RunInput, SegmentWriter, encode_row_group,
};
use strimzi_backup_format::segment::slice::{SliceReader, Wanted};
use strimzi_backup_format::store::Store;

use super::Limits;
use super::files::{Names, Place};
use super::sorter::{Finished, Rest, Sorter};
use crate::pipeline::plan::ROW_GROUP_BYTES;

const LIMITS: Limits = Limits { raw_bytes: 64 << 20, encoded_bytes: 64 << 20 };
const VALUE_BYTES: i64 = 8 << 10;

type Row = (PartitionKey, Record);

fn options(codec: Codec) -> EncodeOptions {
    EncodeOptions::new(BackupId::new(uuid::Uuid::from_u128(7)), codec).expect("legal codec")
}

fn hour(number: i64) -> Bucket {
    Bucket::of(TimestampMs::new(number * 3_600_000))
}

/// Bytes that no codec makes fewer.
fn noise(seed: i64) -> Vec<u8> {
    let mut state = 2 * seed.cast_unsigned() + 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(usize::try_from(VALUE_BYTES).expect("small")).collect()
}

fn run(topic: &str, partition: i32, offsets: Range<i64>, bucket: Bucket) -> RunInput {
    run_of(topic, partition, offsets, bucket, noise)
}

fn run_of(
    topic: &str,
    partition: i32,
    offsets: Range<i64>,
    bucket: Bucket,
    value: impl Fn(i64) -> Vec<u8>,
) -> RunInput {
    let mut builder = BatchBuilder::new(false);
    for offset in offsets.clone() {
        builder.append(&RecordRef {
            offset: Offset::new(offset),
            timestamp: TimestampMs::new(offset),
            timestamp_type: TimestampType::CreateTime,
            leader_epoch: LeaderEpoch::new(3),
            key: None,
            value: Some(&value(offset)),
            headers: &[],
        });
    }
    let topic = TopicName::new(topic).expect("legal name");
    let key = PartitionKey { topic, lineage: Lineage::FIRST, partition: PartitionId::new(partition) };
    let range = OffsetRange::new(Offset::new(offsets.start), Offset::new(offsets.end)).expect("a range");
    RunInput { key, range, bucket, batches: vec![builder.finish()] }
}

/// An intake segment in a store.
struct Intake {
    store: Store,
    segment: Segment,
    bytes: Bytes,
}

impl Intake {
    async fn new(groups: Vec<Vec<RunInput>>) -> Self {
        let options = options(Codec::Zstd(1));
        let mut writer = SegmentWriter::new(&options, None).expect("writer");
        for group in groups {
            writer.append(encode_row_group(&options, group).expect("encode")).expect("append");
        }
        let EncodedSegment { parts, bytes: size, sha256, footer_bytes, footer_sha256, rows, raw_bytes, runs } =
            writer.finish().expect("finish");
        let (epoch, sequence) = (Epoch::new(1), Sequence::FIRST);
        let name = SegmentName { shard: Shard::ONLY, epoch, sequence, number: 0, origin: Origin::Cut };
        let object = layout::segment(&SegmentPlace::Intake(hour(9)), name);
        let (store, bytes) = (Store::memory(), Bytes::from(parts.concat()));
        store.inner.put(&object.below(&store.prefix), bytes.clone().into()).await.expect("put");
        let segment = Segment { object, bytes: size, sha256, footer_bytes, footer_sha256, rows, raw_bytes, runs };
        Self { store, segment, bytes }
    }

    fn names(&self) -> Names {
        let (store, place, numbers) = (self.store.clone(), SegmentPlace::Topic as Place, Arc::default());
        Names { store, place, shard: Shard::ONLY, epoch: Epoch::new(1), sequence: Sequence::FIRST, numbers }
    }

    /// The files that its live runs make, and how many bytes of them were copied.
    async fn sorted(&self, codec: Codec, live: impl Fn(&Run) -> bool) -> (Vec<Finished>, u64) {
        let live: Vec<Run> = self.segment.runs.iter().filter(|run| live(run)).cloned().collect();
        let wanted = live.iter().cloned().map(Wanted::all).collect();
        let mut reader = SliceReader::open(&self.store, self.segment.clone(), wanted).await.expect("open");
        let (mut sorter, mut files) = (Sorter::new(options(codec), self.names(), LIMITS, Rest::new()), Vec::new());
        let mut live = live.into_iter().peekable();
        while let Some(pages) = reader.next_pages().await.expect("read") {
            let group = live.peek().map(|run| run.row_group);
            let runs = std::iter::from_fn(|| live.next_if(|run| Some(run.row_group) == group)).map(|run| (run, 0));
            files.extend(sorter.take_group(runs.collect(), pages).expect("take"));
        }
        loop {
            let more = sorter.finish_one().expect("finish");
            if more.is_empty() {
                return (files, sorter.copied());
            }
            files.extend(more);
        }
    }

    /// The records of its live runs, by partition and offset.
    fn rows(&self, live: impl Fn(&Run) -> bool) -> Vec<Row> {
        let reader = SegmentReader::open(self.bytes.clone(), None).expect("open");
        let runs = reader.runs().iter().filter(|run| live(run));
        sorted(runs.flat_map(|run| reader.records(run).expect("run").map(|row| row.expect("row"))).collect())
    }
}

fn sorted(mut rows: Vec<Row>) -> Vec<Row> {
    rows.sort_by_key(|(key, record)| (key.clone(), record.offset));
    rows
}

fn open(file: &Finished) -> SegmentReader {
    SegmentReader::open(file.encoded.parts.concat().into(), None).expect("a segment")
}

fn read(files: &[Finished]) -> Vec<Row> {
    sorted(files.iter().flat_map(|file| open(file).rows()).map(|row| row.expect("row")).collect())
}

#[tokio::test]
async fn a_large_row_group_of_one_topic_and_hour_is_copied_behind_what_comes_before_it() {
    let big = vec![run("orders", 0, 5..300, hour(1)), run("orders", 1, 0..100, hour(1))];
    let mixed = vec![run("orders", 0, 300..303, hour(1)), run("payments", 0, 0..400, hour(1))];
    let intake = Intake::new(vec![vec![run("orders", 0, 0..5, hour(1))], big, mixed]).await;
    let (files, copied) = intake.sorted(Codec::Zstd(1), |_| true).await;
    assert_eq!(read(&files), intake.rows(|_| true));
    assert_eq!(files.len(), 2, "a file of each topic");
    let range =
        SegmentReader::open(intake.bytes.clone(), None).expect("open").footer().row_group_range(1).expect("group");
    assert_eq!(copied, range.end - range.start, "neither a little nor what is of two topics");
    let orders = files.iter().find(|file| file.encoded.runs[0].topic.as_str() == "orders").expect("a file");
    let placed: Vec<_> = orders.encoded.runs.iter().map(|run| (run.row_group, run.partition.get(), run.rows)).collect();
    assert_eq!(placed, [(0, 0, 5), (1, 0, 295), (1, 1, 100), (2, 0, 3)]);
    let raw: i64 = intake.rows(|run| run.topic.as_str() == "orders").len().try_into().expect("few");
    assert_eq!(orders.encoded.raw_bytes, (raw * VALUE_BYTES).cast_unsigned());
}

#[tokio::test]
async fn what_compresses_well_is_copied_where_its_row_group_is_full() {
    let text = |_| vec![b'x'; usize::try_from(VALUE_BYTES).expect("small")];
    let rows = i64::try_from(ROW_GROUP_BYTES).expect("small") / VALUE_BYTES;
    for (rows, is_full) in [(rows - 1, false), (rows, true)] {
        let intake = Intake::new(vec![vec![run_of("orders", 0, 0..rows, hour(1), text)]]).await;
        let (files, copied) = intake.sorted(Codec::Zstd(1), |_| true).await;
        assert_eq!(copied > 0, is_full, "{rows}");
        assert!(copied < 1 << 20, "{copied}");
        assert_eq!(read(&files).len(), usize::try_from(rows).expect("few"));
    }
}

#[tokio::test]
async fn what_is_small_shared_partly_retired_or_written_in_another_way_is_decoded() {
    let many = || vec![run("orders", 0, 0..300, hour(1)), run("orders", 1, 0..100, hour(1))];
    let small = vec![run("orders", 0, 0..100, hour(1)), run("orders", 1, 0..100, hour(1))];
    let hours = vec![run("orders", 0, 0..300, hour(1)), run("orders", 1, 0..100, hour(2))];
    let topics = vec![run("orders", 0, 0..300, hour(1)), run("payments", 0, 0..100, hour(1))];
    let short: Vec<RunInput> = (0..100).map(|partition| run("orders", partition, 0..4, hour(1))).collect();
    let zstd = Codec::Zstd(1);
    let all: fn(&Run) -> bool = |_| true;
    let first: fn(&Run) -> bool = |run| run.partition.get() == 0;
    for (what, group, codec, live) in [
        ("small", small, zstd, all),
        ("hours", hours, zstd, all),
        ("topics", topics, zstd, all),
        ("short runs", short, zstd, all),
        ("retired", many(), zstd, first),
        ("codec", many(), Codec::Snappy, all),
    ] {
        let intake = Intake::new(vec![group]).await;
        let (files, copied) = intake.sorted(codec, live).await;
        assert_eq!(copied, 0, "{what}");
        assert_eq!(read(&files), intake.rows(live), "{what}");
    }
    let (_, copied) = Intake::new(vec![many()]).await.sorted(zstd, all).await;
    assert!(copied > 3 << 20, "and without any of that it is copied");
}
