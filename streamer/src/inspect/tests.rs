use std::sync::Arc;

use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::document::{FORMAT_VERSION, Kind};
use strimzi_backup_format::identity::Identity;
use strimzi_backup_format::ids::{
    BackupId, ClusterId, Epoch, LeaderEpoch, Lineage, Nonce, Offset, PartitionId, PartitionKey, TopicId, TopicName,
};
use strimzi_backup_format::layout::{self, Origin, SegmentName, SegmentPlace};
use strimzi_backup_format::manifest::{
    Behind, BehindReason, Claim, Frontier, Gap, GapReason, GroupStanding, Run, Segment, TopicDescription,
    TopicEventKind,
};
use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::snapshot::Label;
use strimzi_backup_format::state::{ClaimRecord, Head, Interval, Life, Position, State, TopicState, Totals};

use super::*;
use crate::cost::real;

const LOOKS: Duration = Duration::from_secs(30);

const START: i64 = 1_770_966_000_000;

fn at(seconds: i64) -> TimestampMs {
    TimestampMs::new(START + seconds * 1000)
}

fn topic(name: &str) -> TopicName {
    TopicName::new(name).expect("topic")
}

fn topic_state(deleted: Option<TimestampMs>, until: Option<TimestampMs>) -> TopicState {
    TopicState {
        lives: vec![Life { topic_id: TopicId::new("id"), began: TopicEventKind::Added, since: at(0), deleted }],
        current: [(PartitionId::new(0), Lineage::FIRST)].into(),
        description: TopicDescription {
            partitions: 1,
            replication_factor: 3,
            config: Default::default(),
            inherited: Default::default(),
        },
        earlier: Vec::new(),
        selected: vec![Interval { from: at(0), until }],
    }
}

fn backup() -> BackupId {
    BackupId::new(uuid::Uuid::from_u128(42))
}

fn log() -> Log {
    let identity = Identity::new(backup(), "orders-dr", ClusterId::new("4L6g3nShT-eMCtK--X86sw"), at(0));
    let mut state = State::empty(backup(), Shard::ONLY, Sha256::of(b"identity"));
    state.head = Some(Head {
        sequence: Sequence::new(1234),
        sha256: Sha256::of(b"head"),
        epoch: Epoch::new(3),
        observed_at: at(7200),
    });
    state.claims.push(ClaimRecord { epoch: Epoch::new(3), writer: "backup-0".to_owned(), observed_at: at(0) });
    state.topics.insert(topic("orders"), topic_state(None, None));
    state.topics.insert(topic("payments"), topic_state(None, None));
    state.topics.insert(topic("old"), topic_state(Some(at(60)), None));
    state.topics.insert(topic("private"), topic_state(None, Some(at(90))));
    let behind = |name, until, reason| Behind {
        topic: topic(name),
        lineage: Lineage::FIRST,
        partition: PartitionId::new(0),
        until,
        reason,
    };
    state.frontier = Frontier {
        until: Some(at(7200)),
        behind: vec![
            behind("orders", Some(at(7000)), BehindReason::OpenTransaction),
            behind("payments", None, BehindReason::Backlog),
        ],
        groups: Some(GroupStanding::Absent),
    };
    state.complete_since = Some(at(30));
    state.gaps.push(Gap {
        topic: topic("orders"),
        lineage: Lineage::FIRST,
        partition: PartitionId::new(0),
        range: OffsetRange::new(Offset::new(100), Offset::new(200)).expect("range"),
        reason: GapReason::RetentionOverrun,
        after: Some(at(500)),
        observed_at: at(600),
    });
    let orders = PartitionKey { topic: topic("orders"), lineage: Lineage::FIRST, partition: PartitionId::new(0) };
    state.positions.insert(
        orders,
        Position {
            first_offset: Offset::new(7),
            base: None,
            next_offset: Offset::new(1_234_574),
            last_record: None,
            highest_timestamp: None,
            filed: None,
            lowest_timestamp: None,
            rows: 0,
        },
    );
    state.totals = Totals { segments: 345, bytes: 3 << 30, rows: 1_234_567, raw_bytes: 12 << 30 };
    Log {
        identity,
        state,
        sealed: None,
        blocks: Vec::new(),
        block_segments: Arc::default(),
        tail: Vec::new(),
        ignored: Vec::new(),
    }
}

fn manifest(sequence: u64, seconds: i64, sizes: &[u64]) -> Manifest {
    let bucket = Bucket::of(at(0));
    let segment = |(number, bytes): (usize, &u64)| Segment {
        object: layout::segment(
            &SegmentPlace::Intake(bucket),
            SegmentName {
                shard: Shard::ONLY,
                epoch: Epoch::new(3),
                sequence: Sequence::new(sequence),
                number,
                origin: Origin::Cut,
            },
        ),
        bytes: *bytes,
        sha256: Sha256::of(b"segment"),
        footer_bytes: 1,
        footer_sha256: Sha256::of(b"footer"),
        rows: 1,
        raw_bytes: 1,
        runs: vec![Run {
            topic: topic("orders"),
            lineage: Lineage::FIRST,
            partition: PartitionId::new(0),
            range: OffsetRange::new(Offset::new(0), Offset::new(1)).expect("range"),
            row_group: 0,
            first_row: 0,
            rows: 1,
            largest_record: 100,
            min_timestamp: at(0),
            max_timestamp: at(0),
            leader_epoch: LeaderEpoch::UNKNOWN,
            bucket,
        }],
    };
    Manifest {
        format_version: FORMAT_VERSION,
        kind: Kind::Manifest,
        backup: backup(),
        shard: Shard::ONLY,
        sequence: Sequence::new(sequence),
        epoch: Epoch::new(3),
        nonce: Nonce::new(uuid::Uuid::from_u128(1)),
        previous: Sha256::of(b"previous"),
        observed_at: at(seconds),
        claim: None,
        segments: sizes.iter().enumerate().map(segment).collect(),
        group_image: None,
        gaps: Vec::new(),
        holes: Vec::new(),
        topics: Vec::new(),
        positions: Vec::new(),
        refined: None,
        retired: None,
        frontier: Frontier::default(),
    }
}

fn store() -> Store {
    Store { description: "s3://bucket/orders".to_owned(), ..Store::memory() }
}

#[test]
fn requests_are_those_of_an_hour_and_count_parts() {
    // The first manifest only marks the start. 36 s, so a hundredth of an hour: three manifests, three segments.
    let mib = 1 << 20;
    let sample = [
        manifest(7, 0, &[mib, mib]),
        manifest(8, 12, &[mib]),
        manifest(9, 24, &[]),
        manifest(10, 36, &[mib, 20 * mib]),
    ];
    let requests = Requests::of(&sample, LOOKS).expect("rates");
    assert_eq!((requests.sampled_manifests, requests.sampled_seconds), (4, 36));
    assert_eq!((requests.manifests_per_hour, requests.segments_per_hour), (300.0, 300.0));
    let checkpoints = 300.0 / 256.0;
    assert_eq!(requests.checkpoints_per_hour, checkpoints);
    // Two puts of one request, and one of three parts with its start and its end.
    assert_eq!(requests.puts_per_hour, 300.0 + 700.0 + checkpoints);
    // Twice a minute, and before each checkpoint, the identity and the newest manifest are read; and intake, when it is refined.
    assert_eq!(requests.looks_per_hour, 120.0);
    assert_eq!(requests.gets_per_hour, 300.0 + 240.0 + 2.0 * checkpoints);
    assert_eq!(requests.heads_per_hour, 300.0);
    // 22 MiB in a hundredth of an hour, which go once more when they are refined.
    let moved = (requests.sent_bytes_per_hour, requests.received_bytes_per_hour);
    assert_eq!(moved, (real(4400 * mib), real(2200 * mib)));
    let usage = requests.usage();
    assert_eq!((usage.puts, usage.gets), (requests.puts_per_hour, requests.gets_per_hour + requests.heads_per_hour));
    assert_eq!(usage.received_bytes, requests.received_bytes_per_hour);
    assert_eq!(Requests::of(&sample[..1], LOOKS), None);
    assert_eq!(Requests::of(&[], LOOKS), None);
    let often = Requests::of(&sample, Duration::from_secs(1)).expect("rates");
    assert_eq!(often.gets_per_hour, 300.0 + 7200.0 + 2.0 * checkpoints);
}

#[test]
fn the_screen_says_what_a_price_is_extrapolated_from() {
    let mut sample: Vec<Manifest> = (0..5).map(|n| manifest(1 + n, 2 * n as i64, &[1 << 20])).collect();
    for started in [0, 2, 3] {
        sample[started].claim = Some(Claim { writer: "backup-0".to_owned(), software: "0.1.0".to_owned() });
    }
    let text = resolve(&store(), &log(), Requests::of(&sample, LOOKS), Prices::default(), at(7212)).to_string();
    assert!(text.contains("by the last 5 manifests over 8 s, 2 of them starts of a streamer\n"), "{text}");
    assert!(text.contains(" a month, if it went on like those 8 s: storage "), "{text}");
    // Half a second says nothing of a month.
    for (n, manifest) in sample.iter_mut().enumerate() {
        manifest.observed_at = at(0).plus_millis(100 * n as i64);
    }
    assert_eq!(Requests::of(&sample, LOOKS), None);
}

#[test]
fn the_screen_answers_the_questions() {
    let mut log = log();
    log.ignored.push(("checkpoints/0000/00000000000000001000-0badf00d.json.zst".to_owned(), "it is gone".to_owned()));
    let sample: Vec<Manifest> = (0..4).map(|n| manifest(1231 + n, 7185 + 5 * n as i64, &[1 << 20])).collect();
    let found = resolve(&store(), &log, Requests::of(&sample, LOOKS), Prices::default(), at(7212));
    insta::assert_snapshot!(found.to_string(), @r#"
    backup      "orders-dr" of Kafka cluster 4L6g3nShT-eMCtK--X86sw, id 00000000-0000-0000-0000-00000000002a, under s3://bucket/orders
    protected   from 2026-02-13T07:00:30.000Z until 2026-02-13T08:56:40.000Z, 3 min 32 s behind now, without 1 partitions in their first copy
    stored      3.0 GiB in 345 segments, raw 12.0 GiB, ratio 4.0
    topics      1 streaming, 1 in their first copy, 1 deleted, 1 excluded
                old: Deleted, 0 records held
                payments: FirstCopy, 0 records held
                private: Excluded, 0 records held
    groups      committed offsets until 2026-02-13T09:00:00.000Z
    behind      2 partitions
                orders-0: OpenTransaction, until 2026-02-13T08:56:40.000Z
                payments-0: Backlog, first copy not complete
    gaps        1, 100 offsets lost before they were read
                orders-0 [100, 200): RetentionOverrun, found 2026-02-13T07:10:00.000Z
    writer      backup-0, epoch 3, manifest 1234 12 s ago
    anchor      backup 00000000-0000-0000-0000-00000000002a, sequence 1234, sha256 9f2e6d33a3717ee826353a404ba4618d1aeeb6879ad7936bce8ed5f46814924d
    requests    1443 puts, 966 gets and 720 heads an hour, by the last 4 manifests over 15 s
    moved       1.4 GiB an hour to the store and 720.0 MiB from it, of segments
    price       5.83 a month, if it went on like those 15 s: storage 0.07, puts 5.27, gets and heads 0.49, bytes read 0.00
                at 0.005 and 0.0004 for 1,000 puts and gets, 0.023 for a GB and month, 0 for a GB read
    ignored     1 checkpoints; the log was read without them
                checkpoints/0000/00000000000000001000-0badf00d.json.zst: it is gone
    "#);
    let json: serde_json::Value = serde_json::from_str(&found.to_json()).expect("json");
    assert_eq!(json["recoverable"]["from"], START + 30_000);
    assert_eq!(json["prices"]["put"], 0.005);
    assert_eq!(json["requests"]["segmentsPerHour"], 720.0);
    let position = serde_json::json!({
        "topic": "orders", "lineage": 0, "partition": 0, "firstOffset": 7, "nextOffset": 1_234_574
    });
    assert_eq!(json["positions"], serde_json::json!([position]));
    assert_eq!(json["ignoredCheckpoints"][0]["reason"], "it is gone");
}

#[test]
fn a_backup_that_has_just_begun_says_so() {
    let mut log = log();
    log.state = State::empty(backup(), Shard::ONLY, Sha256::of(b"identity"));
    let text = resolve(&store(), &log, None, Prices::default(), at(10)).to_string();
    insta::assert_snapshot!(text, @r#"
    backup      "orders-dr" of Kafka cluster 4L6g3nShT-eMCtK--X86sw, id 00000000-0000-0000-0000-00000000002a, under s3://bucket/orders
    protected   no: nothing is complete yet
    stored      0 B in 0 segments, raw 0 B
    topics      none
    groups      not covered: the job selects none (consumerGroups)
    behind      no partition
    gaps        none
    writer      none yet
    requests    unknown: the log is too short to tell
    price       0.00 a month for storage; what requests cost is not known yet
                at 0.005 and 0.0004 for 1,000 puts and gets, 0.023 for a GB and month, 0 for a GB read
    "#);
}

#[test]
fn a_silent_writer_is_noticed() {
    let text = resolve(&store(), &log(), None, Prices::default(), at(7200 + 3 * 86_400)).to_string();
    assert!(text.contains("manifest 1234 3 d 0 h ago; nobody writes: is the streamer running?"), "{text}");
    assert!(text.contains("3 d 0 h behind now"), "{text}");
}

#[test]
fn snapshots_are_listed_newest_first_and_a_damaged_one_says_so() {
    let entry = |id: &str, seconds: i64, until| SnapshotEntry {
        id: SnapshotId::new(id).expect("legal"),
        boundary: Some(Boundary {
            sequence: Sequence::new(9),
            observed_at: at(seconds),
            rows: 1_234,
            until,
            retired: seconds < 20,
        }),
        problem: None,
    };
    let damaged = SnapshotEntry {
        id: SnapshotId::new("odd").expect("legal"),
        boundary: None,
        problem: Some("snapshots/odd.json is damaged: it is gone".to_owned()),
    };
    let found = resolve(&store(), &log(), None, Prices::default(), at(7210));
    let snapshots = vec![entry("first", 10, None), entry("before-upgrade", 20, Some(at(15))), damaged];
    let found = Inspection { snapshot_count: 103, snapshots, ..found };
    let text = found.to_string();
    let lines: Vec<&str> = text.lines().skip_while(|line| !line.starts_with("snapshots")).take(4).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
    snapshots   103
                odd: cannot be read: snapshots/odd.json is damaged: it is gone
                before-upgrade: manifest 9 of 2026-02-13T07:00:20.000Z, 1234 records, until 2026-02-13T07:00:15.000Z
                first: manifest 9 of 2026-02-13T07:00:10.000Z, 1234 records, nothing complete yet; retired: it cannot be restored any longer
    ");
    let json: serde_json::Value = serde_json::from_str(&found.to_json()).expect("json");
    assert_eq!(json["snapshotCount"], 103);
    let expected = serde_json::json!({
        "id": "before-upgrade", "sequence": 9, "observedAt": START + 20_000, "rows": 1234, "until": START + 15_000,
        "retired": false
    });
    assert_eq!(json["snapshots"][1], expected);
    assert_eq!(json["snapshots"][2]["problem"], "snapshots/odd.json is damaged: it is gone");
}

#[test]
fn a_snapshot_is_retired_where_its_instant_is_before_what_is_kept() {
    let id = SnapshotId::new("daily").expect("legal");
    let label = Label { id, nonce: Nonce::new(uuid::Uuid::from_u128(1)), asked_at: at(7190), keep: None };
    let snapshot = Snapshot::of(&log().state, label).expect("a head");
    let retired = |kept_since| {
        let entry = SnapshotEntry::new(snapshot.id.clone(), Ok(snapshot.clone()), kept_since);
        entry.boundary.map(|boundary| boundary.retired)
    };
    let found = [None, Some(at(7199)), Some(at(7200)), Some(at(7201))].map(retired);
    assert_eq!(found, [Some(false), Some(false), Some(false), Some(true)]);
}
