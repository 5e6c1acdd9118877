//! Snapshots: right ones, and damage to them.

use strimzi_backup_format::document;
use strimzi_backup_format::ids::{Offset, Sequence, TimestampMs};
use strimzi_backup_format::snapshot::Snapshot;

use super::fixture::{Backup, Sealing};
use super::*;

/// The small backup with snapshots of manifests 6 and 7.
async fn backup() -> (Backup, Snapshot) {
    backup_as(Sealing::Open).await
}

async fn backup_as(sealing: Sealing) -> (Backup, Snapshot) {
    let mut backup = Backup::small_as(sealing, 1).await;
    backup.snapshot("first").await;
    backup.commit(Default::default()).await;
    let second = backup.snapshot("second").await;
    (backup, second)
}

async fn put(backup: &Backup, snapshot: &Snapshot) {
    backup.put("snapshots/second.json", document::seal(snapshot).expect("sealed").to_vec()).await;
}

async fn assert_named(backup: &Backup, kind: FindingKind, words: &str) {
    let (finding, report) = only_finding(&backup.store, Level::Chain).await;
    assert_eq!((finding.kind, finding.object.as_str()), (kind, "snapshots/second.json"), "{report}");
    assert!(finding.problem.contains(words), "{report}");
    assert_eq!(report.orphans.as_ref().map(|orphans| orphans.objects), Some(0), "a snapshot is no orphan: {report}");
}

#[tokio::test]
async fn snapshots_hold_and_are_no_orphans() {
    let (backup, _) = backup().await;
    backup.put("snapshots/note.txt", b"by hand".to_vec()).await;
    for level in LEVELS {
        let report = verify(&backup.store, level).await;
        assert!(report.sound, "{report}");
        assert_eq!(report.counts.snapshots, 2);
        assert!(report.to_string().contains("7 manifests, 2 checkpoints, 2 snapshots, 4 segments"), "{report}");
        let orphans = report.orphans.expect("counted");
        assert_eq!(orphans.first, ["snapshots/note.txt"], "what is no snapshot's key is");
    }
}

/// The first case is what anybody can do, the others what who has the keys can, where there are some.
async fn damaged_or_foreign(sealing: Sealing) {
    let (backup, second) = backup_as(sealing).await;
    backup.flip("snapshots/second.json", 60).await;
    assert_named(&backup, FindingKind::Damaged, "damaged document").await;
    let mut other = Backup::small_as(sealing, 2).await;
    put(&backup, &other.snapshot("second").await).await;
    assert_named(&backup, FindingKind::Damaged, "it is of backup").await;
    put(&backup, &Snapshot { format_version: 2, ..second }).await;
    let report = verify(&backup.store, Level::Chain).await;
    assert_eq!(report.findings[0].kind, FindingKind::NewerFormat, "{report}");
    assert!(report.outcome().expect_err("newer").to_string().contains("snapshots/second.json"));
}

#[tokio::test]
async fn a58_a_snapshot_that_is_damaged_or_of_another_backup_is_named() {
    damaged_or_foreign(Sealing::Open).await;
}

async fn contradicted(sealing: Sealing) {
    let (backup, second) = backup_as(sealing).await;
    let mut moved = second.clone();
    moved.positions[0].next_offset = Offset::new(1);
    put(&backup, &moved).await;
    assert_named(&backup, FindingKind::Contradiction, "is not what the manifests up to 7 say").await;
    let mut exchanged = second.clone();
    exchanged.manifest.sequence = Sequence::new(6);
    put(&backup, &exchanged).await;
    assert_named(&backup, FindingKind::Contradiction, "it names manifest 6 with digest").await;
    // When it was asked for is its own to say.
    put(&backup, &Snapshot { asked_at: TimestampMs::new(0), ..second }).await;
    assert!(verify(&backup.store, Level::Chain).await.sound);
}

#[tokio::test]
async fn a58_a_snapshot_that_the_manifests_contradict_is_named() {
    contradicted(Sealing::Open).await;
}

async fn newest_missing(sealing: Sealing) {
    let (backup, _) = backup_as(sealing).await;
    backup.delete(&Backup::manifest_key(7)).await;
    assert_named(&backup, FindingKind::Contradiction, "newer manifests were lost").await;
}

#[tokio::test]
async fn a58_the_newest_manifests_missing_are_betrayed_by_their_snapshot() {
    newest_missing(Sealing::Open).await;
}

#[tokio::test(start_paused = true)]
async fn a58_a_bad_snapshot_of_an_encrypted_backup_is_named() {
    damaged_or_foreign(Sealing::Key).await;
    contradicted(Sealing::Key).await;
    newest_missing(Sealing::Key).await;
}

#[tokio::test]
async fn a_snapshot_after_a_break_is_not_judged() {
    let (backup, _) = backup().await;
    backup.delete(&Backup::manifest_key(5)).await;
    let report = verify(&backup.store, Level::Chain).await;
    assert_eq!((report.finding_count, report.counts.snapshots), (1, 2), "{report}");
}

#[tokio::test]
async fn snapshots_alone_are_no_empty_prefix() {
    let (backup, _) = backup().await;
    for key in backup.keys().await.into_iter().filter(|key| !key.starts_with("snapshots/")) {
        backup.delete(&key).await;
    }
    let (finding, _) = only_finding(&backup.store, Level::Chain).await;
    assert_eq!((finding.kind, finding.object.as_str()), (FindingKind::Missing, "backup.json"));
}
