use object_store::ObjectStoreExt as _;

use super::catalog::{self, Error};
use super::*;
use crate::document;
use crate::ids::{Offset, PartitionId};
use crate::layout;
use crate::manifest::TopicEventKind;
use crate::manifest::log::{Draft, LogWriter};
use crate::manifest::reader;
use crate::sample::{at, backup, captured, claimed, commit, event, faulty, key, nonce};
use crate::store::Store;
use crate::store::faulty::{Decision, Fault, Op};

fn id(text: &str) -> SnapshotId {
    SnapshotId::new(text).expect("legal id")
}

fn label(text: &str) -> Label {
    Label { id: id(text), nonce: nonce(7), asked_at: at(2), keep: None }
}

/// A log of three manifests: the claim, a topic, twenty records.
async fn log(store: &Store) -> LogWriter {
    let mut writer = claimed(store).await;
    let topics = vec![event("orders", 0, TopicEventKind::Added)];
    commit(&mut writer, Draft { topics, ..Draft::default() }).await;
    commit(&mut writer, captured(&key("orders", 0, 0), 5..25)).await;
    writer
}

async fn created(store: &Store, text: &str) -> Snapshot {
    let log = reader::open(store, Shard::ONLY).await.expect("readable").expect("a backup");
    let snapshot = Snapshot::of(&log.state, label(text)).expect("a head");
    catalog::create(store, &snapshot).await.expect("created");
    snapshot
}

#[tokio::test]
async fn a_snapshot_says_where_everything_stood() {
    let store = Store::memory();
    let writer = log(&store).await;
    let snapshot = created(&store, "before-upgrade").await;
    assert_eq!(Some(snapshot.manifest), writer.state().head);
    assert_eq!((snapshot.totals.rows, snapshot.totals.segments), (20, 1));
    assert_eq!((snapshot.oldest_timestamp, snapshot.newest_timestamp), (Some(at(5)), Some(at(24))));
    assert_eq!((snapshot.recoverable_from, snapshot.recoverable_until), (Some(at(25)), Some(at(25))));
    let [position] = &snapshot.positions[..] else { panic!("{:?}", snapshot.positions) };
    assert_eq!((position.first_offset, position.next_offset), (Offset::new(5), Offset::new(25)));
    assert_eq!(position.partition, PartitionId::new(0));
    let orders = snapshot.topics.values().next().expect("a topic");
    assert_eq!((orders.description.partitions, orders.lives.len()), (2, 1));
    assert_eq!(catalog::read(&store, backup(), &snapshot.id).await.expect("read"), snapshot);
    assert_eq!(snapshot.label(), label("before-upgrade"));
}

#[tokio::test]
async fn there_is_no_snapshot_of_a_log_without_a_manifest() {
    assert_eq!(Snapshot::of(&crate::sample::empty_state(), label("early")), None);
}

#[tokio::test]
async fn an_id_is_given_once_and_the_snapshot_that_has_it_is_named_and_kept() {
    let store = Store::memory();
    let mut writer = log(&store).await;
    catalog::check_free(&store, &id("nightly")).await.expect("free");
    let first = created(&store, "nightly").await;
    catalog::create(&store, &first).await.expect("its own bytes");
    commit(&mut writer, Draft::default()).await;
    let second = Snapshot::of(writer.state(), label("nightly")).expect("a head");
    for error in [catalog::create(&store, &second).await, catalog::check_free(&store, &id("nightly")).await] {
        let error = error.expect_err("taken");
        assert!(matches!(error, Error::Exists { .. }) && !error.is_retryable() && !error.is_damage(), "{error}");
        let text = error.to_string();
        assert!(text.contains("\"nightly\" exists already: manifest 3, asked for 2026-02-13T07:00:02.000Z"), "{text}");
    }
    assert_eq!(catalog::read(&store, backup(), &id("nightly")).await.expect("read"), first);
    let key = layout::snapshot(&id("odd")).below(&store.prefix);
    store.inner.put(&key, "odd".into()).await.expect("put");
    let error = catalog::check_free(&store, &id("odd")).await.expect_err("taken").to_string();
    assert!(error.contains("an object that is no snapshot"), "{error}");
}

#[tokio::test]
async fn a03_a_snapshot_whose_answer_was_lost_is_recognised_as_our_own() {
    let (store, control) = faulty();
    let writer = log(&store).await;
    let snapshot = Snapshot::of(writer.state(), label("lost")).expect("a head");
    control.script([(Op::Create, Decision::FailBefore(Fault::Unavailable))]);
    let error = catalog::create(&store, &snapshot).await.expect_err("not written");
    assert!(matches!(error, Error::NotYet { .. }) && error.is_retryable(), "{error}");
    control.script([(Op::Create, Decision::FailAfter(Fault::Timeout))]);
    catalog::create(&store, &snapshot).await.expect("created");
}

#[tokio::test]
async fn snapshots_are_listed_below_a_prefix_and_other_objects_passed_over() {
    let mut store = Store::memory();
    store.prefix = object_store::path::Path::from("a/b");
    log(&store).await;
    assert_eq!(catalog::list(&store).await.expect("listed"), []);
    for text in ["b", "a", "c"] {
        created(&store, text).await;
    }
    for other in ["a/b/snapshots/note.txt", "a/b/snapshots/sub/d.json", "a/b/snapshots/-e.json", "snapshots/f.json"] {
        store.inner.put(&object_store::path::Path::from(other), "x".into()).await.expect("put");
    }
    let mut ids: Vec<_> = catalog::list(&store).await.expect("listed").into_iter().map(|listed| listed.id).collect();
    ids.sort();
    assert_eq!(ids, ["a", "b", "c"].map(id));
}

#[tokio::test]
async fn an_unknown_id_names_the_nearest_and_the_newest() {
    let store = Store::memory();
    log(&store).await;
    let ask = |text: &'static str| {
        let store = store.clone();
        async move { catalog::read(&store, backup(), &id(text)).await.expect_err("unknown").to_string() }
    };
    let error = ask("nightly").await;
    assert!(error.contains("no snapshot \"nightly\" under memory://; there is none at all"), "{error}");
    for text in ["zebra", "backup-20260213-020000", "backup-20260214-020000", "before-upgrade", "x"] {
        created(&store, text).await;
    }
    let error = ask("backup-20260213-02000").await;
    assert!(error.contains("of the 5 there, the nearest by name: backup-20260213-020000, backup-20260214"), "{error}");
    assert!(error.contains("; the newest: "), "{error}");
}

#[tokio::test]
async fn a60_a_snapshot_that_is_damaged_foreign_or_renamed_is_refused() {
    let store = Store::memory();
    log(&store).await;
    let snapshot = created(&store, "good").await;
    let bytes = document::seal(&snapshot).expect("sealed");
    let other = BackupId::new(uuid::Uuid::from_u128(43));
    for (stored, backup, wanted, words) in [
        (bytes.slice(..bytes.len() - 1), backup(), "good", "damaged document"),
        (bytes.clone(), other, "good", "it is of backup"),
        (bytes.clone(), backup(), "better", "its id is \"good\""),
        (document::to_json(&snapshot).expect("json").into(), backup(), "good", "the digest recorded at their end"),
    ] {
        let error = catalog::decode(&stored, backup, &id(wanted)).expect_err(words).to_string();
        assert!(error.contains(words), "{error}");
    }
    let key = layout::snapshot(&id("good")).below(&store.prefix);
    store.inner.put(&key, bytes.slice(1..).into()).await.expect("put");
    let error = catalog::read(&store, backup(), &id("good")).await.expect_err("damaged");
    assert!(error.is_damage() && error.to_string() == "snapshots/good.json is damaged", "{error}");
}

#[tokio::test]
async fn a12_a_snapshot_of_a_newer_release_is_told_as_that() {
    let store = Store::memory();
    log(&store).await;
    let snapshot = created(&store, "later").await;
    let newer = document::seal(&Snapshot { format_version: 2, ..snapshot }).expect("sealed");
    store.inner.put(&layout::snapshot(&id("later")).below(&store.prefix), newer.into()).await.expect("put");
    let error = catalog::read(&store, backup(), &id("later")).await.expect_err("newer");
    assert!(error.is_damage(), "no later call reads it: {error}");
    assert_eq!(error.to_string(), "snapshots/later.json was written by a newer release");
    let error = catalog::check_free(&store, &id("later")).await.expect_err("taken").to_string();
    assert!(error.contains("a newer release wrote it"), "{error}");
}

#[tokio::test]
async fn a24_a_snapshot_of_a_log_that_was_set_back_is_refused_by_its_manifest() {
    let store = Store::memory();
    let mut writer = log(&store).await;
    commit(&mut writer, Draft::default()).await;
    let snapshot = created(&store, "late").await;
    let newest = layout::manifest(Shard::ONLY, snapshot.manifest.sequence).below(&store.prefix);
    store.inner.delete(&newest).await.expect("deleted");
    let error = catalog::read(&store, backup(), &id("late")).await.expect_err("set back");
    assert!(matches!(error, Error::NotInLog { .. }) && error.is_damage(), "{error}");
    assert!(error.to_string().starts_with("snapshots/late.json names manifest 4 with digest"), "{error}");
}
