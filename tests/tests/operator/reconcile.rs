//! What a KafkaBackup becomes, with the operator as a process of its own. There is no node: its pods are admitted and
//! wait for one.

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::kubernetes::{ControlPlane, Kubectl, Operator};
use strimzi_backup_tests::wait;

use crate::definitions::{backup, with};
use crate::plane;
use crate::strimzi::{CLUSTER, SOON, Strimzi};

/// A namespace with a cluster, and an operator that looks after it.
struct Scene {
    strimzi: Strimzi<'static>,
    plane: &'static ControlPlane,
    operator: Operator,
}

impl Scene {
    fn new(name: &str) -> Result<Self> {
        let plane = plane()?;
        let strimzi = Strimzi::new(plane, name, "v1")?;
        let operator = Operator::start(plane.kubectl(), &strimzi.namespace)?;
        Ok(Self { strimzi, plane, operator })
    }

    fn kubectl(&self) -> &Kubectl {
        self.plane.kubectl()
    }

    fn namespace(&self) -> &str {
        &self.strimzi.namespace
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl().run(&[&["--namespace", self.namespace()], arguments].concat())
    }

    fn apply(&self, object: &Value) -> Result<()> {
        self.kubectl().apply(self.namespace(), &object.to_string())?;
        Ok(())
    }

    /// An object, as soon as it is there and fits.
    fn wait(&self, object: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = None;
        let found = wait::wait_for(object, SOON, || {
            last = self.kubectl().get(self.namespace(), object)?;
            Ok(last.clone().filter(|found| fits(found)))
        });
        found.map_err(|error| anyhow!("{error:#}\n{}\n{}", last.unwrap_or_default(), self.operator.tail()))
    }

    /// Waits until a condition of the backup has this reason, and returns its message.
    fn told(&self, kind: &str, reason: &str) -> Result<String> {
        let backup = self.wait("kafkabackup/daily", |found| condition(found, kind)["reason"] == reason)?;
        Ok(condition(&backup, kind)["message"].as_str().unwrap_or_default().to_owned())
    }

    fn gone(&self, object: &str) -> Result<()> {
        self.plane.wait_gone(self.namespace(), object, SOON).with_context(|| self.operator.tail())
    }
}

fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
}

/// A backup of that cluster, by certificate, with snapshots.
fn daily() -> Value {
    let user = json!({"type": "tls", "kafkaUserRef": {"name": "backup"}});
    let backup = with(backup("daily"), "authentication", user);
    let backup = with(backup, "storage.s3.credentialsSecret", json!({"name": "store"}));
    with(backup, "schedule", json!({"cron": "0 2 * * *"}))
}

const OBJECTS: [&str; 6] = [
    "serviceaccount/daily-streamer",
    "configmap/daily-streamer",
    "deployment/daily-streamer",
    "cronjob/daily-snapshot",
    "poddisruptionbudget/daily-streamer",
    "networkpolicy/daily-streamer",
];

#[test]
fn a77_a_backup_becomes_its_objects_and_takes_them_with_it() -> Result<()> {
    let scene = Scene::new("whole")?;
    let restricted = "pod-security.kubernetes.io/enforce=restricted";
    scene.kubectl().run(&["label", "namespace", scene.namespace(), restricted])?;
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
    scene.operator.stop()
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

    scene.apply(&daily())?;
    scene.wait("deployment/daily-streamer", |_| true)?;
    let before = digest(&scene)?;
    scene.strimzi.reached("tls", "moved.somewhere.svc", 9093)?;
    scene
        .wait("configmap/daily-streamer", |found| found["data"]["job.yaml"].to_string().contains("moved.somewhere"))?;
    wait::wait_until("another digest at the pods", SOON, || Ok(digest(&scene)? != before))?;
    scene.operator.stop()
}

/// What makes pods start anew when it changes.
fn digest(scene: &Scene) -> Result<String> {
    let deployment = scene.wait("deployment/daily-streamer", |_| true)?;
    Ok(deployment["spec"]["template"]["metadata"]["annotations"]["kafkabackup.com/config-sha256"].to_string())
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
    scene.operator = Operator::start(plane()?.kubectl(), &scene.strimzi.namespace)?;
    scene
        .wait("configmap/daily-streamer", |found| found["data"]["job.yaml"].to_string().contains("moved.somewhere"))?;
    let kept = scene.wait("deployment/daily-streamer", |found| generation(found) != generation(&made))?;
    assert_eq!(kept["metadata"]["uid"], made["metadata"]["uid"]);
    Ok(())
}

#[test]
fn a77_a_namespace_goes_with_its_backups_while_the_operator_runs() -> Result<()> {
    let scene = Scene::new("emptied")?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    scene.wait("deployment/daily-streamer", |_| true)?;
    scene.kubectl().run(&["delete", "namespace", "--wait=false", scene.namespace()])?;
    scene.gone(&format!("namespace/{}", scene.namespace()))
}
