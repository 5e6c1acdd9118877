//! Wrapped keys that are damaged.

use strimzi_backup_format::crypt::wraps::{self, KeyWrap};
use strimzi_backup_format::ids::TimestampMs;

use super::fixture::{Backup, START};
use super::*;
use crate::keys::Source as _;
use crate::keys::tests::TestKeys;

/// An encrypted backup whose one key is wrapped by two master keys.
async fn wrapped_twice() -> Backup {
    let (old, both) = (TestKeys::new(&[1]), TestKeys::new(&[2, 1]));
    let backup = Backup::small_encrypted_in(Store::memory(), &old).await;
    let provider = both.provider().expect("keys");
    let found = wraps::read(&backup.store).await.expect("readable");
    let opened = wraps::open_each(backup.id, &found.wraps, provider.as_ref()).await.expect("open");
    let wrapped = provider.wrap(&opened[&0].key, &wraps::context(backup.id, 0)).await.expect("wrapped");
    let second = KeyWrap::new(backup.id, 0, found.next_wrap(0), wrapped, TimestampMs::new(START));
    wraps::create(&backup.store, &second).await.expect("created");
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
