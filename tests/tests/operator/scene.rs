//! What tests of the running operator share.

use std::time::SystemTime;

use anyhow::{Context, Result, anyhow};
use serde_json::{Value, json};
use strimzi_backup_format::ids::TimestampMs;
use strimzi_backup_tests::kubernetes::{ControlPlane, Kubectl, Operator, has_its_rights};
use strimzi_backup_tests::{chart, http, wait};

use crate::definitions::{backup, with};
use crate::plane;
use crate::strimzi::{SOON, Strimzi};

/// A namespace with a cluster, and an operator that looks after it.
///
/// The operator has the rights that the chart gives it in that namespace, so that each test shows that they are enough.
pub(crate) struct Scene<'a> {
    pub(crate) strimzi: Strimzi<'a>,
    pub(crate) plane: &'a ControlPlane,
    /// Whom the operator acts as.
    pub(crate) account: Kubectl,
    pub(crate) operator: Operator,
}

impl Scene<'static> {
    pub(crate) fn new(name: &str) -> Result<Self> {
        Self::new_with(name, &[])
    }

    /// The same with more variables of the operator.
    pub(crate) fn new_with(name: &str, variables: &[(&str, &str)]) -> Result<Self> {
        Self::on(plane()?, name, variables)
    }
}

impl<'a> Scene<'a> {
    /// The same on a control plane of its own, which serves our resources and Strimzi's.
    pub(crate) fn on(plane: &'a ControlPlane, name: &str, variables: &[(&str, &str)]) -> Result<Self> {
        let strimzi = Strimzi::new(plane, name, "v1")?;
        let account = plane.service_account(&strimzi.namespace, "operator", &rights()?)?;
        let operator = Operator::start_with(&account, &strimzi.namespace, &strimzi.namespace, variables)?;
        Ok(Self { strimzi, plane, account, operator })
    }

    /// Ends the operator, which was never refused anything.
    pub(crate) fn end(self) -> Result<()> {
        has_its_rights(&self.operator.log())?;
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

    /// Has pods refused from now on that Pod Security `restricted` does not allow.
    pub(crate) fn restrict(&self) -> Result<()> {
        let enforce = "pod-security.kubernetes.io/enforce=restricted";
        self.kubectl().run(&["label", "namespace", self.namespace(), enforce]).map(drop)
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

    /// Notes of the events of a reason.
    pub(crate) fn events(&self, reason: &str) -> Result<Vec<String>> {
        let found = self.run(&["get", "events.events.k8s.io", "--output", "json"])?;
        let found: Value = serde_json::from_str(&found)?;
        let events = found["items"].as_array().context("events")?.iter().filter(|event| event["reason"] == reason);
        Ok(events.filter_map(|event| event["note"].as_str().map(str::to_owned)).collect())
    }

    /// Waits until the operator tells this of the daily backup.
    pub(crate) fn metric(&self, name: &str, value: &str) -> Result<()> {
        self.counts(&format!("{} {value}", self.series(name)))
    }

    /// Waits until the metrics of the operator have this line.
    pub(crate) fn counts(&self, line: &str) -> Result<()> {
        wait::wait_until(line, SOON, || Ok(self.metrics()?.lines().any(|told| told == line)))
    }

    /// Waits until the operator tells nothing of the kind of the daily backup.
    pub(crate) fn no_metric(&self, name: &str) -> Result<()> {
        let series = self.series(name);
        wait::wait_until(&format!("no {series}"), SOON, || Ok(!self.metrics()?.contains(&series)))
    }

    fn metrics(&self) -> Result<String> {
        Ok(http::get(&self.operator.address(), "/metrics")?.body)
    }

    fn series(&self, name: &str) -> String {
        format!("strimzi_backup_operator_{name}{{namespace=\"{}\",name=\"daily\"}}", self.namespace())
    }

    /// A pod that waits for a node, of those that the labels choose.
    pub(crate) fn pending_pod(&self, chosen: &str) -> Result<String> {
        wait::wait_for("a pod", SOON, || {
            let pods =
                ["get", "pods", "--selector", chosen, "--field-selector", "status.phase=Pending", "--output", "name"];
            Ok(self.run(&pods)?.lines().next().map(str::to_owned))
        })
    }

    /// Ends the next pod of a Job with this code, then, in these words. Where there is none, the Job is made as the schedule of the
    /// part makes it.
    pub(crate) fn end_job(&self, part: &str, job: &str, (code, then): (i32, &str), words: &str) -> Result<()> {
        if self.kubectl().get(self.namespace(), &format!("job/{job}"))?.is_none() {
            self.run(&["create", "job", job, "--from", &format!("cronjob/daily-{part}")])?;
        }
        let pod = self.pending_pod(&format!("batch.kubernetes.io/job-name={job}"))?;
        let ended = json!({"exitCode": code, "message": words, "finishedAt": then});
        let container = json!({"name": part, "ready": false, "restartCount": 0, "image": "i", "imageID": "i",
                               "state": {"terminated": ended}});
        let phase = if code == 0 { "Succeeded" } else { "Failed" };
        let status = json!({"phase": phase, "containerStatuses": [container]});
        self.kubectl().set_status(self.namespace(), &pod, &status)
    }

    pub(crate) fn gone(&self, object: &str) -> Result<()> {
        self.plane.wait_gone(self.namespace(), object, SOON).with_context(|| self.operator.tail())
    }
}

/// The present, as objects have it.
pub(crate) fn now() -> Result<TimestampMs> {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?;
    Ok(TimestampMs::new(i64::try_from(since.as_millis())?))
}

/// What the operator does in a namespace that it looks after, and with its Lease, which is there too.
fn rights() -> Result<Value> {
    let mut rules = chart::operator_rules()?;
    let leases =
        json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["get", "create", "update"]});
    rules.as_array_mut().context("rules of a Role")?.push(leases);
    Ok(rules)
}

/// The Secrets that the pods of a schedule see.
pub(crate) fn secrets(cron_job: &Value) -> Vec<&str> {
    let volumes = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["volumes"].as_array();
    volumes.into_iter().flatten().filter_map(|volume| volume["secret"]["secretName"].as_str()).collect()
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
