//! Logs in memory with hours that are sealed, and a store that answers late.

use std::time::Duration;

use object_store::ObjectStoreExt as _;
use strimzi_backup_format::ids::{RestoreId, Sequence};
use strimzi_backup_format::manifest::log::{Draft, LogWriter};
use strimzi_backup_format::sample::{at, claimed, commit, empty_state, faulty, intake, nonce, sealed};
use strimzi_backup_format::state::{Retirement, State};
use strimzi_backup_format::store::faulty::{Decision, Op};
use tokio::time::Instant;

use super::*;
use crate::clock::SystemClock;

fn job() -> Job {
    let text = "name: orders-dr\ncluster: {bootstrapServers: 'a:1'}\nretention: {gracePeriod: 0s}\n\
                storage: {type: filesystem, filesystem: {path: /b}}";
    text.parse().expect("job")
}

/// The next manifest, cut at the time of the store.
async fn commit_now(writer: &mut LogWriter) {
    let prepared = writer.prepare(Draft::default(), nonce(99), SystemClock.now()).expect("legal draft");
    writer.commit(&prepared).await.expect("committed");
}

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
    let mut report = Report::new(&store, false, at(0), &log.state);
    report.forgotten(emptied.to_string());
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

#[tokio::test]
async fn a_hole_in_the_log_is_no_end_to_a_prune_whatever_a_list_shows() {
    let (store, control) = faulty();
    let mut writer = sealed(&store, 3).await;
    let hole = layout::manifest(Shard::ONLY, writer.next_sequence());
    for _ in 0..2 {
        commit(&mut writer, Draft::default()).await;
    }
    store.inner.delete(&hole.below(&store.prefix)).await.expect("deleted");
    let manifests = layout::manifests(Shard::ONLY).below(&store.prefix);
    control.set_plan(
        move |call| {
            if call.op == Op::List && call.path == manifests { Decision::Stale } else { Decision::Pass }
        },
    );
    let error = run(&store, &job(), false, &SystemClock).await.expect_err("a hole");
    let is_told = matches!(&error, Error::Read(reader::Error::Missing { object, .. }) if object == hole.as_str());
    assert!(is_told, "{error:?}");
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
    let mut report = Report::new(&store, false, at(0), &log.state);
    let plan = look(&store, &keep, TimestampMs::new(i64::MAX), &mut report).await.expect("listed");
    let goes: Vec<&str> = plan.iter().map(|listed| listed.key.as_str()).collect();
    assert!(goes.contains(&stray.as_str()) && !goes.iter().any(|key| key.starts_with("keys/")), "{goes:?}");
}

#[tokio::test]
async fn without_an_old_checkpoint_nothing_goes_and_the_report_says_that_and_not_that_the_log_is_young() {
    let store = Store::memory();
    commit_now(&mut claimed(&store).await).await;
    let report = run(&store, &job(), false, &SystemClock).await.expect("readable");
    assert!(report.as_of.is_none() && report.deleted.objects == 0, "{report}");
    let text = report.to_string();
    assert!(text.contains("nothing: the log has no checkpoint from before the grace period\n"), "{text}");
    assert!(text.contains("nothing was retired yet"), "{text}");
}

#[test]
fn what_is_kept_is_told_also_where_nothing_could_be_looked_at() {
    let retired = Some(Retirement { before: at(60), observed_at: at(90) });
    let report = Report::new(&Store::memory(), false, at(100), &State { retired, ..empty_state() });
    let (text, since) = (report.to_string(), at(60).to_rfc3339());
    assert!(text.contains(&format!("everything since {since}\n")) && !text.contains("retired yet"), "{text}");
    let kept_since = |json: &str| {
        let json: serde_json::Value = serde_json::from_str(json).expect("JSON");
        json["keptSince"].clone()
    };
    assert_eq!(kept_since(&report.to_json()), serde_json::json!(at(60)));
    assert_eq!(kept_since(&report.summary()), serde_json::json!(since));
}

/// Two hours ahead of the store: what was written just now is old enough to go.
struct Ahead;

impl Clock for Ahead {
    fn now(&self) -> TimestampMs {
        SystemClock.now().plus_millis(2 * 3_600_000)
    }

    fn uuid(&self) -> uuid::Uuid {
        SystemClock.uuid()
    }

    fn below(&self, bound: u64) -> u64 {
        SystemClock.below(bound)
    }
}

#[tokio::test]
async fn a67_what_the_log_named_when_a_restore_began_stays_until_that_has_come_to_its_end() {
    let store = Store::memory();
    let mut writer = sealed(&store, 3).await;
    let named_then = writer.state().head.expect("a head").sequence;
    let emptied = writer.sealed_buckets().expect("sealed").buckets[0].object.clone();
    writer.emptied(std::slice::from_ref(&emptied));
    commit_now(&mut writer).await;
    writer.checkpoint().await.expect("written");
    let id = RestoreId::new("orders-dr-1").expect("legal");
    store.inner.put(&layout::restore_plan(&id).below(&store.prefix), "a plan".into()).await.expect("put");
    let report = run(&store, &job(), false, &Ahead).await.expect("readable");
    assert_eq!(report.pinned_by.as_deref(), Some("orders-dr-1"), "{report}");
    assert_eq!(report.as_of, Some(named_then), "{report}");
    assert!(store.find(&emptied).await.expect("an answer").is_some(), "the restore may read it still: {report}");
    store.inner.put(&layout::restore_report(&id).below(&store.prefix), "a report".into()).await.expect("put");
    let report = run(&store, &job(), false, &Ahead).await.expect("readable");
    assert!(report.pinned_by.is_none() && report.as_of > Some(named_then), "{report}");
    assert!(store.find(&emptied).await.expect("an answer").is_none(), "nobody reads it any more: {report}");
}
