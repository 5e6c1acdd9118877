//! Refinements and retirements that are not what they say.

use strimzi_backup_format::ids::{Offset, Sequence, TimestampMs};
use strimzi_backup_format::manifest::log::Draft;
use strimzi_backup_format::manifest::{PartitionStart, Refined, Retired, Segment};
use strimzi_backup_format::state::Totals;

use super::fixture::{Backup, START, added, filed, intake, position, run};
use super::*;

/// A backup of one intake segment with ten records of each of two partitions.
async fn in_intake() -> (Backup, Segment) {
    let mut backup = Backup::claimed(Store::memory(), 1).await;
    let segment = backup.upload(intake(), vec![vec![run("orders", 0, 0, 10), run("orders", 1, 0, 10)]]).await;
    let positions = vec![position(key("orders", 0), 10), position(key("orders", 1), 10)];
    let topics = vec![added("orders", 2)];
    let segments = vec![segment.clone()];
    backup.commit(Draft { segments, topics, positions, ..Draft::default() }).await;
    (backup, segment)
}

fn totals(segment: &Segment) -> Totals {
    Totals { segments: 1, bytes: segment.bytes, rows: segment.rows, raw_bytes: segment.raw_bytes }
}

/// The intake segment refined into one with these partitions.
async fn refined_into(partitions: &[i32]) -> Backup {
    let (mut backup, segment) = in_intake().await;
    let runs = partitions.iter().map(|partition| run("orders", *partition, 0, 10)).collect();
    let written = backup.upload(filed("orders"), vec![runs]).await;
    let refined = Refined { through: Sequence::new(2), segments: vec![written], replaced: totals(&segment) };
    backup.commit(Draft { refined: Some(refined), ..Draft::default() }).await;
    backup
}

#[tokio::test]
async fn what_was_refined_whole_holds_also_once_the_intake_segment_is_gone() {
    let backup = refined_into(&[0, 1]).await;
    backup.delete(backup.segment(0).object.as_str()).await;
    for level in LEVELS {
        let report = verify(&backup.store, level).await;
        assert!(report.sound, "{report}");
        assert_eq!((report.counts.segments, report.counts.superseded_segments), (1, 1));
        assert!(report.to_string().contains("superseded   1 segments"), "{report}");
    }
}

#[tokio::test]
async fn a_refinement_that_dropped_a_run_is_found() {
    let backup = refined_into(&[0]).await;
    let report = verify(&backup.store, Level::Chain).await;
    let problems: Vec<&str> = report.findings.iter().map(|finding| finding.problem.as_str()).collect();
    let told = [
        "what was refined of orders-1 is not what it replaces",
        "the live segments of orders-1 hold 0 records, its position says 10",
    ];
    assert_eq!(problems, told, "{report}");
}

#[tokio::test]
async fn what_is_retired_is_accounted_for_and_a_wrong_count_is_found() {
    for (rows, sound) in [(10, true), (9, false)] {
        let (mut backup, _) = in_intake().await;
        let PartitionKey { topic, lineage, partition } = key("orders", 1);
        let (first_offset, lowest_timestamp) = (Offset::new(10), TimestampMs::new(START));
        let start = PartitionStart { topic, lineage, partition, first_offset, rows, lowest_timestamp };
        let retired = Retired {
            before: TimestampMs::new(START),
            starts: vec![start],
            base: Vec::new(),
            group_images_before: None,
            freed: Totals::default(),
        };
        backup.commit(Draft { retired: Some(retired), ..Draft::default() }).await;
        let report = verify(&backup.store, Level::Records).await;
        assert_eq!(report.sound, sound, "{rows}: {report}");
    }
}
