//! Files of encrypted backups, which the Parquet crate seals by itself: what is opened here is what it writes.

use parquet::file::metadata::RowGroupMetaData;

use super::*;
use crate::crypt::{FileOpener, FileSeal};
use crate::ids::{Epoch, Sequence, Shard};
use crate::layout::{self, ObjectKey, Origin, SegmentName, SegmentPlace};
use crate::sample::{backup, ring};
use crate::segment::footer::parse_metadata;

fn object(number: usize) -> ObjectKey {
    let (shard, epoch, sequence, origin) = (Shard::ONLY, Epoch::new(1), Sequence::FIRST, Origin::Cut);
    let name = SegmentName { shard, epoch, sequence, number, origin };
    layout::segment(&SegmentPlace::Groups(Bucket::of(at(0))), name)
}

fn opener(number: usize) -> FileOpener {
    FileOpener { ring: ring(backup()), object: object(number) }
}

fn seal() -> Option<FileSeal> {
    Some(opener(0).ring.seal_file(&object(0)).expect("a seal"))
}

/// Two row groups, with pages of dictionaries.
fn rows() -> Vec<OffsetRow> {
    vec![commit("g", "orders", 0, 5, 10), raw(12), delete("g", "orders", 0, 14), commit("h", "payments", 1, 9, 15)]
}

fn sealed() -> Bytes {
    whole(&encode_limited(vec![run(10..20, rows())], Bucket::of(at(0)), seal(), 3).expect("encoded"))
}

#[test]
fn a35_rows_come_back_and_none_of_them_is_seen_in_the_clear() {
    let bytes = sealed();
    assert!(bytes.starts_with(b"PARE") && bytes.ends_with(b"PARE"));
    assert_eq!(decode(bytes.clone(), Some(&opener(0))).expect("read"), rows());
    for planted in ["orders", "payments", "Commit", "strimzi_backup", "consumerGroups"] {
        assert!(!bytes.windows(planted.len()).any(|window| window == planted.as_bytes()), "{planted}");
    }
    let images = image(vec![commit("g", "orders", 0, 5, 10), commit("h", "orders", 0, 5, 10)]);
    let file = whole(&encode_image(&images, seal()).expect("encoded"));
    assert_eq!(decode(file, Some(&opener(0))).expect("read"), images);
    let empty = whole(&encode_image(&[], seal()).expect("encoded"));
    assert_eq!(decode(empty, Some(&opener(0))).expect("read"), Vec::new());
}

#[test]
fn what_encode_returns_is_what_the_sealed_file_holds() {
    let file = encode(vec![run(10..20, rows())], Bucket::of(at(0)), seal()).expect("encoded");
    let bytes = whole(&file);
    assert_eq!((file.bytes, file.sha256), (bytes.len() as u64, Sha256::of(&bytes)));
    let tail = bytes.slice(bytes.len() - usize::try_from(file.footer_bytes).expect("small")..);
    assert_eq!(file.footer_sha256, Sha256::of(&tail));
}

#[test]
fn a35_a_renamed_file_and_one_in_the_clear_are_refused() {
    assert!(matches!(decode(sealed(), Some(&opener(1))), Err(Error::Key(_))));
    assert!(matches!(decode(sealed(), None), Err(Error::Encrypted)));
    assert!(matches!(decode(whole(&sample()), Some(&opener(0))), Err(Error::NotEncrypted)));
}

#[test]
fn a35_every_changed_byte_of_a_sealed_file_is_refused() {
    let (bytes, opener) = (sealed(), opener(0));
    for at in 0..bytes.len() {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        assert!(decode(changed.into(), Some(&opener)).is_err(), "byte {at} of {}", bytes.len());
        assert!(decode(bytes.slice(..at), Some(&opener)).is_err(), "cut to {at}");
    }
}

/// How the Parquet crate counts what it seals: the pages that are sealed elsewhere are counted by the same rule.
#[test]
fn sealing_adds_to_sizes_what_the_view_takes_away() {
    let encoded =
        |seal| whole(&encode_limited(vec![run(10..20, rows())], Bucket::of(at(0)), seal, 3).expect("encoded"));
    let sizes = |metadata: &parquet::file::metadata::ParquetMetaData| -> Vec<(i64, i64)> {
        let columns = metadata.row_groups().iter().flat_map(RowGroupMetaData::columns);
        columns.map(|column| (column.compressed_size(), column.uncompressed_size())).collect()
    };
    let (open, bytes) = (encoded(None), encoded(seal()));
    let (plain, _) = parse_metadata(&open, open.len() as u64, None).expect("a footer");
    let (view, _) = super::super::decode::open(bytes, Some(&opener(0))).expect("a view");
    for (plain, view) in sizes(&plain).into_iter().zip(sizes(&view)) {
        assert_eq!(view.0 - plain.0, view.1 - plain.1);
        assert!((0..=2).contains(&(view.0 - plain.0)), "the longer numbers in the headers of two pages at most");
    }
}
