//! What holds a key prints nothing of it, in either form of `Debug`. That keys are wiped when they are dropped, no test can see: what
//! holds one is `zeroize::Zeroizing`, or of aws-lc, which wipes its own.

use std::sync::Arc;

use super::aead::Cipher;
use super::wraps::{self, KeyWrap};
use super::{FileKeys, FileOpener, KeyProvider as _, KeyRing};
use crate::sample::{assert_prints_none_of, at, backup, counting_key, intake, shown_of};
use crate::store::{self, Store};

/// What the bytes of a master key and of a backup key begin with.
const MASTER: u8 = 0x40;
const BACKUP: u8 = 0x20;

fn opener() -> FileOpener {
    let ring = KeyRing::new(backup(), [(0, counting_key(BACKUP))].into()).expect("a key");
    FileOpener { ring: Arc::new(ring), object: intake(crate::ids::Sequence::new(2), 0) }
}

#[test]
fn a_part_of_a_secret_is_seen_in_every_form() {
    let key = counting_key(BACKUP);
    let part = &key.as_bytes()[3..];
    let base64 = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
    let text = String::from_utf8(part.to_vec()).expect("ASCII");
    for shown in [
        format!("{part:?}"),
        format!("{part:#?}"),
        hex::encode(part),
        hex::encode_upper(part),
        base64(part),
        base64(&part[1..]),
        base64(&part[2..]),
        text,
    ] {
        assert!(shown_of(key.as_bytes(), &format!("a key: {shown}")).is_some(), "{shown}");
    }
    assert_eq!(
        shown_of(key.as_bytes(), "SecretKey(..) [32, 33, 34, 35] 20212223 ICEiIyQ"),
        None,
        "no more than an accident"
    );
}

#[test]
fn a33_nothing_of_a_key_is_printed() {
    let key = counting_key(BACKUP);
    assert_eq!(format!("{key:?} {key:#?}"), "SecretKey(..) SecretKey(..)");
    let opener = opener();
    let seal = opener.ring.seal_file(&opener.object).expect("sealed");
    assert_eq!(opener.open(&seal.key_metadata).expect("opened").as_bytes(), seal.data_key.as_bytes());
    assert_eq!(opener.aad_prefix(), seal.aad_prefix);
    let printed = format!("{opener:?} {seal:?}");
    assert!(printed.contains("numbers: [0]") && printed.contains("data_key: SecretKey(..)"), "{printed}");
    assert_prints_none_of(seal.data_key.as_bytes(), &(&seal, opener.open(&seal.key_metadata).expect("opened")));
    let cipher = Cipher::new(key.as_bytes()).expect("a key");
    let sealed = store::sealed(&Store::memory(), Arc::clone(&opener.ring));
    assert_prints_none_of(key.as_bytes(), &(&opener, &opener.ring, &seal, &cipher, Some(&key)));
    assert_prints_none_of(key.as_bytes(), &(&sealed, &sealed.inner, sealed.opener(&opener.object)));
}

#[tokio::test]
async fn a33_nothing_of_a_master_key_or_of_what_it_opens_is_printed() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("key");
    let (master, key) = (counting_key(MASTER), counting_key(BACKUP));
    std::fs::write(&path, master.as_bytes()).expect("write");
    let keys = FileKeys::read(&path, &[]).expect("a key");
    let wrapped = keys.wrap(&key, &wraps::context(backup(), 0)).await.expect("wrapped");
    let wrap = KeyWrap::new(backup(), 0, 0, wrapped, at(0));
    let opened = wraps::open_each(backup(), std::slice::from_ref(&wrap), &keys).await.expect("opened");
    assert_eq!(opened[&0].key.as_bytes(), key.as_bytes());
    let foreign =
        wraps::open_each(crate::ids::BackupId::new(uuid::Uuid::nil()), std::slice::from_ref(&wrap), &keys).await;
    let (foreign, missing) =
        (foreign.expect_err("of another backup"), FileKeys::read(folder.path(), &[]).expect_err("no file"));
    for secret in [&master, &key] {
        assert_prints_none_of(secret.as_bytes(), &(&keys, &opened, &wrap));
        assert_prints_none_of(secret.as_bytes(), &(&foreign, &missing));
    }
    // What wraps is derived from the master key, and is nowhere either.
    let wraps = master.derive(super::secret::MASTER_SALT, b"strimzi-backup wraps").expect("derived");
    assert_prints_none_of(wraps.as_bytes(), &(&keys, &opened, &wrap));
}
