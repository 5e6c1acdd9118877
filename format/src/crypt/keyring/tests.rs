use super::*;
use crate::ids::{Epoch, Sequence, Shard};
use crate::layout::{self, Origin, SegmentName, SegmentPlace};
use crate::sample::{at, counting_key as counting, topic};

/// Of the golden documents.
const BACKUP: &str = "0a3f048d-e48e-42b8-9c7b-3e654a060dde";

fn ring_of(backup: &str, numbers: std::ops::RangeInclusive<u8>) -> KeyRing {
    let keys = numbers.map(|number| (u32::from(number), counting(0x20 * number))).collect();
    KeyRing::new(backup.parse().expect("a UUID"), keys).expect("keys")
}

fn ring() -> KeyRing {
    ring_of(BACKUP, 0..=1)
}

fn object(number: usize) -> ObjectKey {
    let (epoch, sequence) = (Epoch::new(3), Sequence::new(42));
    let name = SegmentName { shard: Shard::ONLY, epoch, sequence, number, origin: Origin::Cut };
    layout::segment(&SegmentPlace::Intake(crate::bucket::Bucket::of(at(0))), name)
}

/// Each byte with each of its bits turned, each cut, and one byte more.
fn spoilt(bytes: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    let flipped = (0..bytes.len() * 8).map(move |bit| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    });
    let cut = (0..bytes.len()).map(move |length| bytes[..length].to_vec());
    flipped.chain(cut).chain([[bytes, &[0]].concat()])
}

/// Made by another implementation (Python's `cryptography`): whoever reads docs/format.md can do it.
const DOCUMENT_BYTES: &str =
    "5342453101000000000102030405060708090a0b54e6bc771575fbccb8274efccd29acdc14d40dbbf40a849974bf5d152a23f7c39ccc14";
const METADATA: &str = "0100000000000102030405060708090a0b2efa7b09f50790e34d6b691b9c52c00f5ce4a3aa03777ba31994330b0a15b053362e0037e8a79a6032a5bebf1914ce04";

#[test]
fn a34_what_another_implementation_sealed_is_opened() {
    let ring = ring();
    let stored = hex::decode(DOCUMENT_BYTES).expect("hex");
    let plain = ring.open_document("snapshots/daily.json", &stored).expect("opened");
    assert_eq!(plain.as_ref(), br#"{"kind":"snapshot"}"#);
    assert_eq!(stored.len() as u64, plain.len() as u64 + DOCUMENT_OVERHEAD);
    let metadata = hex::decode(METADATA).expect("hex");
    let key = ring.open_file(&object(0), &metadata).expect("opened");
    assert_eq!(key.as_bytes(), counting(0x60).as_bytes());
    assert_eq!(ring.topic_digest(&topic("orders")).to_string(), "176500256d25370599f1e4430e4ebbf7");
    let mut prefix = b"strimzi-backup file\0".to_vec();
    prefix.extend(hex::decode(BACKUP.replace('-', "")).expect("hex"));
    prefix.extend(b"intake/2026-02-13/07/0000-0000000003-00000000000000000042-0000.parquet");
    assert_eq!(ring.aad_prefix(&object(0)), prefix);
}

#[test]
fn a33_a_document_comes_back_and_each_seal_is_another() {
    let ring = ring();
    for plain in [&b""[..], b"{}", &[7; 100_000]] {
        let [one, two] = [(); 2].map(|()| ring.seal_document("backup/x", plain).expect("sealed"));
        assert_ne!(one, two);
        assert_eq!(one[..8], *b"SBE1\x01\0\0\0");
        assert_eq!(ring.open_document("backup/x", &one).expect("opened"), plain);
        assert!(plain.len() < 8 || !one.windows(plain.len()).any(|window| window == plain));
    }
}

#[test]
fn a35_every_flipped_bit_and_every_cut_of_a_document_is_seen() {
    let ring = ring();
    let stored = ring.seal_document("snapshots/daily.json", b"{\"kind\":\"snapshot\"}").expect("sealed");
    for changed in spoilt(&stored) {
        let error = ring.open_document("snapshots/daily.json", &changed).expect_err("changed");
        let is_number = changed.len() == stored.len() && changed[4..8] != stored[4..8] && changed[4..8] != [0; 4];
        assert_eq!(matches!(error, Error::NoKey { newest: 1, .. }), is_number, "{error}");
        assert!(error.to_string().contains("snapshots/daily.json"), "{error}");
    }
}

#[test]
fn a35_every_flipped_bit_and_every_cut_of_key_metadata_is_seen() {
    let ring = ring();
    let seal = ring.seal_file(&object(0)).expect("sealed");
    let opened = ring.open_file(&object(0), &seal.key_metadata).expect("opened");
    assert_eq!((opened.as_bytes(), seal.key_metadata.len()), (seal.data_key.as_bytes(), 65));
    assert_eq!(KeyRing::file_key_number(&seal.key_metadata), Some(1));
    for changed in spoilt(&seal.key_metadata) {
        let error = ring.open_file(&object(0), &changed).expect_err("changed");
        assert!(error.to_string().contains(object(0).as_str()), "{error}");
    }
    assert!(
        [&[0_u8; 0][..], &[1], &[2; 65], &[1; 64], &[1; 66]]
            .into_iter()
            .all(|other| KeyRing::file_key_number(other).is_none())
    );
}

#[test]
fn a35_nothing_opens_at_another_place_in_another_backup_or_for_another_purpose() {
    let (ring, other) = (ring(), ring_of("0a3f048d-e48e-42b8-9c7b-3e654a060ddf", 0..=1));
    let (place, plain) = ("snapshots/daily.json", [7; 32]);
    let stored = ring.seal_document(place, &plain).expect("sealed");
    assert!(ring.open_document(place, &stored).is_ok());
    assert!(matches!(ring.open_document("snapshots/daily2.json", &stored), Err(Error::Unopened { .. })));
    assert!(matches!(other.open_document(place, &stored), Err(Error::Unopened { .. })));
    let seal = ring.seal_file(&object(0)).expect("sealed");
    assert!(ring.open_file(&object(1), &seal.key_metadata).is_err());
    assert!(other.open_file(&object(0), &seal.key_metadata).is_err());
    // A data key is no document, and the other way round, at one place.
    let as_document = [&b"SBE1"[..], &seal.key_metadata[1..]].concat();
    assert!(ring.open_document(object(0).as_str(), &as_document).is_err());
    let stored = ring.seal_document(object(0).as_str(), &plain).expect("sealed");
    assert!(ring.open_file(&object(0), &[&[1][..], &stored[4..]].concat()).is_err());
    assert_ne!(ring.topic_digest(&topic("orders")), other.topic_digest(&topic("orders")));
}

#[test]
fn a35_the_number_of_a_key_is_part_of_the_seal() {
    // Both numbers have the same key, so that nothing but the number differs.
    let keys = [0, 1].map(|number| (number, counting(9)));
    let ring = KeyRing::new(BACKUP.parse().expect("a UUID"), keys.into()).expect("keys");
    let mut stored = ring.seal_document("buckets/x", b"text").expect("sealed").to_vec();
    let mut metadata = ring.seal_file(&object(0)).expect("sealed").key_metadata;
    (stored[4], metadata[1]) = (0, 0);
    assert!(matches!(ring.open_document("buckets/x", &stored), Err(Error::Unopened { .. })));
    assert!(matches!(ring.open_file(&object(0), &metadata), Err(Error::Unopened { .. })));
}

#[test]
fn a34_the_newest_key_seals_and_all_of_them_open() {
    let (before, after) = (ring_of(BACKUP, 0..=0), ring());
    assert_eq!((before.current(), after.current()), (0, 1));
    let old = before.seal_document("snapshots/daily.json", b"old").expect("sealed");
    assert_eq!(after.open_document("snapshots/daily.json", &old).expect("opened").as_ref(), b"old");
    let (topic, file) = (topic("orders"), before.seal_file(&object(0)).expect("sealed"));
    assert!(after.open_file(&object(0), &file.key_metadata).is_ok());
    assert_eq!(before.topic_digest(&topic), after.topic_digest(&topic), "directories stay");
    let new = after.seal_document("snapshots/daily.json", b"new").expect("sealed");
    let error = before.open_document("snapshots/daily.json", &new).expect_err("it has no such key");
    assert!(matches!(error, Error::NoKey { number: 1, newest: 0, .. }), "{error}");
    let no_first = BTreeMap::from([(1, counting(1))]);
    assert!(matches!(KeyRing::new(BACKUP.parse().expect("a UUID"), no_first), Err(Error::NoFirst)));
}
