//! What tests of the running operator share.

use anyhow::{Context, Result, anyhow, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::kubernetes::{ControlPlane, Kubectl, Operator};
use strimzi_backup_tests::{chart, wait};

use crate::definitions::{backup, with};
use crate::plane;
use crate::strimzi::{SOON, Strimzi};

/// A namespace with a cluster, and an operator that looks after it.
///
/// The operator has the rights that the chart gives it in that namespace, so that each test shows that they are enough.
pub(crate) struct Scene {
    pub(crate) strimzi: Strimzi<'static>,
    pub(crate) plane: &'static ControlPlane,
    /// Whom the operator acts as.
    pub(crate) account: Kubectl,
    pub(crate) operator: Operator,
}

impl Scene {
    pub(crate) fn new(name: &str) -> Result<Self> {
        Self::new_with(name, &[])
    }

    /// The same with more variables of the operator.
    pub(crate) fn new_with(name: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let plane = plane()?;
        let strimzi = Strimzi::new(plane, name, "v1")?;
        let account = plane.service_account(&strimzi.namespace, "operator", &rights()?)?;
        let operator = Operator::start_with(&account, &strimzi.namespace, &strimzi.namespace, variables)?;
        Ok(Self { strimzi, plane, account, operator })
    }

    /// Ends the operator, which was never refused anything.
    pub(crate) fn end(self) -> Result<()> {
        let log = self.operator.log();
        ensure!(!log.contains("forbidden"), "the operator lacks a right\n{log}");
        self.operator.stop()
    }

    pub(crate) fn kubectl(&self) -> &Kubectl {
        self.plane.kubectl()
    }

    pub(crate) fn namespace(&self) -> &str {
        &self.strimzi.namespace
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Result<String> {
        self.kubectl().run(&[&["--namespace", self.namespace()], arguments].concat())
    }

    pub(crate) fn apply(&self, object: &Value) -> Result<()> {
        self.kubectl().apply(self.namespace(), &object.to_string())?;
        Ok(())
    }

    /// An object, as soon as it is there and fits.
    pub(crate) fn wait(&self, object: &str, fits: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = None;
        let found = wait::wait_for(object, SOON, || {
            last = self.kubectl().get(self.namespace(), object)?;
            Ok(last.clone().filter(|found| fits(found)))
        });
        found.map_err(|error| anyhow!("{error:#}\n{}\n{}", last.unwrap_or_default(), self.operator.tail()))
    }

    /// Waits until a condition of the backup has this reason, and returns its message.
    pub(crate) fn told(&self, kind: &str, reason: &str) -> Result<String> {
        let backup = self.wait("kafkabackup/daily", |found| condition(found, kind)["reason"] == reason)?;
        Ok(condition(&backup, kind)["message"].as_str().unwrap_or_default().to_owned())
    }

    /// What makes pods start anew when it changes.
    pub(crate) fn digest(&self) -> Result<String> {
        let deployment = self.wait("deployment/daily-streamer", |_| true)?;
        Ok(deployment["spec"]["template"]["metadata"]["annotations"]["kafkabackup.com/config-sha256"].to_string())
    }

    pub(crate) fn gone(&self, object: &str) -> Result<()> {
        self.plane.wait_gone(self.namespace(), object, SOON).with_context(|| self.operator.tail())
    }
}

/// What the operator does in a namespace that it looks after, and with its Lease, which is there too.
fn rights() -> Result<Value> {
    let mut rules = chart::operator_rules()?;
    let leases =
        json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]});
    rules.as_array_mut().context("rules of a Role")?.push(leases);
    Ok(rules)
}

pub(crate) fn condition(object: &Value, kind: &str) -> Value {
    let conditions = object["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
}

/// A backup of that cluster, by certificate, with snapshots.
pub(crate) fn daily() -> Value {
    let user = json!({"type": "tls", "kafkaUserRef": {"name": "backup"}});
    let backup = with(backup("daily"), "authentication", user);
    let backup = with(backup, "storage.s3.credentialsSecret", json!({"name": "store"}));
    with(backup, "schedule", json!({"cron": "0 2 * * *"}))
}
