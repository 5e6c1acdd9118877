//! Segments of encrypted backups: what this project seals, the Parquet crate's own reader opens; what was changed, nobody does.

use std::collections::BTreeMap;
use std::ops::Range;

use arrow_array::ArrayRef;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::encryption::decrypt::FileDecryptionProperties;
use parquet::file::metadata::RowGroupMetaData;

use super::copy::{groups, many};
use super::*;
use crate::crypt::{FileOpener, KeyRing, SecretKey};
use crate::layout::ObjectKey;
use crate::sample;
use crate::segment::modular::MODULE_OVERHEAD;
use crate::segment::pages;
use crate::segment::pieces::Pieces;
use crate::segment::wrapped_key::key_metadata;

/// The golden segment as it lies in an encrypted backup, which is number 42: sealed for [`object`].
const GOLDEN_SEALED: &str = "sealed-segment-v1.parquet";

/// The keys of a backup.
pub(super) fn ring(backup: u128) -> Arc<KeyRing> {
    sample::ring(BackupId::new(uuid::Uuid::from_u128(backup)))
}

fn object() -> ObjectKey {
    sample::segment(Vec::new()).object
}

fn opener(backup: u128) -> FileOpener {
    FileOpener { ring: ring(backup), object: object() }
}

fn seal() -> FileSeal {
    ring(1).seal_file(&object()).expect("a seal")
}

/// A segment of backup 1.
fn sealed(codec: Codec, groups: Vec<Vec<RunInput>>) -> Bytes {
    whole(&encode_with(codec, groups, Some(seal())))
}

/// Two row groups with everything in them that is odd.
fn odd() -> Vec<Vec<RunInput>> {
    vec![vec![run(key("returns", 0, 0), &odd_records(), 3)], vec![run(key("returns", 1, 0), &[record(0)], 1)]]
}

fn footer(bytes: &Bytes) -> SegmentFooter {
    SegmentFooter::parse(bytes, bytes.len() as u64, Some(&opener(1))).expect("a footer")
}

/// All rows, as if the table of page checksums had been made for these bytes: the seals alone are asked.
fn opened(bytes: Bytes) -> Result<Vec<(PartitionKey, Record)>, Error> {
    SegmentReader::open(bytes, Some(&opener(1)))?.signed().rows().collect()
}

/// What the Parquet crate itself reads, column by column.
fn by_the_crate(bytes: Bytes, seal: Option<&FileSeal>) -> Vec<Vec<ArrayRef>> {
    let mut options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
    if let Some(seal) = seal {
        let properties = FileDecryptionProperties::builder(seal.data_key.as_bytes().to_vec());
        let properties = properties.with_aad_prefix(seal.aad_prefix.clone()).build().expect("properties");
        options = options.with_file_decryption_properties(properties);
    }
    let builder = ParquetRecordBatchReaderBuilder::try_new_with_options(bytes, options).expect("a file");
    let reader = builder.with_batch_size(1 << 20).build().expect("a reader");
    reader.map(|batch| batch.expect("a batch").columns().to_vec()).collect()
}

/// Sizes of each column chunk: stored, and unpacked.
fn sizes(groups: &[RowGroupMetaData]) -> Vec<(i64, i64)> {
    let columns = groups.iter().flat_map(RowGroupMetaData::columns);
    columns.map(|column| (column.compressed_size(), column.uncompressed_size())).collect()
}

#[test]
fn the_parquet_crate_reads_what_is_sealed_here_under_every_codec() {
    for codec in CODECS {
        let (open, seal) = (whole(&encode(codec, groups())), seal());
        let sealed = whole(&encode_with(codec, groups(), Some(seal.clone())));
        assert!(sealed.starts_with(b"PARE") && sealed.ends_with(b"PARE"), "{codec}");
        assert_eq!(by_the_crate(sealed, Some(&seal)), by_the_crate(open, None), "{codec}");
    }
}

#[test]
fn a35_records_come_back_exactly_and_none_of_them_is_seen_in_the_clear() {
    for codec in CODECS {
        let all = || groups().into_iter().chain(odd()).collect::<Vec<_>>();
        let bytes = sealed(codec, all());
        let read: Vec<Record> = opened(bytes.clone()).expect("read").into_iter().map(|(_, record)| record).collect();
        let open = whole(&encode(codec, all()));
        let expected: Vec<Record> = read_all(open).expect("read").into_iter().map(|(_, record)| record).collect();
        assert_eq!(read, expected, "{codec}");
        for planted in ["orders", "payments", "returns", "some text", "key 1", "trace", "\"number\"", "strimzi_backup"]
        {
            let is_seen = bytes.windows(planted.len()).any(|window| window == planted.as_bytes());
            assert!(!is_seen, "{planted} under {codec}");
        }
    }
}

#[test]
fn what_finish_returns_is_what_the_sealed_file_holds() {
    let segment = encode_with(Codec::Zstd(1), groups(), Some(seal()));
    let bytes = whole(&segment);
    let tail_at = bytes.len() - usize::try_from(segment.footer_bytes).expect("small");
    assert_eq!((segment.bytes, segment.sha256), (bytes.len() as u64, Sha256::of(&bytes)));
    assert_eq!(segment.footer_sha256, Sha256::of(&bytes[tail_at..]));
    let tail = SegmentFooter::parse(&bytes[tail_at..], segment.bytes, Some(&opener(1))).expect("the tail suffices");
    assert_eq!(tail.runs(), segment.runs);
    let ranges: Vec<Range<u64>> = (0..4).map(|number| tail.row_group_range(number).expect("a row group")).collect();
    assert_eq!((ranges[0].start, ranges[3].end), (4, tail_at as u64), "as they are stored, and without a hole");
    assert!(ranges.windows(2).all(|pair| pair[0].end == pair[1].start));
    // One row group from its own bytes alone.
    let at = |byte: u64| usize::try_from(byte).expect("small");
    let part = bytes.slice(at(ranges[1].start)..at(ranges[1].end));
    let rows = RowGroupReader::new(&tail, 1, part).expect("a row group").rows().expect("rows");
    let records: Vec<Record> = rows.map(|row| row.expect("a row").1).collect();
    assert_eq!(records, many(10).into_iter().chain(many(0)).collect::<Vec<_>>());
}

/// What a header grows by when it is sealed counts for both sizes; else the view says what the file in the clear does.
#[test]
fn the_view_has_the_sizes_of_the_file_in_the_clear() {
    for codec in CODECS {
        let open = whole(&encode(codec, groups()));
        let view = footer(&sealed(codec, groups()));
        let (open, view) = (sizes(metadata(&open).row_groups()), sizes(view.reader.metadata().row_groups()));
        for (open, view) in open.into_iter().zip(view) {
            let grown = view.0 - open.0;
            assert_eq!(view.1 - open.1, grown, "{codec}");
            assert!((0..32).contains(&grown), "{grown} under {codec}");
        }
    }
}

fn copied(bytes: &Bytes, number: usize, codec: Codec) -> EncodedRowGroup {
    let footer = footer(bytes);
    let range = footer.row_group_range(number).expect("a row group");
    let at = |byte: u64| usize::try_from(byte).expect("small");
    let part = bytes.slice(at(range.start)..at(range.end));
    RowGroupReader::new(&footer, number, part).expect("a row group").copy(&options(codec)).expect("copied")
}

#[test]
fn a_sealed_segment_of_copied_row_groups_says_what_encoding_makes() {
    for codec in CODECS {
        let source = sealed(codec, groups());
        let mut writer = SegmentWriter::new(&options(codec), Some(seal())).expect("writer");
        (0..4).for_each(|number| writer.append(copied(&source, number, codec)).expect("append"));
        let copy = whole(&writer.finish().expect("finish"));
        assert_eq!(copy.len(), source.len(), "{codec}");
        assert_ne!(copy, source, "under a key of its own");
        let row_groups = |bytes: &Bytes| footer(bytes).reader.metadata().row_groups().to_vec();
        assert_eq!(row_groups(&copy), row_groups(&source), "{codec}");
        assert_eq!(opened(copy).expect("read"), opened(source).expect("read"), "{codec}");
    }
}

/// Of a page in the view the header takes as many bytes as it does sealed: nobody knows how many it would need before it is open.
#[test]
fn headers_of_the_view_are_read_and_sealed_again_to_the_same_bytes() {
    // type 0, unpacked 1, packed 0, data page header { values: 1 }
    let header = [0x15, 0, 0x15, 2, 0x15, 0, 0x2c, 0x15, 2, 0, 0];
    for content in [0, 1, 31, 32, 63, 64, 8159, 8160, 8191, 8192, 1 << 20] {
        let sealed = content + MODULE_OVERHEAD;
        let stored =
            pages::announcing(&pages::announcing(&header, content).expect("a header"), sealed).expect("a header");
        let mut view = stored.clone();
        pages::announce_within(&mut view, sealed, content).expect("room");
        let page = [&view[..], &vec![7_u8; content][..]].concat();
        assert_eq!(pages::check_page(&page).expect("a page").values, 1, "{content}");
        assert_eq!(pages::split(&page).expect("a page"), (&view[..], &page[view.len()..]));
        assert_eq!(pages::announcing(&view, sealed).expect("a header"), stored, "{content}");
        assert!(pages::announce_within(&mut stored.clone(), sealed + 1, content).is_err(), "another size");
    }
    assert!(pages::announcing(&[0x15, 0, 0], 5).is_err(), "no size in it");
    assert!(pages::announce_within(&mut header.to_vec(), 0, 1 << 20).is_err(), "no room for it");
}

#[test]
fn a35_no_other_object_backup_or_key_opens_a_segment() {
    let bytes = sealed(Codec::Zstd(1), odd());
    let error = |opener: Option<&FileOpener>| SegmentReader::open(bytes.clone(), opener).expect_err("refused");
    assert!(SegmentReader::open(bytes.clone(), Some(&opener(1))).is_ok());
    assert!(matches!(error(Some(&opener(2))), Error::Key(_)), "another backup");
    let renamed = object().to_string().replace(".parquet", "").trim_end_matches(char::is_numeric).to_owned();
    let renamed = ObjectKey::try_from(format!("{renamed}9999.parquet")).expect("a key");
    assert!(matches!(error(Some(&FileOpener { object: renamed, ..opener(1) })), Error::Key(_)), "a renamed object");
    let other = BTreeMap::from([(0, SecretKey::new([8; 32]))]);
    let other = Arc::new(KeyRing::new(BackupId::new(uuid::Uuid::from_u128(1)), other).expect("a key"));
    assert!(matches!(error(Some(&FileOpener { ring: other, ..opener(1) })), Error::Key(_)), "another backup key");
}

#[test]
fn a35_a_segment_in_the_clear_is_none_of_an_encrypted_backup_and_the_other_way_round() {
    let open = whole(&encode(Codec::Zstd(1), odd()));
    let error = SegmentReader::open(open.clone(), Some(&opener(1))).expect_err("refused");
    assert_eq!(error.to_string(), "it is not encrypted, and its backup is");
    let error = SegmentFooter::parse(&open, open.len() as u64, Some(&opener(1))).expect_err("refused");
    assert!(matches!(error, Error::NotEncrypted));
    let sealed = sealed(Codec::Zstd(1), odd());
    let error = SegmentReader::open(sealed.clone(), None).expect_err("refused");
    assert_eq!(error.to_string(), "it is encrypted, and no key was given");
    assert!(matches!(SegmentFooter::parse(&sealed, sealed.len() as u64, None), Err(Error::Encrypted)));
    // Magic alone makes no encrypted file.
    let end = open.len() - 4;
    let forged = [&b"PARE"[..], &open[4..end], b"PARE"].concat();
    assert!(SegmentReader::open(forged.into(), Some(&opener(1))).is_err());
}

/// Of `ranges` two that are as long as each other, and hold other bytes.
fn alike(bytes: &Bytes, ranges: &[Range<usize>]) -> Option<(Range<usize>, Range<usize>)> {
    let mut pairs =
        ranges.iter().enumerate().flat_map(|(at, one)| ranges[at + 1..].iter().map(move |other| (one, other)));
    let alike = pairs.find(|(one, other)| one.len() == other.len() && bytes[(*one).clone()] != bytes[(*other).clone()]);
    alike.map(|(one, other)| (one.clone(), other.clone()))
}

fn swapped(bytes: &Bytes, (one, other): (Range<usize>, Range<usize>)) -> Bytes {
    let mut swapped = bytes.to_vec();
    swapped[one.clone()].copy_from_slice(&bytes[other.clone()]);
    swapped[other].copy_from_slice(&bytes[one]);
    swapped.into()
}

#[test]
fn a35_pages_and_indexes_that_changed_places_are_refused() {
    let bytes = sealed(Codec::None, groups());
    let footer = footer(&bytes);
    let small =
        |range: Range<u64>| usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small");
    let pages = |group: usize, leaf: usize| -> Vec<Range<usize>> {
        footer.pages.group(group)[leaf].data.iter().map(|page| small(page.bytes.clone())).collect()
    };
    // Within a column chunk, and between row groups.
    let within = alike(&bytes, &pages(1, column::OFFSET)).expect("pages of one size");
    let between =
        alike(&bytes, &[pages(0, column::PARTITION), pages(3, column::PARTITION)].concat()).expect("pages of one size");
    let indexes = footer.reader.metadata().row_groups().iter().flat_map(RowGroupMetaData::columns);
    let indexes: Vec<Range<usize>> = indexes
        .filter_map(|column| column.offset_index_range())
        .map(|range| small(range.start..range.end + MODULE_OVERHEAD as u64))
        .collect();
    let indexes = alike(&bytes, &indexes).expect("indexes of one size");
    for pair in [within, between, indexes] {
        let error = opened(swapped(&bytes, pair.clone())).expect_err("refused");
        assert!(matches!(error, Error::NotAuthentic(_)), "{pair:?}: {error}");
    }
}

#[test]
fn a35_every_changed_byte_of_a_sealed_segment_is_refused() {
    let bytes = sealed(Codec::Zstd(1), odd());
    assert!(opened(bytes.clone()).is_ok());
    for at in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        assert!(opened(changed.into()).is_err(), "byte {at} of {}", bytes.len());
    }
}

#[test]
fn a60_no_changed_byte_of_a_sealed_segment_makes_reading_panic() {
    let bytes = sealed(Codec::Zstd(1), odd());
    for at in (0..bytes.len()).step_by(3) {
        for mask in [0x03, 0xff] {
            let mut changed = bytes.to_vec();
            changed[at] ^= mask;
            let _ = opened(changed.into());
        }
    }
}

#[test]
fn a57_no_truncation_or_extension_is_taken_for_a_sealed_segment() {
    let (bytes, opener) = (sealed(Codec::Zstd(1), odd()), opener(1));
    for len in 0..bytes.len() {
        assert!(SegmentReader::open(bytes.slice(..len), Some(&opener)).is_err(), "cut to {len}");
        match SegmentFooter::parse(&bytes[len..], bytes.len() as u64, Some(&opener)) {
            Ok(_) => assert!(len <= bytes.len() - 8),
            Err(error) => assert!(
                matches!(error, Error::TailTooShort { needed } if needed > (bytes.len() - len) as u64),
                "{error}"
            ),
        }
    }
    assert!(SegmentReader::open([&bytes[..], b"x"].concat().into(), Some(&opener)).is_err());
}

#[test]
fn a57_a_row_group_of_a_sealed_segment_of_which_bytes_are_missing_is_not_read() {
    let bytes = sealed(Codec::None, groups());
    let footer = footer(&bytes);
    let range = footer.row_group_range(1).expect("a row group");
    let of = |number: usize, part: Range<u64>| {
        let at = |byte: u64| usize::try_from(byte).expect("small");
        let pieces = Pieces::new(footer.file_size(), vec![(part.start, bytes.slice(at(part.start)..at(part.end)))]);
        let rows = 0..footer.rows_of(number);
        RowGroupReader::of_pieces(&footer, number, pieces, std::slice::from_ref(&rows))
    };
    assert!(of(1, range.clone()).is_ok());
    for part in [range.start..range.end - 1, range.start + 1..range.end, range.start..range.start] {
        assert!(of(1, part.clone()).is_err(), "{part:?} of {range:?}");
    }
    assert!(of(0, range.clone()).is_err() && of(2, range).is_err(), "other bytes");
}

/// What release 0.1.0 sealed must be opened for ever. Keys and nonces are drawn: the file is read, and no second one is like it.
#[test]
fn a12_the_golden_sealed_segment_is_opened_and_holds_what_the_one_in_the_clear_does() {
    let golden = golden::read(GOLDEN_SEALED);
    let opener = opener(42);
    let open = whole(&super::sample());
    let reader = SegmentReader::open(golden.clone(), Some(&opener)).expect("opened");
    let read: Vec<_> = reader.rows().collect::<Result<_, _>>().expect("read");
    assert_eq!(read, read_all(open.clone()).expect("read"));
    assert_eq!(
        (reader.runs(), reader.footer().backup()),
        (&*super::sample().runs, BackupId::new(uuid::Uuid::from_u128(42)))
    );
    // By who has the data key and the format's page alone.
    let key_metadata = key_metadata(&golden).expect("a wrapped key");
    let data_key = opener.open(&key_metadata).expect("unwrapped");
    let seal = FileSeal { data_key, key_metadata, aad_prefix: opener.aad_prefix() };
    assert_eq!(by_the_crate(golden.clone(), Some(&seal)), by_the_crate(open, None));
    // By nobody else, and nothing of it is to be seen.
    assert!(SegmentReader::open(golden.clone(), Some(&self::opener(1))).is_err(), "another backup");
    assert!(SegmentReader::open(golden.clone(), None).is_err(), "no key");
    for planted in ["orders", "shipments", "some text", "key 9", "strimzi_backup"] {
        assert!(!golden.windows(planted.len()).any(|window| window == planted.as_bytes()), "{planted}");
    }
}

#[test]
#[ignore = "writes the golden file of a new version, once"]
fn write_golden_sealed_segment() {
    let seal = ring(42).seal_file(&object()).expect("a seal");
    golden::create(GOLDEN_SEALED, &whole(&encode_with(Codec::Zstd(1), sample_groups(), Some(seal))));
}

#[test]
fn a33_nothing_of_a_data_key_is_printed_by_what_writes_or_reads_its_file() {
    let (seal, options) = (seal(), options(Codec::Zstd(1)));
    let mut writer = SegmentWriter::new(&options, Some(seal.clone())).expect("writer");
    writer.append(encode_row_group(&options, odd().remove(0)).expect("encode")).expect("append");
    sample::assert_prints_none_of(seal.data_key.as_bytes(), &writer);
    let bytes = whole(&writer.finish().expect("finish"));
    let reader = SegmentReader::open(bytes.clone(), Some(&opener(1))).expect("opened");
    let range = reader.footer().row_group_range(0).expect("a row group");
    let at = |byte: u64| usize::try_from(byte).expect("small");
    let part = bytes.slice(at(range.start)..at(range.end));
    let group = RowGroupReader::new(reader.footer(), 0, part).expect("a row group");
    sample::assert_prints_none_of(seal.data_key.as_bytes(), &(&reader, reader.footer(), &group));
}
