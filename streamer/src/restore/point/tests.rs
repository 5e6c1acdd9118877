use std::time::Duration;

use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::ids::{Nonce, Shard, SnapshotId};
use strimzi_backup_format::manifest::{Behind, TopicEventKind};
use strimzi_backup_format::snapshot::Label;
use strimzi_backup_format::state::Interval;

use super::super::sample::{at, copying, gap, head, key, life, moved, position, settings, state, to, topic};
use super::*;

/// What is asked for and resolved, by partition.
fn ends(point: &Point) -> Vec<(String, i64)> {
    point.ends.iter().map(|(key, end)| (key.to_string(), end.get())).collect()
}

/// The lineage of each partition of `orders` at a moment.
fn lineages(state: &State, until: TimestampMs) -> Vec<i32> {
    let point = resolve(&to(until), state, None).expect("restorable");
    point.topics[&topic("orders")].lineages.values().map(|lineage| lineage.get()).collect()
}

/// Why `orders` is left out at a moment at which another topic is there.
fn absence(state: &State, until: TimestampMs) -> Option<(Absence, TimestampMs)> {
    let point = resolve(&to(until), state, None).expect("restorable");
    point.absent.iter().find(|absent| absent.topic == topic("orders")).map(|absent| (absent.because, absent.at))
}

fn told(faults: &[PointFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

fn snapshot(state: &State) -> Snapshot {
    let id = SnapshotId::new("backup-1").expect("legal");
    let label = Label { id, nonce: Nonce::new(uuid::Uuid::nil()), asked_at: at(0), keep: None };
    Snapshot::of(state, label).expect("a manifest")
}

#[test]
fn the_newest_is_everything_that_is_held() {
    let state = state(&[("orders", 2)]);
    let point = resolve(&settings(""), &state, None).expect("restorable");
    assert_eq!((point.until, point.start, point.manifest), (None, None, state.head.expect("a head")));
    assert_eq!(ends(&point), [("orders-0".to_owned(), 100), ("orders-1".to_owned(), 100)]);
    assert!(point.absent.is_empty() && point.gaps.is_empty() && point.incomplete.is_empty());
}

#[test]
fn a70_a_moment_may_be_either_end_of_the_window_and_not_1_ms_outside() {
    let state = state(&[("orders", 1)]);
    let (earliest, latest) = (at(100), at(1000));
    for wanted in [earliest, moved(earliest, 1), moved(latest, -1), latest] {
        assert_eq!(resolve(&to(wanted), &state, None).expect("in the window").until, Some(wanted));
    }
    let wanted = moved(earliest, -1);
    assert_eq!(resolve(&to(wanted), &state, None), Err(vec![PointFault::BeforeWindow { wanted, earliest }]));
    let wanted = moved(latest, 1);
    assert_eq!(resolve(&to(wanted), &state, None), Err(vec![PointFault::AfterWindow { wanted, latest }]));
}

#[test]
fn a70_the_window_ends_with_the_slowest_partition() {
    let mut state = state(&[("orders", 2)]);
    state.frontier.behind = vec![Behind { until: Some(at(900)), ..copying(&key("orders", 0, 1)) }];
    let latest = at(900);
    assert!(resolve(&to(latest), &state, None).is_ok());
    let wanted = moved(latest, 1);
    assert_eq!(resolve(&to(wanted), &state, None), Err(vec![PointFault::AfterWindow { wanted, latest }]));
}

#[test]
fn a70_an_offset_from_the_end_is_counted_from_the_newest_instant() {
    let state = state(&[("orders", 1)]);
    let back = |milliseconds: i64| {
        let mut settings = settings("");
        settings.stop.until = Some(Until::FromEnd(Duration::from_millis(milliseconds.unsigned_abs())));
        resolve(&settings, &state, None).map(|point| point.until)
    };
    assert_eq!(back(1), Ok(Some(moved(at(1000), -1))));
    assert_eq!(back(900_000), Ok(Some(at(100))));
    let (wanted, earliest) = (moved(at(100), -1), at(100));
    assert_eq!(back(900_001), Err(vec![PointFault::BeforeWindow { wanted, earliest }]));
    let wanted = TimestampMs::new(at(1000).get() - i64::MAX);
    assert_eq!(back(i64::MAX), Err(vec![PointFault::BeforeWindow { wanted, earliest }]));
}

#[test]
fn a70_a_snapshot_ends_each_partition_at_its_positions_and_knows_no_later_topic() {
    let before = state(&[("orders", 1)]);
    let snapshot = snapshot(&before);
    let mut state = state(&[("orders", 2), ("payments", 1)]);
    state.positions.insert(key("orders", 0, 0), position(500, 20));
    state.head = Some(head(70));
    state.gaps = vec![gap(&key("orders", 0, 0), 100..150, None, 950)];
    let point = resolve(&settings("backupId: backup-1"), &state, Some(&snapshot)).expect("restorable");
    assert_eq!((point.until, point.manifest), (None, snapshot.manifest));
    assert_eq!(ends(&point), [("orders-0".to_owned(), 100)]);
}

#[test]
fn a70_of_a_snapshot_and_a_moment_whichever_comes_first_counts() {
    let state = state(&[("orders", 1)]);
    let snapshot = snapshot(&state);
    let resolve_at = |until| resolve(&to(until), &state, Some(&snapshot));
    for wanted in [at(100), at(1000), moved(at(1000), 1), at(5000)] {
        let point = resolve_at(wanted).expect("restorable");
        assert_eq!((point.until, ends(&point)), (Some(wanted), vec![("orders-0".to_owned(), 100)]));
    }
    let (wanted, earliest) = (moved(at(100), -1), at(100));
    assert_eq!(resolve_at(wanted), Err(vec![PointFault::BeforeWindow { wanted, earliest }]));
}

#[test]
fn a70_a_start_may_be_the_moment_itself_and_not_1_ms_after_it() {
    let state = state(&[("orders", 1)]);
    let from = |start| {
        let mut settings = to(at(500));
        settings.start = Some(start);
        resolve(&settings, &state, None).map(|point| point.start)
    };
    assert_eq!(from(at(500)), Ok(Some(at(500))));
    let (start, until) = (moved(at(500), 1), at(500));
    assert_eq!(from(start), Err(vec![PointFault::InsideOut { start, until }]));
}

#[test]
fn nothing_can_be_restored_before_the_first_look_and_no_moment_during_the_first_copy() {
    let nothing = Err(vec![PointFault::NothingYet]);
    let empty = State::empty(state(&[]).backup, Shard::ONLY, Sha256::of(b"identity"));
    assert_eq!(resolve(&settings(""), &empty, None), nothing, "no manifest");
    let mut state = state(&[("orders", 1)]);
    state.complete_since = None;
    state.frontier = Default::default();
    assert_eq!(resolve(&settings(""), &state, None), nothing, "no look at the topics");
    state.frontier.behind = vec![copying(&key("orders", 0, 0))];
    assert_eq!(resolve(&to(at(500)), &state, None), nothing, "no window");
}

/// The cluster may be lost before the first copy is complete: what there is can be had.
#[test]
fn the_newest_of_an_incomplete_first_copy_is_restored_where_that_is_accepted() {
    let mut state = state(&[("orders", 2), ("payments", 1)]);
    state.complete_since = None;
    state.frontier.behind = vec![copying(&key("orders", 0, 1))];
    let faults = resolve(&settings(""), &state, None).expect_err("incomplete");
    assert_eq!(faults, [PointFault::FirstCopy(key("orders", 0, 1))]);
    let point = resolve(&settings("topics: {include: [payments]}"), &state, None).expect("this one is complete");
    assert_eq!(ends(&point), [("payments-0".to_owned(), 100)]);
    state.frontier.until = None;
    state.frontier.behind.insert(0, copying(&key("orders", 0, 0)));
    let point = resolve(&settings("onGap: accept"), &state, None).expect("accepted");
    assert_eq!(point.incomplete, [key("orders", 0, 0), key("orders", 0, 1)]);
    let point = resolve(&settings("onGap: accept"), &state, Some(&snapshot(&state))).expect("of a snapshot too");
    assert_eq!(point.incomplete.len(), 2);
}

#[test]
fn a_first_copy_that_is_not_complete_matters_to_its_topic_alone() {
    let mut state = state(&[("orders", 2), ("payments", 1)]);
    state.frontier.behind = vec![copying(&key("orders", 0, 1))];
    let faults = resolve(&to(at(500)), &state, None).expect_err("incomplete");
    insta::assert_snapshot!(told(&faults), @"the first copy of orders-1 was not complete at that moment: exclude the topic, or set onGap: accept");
    let mut accepting = to(at(500));
    accepting.on_gap = OnGap::Accept;
    assert_eq!(resolve(&accepting, &state, None).expect("accepted").incomplete, [key("orders", 0, 1)]);
    let mut other = settings("topics: {exclude: [orders]}");
    other.stop = to(at(500)).stop;
    assert!(resolve(&other, &state, None).expect("complete").incomplete.is_empty());
}

#[test]
fn nothing_selected_is_told_with_how_much_there_is() {
    let state = state(&[("orders", 1), ("payments", 1)]);
    let faults = resolve(&settings("topics: {include: [other]}"), &state, None).expect_err("nothing");
    insta::assert_snapshot!(told(&faults), @r#"topics: include ["other"] selects none of the 2 of the backup (orders, payments); an entry must match a whole name"#);
    let state = self::state(&[("a", 1), ("b", 1), ("c", 1), ("d", 1), ("e", 1), ("f", 1), ("g", 1)]);
    let faults = resolve(&settings("topics: {exclude: ['[a-g]']}"), &state, None).expect_err("nothing");
    insta::assert_snapshot!(told(&faults), @r#"topics: include [".*"] without exclude ["[a-g]"] selects none of the 7 of the backup (a, b, c, d, e, 2 more); an entry must match a whole name"#);
    let faults = resolve(&settings(""), &self::state(&[]), None).expect_err("nothing");
    insta::assert_snapshot!(told(&faults), @"topics: the backup holds none");
}

/// What was lost lies after the highest timestamp captured before it, and before it was found missing.
#[test]
fn a70_a_gap_counts_from_what_was_captured_before_it_until_it_was_found() {
    let mut state = state(&[("orders", 2)]);
    let lost = gap(&key("orders", 0, 1), 40..60, Some(300), 400);
    state.gaps = vec![lost.clone()];
    let faults = |start: Option<TimestampMs>, until: Option<TimestampMs>| {
        let mut settings = settings("");
        (settings.start, settings.stop.until) = (start, until.map(Until::At));
        resolve(&settings, &state, None).err().unwrap_or_default()
    };
    let counts = vec![PointFault::Gap(Box::new(lost.clone()))];
    assert_eq!(faults(None, Some(moved(at(300), -1))), []);
    assert_eq!(faults(None, Some(at(300))), counts);
    assert_eq!(faults(None, Some(at(900))), counts);
    assert_eq!(faults(None, None), counts);
    assert_eq!(faults(Some(at(400)), None), counts);
    assert_eq!(faults(Some(moved(at(400), 1)), None), []);
    assert_eq!(faults(Some(moved(at(400), 1)), Some(at(900))), []);
}

#[test]
fn a70_a_gap_before_which_nothing_was_captured_has_no_earlier_moment() {
    let mut state = state(&[("orders", 1)]);
    state.gaps = vec![gap(&key("orders", 0, 0), 0..60, None, 400)];
    assert!(resolve(&to(at(100)), &state, None).is_err());
}

#[test]
fn gaps_of_other_lives_and_of_topics_left_out_do_not_count() {
    let mut state = state(&[("orders", 1), ("payments", 1)]);
    state.gaps = vec![gap(&key("orders", 1, 0), 0..60, None, 400), gap(&key("payments", 0, 0), 0..60, None, 400)];
    assert!(resolve(&settings("topics: {include: [orders]}"), &state, None).is_ok());
}

#[test]
fn every_gap_and_every_incomplete_copy_is_told_at_once_with_the_nearest_times_that_work() {
    let mut state = state(&[("orders", 2), ("payments", 1)]);
    state.gaps = vec![gap(&key("orders", 0, 0), 0..60, None, 400), gap(&key("payments", 0, 0), 20..21, Some(300), 500)];
    state.frontier.behind = vec![copying(&key("orders", 0, 1))];
    let faults = resolve(&settings(""), &state, None).expect_err("lost");
    insta::assert_snapshot!(told(&faults));
    let point = resolve(&settings("onGap: accept"), &state, None).expect("accepted");
    assert_eq!((point.gaps, point.incomplete), (state.gaps.clone(), vec![key("orders", 0, 1)]));
}

#[test]
fn every_fault_names_the_moment_and_the_nearest_that_works() {
    let state = state(&[("orders", 1)]);
    let mut inside_out = to(at(500));
    inside_out.start = Some(at(501));
    let faults = [to(at(99)), to(at(1001)), inside_out].map(|asked| resolve(&asked, &state, None).expect_err("faulty"));
    insta::assert_snapshot!(told(&[faults.concat(), vec![PointFault::NothingYet]].concat()));
}

/// `orders` was deleted at 400 and created anew, first seen at 500.
fn recreated() -> State {
    let mut state = state(&[("orders", 2), ("payments", 1)]);
    let orders = state.topics.get_mut(&topic("orders")).expect("there");
    orders.lives[0].deleted = Some(at(400));
    orders.lives.push(life("another id", TopicEventKind::Recreated, 500));
    orders.current = [(PartitionId::new(0), Lineage::new(1)), (PartitionId::new(1), Lineage::new(1))].into();
    state.positions.insert(key("orders", 1, 0), position(7, 501));
    state
}

#[test]
fn a42_the_moment_decides_which_life_of_a_re_created_topic_is_restored() {
    let state = recreated();
    assert_eq!(lineages(&state, at(100)), [0, 0]);
    assert_eq!(lineages(&state, moved(at(400), -1)), [0, 0]);
    assert_eq!(lineages(&state, at(500)), [1, 1]);
    let point = resolve(&settings("topics: {include: [orders]}"), &state, None).expect("restorable");
    let newest = [("orders-0 (lineage 1)".to_owned(), 7), ("orders-1 (lineage 1)".to_owned(), 0)];
    assert_eq!(ends(&point), newest, "a partition without a position holds nothing");
}

#[test]
fn a41_a_deleted_topic_is_absent_from_its_deletion_on() {
    let state = recreated();
    assert_eq!(absence(&state, moved(at(400), -1)), None);
    assert_eq!(absence(&state, at(400)), Some((Absence::Deleted, at(400))));
    assert_eq!(absence(&state, moved(at(500), -1)), Some((Absence::Deleted, at(400))));
    assert_eq!(absence(&state, at(500)), None);
}

#[test]
fn a41_what_was_deleted_last_is_absent_from_the_newest() {
    let mut state = state(&[("orders", 1), ("payments", 1)]);
    state.topics.get_mut(&topic("orders")).expect("there").lives[0].deleted = Some(at(400));
    let point = resolve(&settings(""), &state, None).expect("restorable");
    assert_eq!(ends(&point), [("payments-0".to_owned(), 100)]);
    assert_eq!(point.absent, [Absent { topic: topic("orders"), because: Absence::Deleted, at: at(400) }]);
    let faults = resolve(&settings("topics: {include: [orders]}"), &state, None).expect_err("nothing left");
    let deleted = format!("orders: Deleted since {}", at(400).to_rfc3339());
    let wanted = "topics: none that is selected was there at that moment";
    assert_eq!(told(&faults), format!("{wanted} ({deleted}); take another moment or other topics"));
}

/// Partition 0 was cut back, found so at 500, and partition 1 at 600.
#[test]
fn a44_a_moment_before_a_truncation_is_of_the_old_history_and_of_that_partition_alone() {
    let mut state = state(&[("orders", 3)]);
    let orders = state.topics.get_mut(&topic("orders")).expect("there");
    orders.lives.push(life("orders", TopicEventKind::Truncated, 500));
    orders.lives.push(life("orders", TopicEventKind::Truncated, 600));
    orders.current.insert(PartitionId::new(0), Lineage::new(1));
    orders.current.insert(PartitionId::new(1), Lineage::new(2));
    state.positions.insert(key("orders", 1, 0), position(50, 20));
    state.positions.insert(key("orders", 2, 1), position(60, 20));
    assert_eq!(lineages(&state, moved(at(500), -1)), [0, 0, 0]);
    assert_eq!(lineages(&state, at(500)), [1, 0, 0]);
    assert_eq!(lineages(&state, moved(at(600), -1)), [1, 0, 0]);
    assert_eq!(lineages(&state, at(600)), [1, 2, 0]);
    let point = resolve(&settings(""), &state, None).expect("restorable");
    let newest = [("orders-2", 100), ("orders-0 (lineage 1)", 50), ("orders-1 (lineage 2)", 60)];
    assert_eq!(ends(&point), newest.map(|(key, end)| (key.to_owned(), end)));
}

#[test]
fn a44_a_truncation_of_a_re_created_topic_stays_in_its_life() {
    let mut state = recreated();
    let orders = state.topics.get_mut(&topic("orders")).expect("there");
    orders.lives.push(life("another id", TopicEventKind::Truncated, 700));
    orders.current.insert(PartitionId::new(0), Lineage::new(2));
    assert_eq!(lineages(&state, at(399)), [0, 0]);
    assert_eq!(lineages(&state, moved(at(700), -1)), [1, 1]);
    assert_eq!(lineages(&state, at(700)), [2, 1]);
}

#[test]
fn a43_partitions_that_were_added_belong_to_the_restore_with_what_they_hold() {
    let mut state = state(&[("orders", 2)]);
    let orders = state.topics.get_mut(&topic("orders")).expect("there");
    orders.current.insert(PartitionId::new(2), Lineage::FIRST);
    orders.description.partitions = 3;
    assert_eq!(lineages(&state, at(1000)), [0, 0, 0]);
    let point = resolve(&settings(""), &state, None).expect("restorable");
    assert_eq!(point.ends[&key("orders", 0, 2)], Offset::new(0), "nothing came yet");
}

/// A topic is seen some time after it was created, and its records may be older still.
#[test]
fn a_first_life_begins_with_its_records_where_they_are_older_than_its_discovery() {
    let mut state = state(&[("orders", 1), ("payments", 1)]);
    state.topics.get_mut(&topic("orders")).expect("there").lives[0].since = at(205);
    state.positions.insert(key("orders", 0, 0), position(100, 200));
    assert_eq!(absence(&state, moved(at(200), -1)), Some((Absence::NotYet, at(205))));
    assert_eq!(lineages(&state, at(200)), [0]);
    assert_eq!(lineages(&state, at(205)), [0]);
    state.positions.remove(&key("orders", 0, 0));
    assert_eq!(absence(&state, moved(at(205), -1)), Some((Absence::NotYet, at(205))), "without a record");
    assert_eq!(absence(&state, at(205)), None);
}

#[test]
fn a55_a_topic_is_absent_while_it_was_excluded() {
    let mut state = state(&[("orders", 1), ("payments", 1)]);
    state.topics.get_mut(&topic("orders")).expect("there").selected = vec![
        Interval { from: at(10), until: Some(at(300)) },
        Interval { from: at(400), until: Some(at(500)) },
        Interval { from: at(600), until: None },
    ];
    let excluded = |since| Some((Absence::Excluded, at(since)));
    assert_eq!(absence(&state, moved(at(300), -1)), None);
    assert_eq!(absence(&state, at(300)), excluded(300));
    assert_eq!(absence(&state, moved(at(400), -1)), excluded(300));
    assert_eq!(absence(&state, at(400)), None);
    assert_eq!(absence(&state, at(599)), excluded(500));
    assert_eq!(absence(&state, at(600)), None);
    state.topics.get_mut(&topic("orders")).expect("there").selected.truncate(1);
    let point = resolve(&settings(""), &state, None).expect("restorable");
    assert_eq!(point.absent, [Absent { topic: topic("orders"), because: Absence::Excluded, at: at(300) }]);
}

#[test]
fn topics_whose_names_begin_alike_are_not_mixed() {
    let mut state = state(&[("order", 1), ("orders", 1), ("orders.v2", 1)]);
    state.topics.get_mut(&topic("orders")).expect("there").lives[0].since = at(900);
    state.positions.remove(&key("orders", 0, 0));
    let point = resolve(&to(at(500)), &state, None).expect("restorable");
    assert_eq!(ends(&point), [("order-0".to_owned(), 100), ("orders.v2-0".to_owned(), 100)]);
}
