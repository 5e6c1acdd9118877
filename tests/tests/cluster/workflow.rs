//! What a user does, from the first `kubectl apply` on.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_format::ids::TimestampMs;
use strimzi_backup_tests::client::ReadRecord;
use strimzi_backup_tests::kafka::{BrokerOptions, KafkaBroker};
use strimzi_backup_tests::restore::same_but_offsets;
use strimzi_backup_tests::scenario::{numbered, tree};

use crate::place::{FIRST_SEGMENT, Place, object, port, prepared, resources};

/// The Kafka cluster that is restored to.
const OTHER: &str = "dr-cluster";

#[test]
fn one_backup_applied_becomes_segments_snapshots_and_a_restore_to_a_moment_on_another_cluster() -> Result<()> {
    let cluster = prepared()?;
    let mut place = Place::new(cluster, "workflow")?;
    let client = place.broker.client();
    for topic in ["orders", "payments"] {
        client.create_topic(topic, 1, &[])?;
        client.produce(topic, &numbered(0..1000))?;
    }
    client.commit_offsets("billing", &[("orders", 0, 600)])?;

    let applied = Instant::now();
    let mut backup = place.backup("daily-backup");
    backup["spec"]["retention"] = json!({"maxAge": "30d", "pruneOnSchedule": true});
    backup["spec"]["verification"] = json!({"cron": "0 4 * * 0", "level": 3});
    place.apply(&backup)?;
    place.until("the first segment", FIRST_SEGMENT, || Ok(place.segments("daily-backup")? > 0))?;
    println!("first durable segment {:.1} s after kubectl apply", applied.elapsed().as_secs_f64());
    place.reason("kafkabackup/daily-backup", "Streaming", "Streaming")?;

    let moment = moment_between(|| client.produce("orders", &numbered(1000..1100)).map(drop))?;
    place.run(&["annotate", "kafkabackup/daily-backup", "kafkabackup.com/trigger=now"])?;
    let snapshots = completed_snapshots(&place, 1)?;
    ensure!(snapshots[0]["id"].as_str().is_some_and(|id| id.starts_with("daily-backup-")), "{snapshots:?}");
    // A snapshot waits for a commit, and an idle streamer commits seldom.
    client.produce("payments", &numbered(1000..1100))?;
    // The schedule's own time is at night; its Job is made as the schedule makes it.
    place.run(&["create", "job", "by-schedule", "--from", "cronjob/daily-backup-snapshot"])?;
    completed_snapshots(&place, 2)?;
    // So is that of a prune, which finds nothing that is old enough.
    place.run(&["create", "job", "prune", "--from", "cronjob/daily-backup-prune"])?;
    place.wait("kafkabackup/daily-backup", |backup| backup["status"]["lastPrune"]["deletedObjects"] == 0)?;
    // And that of a verification, which decodes every record.
    place.run(&["create", "job", "verify", "--from", "cronjob/daily-backup-verify"])?;
    place.reason("kafkabackup/daily-backup", "Verified", "EverythingHolds")?;
    let verified = place.kubectl.get(&place.namespace, "kafkabackup/daily-backup")?.context("the backup")?;
    let verified = &verified["status"]["lastVerification"];
    ensure!(verified["status"] == "Succeeded" && verified["records"].as_i64() >= Some(2000), "{verified}");
    is_told(&place)?;
    answers(&place)?;

    let other = other_cluster(&place)?;
    let restore = restore(&moment);
    let mut plan = restore.clone();
    (plan["metadata"]["name"], plan["spec"]["dryRun"]) = (json!("what-if"), json!(true));
    place.apply(&plan)?;
    place.reason("kafkarestore/what-if", "Ready", "PlanCompleted")?;
    let planned = place.kubectl.get(&place.namespace, "kafkarestore/what-if")?.context("the plan")?;
    let text = planned["status"]["restore"]["plan"].as_str().context("the text of the plan")?;
    ensure!(text.contains("orders-restored"), "{text}");
    ensure!(other.client().partition_count("orders-restored").unwrap_or(0) == 0, "a plan writes nothing");

    place.apply(&restore)?;
    place.reason("kafkarestore/pitr-restore", "Ready", "RestoreCompleted")?;
    let upto =
        |records: Vec<ReadRecord>| records.into_iter().filter(|one| one.timestamp <= moment.0).collect::<Vec<_>>();
    let orders = upto(client.read_all("orders")?);
    assert_eq!(same_but_offsets(&orders, &other.client().read_all("orders-restored")?)?, 1000);
    same_but_offsets(&upto(client.read_all("payments")?), &other.client().read_all("payments")?)?;
    assert_eq!(other.client().committed_offset("billing", "orders-restored", 0)?, Some(600));
    let told = place.wait("kafkarestore/pitr-restore", |found| found["status"]["restore"]["phase"] == "Done")?;
    let written = &told["status"]["restore"];
    assert_eq!([&written["restoredTopics"], &written["restoredRecords"]], [&json!(2), &json!(2000)]);
    let newest = orders.iter().map(|record| record.timestamp).max().context("records")?;
    ensure!(written["actualPointInTime"].as_str() >= Some(&TimestampMs::new(newest).to_rfc3339()), "{written}");

    let before = tree(&place.stored("daily-backup"))?;
    place.run(&[
        "delete",
        "kafkabackup/daily-backup",
        "kafkarestore/pitr-restore",
        "kafkarestore/what-if",
        "--wait=false",
    ])?;
    for gone in ["kafkabackup/daily-backup", "deployment/daily-backup-streamer", "job/pitr-restore-restore"] {
        place.gone(gone)?;
    }
    let after = tree(&place.stored("daily-backup"))?;
    ensure!(
        before.iter().all(|(path, digest)| after.get(path) == Some(digest)),
        "an object of the store went or changed"
    );
    place.store.stop()?;
    place.end()
}

/// The streamer's pod has no shell, and its program says how the backup stands, as the runbook has it.
fn answers(place: &Place) -> Result<()> {
    let config = "/etc/strimzi-backup/config/job.yaml";
    let inspect = ["/usr/local/bin/strimzi-backup", "inspect", "--config", config];
    let told = place.run(&[&["exec", "deployment/daily-backup-streamer", "--"], inspect.as_slice()].concat())?;
    let says = |word: &str| told.lines().any(|line| line.starts_with(word));
    ensure!(["backup", "behind", "writer"].into_iter().all(says), "{told}");
    Ok(())
}

/// What `kubectl get` answers: since when, until when, how far behind, and what there is.
fn is_told(place: &Place) -> Result<()> {
    let told = place.wait("kafkabackup/daily-backup", |backup| backup["status"]["stored"]["records"] == 2200)?;
    let status = &told["status"];
    ensure!(status["recoverable"]["from"].is_string() && status["recoverable"]["until"].is_string(), "{status}");
    ensure!(status["nextScheduledBackup"].is_string() && status["lagSeconds"].is_number(), "{status}");
    let last = &status["lastBackup"];
    ensure!(last["topicsBackedUp"] == 2 && last["sizeBytes"].as_u64() > Some(0), "{last}");
    for condition in ["NoGaps", "GroupsCovered"] {
        let conditions = status["conditions"].as_array().context("conditions")?;
        let holds = |found: &Value| found["type"] == condition && found["status"] == "True";
        ensure!(conditions.iter().any(holds), "{condition}: {conditions:?}");
    }
    Ok(())
}

/// A moment before what is done, in milliseconds since 1970 and as documents have it.
struct Moment(i64, String);

fn moment_between(then: impl FnOnce() -> Result<()>) -> Result<Moment> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis();
    thread::sleep(Duration::from_millis(10));
    then()?;
    let moment = i64::try_from(now)?;
    Ok(Moment(moment, TimestampMs::new(moment).to_rfc3339()))
}

/// The snapshots that the status lists, once as many are complete.
fn completed_snapshots(place: &Place<'_>, count: usize) -> Result<Vec<Value>> {
    let listed = |backup: &Value| {
        let history = backup["status"]["backupHistory"].as_array().cloned().unwrap_or_default();
        history.into_iter().filter(|one| one["status"] == "Completed").collect::<Vec<_>>()
    };
    Ok(listed(&place.wait("kafkabackup/daily-backup", |backup| listed(backup).len() >= count)?))
}

/// A second cluster, which asks for no user.
fn other_cluster(place: &Place<'_>) -> Result<KafkaBroker> {
    let host = format!("{OTHER}-kafka-bootstrap.{}.svc", place.namespace);
    let broker = KafkaBroker::start_with(&BrokerOptions::default().host(&host))?;
    let port = port(&broker.bootstrap())?;
    place.service(&format!("{OTHER}-kafka-bootstrap"), &[port])?;
    let listener = json!({"name": "plain", "port": port, "type": "internal", "tls": false});
    place.kafka(OTHER, broker.cluster_id(), &[listener])?;
    Ok(broker)
}

fn restore(moment: &Moment) -> Value {
    let spec = json!({
        "strimziClusterRef": {"name": OTHER},
        "backupRef": {"name": "daily-backup"},
        "pointInTime": {"timestamp": moment.1},
        "topicMapping": [{"sourceTopic": "orders", "targetTopic": "orders-restored"}],
        "consumerGroups": {"restore": true},
        "restore": {"topicCreation": "auto", "existingTopicPolicy": "fail"},
        "resources": resources(),
    });
    object("kafkabackup.com/v1alpha1", "KafkaRestore", "pitr-restore", &spec)
}
