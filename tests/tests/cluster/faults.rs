//! Faults that only a node shows.

use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::kubernetes::Cluster;
use strimzi_backup_tests::scenario::{bulky, numbered, shows_none_of, tree};

use crate::place::{FIRST_SEGMENT, Place, prepare, prepared, resources};

/// The SCRAM user of whom the password changes.
const USER: &str = "rotating";

/// A backup that streams, of a topic with 1000 records that it has captured. Its pods have the label `test=<name>`.
pub(crate) fn streaming<'a>(cluster: &'a Cluster, name: &str) -> Result<Place<'a>> {
    streaming_with(cluster, name, &[])
}

/// The same with these fields in `spec.backup`.
pub(crate) fn streaming_with<'a>(cluster: &'a Cluster, name: &str, settings: &[(&str, &str)]) -> Result<Place<'a>> {
    let place = Place::new(cluster, name)?;
    place.broker.client().create_topic("orders", 1, &[])?;
    place.broker.client().produce("orders", &numbered(0..1000))?;
    let mut backup = place.backup("daily");
    backup["spec"]["template"] = json!({"pod": {"metadata": {"labels": {"test": name}}}});
    for &(field, value) in settings {
        backup["spec"]["backup"][field] = json!(value);
    }
    place.apply(&backup)?;
    captured(&place, 1000)?;
    place.reason("kafkabackup/daily", "Streaming", "Streaming")?;
    Ok(place)
}

/// Waits until as many records of the topic are in the backup.
fn captured(place: &Place<'_>, records: u64) -> Result<()> {
    place.until(&format!("{records} records in the backup"), FIRST_SEGMENT, || {
        Ok(Backup::open(&place.stored("daily")).is_ok_and(|backup| backup.rows("orders", 0) >= records))
    })
}

/// Produces records after those that there are, and waits until they are captured, each once.
pub(crate) fn goes_on(place: &Place<'_>, records: std::ops::Range<usize>) -> Result<()> {
    let all = records.end;
    place.broker.client().produce("orders", &numbered(records))?;
    captured(place, all as u64)?;
    let equal = Backup::open(&place.stored("daily"))?.equals_topic(&place.broker.client(), "orders")?;
    ensure!(equal == all, "{equal} of {all} records");
    Ok(())
}

pub(crate) fn restarts(place: &Place<'_>, pod: &str) -> Result<u64> {
    let pod = place.kubectl.get(&place.namespace, &format!("pod/{pod}"))?.context("the pod")?;
    pod["status"]["containerStatuses"][0]["restartCount"].as_u64().context("how often it was started again")
}

#[test]
fn a_streamer_whose_process_is_killed_is_started_again_in_its_pod_and_loses_nothing() -> Result<()> {
    let place = streaming(prepared()?, "killed")?;
    let pod = place.ready_pod("streamer")?;
    let processes = place.cluster.node().processes(&place.kubectl, &place.namespace, &pod)?;
    ensure!(processes.len() == 1, "{processes:?}");
    for id in processes {
        kill_process(Pid::from_raw(i32::try_from(id)?).context("a process id")?, Signal::KILL)?;
    }
    goes_on(&place, 1000..1500)?;
    place.until("the restart to be counted", FIRST_SEGMENT, || Ok(restarts(&place, &pod)? > 0))?;
    place.end()
}

#[test]
fn a63_a_streamer_with_too_little_memory_is_told_apart_from_any_other_end() -> Result<()> {
    let place = Place::new(prepared()?, "memory")?;
    place.broker.client().create_topic("orders", 1, &[])?;
    place.broker.client().produce("orders", &bulky(0..1000))?;
    let mut backup = place.backup("daily");
    backup["spec"]["resources"] = json!({"requests": {"cpu": "10m", "memory": "24Mi"}, "limits": {"memory": "24Mi"}});
    place.apply(&backup)?;
    let message = place.reason("kafkabackup/daily", "Streaming", "OutOfMemory")?;
    ensure!(message.contains("raise the limit"), "{message}");
    backup["spec"]["resources"] = resources();
    place.apply(&backup)?;
    captured(&place, 1000)?;
    place.reason("kafkabackup/daily", "Streaming", "Streaming")?;
    place.end()
}

#[test]
fn a65_a_drained_node_evicts_the_streamer_at_once_and_a_new_pod_goes_on() -> Result<()> {
    let place = streaming(prepared()?, "drained")?;
    let pod = place.ready_pod("streamer")?;
    let drained = Instant::now();
    let outcome = place.kubectl.run(&["drain", "node", "--pod-selector", "test=drained", "--timeout", "60s"]);
    // The other tests need the node, whatever became of this.
    place.kubectl.run(&["uncordon", "node"])?;
    outcome?;
    goes_on(&place, 1000..1500)?;
    println!("new records durable {:.1} s after the drain began", drained.elapsed().as_secs_f64());
    ensure!(place.ready_pod("streamer")? != pod, "the pod was to be another");
    place.end()
}

#[test]
fn a66_without_an_api_server_the_streamer_goes_on_and_the_operator_comes_back() -> Result<()> {
    // Of its own: whatever runs in a cluster takes a minute to look again after an outage.
    let cluster = Cluster::start()?;
    prepare(&cluster)?;
    let place = streaming(&cluster, "no-api")?;
    let pod = place.ready_pod("streamer")?;
    let mut plane = cluster.plane_alone();
    plane.kill_api_server()?;
    for round in 10..14 {
        goes_on(&place, round * 100..(round + 1) * 100)?;
    }
    plane.start_api_server()?;
    plane.restart_controllers()?;
    drop(plane);
    ensure!(place.ready_pod("streamer")? == pod, "the pod was to stay");
    assert_eq!(restarts(&place, &pod)?, 0);
    place.run(&["annotate", "kafkabackup/daily", "kafkabackup.com/trigger=now"])?;
    place.wait("kafkabackup/daily", |backup| backup["status"]["lastBackup"]["status"] == "Completed")?;
    place.end()
}

#[test]
fn a77_a_namespace_that_is_deleted_goes_with_its_pods_and_its_backup_stays() -> Result<()> {
    let place = streaming(prepared()?, "deleted")?;
    let before = tree(&place.stored("daily"))?;
    place.run(&["delete", "namespace", &place.namespace, "--wait=false"])?;
    place.gone(&format!("namespace/{}", place.namespace))?;
    let after = tree(&place.stored("daily"))?;
    ensure!(before.iter().all(|(path, digest)| after.get(path) == Some(digest)), "an object went or changed");
    assert_eq!(Backup::open(&place.stored("daily"))?.equals_topic(&place.broker.client(), "orders")?, 1000);
    Ok(())
}

#[test]
fn a77_a_backup_that_is_to_be_deleted_goes_with_what_it_stored() -> Result<()> {
    let place = streaming(prepared()?, "destroyed")?;
    let policy = json!({"spec": {"deletionPolicy": "Delete"}}).to_string();
    place.run(&["patch", "kafkabackup/daily", "--type", "merge", "--patch", &policy])?;
    let held = json!(["kafkabackup.com/cleanup"]);
    place.wait("kafkabackup/daily", |found| {
        found["metadata"]["finalizers"] == held && found["status"]["backupId"].is_string()
    })?;
    let deleted = Instant::now();
    place.run(&["delete", "kafkabackup/daily", "--wait=false"])?;
    place.gone("kafkabackup/daily")?;
    println!("gone {:.1} s after it was deleted", deleted.elapsed().as_secs_f64());
    ensure!(tree(&place.stored("daily"))?.is_empty(), "something of it is left");
    place.gone("job/daily-destroy")?;
    place.end()
}

#[test]
fn a31_a_password_that_changes_in_its_secret_is_taken_by_the_running_pod() -> Result<()> {
    let place = Place::new(prepared()?, "password")?;
    set_password(&place, "first-secret")?;
    place.user(USER, "scram-sha-512")?;
    place.secret(USER, &[("password", "first-secret")])?;
    place.broker.client().create_topic("orders", 1, &[])?;
    place.broker.client().produce("orders", &numbered(0..1000))?;
    let mut backup = place.backup("daily");
    backup["spec"]["authentication"] = json!({"type": "scram-sha-512", "kafkaUserRef": {"name": USER}});
    place.apply(&backup)?;
    captured(&place, 1000)?;
    let pod = place.ready_pod("streamer")?;

    set_password(&place, "second-secret")?;
    place.secret(USER, &[("password", "second-secret")])?;
    place.until("the streamer to connect anew", FIRST_SEGMENT, || Ok(log(&place, &pod)?.contains("connected anew")))?;
    goes_on(&place, 1000..1500)?;
    ensure!(place.ready_pod("streamer")? == pod && restarts(&place, &pod)? == 0, "the pod was to stay");
    shows_none_of(&log(&place, &pod)?, &["first-secret", "second-secret"])?;
    place.end()
}

#[test]
fn a28_keys_of_the_store_that_change_in_their_secret_are_taken_by_the_running_pod() -> Result<()> {
    let mut place = streaming(prepared()?, "store-keys")?;
    let pod = place.ready_pod("streamer")?;
    let first = place.store.secret_key().to_owned();
    // Both the id and the secret: what the pod has is of nobody then.
    place.store.rotate_keys("second-access", "second-secret-key")?;
    place.broker.client().produce("orders", &numbered(1000..1200))?;
    let message = place.reason("kafkabackup/daily", "Streaming", "StoreFailing")?;
    ensure!(message.contains("look at its credentials"), "{message}");
    assert_eq!(Backup::open(&place.stored("daily"))?.rows("orders", 0), 1000, "nothing was to be taken");

    place.store_keys()?;
    captured(&place, 1200)?;
    place.reason("kafkabackup/daily", "Streaming", "Streaming")?;
    goes_on(&place, 1200..1500)?;
    ensure!(place.ready_pod("streamer")? == pod && restarts(&place, &pod)? == 0, "the pod was to stay");
    // And who starts now has the new keys, too.
    place.run(&["annotate", "kafkabackup/daily", "kafkabackup.com/trigger=now"])?;
    place.wait("kafkabackup/daily", |backup| backup["status"]["lastBackup"]["status"] == "Completed")?;
    shows_none_of(&log(&place, &pod)?, &[first.as_str(), place.store.secret_key()])?;
    place.end()
}

fn set_password(place: &Place<'_>, password: &str) -> Result<()> {
    let change = format!("SCRAM-SHA-512=[password={password}]");
    place
        .broker
        .cli("configs", &["--alter", "--add-config", &change, "--entity-type", "users", "--entity-name", USER])?;
    Ok(())
}

fn log(place: &Place<'_>, pod: &str) -> Result<String> {
    place.run(&["logs", pod])
}
