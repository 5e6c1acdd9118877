//! The files of `examples/kubernetes`, applied as they are.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::chart;
use strimzi_backup_tests::scenario::numbered;

use crate::place::{Place, prepared, read};

/// Who backs up, by the examples.
const USER: &str = "backup-service-account";

/// Applies an example to the letter, but for these words of it, each of which it has once.
pub(crate) fn apply(place: &Place<'_>, name: &str, but: &[(&str, &str)]) -> Result<()> {
    let mut text = read(chart::root().join(format!("examples/kubernetes/{name}.yaml")))?;
    for &(written, here) in but {
        ensure!(text.matches(written).count() == 1, "{name} has {written:?} not once");
        text = text.replace(written, here);
    }
    place.kubectl.apply_anywhere(&text)?;
    Ok(())
}

/// The words of an example at which the endpoint of the store stands, and the same with it: the one thing that no example can
/// know, as the store here is none of Amazon's.
pub(crate) fn endpoint(place: &Place<'_>) -> (&'static str, String) {
    let region = "      region: eu-west-1\n";
    let endpoint = format!("http://store.{}.svc:{}", place.namespace, place.store.port());
    (region, format!("{region}      endpoint: {endpoint}\n"))
}

/// The snapshots that the status of the backup of an example lists, once as many are complete.
pub(crate) fn completed_snapshots(place: &Place<'_>, count: usize) -> Result<Vec<Value>> {
    let listed = |backup: &Value| {
        let history = backup["status"]["backupHistory"].as_array().cloned().unwrap_or_default();
        history.into_iter().filter(|one| one["status"] == "Completed").collect::<Vec<_>>()
    };
    Ok(listed(&place.wait("kafkabackup/daily-backup", |backup| listed(backup).len() >= count)?))
}

/// Has the schedule of a part begin its work now: its own time is at night.
pub(crate) fn begin(place: &Place<'_>, part: &str) -> Result<()> {
    let schedule = format!("cronjob/daily-backup-{part}");
    place.wait(&schedule, |_| true)?;
    place.run(&["create", "job", part, "--from", &schedule])?;
    Ok(())
}

#[test]
fn the_example_with_every_field_is_carried_out_field_by_field() -> Result<()> {
    let cluster = prepared()?;
    let namespace = cluster.plane().namespace("every-field")?;
    let place = Place::of_an_example(cluster, namespace, "my-kafka-cluster", Some("tls"))?;
    let moved = ("  namespace: kafka\n", format!("  namespace: {}\n", place.namespace));
    place.broker.certs()?.sign(USER)?;
    place.certificate(USER, &place.broker)?;
    apply(&place, "kafka-user-backup", &[(moved.0, &moved.1)])?;
    let (id, key) = (place.store.access_key(), place.store.secret_key());
    let file = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {key}\n");
    for secret in ["backup-s3-credentials", "backup-s3-deleter"] {
        place.secret(secret, &[("aws-credentials", &file)])?;
    }
    let client = place.broker.client();
    for topic in ["orders", "payments.eu", "orders.internal", "others"] {
        client.create_topic(topic, 1, &[])?;
        client.produce(topic, &numbered(0..100))?;
    }

    let (region, endpoint) = endpoint(&place);
    apply(&place, "kafka-backup", &[(moved.0, &moved.1), (region, &endpoint)])?;
    place.reason("kafkabackup/daily-backup", "Ready", "BackupScheduled")?;
    place.run(&["annotate", "kafkabackup", "daily-backup", "kafkabackup.com/trigger=now"])?;
    let snapshots = completed_snapshots(&place, 1)?;
    // Neither what is excluded nor what is not included.
    assert_eq!([&snapshots[0]["topicsBackedUp"], &snapshots[0]["records"]], [&json!(2), &json!(200)]);
    ensure!(
        place.store.root_dir().join("my-kafka-backups/strimzi/my-kafka-cluster/backup.json").exists(),
        "the prefix"
    );
    runs_as_it_says(&place)?;
    begin(&place, "prune")?;
    place.wait("kafkabackup/daily-backup", |backup| backup["status"]["lastPrune"]["deletedObjects"] == 0)?;
    begin(&place, "verify")?;
    place.reason("kafkabackup/daily-backup", "Verified", "EverythingHolds")?;
    place.end()
}

/// `template` and `resources`, at the pod that streams.
fn runs_as_it_says(place: &Place<'_>) -> Result<()> {
    let name = place.ready_pod("streamer")?;
    let pod = place.kubectl.get(&place.namespace, &format!("pod/{name}"))?.context("the pod")?;
    let (metadata, container) = (&pod["metadata"], &pod["spec"]["containers"][0]);
    assert_eq!(metadata["labels"]["custom-label"], "backup-pod");
    assert_eq!(metadata["annotations"]["prometheus.io/scrape"], "true");
    assert_eq!(pod["spec"]["securityContext"]["runAsUser"], 1001);
    let limits = json!({"cpu": "2", "memory": "4Gi"});
    assert_eq!(container["resources"], json!({"requests": {"cpu": "500m", "memory": "1Gi"}, "limits": limits}));
    let variables = container["env"].as_array().context("variables")?;
    ensure!(variables.contains(&json!({"name": "RUST_LOG", "value": "info"})), "{container}");
    Ok(())
}
