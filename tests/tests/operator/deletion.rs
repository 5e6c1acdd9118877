//! What becomes of a KafkaBackup, and of its stored backup, when it is deleted. There is no node, and no store: what a pod would
//! say of its end is written in its place.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::wait;

use crate::definitions::with;
use crate::scene::{Scene, condition, daily};
use crate::strimzi::SOON;

const ID: &str = "0d0c4b0e-7c43-4be0-8fd5-1ba7e0b4b6a5";
const CLEANUP: &str = "kafkabackup.com/cleanup";

/// The daily backup, to be deleted with what it stored.
fn doomed() -> Value {
    with(daily(), "deletionPolicy", json!("Delete"))
}

fn is_held(backup: &Value) -> bool {
    backup["metadata"]["finalizers"] == json!([CLEANUP])
}

/// Tells the id of the backup, as the streamer does.
fn tell_id(scene: &Scene) -> Result<()> {
    scene.kubectl().set_status(scene.namespace(), "kafkabackup/daily", &json!({"backupId": ID}))
}

fn delete(scene: &Scene) -> Result<()> {
    scene.run(&["delete", "--wait=false", "kafkabackup/daily"]).map(drop)
}

/// Waits for an event of a reason whose note has a part.
fn wait_event(scene: &Scene, reason: &str, part: &str) -> Result<String> {
    wait::wait_for(&format!("an event {reason} with {part:?}"), SOON, || {
        Ok(scene.events(reason)?.into_iter().find(|note| note.contains(part)))
    })
    .with_context(|| scene.operator.tail())
}

#[test]
fn a77_by_default_the_stored_backup_stays_and_nothing_holds_the_resource() -> Result<()> {
    let scene = Scene::new("kept")?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    scene.told("Reconciled", "Applied")?;
    tell_id(&scene)?;
    let backup = scene.wait("kafkabackup/daily", |found| found["status"]["backupId"] == ID)?;
    ensure!(backup["metadata"]["finalizers"].is_null(), "{backup}");
    delete(&scene)?;
    scene.gone("kafkabackup/daily")?;
    scene.gone("deployment/daily-streamer")?;
    ensure!(scene.kubectl().get(scene.namespace(), "job/daily-destroy")?.is_none(), "nobody asked for that");
    scene.end()
}

#[test]
fn a77_with_delete_the_resource_goes_once_its_stored_backup_has() -> Result<()> {
    let scene = Scene::new("doomed")?;
    scene.restrict()?;
    scene.strimzi.complete()?;
    scene.apply(&doomed())?;
    scene.wait("deployment/daily-streamer", |_| true)?;
    scene.wait("kafkabackup/daily", is_held)?;
    scene.apply(&daily())?;
    scene.wait("kafkabackup/daily", |found| !is_held(found))?;
    scene.apply(&doomed())?;
    scene.wait("kafkabackup/daily", is_held)?;
    tell_id(&scene)?;

    // Without the cluster nothing could be made of the backup any more.
    scene.run(&["delete", "kafka/shop"])?;
    delete(&scene)?;
    let job = scene.wait("job/daily-destroy", |_| true)?;
    let pod = &job["spec"]["template"]["spec"];
    let arguments = ["destroy", "--config", "/etc/strimzi-backup/config/job.yaml", "--backup", ID, "--stopped"];
    assert_eq!(pod["containers"][0]["args"], json!(arguments));
    assert_eq!(pod["automountServiceAccountToken"], false);
    let volumes = pod["volumes"].as_array().context("volumes")?;
    ensure!(volumes.iter().any(|volume| volume["secret"]["secretName"] == "store"), "{volumes:?}");
    let documents = scene.wait("configmap/daily-destroy", |_| true)?["data"].clone();
    ensure!(documents["job.yaml"].as_str().is_some_and(|text| text.contains("bucket: backups")), "{documents}");
    scene.wait("networkpolicy/daily-destroy", |_| true)?;
    // Nobody writes any more.
    scene.wait("deployment/daily-streamer", |found| found["spec"]["replicas"] == 0)?;
    scene.gone("cronjob/daily-snapshot")?;
    let chosen = "app.kubernetes.io/component=streamer";
    ensure!(scene.run(&["get", "pods", "--selector", chosen, "--output", "name"])?.is_empty(), "a streamer is left");
    let held = scene.wait("kafkabackup/daily", |found| condition(found, "Ready")["reason"] == "BackupDeleting")?;
    ensure!(is_held(&held) && held["status"]["backupId"] == ID, "{held}");

    scene.end_job("destroy", "daily-destroy", (0, "2026-02-13T02:00:09Z"), "")?;
    scene.gone("kafkabackup/daily")?;
    wait_event(&scene, "BackupDeleted", ID)?;
    for object in ["job/daily-destroy", "configmap/daily-destroy", "deployment/daily-streamer"] {
        scene.gone(object)?;
    }
    scene.end()
}

#[test]
fn a77_a_store_that_does_not_answer_holds_the_resource_no_longer_than_the_limit() -> Result<()> {
    let scene = Scene::new_with("down", &[("STRIMZI_BACKUP_DELETION_TIMEOUT", "30s")])?;
    scene.strimzi.complete()?;
    scene.apply(&doomed())?;
    scene.told("Reconciled", "Applied")?;
    tell_id(&scene)?;
    delete(&scene)?;
    // Its pod never runs, as one whose store is down never ends.
    scene.wait("job/daily-destroy", |_| true)?;
    ensure!(scene.kubectl().get(scene.namespace(), "kafkabackup/daily")?.is_some(), "it waits");
    scene.gone("kafkabackup/daily")?;
    let note = wait_event(&scene, "BackupLeft", "not deleted within 30 s")?;
    ensure!(note.contains(&format!("strimzi-backup destroy --config job.yaml --backup {ID}")), "{note}");
    ensure!(note.contains("s3://backups/"), "{note}");
    scene.gone("job/daily-destroy")?;
    scene.end()
}

#[test]
fn a77_nothing_holds_a_resource_where_nothing_can_be_done() -> Result<()> {
    let scene = Scene::new("helpless")?;
    scene.strimzi.complete()?;
    scene.apply(&doomed())?;
    scene.wait("kafkabackup/daily", is_held)?;
    delete(&scene)?;
    scene.gone("kafkabackup/daily")?;
    wait_event(&scene, "BackupLeft", "no streamer has told")?;

    scene.apply(&doomed())?;
    scene.wait("kafkabackup/daily", is_held)?;
    tell_id(&scene)?;
    scene.run(&["annotate", "kafkabackup/daily", "strimzi.io/pause-reconciliation=true"])?;
    delete(&scene)?;
    scene.gone("kafkabackup/daily")?;
    wait_event(&scene, "BackupLeft", "paused")?;

    scene.apply(&doomed())?;
    scene.wait("kafkabackup/daily", is_held)?;
    tell_id(&scene)?;
    scene.run(&["delete", "secret/store"])?;
    delete(&scene)?;
    scene.gone("kafkabackup/daily")?;
    let note = wait_event(&scene, "BackupLeft", "storage.credentialsSecret")?;
    ensure!(note.contains(&format!("--backup {ID}")), "{note}");
    scene.end()
}
