//! Wrapped keys that are damaged.

use object_store::ObjectStoreExt as _;
use strimzi_backup_format::crypt::wraps::{self, KeyWrap};
use strimzi_backup_format::ids::{BackupId, TimestampMs};

use super::fixture::{Backup, START};
use super::*;
use crate::error::chain;
use crate::keys::tests::{TestKeys, founded};
use crate::keys::{Source as _, unlocked};

/// Adds a wrap of a backup key by the current one of these master keys.
async fn wrapped_by(keys: &TestKeys, number: u32, store: &Store, backup: BackupId) {
    let provider = keys.provider().expect("keys");
    let found = wraps::read(store).await.expect("readable");
    let opened = wraps::open_each(backup, &found.wraps, provider.as_ref()).await.expect("open");
    let wrapped = provider.wrap(&opened[&number].key, &wraps::context(backup, number)).await.expect("wrapped");
    let next = KeyWrap::new(backup, number, found.next_wrap(number), wrapped, TimestampMs::new(START));
    wraps::create(store, &next).await.expect("created");
}

/// An encrypted backup whose one key is wrapped by two master keys.
async fn wrapped_twice() -> Backup {
    let (old, both) = (TestKeys::new(&[1]), TestKeys::new(&[2, 1]));
    let backup = Backup::small_encrypted_in(Store::memory(), &old).await;
    wrapped_by(&both, 0, &backup.store, backup.id).await;
    backup
}

#[tokio::test]
async fn a35_a_damaged_wrap_is_a_finding_that_names_it_whether_another_one_is_whole_or_not() {
    let backup = wrapped_twice().await;
    let report = verify(&backup.store, Level::Chain).await;
    assert!(report.sound && report.keys.is_some(), "{report}");
    backup.damage("keys/0000-0001.json", b"half a wrap".to_vec()).await;
    let (finding, report) = only_finding(&backup.store, Level::Chain).await;
    assert_eq!((finding.kind, finding.object.as_str()), (FindingKind::Damaged, "keys/0000-0001.json"), "{report}");
    let keys = report.keys.as_ref().expect("the other one says who opens it");
    assert_eq!((keys.backup_keys[0].key.master_keys.len(), report.unanswered_count), (1, 0), "{report}");
    backup.damage("keys/0000-0000.json", b"half a wrap".to_vec()).await;
    let (finding, report) = only_finding(&backup.store, Level::Chain).await;
    assert_eq!((finding.kind, finding.object.as_str()), (FindingKind::Damaged, "keys/0000-0000.json"), "{report}");
    assert_eq!(report.unanswered_count, 0, "{report}");
}

/// An encrypted backup of two keys, each wrapped by both master keys: in `below`, with who opens all of it.
async fn wrapped_crosswise(below: &Store) -> (Backup, TestKeys) {
    let (old, both, back) = (TestKeys::new(&[1]), TestKeys::new(&[2, 1]), TestKeys::new(&[1, 2]));
    let backup = Backup::small_encrypted_in(below.clone(), &old).await;
    let provider = both.provider().expect("keys");
    let rotated = wraps::found_or_rotate(below, backup.id, provider.as_ref(), TimestampMs::new(START)).await;
    assert_eq!(rotated.expect("the next key").current(), 1);
    wrapped_by(&both, 0, below, backup.id).await;
    wrapped_by(&back, 1, below, backup.id).await;
    (backup, both)
}

/// What is told of the backup in `below`, by whoever opens it or by a verification.
async fn told(below: &Store, keys: &TestKeys) -> Result<(), String> {
    let store = match unlocked(below.clone(), Some(keys)).await {
        Ok(store) => store,
        Err(error) => {
            assert_eq!(error.exit_code(), exit::DAMAGED, "{}", chain(&error));
            return Err(chain(&error));
        }
    };
    let report = verify(&store, Level::Chain).await;
    // Nothing else is wrong: what a whole wrap of the same key opens is what was sealed.
    assert!(report.findings.iter().all(|finding| finding.object.starts_with("keys/")), "{report}");
    report.outcome().map_err(|_| report.to_string())
}

#[tokio::test]
async fn a35_each_wrap_in_the_place_of_another_of_another_backup_or_with_another_byte_is_named() {
    let below = Store::memory();
    let (backup, keys) = wrapped_crosswise(&below).await;
    assert_eq!(told(&below, &keys).await, Ok(()));
    let names = ["keys/0000-0000.json", "keys/0000-0001.json", "keys/0001-0000.json", "keys/0001-0001.json"];
    let mut stored = Vec::new();
    for name in names {
        stored.push(backup.stored(name).await.to_vec());
    }
    let stranger = founded(&TestKeys::new(&[1])).await;
    let theirs = stranger.inner.get(&names[0].into()).await.expect("there").bytes().await.expect("bytes");
    let mut forged = vec![(0, theirs.to_vec(), "of another backup".to_owned())];
    for (place, whole) in stored.iter().enumerate() {
        let others = (0..names.len()).filter(|other| *other != place);
        forged.extend(others.map(|other| (place, stored[other].clone(), format!("replaced by {}", names[other]))));
        for at in (0..whole.len()).step_by(5).chain([whole.len() - 1]) {
            let mut changed = whole.clone();
            changed[at] ^= 1;
            forged.push((place, changed, format!("byte {at}")));
        }
    }
    for (place, bytes, how) in forged {
        backup.damage(names[place], bytes).await;
        let told = told(&below, &keys).await.expect_err("it is as good as the one that was there");
        assert!(told.contains(names[place]), "{}, {how}: {told}", names[place]);
        backup.damage(names[place], stored[place].clone()).await;
    }
    // Two that changed places: what is left of a key opens it, or nothing does.
    for (one, other) in [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)] {
        for (place, bytes) in [(one, other), (other, one)] {
            backup.damage(names[place], stored[bytes].clone()).await;
        }
        let told = told(&below, &keys).await.expect_err("exchanged");
        assert!(told.contains(names[one]) || told.contains(names[other]), "{one} and {other}: {told}");
        for place in [one, other] {
            backup.damage(names[place], stored[place].clone()).await;
        }
    }
    assert_eq!(told(&below, &keys).await, Ok(()));
}
