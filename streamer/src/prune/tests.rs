//! Logs in memory with hours that are sealed, and a store that answers late.

use std::time::Duration;

use object_store::ObjectStoreExt as _;
use strimzi_backup_format::ids::Sequence;
use strimzi_backup_format::manifest::log::Draft;
use strimzi_backup_format::sample::{at, commit, faulty, intake, sealed};
use tokio::time::Instant;

use super::*;

async fn newest(store: &Store) -> Log {
    reader::open(store, Shard::ONLY).await.expect("readable").expect("a backup")
}

/// The log at the newest checkpoint up to so many seconds after the start.
async fn at_second(store: &Store, newest: &Log, second: i64) -> Log {
    reader::open_before(store, newest, at(second)).await.expect("readable").expect("a checkpoint")
}

#[tokio::test]
async fn where_it_is_not_known_any_more_what_the_log_named_then_nothing_goes() {
    let store = Store::memory();
    let mut writer = sealed(&store, 3).await;
    let second = i64::try_from(writer.next_sequence().get()).expect("few") - 1;
    let emptied = writer.sealed_buckets().expect("sealed").buckets[0].object.clone();
    writer.emptied(std::slice::from_ref(&emptied));
    commit(&mut writer, Draft::default()).await;
    writer.checkpoint().await.expect("written");
    let log = newest(&store).await;
    let then = at_second(&store, &log, second).await;
    assert!(matches!(keep(&store, &log, &then).await, Ok(Known::All(_))));
    // As a prune did whose grace period was over by then.
    store.inner.delete(&emptied.below(&store.prefix)).await.expect("deleted");
    let known = keep(&store, &log, &then).await.expect("no damage");
    assert!(matches!(&known, Known::Forgotten(object) if object == emptied.as_str()), "{known:?}");
    assert!(matches!(keep(&store, &log, &log).await, Ok(Known::All(_))), "the log of today is known");
    let mut report = Report::new(&store, false, at(0), None);
    report.forgotten(emptied.to_string(), &log.state);
    let text = report.to_string();
    assert!(
        text.contains(&format!("nothing: {emptied} was pruned")) && text.contains("deleted     0 objects"),
        "{text}"
    );
}

#[tokio::test]
async fn a_bucket_manifest_that_the_newest_log_names_must_be_there() {
    let store = Store::memory();
    let writer = sealed(&store, 3).await;
    let object = writer.sealed_buckets().expect("sealed").buckets[1].object.clone();
    store.inner.delete(&object.below(&store.prefix)).await.expect("deleted");
    let log = newest(&store).await;
    let error = keep(&store, &log, &log).await.expect_err("damage");
    assert!(matches!(&error, reader::Error::Missing { object: gone, .. } if gone == object.as_str()), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn two_lists_of_segments_are_read_at_once_and_no_more() {
    let (store, control) = faulty();
    sealed(&store, 8).await;
    let log = newest(&store).await;
    assert_eq!(
        log.listings(|_| true, |_| true).len(),
        8 + 1,
        "the hours, and the newest block, which was read with the log"
    );
    control.set_latency(Duration::from_secs(1));
    let began = Instant::now();
    let mut keep = Keep::new(&log);
    add(&store, &mut keep, &log).await.expect("readable");
    assert_eq!(began.elapsed().as_secs(), 4, "eight hours, two in each second");
}

#[tokio::test]
async fn a34_wrapped_keys_never_go() {
    let store = Store::memory();
    sealed(&store, 3).await;
    let log = newest(&store).await;
    let Ok(Known::All(keep)) = keep(&store, &log, &log).await else { panic!("all is known") };
    let (wrap, stray) = (layout::key_wrap(0, 0), intake(Sequence::FIRST, 7));
    for key in [&wrap, &stray] {
        store.inner.put(&key.below(&store.prefix), "x".into()).await.expect("put");
    }
    let mut report = Report::new(&store, false, at(0), None);
    let plan = look(&store, &keep, TimestampMs::new(i64::MAX), &mut report).await.expect("listed");
    let goes: Vec<&str> = plan.iter().map(|listed| listed.key.as_str()).collect();
    assert!(goes.contains(&stray.as_str()) && !goes.iter().any(|key| key.starts_with("keys/")), "{goes:?}");
}
