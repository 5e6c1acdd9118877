//! What `spec.verification` becomes: a schedule of verifications, and what is told of them.

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::wait;

use crate::definitions::with;
use crate::scene::{Scene, condition, daily, secrets};
use crate::strimzi::SOON;

/// The daily backup, verified once a week.
fn verified() -> Value {
    with(daily(), "verification", json!({"cron": "0 4 * * 0", "level": 3}))
}

/// What a verification leaves.
fn left(findings: u32, unanswered: u32, message: &str) -> String {
    let from = (findings == 0).then_some("2026-01-14T02:00:00.000Z");
    let summary = json!({"level": 3, "findings": findings, "unanswered": unanswered, "objects": 12, "bytes": 7,
        "records": 5, "recoverableFrom": from, "recoverableUntil": "2026-02-13T01:59:59.999Z", "message": message});
    summary.to_string()
}

#[test]
fn verifications_have_a_schedule_of_their_own_and_go_when_nobody_asks_for_them() -> Result<()> {
    let scene = Scene::new("verified")?;
    scene.restrict()?;
    scene.strimzi.complete()?;
    scene.apply(&verified())?;
    let cron_job = scene.wait("cronjob/daily-verify", |_| true)?;
    assert_eq!((&cron_job["spec"]["schedule"], &cron_job["spec"]["timeZone"]), (&json!("0 4 * * 0"), &json!("UTC")));
    assert_eq!(secrets(&cron_job), ["store"], "it needs nothing of Kafka's");
    let pod = &cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"];
    assert_eq!(pod["automountServiceAccountToken"], false);
    let arguments = json!([
        "verify",
        "--config",
        "/etc/strimzi-backup/config/job.yaml",
        "--level",
        "3",
        "--summary-file",
        "/dev/termination-log"
    ]);
    assert_eq!(pod["containers"][0]["args"], arguments);
    scene.wait("networkpolicy/daily-verify", |_| true)?;
    let backup = scene.wait("kafkabackup/daily", |found| !condition(found, "Verified").is_null())?;
    let told = condition(&backup, "Verified");
    ensure!(told["status"] == "Unknown" && told["reason"] == "NotVerifiedYet", "{told}");
    scene.metric("verification_failed", "0.0")?;

    scene.apply(&daily())?;
    scene.gone("cronjob/daily-verify")?;
    scene.gone("networkpolicy/daily-verify")?;
    scene.wait("kafkabackup/daily", |found| condition(found, "Verified").is_null())?;
    scene.wait("cronjob/daily-snapshot", |_| true)?;
    scene.end()
}

/// Nobody runs pods here: what the kubelet would say of one is written in its place.
#[test]
fn a25_what_a_verification_finds_is_told_until_one_finds_nothing() -> Result<()> {
    let scene = Scene::new("harmed")?;
    scene.strimzi.complete()?;
    scene.apply(&verified())?;
    scene.wait("cronjob/daily-verify", |_| true)?;
    let last = |job: &str| {
        let backup = scene.wait("kafkabackup/daily", |found| found["status"]["lastVerification"]["job"] == job)?;
        anyhow::Ok(backup["status"]["lastVerification"].clone())
    };

    scene.end_job("verify", "a-sound", (0, "2026-02-13T02:00:09Z"), &left(0, 0, "everything holds"))?;
    let sound = last("a-sound")?;
    ensure!(sound["status"] == "Succeeded" && sound["level"] == 3 && sound["objects"] == 12, "{sound}");
    scene.told("Verified", "EverythingHolds")?;
    scene.metric("verification_findings", "0.0")?;

    // Damage is no other the second time: one pod ends the Job.
    let gone = "1 findings: missing intake/x.parquet: its manifest names it, and it is not there";
    scene.end_job("verify", "b-harmed", (4, "2026-02-14T02:00:09Z"), &left(1, 0, gone))?;
    let ended = |job: &Value| {
        let conditions = job["status"]["conditions"].as_array();
        conditions.into_iter().flatten().any(|told| told["type"] == "Failed" && told["status"] == "True")
    };
    let job = scene.wait("job/b-harmed", ended)?;
    assert_eq!(job["status"]["failed"], 1);
    let harmed = last("b-harmed")?;
    ensure!(harmed["status"] == "Failed" && harmed["findings"] == 1, "{harmed}");
    assert_eq!(harmed["recoverable"], json!({"until": "2026-02-13T01:59:59.999Z"}));
    ensure!(scene.told("Verified", "FindingsFound")?.contains(gone), "the condition names what is gone");
    scene.metric("verification_findings", "1.0")?;
    let note = format!("Job \"b-harmed\": {gone}");
    wait::wait_until("an event", SOON, || Ok(scene.events("VerificationFailed")? == [note.clone()]))?;

    // Tried three times, as its Job says; what was found stays found.
    for _ in 0..3 {
        scene.end_job("verify", "c-silent", (1, "2026-02-15T02:00:09Z"), &left(0, 2, "incomplete"))?;
    }
    let backup =
        scene.wait("kafkabackup/daily", |found| found["status"]["verificationFailure"]["job"] == "c-silent")?;
    assert_eq!(backup["status"]["verificationFailure"]["message"], "incomplete");
    assert_eq!(backup["status"]["lastVerification"], harmed);
    assert_eq!(condition(&backup, "Verified")["status"], "False");
    scene.metric("verification_failed", "1.0")?;

    scene.end_job("verify", "d-sound", (0, "2026-02-16T02:00:09Z"), &left(0, 0, "everything holds"))?;
    last("d-sound")?;
    scene.told("Verified", "EverythingHolds")?;
    scene.wait("kafkabackup/daily", |found| found["status"]["verificationFailure"].is_null())?;
    scene.metric("verification_findings", "0.0")?;
    scene.metric("verification_failed", "0.0")?;
    scene.end()
}
