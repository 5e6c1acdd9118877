//! The stored documents of restores, as bytes: read for ever, and still written to the letter. A restore may have been begun by
//! one release and be carried on by the next.
//!
//! Both are of one restore. They hold every field, optional ones of topics and offsets with and without, and every name.

use std::collections::BTreeMap;

use object_store::ObjectStoreExt as _;
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::document::{self, FORMAT_VERSION, Kind};
use strimzi_backup_format::ids::{
    BackupId, ClusterId, Epoch, GroupId, Lineage, Offset, PartitionId, RestoreId, Sequence, SnapshotId, TopicId,
};
use strimzi_backup_format::layout;
use strimzi_backup_format::manifest::{Gap, GapReason};
use strimzi_backup_format::sample::golden;
use strimzi_backup_format::state::Head;
use strimzi_backup_format::store::Store;

use super::conflict::Warning;
use super::documents;
use super::groups::{Adjustment, GroupPlan, GroupReport, Position, PositionReport};
use super::plan::{Action, Incomplete, PartitionPlan, Plan, Reads, TopicPlan};
use super::point::{Absence, Absent};
use super::report::{ForeignWrites, PartitionReport, Report, TopicReport};
use super::sample::{at, gap, key, topic};

const PLAN: &str = "restore-plan-v1.json";
const REPORT: &str = "restore-report-v1.json";

fn backup() -> BackupId {
    "0a3f048d-e48e-42b8-9c7b-3e654a060dde".parse().expect("a UUID")
}

fn restore() -> RestoreId {
    RestoreId::new("orders-dr-1").expect("legal")
}

fn group(id: &str) -> GroupId {
    GroupId::new(id).expect("legal")
}

fn texts(settings: &[(&str, &str)]) -> BTreeMap<String, String> {
    settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn reads(segments: u64, runs: u64, records: u64) -> Reads {
    let (bytes, raw_bytes) = (records * 100, records * 300);
    Reads { segments, runs, records, bytes, raw_bytes, largest_record: 1_048_645 }
}

fn partition(number: i32, lineage: i32, end: i64) -> PartitionPlan {
    PartitionPlan {
        partition: PartitionId::new(number),
        lineage: Lineage::new(lineage),
        end: Offset::new(end),
        reads: Reads::default(),
        min_timestamp: None,
        max_timestamp: None,
    }
}

/// One topic that is created, with what was set on it.
fn created() -> TopicPlan {
    let (min_timestamp, max_timestamp) = (Some(at(0)), Some(at(39)));
    TopicPlan {
        source: topic("orders"),
        target: topic("orders"),
        action: Action::Create,
        existing: None,
        existing_ends: Vec::new(),
        source_partitions: 2,
        target_partitions: 2,
        replication_factor: 3,
        max_message_bytes: Some(1_048_588),
        settings: texts(&[("cleanup.policy", "compact"), ("min.insync.replicas", "2")]),
        lifted: texts(&[("cleanup.policy", "delete"), ("retention.ms", "-1")]),
        partitions: vec![
            partition(0, 0, 112),
            PartitionPlan { reads: reads(2, 3, 40), min_timestamp, max_timestamp, ..partition(1, 1, 40) },
        ],
    }
}

/// One that is added to, and one that is deleted first.
fn existing() -> [TopicPlan; 2] {
    let appended = TopicPlan {
        source: topic("payments"),
        target: topic("payments.v2"),
        action: Action::Append,
        existing: Some(TopicId::new("-_8CAwQFBgcICQoLDA0ODw")),
        existing_ends: vec![Offset::new(7), Offset::new(0), Offset::new(11)],
        source_partitions: 1,
        target_partitions: 3,
        replication_factor: 1,
        max_message_bytes: None,
        settings: BTreeMap::new(),
        lifted: BTreeMap::new(),
        partitions: vec![partition(0, 0, 5)],
    };
    let recreated = TopicPlan {
        source: topic("customers"),
        target: topic("customers"),
        action: Action::Recreate,
        target_partitions: 1,
        partitions: vec![partition(0, 1, 3)],
        ..appended.clone()
    };
    [appended, recreated]
}

fn position(number: i32, adjustment: Option<Adjustment>) -> Position {
    Position {
        topic: topic("payments"),
        target_topic: topic("payments.v2"),
        partition: PartitionId::new(number),
        offset: Offset::new(40),
        metadata: String::new(),
        adjustment,
    }
}

/// Every adjustment that a plan knows, and none.
fn groups() -> Vec<GroupPlan> {
    use Adjustment::{ClampedToEnd, ClampedToStart, InGap, NotRestored, OtherLife, Repartitioned};
    let adjusted = [ClampedToStart, ClampedToEnd, InGap, OtherLife, Repartitioned, NotRestored];
    let exact = Position { metadata: "since noon".to_owned(), ..position(0, None) };
    let offsets = (1..).zip(adjusted).map(|(number, adjustment)| position(number, Some(adjustment)));
    vec![
        GroupPlan {
            source: group("billing"),
            target: group("billing-dr"),
            offsets: [exact].into_iter().chain(offsets).collect(),
        },
        GroupPlan { source: group("idle"), target: group("idle"), offsets: Vec::new() },
    ]
}

fn warnings() -> Vec<Warning> {
    let topic = topic("orders");
    let (retention_ms, oldest) = (604_800_000, at(-5));
    vec![
        Warning::Retention { topic: topic.clone(), retention_ms, is_default: true, oldest, at_once: false },
        Warning::HiddenTimestamps { topic: topic.clone(), before_max_ms: 5000 },
        Warning::Spread { topic: topic.clone(), from: 4, to: 3 },
        Warning::Replicas { topic: topic.clone(), replicas: 1 },
        Warning::RaisesLimit { topic: topic.clone(), bytes: 2_000_068, instead_of: Some(1_048_588) },
        Warning::RaisesLimit { topic: topic.clone(), bytes: 2_000_068, instead_of: None },
        Warning::Deletes { topic, offsets: 7 },
        Warning::UnreadableOffsets { records: 2 },
        Warning::ReplacesOffsets { group: group("billing-dr"), partitions: 3 },
    ]
}

fn absent() -> Vec<Absent> {
    let names = [("clicks", Absence::NotYet), ("refunds", Absence::Deleted), ("private", Absence::Excluded)];
    names.into_iter().map(|(name, because)| Absent { topic: topic(name), because, at: at(120) }).collect()
}

fn plan() -> Plan {
    let [appended, recreated] = existing();
    let without = gap(&key("orders", 0, 0), 95..100, None, 120);
    Plan {
        format_version: 1,
        kind: Kind::RestorePlan,
        backup: backup(),
        restore: restore(),
        created_at: at(600),
        target: ClusterId::new("4L6g3nShT-eMCtK--X86sw"),
        asked: Sha256::of(b"the document"),
        manifest: Head {
            sequence: Sequence::new(3),
            sha256: Sha256::of(b"manifest 3"),
            epoch: Epoch::new(2),
            observed_at: at(120),
        },
        retired: Some(at(60)),
        snapshot: Some(SnapshotId::new("backup-20260213-070100").expect("legal")),
        start: Some(at(-5)),
        until: Some(at(119)),
        topics: vec![created(), appended, recreated],
        groups: groups(),
        absent: absent(),
        gaps: vec![
            gap(&key("orders", 0, 0), 90..95, Some(80), 120),
            Gap { reason: GapReason::DeletedByUser, ..without },
        ],
        incomplete: vec![Incomplete {
            topic: topic("orders"),
            lineage: Lineage::new(1),
            partition: PartitionId::new(1),
        }],
        warnings: warnings(),
        reads: reads(3, 4, 45),
        requests: 9,
        estimated_seconds: 1,
    }
}

fn told(number: i32, target_offset: Option<i64>, adjustments: &[Adjustment]) -> PositionReport {
    PositionReport {
        topic: topic("payments"),
        target_topic: topic("payments.v2"),
        partition: PartitionId::new(number),
        offset: Offset::new(40),
        target_offset: target_offset.map(Offset::new),
        adjustments: adjustments.to_vec(),
    }
}

fn report() -> Report {
    let written = |number, lineage, records| PartitionReport {
        partition: PartitionId::new(number),
        lineage: Lineage::new(lineage),
        records,
        bytes: records * 300,
    };
    let offsets = vec![
        told(0, Some(36), &[]),
        told(1, Some(35), &[Adjustment::ClampedToStart, Adjustment::Approximate]),
        told(5, None, &[Adjustment::Repartitioned]),
    ];
    Report {
        format_version: 1,
        kind: Kind::RestoreReport,
        backup: backup(),
        restore: restore(),
        target: ClusterId::new("4L6g3nShT-eMCtK--X86sw"),
        planned_at: at(600),
        finished_at: at(660),
        until: Some(at(119)),
        newest: Some(at(39)),
        records: 45,
        bytes: 13_500,
        topics: vec![
            TopicReport {
                source: topic("orders"),
                target: topic("orders"),
                partitions: vec![written(0, 0, 0), written(1, 1, 40)],
            },
            TopicReport { source: topic("payments"), target: topic("payments.v2"), partitions: vec![written(0, 0, 5)] },
        ],
        groups: vec![GroupReport { source: group("billing"), target: group("billing-dr"), offsets }],
        foreign_writes: vec![ForeignWrites { topic: topic("payments.v2"), partition: PartitionId::new(2), offsets: 5 }],
        warnings: warnings(),
    }
}

/// What one release wrote must be read for ever. Files are added here, never changed.
#[tokio::test]
async fn a12_golden_documents_of_restores_are_read_to_their_values() {
    let store = Store::memory();
    let id = restore();
    for (key, name) in [(layout::restore_plan(&id), PLAN), (layout::restore_report(&id), REPORT)] {
        store.inner.put(&key.below(&store.prefix), golden::read(name).into()).await.expect("put");
    }
    assert_eq!(documents::plan(&store, &id).await.expect("readable"), Some(plan()));
    assert_eq!(documents::report(&store, &id).await.expect("readable"), Some(report()));
}

/// An older release of the same version refuses a field that it does not know, so none may appear, move or vanish.
#[test]
fn a12_documents_of_restores_are_written_to_the_letter_as_the_golden_ones() {
    assert_eq!(FORMAT_VERSION, 1, "a new version: add its golden files, and keep reading these");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    assert_eq!(text(&document::seal(&plan()).expect("sealed")), text(&golden::read(PLAN)));
    assert_eq!(text(&document::seal(&report()).expect("sealed")), text(&golden::read(REPORT)));
}
