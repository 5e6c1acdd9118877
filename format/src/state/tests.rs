//! What folding keeps of the manifests.

use super::*;
use crate::ids::LeaderEpoch;
use crate::manifest::invariants::Violation;
use crate::manifest::log::{Draft, LogWriter};
use crate::manifest::{BehindReason, Claim, GapReason};
use crate::manifest::{PartitionPosition, TopicEvent};
use crate::sample::{
    at, behind, captured, claimed, commit, description, event, gap, hole, key, position, prepare, run, segment, topic,
};
use crate::store::Store;

async fn writer() -> LogWriter {
    claimed(&Store::memory()).await
}

/// The topic's state after these events, each in a manifest of its own; the first is number 2, at 2 s.
async fn after(events: &[TopicEvent]) -> TopicState {
    let mut writer = writer().await;
    for event in events {
        commit(&mut writer, Draft { topics: vec![event.clone()], ..Draft::default() }).await;
    }
    writer.state().topics[&topic("orders")].clone()
}

fn orders(lineage: i32, kind: TopicEventKind) -> TopicEvent {
    event("orders", lineage, kind)
}

fn current(state: &TopicState) -> Vec<i32> {
    state.current.values().map(|lineage| lineage.get()).collect()
}

#[tokio::test]
async fn an_added_topic_is_live_and_all_its_partitions_are_in_the_first_life() {
    let state = after(&[orders(0, TopicEventKind::Added)]).await;
    let life = Life { topic_id: TopicId::new("orders 0"), began: TopicEventKind::Added, since: at(2), deleted: None };
    assert_eq!((state.newest(), state.lives.len()), ((Lineage::FIRST, Some(&life)), 1));
    assert_eq!(state.next_lineage(), Lineage::new(1));
    assert_eq!((current(&state), state.description.clone()), (vec![0, 0], description(2)));
    assert_eq!(state.selected, [Interval { from: at(2), until: None }]);
    assert!(state.is_live() && state.is_selected());
}

#[tokio::test]
async fn a_recreated_topic_is_in_its_next_life_with_the_partitions_it_has_now() {
    let mut recreated = orders(1, TopicEventKind::Recreated);
    recreated.description = Some(description(1));
    let events = [orders(0, TopicEventKind::Added), orders(0, TopicEventKind::Deleted), recreated];
    let gone = after(&events[..2]).await;
    assert_eq!((gone.lives[0].deleted, gone.is_live(), gone.is_selected()), (Some(at(3)), false, true));
    let state = after(&events).await;
    assert_eq!(
        state.lives.iter().map(|life| (life.since, life.deleted)).collect::<Vec<_>>(),
        [(at(2), Some(at(3))), (at(4), None)]
    );
    assert_eq!((current(&state), state.is_live()), (vec![1], true));
}

#[tokio::test]
async fn a_truncated_partition_goes_on_alone_in_the_next_life() {
    let mut truncated = orders(1, TopicEventKind::Truncated);
    (truncated.partition, truncated.topic_id) = (Some(PartitionId::new(1)), TopicId::new("orders 0"));
    let mut deleted = orders(1, TopicEventKind::Deleted);
    deleted.topic_id = TopicId::new("orders 0");
    let events = [orders(0, TopicEventKind::Added), truncated, deleted];
    let state = after(&events[..2]).await;
    assert_eq!((current(&state), state.lives.len(), state.is_live()), (vec![0, 1], 2, true));
    // Both lives are of one topic, which goes as a whole.
    let state = after(&events).await;
    assert!(state.lives.iter().all(|life| life.deleted == Some(at(4))) && !state.is_live());
}

#[tokio::test]
async fn a_topic_that_is_there_again_under_its_id_was_never_deleted_and_new_partitions_join_its_life() {
    let mut changed = orders(0, TopicEventKind::Changed);
    changed.description = Some(description(4));
    let state = after(&[orders(0, TopicEventKind::Added), orders(0, TopicEventKind::Deleted), changed]).await;
    assert_eq!((state.lives[0].deleted, current(&state), state.description), (None, vec![0; 4], description(4)));
}

#[tokio::test]
async fn a_topic_is_selected_from_its_inclusion_to_its_exclusion() {
    let events = [TopicEventKind::Added, TopicEventKind::Excluded, TopicEventKind::Included];
    let events = events.map(|kind| orders(0, kind));
    let excluded = after(&events[..2]).await;
    let first = Interval { from: at(2), until: Some(at(3)) };
    assert_eq!((excluded.selected.clone(), excluded.is_selected(), excluded.is_live()), (vec![first], false, false));
    let included = after(&events).await;
    assert_eq!(included.selected, [first, Interval { from: at(4), until: None }]);
    assert!(included.is_live());
}

#[tokio::test]
async fn a_position_keeps_its_first_offset_its_extremes_in_time_and_its_rows() {
    let orders = key("orders", 0, 0);
    let mut writer = writer().await;
    let gaps = vec![gap(&orders, 5..10, GapReason::RetentionOverrun)];
    let nothing_read = PartitionPosition { last_record: None, highest_timestamp: None, ..position(&orders, 10) };
    commit(&mut writer, Draft { gaps: gaps.clone(), positions: vec![nothing_read], ..Draft::default() }).await;
    let lost = Position {
        first_offset: Offset::new(5),
        base: None,
        next_offset: Offset::new(10),
        last_record: None,
        highest_timestamp: None,
        filed: None,
        lowest_timestamp: None,
        rows: 0,
    };
    assert_eq!(writer.state().position(&orders), Some(&lost));

    let early = crate::manifest::Run { min_timestamp: at(-60), ..run(&orders, 12..20, 3) };
    let segments = vec![segment(vec![run(&orders, 10..12, 2), early])];
    let holes = vec![hole(&orders, 20..21)];
    commit(&mut writer, Draft { segments, holes, positions: vec![position(&orders, 21)], ..Draft::default() }).await;
    let held = Position {
        next_offset: Offset::new(21),
        last_record: Some(LastRecord { offset: Offset::new(20), leader_epoch: LeaderEpoch::new(1) }),
        highest_timestamp: Some(at(20)),
        lowest_timestamp: Some(at(-60)),
        rows: 5,
        ..lost
    };
    assert_eq!(writer.state().position(&orders), Some(&held));

    let filed = Some(crate::bucket::Bucket::of(at(7200)));
    let undated = PartitionPosition { filed, ..position(&orders, 21) };
    commit(&mut writer, Draft { positions: vec![undated], ..Draft::default() }).await;
    assert_eq!(writer.state().position(&orders), Some(&Position { filed, ..held }));

    commit(&mut writer, captured(&orders, 21..22)).await;
    let state = writer.state();
    assert_eq!(state.positions[&orders].filed, None, "the highest timestamp has gone by it");
    assert_eq!(state.positions[&orders].lowest_timestamp, Some(at(-60)));
    assert_eq!((state.positions[&orders].rows, &state.gaps), (6, &gaps));
    assert_eq!(state.totals, Totals { segments: 2, bytes: 2000, rows: 6, raw_bytes: 6000 });
}

#[tokio::test]
async fn the_newest_128_claims_are_remembered() {
    let mut writer = writer().await;
    let state = &mut writer.state().clone();
    for epoch in 2..=132 {
        let mut next = prepare(&writer, Draft::default()).manifest().clone();
        (next.epoch, next.sequence, next.previous) = (Epoch::new(epoch), state.next_sequence(), state.next_previous());
        next.claim = Some(Claim { writer: format!("pod-{epoch}"), software: "0.1.0".to_owned() });
        state.fold(&next, Sha256::of(b"claim")).expect("legal");
    }
    let claims: Vec<u64> = state.claims.iter().map(|claim| claim.epoch.get()).collect();
    assert_eq!(claims, (5..=132).collect::<Vec<_>>());
    assert_eq!((state.claims[127].writer.as_str(), state.epoch()), ("pod-132", Epoch::new(132)));
    commit(&mut writer, Draft::default()).await;
    assert_eq!(writer.state().claims.len(), 1);
}

#[tokio::test]
async fn complete_since_is_the_first_frontier_without_a_first_copy_and_stays() {
    let orders = key("orders", 0, 0);
    let mut writer = writer().await;
    let backlog = BehindReason::Backlog;
    let cases = [
        (None, vec![], None),
        (Some(10), vec![behind(&orders, None, backlog)], None),
        (Some(20), vec![behind(&orders, Some(at(15)), backlog)], Some(20)),
        (Some(30), vec![], Some(20)),
        (Some(40), vec![behind(&orders, None, backlog)], Some(20)),
    ];
    for (until, behind, expected) in cases {
        let frontier = Frontier { until: until.map(at), behind, groups: None };
        commit(&mut writer, Draft { frontier: frontier.clone(), ..Draft::default() }).await;
        assert_eq!((writer.state().complete_since, &writer.state().frontier), (expected.map(at), &frontier));
    }
}

#[tokio::test]
async fn a_violation_leaves_the_state_as_it_was() {
    let mut writer = writer().await;
    let orders = key("orders", 0, 0);
    let draft = Draft { topics: vec![event("orders", 0, TopicEventKind::Added)], ..captured(&orders, 0..10) };
    let mut broken = prepare(&writer, draft.clone()).manifest().clone();
    broken.positions[0].next_offset = Offset::new(11);
    let mut state = writer.state().clone();
    let violation = state.fold(&broken, Sha256::of(b"broken")).expect_err("broken");
    let (found, wanted) = (Offset::new(11), Offset::new(10));
    assert_eq!(violation, Violation::Position { key: orders, found, wanted });
    assert_eq!(&state, writer.state());
    commit(&mut writer, draft).await;
    assert_ne!(&state, writer.state());
}

#[tokio::test]
async fn a_state_comes_back_from_json_and_names_its_positions_one_by_one() {
    let mut writer = writer().await;
    commit(&mut writer, captured(&key("orders", 1, 0), 7..10)).await;
    commit(&mut writer, captured(&key("orders", 0, 3), 0..1)).await;
    let json = serde_json::to_value(writer.state()).expect("json");
    let named = |at: usize| (json["positions"][at]["lineage"].as_i64(), json["positions"][at]["partition"].as_i64());
    assert_eq!((named(0), named(1)), ((Some(0), Some(3)), (Some(1), Some(0))));
    assert_eq!(&serde_json::from_value::<State>(json).expect("state"), writer.state());
}

#[tokio::test]
async fn what_a_topic_was_like_is_remembered_by_the_instant() {
    let changed =
        |partitions| TopicEvent { description: Some(description(partitions)), ..orders(0, TopicEventKind::Changed) };
    let state = after(&[orders(0, TopicEventKind::Added), changed(3), changed(3), changed(5)]).await;
    let partitions = |second| state.description_at(TimestampMs::new(second)).partitions;
    let (third, fifth) = (at(3).get(), at(5).get());
    assert_eq!(state.earlier.len(), 2, "what does not change is not remembered");
    assert_eq!((partitions(third - 1), partitions(third), partitions(fifth - 1), partitions(fifth)), (2, 3, 3, 5));
    let many: Vec<TopicEvent> = (0..300)
        .map(|number| if number == 0 { orders(0, TopicEventKind::Added) } else { changed(number + 1) })
        .collect();
    assert_eq!(after(&many).await.earlier.len(), DESCRIPTIONS_KEPT);
}
