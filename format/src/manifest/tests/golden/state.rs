//! What the golden log says before and after its manifest.

use std::collections::BTreeMap;

use super::upkeep::with_base;
use super::*;
use crate::state::{
    ClaimRecord, Earlier, GroupImageAt, Head, Interval, Life, Position, Refinement, Retirement, State, TopicState,
    Totals,
};

fn life(id: &str, began: TopicEventKind, since: i64, deleted: Option<i64>) -> Life {
    Life { topic_id: TopicId::new(id), began, since: at(since), deleted: deleted.map(at) }
}

fn topic_state(
    lives: Vec<Life>,
    current: &[(i32, i32)],
    description: TopicDescription,
    selected: &[(i64, Option<i64>)],
) -> TopicState {
    let lineage = |(partition, lineage): &(i32, i32)| (PartitionId::new(*partition), Lineage::new(*lineage));
    let interval = |(from, until): &(i64, Option<i64>)| Interval { from: at(*from), until: until.map(at) };
    TopicState {
        lives,
        current: current.iter().map(lineage).collect(),
        description,
        earlier: Vec::new(),
        selected: selected.iter().map(interval).collect(),
    }
}

fn held(
    offsets: std::ops::Range<i64>,
    last_record: Option<LastRecord>,
    times: Option<(TimestampMs, TimestampMs)>,
    rows: u64,
) -> Position {
    Position {
        first_offset: Offset::new(offsets.start),
        base: None,
        next_offset: Offset::new(offsets.end),
        last_record,
        highest_timestamp: times.map(|(_, highest)| highest),
        filed: None,
        lowest_timestamp: times.map(|(lowest, _)| lowest),
        rows,
    }
}

/// What manifests 1 and 2 said.
pub(super) fn before() -> State {
    let added = |id: &str| vec![life(id, TopicEventKind::Added, 0, None)];
    let selected = [(0, None)];
    State {
        backup: backup(),
        shard: Shard::ONLY,
        head: Some(Head {
            sequence: Sequence::new(2),
            sha256: Sha256::of(b"manifest 2"),
            epoch: Epoch::new(1),
            observed_at: at(60),
        }),
        identity: Sha256::of(&golden::read(IDENTITY)),
        claims: vec![ClaimRecord { epoch: Epoch::new(1), writer: "orders-dr-5d2a".to_owned(), observed_at: at(0) }],
        topics: BTreeMap::from([
            (topic("audit"), topic_state(added("aud-1"), &[(0, 0)], described(1, &[]), &[(0, Some(30))])),
            (topic("customers"), topic_state(added("cus-1"), &[(0, 0)], described(1, &[]), &selected)),
            (topic("orders"), topic_state(added("ord-1"), &[(0, 0), (1, 0)], described(2, &[]), &selected)),
            (topic("private"), topic_state(added("pri-1"), &[(0, 0)], described(1, &[]), &selected)),
        ]),
        positions: BTreeMap::from([
            (key("customers", 0, 0), held(0..50, last(49, 3), Some((at(1), at(50))), 50)),
            (key("orders", 0, 0), held(10..90, last(88, 3), Some((at(10), at(89))), 70)),
            (key("orders", 0, 1), held(0..40, last(39, 3), Some((at(0), at(39))), 40)),
        ]),
        gaps: vec![gap(&key("orders", 0, 0), 10..12, GapReason::RetentionOverrun)],
        frontier: Frontier { until: Some(at(59)), ..Frontier::default() },
        group_images: vec![GroupImageAt {
            sequence: Sequence::new(2),
            observed_at: at(60),
            until: Some(at(59)),
            image: image(),
        }],
        complete_since: Some(at(59)),
        refined: None,
        retired: None,
        totals: Totals { segments: 3, bytes: 4000, rows: 160, raw_bytes: 12_000 },
    }
}

fn topics_after() -> BTreeMap<TopicName, TopicState> {
    use TopicEventKind::{Added, Recreated, Truncated};
    let one = |id: &str, since| vec![life(id, Added, since, None)];
    let customers = vec![life("cus-1", Added, 0, Some(120)), life("cus-2", Recreated, 120, None)];
    let orders = vec![life("ord-1", Added, 0, None), life("ord-1", Truncated, 120, None)];
    let payments = described(1, &[("cleanup.policy", "compact"), ("retention.ms", "-1")]);
    let plain = |partitions| described(partitions, &[]);
    BTreeMap::from([
        (topic("audit"), topic_state(one("aud-1", 0), &[(0, 0)], plain(1), &[(0, Some(30)), (120, None)])),
        (topic("customers"), topic_state(customers, &[(0, 1)], plain(1), &[(0, None)])),
        (
            topic("orders"),
            TopicState {
                earlier: vec![Earlier { until: at(120), description: plain(2) }],
                ..topic_state(orders, &[(0, 0), (1, 1), (2, 0)], plain(3), &[(0, None)])
            },
        ),
        (topic("payments"), topic_state(one("pay-1", 120), &[(0, 0)], payments, &[(120, None)])),
        (topic("private"), topic_state(one("pri-1", 0), &[(0, 0)], plain(1), &[(0, Some(120))])),
    ])
}

pub(super) fn after() -> State {
    let (least, most) = (TimestampMs::new(i64::MIN), TimestampMs::new(i64::MAX));
    State {
        head: Some(Head {
            sequence: Sequence::new(3),
            sha256: Sha256::of(&golden::read(MANIFEST)),
            epoch: Epoch::new(2),
            observed_at: at(120),
        }),
        claims: vec![
            ClaimRecord { epoch: Epoch::new(1), writer: "orders-dr-5d2a".to_owned(), observed_at: at(0) },
            ClaimRecord { epoch: Epoch::new(2), writer: "orders-dr-7f9c".to_owned(), observed_at: at(120) },
        ],
        topics: topics_after(),
        positions: BTreeMap::from([
            (key("__consumer_offsets", 0, 7), held(20..30, last(29, 1), Some((at(20), at(84))), 2)),
            (key("audit", 0, 0), held(5..9, None, None, 0)),
            (key("customers", 0, 0), with_base(held(50..52, last(49, 3), Some((at(1), at(50))), 3))),
            (key("customers", 1, 0), held(0..3, last(2, 4), Some((at(100), at(101))), 3)),
            (key("orders", 0, 0), held(10..112, last(108, -1), Some((least, most)), 74)),
            (key("orders", 0, 1), held(0..40, last(39, 3), Some((at(0), at(39))), 40)),
            (key("payments", 0, 0), held(0..5, last(4, 0), Some((at(-5), at(3601))), 5)),
        ]),
        gaps: [before().gaps, gaps()].concat(),
        frontier: frontier(),
        group_images: [
            before().group_images,
            vec![GroupImageAt {
                sequence: Sequence::new(3),
                observed_at: at(120),
                until: Some(at(85)),
                image: image(),
            }],
        ]
        .concat(),
        refined: Some(Refinement { through: Sequence::new(2), observed_at: at(120) }),
        retired: Some(Retirement { before: at(60), observed_at: at(120) }),
        totals: Totals { segments: 6, bytes: 9_017_188, rows: 124, raw_bytes: 30_025_922 },
        ..before()
    }
}
