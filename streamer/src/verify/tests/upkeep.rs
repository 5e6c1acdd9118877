//! Refinements and retirements that are not what they say.

use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::document;
use strimzi_backup_format::ids::{Offset, Sequence, Shard, TimestampMs};
use strimzi_backup_format::layout::SegmentPlace;
use strimzi_backup_format::manifest::log::Draft;
use strimzi_backup_format::manifest::{Manifest, PartitionStart, Refined, Retired, Segment, reader};
use strimzi_backup_format::state::Totals;

use super::super::ledger::Ledger;
use super::fixture::{Backup, START, added, filed, intake, position, range, run};
use super::*;

/// A backup of one intake segment with ten records of each of two partitions.
async fn in_intake() -> (Backup, Segment) {
    in_intake_of(Store::memory()).await
}

/// The same in that store.
async fn in_intake_of(store: Store) -> (Backup, Segment) {
    let mut backup = Backup::claimed(store, 1).await;
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

/// Puts a base in the place of what both partitions held before offset 10, `rows` records of each. It has the first `kept` of them;
/// `change` is what the manifest says otherwise of its segment.
async fn base(backup: &mut Backup, rows: u64, kept: i64, freed: Totals, change: fn(&mut Segment)) -> Segment {
    let topic = backup.store.topic_dir(&key("orders", 0).topic);
    let place = SegmentPlace::Base(topic, Bucket::of(TimestampMs::new(START)));
    let runs = [0, 1].map(|partition| run("orders", partition, 0, kept));
    let mut segment = backup.upload(place, vec![runs.into()]).await;
    change(&mut segment);
    // A base is begun before the manifest that names it.
    backup.commit(Draft::default()).await;
    let (first_offset, lowest_timestamp) = (Offset::new(10), TimestampMs::new(START));
    let starts = [0, 1].map(|partition| {
        let PartitionKey { topic, lineage, partition } = key("orders", partition);
        PartitionStart { topic, lineage, partition, first_offset, rows, lowest_timestamp }
    });
    // The fewer were held, the later.
    let before = TimestampMs::new(START + 10 - i64::try_from(rows).expect("few"));
    let (starts, base) = (starts.into(), vec![segment.clone()]);
    let retired = Retired { before, starts, base, group_images_before: None, freed };
    backup.commit(Draft { retired: Some(retired), ..Draft::default() }).await;
    segment
}

/// The backup in intake, a base of five records of each partition, and one of three in its place: in manifests 4 and 6.
async fn with_bases() -> (Backup, [Segment; 3]) {
    with_bases_of(Store::memory()).await
}

/// The same in that store.
pub(super) async fn with_bases_of(store: Store) -> (Backup, [Segment; 3]) {
    let (mut backup, old) = in_intake_of(store).await;
    let first = base(&mut backup, 10, 5, totals(&old), |_| {}).await;
    let second = base(&mut backup, 5, 3, totals(&first), |_| {}).await;
    (backup, [old, first, second])
}

#[tokio::test]
async fn a78_a_base_holds_for_what_it_replaces_once_that_is_gone() {
    let (backup, [old, first, second]) = with_bases().await;
    for gone in [old, first] {
        backup.delete(gone.object.as_str()).await;
    }
    for level in LEVELS {
        let report = verify(&backup.store, level).await;
        assert!(report.sound, "{report}");
        assert_eq!((report.counts.segments, report.counts.superseded_segments), (1, 2), "{report}");
        assert_eq!(report.counts.decoded_records, if level == Level::Records { 6 } else { 0 }, "{report}");
    }
    backup.delete(second.object.as_str()).await;
    let (finding, _) = only_finding(&backup.store, Level::Chain).await;
    assert_eq!((finding.kind, finding.object), (FindingKind::Missing, second.object.to_string()));
}

#[tokio::test]
async fn a78_a_base_of_which_the_manifest_names_less_than_there_is_is_found() {
    let (mut backup, old) = in_intake().await;
    let without_the_last = |segment: &mut Segment| {
        let lacks = segment.runs.pop().expect("two runs");
        segment.rows -= lacks.rows;
    };
    let segment = base(&mut backup, 10, 5, totals(&old), without_the_last).await;
    // The documents agree with each other: a table of which everything was deleted needs no run.
    assert!(verify(&backup.store, Level::Digests).await.sound);
    let (finding, report) = only_finding(&backup.store, Level::Records).await;
    assert_eq!((finding.kind, finding.object), (FindingKind::Contradiction, segment.object.to_string()));
    assert!(finding.problem.contains("its footer has 2 runs, its manifest 1"), "{report}");
}

#[tokio::test]
async fn a78_a_base_that_is_not_of_what_goes_breaks_the_chain() {
    let (backup, _) = with_bases().await;
    backup
        .rewrite_manifest(6, |manifest| {
            let retired = manifest.retired.as_mut().expect("retired");
            retired.base[0].runs[0].range = range(0, 11);
        })
        .await;
    let report = verify(&backup.store, Level::Chain).await;
    let problems: Vec<&str> = report.findings.iter().map(|finding| finding.problem.as_str()).collect();
    let broken = |problem: &&str| {
        problem.starts_with("the chain breaks here") && problem.ends_with("its base of orders-0 is not of what goes")
    };
    assert!(problems.iter().any(broken), "{report}");
}

/// The manifests of a backup, the one of that number changed, in the second book.
async fn posted(backup: &Backup, number: u64, change: impl FnOnce(&mut Retired)) -> (Ledger, Vec<String>) {
    let (mut ledger, mut problems, mut change) = (Ledger::default(), Vec::new(), Some(change));
    for sequence in 1..=6 {
        let stored = backup.get(&Backup::manifest_key(sequence)).await;
        let mut manifest: Manifest = document::unpack(&stored).expect("a manifest");
        if let Some(retired) = manifest.retired.as_mut().filter(|_| sequence == number) {
            change.take().into_iter().for_each(|change| change(retired));
        }
        problems.extend(ledger.post(&manifest).into_iter().map(|imbalance| imbalance.problem));
        manifest.named_segments().flat_map(|segment| &segment.runs).for_each(|run| ledger.settle(run));
    }
    assert!(change.is_none(), "manifest {number} retires nothing");
    (ledger, problems)
}

#[tokio::test]
async fn a78_the_second_book_finds_a_base_that_is_not_of_what_is_retired_by_itself() {
    let (backup, _) = with_bases().await;
    let (_, problems) = posted(&backup, 6, |_| {}).await;
    assert_eq!(problems, [""; 0]);
    type Change = fn(&mut Retired);
    let changes: [(Change, &str); 4] = [
        (|retired| retired.base[0].runs[0].range = range(0, 11), "is not of what is retired"),
        (|retired| retired.base[0].runs[0].rows = 6, "is not of what is retired"),
        (|retired| retired.starts.retain(|start| start.partition.get() == 1), "is not of what is retired"),
        (|retired| retired.base[0].runs.extend_from_within(..1), "holds offsets of [0, 3) twice"),
    ];
    for (change, told) in changes {
        let (_, problems) = posted(&backup, 6, change).await;
        assert_eq!(problems.first(), Some(&format!("the base of orders-0 {told}")), "{problems:?}");
    }
}

#[tokio::test]
async fn a78_a_base_that_counts_beside_the_one_in_its_place_is_found() {
    let (backup, [_, first, second]) = with_bases().await;
    let state = reader::open(&backup.store, Shard::ONLY).await.expect("readable").expect("a backup").state;
    let (mut ledger, problems) = posted(&backup, 6, |_| {}).await;
    assert_eq!((problems, state.totals.rows), (Vec::new(), 6));
    second.runs.iter().for_each(|run| ledger.hold(run));
    assert_eq!(ledger.close(&state, true), []);
    ledger.hold(&first.runs[1]);
    let problems: Vec<String> = ledger.close(&state, true).into_iter().map(|imbalance| imbalance.problem).collect();
    assert_eq!(problems, ["the live segments of orders-1 hold 8 records, its position says 3"]);
}

#[tokio::test]
async fn a78_records_of_a_base_that_nobody_retired_are_found() {
    let (backup, _) = with_bases().await;
    let state = reader::open(&backup.store, Shard::ONLY).await.expect("readable").expect("a backup").state;
    // The first base replaced ten records of each partition, and says nine.
    let (ledger, _) = posted(&backup, 4, |retired| retired.starts[0].rows = 9).await;
    let problems: Vec<String> = ledger.close(&state, false).into_iter().map(|imbalance| imbalance.problem).collect();
    assert_eq!(problems, ["orders-0 holds 4 records, its manifests name 4, its position 3"]);
}
