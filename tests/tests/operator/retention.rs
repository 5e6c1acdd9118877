//! What `spec.retention` becomes: a schedule of prunes, and what is told of them and of what is held.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::wait;

use crate::definitions::with;
use crate::scene::{Scene, condition, daily, secrets};
use crate::strimzi::SOON;

/// When pods of prunes end here.
const ENDED: &str = "2026-02-13T02:00:09Z";

/// The daily backup, pruned by its schedule with credentials of its own.
fn pruned() -> Value {
    let own = json!({"name": "deleter"});
    with(daily(), "retention", json!({"maxAge": "30d", "pruneOnSchedule": true, "storageCredentials": own}))
}

#[test]
fn prunes_have_their_own_schedule_and_credentials_and_go_when_nobody_asks_for_them() -> Result<()> {
    let scene = Scene::new("pruned")?;
    scene.restrict()?;
    scene.strimzi.complete()?;
    scene.apply(&pruned())?;
    let message = scene.told("Reconciled", "SecretNotFound")?;
    ensure!(message.contains("retention.storageCredentials") && message.contains("deleter"), "{message}");

    scene.strimzi.secret("deleter", &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hidden")])?;
    scene.told("Reconciled", "Applied")?;
    let cron_job = scene.wait("cronjob/daily-prune", |_| true)?;
    assert_eq!(cron_job["spec"]["schedule"], "0 2 * * *");
    assert_eq!(secrets(&cron_job), ["deleter"]);
    assert_eq!(secrets(&scene.wait("cronjob/daily-snapshot", |_| true)?), ["store"]);
    scene.wait("networkpolicy/daily-prune", |_| true)?;
    let documents = scene.wait("configmap/daily-streamer", |_| true)?["data"].clone();
    ensure!(documents["job.yaml"].as_str().is_some_and(|text| text.contains("maxAge: 30d")), "{documents}");
    ensure!(documents["prune.yaml"].is_string() && !documents.to_string().contains("hidden"), "{documents}");

    scene.apply(&with(daily(), "retention", json!({"maxAge": "30d"})))?;
    scene.gone("cronjob/daily-prune")?;
    scene.gone("networkpolicy/daily-prune")?;
    scene.wait("configmap/daily-streamer", |found| found["data"]["prune.yaml"].is_null())?;
    scene.wait("cronjob/daily-snapshot", |_| true)?;
    scene.end()
}

/// Nobody runs pods here: what the kubelet would say of one is written in its place.
#[test]
fn what_a_prune_did_and_why_one_failed_is_told() -> Result<()> {
    let scene = Scene::new("deleted")?;
    scene.strimzi.complete()?;
    scene.apply(&with(daily(), "retention", json!({"maxBackups": 3, "pruneOnSchedule": true})))?;
    scene.wait("cronjob/daily-prune", |_| true)?;

    let summary =
        json!({"deletedObjects": 3, "deletedBytes": 7, "refusedObjects": 1, "keptSince": "2026-01-14T02:00:00.000Z"});
    scene.end_job("prune", "well", (0, ENDED), &summary.to_string())?;
    let backup = scene.wait("kafkabackup/daily", |found| found["status"]["lastPrune"]["deletedObjects"] == 3)?;
    let last = &backup["status"]["lastPrune"];
    ensure!(last["deletedBytes"] == 7 && last["refusedObjects"] == 1 && last["time"].is_string(), "{last}");
    assert_eq!(last["keptSince"], "2026-01-14T02:00:00.000Z");
    wait::wait_until("an event of the prune", SOON, || Ok(scene.events("RetentionPruned")?.len() == 1))?;

    // Tried three times, as its Job says.
    for _ in 0..3 {
        scene.end_job("prune", "badly", (1, ENDED), "error: the store refuses to delete")?;
    }
    let backup = scene.wait("kafkabackup/daily", |found| found["status"]["pruneFailure"]["job"] == "badly")?;
    let message = backup["status"]["pruneFailure"]["message"].as_str().unwrap_or_default();
    ensure!(message.contains("ended with 1: error: the store refuses to delete"), "{message}");
    assert_eq!(backup["status"]["lastPrune"], *last);
    wait::wait_until("an event of the failure", SOON, || Ok(!scene.events("PruneFailed")?.is_empty()))?;
    scene.end()
}

#[test]
fn a76_retention_that_is_held_is_a_condition_and_an_event() -> Result<()> {
    let scene = Scene::new("held")?;
    scene.strimzi.complete()?;
    scene.apply(&with(daily(), "retention", json!({"maxAge": "3d"})))?;
    scene.told("Reconciled", "Applied")?;
    // As its streamer would write it.
    let say = |held: Value| {
        let gaps = json!({"count": 0, "lostOffsets": 0});
        let status = json!({"reportedAt": "2026-02-13T09:41:02.118Z", "gaps": gaps, "retentionHeld": held});
        scene.kubectl().set_status(scene.namespace(), "kafkabackup/daily", &status)
    };
    say(Value::Null)?;
    scene.told("RetentionHeld", "NothingHeld")?;
    say(
        json!({"reason": "Shrinks", "message": "set retention.acknowledgeShrinkTo to 3days or less if that is meant"}),
    )?;
    let message = scene.told("RetentionHeld", "Shrinks")?;
    ensure!(message.contains("acknowledgeShrinkTo"), "{message}");
    wait::wait_until("an event that it is held", SOON, || Ok(scene.events("RetentionHeld")? == [message.clone()]))?;
    say(json!({"reason": "Failed", "message": "the last look failed: read snapshots/a.json"}))?;
    ensure!(scene.told("RetentionHeld", "Failed")?.contains("snapshots/a.json"), "the condition has its words");
    say(Value::Null)?;
    let backup = scene.wait("kafkabackup/daily", |found| condition(found, "RetentionHeld")["status"] == "False")?;
    ensure!(backup["status"]["retentionHeld"].is_null(), "{backup}");

    scene.apply(&daily())?;
    scene.wait("kafkabackup/daily", |found| condition(found, "RetentionHeld").is_null())?;
    scene.end()
}
