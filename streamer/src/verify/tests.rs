//! Damage of every kind, done to a small backup in memory, and what a verification says of it.

mod documents;
mod fixture;
mod keys;
mod mutations;
mod segments;
mod snapshots;
mod summary;
mod swaps;
mod upkeep;

use strimzi_backup_format::ids::{Lineage, PartitionId, PartitionKey, TopicName};
use strimzi_backup_format::store::Store;

use self::fixture::Backup;
use super::report::{Finding, FindingKind, Report};
use super::sum::Sum;
use super::{Level, Options, Progress, run};
use crate::error::exit;

const LEVELS: [Level; 3] = [Level::Chain, Level::Digests, Level::Records];

async fn verify(store: &Store, level: Level) -> Report {
    run(store, level, &Options::default(), &Progress::hidden()).await.expect("a report")
}

/// The one finding of a verification that must end with the exit code for damage.
async fn only_finding(store: &Store, level: Level) -> (Finding, Report) {
    let report = verify(store, level).await;
    assert_eq!(report.finding_count, 1, "{report}");
    assert_eq!(report.outcome().expect_err("damaged").exit_code(), exit::DAMAGED, "{report}");
    (report.findings[0].clone(), report)
}

fn key(topic: &str, partition: i32) -> PartitionKey {
    let topic = TopicName::new(topic).expect("topic");
    PartitionKey { topic, lineage: Lineage::FIRST, partition: PartitionId::new(partition) }
}

#[tokio::test]
async fn a_whole_backup_holds_on_every_level() {
    let backup = Backup::small().await;
    for level in LEVELS {
        let report = verify(&backup.store, level).await;
        assert!(report.sound && report.outcome().is_ok(), "{report}");
        let counts = report.counts;
        assert_eq!(
            (counts.manifests, counts.checkpoints, counts.segments, counts.partitions),
            (6, 2, 4, 3),
            "{report}"
        );
        assert_eq!((counts.gaps, counts.lost_offsets), (1, 5), "{report}");
        assert_eq!(counts.decoded_records, if level == Level::Records { backup.rows() } else { 0 });
        assert_eq!(report.orphans.as_ref().map(|orphans| orphans.objects), Some(0), "{report}");
        assert!(report.to_string().contains("everything holds"), "{report}");
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).expect("json");
        assert_eq!((&json["sound"], &json["level"]), (&true.into(), &u8::from(level).into()));
    }
}

#[tokio::test]
async fn a_backup_below_a_prefix_holds_too() {
    let mut store = Store::memory();
    store.prefix = object_store::path::Path::from("a/b");
    let backup = Backup::small_in(store, 7).await;
    let report = verify(&backup.store, Level::Records).await;
    assert!(report.sound, "{report}");
    assert_eq!(report.orphans.expect("counted").objects, 0);
}

#[tokio::test]
async fn objects_that_the_log_does_not_name_are_told_and_no_finding() {
    let backup = Backup::small().await;
    let stray = "intake/2026-02-13/07/0000-0000000009-00000000000000000042-0000.parquet";
    backup.put(stray, b"half an upload".to_vec()).await;
    backup.put("probe/create-once", b"x".to_vec()).await;
    let report = verify(&backup.store, Level::Chain).await;
    let orphans = report.orphans.as_ref().expect("counted");
    assert!(report.sound, "{report}");
    assert_eq!((orphans.objects, orphans.bytes, &orphans.first), (1, 14, &vec![stray.to_owned()]));
    assert!(report.to_string().contains(stray), "{report}");
}

#[tokio::test]
async fn an_empty_prefix_is_no_backup_rather_than_a_sound_one() {
    let error = run(&Store::memory(), Level::Chain, &Options::default(), &Progress::hidden()).await;
    assert!(matches!(error, Err(crate::error::Error::NoBackup(_))), "{error:?}");
}

#[tokio::test]
async fn a24_a_log_that_does_not_hold_the_anchor_was_rolled_back() {
    let mut backup = Backup::small().await;
    let mut anchor = backup.anchor();
    backup.store.anchor = Some(anchor);
    let report = verify(&backup.store, Level::Chain).await;
    assert!(report.sound, "{report}");
    anchor.sequence = anchor.sequence.next();
    backup.store.anchor = Some(anchor);
    let report = verify(&backup.store, Level::Chain).await;
    assert_eq!(report.finding_count, 1, "{report}");
    assert!(report.findings[0].problem.contains("ChainMismatch"), "{report}");
}

#[tokio::test]
async fn a_bad_object_does_not_hide_the_next() {
    let backup = Backup::small().await;
    let (first, last) = (backup.segment(0).object.to_string(), backup.segment(3).object.to_string());
    backup.delete(&first).await;
    backup.flip(&last, 100).await;
    let report = verify(&backup.store, Level::Records).await;
    let found: Vec<_> = report.findings.iter().map(|finding| (finding.kind, finding.object.clone())).collect();
    assert_eq!(found, [(FindingKind::Missing, first), (FindingKind::Damaged, last)], "{report}");
}

#[tokio::test]
async fn the_same_segments_in_another_order_differ_only_where_order_matters() {
    let backup = Backup::small().await;
    let segments = [backup.segment(0), backup.segment(1)];
    let sum = |segments: &[&strimzi_backup_format::manifest::Segment],
               add: fn(&mut Sum, &strimzi_backup_format::manifest::Segment)| {
        segments.iter().fold(Sum::default(), |mut sum, segment| {
            add(&mut sum, segment);
            sum
        })
    };
    let (one, other) = (segments, [segments[1], segments[0]]);
    assert_eq!(sum(&one, Sum::add), sum(&other, Sum::add));
    assert_ne!(sum(&one, Sum::append), sum(&other, Sum::append));
    assert_ne!(sum(&one, Sum::add), sum(&[segments[0], segments[0]], Sum::add));
}
