//! What a KafkaBackup becomes, with the operator as a process of its own. There is no node: its pods are admitted and
//! wait for one.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_format::ids::TimestampMs;
use strimzi_backup_tests::kubernetes::Operator;
use strimzi_backup_tests::wait;

use crate::definitions::{backup, restore, with};
use crate::scene::{Scene, condition, daily};
use crate::strimzi::{CLUSTER, SOON};

const OBJECTS: [&str; 9] = [
    "serviceaccount/daily-streamer",
    "role/daily-streamer",
    "rolebinding/daily-streamer",
    "configmap/daily-streamer",
    "deployment/daily-streamer",
    "cronjob/daily-snapshot",
    "poddisruptionbudget/daily-streamer",
    "networkpolicy/daily-streamer",
    "podmonitor/daily-streamer",
];

/// Chooses the pods of its streamer.
pub(crate) const STREAMER: &str = "app.kubernetes.io/component=streamer,app.kubernetes.io/instance=daily";

#[test]
fn a77_a_backup_becomes_its_objects_and_takes_them_with_it() -> Result<()> {
    let scene = Scene::new("whole")?;
    scene.restrict()?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    for object in OBJECTS {
        scene.wait(object, |_| true)?;
    }
    let message = scene.told("Reconciled", "Applied")?;
    ensure!(message.is_empty() || !message.contains("hidden"), "{message}");

    let document = scene.wait("configmap/daily-streamer", |_| true)?["data"]["job.yaml"].to_string();
    assert!(document.contains("shop-kafka-bootstrap.somewhere.svc:9093"), "{document}");
    assert!(!document.contains("hidden"), "{document}");
    // What restricted namespaces refuse would be refused here.
    let chosen = "app.kubernetes.io/instance=daily";
    wait::wait_until("a pod of the streamer", SOON, || {
        Ok(scene.run(&["get", "pods", "--selector", chosen, "--output", "name"])?.contains("pod/daily-streamer"))
    })?;

    scene.run(&["annotate", "kafkabackup/daily", "kafkabackup.com/trigger=now"])?;
    wait::wait_until("a snapshot's Job", SOON, || {
        Ok(scene.run(&["get", "jobs", "--selector", chosen, "--output", "name"])?.contains("job.batch/daily-"))
    })?;
    scene.wait("kafkabackup/daily", |found| found["metadata"]["annotations"]["kafkabackup.com/trigger"].is_null())?;

    scene.run(&["delete", "--wait=false", "kafkabackup/daily"])?;
    scene.gone("kafkabackup/daily")?;
    for object in OBJECTS {
        scene.gone(object)?;
    }
    // What is Strimzi's and the user's stays.
    for object in ["secret/store", "secret/backup", "secret/shop-cluster-ca-cert", "kafka/shop"] {
        scene.wait(object, |_| true)?;
    }
    scene.end()
}

#[test]
fn a09_a_streamer_that_ends_as_soon_as_it_begins_is_told_at_once() -> Result<()> {
    let scene = Scene::new("refused")?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    let pod = scene.pending_pod(STREAMER)?;
    scene.told("Streaming", "Starting")?;
    // Of the Deployment nothing changes.
    let ended = json!({"exitCode": 4, "message": "error: another backup lies under the prefix"});
    let container = json!({"name": "streamer", "ready": false, "restartCount": 1, "image": "i", "imageID": "i",
                           "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": ended}});
    let status = json!({"phase": "Running", "containerStatuses": [container]});
    scene.kubectl().set_status(scene.namespace(), &pod, &status)?;
    let message = scene.told("Streaming", "BackupUnusable")?;
    ensure!(message.contains("ended with 4: error: another backup lies under the prefix"), "{message}");
    // Nobody ever scraped it: that it does not stream, the operator alone tells.
    scene.metric("streaming", "0.0")?;
    scene.end()
}

/// Nobody runs pods here: what the kubelet would say of one is written in its place.
#[test]
fn whether_a_streamer_follows_is_told_until_the_backup_is_paused_or_suspended() -> Result<()> {
    let scene = Scene::new("follows")?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    let pod = scene.pending_pod(STREAMER)?;
    scene.metric("streaming", "0.0")?;
    let running = json!({"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]});
    scene.kubectl().set_status(scene.namespace(), &pod, &running)?;
    scene.told("Streaming", "Streaming")?;
    scene.metric("streaming", "1.0")?;

    scene.run(&["annotate", "kafkabackup/daily", "strimzi.io/pause-reconciliation=true"])?;
    scene.no_metric("streaming")?;
    scene.run(&["annotate", "kafkabackup/daily", "strimzi.io/pause-reconciliation-"])?;
    scene.metric("streaming", "1.0")?;

    scene.apply(&with(daily(), "suspend", json!(true)))?;
    scene.told("Streaming", "Suspended")?;
    scene.no_metric("streaming")?;
    scene.end()
}

#[test]
fn a_pod_that_kubernetes_refuses_to_make_is_told() -> Result<()> {
    let scene = Scene::new("unmade")?;
    scene.restrict()?;
    scene.strimzi.complete()?;
    let container = json!({"securityContext": {"allowPrivilegeEscalation": true}});
    scene.apply(&with(daily(), "template", json!({"container": container})))?;
    let message = scene.told("Streaming", "PodRefused")?;
    ensure!(message.contains("allowPrivilegeEscalation"), "{message}");
    scene.apply(&daily())?;
    scene.pending_pod(STREAMER)?;
    scene.wait("kafkabackup/daily", |found| condition(found, "Streaming")["reason"] != "PodRefused")?;
    scene.end()
}

#[test]
fn a_backup_says_what_it_waits_for_and_follows_the_cluster() -> Result<()> {
    let scene = Scene::new("waiting")?;
    scene.apply(&backup("daily"))?;
    let message = scene.told("Ready", "ClusterNotFound")?;
    assert!(message.contains(&format!("Kafka {}/{CLUSTER}", scene.namespace())), "{message}");

    scene.strimzi.complete()?;
    let message = scene.told("Ready", "AuthenticationRequired")?;
    assert!(message.contains("kind: KafkaUser") && message.contains("name: kafka-backup"), "{message}");

    let trusting = with(daily(), "storage.s3.caSecret", json!({"name": "store"}));
    scene.apply(&trusting)?;
    let message = scene.told("Reconciled", "SecretNotFound")?;
    assert!(message.contains("no key \"ca.crt\"; it has AWS_ACCESS_KEY_ID"), "{message}");

    scene.apply(&daily())?;
    scene.wait("deployment/daily-streamer", |_| true)?;
    let before = scene.digest()?;
    scene.strimzi.reached("tls", "moved.somewhere.svc", 9093)?;
    scene
        .wait("configmap/daily-streamer", |found| found["data"]["job.yaml"].to_string().contains("moved.somewhere"))?;
    wait::wait_until("another digest at the pods", SOON, || Ok(scene.digest()? != before))?;
    scene.end()
}

#[test]
fn a11_what_was_made_stays_without_an_operator_and_the_next_one_goes_on() -> Result<()> {
    let mut scene = Scene::new("restarted")?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    let made = scene.wait("deployment/daily-streamer", |_| true)?;
    let generation = |deployment: &Value| deployment["metadata"]["generation"].clone();
    scene.told("Reconciled", "Applied")?;

    let first = scene.operator;
    drop(first);
    scene.strimzi.reached("tls", "moved.somewhere.svc", 9093)?;
    scene.operator = Operator::start(&scene.account, &scene.strimzi.namespace)?;
    scene
        .wait("configmap/daily-streamer", |found| found["data"]["job.yaml"].to_string().contains("moved.somewhere"))?;
    let kept = scene.wait("deployment/daily-streamer", |found| generation(found) != generation(&made))?;
    assert_eq!(kept["metadata"]["uid"], made["metadata"]["uid"]);
    Ok(())
}

/// The rights of the operator are a Role in that namespace and go before the backup does: nobody has to let it go.
#[test]
fn a77_a_namespace_goes_with_its_backups_and_the_rights_of_the_operator() -> Result<()> {
    let scene = Scene::new("emptied")?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    scene.wait("deployment/daily-streamer", |_| true)?;
    scene.kubectl().run(&["delete", "namespace", "--wait=false", scene.namespace()])?;
    scene.gone(&format!("namespace/{}", scene.namespace()))
}

#[test]
fn a_restore_becomes_one_job_that_stands_still_when_asked_to() -> Result<()> {
    let scene = Scene::new("restored")?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    let user = json!({"type": "tls", "kafkaUserRef": {"name": "backup"}});
    let restore = with(restore("again"), "authentication", user);
    let restore = with(restore, "pointInTime", json!({"timestamp": "2026-02-13T01:30:00.000Z"}));
    scene.apply(&restore)?;
    let job = scene.wait("job/again-restore", |_| true)?;
    let document = scene.wait("configmap/again-restore", |_| true)?["data"]["restore.yaml"].to_string();
    assert!(document.contains("2026-02-13T01:30:00.000Z") && document.contains("shop-kafka-bootstrap"), "{document}");

    scene.apply(&with(restore.clone(), "suspend", json!(true)))?;
    scene.wait("job/again-restore", |found| found["spec"]["suspend"] == true)?;
    scene.wait("kafkarestore/again", |found| condition(found, "Ready")["reason"] == "RestoreSuspended")?;
    scene.apply(&restore)?;
    let kept = scene.wait("job/again-restore", |found| found["spec"]["suspend"] == false)?;
    assert_eq!(kept["metadata"]["uid"], job["metadata"]["uid"]);

    scene.run(&["delete", "--wait=false", "kafkarestore/again"])?;
    scene.gone("kafkarestore/again")?;
    scene.gone("job/again-restore")?;
    scene.wait("kafkabackup/daily", |_| true)?;
    scene.end()
}

/// Nobody runs pods here: what the kubelet would say of one is written in its place.
#[test]
fn how_long_a_restore_took_is_told_once_it_is_complete() -> Result<()> {
    let scene = Scene::new("took")?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    let user = json!({"type": "tls", "kafkaUserRef": {"name": "backup"}});
    scene.apply(&with(restore("again"), "authentication", user))?;
    let pod = scene.pending_pod("batch.kubernetes.io/job-name=again-restore")?;
    scene.counts("strimzi_restore_duration_seconds_count 0")?;
    // So that it takes at least one: Kubernetes tells times in whole seconds.
    std::thread::sleep(Duration::from_millis(1100));
    scene.kubectl().set_status(scene.namespace(), &pod, &json!({"phase": "Succeeded"}))?;
    let done = scene.wait("kafkarestore/again", |found| found["status"]["restore"]["status"] == "Completed")?;
    let time = |name: &str| {
        let told = done["status"]["restore"][name].as_str().context("a time")?;
        anyhow::Ok(TimestampMs::from_rfc3339(told)?)
    };
    let took = time("completionTime")?.millis_since(time("startTime")?) / 1000;
    ensure!(took > 0, "{}", done["status"]["restore"]);
    scene.counts("strimzi_restore_duration_seconds_count 1")?;
    scene.counts(&format!("strimzi_restore_duration_seconds_sum {took}.0"))?;
    scene.end()
}

/// An earlier restore that is complete must not pass for the next.
#[test]
fn a_restore_does_not_take_the_job_of_an_earlier_one_of_its_name_for_its_own() -> Result<()> {
    let scene = Scene::new("anew")?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    let user = json!({"type": "tls", "kafkaUserRef": {"name": "backup"}});
    let restore = with(restore("again"), "authentication", user);
    scene.apply(&restore)?;
    let pod = scene.pending_pod("batch.kubernetes.io/job-name=again-restore")?;
    scene.kubectl().set_status(scene.namespace(), &pod, &json!({"phase": "Succeeded"}))?;
    scene.wait("kafkarestore/again", |found| found["status"]["restore"]["status"] == "Completed")?;

    // So it is for a moment after each deletion, until Kubernetes has removed what belonged to the resource.
    scene.run(&["delete", "--cascade=orphan", "kafkarestore/again"])?;
    scene.apply(&restore)?;
    let waits = scene.wait("kafkarestore/again", |found| condition(found, "Ready")["reason"] == "JobOfAnother")?;
    assert_eq!(waits["status"]["restore"]["status"], "Pending");
    scene.run(&["delete", "job/again-restore"])?;
    scene.wait("kafkarestore/again", |found| condition(found, "Ready")["reason"] == "RestorePending")?;
    let uid = scene.wait("kafkarestore/again", |_| true)?["metadata"]["uid"].clone();
    scene.wait("job/again-restore", |found| found["metadata"]["ownerReferences"][0]["uid"] == uid)?;
    scene.end()
}
