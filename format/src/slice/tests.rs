//! What a slice touches.

use super::*;
use crate::ids::Shard;
use crate::manifest::log::Draft;
use crate::manifest::reader;
use crate::sample::{at, captured, claimed, commit, key, position, run, segment};
use crate::store::faulty::Op;

const ALL: &(dyn Fn(&PartitionKey) -> bool + Send + Sync) = &|_| true;

fn slice(from: Option<TimestampMs>, until: Option<TimestampMs>) -> Slice<'static> {
    Slice { selected: ALL, ends: None, from, until }
}

/// The wanted offsets of each segment.
fn offsets(touched: &[Touched]) -> Vec<Vec<(String, i64, i64)>> {
    let of = |wanted: &Wanted| {
        let name = format!("{}-{}", wanted.run.topic, wanted.run.partition.get());
        (name, wanted.offsets.base().get(), wanted.offsets.next_offset().get())
    };
    touched.iter().map(|touched| touched.wanted.iter().map(of).collect()).collect()
}

/// The offsets of `orders-0` that are wanted, segment after segment.
fn orders(ranges: &[(i64, i64)]) -> Vec<Vec<(String, i64, i64)>> {
    ranges.iter().map(|(base, next)| vec![("orders-0".to_owned(), *base, *next)]).collect()
}

async fn found(store: &Store, slice: &Slice<'_>) -> Vec<Vec<(String, i64, i64)>> {
    let log = reader::open(store, Shard::ONLY).await.expect("readable").expect("a backup");
    offsets(&slice.find(store, &log).await.expect("found"))
}

/// Six segments of a hundred offsets, whose records are all of the second of their first; checkpoints after the second
/// and the fourth.
async fn history(store: &Store) {
    let mut writer = claimed(store).await;
    for number in 0..6 {
        commit(&mut writer, captured(&key("orders", 0, 0), number * 100..number * 100 + 100)).await;
        if number == 1 || number == 3 {
            writer.checkpoint().await.expect("checkpoint");
        }
    }
}

#[tokio::test]
async fn a70_a_moment_takes_the_records_of_its_own_millisecond_whatever_their_offset() {
    let store = Store::memory();
    history(&store).await;
    let all = [(0, 100), (100, 200), (200, 300), (300, 400), (400, 500), (500, 600)];
    let until = |until: TimestampMs| slice(None, Some(until));
    assert_eq!(found(&store, &slice(None, None)).await, orders(&all));
    assert_eq!(found(&store, &until(TimestampMs::new(i64::MAX))).await, orders(&all));
    assert_eq!(found(&store, &until(at(200))).await, orders(&all[..3]));
    assert_eq!(found(&store, &until(at(200).plus_millis(-1))).await, orders(&all[..2]));
    assert_eq!(found(&store, &until(at(0).plus_millis(-1))).await, orders(&[]));
    assert_eq!(found(&store, &slice(Some(at(200)), Some(at(300)))).await, orders(&all[2..4]));
    assert_eq!(found(&store, &slice(Some(at(200).plus_millis(1)), None)).await, orders(&all[3..]));
    assert_eq!(found(&store, &slice(Some(at(301)), Some(at(399)))).await, orders(&[]));
}

#[tokio::test]
async fn a70_ends_are_exclusive_and_partitions_without_one_hold_nothing() {
    let store = Store::memory();
    history(&store).await;
    let of = async |next: i64| {
        let ends = ends(&[position(&key("orders", 0, 0), next)]);
        found(&store, &Slice { ends: Some(&ends), ..slice(None, None) }).await
    };
    assert_eq!(of(200).await, orders(&[(0, 100), (100, 200)]));
    assert_eq!(of(201).await, orders(&[(0, 100), (100, 200), (200, 201)]));
    assert_eq!(of(0).await, orders(&[]));
    let other = ends(&[position(&key("orders", 1, 0), 600)]);
    assert_eq!(found(&store, &Slice { ends: Some(&other), ..slice(None, None) }).await, orders(&[]));
}

#[tokio::test]
async fn a_slice_names_only_the_runs_it_touches_in_their_order() {
    let store = Store::memory();
    let mut writer = claimed(&store).await;
    let keys = [key("customers", 0, 1), key("orders", 0, 0), key("orders", 0, 1), key("payments", 0, 0)];
    let runs: Vec<Run> = keys.iter().map(|key| run(key, 0..10, 10)).collect();
    let positions = keys.iter().map(|key| position(key, 10)).collect();
    commit(&mut writer, Draft { segments: vec![segment(runs)], positions, ..Draft::default() }).await;
    let selected = |key: &PartitionKey| key.topic.as_str() == "orders";
    let names =
        |found: Vec<Vec<(String, i64, i64)>>| found.concat().into_iter().map(|(name, ..)| name).collect::<Vec<_>>();
    let topic = Slice { selected: &selected, ..slice(None, None) };
    assert_eq!(names(found(&store, &topic).await), ["orders-0", "orders-1"]);
    let ends = ends(&[position(&keys[3], 4), position(&keys[1], 0), position(&keys[2], 10)]);
    let both = Slice { ends: Some(&ends), ..slice(None, None) };
    assert_eq!(found(&store, &both).await, [[("orders-1".to_owned(), 0, 10), ("payments-0".to_owned(), 0, 4)]]);
    assert!(found(&store, &Slice { selected: &|_| false, ..both }).await.is_empty());
}

#[tokio::test]
async fn blocks_outside_of_the_slice_are_not_fetched() {
    let (store, control) = crate::sample::faulty();
    history(&store).await;
    let log = reader::open(&store, Shard::ONLY).await.expect("readable").expect("a backup");
    let requests = async |slice: Slice<'_>| {
        let before = control.count(Op::Get);
        slice.find(&store, &log).await.expect("found");
        control.count(Op::Get) - before
    };
    assert_eq!(requests(slice(Some(at(200)), None)).await, 0, "the newest block is in the log already");
    assert_eq!(requests(slice(None, Some(at(100)))).await, 1);
    assert_eq!(requests(slice(None, None)).await, 1);
}
