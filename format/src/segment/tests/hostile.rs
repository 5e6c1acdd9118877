//! Damaged, cut, forged and foreign bytes: an error, never a panic.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::page_map::PageMap;
use super::super::{Error, pages};
use super::*;

#[test]
fn a57_no_truncation_or_extension_is_taken_for_a_segment() {
    let bytes = whole(&sample());
    for len in 0..bytes.len() {
        assert!(SegmentReader::open(bytes.slice(..len), None).is_err(), "cut to {len}");
    }
    for len in 0..bytes.len() {
        match SegmentFooter::parse(&bytes[len..], bytes.len() as u64, None) {
            Ok(_) => assert!(len <= bytes.len() - 8),
            Err(error) => assert!(
                matches!(error, Error::TailTooShort { needed } if needed > (bytes.len() - len) as u64),
                "{error}"
            ),
        }
    }
    assert!(SegmentReader::open([&bytes[..], b"x"].concat().into(), None).is_err());
}

/// Reads bytes as if their writer had made the page checksums for them.
fn read_forged(bytes: Bytes) {
    let _ = SegmentReader::open(bytes, None).map(|reader| reader.signed().rows().count());
}

/// Nobody may panic or run away; that changed bytes are noticed is what digests and checksums are for.
#[test]
fn a60_no_changed_byte_makes_reading_panic() {
    let bytes = whole(&sample());
    for at in 0..bytes.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut changed = bytes.to_vec();
            changed[at] ^= mask;
            read_forged(changed.into());
        }
    }
}

#[test]
fn a57_every_changed_byte_of_a_page_is_found_by_its_checksum() {
    let bytes = whole(&sample());
    let end =
        SegmentFooter::parse(&bytes, bytes.len() as u64, None).expect("footer").row_group_range(1).expect("group").end;
    for at in 4..usize::try_from(end).expect("small") {
        let mut changed = bytes.to_vec();
        changed[at] ^= 1;
        let error = read_all(changed.into()).expect_err("changed");
        assert!(error.to_string().contains("crc32c"), "{error}");
    }
}

#[test]
fn a60_page_checksums_that_are_not_as_many_as_pages_and_bad_page_indexes_are_refused() {
    let bytes = whole(&sample());
    let footer = SegmentFooter::parse(&bytes, bytes.len() as u64, None).expect("footer");
    let pages = (0..2).flat_map(|group| footer.pages.group(group)).map(|column| column.all().count()).sum::<usize>();
    let map =
        |checksums: usize| PageMap::new(footer.reader.metadata(), &vec![0; checksums], 0).map_err(|e| e.to_string());
    assert!(map(pages).is_ok());
    assert!(map(pages - 1).is_err_and(|error| error.contains("fewer page checksums")));
    assert!(map(pages + 1).is_err_and(|error| error.contains("more page checksums")));
    let without = ParquetMetaData::clone(footer.reader.metadata()).into_builder().set_page_index(None).build();
    assert!(PageMap::new(&without, &[], 0).is_err_and(|error| error.to_string().contains("no page index")));
    // A list of 2^31 − 1 page locations, none of which follows.
    let endless = [0x19, 0xfc, 0xff, 0xff, 0xff, 0xff, 0x07];
    assert!(pages::check_structure(&endless).is_err());
}

#[test]
fn a60_a_page_that_announces_too_much_is_refused_before_it_is_read() {
    // type 0, unpacked 2^31 − 1, packed 0, data page header { values: n } …
    let page =
        |values: &[u8]| [&[0x15, 0, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x15, 0, 0x2c, 0x15], values, &[0, 0]].concat();
    assert!(pages::check_page(&page(&[2])).is_ok());
    let many = page(&[0xfe, 0xff, 0xff, 0xff, 0x0f]);
    assert!(matches!(pages::check_page(&many), Err(Error::TooLarge { what: "page values", .. })));
    assert!(pages::check_page(&page(&[1])).is_err(), "a negative count");
    assert!(pages::check_page(&[0x15, 0, 0x15, 2, 0x15, 4, 0, 9]).is_err(), "longer than its bytes");
    assert!(pages::check_page(&[0x15, 0, 0x15, 2, 0x15, 2, 0, 9, 9]).is_err(), "shorter than its bytes");
    let nested = [0x1c; 64];
    assert!(pages::check_page(&nested).is_err(), "too deep");
}

#[test]
fn a60_a_panic_of_the_reader_is_an_error() {
    assert!(matches!(pages::contain::<()>(|| panic!("as a decoder might")), Err(Error::Damaged(_))));
}

#[test]
fn a12_a_newer_schema_is_refused_by_number() {
    let bytes = whole(&sample());
    let at = bytes.windows(30).position(|window| window == b"strimzi_backup.schema_version\x18").expect("key");
    let mut newer = bytes.to_vec();
    assert_eq!(newer[at + 31], b'1');
    newer[at + 31] = b'2';
    assert!(matches!(SegmentReader::open(newer.into(), None), Err(Error::NewerSchema { found: 2 })));
}

proptest! {
    #[test]
    fn a60_noise_in_place_of_a_segment_is_refused(noise in vec(any::<u8>(), 0..200), at in 0..4000usize, len in 1..64usize) {
        let _ = read_all(noise.clone().into());
        let mut changed = whole(&sample()).to_vec();
        let at = at % changed.len();
        let end = (at + len).min(changed.len());
        for (byte, noise) in changed[at..end].iter_mut().zip(&noise) {
            *byte = *noise;
        }
        read_forged(changed.into());
    }
}
