//! A log in memory, a writer that commits at chosen moments, and tokio's paused clock.

use std::sync::Arc;

use strimzi_backup_format::identity::Identity;
use strimzi_backup_format::ids::{BackupId, ClusterId, Sequence};
use strimzi_backup_format::manifest::log::{self, Draft, LogWriter};
use strimzi_backup_format::manifest::{Claim, Frontier, Refined, TopicEventKind};
use strimzi_backup_format::sample::event;
use strimzi_backup_format::state::Totals;
use strimzi_backup_format::store::faulty::{Decision, Fault, FaultControl, FaultyStore, Op};

use super::*;
use crate::error::exit;

/// 2026-02-13T02:00:00Z.
const START: i64 = 1_770_948_000_000;

fn at(seconds: i64) -> TimestampMs {
    TimestampMs::new(START + seconds * 1000)
}

/// Stands still at the start.
struct Stopped;

impl Clock for Stopped {
    fn now(&self) -> TimestampMs {
        at(0)
    }

    fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::from_u128(7)
    }

    fn below(&self, bound: u64) -> u64 {
        bound / 2
    }
}

/// Stands still a second later.
struct Later;

impl Clock for Later {
    fn now(&self) -> TimestampMs {
        at(1)
    }

    fn uuid(&self) -> uuid::Uuid {
        Stopped.uuid()
    }

    fn below(&self, bound: u64) -> u64 {
        Stopped.below(bound)
    }
}

fn job() -> Job {
    let text =
        "name: orders-dr\ncluster: {bootstrapServers: 'a:1'}\nstorage: {type: filesystem, filesystem: {path: /b}}";
    text.parse().expect("job")
}

fn request(id: &str) -> Request {
    Request { id: Some(SnapshotId::new(id).expect("legal")), by: None, keep: None, timeout: TIMEOUT }
}

fn nonce() -> Nonce {
    Nonce::new(uuid::Uuid::new_v4())
}

/// The writer of a log whose claim was observed so many seconds after the start.
async fn claimed(store: &Store, seconds: i64) -> LogWriter {
    let backup = BackupId::new(uuid::Uuid::from_u128(42));
    let identity = Identity::new(backup, "orders-dr", ClusterId::new("cluster"), at(-3600));
    log::create_identity(store, &identity).await.expect("identity");
    let log = reader::open(store, Shard::ONLY).await.expect("readable").expect("a backup");
    let mut writer = LogWriter::new(store.clone(), Shard::ONLY, log);
    let claim = Claim { writer: "pod-1".to_owned(), software: "test".to_owned() };
    let claim = writer.prepare_claim(claim, nonce(), at(seconds)).expect("legal");
    writer.commit(&claim).await.expect("claimed");
    writer
}

/// Commits after the pauses that are named first, with the instants that are named second, in seconds.
async fn commits(writer: &mut LogWriter, moments: &[(u64, i64)]) {
    for (pause, observed) in moments {
        tokio::time::sleep(Duration::from_secs(*pause)).await;
        let frontier = Frontier { until: Some(at(*observed)), ..Frontier::default() };
        let prepared = writer.prepare(Draft { frontier, ..Draft::default() }, nonce(), at(*observed)).expect("legal");
        writer.commit(&prepared).await.expect("committed");
    }
}

fn faulty() -> (Store, FaultControl) {
    let memory = Store::memory();
    let faulty = FaultyStore::new(Arc::clone(&memory.inner));
    let control = faulty.control().clone();
    (memory.with_inner(Arc::new(faulty)), control)
}

async fn snapshots(store: &Store) -> Vec<String> {
    catalog::list(store).await.expect("listed").into_iter().map(|listed| listed.id.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_boundary_is_the_first_commit_observed_at_or_after_the_moment_of_asking() {
    let store = Store::memory();
    let mut writer = claimed(&store, -60).await;
    let (job, moments) = (job(), [(2, -30), (2, -1), (2, 0), (2, 5)]);
    let (taken, ()) = tokio::join!(run(&store, &job, request("one"), &Stopped), commits(&mut writer, &moments));
    let snapshot = taken.expect("taken").snapshot;
    assert_eq!((snapshot.manifest.sequence, snapshot.manifest.observed_at), (Sequence::new(4), at(0)));
    assert_eq!((snapshot.asked_at, snapshot.recoverable_until), (at(0), Some(at(0))));
    assert_eq!(catalog::read(&store, writer.state().backup, &snapshot.id).await.expect("read"), snapshot);
}

#[tokio::test(start_paused = true)]
async fn what_was_in_the_log_when_asked_is_no_boundary_though_a_clock_that_runs_ahead_says_so() {
    let store = Store::memory();
    let mut writer = claimed(&store, 60).await;
    let job = job();
    let (taken, ()) = tokio::join!(run(&store, &job, request("one"), &Stopped), commits(&mut writer, &[(3, 63)]));
    assert_eq!(taken.expect("taken").snapshot.manifest.sequence, Sequence::new(2));
}

#[tokio::test(start_paused = true)]
async fn a_log_that_nobody_writes_fails_after_the_timeout_and_says_where_to_look() {
    let (store, control) = faulty();
    claimed(&store, -60).await;
    let (began, before) = (Instant::now(), control.count(Op::Get));
    let error = run(&store, &job(), request("one"), &Stopped).await.expect_err("nobody commits");
    let waited = began.elapsed();
    assert!(waited <= TIMEOUT && waited + LOOK >= TIMEOUT, "{waited:?}");
    assert!(control.count(Op::Get) - before < 200, "one request a look");
    assert_eq!(error.exit_code(), exit::FAILED);
    insta::assert_snapshot!(error.to_string(), @"no commit came within 2m after 2026-02-13T02:00:00.000Z, when the snapshot was asked for; the newest is manifest 1 of 2026-02-13T01:59:00.000Z, by pod-1; is the streamer running? Look at its log, its /readyz and `strimzi-backup inspect`; if it is, and slow, raise --timeout");
    assert!(snapshots(&store).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_streamer_whose_clock_is_behind_is_told_from_one_that_is_dead() {
    let store = Store::memory();
    let mut writer = claimed(&store, -600).await;
    let (job, moments) = (job(), [(30, -570), (30, -540)]);
    let (error, ()) = tokio::join!(run(&store, &job, request("one"), &Stopped), commits(&mut writer, &moments));
    let error = error.expect_err("too late").to_string();
    assert!(error.contains("2 came meanwhile and say that they are older") && error.contains("clock"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_taken_is_refused_at_once_by_name() {
    let store = Store::memory();
    let mut writer = claimed(&store, -60).await;
    let job = job();
    let (taken, ()) = tokio::join!(run(&store, &job, request("one"), &Stopped), commits(&mut writer, &[(3, 1)]));
    taken.expect("taken");
    let began = Instant::now();
    let error = run(&store, &job, request("one"), &Stopped).await.expect_err("taken");
    assert_eq!((began.elapsed(), error.exit_code()), (Duration::ZERO, exit::USAGE));
    assert!(error.to_string().contains("\"one\" exists already: manifest 2"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn without_an_id_it_is_called_after_the_second_and_says_what_it_is() {
    let store = Store { description: "s3://bucket/orders".to_owned(), ..Store::memory() };
    let mut writer = claimed(&store, -60).await;
    let (job, request) = (job(), Request { id: None, by: None, keep: None, timeout: TIMEOUT });
    let (taken, ()) = tokio::join!(run(&store, &job, request, &Stopped), commits(&mut writer, &[(3, 1)]));
    let taken = taken.expect("taken");
    assert_eq!(snapshots(&store).await, ["backup-20260213-020000"]);
    insta::assert_snapshot!(taken.to_string(), @r"
    snapshot    backup-20260213-020000, in snapshots/backup-20260213-020000.json of s3://bucket/orders
    boundary    manifest 2, observed 2026-02-13T02:00:01.000Z, asked for 2026-02-13T02:00:00.000Z
    recoverable from 2026-02-13T02:00:01.000Z until 2026-02-13T02:00:01.000Z
    holds       0 records, 0 B in 0 segments
    of          0 topics, 0 partitions of all their lives
    ");
    let json: serde_json::Value = serde_json::from_str(&taken.to_json()).expect("json");
    assert_eq!((&json["kind"], &json["manifest"]["sequence"]), (&"snapshot".into(), &2.into()));
}

#[tokio::test(start_paused = true)]
async fn a09_the_backup_of_another_job_is_refused_and_so_is_an_empty_prefix() {
    let store = Store::memory();
    let error = run(&store, &job(), request("one"), &Stopped).await.expect_err("empty");
    assert!(matches!(error, Error::NoBackup(_)), "{error}");
    claimed(&store, -60).await;
    let other = Job { name: "payments".to_owned(), ..job() };
    let error = run(&store, &other, request("one"), &Stopped).await.expect_err("foreign");
    assert!(matches!(error, Error::Foreign(_)) && error.exit_code() == exit::DAMAGED, "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_timeout_that_an_idle_streamer_cannot_meet_is_refused() {
    let store = Store::memory();
    claimed(&store, -60).await;
    let request = Request { timeout: Duration::from_secs(30), ..request("one") };
    let error = run(&store, &job(), request, &Stopped).await.expect_err("too short");
    assert_eq!(error.exit_code(), exit::USAGE);
    assert!(error.to_string().starts_with("--timeout 30s is not above backup.heartbeatInterval, 30s"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a03_a_store_that_fails_meanwhile_is_waited_for_and_a_lost_answer_is_found_out() {
    let (store, control) = faulty();
    let mut writer = claimed(&store, -60).await;
    let job = job();
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        control.set_outage(true);
        tokio::time::sleep(Duration::from_secs(30)).await;
        control.set_outage(false);
        commits(&mut writer, &[(2, 40)]).await;
        control.script([(Op::Create, Decision::FailAfter(Fault::Timeout))]);
    };
    let (taken, ()) = tokio::join!(run(&store, &job, request("one"), &Stopped), meanwhile);
    assert_eq!(taken.expect("taken").snapshot.manifest.observed_at, at(40));
    assert_eq!((snapshots(&store).await, control.unused().len()), (vec!["one".to_owned()], 0));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_stays_away_is_named_and_not_called_a_dead_streamer() {
    let (store, control) = faulty();
    claimed(&store, -60).await;
    let job = job();
    let meanwhile = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        control.set_outage(true);
    };
    let (error, ()) = tokio::join!(run(&store, &job, request("one"), &Stopped), meanwhile);
    assert!(matches!(error, Err(Error::NoStore { .. })), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a58_a_log_that_breaks_while_it_is_followed_ends_the_wait() {
    let (store, control) = faulty();
    let mut writer = claimed(&store, -60).await;
    let other = Store::memory();
    let mut foreign = claimed(&other, -60).await;
    commits(&mut foreign, &[(1, -30), (1, 1)]).await;
    let key = layout::manifest(Shard::ONLY, Sequence::new(3)).below(&store.prefix);
    let bytes = other.inner.get_opts(&key, Default::default()).await.expect("there").bytes().await.expect("bytes");
    let job = job();
    let meanwhile = async {
        commits(&mut writer, &[(2, -20)]).await;
        store.inner.put_opts(&key, bytes.into(), Default::default()).await.expect("put");
    };
    let (error, ()) = tokio::join!(run(&store, &job, request("one"), &Stopped), meanwhile);
    let error = error.expect_err("broken");
    assert_eq!((error.exit_code(), control.count(Op::Create) > 0), (exit::DAMAGED, true));
    assert!(snapshots(&store).await.is_empty(), "{error}");
}

#[tokio::test(start_paused = true)]
async fn whoever_was_killed_after_the_snapshot_was_created_is_given_it() {
    let store = Store::memory();
    let mut writer = claimed(&store, 0).await;
    let (mine, theirs) = (Nonce::new(uuid::Uuid::from_u128(1)), Nonce::new(uuid::Uuid::from_u128(2)));
    let asked_by = |by| Request { by: Some(by), ..request("one") };
    let job = job();
    let first = run(&store, &job, asked_by(mine), &Stopped);
    let (taken, ()) = tokio::join!(first, commits(&mut writer, &[(2, 5)]));
    let taken = taken.expect("taken");
    assert_eq!(run(&store, &job, asked_by(mine), &Stopped).await.expect("the same"), taken, "nobody commits any more");
    for request in [asked_by(theirs), request("one")] {
        let error = run(&store, &job, request, &Stopped).await.expect_err("taken");
        assert!(matches!(error, Error::Snapshot(CatalogError::Exists { .. })), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_that_ask_at_once_for_the_same_one_both_are_given_it() {
    let store = Store::memory();
    let mut writer = claimed(&store, 0).await;
    let (job, by) = (job(), Some(nonce()));
    let asked = || Request { by, ..request("one") };
    // What they would create differs: the second is asked for later.
    let (one, other) = (run(&store, &job, asked(), &Stopped), run(&store, &job, asked(), &Later));
    let (one, other, ()) = tokio::join!(one, other, commits(&mut writer, &[(2, 5)]));
    let (one, other) = (one.expect("taken"), other.expect("taken"));
    assert!(one == other && [at(0), at(1)].contains(&one.snapshot.asked_at), "{one:?}, {other:?}");
}

/// Commits what this adds, observed so many seconds after the start.
async fn commit(writer: &mut LogWriter, observed: i64, draft: Draft) {
    let prepared = writer.prepare(draft, nonce(), at(observed)).expect("legal");
    writer.commit(&prepared).await.expect("committed");
}

/// A topic of this cleanup policy is seen for the first time.
fn topic_of(policy: &str) -> Draft {
    let mut topic = event("accounts", 0, TopicEventKind::Added);
    if let Some(description) = &mut topic.description {
        description.config.insert("cleanup.policy".to_owned(), policy.to_owned());
    }
    Draft { topics: vec![topic], ..Draft::default() }
}

/// What was cut up to a manifest is refined.
fn refined(through: u64) -> Draft {
    let refined = Refined { through: Sequence::new(through), segments: Vec::new(), replaced: Totals::default() };
    Draft { refined: Some(refined), ..Draft::default() }
}

#[tokio::test(start_paused = true)]
async fn a78_a_snapshot_that_was_held_up_while_what_came_behind_it_was_refined_is_no_success_however_often_asked() {
    for (policy, is_held_up) in [("compact", true), ("compact", false), ("delete", true)] {
        let memory = Store::memory();
        let faulty = FaultyStore::new(Arc::clone(&memory.inner));
        let control = faulty.control().clone();
        let store = memory.with_inner(Arc::new(faulty));
        let mut writer = claimed(&memory, -60).await;
        commit(&mut writer, -30, topic_of(policy)).await;
        if is_held_up {
            control.script([(Op::Create, Decision::Delay(Duration::from_secs(60), Box::new(Decision::Pass)))]);
        }
        let (job, by) = (job(), Some(nonce()));
        let asked = || run(&store, &job, Request { by, ..request("one") }, &Stopped);
        let meanwhile = async {
            // The boundary, what comes behind it, and what refines that.
            commits(&mut writer, &[(2, 0), (10, 10)]).await;
            commit(&mut writer, 15, refined(4)).await;
        };
        let (first, ()) = tokio::join!(asked(), meanwhile);
        for taken in [first, asked().await] {
            match (policy, is_held_up) {
                ("compact", true) => {
                    let error = taken.expect_err("too late");
                    assert!(
                        error.exit_code() == exit::FAILED && error.to_string().contains("snapshots/one.json"),
                        "{error}"
                    );
                    assert!(matches!(error, Error::LateSnapshot { boundary, refined, .. }
                        if (boundary, refined) == (Sequence::new(3), Sequence::new(5))));
                }
                _ => assert_eq!(taken.expect("in time").snapshot.manifest.sequence, Sequence::new(3)),
            }
        }
        assert!(control.unused().is_empty());
    }
}
