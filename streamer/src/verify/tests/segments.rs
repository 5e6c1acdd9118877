//! Damage to segments, and segments that are not what their manifests say although their digests are right.

use bytes::Bytes;
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::ids::{BackupId, Offset, TimestampMs};
use strimzi_backup_format::manifest::Segment;
use strimzi_backup_format::segment::decode::SegmentReader;
use strimzi_backup_format::store::Store;

use super::super::ledger::Ledger;
use super::super::records::check_rows;
use super::super::report::Affected;
use super::fixture::{Backup, START, Sealing, encode, filed, id, range, run};
use super::*;

async fn missing_empty_truncated_or_longer(sealing: Sealing) {
    for level in LEVELS {
        for case in ["missing", "empty", "truncated", "longer"] {
            let backup = Backup::small_as(sealing, 1).await;
            let segment = backup.segment(1);
            let (object, whole) = (segment.object.to_string(), backup.get(segment.object.as_str()).await);
            match case {
                "missing" => backup.delete(&object).await,
                "empty" => backup.put(&object, Vec::new()).await,
                "truncated" => backup.put(&object, whole[..whole.len() - 1].to_vec()).await,
                _ => backup.put(&object, [whole.as_ref(), b"\0"].concat()).await,
            }
            let (finding, report) = only_finding(&backup.store, level).await;
            let kind = if case == "missing" { FindingKind::Missing } else { FindingKind::Damaged };
            assert_eq!((finding.kind, finding.object), (kind, object), "{case}: {report}");
            let runs =
                [Affected::new(&key("orders", 0), range(20, 40)), Affected::new(&key("orders", 0), range(40, 60))];
            assert_eq!(finding.affected, runs, "{case}: {report}");
            assert!(report.to_string().contains("orders-0 [20, 40)"), "{report}");
        }
    }
}

#[tokio::test]
async fn a57_a_segment_missing_empty_truncated_or_longer_is_named_with_its_offsets() {
    missing_empty_truncated_or_longer(Sealing::Open).await;
}

async fn changed_byte(sealing: Sealing) {
    let backup = Backup::small_as(sealing, 1).await;
    let object = backup.segment(2).object.to_string();
    backup.flip(&object, 50).await;
    assert!(verify(&backup.store, Level::Chain).await.sound);
    for level in [Level::Digests, Level::Records] {
        let (finding, _) = only_finding(&backup.store, level).await;
        assert_eq!((finding.kind, &finding.object), (FindingKind::Damaged, &object));
        assert!(finding.problem.contains("expected sha256"), "{}", finding.problem);
        assert_eq!(finding.affected.len(), 2);
    }
}

#[tokio::test]
async fn a57_a_changed_byte_is_named_from_level_2_on() {
    changed_byte(Sealing::Open).await;
}

#[tokio::test(start_paused = true)]
async fn a57_a_damaged_segment_of_an_encrypted_backup_is_named_with_its_offsets() {
    missing_empty_truncated_or_longer(Sealing::Key).await;
    changed_byte(Sealing::Key).await;
}

#[tokio::test]
async fn a25_deleted_old_segments_are_found_and_recoverable_starts_after_them() {
    let backup = Backup::small().await;
    let before = verify(&backup.store, Level::Chain).await.recoverable.expect("known");
    backup.delete(backup.segment(0).object.as_str()).await;
    let (finding, report) = only_finding(&backup.store, Level::Chain).await;
    assert_eq!((finding.kind, finding.affected.len()), (FindingKind::Missing, 3));
    let harm = report.harm.expect("harm");
    let newest = TimestampMs::new(START + 129_000);
    assert_eq!((harm.records, harm.min_timestamp, harm.max_timestamp), (60, TimestampMs::new(START), newest));
    let after = report.recoverable.expect("known");
    assert!(before.from.is_some() && before.until == after.until, "{report}");
    // The backup ends some seconds after its start, before the newest of the lost records: nothing is whole.
    assert_eq!(after.from, None, "{report}");
    assert!(report.to_string().contains("no instant at which every partition is whole"), "{report}");
}

/// A backup of one segment that is not what its manifest says. The digest is right: only level 3 can tell.
async fn assert_only_level_3_sees(
    groups: Vec<Vec<strimzi_backup_format::segment::encode::RunInput>>,
    change: impl FnOnce(&mut Segment, &Bytes) -> Option<Bytes>,
    words: &str,
) {
    assert_only_level_3_sees_as(Sealing::Open, groups, change, words).await;
}

async fn assert_only_level_3_sees_as(
    sealing: Sealing,
    groups: Vec<Vec<strimzi_backup_format::segment::encode::RunInput>>,
    change: impl FnOnce(&mut Segment, &Bytes) -> Option<Bytes>,
    words: &str,
) {
    let mut backup = Backup::claimed(sealing.over(&Store::memory(), id(1)), 1).await;
    let mut segment = backup.upload(filed("orders"), groups).await;
    let stored = backup.get(segment.object.as_str()).await;
    if let Some(bytes) = change(&mut segment, &stored) {
        segment.bytes = bytes.len() as u64;
        segment.sha256 = Sha256::of(&bytes);
        backup.put(segment.object.as_str(), bytes.to_vec()).await;
    }
    let object = segment.object.to_string();
    backup.commit_start("orders", segment).await;
    assert!(verify(&backup.store, Level::Digests).await.sound, "{words}");
    let (finding, report) = only_finding(&backup.store, Level::Records).await;
    assert_eq!(finding.object, object);
    assert!(finding.problem.contains(words), "{words}: {report}");
    assert!(!finding.affected.is_empty());
}

fn orders() -> Vec<Vec<strimzi_backup_format::segment::encode::RunInput>> {
    vec![vec![run("orders", 0, 0, 10)]]
}

#[tokio::test]
async fn a_manifest_that_tells_another_story_than_its_segment_is_found_by_level_3() {
    let otherwise = "otherwise than its manifest";
    assert_only_level_3_sees(
        orders(),
        |segment, _| {
            segment.runs[0].min_timestamp = TimestampMs::new(START - 1);
            None
        },
        otherwise,
    )
    .await;
    assert_only_level_3_sees(
        orders(),
        |segment, _| {
            segment.runs[0].range = range(0, 11);
            None
        },
        otherwise,
    )
    .await;
    assert_only_level_3_sees(
        orders(),
        |segment, _| {
            (segment.rows, segment.runs[0].rows) = (9, 9);
            None
        },
        otherwise,
    )
    .await;
    assert_only_level_3_sees(
        orders(),
        |segment, _| {
            segment.runs[0].largest_record -= 1;
            None
        },
        otherwise,
    )
    .await;
    assert_only_level_3_sees(
        orders(),
        |segment, _| {
            segment.raw_bytes += 1;
            None
        },
        "its manifest says",
    )
    .await;
    assert_only_level_3_sees(
        orders(),
        |segment, _| {
            segment.footer_bytes = 100;
            None
        },
        "needed to read the footer",
    )
    .await;
    assert_only_level_3_sees(
        orders(),
        |segment, _| {
            segment.footer_bytes = u64::MAX;
            None
        },
        "footer is longer",
    )
    .await;
    assert_only_level_3_sees(
        orders(),
        |segment, _| {
            segment.footer_sha256 = segment.sha256;
            None
        },
        "footer has not the digest",
    )
    .await;
}

/// Where footer and manifest agree, the records themselves are asked.
#[tokio::test]
async fn a48_the_largest_record_is_that_of_the_records() {
    let mut backup = Backup::claimed(Store::memory(), 1).await;
    let mut segment = backup.upload(filed("orders"), orders()).await;
    let reader = SegmentReader::open(backup.get(segment.object.as_str()).await, None).expect("a segment");
    assert!(check_rows(&segment, &reader).is_ok());
    for wrong in [-1, 1] {
        let stated = segment.runs[0].largest_record;
        segment.runs[0].largest_record = stated.saturating_add_signed(wrong);
        let flaw = check_rows(&segment, &reader).expect_err("not so large");
        assert!(flaw.problem.contains(&format!("takes {stated} bytes")), "{}", flaw.problem);
        segment.runs[0].largest_record = stated;
    }
}

#[tokio::test]
async fn a60_hostile_segments_under_a_right_digest_end_in_findings() {
    let other = encode(BackupId::new(uuid::Uuid::from_u128(9)), orders()).parts.concat();
    assert_only_level_3_sees(orders(), |_, _| Some(other.into()), "belongs to backup").await;
    assert_only_level_3_sees(
        orders(),
        |segment, stored| {
            segment.footer_bytes = stored.len() as u64;
            Some(vec![7; stored.len()].into())
        },
        "does not end as a Parquet file does",
    )
    .await;
    // Bytes in the middle of the pages: the footer is whole, the records are not.
    assert_only_level_3_sees(
        orders(),
        |_, stored| {
            let mut bytes = stored.to_vec();
            bytes[4..200].fill(0xff);
            Some(bytes.into())
        },
        "damaged segment",
    )
    .await;
}

/// What is not sealed for its place, under a digest that says it is right: as who can write manifests, and has no key of the file.
#[tokio::test]
async fn a60_hostile_segments_of_an_encrypted_backup_under_a_right_digest_end_in_findings() {
    let (other, open) = (Backup::small_as(Sealing::Key, 9).await, Backup::small().await);
    let foreign = other.get(other.segment(1).object.as_str()).await;
    let open = open.get(open.segment(1).object.as_str()).await;
    type Forge<'a> = &'a dyn Fn(&Bytes) -> Bytes;
    let cases: [(Forge<'_>, &str); 4] = [
        (&|_| foreign.clone(), "does not open"),
        (&|_| open.clone(), "it is not encrypted, and its backup is"),
        (&|stored| vec![7; stored.len()].into(), "does not end as a Parquet file does"),
        (&|stored| [&stored[..4], &[0xff; 200][..], &stored[204..]].concat().into(), "damaged segment"),
    ];
    for (forge, words) in cases {
        let change = |segment: &mut Segment, stored: &Bytes| {
            let forged = forge(stored);
            // All of it is footer, so that its own digest is the only one.
            segment.footer_bytes = forged.len() as u64;
            segment.footer_sha256 = Sha256::of(&forged);
            Some(forged)
        };
        assert_only_level_3_sees_as(Sealing::Key, orders(), change, words).await;
    }
}

#[tokio::test]
async fn a_segment_that_two_manifests_name_is_found() {
    let mut backup = Backup::claimed(Store::memory(), 1).await;
    let first = backup.upload(filed("orders"), orders()).await;
    backup.commit_start("orders", first.clone()).await;
    let mut again = first;
    again.runs[0].topic = TopicName::new("orders").expect("topic");
    again.runs[0].partition = PartitionId::new(1);
    let position = strimzi_backup_format::manifest::PartitionPosition {
        topic: again.runs[0].topic.clone(),
        lineage: Lineage::FIRST,
        partition: PartitionId::new(1),
        next_offset: Offset::new(10),
        last_record: None,
        highest_timestamp: None,
        filed: None,
    };
    let draft = strimzi_backup_format::manifest::log::Draft {
        segments: vec![again],
        positions: vec![position],
        ..Default::default()
    };
    backup.commit(draft).await;
    let (finding, _) = only_finding(&backup.store, Level::Chain).await;
    assert_eq!(finding.problem, "two manifests name it");
}

#[tokio::test]
async fn the_ledger_sees_overlaps_and_holes_without_the_help_of_the_fold() {
    let backup = Backup::small().await;
    let manifest = |sequence| {
        let key = Backup::manifest_key(sequence);
        let backup = &backup;
        async move {
            let bytes = backup.get(&key).await;
            strimzi_backup_format::document::unpack::<strimzi_backup_format::manifest::Manifest>(&bytes)
                .expect("manifest")
        }
    };
    let (second, third, fourth) = (manifest(2).await, manifest(3).await, manifest(4).await);
    let mut ledger = Ledger::default();
    assert_eq!(ledger.post(&second), []);
    let skipped = ledger.post(&fourth);
    let problems: Vec<_> = skipped.iter().map(|imbalance| imbalance.problem.as_str()).collect();
    assert_eq!(
        problems,
        [
            "the offsets [10, 15) of orders-1 are not accounted for",
            "the offsets [130, 132) of shipments-0 are not accounted for"
        ]
    );
    let twice = ledger.post(&third);
    assert!(twice.iter().all(|imbalance| imbalance.problem.contains("accounted for twice")), "{twice:?}");
    assert_eq!(twice.len(), 2);
}
