//! What a user does, from the first `kubectl apply` on, with the files of `examples/kubernetes`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_format::ids::TimestampMs;
use strimzi_backup_tests::client::ReadRecord;
use strimzi_backup_tests::kafka::{BrokerOptions, KafkaBroker};
use strimzi_backup_tests::restore::same_but_offsets;
use strimzi_backup_tests::scenario::{numbered, tree};

use crate::examples::{apply, begin, completed_snapshots, endpoint};
use crate::place::{BUCKET, FIRST_SEGMENT, Place, listener, port, prepared, read};

/// The Kafka cluster that the examples restore to, which asks nobody who he is; and that where it asks for a certificate. They
/// are one here.
const OTHER: [&str; 2] = ["dr-cluster", "dr-kafka-cluster"];

/// The moment that the examples restore to.
const MOMENT: &str = "2026-02-13T01:30:00.000Z";

/// Who restores where it is asked for, by the examples.
const RESTORER: &str = "restore-service-account";

#[test]
fn the_examples_become_segments_snapshots_and_restores_to_a_moment_on_another_cluster() -> Result<()> {
    let cluster = prepared()?;
    cluster.plane().kubectl().run(&["create", "namespace", "kafka"])?;
    let mut place = Place::of_an_example(cluster, "kafka".to_owned(), "production-cluster", None)?;
    let client = place.broker.client();
    for topic in ["orders", "payments"] {
        client.create_topic(topic, 1, &[])?;
        client.produce(topic, &numbered(0..1000))?;
    }
    client.commit_offsets("order-processor", &[("orders", 0, 600)])?;

    let applied = Instant::now();
    let (region, endpoint) = endpoint(&place);
    apply(&place, "kafka-backup-minimal", &[(region, &endpoint)])?;
    place.until("the first segment", FIRST_SEGMENT, || Ok(segments(&place)? > 0))?;
    println!("first durable segment {:.1} s after kubectl apply", applied.elapsed().as_secs_f64());
    place.reason("kafkabackup/daily-backup", "Streaming", "Streaming")?;

    let moment = moment_between(|| client.produce("orders", &numbered(1000..1100)).map(drop))?;
    let trigger = ["annotate", "kafkabackup", "daily-backup", "kafkabackup.com/trigger=now", "-n", "kafka"];
    place.kubectl.run(&trigger)?;
    let snapshots = completed_snapshots(&place, 1)?;
    let snapshot = snapshots[0]["id"].as_str().context("the id of a snapshot")?;
    ensure!(snapshot.starts_with("daily-backup-"), "{snapshot}");
    // A snapshot waits for a commit, and an idle streamer commits seldom.
    client.produce("payments", &numbered(1000..1100))?;
    begin(&place, "snapshot")?;
    completed_snapshots(&place, 2)?;
    is_tended(&place)?;
    is_told(&place)?;
    answers(&place)?;

    let other = other_cluster(&place)?;
    let before: [Vec<ReadRecord>; 2] =
        [upto(&moment, &client.read_all("orders")?), upto(&moment, &client.read_all("payments")?)];
    restores_to_a_moment(&place, &other, &moment, &before)?;
    restores_a_snapshot_under_other_names(&place, &other, (&moment, snapshot), &before)?;
    leaves_what_is_stored(&place)?;
    place.store.stop()?;
    place.end()
}

/// What the upkeep of a backup is, once it is asked for.
fn is_tended(place: &Place<'_>) -> Result<()> {
    let asked =
        json!({"spec": {"retention": {"pruneOnSchedule": true}, "verification": {"cron": "0 4 * * 0", "level": 3}}});
    place.run(&["patch", "kafkabackup/daily-backup", "--type", "merge", "--patch", &asked.to_string()])?;
    // It finds nothing that is old enough.
    begin(place, "prune")?;
    place.wait("kafkabackup/daily-backup", |backup| backup["status"]["lastPrune"]["deletedObjects"] == 0)?;
    // It decodes every record.
    begin(place, "verify")?;
    place.reason("kafkabackup/daily-backup", "Verified", "EverythingHolds")?;
    let verified = place.kubectl.get(&place.namespace, "kafkabackup/daily-backup")?.context("the backup")?;
    let verified = &verified["status"]["lastVerification"];
    ensure!(verified["status"] == "Succeeded" && verified["records"].as_i64() >= Some(2000), "{verified}");
    Ok(())
}

/// All topics as they were, under their names.
fn restores_to_a_moment(
    place: &Place<'_>,
    other: &KafkaBroker,
    moment: &Moment,
    before: &[Vec<ReadRecord>; 2],
) -> Result<()> {
    apply(place, "kafka-restore-point-in-time", &[(MOMENT, &moment.1)])?;
    place.reason("kafkarestore/pitr-restore", "Ready", "RestoreCompleted")?;
    let [orders, payments] = before;
    assert_eq!(same_but_offsets(orders, &other.client().read_all("orders")?)?, 1000);
    assert_eq!(same_but_offsets(payments, &other.client().read_all("payments")?)?, 1000);
    assert_eq!(other.client().committed_offset("order-processor", "orders", 0)?, None, "it did not ask for groups");
    let told = place.wait("kafkarestore/pitr-restore", |found| found["status"]["restore"]["phase"] == "Done")?;
    let written = &told["status"]["restore"];
    assert_eq!([&written["restoredTopics"], &written["restoredRecords"]], [&json!(2), &json!(2000)]);
    let newest = orders.iter().map(|record| record.timestamp).max().context("records")?;
    ensure!(written["actualPointInTime"].as_str() >= Some(&TimestampMs::new(newest).to_rfc3339()), "{written}");
    Ok(())
}

/// Two topics and a group of a snapshot, by a user with a certificate; the plan first.
fn restores_a_snapshot_under_other_names(
    place: &Place<'_>,
    other: &KafkaBroker,
    (moment, snapshot): (&Moment, &str),
    before: &[Vec<ReadRecord>; 2],
) -> Result<()> {
    let here = [(MOMENT, moment.1.as_str()), ("backup-20260213-020000", snapshot)];
    let plan = [("  name: restore-to-dr", "  name: what-if"), ("spec:\n  #", "spec:\n  dryRun: true\n  #")];
    apply(place, "kafka-restore", &[&here[..], &plan].concat())?;
    place.reason("kafkarestore/what-if", "Ready", "PlanCompleted")?;
    let planned = place.kubectl.get(&place.namespace, "kafkarestore/what-if")?.context("the plan")?;
    let text = planned["status"]["restore"]["plan"].as_str().context("the text of the plan")?;
    ensure!(text.contains("orders-restored"), "{text}");
    ensure!(other.client().partition_count("orders-restored").unwrap_or(0) == 0, "a plan writes nothing");

    apply(place, "kafka-restore", &here)?;
    place.reason("kafkarestore/restore-to-dr", "Ready", "RestoreCompleted")?;
    for (topic, records) in ["orders-restored", "payments-restored"].into_iter().zip(before) {
        assert_eq!(same_but_offsets(records, &other.client().read_all(topic)?)?, 1000, "{topic}");
    }
    assert_eq!(other.client().committed_offset("order-processor", "orders-restored", 0)?, Some(600));
    Ok(())
}

/// Resources go with all that was made of them, and the backup stays.
fn leaves_what_is_stored(place: &Place<'_>) -> Result<()> {
    let before = whole(place)?;
    let restores = ["pitr-restore", "restore-to-dr", "what-if"].map(|name| format!("kafkarestore/{name}"));
    let [one, two, three] = &restores;
    place.run(&["delete", "kafkabackup/daily-backup", one, two, three, "--wait=false"])?;
    for gone in ["kafkabackup/daily-backup", "deployment/daily-backup-streamer", "job/pitr-restore-restore"] {
        place.gone(gone)?;
    }
    let after = whole(place)?;
    ensure!(
        before.iter().all(|(path, digest)| after.get(path) == Some(digest)),
        "an object of the store went or changed"
    );
    Ok(())
}

/// The directory of the backup in the store: without a prefix it is the bucket's.
fn stored(place: &Place<'_>) -> PathBuf {
    place.store.root_dir().join(BUCKET)
}

/// What is whole in the store, below folders. The server keeps what is not in one of its own.
fn whole(place: &Place<'_>) -> Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(stored(place))? {
        let path = entry?.path();
        if path.is_dir() && !path.ends_with(".sgwtmp") {
            files.extend(tree(&path)?.into_iter().map(|(below, digest)| (path.join(below), digest)));
        }
    }
    Ok(files)
}

/// The segments that are whole in the store.
fn segments(place: &Place<'_>) -> Result<usize> {
    Ok(whole(place)?.keys().filter(|path| path.extension().is_some_and(|ending| ending == "parquet")).count())
}

/// The records of that time, and of before.
fn upto(moment: &Moment, records: &[ReadRecord]) -> Vec<ReadRecord> {
    records.iter().filter(|record| record.timestamp <= moment.0).cloned().collect()
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

/// A second cluster, under both names, and the user by whom the second one is restored to.
fn other_cluster(place: &Place<'_>) -> Result<KafkaBroker> {
    let [open, asking] = OTHER;
    let host = format!("{asking}-kafka-bootstrap.{}.svc", place.namespace);
    // Which rights a user needs is another test's subject.
    let options = BrokerOptions::default().secure().host(&host);
    let broker = KafkaBroker::start_with(&options.property("super.users", &format!("User:{RESTORER};User:ANONYMOUS")))?;
    let (plain, tls) = (port(&broker.bootstrap())?, port(&broker.bootstrap_ssl()?)?);
    for name in OTHER {
        place.service(&format!("{name}-kafka-bootstrap"), &[plain, tls])?;
    }
    let without_tls = json!({"name": "plain", "port": plain, "type": "internal", "tls": false});
    place.kafka(open, broker.cluster_id(), &[without_tls])?;
    place.kafka(asking, broker.cluster_id(), &[listener("tls", tls, Some("tls"))])?;
    let certs = broker.certs()?;
    certs.sign(RESTORER)?;
    place.secret(&format!("{asking}-cluster-ca-cert"), &[("ca.crt", &read(certs.ca())?)])?;
    apply(place, "kafka-user-restore", &[])?;
    place.certificate(RESTORER, &broker)?;
    Ok(broker)
}
