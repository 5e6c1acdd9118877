//! That the operator has no right which it does not use, by the API server's own log of what it asked for.

use std::collections::BTreeSet;

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::chart::Right;
use strimzi_backup_tests::kubernetes::{ControlPlane, Operator, has_its_rights};
use strimzi_backup_tests::{chart, wait};

use crate::plane;
use crate::roles::daily;
use strimzi_backup_tests::kubernetes::strimzi::{SOON, Strimzi};

/// Rights that this test does not see used, and why.
const UNSEEN: &[(&str, &str, &str)] = &[
    // The plan of a dry run is the log of a pod, and here no pod runs.
    ("", "pods/log", "get"),
];

/// All that a ServiceAccount asked for, and was given.
fn used(plane: &ControlPlane, user: &str) -> Result<BTreeSet<Right>> {
    let mut found = BTreeSet::new();
    for line in plane.audit_log()?.lines() {
        let event: Value = serde_json::from_str(line).context("decode an event of the audit log")?;
        let object = &event["objectRef"];
        if event["user"]["username"] != user || event["responseStatus"]["code"] == 403 {
            continue;
        }
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let resource = match object["subresource"].as_str() {
            Some(part) => format!("{}/{part}", text(&object["resource"])),
            None => text(&object["resource"]),
        };
        let group = text(&object["apiGroup"]);
        // To apply what is not there yet is to create it.
        if event["verb"] == "patch" && event["responseStatus"]["code"] == 201 {
            found.insert((group.clone(), resource.clone(), "create".to_owned()));
        }
        found.insert((group, resource, text(&event["verb"])));
    }
    Ok(found)
}

/// Ends an operator, which was never refused anything for want of a right.
pub(crate) fn stop(operator: Operator) -> Result<()> {
    has_its_rights(&operator.log())?;
    operator.stop()
}

/// What happens to resources in the life of an operator.
struct Life {
    /// Where the resources are, and where the cluster is.
    here: Strimzi<'static>,
    there: Strimzi<'static>,
    operator: Operator,
}

impl Life {
    fn apply(&self, object: &Value) -> Result<()> {
        self.here.kubectl.apply(&self.here.namespace, &object.to_string()).map(drop)
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        self.here.kubectl.run(&[&["--namespace", &self.here.namespace], arguments].concat())
    }

    fn wait(&self, object: &str, fits: impl Fn(Option<&Value>) -> bool) -> Result<()> {
        let looked =
            wait::wait_until(object, SOON, || Ok(fits(self.here.kubectl.get(&self.here.namespace, object)?.as_ref())));
        looked.map_err(|error| {
            let found = self.here.kubectl.get(&self.here.namespace, object);
            anyhow!("{error:#}\n{found:?}\n{}", self.operator.tail())
        })
    }

    /// Waits for a reason of the condition `Reconciled`.
    fn told(&self, reason: &str) -> Result<()> {
        self.wait("kafkabackup/daily", |backup| {
            let conditions = backup.and_then(|backup| backup["status"]["conditions"].as_array());
            conditions.into_iter().flatten().any(|found| found["type"] == "Reconciled" && found["reason"] == reason)
        })
    }

    /// Has the operator look at once at what it would look at later.
    fn look(&self, annotation: &str) -> Result<()> {
        self.run(&["annotate", "kafkabackup/daily", annotation]).map(drop)
    }

    /// A backup of a cluster in another namespace, whose Secrets are copied once that is allowed; a snapshot; then no snapshots and no user any more.
    fn backup(&self) -> Result<()> {
        let mut backup = daily();
        backup["spec"]["strimziClusterRef"]["namespace"] = json!(self.there.namespace);
        self.apply(&backup)?;
        self.told("KafkaUserNotShared")?;
        let shared = format!("kafkabackup.com/allowed-namespaces={}", self.here.namespace);
        self.there.kubectl.run(&["annotate", "kafkauser/backup", "--namespace", &self.there.namespace, &shared])?;
        self.look("shared=now")?;
        self.wait("secret/daily-streamer-kafka-user", |copy| copy.is_some())?;
        self.wait("cronjob/daily-snapshot", |found| found.is_some())?;
        self.told("Applied")?;
        self.run(&["annotate", "kafkabackup/daily", "kafkabackup.com/trigger=now"])?;
        self.wait("kafkabackup/daily", |found| {
            found.is_some_and(|backup| backup["metadata"]["annotations"]["kafkabackup.com/trigger"].is_null())
        })?;
        // The same fault twice is one event that is repeated.
        for time in ["first", "second"] {
            self.run(&["delete", "secret/store"])?;
            self.look(&format!("{time}=gone"))?;
            self.told("SecretNotFound")?;
            self.here.secret("store", &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hidden")])?;
            self.look(&format!("{time}-back=there"))?;
            self.told("Applied")?;
        }
        self.there.kafka(json!([{"name": "tls", "port": 9093, "type": "internal", "tls": true}]))?;
        let spec = backup["spec"].as_object_mut().context("a spec")?;
        spec.remove("schedule");
        spec.remove("authentication");
        self.apply(&backup)?;
        self.wait("secret/daily-streamer-kafka-user", |copy| copy.is_none())?;
        self.wait("cronjob/daily-snapshot", |found| found.is_none())
    }

    /// A restore that is made to stand still, and is deleted.
    fn restore(&self) -> Result<()> {
        let mut restore = json!({
            "apiVersion": "kafkabackup.com/v1alpha1",
            "kind": "KafkaRestore",
            "metadata": {"name": "again"},
            "spec": {
                "strimziClusterRef": {"name": "shop", "namespace": self.there.namespace},
                "backupRef": {"name": "daily"},
            },
        });
        self.apply(&restore)?;
        self.wait("job/again-restore", |job| job.is_some())?;
        restore["spec"]["suspend"] = json!(true);
        self.apply(&restore)?;
        self.wait("job/again-restore", |job| job.is_some_and(|job| job["spec"]["suspend"] == true))?;
        self.delete("kafkarestore/again")
    }

    fn delete(&self, object: &str) -> Result<()> {
        self.run(&["delete", "--wait=false", object])?;
        self.wait(object, |found| found.is_none())
    }
}

#[test]
fn the_operator_has_no_right_that_it_does_not_use() -> Result<()> {
    let plane = plane()?;
    let home = plane.namespace("home")?;
    let [here, there] = [Strimzi::new(plane, "here", "v1")?, Strimzi::new(plane, "there", "v1")?];
    let watched = format!("{},{}", here.namespace, there.namespace);
    plane.kubectl().apply_anywhere(&chart::render(&home, &format!("watchNamespaces: [{watched}]"))?)?;
    there.complete()?;
    there.pool("nodes", 3, &["broker", "controller"])?;
    here.secret("store", &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hidden")])?;
    let account = plane.account(&home, chart::RELEASE)?;
    let mut life = Life { here, there, operator: Operator::start_from(&account, &home, &watched)? };
    life.backup()?;
    life.restore()?;
    // The next one makes no NetworkPolicies, and takes away those that are there. The one before it has to give the Lease back.
    stop(life.operator)?;
    let without = [("STRIMZI_BACKUP_NETWORK_POLICY_GENERATION", "false")];
    life.operator = Operator::start_with(&account, &home, &watched, &without)?;
    life.wait("networkpolicy/daily-streamer", |found| found.is_none())?;
    life.delete("kafkabackup/daily")?;
    stop(life.operator)?;

    let lease =
        plane.kubectl().get(&home, &format!("role/{}-lease", chart::RELEASE))?.context("the Role of the Lease")?;
    let mut unused = chart::rights(&chart::operator_rules()?);
    unused.extend(chart::rights(&lease["rules"]));
    for right in used(plane, &format!("system:serviceaccount:{home}:{}", chart::RELEASE))? {
        unused.remove(&right);
    }
    unused.retain(|(group, resource, verb)| {
        !UNSEEN.iter().any(|unseen| *unseen == (group, resource, verb) || *unseen == (group, "", ""))
    });
    ensure!(unused.is_empty(), "it never needed: {unused:#?}");
    Ok(())
}
