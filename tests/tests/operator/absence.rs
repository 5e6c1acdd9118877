//! What goes on while there is no operator, and what the next one makes of it. Nobody runs pods here: what kubelets would
//! say is written in their place.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::kubernetes::Operator;
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::streamer::Job;
use strimzi_backup_tests::wait;

use crate::definitions::{restore, with};
use crate::reconcile::STREAMER;
use crate::scene::{Scene, condition, daily, now};
use crate::strimzi::SOON;

/// How long the operator was away, as far as anybody can tell.
const AWAY_MILLIS: i64 = 3_600_000;

/// For a schedule of every minute to begin something.
const A_MINUTE: Duration = Duration::from_secs(120);

/// Chooses the Jobs of snapshots.
const SNAPSHOTS: &str = "app.kubernetes.io/component=snapshot,app.kubernetes.io/instance=daily";

/// Kills the operator, long ago.
fn goes(scene: &mut Scene<'_>) -> Result<()> {
    scene.operator.kill()?;
    let lease = scene.run(&["get", "leases", "--output", "name"])?;
    // Times of Leases are in microseconds.
    let then = now()?.plus_millis(-AWAY_MILLIS).to_rfc3339().replace('Z', "000Z");
    let patch = json!({"spec": {"renewTime": then}}).to_string();
    scene.run(&["patch", lease.trim(), "--type", "merge", "--patch", &patch]).map(drop)
}

fn comes_back(scene: &mut Scene<'_>) -> Result<()> {
    scene.operator = Operator::start(&scene.account, &scene.strimzi.namespace)?;
    Ok(())
}

/// The names of the Jobs of snapshots that there are.
fn snapshots(scene: &Scene<'_>) -> Result<Vec<String>> {
    let found = scene.run(&["get", "jobs", "--selector", SNAPSHOTS, "--output", "name"])?;
    Ok(found.lines().map(|line| line.trim_start_matches("job.batch/").to_owned()).collect())
}

/// Of these, those that a trigger has begun: they are named after a date.
fn triggered(scene: &Scene<'_>) -> Result<Vec<String>> {
    Ok(snapshots(scene)?.into_iter().filter(|name| name.starts_with("daily-2")).collect())
}

/// Has the schedule of snapshots begin one, as it does at night, and gives its name.
fn snapshot_by_schedule(scene: &Scene<'_>) -> Result<String> {
    let patch = json!({"spec": {"schedule": "* * * * *"}}).to_string();
    scene.run(&["patch", "cronjob/daily-snapshot", "--type", "merge", "--patch", &patch])?;
    let last = json!({"lastScheduleTime": now()?.plus_millis(-180_000).to_rfc3339()});
    scene.kubectl().set_status(scene.namespace(), "cronjob/daily-snapshot", &last)?;
    wait::wait_for("a Job of the schedule", A_MINUTE, || Ok(snapshots(scene)?.into_iter().next()))
}

#[test]
fn a11_without_an_operator_streamer_and_schedules_go_on_and_the_next_one_tells_what_became_of_them() -> Result<()> {
    let mut scene = Scene::new("absent")?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    scene.told("Reconciled", "Applied")?;
    let pod = scene.pending_pod(STREAMER)?;
    let account = scene.plane.account(scene.namespace(), "daily-streamer")?;
    let broker = KafkaBroker::start()?;
    let client = broker.client();
    client.create_topic("orders", 1, &[])?;
    client.produce("orders", &[Record::new("a", "one")])?;
    let dir = RunDir::new("absent")?;
    let kubeconfig = account.kubeconfig().to_str().context("a path in UTF-8")?;
    let job = Job::new(dir.path(), &broker.bootstrap()).environment("KUBECONFIG", kubeconfig);
    let streamer = job.stream(&["--report-to", &format!("kafkabackup/{}/daily", scene.namespace())])?;
    scene.wait("kafkabackup/daily", |found| found["status"]["stored"]["records"] == 1)?;

    goes(&mut scene)?;
    // What is protected, the streamer tells itself.
    client.produce("orders", &[Record::new("b", "two"), Record::new("c", "three")])?;
    scene.wait("kafkabackup/daily", |found| found["status"]["stored"]["records"] == 3)?;
    // A pod that goes is replaced by Kubernetes.
    scene.run(&["delete", &pod])?;
    wait::wait_until("another pod", SOON, || Ok(scene.pending_pod(STREAMER)? != pod))?;
    let snapshot = snapshot_by_schedule(&scene)?;
    let sums = json!({"id": snapshot, "sizeBytes": 7, "records": 3, "topics": 1, "partitions": 1});
    scene.end_job("snapshot", &snapshot, (0, "2026-02-13T02:00:09Z"), &sums.to_string())?;
    scene.wait(&format!("job/{snapshot}"), |found| condition(found, "Complete")["status"] == "True")?;
    let before = scene.wait("kafkabackup/daily", |_| true)?;
    ensure!(before["status"]["lastBackup"].is_null(), "nobody was to tell yet: {before}");

    comes_back(&mut scene)?;
    let backup = scene.wait("kafkabackup/daily", |found| found["status"]["lastBackup"]["id"] == snapshot)?;
    let last = &backup["status"]["lastBackup"];
    ensure!(last["status"] == "Completed" && last["records"] == 3 && last["sizeBytes"] == 7, "{last}");
    ensure!(backup["status"]["stored"]["records"] == 3, "what the streamer told was to stay: {backup}");
    wait::wait_until("an event of the snapshot", SOON, || {
        Ok(scene.events("BackupCompleted")?.iter().any(|note| note.contains(&snapshot)))
    })?;
    // What somebody has changed meanwhile is as the resource says again.
    scene.wait("cronjob/daily-snapshot", |found| found["spec"]["schedule"] == "0 2 * * *")?;
    streamer.stop()?;
    scene.end()
}

#[test]
fn a11_what_is_asked_for_without_an_operator_is_refused_or_removed_at_once_or_done_by_the_next_one() -> Result<()> {
    let mut scene = Scene::new("asked")?;
    scene.strimzi.complete()?;
    let named = |name: &str| {
        let mut backup = daily();
        backup["metadata"]["name"] = json!(name);
        backup
    };
    for name in ["daily", "old"] {
        scene.apply(&named(name))?;
        scene.wait(&format!("kafkabackup/{name}"), |found| condition(found, "Reconciled")["reason"] == "Applied")?;
    }

    goes(&mut scene)?;
    scene.run(&["annotate", "kafkabackup/daily", "kafkabackup.com/trigger=now"])?;
    let user = json!({"type": "tls", "kafkaUserRef": {"name": "backup"}});
    scene.apply(&with(restore("again"), "authentication", user))?;
    scene.apply(&with(daily(), "schedule", json!({"cron": "0 3 * * *"})))?;
    scene.apply(&named("new"))?;
    // What cannot be is refused by the API server.
    let faulty = with(restore("faulty"), "storage", json!({"type": "s3", "s3": {"bucket": "backups"}}));
    let refusal = scene.kubectl().refusal(scene.namespace(), &faulty.to_string())?;
    ensure!(refusal.contains("name either a KafkaBackup"), "{refusal}");
    // Nothing holds a resource whose backup stays, and Kubernetes removes what was made of it.
    scene.run(&["delete", "kafkabackup/old"])?;
    for object in ["deployment/old-streamer", "cronjob/old-snapshot", "configmap/old-streamer"] {
        scene.gone(object)?;
    }
    ensure!(triggered(&scene)?.is_empty(), "nobody was to make a snapshot");
    for object in ["job/again-restore", "deployment/new-streamer"] {
        ensure!(scene.kubectl().get(scene.namespace(), object)?.is_none(), "nobody was to make {object}");
    }

    comes_back(&mut scene)?;
    let trigger = |found: &Value| found["metadata"]["annotations"]["kafkabackup.com/trigger"].clone();
    scene.wait("kafkabackup/daily", |found| trigger(found).is_null())?;
    let made = triggered(&scene)?;
    ensure!(made.len() == 1, "one for the trigger: {made:?}");
    scene.wait("cronjob/daily-snapshot", |found| found["spec"]["schedule"] == "0 3 * * *")?;
    for object in ["job/again-restore", "deployment/new-streamer"] {
        scene.wait(object, |_| true)?;
    }
    ensure!(scene.kubectl().get(scene.namespace(), "deployment/old-streamer")?.is_none(), "it is gone for good");
    scene.end()
}
