//! What pods tell of themselves, with the rights that the operator gives them: real programs outside of the control plane,
//! which is told by them.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::kubernetes::Kubectl;
use strimzi_backup_tests::restore::Restore;
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::streamer::Job;

use crate::definitions::{restore, with};
use crate::scene::{Scene, condition, daily};

fn may(account: &Kubectl, namespace: &str, verb: &str, resource: &str, subresource: &str) -> Result<bool> {
    let mut question = vec!["auth", "can-i", "--namespace", namespace, verb, resource];
    if !subresource.is_empty() {
        question.extend(["--subresource", subresource]);
    }
    // It ends with 1 where it says no.
    Ok(account.run(&question).is_ok_and(|answer| answer.trim() == "yes"))
}

fn config(account: &Kubectl) -> Result<&str> {
    account.kubeconfig().to_str().context("a path in UTF-8")
}

#[test]
fn a_streamer_tells_what_is_protected_and_may_do_nothing_else() -> Result<()> {
    let scene = Scene::new("told")?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    scene.wait("deployment/daily-streamer", |_| true)?;
    let account = scene.plane.account(scene.namespace(), "daily-streamer")?;
    let may = |verb, resource, subresource| may(&account, scene.namespace(), verb, resource, subresource);
    ensure!(may("patch", "kafkabackups/daily", "status")?, "its own status");
    for (verb, resource, subresource) in [
        ("patch", "kafkabackups/other", "status"),
        ("patch", "kafkabackups/daily", ""),
        ("get", "kafkabackups/daily", ""),
        ("patch", "kafkarestores/daily", "status"),
        ("get", "secrets/store", ""),
        ("create", "pods", ""),
    ] {
        ensure!(!may(verb, resource, subresource)?, "it may {verb} {resource} {subresource}");
    }

    let broker = KafkaBroker::start()?;
    let client = broker.client();
    client.create_topic("orders", 1, &[("file.delete.delay.ms", "1")])?;
    client.produce("orders", &[Record::new("a", "one"), Record::new("b", "two")])?;
    let dir = RunDir::new("told")?;
    let job = Job::new(dir.path(), &broker.bootstrap()).environment("KUBECONFIG", config(&account)?);
    let told = format!("kafkabackup/{}/daily", scene.namespace());
    let streamer = job.stream(&["--report-to", &told])?;
    let backup = scene.wait("kafkabackup/daily", |found| !found["status"]["recoverable"]["until"].is_null())?;
    let status = &backup["status"];
    ensure!(status["reportedBy"].is_string() && status["lagSeconds"].is_number(), "{status}");
    ensure!(scene.told("NoGaps", "NothingMissing")?.contains("captured"));
    scene.told("GroupsCovered", "GroupsStreaming")?;
    streamer.stop()?;

    // What goes while nobody streams is missing, and what was told before stays until somebody does again.
    client.produce("orders", &[Record::new("c", "three"), Record::new("d", "four")])?;
    client.delete_records("orders", 0, 4)?;
    let kept = scene.wait("kafkabackup/daily", |_| true)?;
    assert_eq!(kept["status"]["gaps"]["count"], 0);
    let streamer = job.stream(&["--report-to", &told])?;
    let message = scene.told("NoGaps", "GapsFound")?;
    ensure!(message.starts_with("2 offsets in 1 gaps are missing; the last: orders-0 [2, 4): "), "{message}");
    // Each writes its own part, so that neither takes back what the other says.
    let owners = scene.run(&["get", "kafkabackup/daily", "--show-managed-fields", "--output", "json"])?;
    let owners: Value = serde_json::from_str(&owners)?;
    let entries = owners["metadata"]["managedFields"].as_array().context("managed fields")?;
    let owned = |manager: &str, field: &str| {
        let of = |entry: &&Value| entry["manager"] == manager && entry["subresource"] == "status";
        entries.iter().filter(of).any(|entry| !entry["fieldsV1"]["f:status"][field].is_null())
    };
    let fields =
        [("f:backupId", true), ("f:anchor", true), ("f:recoverable", true), ("f:gaps", true), ("f:conditions", false)];
    for (field, is_told_by_the_pod) in fields {
        assert_eq!(owned("strimzi-backup-streamer", field), is_told_by_the_pod, "{field}");
        assert_eq!(owned("strimzi-backup-operator", field), !is_told_by_the_pod, "{field}");
    }
    streamer.stop()?;
    scene.end()
}

#[test]
fn a_restore_tells_what_it_wrote() -> Result<()> {
    let scene = Scene::new("rewritten")?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    let user = json!({"type": "tls", "kafkaUserRef": {"name": "backup"}});
    scene.apply(&with(restore("again"), "authentication", user))?;
    scene.wait("job/again-restore", |_| true)?;
    let account = scene.plane.account(scene.namespace(), "again-restore")?;

    let broker = KafkaBroker::start()?;
    let client = broker.client();
    client.create_topic("orders", 2, &[])?;
    client.produce("orders", &[Record::new("a", "one"), Record::new("b", "two")])?;
    let dir = RunDir::new("rewritten")?;
    let job = Job::new(dir.path(), &broker.bootstrap());
    job.catch_up()?;
    let told = format!("kafkarestore/{}/again", scene.namespace());
    let again = Restore::new(dir.path(), "again", &job, &broker.bootstrap()).mapped("orders", "again");
    let mut command = again.command(&["--report-to", &told])?;
    let output = command.env("KUBECONFIG", config(&account)?).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found = scene.wait("kafkarestore/again", |found| found["status"]["restore"]["phase"] == "Done")?;
    let written = &found["status"]["restore"];
    let counts = ["restoredRecords", "restoredTopics", "restoredPartitions"].map(|name| written[name].as_u64());
    assert_eq!(counts, [Some(2), Some(1), Some(2)]);
    ensure!(written["actualPointInTime"].is_string() && written["restoredBytes"] == 8, "{written}");
    // What the operator tells is beside it.
    ensure!(written["id"].is_string() && condition(&found, "Reconciled")["status"] == "True", "{found}");
    scene.end()
}
