//! What the tests of restores build states, documents and targets of: few words for long values.

use std::collections::BTreeMap;
use std::ops::Range;

use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::groups::CommittedOffset;
use strimzi_backup_format::ids::{
    ClusterId, Epoch, GroupId, LeaderEpoch, Lineage, Offset, PartitionId, PartitionKey, Sequence, TimestampMs, TopicId,
};
use strimzi_backup_format::job::{RestoreJob, RestoreSettings, Until};
use strimzi_backup_format::manifest::{Behind, BehindReason, Frontier, Gap, GapReason, Run, Segment, TopicEventKind};
use strimzi_backup_format::sample;
use strimzi_backup_format::segment::slice::Wanted;
use strimzi_backup_format::slice::Touched;
use strimzi_backup_format::state::{Head, Interval, Life, Position, State, TopicState};

pub(super) use strimzi_backup_format::sample::{at, key, range, topic};

use super::groups::Held;
use super::plan::{Basis, Plan, Target};
use super::{Conflict, plan, point};
use crate::kafka::{TargetPartition, TargetTopic, TopicSettings};

/// An instant moved by milliseconds.
pub(super) fn moved(at: TimestampMs, milliseconds: i64) -> TimestampMs {
    TimestampMs::new(at.get() + milliseconds)
}

/// When restores are planned.
pub(super) fn now() -> TimestampMs {
    at(10_000)
}

/// The `restore` block of a document, with more than its id.
pub(super) fn settings(more: &str) -> RestoreSettings {
    let text = format!(
        "cluster: {{bootstrapServers: 'a:1'}}\nstorage: {{type: filesystem, filesystem: {{path: /b}}}}\n\
         restore: {{id: orders-dr-1, {more}}}"
    );
    RestoreJob::parse(&text, now()).expect("a document without faults").restore
}

/// A restore to this moment.
pub(super) fn to(until: TimestampMs) -> RestoreSettings {
    let mut settings = settings("");
    settings.stop.until = Some(Until::At(until));
    settings
}

pub(super) fn head(sequence: u64) -> Head {
    let number = i64::try_from(sequence).expect("few manifests");
    Head {
        sequence: Sequence::new(sequence),
        sha256: Sha256::of(b"manifest"),
        epoch: Epoch::new(1),
        observed_at: at(number),
    }
}

pub(super) fn life(id: &str, began: TopicEventKind, since: i64) -> Life {
    Life { topic_id: TopicId::new(id), began, since: at(since), deleted: None }
}

/// A topic that was first seen 10 seconds after the start, with this many partitions.
pub(super) fn topic_state(id: &str, partitions: i32) -> TopicState {
    TopicState {
        lives: vec![life(id, TopicEventKind::Added, 10)],
        current: (0..partitions).map(|number| (PartitionId::new(number), Lineage::FIRST)).collect(),
        description: sample::description(partitions.unsigned_abs()),
        earlier: Vec::new(),
        selected: vec![Interval { from: at(10), until: None }],
    }
}

/// Captured up to `next`, with the lowest timestamp so many seconds after the start.
pub(super) fn position(next: i64, lowest: i64) -> Position {
    Position {
        first_offset: Offset::new(0),
        base: None,
        next_offset: Offset::new(next),
        last_record: None,
        highest_timestamp: Some(at(lowest + next)),
        filed: None,
        lowest_timestamp: Some(at(lowest)),
        rows: next.unsigned_abs(),
    }
}

/// A backup of these topics and numbers of partitions, with 100 records in each partition; it is recoverable from second 100
/// to second 1,000.
pub(super) fn state(topics: &[(&str, i32)]) -> State {
    let mut state = sample::empty_state();
    state.head = Some(head(50));
    state.frontier = Frontier { until: Some(at(1000)), ..Frontier::default() };
    state.complete_since = Some(at(100));
    for (name, partitions) in topics {
        state.topics.insert(topic(name), topic_state(name, *partitions));
        state.positions.extend((0..*partitions).map(|number| (key(name, 0, number), position(100, 20))));
    }
    state
}

/// A partition whose first copy is not complete.
pub(super) fn copying(key: &PartitionKey) -> Behind {
    sample::behind(key, None, BehindReason::Backlog)
}

/// Lost offsets, found so many seconds after the start.
pub(super) fn gap(key: &PartitionKey, offsets: Range<i64>, after: Option<i64>, observed: i64) -> Gap {
    let gap = sample::gap(key, offsets, GapReason::RetentionOverrun);
    Gap { after: after.map(at), observed_at: at(observed), ..gap }
}

/// A run of records whose timestamps go over these seconds.
pub(super) fn run(key: &PartitionKey, offsets: Range<i64>, seconds: Range<i64>) -> Run {
    let rows = range(offsets.clone()).span();
    let (min_timestamp, max_timestamp) = (at(seconds.start), at(seconds.end));
    Run { min_timestamp, max_timestamp, bucket: Bucket::of(max_timestamp), ..sample::run(key, offsets, rows) }
}

/// An intake segment of these runs, of 10,000 bytes, all of which is wanted.
pub(super) fn touched(runs: Vec<Run>) -> Touched {
    let segment = Segment { bytes: 10_000, raw_bytes: 30_000, ..sample::segment(runs.clone()) };
    Touched { segment, wanted: runs.into_iter().map(Wanted::all).collect() }
}

/// A cluster of so many brokers, without topics.
pub(super) fn target(brokers: usize) -> Target {
    Target { cluster: ClusterId::new("target"), brokers, max_message_bytes: None, topics: BTreeMap::new() }
}

/// A topic at the target whose partitions end at these offsets.
pub(super) fn found(ends: &[i64], settings: &[(&str, &str)]) -> TargetTopic {
    let partition = |(number, end): (i32, &i64)| TargetPartition {
        partition: PartitionId::new(number),
        replicas: 3,
        start: Offset::new(0),
        end: Offset::new(*end),
    };
    let effective = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    TargetTopic {
        id: Some(TopicId::new("there")),
        partitions: (0..).zip(ends).map(partition).collect(),
        settings: TopicSettings { overrides: BTreeMap::new(), effective },
    }
}

/// Plans a restore of `state`.
pub(super) fn plan(
    state: &State,
    settings: &RestoreSettings,
    touched: &[Touched],
    target: &Target,
) -> (Plan, Vec<Conflict>) {
    plan_with(state, settings, touched, target, None)
}

/// What groups had committed, without topic ids: group, topic, partition and offset.
pub(super) fn committed(offsets: &[(&str, &str, i32, i64)]) -> Held {
    let mut held = Held::default();
    for (group, name, partition, offset) in offsets {
        let committed = CommittedOffset {
            offset: Offset::new(*offset),
            leader_epoch: LeaderEpoch::UNKNOWN,
            metadata: String::new(),
            committed_at: at(50),
            topic_id: None,
        };
        let place = (topic(name), PartitionId::new(*partition));
        held.offsets.entry(GroupId::new(*group).expect("legal")).or_default().insert(place, committed);
    }
    held
}

/// Plans a restore of `state` with the offsets of groups.
pub(super) fn plan_with(
    state: &State,
    settings: &RestoreSettings,
    touched: &[Touched],
    target: &Target,
    groups: Option<&Held>,
) -> (Plan, Vec<Conflict>) {
    let point = point::resolve(settings, state, None).expect("restorable");
    let (backup, asked) = (state.backup, Sha256::of(b"the document"));
    plan::build(Basis { backup, settings, asked, point: &point, touched, state, groups, target, now: now() })
}
