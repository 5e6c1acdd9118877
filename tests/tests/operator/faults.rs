//! What goes wrong around a running operator.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::kubernetes::{ControlPlane, Operator};
use strimzi_backup_tests::{binary, http, process, wait};

use crate::definitions::{restore, with};
use crate::prepare;
use crate::scene::{Scene, daily};
use crate::strimzi::{CLUSTER, SOON, Strimzi};

/// A watch that was cut off is tried again after longer and longer pauses.
const OUTAGE: Duration = Duration::from_secs(120);

#[test]
fn an_api_server_that_is_nowhere_is_told_once() -> Result<()> {
    const NOWHERE: &str = "/nowhere/kubeconfig";
    let mut command = Command::new(binary::strimzi_backup_operator()?);
    command.args(["run", "--operator-namespace", "backup", "--image", "example.org/strimzi-backup:test"]);
    command.env("KUBECONFIG", NOWHERE).env_remove("KUBERNETES_SERVICE_HOST");
    let (code, _, said) = process::outcome(&mut command)?;
    ensure!(code == 1 && said.contains("find the Kubernetes API"), "{code}: {said}");
    ensure!(said.matches(NOWHERE).count() == 1, "{said}");
    Ok(())
}

/// The listener of a cluster that is complete, of a type.
fn listener(kind: &str) -> Value {
    json!([{"name": "tls", "port": 9093, "type": kind, "tls": true, "authentication": {"type": "tls"}}])
}

/// Which Deployment the streamer has, and how often that was changed.
fn changes(scene: &Scene<'_>) -> Result<(String, i64)> {
    let deployment = scene.wait("deployment/daily-streamer", |_| true)?;
    let metadata = &deployment["metadata"];
    Ok((metadata["uid"].to_string(), metadata["generation"].as_i64().context("a generation")?))
}

/// Waits until the document of the streamer fits.
fn document(scene: &Scene<'_>, fits: impl Fn(&str) -> bool) -> Result<()> {
    scene.wait("configmap/daily-streamer", |found| fits(&found["data"]["job.yaml"].to_string())).map(drop)
}

#[test]
fn a30_pods_get_every_certificate_while_a_ca_is_replaced() -> Result<()> {
    const CA: &str = "shop-cluster-ca-cert";
    const OLD: &str = "ca-2026-03-01T00-00-00Z.crt";
    let scene = Scene::new("ca")?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    document(&scene, |text| text.contains("/ca.crt") && !text.contains(OLD))?;
    let (alone, (deployment, first)) = (scene.digest()?, changes(&scene)?);

    scene.strimzi.secret(CA, &[(OLD, "one"), ("ca.crt", "two")])?;
    document(&scene, |text| text.contains("/ca.crt") && text.contains(OLD))?;
    wait::wait_until("pods with both", SOON, || Ok(scene.digest()? != alone))?;
    assert_eq!(changes(&scene)?, (deployment.clone(), first + 1));

    // No broker has a certificate of the old one any longer.
    let patch = json!({"data": {OLD: null}}).to_string();
    scene.run(&["patch", &format!("secret/{CA}"), "--type", "merge", "--patch", &patch])?;
    document(&scene, |text| text.contains("/ca.crt") && !text.contains(OLD))?;
    wait::wait_until("pods with the new one alone", SOON, || Ok(scene.digest()? == alone))?;
    assert_eq!(changes(&scene)?, (deployment.clone(), first + 2));

    // Under the name that pods know a certificate is read from its file again: nobody starts anew.
    scene.strimzi.secret(CA, &[("ca.crt", "three")])?;
    scene.apply(&with(daily(), "schedule", json!({"cron": "0 3 * * *"})))?;
    scene.wait("cronjob/daily-snapshot", |found| found["spec"]["schedule"] == "0 3 * * *")?;
    assert_eq!(changes(&scene)?, (deployment, first + 2));
    let made = scene.wait("deployment/daily-streamer", |_| true)?;
    let volumes = made["spec"]["template"]["spec"]["volumes"].as_array().context("volumes")?;
    let mounted = volumes.iter().find(|volume| volume["name"] == "kafka-ca").context("the volume of the CAs")?;
    ensure!(mounted["secret"]["secretName"] == CA && mounted["secret"]["items"].is_null(), "{mounted}");
    scene.end()
}

#[test]
fn a_cluster_that_is_deleted_and_made_again_leaves_the_streamer_as_it_is() -> Result<()> {
    let scene = Scene::new("remade")?;
    scene.strimzi.complete()?;
    // As Strimzi names it: so the address is the same before the status has it.
    let address = format!("shop-kafka-bootstrap.{}.svc", scene.namespace());
    scene.strimzi.reached("tls", &address, 9093)?;
    scene.apply(&daily())?;
    scene.told("Reconciled", "Applied")?;
    let before = (scene.digest()?, changes(&scene)?);

    scene.run(&["delete", "kafka/shop"])?;
    let message = scene.told("Reconciled", "ClusterNotFound")?;
    ensure!(message.contains(&format!("Kafka {}/{CLUSTER}", scene.namespace())), "{message}");
    assert_eq!((scene.digest()?, changes(&scene)?), before);

    scene.strimzi.kafka(listener("internal"))?;
    scene.told("Reconciled", "AppliedWithWarnings")?;
    scene.strimzi.reached("tls", &address, 9093)?;
    scene.told("Reconciled", "Applied")?;
    assert_eq!((scene.digest()?, changes(&scene)?), before);
    scene.end()
}

#[test]
fn a_listener_that_goes_from_the_status_is_reached_by_its_usual_name_until_it_is_back() -> Result<()> {
    let scene = Scene::new("untold")?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    scene.told("Reconciled", "Applied")?;
    document(&scene, |text| text.contains("shop-kafka-bootstrap.somewhere.svc:9093"))?;
    let (digest, (deployment, first)) = (scene.digest()?, changes(&scene)?);

    scene.kubectl().set_status(scene.namespace(), "kafka/shop", &json!({"listeners": []}))?;
    let message = scene.told("Reconciled", "AppliedWithWarnings")?;
    ensure!(message.contains("tells no address of listener tls"), "{message}");
    let usual = format!("shop-kafka-bootstrap.{}.svc:9093", scene.namespace());
    document(&scene, |text| text.contains(&usual))?;
    assert_eq!(changes(&scene)?, (deployment.clone(), first + 1));

    scene.strimzi.reached("tls", "shop-kafka-bootstrap.somewhere.svc", 9093)?;
    scene.told("Reconciled", "Applied")?;
    assert_eq!((scene.digest()?, changes(&scene)?), (digest, (deployment, first + 2)));
    scene.end()
}

#[test]
fn a_listener_whose_address_only_the_status_tells_goes_from_it_and_pods_go_on_with_what_they_know() -> Result<()> {
    let scene = Scene::new("balanced")?;
    scene.strimzi.complete()?;
    scene.strimzi.kafka(listener("loadbalancer"))?;
    scene.apply(&daily())?;
    scene.told("Reconciled", "Applied")?;
    let before = (scene.digest()?, changes(&scene)?);

    scene.kubectl().set_status(scene.namespace(), "kafka/shop", &json!({"listeners": []}))?;
    let message = scene.told("Reconciled", "ListenerWithoutAddress")?;
    ensure!(message.contains("tls"), "{message}");
    assert_eq!((scene.digest()?, changes(&scene)?), before);

    scene.strimzi.reached("tls", "shop-kafka-bootstrap.somewhere.svc", 9093)?;
    scene.told("Reconciled", "Applied")?;
    assert_eq!((scene.digest()?, changes(&scene)?), before);
    scene.end()
}

#[test]
fn what_is_suspended_stands_still_whatever_became_of_its_cluster() -> Result<()> {
    let scene = Scene::new("still")?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    let user = json!({"type": "tls", "kafkaUserRef": {"name": "backup"}});
    let restore = with(restore("again"), "authentication", user);
    scene.apply(&restore)?;
    scene.wait("deployment/daily-streamer", |found| found["spec"]["replicas"] == 1)?;
    scene.wait("cronjob/daily-snapshot", |found| found["spec"]["suspend"] == false)?;
    scene.wait("job/again-restore", |found| found["spec"]["suspend"] != true)?;
    scene.run(&["delete", "kafka/shop"])?;
    scene.told("Reconciled", "ClusterNotFound")?;

    scene.apply(&with(daily(), "suspend", json!(true)))?;
    scene.apply(&with(restore, "suspend", json!(true)))?;
    scene.wait("deployment/daily-streamer", |found| found["spec"]["replicas"] == 0)?;
    scene.wait("cronjob/daily-snapshot", |found| found["spec"]["suspend"] == true)?;
    scene.wait("job/again-restore", |found| found["spec"]["suspend"] == true)?;
    scene.end()
}

#[test]
fn of_two_operators_one_acts_and_the_other_takes_over() -> Result<()> {
    let scene = Scene::new("two")?;
    let acts = |operator: &Operator| {
        let metrics = http::get(&operator.address(), "/metrics")?.body;
        anyhow::Ok(metrics.lines().any(|line| line.contains("leader") && line.ends_with(" 1")))
    };
    wait::wait_until("the first to act", SOON, || acts(&scene.operator))?;
    let second = Operator::start(&scene.account, scene.namespace())?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    scene.wait("deployment/daily-streamer", |_| true)?;
    ensure!(!acts(&second)? && acts(&scene.operator)?, "the second acts while the first does");
    let Scene { operator, .. } = scene;
    operator.stop()?;
    wait::wait_until("the second to act", SOON, || acts(&second))?;
    second.stop()
}

#[test]
fn a66_the_kubernetes_api_goes_away_and_the_operator_goes_on_when_it_is_back() -> Result<()> {
    let mut plane = ControlPlane::start_with_controllers()?;
    prepare(plane.kubectl())?;
    let strimzi = Strimzi::new(&plane, "outage", "v1")?;
    strimzi.complete()?;
    let namespace = strimzi.namespace;
    let mut operator = Operator::start(plane.kubectl(), &namespace)?;
    // The schedule of the CronJob follows that of the backup.
    let follows = |plane: &ControlPlane, operator: &Operator, cron: &str| {
        let backup = with(daily(), "schedule", json!({"cron": cron}));
        plane.kubectl().apply(&namespace, &backup.to_string())?;
        let followed = wait::wait_until(cron, OUTAGE, || {
            let cron_job = plane.kubectl().get(&namespace, "cronjob/daily-snapshot")?;
            Ok(cron_job.is_some_and(|found| found["spec"]["schedule"] == cron))
        });
        followed.with_context(|| operator.tail())
    };
    follows(&plane, &operator, "0 2 * * *")?;

    plane.kill_api_server()?;
    plane.start_api_server()?;
    // It may have lost its Lease meanwhile: then it has ended, and Kubernetes starts it again.
    if !operator.is_running() {
        operator = Operator::start(plane.kubectl(), &namespace)?;
    }
    follows(&plane, &operator, "0 3 * * *")?;
    operator.stop()
}
