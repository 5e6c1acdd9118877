//! One backup and more than one pod that would write it; and the one pod while its broker is away.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::kubernetes::Kubectl;
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::streamer::Job;

use crate::faults::{goes_on, restarts, streaming, streaming_with};
use crate::install::install;
use crate::place::{Place, SHOP, SOON, condition, object, prepared};

/// A writer that commits often is soon known to be gone.
const OFTEN: [(&str, &str); 2] = [("commitInterval", "1s"), ("heartbeatInterval", "5s")];

/// Who has claimed the backup, in the order of their epochs, of which no two are the same.
fn writers(place: &Place<'_>) -> Result<Vec<String>> {
    let claims = Backup::open(&place.stored("daily"))?.log.state.claims;
    ensure!(claims.windows(2).all(|pair| pair[0].epoch < pair[1].epoch), "{claims:?}");
    Ok(claims.into_iter().map(|claim| claim.writer).collect())
}

fn pods(place: &Place<'_>) -> Result<usize> {
    let pods = place.run(&["get", "pods", "-l", "app.kubernetes.io/component=streamer", "-o", "name"])?;
    Ok(pods.lines().count())
}

/// Insists that the backup holds what it says of itself, once nobody writes it any more.
fn holds(place: &Place<'_>, pod: &str) -> Result<()> {
    place.run(&["delete", "kafkabackup/daily", "--wait=false"])?;
    place.gone("kafkabackup/daily")?;
    place.gone(&format!("pod/{pod}"))?;
    let dir = RunDir::new("verified")?;
    let job = Job::new(dir.path(), &place.broker.bootstrap());
    job.set("/storage/filesystem/path", json!(place.stored("daily"))).verify()
}

#[test]
fn a06_a_second_pod_fences_the_first_which_stands_by_while_it_lives_and_goes_on_after_it() -> Result<()> {
    let place = streaming_with(prepared()?, "two-writers", &OFTEN)?;
    // Behind the operator's back: it wants one, and sees to it.
    place.run(&["scale", "deployment/daily-streamer", "--replicas", "2"])?;
    place.wait("deployment/daily-streamer", |found| found["spec"]["replicas"] == 1)?;
    place.until("one pod of the streamer", SOON, || Ok(pods(&place)? == 1))?;
    goes_on(&place, 1000..1100)?;
    let pod = place.ready_pod("streamer")?;
    let before = restarts(&place, &pod)?;

    // As the pod of a node that was given up and lives: nobody counts it as the streamer's.
    let deployment = place.wait("deployment/daily-streamer", |_| true)?;
    place.apply(&object("v1", "Pod", "second", &deployment["spec"]["template"]["spec"]))?;
    let message = place.reason("kafkabackup/daily", "Streaming", "Fenced")?;
    ensure!(message.contains("fenced: ") && message.contains("manifests/"), "{message}");
    goes_on(&place, 1100..1200)?;
    let claimed = writers(&place)?;
    ensure!(claimed.last().is_some_and(|last| last == "second"), "{claimed:?}");

    place.run(&["delete", "pod", "second"])?;
    goes_on(&place, 1200..1500)?;
    place.reason("kafkabackup/daily", "Streaming", "Streaming")?;
    ensure!(place.ready_pod("streamer")? == pod, "the pod was to stay");
    assert_eq!(restarts(&place, &pod)?, before + 1, "it was to stand by, and not to fight");
    let claimed = writers(&place)?;
    ensure!(claimed.ends_with(&["second".to_owned(), pod.clone()]), "{claimed:?}");
    holds(&place, &pod)?;
    place.end()
}

/// A namespace with the same cluster and store, and an operator that knows nothing of the other one: as in another
/// Kubernetes cluster.
struct Neighbour {
    kubectl: Kubectl,
    namespace: String,
    home: String,
}

impl Neighbour {
    fn of(place: &Place<'_>) -> Result<Self> {
        let kubectl = place.kubectl.clone();
        let (namespace, home) = {
            let plane = place.cluster.plane();
            (plane.namespace("neighbour")?, plane.namespace("neighbour-operator")?)
        };
        let enforce = "pod-security.kubernetes.io/enforce=restricted";
        kubectl.run(&["label", "namespace", &namespace, &home, enforce])?;
        let neighbour = Self { kubectl, namespace, home };
        for secret in ["shop-cluster-ca-cert", "backup", "aws-creds"] {
            let mut copy = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": secret}});
            copy["data"] = found(place, &format!("secret/{secret}"))?["data"].clone();
            neighbour.apply(&copy)?;
        }
        let kafka = found(place, &format!("kafka/{SHOP}"))?;
        neighbour.apply(&object("kafka.strimzi.io/v1", "Kafka", SHOP, &kafka["spec"]))?;
        neighbour.kubectl.set_status(&neighbour.namespace, &format!("kafka/{SHOP}"), &kafka["status"])?;
        let user = found(place, "kafkauser/backup")?;
        let mut copy = object("kafka.strimzi.io/v1", "KafkaUser", "backup", &user["spec"]);
        copy["metadata"]["labels"] = user["metadata"]["labels"].clone();
        neighbour.apply(&copy)?;
        install(&neighbour.kubectl, &neighbour.home, &neighbour.namespace, place.cluster.product().name())?;
        Ok(neighbour)
    }

    fn apply(&self, object: &Value) -> Result<()> {
        self.kubectl.apply(&self.namespace, &object.to_string())?;
        Ok(())
    }

    fn streaming(&self) -> Result<Value> {
        let backup = self.kubectl.get(&self.namespace, "kafkabackup/daily")?.unwrap_or_default();
        Ok(condition(&backup, "Streaming"))
    }

    fn end(self) -> Result<()> {
        self.kubectl.run(&["delete", "namespace", &self.namespace, &self.home, "--wait=false"])?;
        Ok(())
    }
}

fn found(place: &Place<'_>, object: &str) -> Result<Value> {
    place.kubectl.get(&place.namespace, object)?.with_context(|| format!("there is no {object}"))
}

#[test]
fn a09_a_backup_of_another_namespace_under_the_same_prefix_is_refused_by_name_and_harms_nothing() -> Result<()> {
    let place = streaming(prepared()?, "owner")?;
    let pod = place.ready_pod("streamer")?;
    let before = writers(&place)?;
    let neighbour = Neighbour::of(&place)?;
    // To the letter the same resource, with the same prefix.
    neighbour.apply(&place.backup("daily"))?;
    let mut told = Value::Null;
    let refused = place.until("the neighbour to be refused", SOON, || {
        told = neighbour.streaming()?;
        Ok(told["reason"] == "BackupUnusable")
    });
    refused.with_context(|| format!("the neighbour is told {told}"))?;
    let message = told["message"].as_str().context("a message")?;
    for name in [&place.namespace, &neighbour.namespace] {
        ensure!(message.contains(&format!("{name}.daily")), "{name} is not in: {message}");
    }
    ensure!(message.contains("use another prefix"), "{message}");

    goes_on(&place, 1000..1500)?;
    place.reason("kafkabackup/daily", "Streaming", "Streaming")?;
    ensure!(place.ready_pod("streamer")? == pod && restarts(&place, &pod)? == 0, "the pod was to stay");
    assert_eq!(writers(&place)?, before, "nobody was to claim it");
    neighbour.end()?;
    holds(&place, &pod)?;
    place.end()
}

#[test]
fn a37_a_broker_that_is_away_is_told_and_the_same_pod_goes_on_when_it_is_back() -> Result<()> {
    let mut place = streaming(prepared()?, "broker")?;
    let pod = place.ready_pod("streamer")?;
    place.broker.kill()?;
    let message = place.reason("kafkabackup/daily", "Streaming", "KafkaUnreachable")?;
    ensure!(message.contains("no broker answers"), "{message}");
    place.broker.restart()?;
    goes_on(&place, 1000..1500)?;
    place.reason("kafkabackup/daily", "Streaming", "Streaming")?;
    ensure!(place.ready_pod("streamer")? == pod, "the pod was to stay");
    assert_eq!(restarts(&place, &pod)?, 0);
    let backup = Backup::open(&place.stored("daily"))?;
    ensure!(backup.topic("orders")?.lives.len() == 1 && backup.gaps("orders").is_empty(), "one life, no gap");
    place.end()
}
