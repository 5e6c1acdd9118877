//! Damaged, cut, forged and foreign bytes: an error, never a panic.

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::{Error, pages};
use super::*;

#[test]
fn a57_no_truncation_or_extension_is_taken_for_a_segment() {
    let bytes = whole(&sample());
    for len in 0..bytes.len() {
        assert!(SegmentReader::open(bytes.slice(..len)).is_err(), "cut to {len}");
    }
    for len in 0..bytes.len() {
        match SegmentFooter::parse(&bytes[len..], bytes.len() as u64) {
            Ok(_) => assert!(len <= bytes.len() - 8),
            Err(error) => assert!(
                matches!(error, Error::TailTooShort { needed } if needed > (bytes.len() - len) as u64),
                "{error}"
            ),
        }
    }
    assert!(SegmentReader::open([&bytes[..], b"x"].concat().into()).is_err());
}

/// Nobody may panic or run away; that changed bytes are noticed is what the SHA-256 in the manifest is for.
#[test]
fn a60_no_changed_byte_makes_reading_panic() {
    let bytes = whole(&sample());
    for at in 0..bytes.len() {
        for mask in [0x01, 0x80, 0xff] {
            let mut changed = bytes.to_vec();
            changed[at] ^= mask;
            let _ = read_all(changed.into());
        }
    }
}

#[test]
fn a60_a_page_that_announces_too_much_is_refused_before_it_is_read() {
    // type 0, unpacked 2^31 − 1, packed 0, data page header { values: n } …
    let page =
        |values: &[u8]| [&[0x15, 0, 0x15, 0xfe, 0xff, 0xff, 0xff, 0x0f, 0x15, 0, 0x2c, 0x15], values, &[0, 0]].concat();
    let two = [page(&[2]), page(&[2])].concat();
    assert!(matches!(pages::check_chunk(&two), Err(Error::TooLarge { what: "page bytes", .. })));
    let many = page(&[0xfe, 0xff, 0xff, 0xff, 0x0f]);
    assert!(matches!(pages::check_chunk(&many), Err(Error::TooLarge { what: "page values", .. })));
    assert!(pages::check_chunk(&page(&[1])).is_err(), "a negative count");
    assert!(pages::check_chunk(&[0x15, 0, 0x15, 2, 0x15, 4, 0, 9]).is_err(), "longer than its chunk");
    let nested = [0x1c; 64];
    assert!(pages::check_chunk(&nested).is_err(), "too deep");
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
    assert!(matches!(SegmentReader::open(newer.into()), Err(Error::NewerSchema { found: 2 })));
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
        let _ = read_all(changed.into());
    }
}
