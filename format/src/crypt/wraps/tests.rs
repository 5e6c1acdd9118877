//! Providers whose keys are files, beside one that answers as it is told; a store in memory that fails as it is told.

use async_trait::async_trait;
use bytes::Bytes;
use object_store::ObjectStoreExt as _;
use object_store::path::Path;
use parking_lot::Mutex;

use super::*;
use crate::crypt::FileKeys;
use crate::sample::{at, backup, faulty, golden};
use crate::store::faulty::{Decision, Fault, Op};

/// A provider with a current key of these bytes, and earlier ones.
fn keys(current: u8, previous: &[u8]) -> FileKeys {
    let folder = tempfile::tempdir().expect("folder");
    let path = |byte: &u8| {
        let path = folder.path().join(byte.to_string());
        std::fs::write(&path, [*byte; 32]).expect("write");
        path
    };
    let previous: Vec<_> = previous.iter().map(path).collect();
    FileKeys::read(&path(&current), &previous).expect("keys")
}

async fn founded(store: &Store, provider: &dyn KeyProvider) -> KeyRing {
    found_or_rotate(store, backup(), provider, at(0)).await.expect("keys")
}

async fn whole(store: &Store) -> Vec<KeyWrap> {
    read(store).await.expect("readable").wraps
}

async fn places(store: &Store) -> Vec<(u32, u32)> {
    whole(store).await.iter().map(|wrap| (wrap.number, wrap.wrap)).collect()
}

/// Adds a wrap of that backup key by the current key of `provider`.
async fn rewrap(store: &Store, provider: &dyn KeyProvider, number: u32, wrap: u32) {
    let wraps = whole(store).await;
    let keys = open_keys(backup(), &wraps, provider).await.expect("open");
    let wrapped = provider.wrap(&keys[&number], &context(backup(), number)).await.expect("wrapped");
    let created = create(store, &KeyWrap::new(backup(), number, wrap, wrapped, at(1))).await;
    assert_eq!(created.expect("created"), Outcome::Created);
}

#[tokio::test]
async fn a33_the_first_writer_makes_key_0_and_all_others_find_it() {
    let store = Store::memory();
    let first = founded(&store, &keys(1, &[])).await;
    let sealed = first.seal_document("snapshots/daily.json", b"text").expect("sealed");
    let second = founded(&store, &keys(1, &[])).await;
    assert_eq!(second.open_document("snapshots/daily.json", &sealed).expect("opened").as_ref(), b"text");
    assert_eq!(places(&store).await, [(0, 0)]);
    let stored =
        store.find(&layout::key_wrap(0, 0)).await.expect("found").expect("there").bytes().await.expect("bytes");
    let wrap: KeyWrap = document::unseal(&stored).expect("sealed by its digest, and plain");
    assert_eq!((wrap.backup, wrap.created_at), (backup(), at(0)));
    assert_eq!(wrap.master_key, keys(1, &[]).current().await.expect("known"));
}

#[tokio::test]
async fn a34_a_writer_under_a_new_master_key_makes_the_next_key_and_everything_opens() {
    let store = Store::memory();
    let before = founded(&store, &keys(1, &[])).await;
    let old = before.seal_document("snapshots/a.json", b"old").expect("sealed");
    let after = founded(&store, &keys(2, &[1])).await;
    assert_eq!((after.current(), places(&store).await), (1, vec![(0, 0), (1, 0)]));
    let new = after.seal_document("snapshots/b.json", b"new").expect("sealed");
    assert_eq!(after.open_document("snapshots/a.json", &old).expect("opened").as_ref(), b"old");
    assert!(before.open_document("snapshots/b.json", &new).is_err());
    assert_eq!(founded(&store, &keys(2, &[1])).await.current(), 1, "once");

    // Who has the old master key alone still opens what it opened, and no more.
    let error = unlock(backup(), &whole(&store).await, &keys(1, &[])).await.expect_err("locked");
    assert!(matches!(&error, UnlockError::Locked(locked) if locked.len() == 1 && locked[0].number == 1), "{error}");
    // Wrapped anew, the old keys open without the old master key.
    rewrap(&store, &keys(2, &[1]), 0, 1).await;
    let wraps = whole(&store).await;
    let ring = unlock(backup(), &wraps, &keys(2, &[])).await.expect("open");
    assert_eq!(ring.open_document("snapshots/a.json", &old).expect("opened").as_ref(), b"old");
    assert_eq!(founded(&store, &keys(2, &[])).await.current(), 1);
}

#[tokio::test]
async fn a34_a_key_that_was_only_wrapped_for_the_new_master_key_does_not_seal_any_longer() {
    let store = Store::memory();
    founded(&store, &keys(1, &[])).await;
    rewrap(&store, &keys(2, &[1]), 0, 1).await;
    assert_eq!(founded(&store, &keys(2, &[])).await.current(), 1, "the old master key opens key 0");
    assert_eq!(places(&store).await, [(0, 0), (0, 1), (1, 0)]);
}

#[tokio::test]
async fn a34_who_has_an_earlier_master_key_brings_in_no_key_that_seals() {
    let store = Store::memory();
    founded(&store, &keys(1, &[])).await;
    let rightful = founded(&store, &keys(2, &[1])).await;
    let theirs = SecretKey::generate().expect("drawn");
    let wrapped = keys(1, &[]).wrap(&theirs, &context(backup(), 1)).await.expect("wrapped");
    create(&store, &KeyWrap::new(backup(), 1, 1, wrapped, at(1))).await.expect("created");
    let writer = founded(&store, &keys(2, &[1])).await;
    let sealed = writer.seal_document("snapshots/a.json", b"text").expect("sealed");
    let opened = rightful.open_document("snapshots/a.json", &sealed);
    assert_eq!(opened.expect("sealed by the key that the current master key wrapped").as_ref(), b"text");
    assert_eq!(places(&store).await, [(0, 0), (1, 0), (1, 1)], "and no other was made");
}

/// Adds a wrap of another key in the place of backup key `number`, as who has the current key of `provider` can.
async fn plant(store: &Store, provider: &dyn KeyProvider, number: u32, wrap: u32) {
    let theirs = SecretKey::generate().expect("drawn");
    let wrapped = provider.wrap(&theirs, &context(backup(), number)).await.expect("wrapped");
    create(store, &KeyWrap::new(backup(), number, wrap, wrapped, at(1))).await.expect("created");
}

#[tokio::test]
async fn a35_where_wraps_of_one_number_are_of_different_keys_the_first_decides_and_without_it_none() {
    let store = Store::memory();
    let (old, both) = (keys(1, &[]), keys(2, &[1]));
    let rightful = founded(&store, &both).await;
    let sealed = rightful.seal_document("snapshots/a.json", b"text").expect("sealed");
    plant(&store, &old, 0, 1).await;
    let wraps = whole(&store).await;
    let ring = unlock(backup(), &wraps, &both).await.expect("the first wrap says which it is");
    assert_eq!(ring.open_document("snapshots/a.json", &sealed).expect("opened").as_ref(), b"text");
    // Who wraps it anew goes by none of them.
    let error = open_each(backup(), &wraps, &both).await.expect_err("which of the two?");
    assert!(matches!(&error, UnlockError::Differs { number: 0, .. }), "{error}");

    // Where the first does not open, it decides nothing.
    rewrap(&store, &keys(3, &[2]), 0, 2).await;
    let without_first = keys(3, &[1]);
    let error = unlock(backup(), &whole(&store).await, &without_first).await.expect_err("which of the two?");
    let told = error.to_string();
    assert!(told.contains("keys/0000-0001.json and keys/0000-0002.json open to different keys"), "{told}");
    let error = found_or_rotate(&store, backup(), &without_first, at(0)).await.expect_err("nor for who writes");
    assert!(error.is_damage() && !error.is_retryable(), "{error}");
    assert_eq!(places(&store).await, [(0, 0), (0, 1), (0, 2)], "nothing was written");
    let ring = unlock(backup(), &whole(&store).await, &keys(3, &[])).await.expect("one that opens alone is taken");
    assert_eq!(ring.open_document("snapshots/a.json", &sealed).expect("opened").as_ref(), b"text");
}

#[tokio::test]
async fn a34_who_lacks_a_master_key_is_told_which_and_writes_nothing() {
    let store = Store::memory();
    founded(&store, &keys(1, &[])).await;
    founded(&store, &keys(2, &[1])).await;
    let error = found_or_rotate(&store, backup(), &keys(3, &[]), at(0)).await.expect_err("locked");
    assert!(!error.is_retryable() && !error.is_damage(), "{error}");
    let said = error.to_string();
    for (number, key) in [(0, 1), (1, 2)] {
        let master = keys(key, &[]).current().await.expect("known");
        assert!(said.contains(&format!("backup key {number}, which {master} opens")), "{said}");
    }
    assert_eq!(places(&store).await, [(0, 0), (1, 0)], "nothing was written");
    let error = unlock(backup(), &[], &keys(1, &[])).await.expect_err("no keys");
    assert!(error.to_string().contains("no backup key 0"), "{error}");
}

#[tokio::test]
async fn a35_a_wrap_that_was_changed_moved_or_is_of_another_backup_does_not_open() {
    let store = Store::memory();
    let provider = keys(1, &[]);
    founded(&store, &provider).await;
    let wraps = whole(&store).await;
    let with = |change: fn(&mut KeyWrap)| {
        let mut wraps = wraps.clone();
        change(&mut wraps[0]);
        wraps
    };
    let other = BackupId::new(uuid::Uuid::from_u128(7));
    let foreign = unlock(other, &wraps, &provider).await.expect_err("another backup");
    assert!(matches!(foreign, UnlockError::Foreign { .. }), "{foreign}");
    // One that lies about its backup is found out by its seal.
    let lying = with(|wrap| wrap.backup = BackupId::new(uuid::Uuid::from_u128(7)));
    let changed = with(|wrap| wrap.wrapped.replace_range(20..21, if &wrap.wrapped[20..21] == "A" { "B" } else { "A" }));
    for (backup, wraps) in [(other, lying), (backup(), changed)] {
        let error = unlock(backup, &wraps, &provider).await.expect_err("wrong");
        assert!(error.to_string().contains("backup key 0") && error.to_string().contains("does not open"), "{error}");
    }
    let mut moved = wraps.clone();
    moved.push(KeyWrap { number: 1, ..wraps[0].clone() });
    let error = unlock(backup(), &moved, &provider).await.expect_err("moved");
    assert!(error.to_string().contains("backup key 1"), "{error}");
}

async fn put(store: &Store, key: &ObjectKey, bytes: Bytes) {
    store.inner.put(&key.below(&store.prefix), bytes.into()).await.expect("put");
}

#[tokio::test]
async fn a35_documents_below_keys_are_checked_against_their_names_and_each_other() {
    let store = Store::memory();
    founded(&store, &keys(1, &[])).await;
    store.inner.put(&Path::from("keys/notes.txt"), "x".into()).await.expect("put");
    assert_eq!(places(&store).await, [(0, 0)], "what has another name is passed over");
    let stored =
        store.find(&layout::key_wrap(0, 0)).await.expect("found").expect("there").bytes().await.expect("bytes");
    put(&store, &layout::key_wrap(2, 0), stored.clone()).await;
    let error = read(&store).await.expect_err("another place");
    assert!(error.is_damage() && error.to_string().contains("keys/0002-0000.json"), "{error}");
    let second = KeyWrap { number: 2, ..read_one(&stored) };
    put(&store, &layout::key_wrap(2, 0), document::seal(&second).expect("sealed")).await;
    let error = read(&store).await.expect_err("a hole");
    assert!(matches!(&error, Error::Missing { number: 1, witness } if witness.contains("0002")), "{error}");
}

#[tokio::test]
async fn a60_what_is_too_large_for_a_wrapped_key_is_not_read() {
    let store = Store::memory();
    let provider = keys(1, &[]);
    founded(&store, &provider).await;
    put(&store, &layout::key_wrap(0, 0), Bytes::from(vec![b' '; 70_000])).await;
    let error = read(&store).await.expect_err("too large");
    let said = crate::errors::chain(&error);
    assert!(error.is_damage() && said.contains("keys/0000-0000.json") && said.contains("70000 bytes"), "{said}");
}

#[tokio::test]
async fn a35_a_damaged_wrap_is_passed_over_where_another_one_of_its_key_is_whole() {
    let store = Store::memory();
    let (old, both, new) = (keys(1, &[]), keys(2, &[1]), keys(2, &[]));
    let before = founded(&store, &old).await;
    let sealed = before.seal_document("snapshots/a.json", b"text").expect("sealed");
    rewrap(&store, &both, 0, 1).await;
    let intact =
        store.find(&layout::key_wrap(0, 1)).await.expect("found").expect("there").bytes().await.expect("bytes");
    put(&store, &layout::key_wrap(0, 0), Bytes::from_static(b"half a wrap")).await;
    let found = read(&store).await.expect("the other one is whole");
    assert_eq!((found.wraps.len(), found.wraps[0].wrap, found.next_wrap(0), found.next_wrap(1)), (1, 1, 2, 0));
    let [ignored] = &found.ignored[..] else { unreachable!("{:?}", found.ignored) };
    assert_eq!((ignored.object().as_str(), ignored.why.verdict()), ("keys/0000-0000.json", "is damaged"));
    let ring = unlock(backup(), &found.wraps, &new).await.expect("open");
    assert_eq!(ring.open_document("snapshots/a.json", &sealed).expect("opened").as_ref(), b"text");
    // What it was made with is not there: what was added since opens, and does not seal.
    assert_eq!(founded(&store, &new).await.current(), 1);
    // One that stands in the place of another is damaged, too, and nobody opens what has no whole wrap left.
    put(&store, &layout::key_wrap(0, 0), intact).await;
    assert_eq!(read(&store).await.expect("readable").ignored.len(), 1);
    put(&store, &layout::key_wrap(0, 1), Bytes::from_static(b"half a wrap")).await;
    let error = read(&store).await.expect_err("none is whole");
    assert!(error.is_damage() && error.to_string() == "keys/0000-0000.json is damaged", "{error}");
}

#[tokio::test]
async fn a34_a_wrap_of_a_newer_release_is_not_passed_over() {
    let store = Store::memory();
    founded(&store, &keys(1, &[])).await;
    rewrap(&store, &keys(2, &[1]), 0, 1).await;
    let newer = KeyWrap { format_version: FORMAT_VERSION + 1, ..whole(&store).await.remove(1) };
    put(&store, &newer.object(), document::seal(&newer).expect("sealed")).await;
    let error = read(&store).await.expect_err("a newer release");
    assert_eq!(error.to_string(), "keys/0000-0001.json was written by a newer release");
}

fn read_one(stored: &Bytes) -> KeyWrap {
    document::unseal(stored).expect("a wrap")
}

#[tokio::test]
async fn a34_a_lost_answer_of_a_create_makes_no_second_key() {
    let (store, control) = faulty();
    let provider = keys(1, &[]);
    control.script([(Op::Create, Decision::FailAfter(Fault::Timeout))]);
    founded(&store, &provider).await;
    assert_eq!(places(&store).await, [(0, 0)]);

    let (store, control) = faulty();
    control.script([
        (Op::Create, Decision::FailAfter(Fault::Timeout)),
        (Op::Get, Decision::FailBefore(Fault::Unavailable)),
    ]);
    let error = found_or_rotate(&store, backup(), &provider, at(0)).await.expect_err("not known");
    assert!(error.is_retryable(), "{error}");
    founded(&store, &provider).await;
    assert_eq!(places(&store).await, [(0, 0)]);
}

#[tokio::test]
async fn a34_a_wrap_that_is_not_shown_or_read_wrong_in_passing_is_read_again() {
    let (store, control) = faulty();
    let provider = keys(1, &[]);
    founded(&store, &provider).await;
    for passing in [Decision::Stale, Decision::FlipBit(60), Decision::Truncate(20)] {
        control.script([(); 2].map(|()| (Op::Get, passing.clone())));
        founded(&store, &provider).await;
        assert!(control.unused().is_empty(), "{passing:?}");
        control.script([(); 3].map(|()| (Op::Get, passing.clone())));
        let error = read(&store).await.expect_err("it stays so");
        assert!(error.is_damage() && error.to_string().contains("keys/0000-0000.json"), "{passing:?}: {error}");
    }
    assert_eq!(places(&store).await, [(0, 0)]);
}

#[tokio::test]
async fn a34_of_two_that_make_a_key_at_once_both_use_that_of_one() {
    let (store, control) = faulty();
    let (provider, twin) = (keys(1, &[]), keys(1, &[]));
    // The second sees nothing yet when it looks, and its create is refused.
    let first = founded(&store, &provider).await;
    control.script([(Op::List, Decision::Stale)]);
    let second = founded(&store, &twin).await;
    let sealed = first.seal_document("snapshots/x.json", b"x").expect("sealed");
    assert!(second.open_document("snapshots/x.json", &sealed).is_ok());
    assert_eq!(places(&store).await, [(0, 0)]);
    control.script([(); 4].map(|()| (Op::List, Decision::Stale)));
    let error = found_or_rotate(&store, backup(), &twin, at(0)).await.expect_err("it is never listed");
    assert!(matches!(error, Error::Raced { .. }) && error.is_retryable(), "{error}");
}

/// A service that answers each unwrapping with what is next in its list; then as the keys in it do.
#[derive(Debug)]
struct Service {
    keys: FileKeys,
    answers: Mutex<Vec<KeyError>>,
}

#[async_trait]
impl KeyProvider for Service {
    async fn current(&self) -> Result<MasterKeyId, KeyError> {
        self.keys.current().await
    }

    async fn wrap(&self, key: &SecretKey, context: &[u8]) -> Result<Wrapped, KeyError> {
        self.keys.wrap(key, context).await
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<SecretKey, KeyError> {
        if let Some(error) = self.answers.lock().pop() {
            return Err(error);
        }
        self.keys.unwrap(wrapped, context).await
    }

    fn knows(&self, master: &MasterKeyId) -> bool {
        self.keys.knows(master)
    }
}

#[tokio::test]
async fn a34_another_wrap_is_tried_where_one_is_gone_and_none_where_nobody_answers() {
    let store = Store::memory();
    founded(&store, &keys(1, &[])).await;
    rewrap(&store, &keys(2, &[1]), 0, 1).await;
    let wraps = whole(&store).await;
    let gone = || KeyError::Gone { key: "transit:t/k:v1".to_owned(), why: "trimmed".to_owned() };
    let silent = KeyError::Unavailable { key: "transit:t/k".to_owned(), source: "no route".into() };
    let service = |answers| Service { keys: keys(2, &[1]), answers: Mutex::new(answers) };
    let one_gone = service(vec![gone()]);
    assert!(unlock(backup(), &wraps, &one_gone).await.is_ok(), "the other wrap opens");
    let error = unlock(backup(), &wraps, &service(vec![gone(), gone()])).await.expect_err("both are gone");
    assert!(!error.is_retryable() && error.to_string().contains("trimmed"), "{error}");
    let silent = service(vec![silent]);
    let error = unlock(backup(), &wraps, &silent).await.expect_err("nobody answers");
    assert!(error.is_retryable() && error.to_string().contains("transit:t/k cannot be used now"), "{error}");
    let error = found_or_rotate(&store, backup(), &service(vec![gone(), gone()]), at(0)).await.expect_err("locked");
    assert!(!error.is_retryable(), "{error}");
    assert_eq!(places(&store).await, [(0, 0), (0, 1)], "nothing was written");
}

const GOLDEN: &str = "key-wrap-v1.json";

/// Its bytes, and what is wrapped in it, were made by another implementation (Python's `cryptography`).
#[tokio::test]
async fn a34_the_golden_wrap_is_read_opened_and_written_to_the_letter() {
    let stored = golden::read(GOLDEN);
    let wrap: KeyWrap = document::unseal(&stored).expect("read");
    assert_eq!((wrap.number, wrap.wrap, wrap.created_at), (1, 2, at(120)));
    assert_eq!(document::seal(&wrap).expect("sealed"), stored);
    let folder = tempfile::tempdir().expect("folder");
    let master: Vec<u8> = (0x40..0x60).collect();
    std::fs::write(folder.path().join("key"), &master).expect("write");
    let provider = FileKeys::read(&folder.path().join("key"), &[]).expect("a key");
    let key = provider.unwrap(&wrap.wrapped(), &context(wrap.backup, wrap.number)).await.expect("opened");
    assert_eq!(key.as_bytes().to_vec(), (0x20..0x40).collect::<Vec<u8>>());
}
