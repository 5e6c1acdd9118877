//! Real wraps on memory, by master keys of the test.

use object_store::ObjectStore as _;
use strimzi_backup_format::crypt::Wrapped;
use strimzi_backup_format::layout;
use strimzi_backup_format::store::Store;

use super::*;
use crate::clock::SystemClock;
use crate::error::{chain, exit};
use crate::keys::tests::{TestKeys, founded, objects};

async fn done(store: &Store, keys: &TestKeys) -> Rekeyed {
    rekey(store, keys, &SystemClock).await.expect("rekeyed")
}

#[tokio::test]
async fn a34_after_it_the_new_master_key_opens_what_the_old_one_did_and_alone() {
    let (old, both, new) = (TestKeys::new(&[1]), TestKeys::new(&[2, 1]), TestKeys::new(&[2]));
    let store = founded(&old).await;
    let report = done(&store, &both).await;
    let [old_id, new_id] = [old.id().await, new.id().await];
    assert_eq!((report.added.as_slice(), &report.current), (&[0][..], &new_id));
    assert_eq!(report.not_needed, std::slice::from_ref(&old_id));
    assert_eq!(report.backup_keys, [BackupKey { number: 0, master_keys: vec![old_id.clone(), new_id] }]);
    assert_eq!(objects(&store).await, ["backup.json", "keys/0000-0000.json", "keys/0000-0001.json"]);
    for keys in [&new, &old] {
        assert!(keys::unlocked(store.clone(), Some(keys)).await.is_ok(), "either opens it");
    }
    let text = report.to_string();
    assert!(text.contains("backup key  0: wrapped anew") && text.contains(&format!("not needed  {old_id}")), "{text}");

    let again = done(&store, &both).await;
    assert_eq!((again.added.len(), objects(&store).await.len()), (0, 3), "nothing was left to do");
    // The next writer seals with a key that the old master key never wraps.
    let provider = new.provider().expect("keys");
    let now = TimestampMs::new(0);
    wraps::found_or_rotate(&store, report.backup, provider.as_ref(), now).await.expect("the next key");
    let after = done(&store, &new).await;
    assert_eq!(after.added, [0_u32; 0]);
    assert_eq!(after.backup_keys.last().expect("two").master_keys, [new.id().await]);
    let error = keys::unlocked(store, Some(&old)).await.expect_err("it does not open the newest");
    assert!(chain(&error).contains("backup key 1"), "{}", chain(&error));
}

#[tokio::test]
async fn a34_who_cannot_open_a_key_wraps_none_and_is_told_who_could() {
    let old = TestKeys::new(&[1]);
    let store = founded(&old).await;
    let error = rekey(&store, &TestKeys::new(&[2]), &SystemClock).await.expect_err("it opens nothing");
    assert!(chain(&error).contains(old.id().await.as_str()), "{}", chain(&error));
    assert_eq!((error.exit_code(), objects(&store).await.len()), (exit::USAGE, 2));
}

/// One more wrap of backup key 0.
async fn plant(store: &Store, wrapped: Wrapped) {
    let backup = strimzi_backup_format::sample::identity().backup;
    let planted = KeyWrap::new(backup, 0, 1, wrapped, TimestampMs::new(0));
    wraps::create(store, &planted).await.expect("created");
}

#[tokio::test]
async fn a34_a_wrap_that_names_the_new_master_key_and_does_not_open_counts_for_nothing() {
    let (old, both, new) = (TestKeys::new(&[1]), TestKeys::new(&[2, 1]), TestKeys::new(&[2]));
    let store = founded(&old).await;
    plant(&store, Wrapped { master: new.id().await, text: "A".repeat(80) }).await;
    assert_eq!(done(&store, &both).await.added, [0], "the old one would be let go");
    assert!(keys::unlocked(store.clone(), Some(&new)).await.is_ok());
    assert_eq!(done(&store, &both).await.added, [0_u32; 0], "once");
}

#[tokio::test]
async fn a34_beside_a_damaged_wrap_a_whole_one_is_added() {
    let (old, both, new) = (TestKeys::new(&[1]), TestKeys::new(&[2, 1]), TestKeys::new(&[2]));
    let store = founded(&old).await;
    assert_eq!(done(&store, &both).await.added, [0]);
    let wrap = layout::key_wrap(0, 1).below(&store.prefix);
    store.inner.put_opts(&wrap, "half a wrap".into(), Default::default()).await.expect("put");
    let error = keys::unlocked(store.clone(), Some(&new)).await.expect_err("the other one is of the old master key");
    assert!(chain(&error).contains(old.id().await.as_str()), "{}", chain(&error));
    let report = done(&store, &both).await;
    assert_eq!((report.added.as_slice(), report.not_needed), (&[0][..], vec![old.id().await]));
    let there = ["backup.json", "keys/0000-0000.json", "keys/0000-0001.json", "keys/0000-0002.json"];
    assert_eq!(objects(&store).await, there);
    assert!(keys::unlocked(store.clone(), Some(&new)).await.is_ok(), "whatever lies beside it");
    assert_eq!(done(&store, &new).await.added, [0_u32; 0], "once");
}

#[tokio::test]
async fn a34_a_key_that_somebody_brought_in_is_not_wrapped_anew() {
    let (old, both) = (TestKeys::new(&[1]), TestKeys::new(&[2, 1]));
    let store = founded(&old).await;
    let backup = strimzi_backup_format::sample::identity().backup;
    let theirs = SecretKey::generate().expect("drawn");
    let provider = old.provider().expect("keys");
    plant(&store, provider.wrap(&theirs, &wraps::context(backup, 0)).await.expect("wrapped")).await;
    let before = objects(&store).await;
    let error = rekey(&store, &both, &SystemClock).await.expect_err("which of the two?");
    let told = chain(&error);
    assert!(told.contains("keys/0000-0000.json and keys/0000-0001.json open to different keys"), "{told}");
    assert_eq!((error.exit_code(), objects(&store).await), (exit::DAMAGED, before));
}

#[tokio::test(start_paused = true)]
async fn a33_a_key_service_that_is_away_is_asked_again_and_not_for_ever() {
    let (old, both) = (TestKeys::new(&[1]), TestKeys::new(&[2, 1]));
    let store = founded(&old).await;
    both.be_away(3);
    assert_eq!(done(&store, &both).await.added, [0]);
    both.be_away(1_000);
    let error = rekey(&store, &both, &SystemClock).await.expect_err("away");
    assert_eq!(error.exit_code(), exit::FAILED, "{error}");
}

#[tokio::test]
async fn a_backup_in_the_clear_and_none_at_all_are_told() {
    let keys = TestKeys::new(&[1]);
    let store = Store::memory();
    let error = rekey(&store, &keys, &SystemClock).await.expect_err("nothing there");
    assert!(matches!(error, Error::NoBackup(_)), "{error}");
    let identity = strimzi_backup_format::sample::identity();
    strimzi_backup_format::manifest::log::create_identity(&store, &identity).await.expect("an identity");
    let error = rekey(&store, &keys, &SystemClock).await.expect_err("in the clear");
    assert!(chain(&error).contains("is not encrypted"), "{}", chain(&error));
}
