//! Round trips, hostile bytes, and the promises about the file's layout.

use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::{Encoding, PageType};
use parquet::column::page::{Page, PageReader as _};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData, ParquetMetaDataReader};
use parquet::file::serialized_reader::SerializedPageReader;
use parquet::file::statistics::Statistics;

use super::Error;
use super::batch::{Batch, BatchBuilder, Packer};
use super::decode::{RowGroupReader, SegmentReader};
use super::encode::{Codec, EncodeOptions, EncodedRowGroup, EncodedSegment, RunInput, SegmentWriter, encode_row_group};
use super::footer::SegmentFooter;
use crate::bucket::Bucket;
use crate::checksum::Sha256;
use crate::crypt::FileSeal;
use crate::ids::{BackupId, LeaderEpoch, Lineage, Offset, PartitionId, PartitionKey, TimestampMs, TopicName};
use crate::manifest::Run;
use crate::offset_range::OffsetRange;
use crate::record::{Header, HeaderRef, Record, RecordRef, TimestampType};
use crate::sample::golden;
use crate::schema::column;

mod copy;
mod hostile;
mod property;
mod sealed;
mod slice;

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip(6), Codec::Snappy, Codec::Lz4, Codec::Zstd(1)];
const GOLDEN: &str = "segment-v1.parquet";

fn record(offset: i64) -> Record {
    Record {
        offset: Offset::new(offset),
        timestamp: TimestampMs::new(1_770_966_000_000 + offset),
        timestamp_type: TimestampType::CreateTime,
        key: Some(Bytes::from(format!("key {offset}"))),
        value: Some(Bytes::from(format!("{{\"number\":{offset},\"text\":\"some text that is not short\"}}"))),
        headers: Vec::new(),
    }
}

fn header(key: impl Into<Bytes>, value: Option<&[u8]>) -> Header {
    Header { key: key.into(), value: value.map(Bytes::copy_from_slice) }
}

fn key(topic: &str, lineage: i32, partition: i32) -> PartitionKey {
    let topic = TopicName::new(topic).expect("legal name");
    PartitionKey { topic, lineage: Lineage::new(lineage), partition: PartitionId::new(partition) }
}

fn append(builder: &mut BatchBuilder, record: &Record, packer: Option<&mut Packer>) {
    let headers: Vec<HeaderRef<'_>> =
        record.headers.iter().map(|header| HeaderRef { key: &header.key, value: header.value.as_deref() }).collect();
    let record = RecordRef {
        offset: record.offset,
        timestamp: record.timestamp,
        timestamp_type: record.timestamp_type,
        leader_epoch: LeaderEpoch::new(5),
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &headers,
    };
    builder.append_and_pack(&record, packer);
}

fn batch(records: &[Record]) -> Batch {
    let mut builder = BatchBuilder::new(false);
    records.iter().for_each(|record| append(&mut builder, record, None));
    assert!(builder.memory() >= builder.raw_bytes());
    builder.finish()
}

/// A run of these records in batches of `batch_rows`.
fn run(key: PartitionKey, records: &[Record], batch_rows: usize) -> RunInput {
    let (first, last) = (records.first().expect("records"), records.last().expect("records"));
    let range = OffsetRange::new(first.offset, last.offset.next()).expect("range");
    let batches = records.chunks(batch_rows).map(batch).collect();
    RunInput { key, range, bucket: Bucket::of(TimestampMs::new(1_770_966_000_000)), batches }
}

fn options(codec: Codec) -> EncodeOptions {
    EncodeOptions::new(BackupId::new(uuid::Uuid::from_u128(42)), codec).expect("legal codec")
}

fn encode(codec: Codec, groups: Vec<Vec<RunInput>>) -> EncodedSegment {
    encode_with(codec, groups, None)
}

fn encode_with(codec: Codec, groups: Vec<Vec<RunInput>>, seal: Option<FileSeal>) -> EncodedSegment {
    let options = options(codec);
    let mut writer = SegmentWriter::new(&options, seal).expect("writer");
    for group in groups {
        writer.append(encode_row_group(&options, group).expect("encode")).expect("append");
    }
    writer.finish().expect("finish")
}

fn whole(segment: &EncodedSegment) -> Bytes {
    segment.parts.concat().into()
}

fn read_all(bytes: Bytes) -> Result<Vec<(PartitionKey, Record)>, Error> {
    SegmentReader::open(bytes, None)?.rows().collect()
}

fn metadata(bytes: &Bytes) -> ParquetMetaData {
    let reader = ParquetMetaDataReader::new().with_page_index_policy(PageIndexPolicy::Required);
    reader.parse_and_finish(bytes).expect("metadata")
}

/// One record of each odd kind.
fn odd_records() -> Vec<Record> {
    let times = [i64::MIN, -62_135_596_800_001, -1, 0, 253_402_300_799_999, 253_402_300_800_000, i64::MAX];
    let mut records: Vec<Record> =
        (0..).zip(times).map(|(at, time)| Record { timestamp: TimestampMs::new(time), ..record(at) }).collect();
    records[0].timestamp_type = TimestampType::None;
    records[1].timestamp_type = TimestampType::LogAppendTime;
    records[1].key = None;
    records[2].value = None;
    records[3].key = Some(Bytes::new());
    records[3].value = Some(Bytes::new());
    records[4].headers =
        vec![header("a", Some(b"1")), header("a", None), header("", Some(b"")), header("a", Some(b"1"))];
    records[5].headers =
        vec![header(&b"\xff\xfe"[..], None), header("plain", Some(b"\x00")), header(&b"\xff"[..], Some(b""))];
    records
}

fn sample_groups() -> Vec<Vec<RunInput>> {
    let first = vec![run(key("orders", 0, 0), &odd_records(), 3), run(key("orders", 0, 7), &[record(5), record(9)], 1)];
    let second = vec![run(key("orders", 1, 0), &[record(0)], 1), run(key("shipments.v2", 0, 0), &[record(3)], 1)];
    vec![first, second]
}

fn sample() -> EncodedSegment {
    encode(Codec::Zstd(1), sample_groups())
}

#[test]
fn a51_odd_records_come_back_exactly_under_every_codec() {
    let records = odd_records();
    for codec in CODECS {
        let segment = encode(codec, vec![vec![run(key("t", 0, 0), &records, 4)]]);
        let read = read_all(whole(&segment)).expect("read");
        assert_eq!(read.into_iter().map(|(_, record)| record).collect::<Vec<_>>(), records, "{codec}");
    }
}

#[test]
fn a51_huge_keys_and_thousands_of_headers_come_back() {
    let mut records: Vec<Record> = (0..4).map(record).collect();
    records[1].key = Some(vec![7; 1 << 20].into());
    records[2].headers = (0..10_000).map(|n| header(format!("h{}", n % 300), Some(b"value"))).collect();
    records[3].headers = (0..10_000).map(|_| header(&b"\x80"[..], None)).collect();
    for codec in CODECS {
        let segment = encode(codec, vec![vec![run(key("t", 0, 0), &records, 4)]]);
        let read = read_all(whole(&segment)).expect("read");
        assert!(read.into_iter().map(|(_, record)| record).eq(records.iter().cloned()), "{codec}");
    }
}

/// Two batches of pages that are full, and of one more each, from one builder.
fn batches_of_full_pages(mut packer: Option<&mut Packer>) -> Vec<Batch> {
    let mut builder = BatchBuilder::new(true);
    let value = Bytes::from(b"some text that is not short ".repeat(10_000));
    let records = (0..20).map(|offset| Record { value: Some(value.clone()), ..record(offset) });
    let mut batches = Vec::new();
    for (number, record) in records.enumerate() {
        append(&mut builder, &record, packer.as_deref_mut());
        if number % 10 == 9 {
            batches.push(builder.finish());
        }
    }
    batches
}

#[test]
fn pages_that_are_compressed_as_soon_as_they_are_full_make_the_same_file() {
    for codec in CODECS {
        let mut packer = Packer::new(&options(codec)).expect("a packer");
        let (plain, packed) = (batches_of_full_pages(None), batches_of_full_pages(Some(&mut packer)));
        let memory = |batches: &[Batch]| batches.iter().map(Batch::memory).max();
        assert!(codec == Codec::None || memory(&packed) < memory(&plain), "{codec}");
        let whole = |batches| {
            let run = RunInput { batches, ..run(key("t", 0, 0), &[record(0), record(19)], 1) };
            whole(&encode(codec, vec![vec![run]]))
        };
        assert_eq!(whole(packed), whole(plain), "{codec}");
    }
}

#[test]
fn pages_that_are_compressed_already_go_into_no_segment_of_another_codec() {
    let mut packer = Packer::new(&options(Codec::Zstd(1))).expect("a packer");
    let batches = batches_of_full_pages(Some(&mut packer));
    let run = RunInput { batches, ..run(key("t", 0, 0), &[record(0), record(19)], 1) };
    let refused = encode_row_group(&options(Codec::Lz4), vec![run]).expect_err("refused");
    let Error::Encode(why) = refused else { panic!("{refused}") };
    assert!(why.to_string().contains("a page for a segment with lz4 was compressed with zstd level 1"), "{why}");
}

#[test]
fn what_finish_returns_is_what_the_file_holds() {
    let segment = sample();
    let bytes = whole(&segment);
    assert_eq!(segment.bytes, bytes.len() as u64);
    assert_eq!(segment.sha256, Sha256::of(&bytes));
    let reader = SegmentReader::open(bytes.clone(), None).expect("open");
    assert_eq!(reader.runs(), segment.runs);
    assert_eq!(reader.footer().backup(), BackupId::new(uuid::Uuid::from_u128(42)));
    assert_eq!(segment.rows, 11);
    assert_eq!(
        segment.runs.iter().map(|run| (run.row_group, run.first_row, run.rows)).collect::<Vec<_>>(),
        [(0, 0, 7), (0, 7, 2), (1, 0, 1), (1, 1, 1)]
    );
    assert_eq!(segment.runs[0].min_timestamp, TimestampMs::new(i64::MIN));
    assert_eq!(segment.runs[0].max_timestamp, TimestampMs::new(i64::MAX));
    assert_eq!(segment.runs[0].leader_epoch, LeaderEpoch::new(5));
    let tail = bytes.slice(bytes.len() - usize::try_from(segment.footer_bytes).expect("small")..);
    let footer = SegmentFooter::parse(&tail, segment.bytes, None).expect("the announced tail suffices");
    assert_eq!(footer.runs(), segment.runs);
    let first_index = metadata(&bytes).row_groups()[0].columns().iter().filter_map(|c| c.column_index_offset()).min();
    assert_eq!(first_index, i64::try_from(segment.bytes - segment.footer_bytes).ok());
}

#[test]
fn one_run_and_one_row_group_are_read_from_their_own_bytes() {
    let bytes = whole(&sample());
    let reader = SegmentReader::open(bytes.clone(), None).expect("open");
    let all: Vec<_> = reader.rows().collect::<Result<_, _>>().expect("rows");
    let by_run: Vec<_> =
        reader.runs().iter().flat_map(|run| reader.records(run).expect("run")).collect::<Result<_, _>>().expect("rows");
    assert_eq!(all, by_run);
    let range = reader.footer().row_group_range(1).expect("row group");
    let part = bytes.slice(usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small"));
    let group = RowGroupReader::new(reader.footer(), 1, part).expect("row group");
    let rows: Vec<_> = group.rows().expect("rows").collect::<Result<_, _>>().expect("rows");
    assert_eq!(rows, all[9..]);
    assert!(RowGroupReader::new(reader.footer(), 1, bytes).is_err(), "other bytes");
    let foreign = Run { rows: 1, ..reader.runs()[0].clone() };
    assert!(matches!(reader.records(&foreign), Err(Error::Damaged(_))));
}

#[test]
fn columns_are_written_as_measured() {
    let records: Vec<Record> = (0..5000).map(record).collect();
    let long = "x".repeat(200);
    let runs = vec![
        run(key(&format!("{long}-a"), 0, 0), &records[..3000], 700),
        run(key(&format!("{long}-b"), 0, 3), &records[3000..], 1),
    ];
    let bytes = whole(&encode(Codec::Zstd(1), vec![runs]));
    let metadata = metadata(&bytes);
    assert_eq!(metadata.file_metadata().created_by(), Some(concat!("strimzi-backup ", env!("CARGO_PKG_VERSION"))));
    let group = metadata.row_group(0);
    let offsets = group.column(column::OFFSET);
    assert!(
        matches!(offsets.statistics(), Some(Statistics::Int64(bounds)) if bounds.min_opt() == Some(&0) && bounds.max_opt() == Some(&4999))
    );
    let Some(Statistics::ByteArray(topics)) = group.column(column::TOPIC).statistics() else {
        unreachable!("topics have bounds")
    };
    assert_eq!(topics.max_opt().map(|max| max.len()), Some(202), "bounds are not cut short");
    for unbounded in [column::KEY, column::VALUE] {
        assert!(group.column(unbounded).statistics().is_none());
        assert!(group.column(unbounded).dictionary_page_offset().is_none());
    }
    assert!(metadata.page_index().is_some());
    for indexed in [column::OFFSET, column::TIMESTAMP] {
        let chunk = group.column(indexed);
        let pages = SerializedPageReader::new(Arc::new(bytes.clone()), chunk, 5000, None).expect("pages");
        let counts: Vec<u32> = pages.map(|page| page.expect("page").num_values()).collect();
        assert_eq!(counts, [1024, 1024, 1024, 1024, 904]);
        assert!(chunk.encodings().any(|encoding| encoding == Encoding::DELTA_BINARY_PACKED));
    }
    let mut pages =
        SerializedPageReader::new(Arc::new(bytes.clone()), group.column(column::VALUE), 5000, None).expect("pages");
    while let Some(page) = pages.get_next_page().expect("page") {
        assert_eq!(page.page_type(), PageType::DATA_PAGE);
        assert!(page.buffer().len() <= 1 << 20 && matches!(page, Page::DataPage { encoding: Encoding::PLAIN, .. }));
    }
    let names: Vec<String> = group.columns().iter().map(|column| column.column_path().string()).collect();
    assert_eq!(names[8..10], ["headers.list.element.key", "headers.list.element.value"]);
}

#[test]
fn what_contradicts_itself_is_not_written() {
    let zstd = options(Codec::Zstd(1));
    let two = || [run(key("a", 0, 1), &[record(1)], 1), run(key("a", 0, 0), &[record(1)], 1)];
    let error = |runs: Vec<RunInput>| encode_row_group(&zstd, runs).expect_err("refused");
    assert!(matches!(error(two().into()), Error::Unsorted { .. }));
    let overlap = vec![run(key("a", 0, 1), &[record(1), record(4)], 1), run(key("a", 0, 1), &[record(4)], 1)];
    assert!(matches!(error(overlap), Error::Unsorted { .. }));
    let mut outside = run(key("a", 0, 1), &[record(4)], 1);
    outside.range = OffsetRange::new(Offset::new(0), Offset::new(4)).expect("range");
    assert!(matches!(error(vec![outside]), Error::MisplacedOffset { .. }));
    let mut falling = run(key("a", 0, 1), &[record(1), record(4)], 2);
    falling.batches.push(batch(&[record(3)]));
    assert!(matches!(error(vec![falling]), Error::MisplacedOffset { .. }));
    let mut empty = run(key("a", 0, 1), &[record(1)], 1);
    empty.batches.clear();
    assert!(matches!(error(vec![empty]), Error::EmptyRun { .. }));
    let mut writer = SegmentWriter::new(&zstd, None).expect("writer");
    let again = run(key("a", 0, 1), &[record(1)], 1);
    let [late, early] = two();
    let [late, early, again] = [late, early, again].map(|run| encode_row_group(&zstd, vec![run]).expect("encode"));
    writer.append(late).expect("append");
    writer.append(early).expect("another partition may come before, in another row group");
    assert!(matches!(writer.append(again), Err(Error::Unsorted { .. })));
    let none = EncodeOptions::new(BackupId::new(uuid::Uuid::nil()), Codec::Gzip(77));
    assert!(matches!(none, Err(Error::IllegalCompression(Codec::Gzip(77)))));
}

/// What release 0.1.0 wrote must be read for ever. Files are added here, never changed.
#[test]
fn golden_segments_of_all_versions_are_read() {
    assert_eq!(read_all(golden::read(GOLDEN)).expect("read"), read_all(whole(&sample())).expect("read"));
}

#[test]
#[ignore = "writes the golden file of a new version, once"]
fn write_golden_segment() {
    golden::create(GOLDEN, &whole(&sample()));
}
