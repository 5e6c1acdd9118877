//! What goes wrong around a running operator.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use strimzi_backup_tests::kubernetes::{ControlPlane, Operator};
use strimzi_backup_tests::{http, wait};

use crate::definitions::{restore, with};
use crate::prepare;
use crate::scene::{Scene, daily};
use crate::strimzi::{SOON, Strimzi};

/// A watch that was cut off is tried again after longer and longer pauses.
const OUTAGE: Duration = Duration::from_secs(120);

#[test]
fn a30_pods_get_every_certificate_while_a_ca_is_replaced() -> Result<()> {
    let scene = Scene::new("ca")?;
    scene.strimzi.complete()?;
    scene.apply(&daily())?;
    let document = |fits: &dyn Fn(&str) -> bool| {
        scene.wait("configmap/daily-streamer", |found| fits(&found["data"]["job.yaml"].to_string()))
    };
    document(&|text| text.contains("/ca.crt") && !text.contains("ca-2026"))?;
    let before = scene.digest()?;

    let both = [("ca-2026-03-01T00-00-00Z.crt", "one"), ("ca.crt", "two")];
    scene.strimzi.secret("shop-cluster-ca-cert", &both)?;
    document(&|text| text.contains("/ca.crt") && text.contains("ca-2026-03-01T00-00-00Z.crt"))?;
    wait::wait_until("another digest at the pods", SOON, || Ok(scene.digest()? != before))?;
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
