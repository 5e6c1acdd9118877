//! Round trips, hostile bytes, and the promises about the file's layout.

use arrow_array::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::file::metadata::{KeyValue, ParquetMetaDataReader};
use parquet::file::properties::WriterProperties;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::encode::{columns, encode_limited, in_files_of};
use super::*;
use crate::bucket::Bucket;
use crate::checksum::Sha256;
use crate::groups::CommittedOffset;
use crate::groups::sample::{commit, delete, raw};
use crate::ids::{GroupId, LeaderEpoch, Offset, PartitionId, TimestampMs, TopicId};
use crate::sample::{at, key, range, topic};
use crate::segment::decode::SegmentReader;
use crate::segment::encode::EncodedSegment;

mod golden;
mod sealed;

const LOG: &str = "__consumer_offsets";

fn whole(file: &EncodedSegment) -> Bytes {
    file.parts.concat().into()
}

/// A run of these rows, which are of partition 0.
fn run(offsets: std::ops::Range<i64>, rows: Vec<OffsetRow>) -> GroupRun {
    GroupRun { key: key(LOG, 0, 0), range: range(offsets), leader_epoch: LeaderEpoch::new(4), rows }
}

fn commits(offsets: std::ops::Range<i64>) -> Vec<OffsetRow> {
    offsets.map(|offset| commit("g", "orders", 0, offset, offset)).collect()
}

fn in_partition(partition: i32, rows: Vec<OffsetRow>) -> Vec<OffsetRow> {
    let log_partition = PartitionId::new(partition);
    rows.into_iter().map(|row| OffsetRow { log_partition, ..row }).collect()
}

fn sample() -> EncodedSegment {
    let rows = vec![commit("g", "orders", 0, 5, 10), raw(12), delete("g", "orders", 0, 14)];
    let other = GroupRun { key: key(LOG, 0, 7), ..run(0..9, in_partition(7, commits(3..5))) };
    encode(vec![run(10..20, rows), other], Bucket::of(at(0)), None).expect("encoded")
}

fn image(rows: Vec<OffsetRow>) -> Vec<OffsetRow> {
    rows.into_iter().map(|row| OffsetRow { kind: RowKind::Image, ..row }).collect()
}

#[test]
fn what_encode_returns_is_what_the_file_holds() {
    let file = sample();
    let bytes = whole(&file);
    assert_eq!((file.bytes, file.sha256), (bytes.len() as u64, Sha256::of(&bytes)));
    let tail = bytes.slice(bytes.len() - usize::try_from(file.footer_bytes).expect("small")..);
    assert_eq!(file.footer_sha256, Sha256::of(&tail));
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&bytes).expect("metadata");
    let chunks = metadata.row_group(0).columns();
    let indexes = chunks.iter().flat_map(|chunk| [chunk.column_index_offset(), chunk.offset_index_offset()]).flatten();
    assert_eq!(indexes.min(), i64::try_from(file.bytes - file.footer_bytes).ok(), "the index begins the footer");
    let rows = decode(bytes, None).expect("read");
    assert_eq!((file.rows, file.raw_bytes), (5, rows.iter().map(|row| row.raw_bytes() as u64).sum()));
    let runs: Vec<_> = file.runs.iter().map(|run| (run.row_group, run.first_row, run.rows, run.range)).collect();
    assert_eq!(runs, [(0, 0, 3, range(10..20)), (0, 3, 2, range(0..9))]);
    assert_eq!((file.runs[0].min_timestamp, file.runs[0].max_timestamp), (at(10), at(14)));
    assert_eq!((file.runs[0].leader_epoch, file.runs[0].bucket), (LeaderEpoch::new(4), Bucket::of(at(0))));
}

#[test]
fn what_is_too_much_for_one_file_becomes_several_that_account_for_the_same() {
    let second = GroupRun { key: key(LOG, 0, 1), ..run(0..4, in_partition(1, commits(0..2))) };
    let files = in_files_of(vec![run(0..40, commits(5..12)), second], 3).expect("cut");
    let seen: Vec<Vec<_>> = files
        .iter()
        .map(|file| file.iter().map(|run| (run.key.partition.get(), run.range, run.rows.len())).collect())
        .collect();
    let expected =
        [vec![(0, range(0..8), 3)], vec![(0, range(8..11), 3)], vec![(0, range(11..40), 1), (1, range(0..4), 2)]];
    assert_eq!(seen, expected);
    assert!(in_files_of(Vec::new(), 3).expect("nothing").is_empty());
}

#[test]
fn row_groups_end_between_runs_and_a_run_that_is_too_long_is_split() {
    let second = GroupRun { key: key(LOG, 0, 1), ..run(0..4, in_partition(1, commits(0..2))) };
    let third = GroupRun { key: key(LOG, 0, 2), ..run(0..40, in_partition(2, commits(5..12))) };
    let runs = vec![run(0..2, commits(0..2)), second, third];
    let expected: Vec<_> = runs.iter().flat_map(|run| run.rows.clone()).collect();
    let file = encode_limited(runs, Bucket::of(at(0)), None, 3).expect("encoded");
    let found: Vec<_> = file.runs.iter().map(|run| (run.row_group, run.first_row, run.rows, run.range)).collect();
    let tiled = [(2, 0, 3, range(0..8)), (3, 0, 3, range(8..11)), (4, 0, 1, range(11..40))];
    assert_eq!(found[..2], [(0, 0, 2, range(0..2)), (1, 0, 2, range(0..4))]);
    assert_eq!(found[2..], tiled);
    let metadata = ParquetMetaDataReader::new().parse_and_finish(&whole(&file)).expect("metadata");
    assert_eq!(metadata.row_groups().iter().map(|group| group.num_rows()).collect::<Vec<_>>(), [2, 2, 3, 3, 1]);
    assert_eq!(decode(whole(&file), None).expect("read"), expected);
}

#[test]
fn images_are_sorted_and_may_be_empty() {
    let rows = image(vec![commit("h", "a", 0, 1, 9), commit("g", "b", 1, 2, 8), commit("g", "b", 0, 3, 7)]);
    let file = encode_image(&rows, None).expect("encoded");
    assert!(file.runs.is_empty() && file.rows == 3);
    assert!(decode(whole(&file), None).expect("read").iter().eq(rows.iter().rev()));
    let empty = encode_image(&[], None).expect("encoded");
    assert_eq!((empty.rows, decode(whole(&empty), None).expect("read")), (0, Vec::new()));
    let error = encode_image(&commits(0..1), None).expect_err("a commit").to_string();
    assert!(error.contains("the Commit row of offset 0 in partition 0") && error.contains("image"), "{error}");
}

#[test]
fn what_contradicts_itself_is_not_written() {
    let error = |runs| encode(runs, Bucket::of(at(0)), None).expect_err("refused");
    assert!(matches!(error(vec![run(0..4, commits(0..2)), run(3..6, commits(3..4))]), Error::Unsorted { .. }));
    assert!(matches!(error(vec![run(0..4, Vec::new())]), Error::EmptyRun { .. }));
    assert!(matches!(error(vec![run(0..4, commits(3..5))]), Error::MisplacedOffset { .. }));
    assert!(matches!(error(vec![run(0..4, commits(1..3).into_iter().rev().collect())]), Error::MisplacedOffset { .. }));
    for foreign in [in_partition(1, commits(0..1)), image(commits(0..1))] {
        assert!(error(vec![run(0..4, foreign)]).to_string().contains("no place in a run of __consumer_offsets-0"));
    }
    let odd = [
        OffsetRow { committed: None, ..commit("g", "t", 0, 1, 0) },
        OffsetRow { group: None, ..commit("g", "t", 0, 1, 0) },
        OffsetRow { kind: RowKind::Delete, ..commit("g", "t", 0, 1, 0) },
        OffsetRow { raw_key: Some(Bytes::new()), ..delete("g", "t", 0, 0) },
        OffsetRow { topic: Some(topic("t")), ..raw(0) },
        commit("g", "t", -1, 1, 0),
        commit("g", "t", 0, -1, 0),
    ];
    for row in odd {
        assert!(matches!(error(vec![run(0..4, vec![row])]), Error::Damaged(_)));
    }
}

/// Writes columns as they are, whether or not they make sense.
fn forged(batch: &RecordBatch, facts: &[(&str, &str)]) -> Bytes {
    let options = parquet::arrow::arrow_writer::ArrowWriterOptions::new()
        .with_properties(WriterProperties::builder().build())
        .with_skip_arrow_metadata(true);
    let mut writer = ArrowWriter::try_new_with_options(Vec::new(), batch.schema(), options).expect("writer");
    writer.write(batch).expect("written");
    for (key, value) in facts {
        writer.append_key_value_metadata(KeyValue::new((*key).to_owned(), (*value).to_owned()));
    }
    writer.into_inner().expect("bytes").into()
}

const FACTS: [(&str, &str); 2] = [("strimzi_backup.schema_version", "1"), ("strimzi_backup.content", "consumerGroups")];

#[test]
fn a57_rows_that_contradict_themselves_and_foreign_files_are_refused() {
    let forge = |row: OffsetRow| {
        let batch = RecordBatch::try_new(Arc::clone(&COLUMNS), columns(&[&row])).expect("batch");
        decode(forged(&batch, &FACTS), None)
    };
    let good = commit("g", "t", 0, 1, 0);
    assert_eq!(forge(good.clone()).expect("read"), std::slice::from_ref(&good));
    let error = forge(OffsetRow { committed: None, ..good.clone() }).expect_err("no offset").to_string();
    assert!(error.contains("the Commit row of offset 0 in partition 0 of __consumer_offsets"), "{error}");
    let batch = RecordBatch::try_new(Arc::clone(&COLUMNS), columns(&[&good])).expect("batch");
    let error = |facts: &[(&str, &str)]| decode(forged(&batch, facts), None).expect_err("refused");
    assert!(error(&[]).to_string().contains("schema_version"));
    assert!(error(&FACTS[..1]).to_string().contains("strimzi_backup.content"));
    assert!(error(&[FACTS[0], (FACTS[1].0, "orders")]).to_string().contains("orders"));
    assert!(matches!(error(&[(FACTS[0].0, "2"), FACTS[1]]), Error::NewerSchema { found: 2 }));
    let fewer = forged(&batch.project(&[0, 1]).expect("columns"), &FACTS);
    assert!(decode(fewer, None).expect_err("refused").to_string().contains("columns"));
    assert!(SegmentReader::open(whole(&sample()), None).is_err(), "it is no segment");
}

#[test]
fn a57_no_truncation_or_extension_is_taken_for_a_file() {
    let bytes = whole(&sample());
    for len in 0..bytes.len() {
        assert!(decode(bytes.slice(..len), None).is_err(), "cut to {len}");
    }
    assert!(decode([&bytes[..], b"x"].concat().into(), None).is_err());
}

#[test]
fn a60_no_changed_byte_makes_reading_panic() {
    let bytes = whole(&sample());
    for at in 0..bytes.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut changed = bytes.to_vec();
            changed[at] ^= mask;
            let _ = decode(changed.into(), None);
        }
    }
}

/// The columns are a promise to every reader: they never change under one schema version.
#[test]
fn the_columns_are_pinned() {
    let mut text = Vec::new();
    parquet::schema::printer::print_schema(&mut text, STORED.root_schema());
    insta::assert_snapshot!(String::from_utf8(text).expect("text"));
}

fn any_bytes() -> impl Strategy<Value = Option<Bytes>> {
    option::of(vec(any::<u8>(), 0..20).prop_map(Bytes::from))
}

fn any_committed() -> impl Strategy<Value = CommittedOffset> {
    let topic_id = option::of("[a-zA-Z0-9_-]{22}".prop_map(TopicId::new));
    (0..=i64::MAX, any::<i32>(), ".{0,12}", any::<i64>(), topic_id).prop_map(
        |(offset, leader_epoch, metadata, committed_at, topic_id)| CommittedOffset {
            offset: Offset::new(offset),
            leader_epoch: LeaderEpoch::new(leader_epoch),
            metadata,
            committed_at: TimestampMs::new(committed_at),
            topic_id,
        },
    )
}

fn any_row() -> impl Strategy<Value = OffsetRow> {
    let named = (".{1,6}", "[a-c]{1,3}", 0..=i32::MAX, option::weighted(0.7, any_committed()));
    let named = named.prop_map(|(group, topic, partition, committed)| {
        let kind = if committed.is_some() { RowKind::Commit } else { RowKind::Delete };
        OffsetRow { kind, committed, ..delete(&group, &topic, partition, 0) }
    });
    let unreadable = (option::of(".{1,6}"), any_bytes(), any_bytes()).prop_map(|(group, raw_key, raw_value)| {
        OffsetRow { group: group.map(|group| GroupId::new(group).expect("legal id")), raw_key, raw_value, ..raw(0) }
    });
    (prop_oneof![4 => named, 1 => unreadable], any::<i64>())
        .prop_map(|(row, time)| OffsetRow { timestamp: TimestampMs::new(time), ..row })
}

proptest! {
    #[test]
    fn a51_rows_come_back_as_they_were(rows in vec((any_row(), 1..4i64), 1..30), limit in 1..9usize) {
        let mut next = 0;
        let mut place = |(row, step): (OffsetRow, i64)| {
            next += step;
            OffsetRow { log_offset: Offset::new(next), ..row }
        };
        let rows: Vec<OffsetRow> = rows.into_iter().map(&mut place).collect();
        let file = encode_limited(vec![run(0..next + 1, rows.clone())], Bucket::of(at(0)), None, limit).expect("encoded");
        prop_assert_eq!(file.runs.iter().map(|run| run.range.span()).sum::<u64>(), u64::try_from(next + 1).expect("small"));
        prop_assert_eq!(decode(whole(&file), None).expect("read"), rows.clone());
        let images = image(rows.into_iter().filter(|row| row.kind == RowKind::Commit).collect());
        let read = decode(whole(&encode_image(&images, None).expect("encoded")), None).expect("read");
        prop_assert_eq!(read.len(), images.len());
        prop_assert!(images.iter().all(|row| read.contains(row)));
    }
}
