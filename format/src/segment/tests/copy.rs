//! Row groups that move from one segment to another as they are.

use super::super::copy::{NotCopied, copy_row_group};
use super::super::pieces::Pieces;
use super::*;

/// With everything that a footer says something of: nulls, headers, clamped timestamps, many pages.
pub(super) fn many(base: i64) -> Vec<Record> {
    let of = |at: i64| Record {
        key: (at % 7 != 0).then(|| Bytes::from(format!("key {at}"))),
        value: (at % 5 != 0).then(|| Bytes::from(format!("{{\"number\":{at},\"text\":\"{}\"}}", "x".repeat(90)))),
        headers: if at % 3 == 0 { vec![header("trace", Some(b"1")), header("none", None)] } else { Vec::new() },
        timestamp: TimestampMs::new(if at % 1000 == 999 { i64::MAX } else { at }),
        ..record(at)
    };
    (base..base + 5000).map(of).collect()
}

/// Row groups of a segment: a few records of one partition, many of two, two topics, a little.
pub(super) fn groups() -> Vec<Vec<RunInput>> {
    let few = |name: &str, partition, base: i64| run(key(name, 0, partition), &[record(base), record(base + 2)], 1);
    vec![
        vec![few("orders", 0, 3)],
        vec![run(key("orders", 0, 0), &many(10), 700), run(key("orders", 0, 1), &many(0), 700)],
        vec![few("orders", 0, 6000), few("payments", 0, 3)],
        vec![few("orders", 1, 5001)],
    ]
}

fn reader(bytes: &Bytes, number: usize) -> Result<RowGroupReader, Error> {
    let footer = SegmentFooter::parse(bytes, bytes.len() as u64, None)?;
    let range = footer.row_group_range(number).ok_or_else(|| Error::damaged("no such row group"))?;
    let at = |byte: u64| usize::try_from(byte).expect("small");
    RowGroupReader::new(&footer, number, bytes.slice(at(range.start)..at(range.end)))
}

fn copied(bytes: &Bytes, number: usize, codec: Codec) -> Result<EncodedRowGroup, NotCopied> {
    reader(bytes, number).expect("row group").copy(&options(codec))
}

fn assembled(codec: Codec, groups: Vec<EncodedRowGroup>) -> Bytes {
    let mut writer = SegmentWriter::new(&options(codec), None).expect("writer");
    groups.into_iter().for_each(|group| writer.append(group).expect("append"));
    whole(&writer.finish().expect("finish"))
}

/// Byte for byte: pages, statistics, bounds, checksums, runs.
#[test]
fn a_segment_of_copied_row_groups_is_the_one_that_encoding_makes() {
    for codec in CODECS {
        let source = whole(&encode(codec, groups()));
        let all = (0..4).map(|number| copied(&source, number, codec).expect("copied")).collect();
        assert_eq!(assembled(codec, all), source, "{codec}");
        // At another place than it came from, before one that is encoded.
        let (copied, last) = (copied(&source, 1, codec).expect("copied"), groups().remove(3));
        let mixed = vec![copied, encode_row_group(&options(codec), last).expect("encode")];
        let expected = vec![groups().remove(1), groups().remove(3)];
        assert_eq!(assembled(codec, mixed), whole(&encode(codec, expected)), "{codec}");
    }
}

#[test]
fn a_copied_row_group_is_as_large_as_it_was_and_its_records_are_the_same() {
    let codec = Codec::Zstd(1);
    let source = whole(&encode(codec, groups()));
    let group = copied(&source, 1, codec).expect("copied");
    let encoded = encode_row_group(&options(codec), groups().remove(1)).expect("encode");
    let sizes = |group: &EncodedRowGroup| (group.rows(), group.raw_bytes(), group.bytes());
    assert_eq!(sizes(&group), sizes(&encoded));
    let read = read_all(assembled(codec, vec![group])).expect("read");
    let expected: Vec<Record> = many(10).into_iter().chain(many(0)).collect();
    assert_eq!(read.into_iter().map(|(_, record)| record).collect::<Vec<_>>(), expected);
}

#[test]
fn a_copied_row_group_keeps_the_order_of_offsets() {
    let codec = Codec::Zstd(1);
    let source = whole(&encode(codec, groups()));
    let mut writer = SegmentWriter::new(&options(codec), None).expect("writer");
    writer.append(copied(&source, 1, codec).expect("copied")).expect("append");
    let again = writer.append(copied(&source, 1, codec).expect("copied"));
    assert!(matches!(again, Err(Error::Unsorted { .. })));
}

#[test]
fn what_this_writer_would_write_in_another_way_is_not_copied() {
    let source = whole(&encode(Codec::Zstd(1), groups()));
    assert!(copied(&source, 1, Codec::Zstd(9)).is_ok(), "a level is no other codec");
    let found = copied(&source, 1, Codec::Snappy).expect_err("refused");
    assert!(matches!(&found, NotCopied::Codec(codec) if codec.to_string() == "ZSTD"), "{found}");
    // The footer names its writer, and so it would name it for copied pages.
    let name = concat!("strimzi-backup ", env!("CARGO_PKG_VERSION")).as_bytes();
    let at = source.windows(name.len()).position(|window| window == name).expect("the writer's name");
    let mut other = source.to_vec();
    other[at] = b'S';
    let found = copied(&other.into(), 1, Codec::Zstd(1)).expect_err("refused");
    assert!(matches!(&found, NotCopied::Writer(name) if name.starts_with("Strimzi-backup ")), "{found}");
}

#[test]
fn what_cannot_be_counted_without_decoding_is_not_copied() {
    let records = odd_records();
    let source = |records: &[Record]| whole(&encode(Codec::None, vec![vec![run(key("t", 0, 0), records, 4)]]));
    let found = copied(&source(&records), 0, Codec::None).expect_err("refused");
    assert!(matches!(found, NotCopied::Unmeasured), "{found}");
    assert!(copied(&source(&records[..5]), 0, Codec::None).is_ok(), "only the last ones have such headers");
}

#[test]
fn a57_a_row_group_of_which_bytes_are_missing_is_not_copied() {
    let source = whole(&encode(Codec::None, groups()));
    let footer = SegmentFooter::parse(&source, source.len() as u64, None).expect("footer");
    let range = footer.row_group_range(1).expect("row group");
    let at = |byte: u64| usize::try_from(byte).expect("small");
    let part = |end: u64| Pieces::new(footer.file_size(), vec![(range.start, source.slice(at(range.start)..at(end)))]);
    let copy = |number: usize, end: u64| copy_row_group(&options(Codec::None), &footer, number, &part(end));
    assert!(copy(1, range.end).is_ok());
    assert!(matches!(copy(1, range.end - 1), Err(NotCopied::Partly)));
    assert!(matches!(copy(0, range.end), Err(NotCopied::Partly)), "other bytes");
    assert!(matches!(copy(4, range.end), Err(NotCopied::Partly)), "no such row group");
}

/// As if the digest of the footer had been made for it. What is not refused is written.
#[test]
fn a60_no_changed_byte_of_a_footer_makes_copying_panic() {
    let segment = encode(Codec::Zstd(1), groups().split_off(2));
    let (bytes, options) = (whole(&segment), options(Codec::Zstd(1)));
    let footer_at = bytes.len() - usize::try_from(segment.footer_bytes).expect("small");
    let mut refused = 0;
    for at in footer_at..bytes.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut changed = bytes.to_vec();
            changed[at] ^= mask;
            let Ok(group) = reader(&changed.into(), 0) else { continue };
            let Ok(group) = group.copy(&options) else {
                refused += 1;
                continue;
            };
            let mut writer = SegmentWriter::new(&options, None).expect("writer");
            let _ = writer.append(group).and_then(|()| writer.finish());
        }
    }
    assert!(refused > 0, "the writer's name alone has so many bytes");
}
