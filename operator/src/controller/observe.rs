//! What Deployments, Jobs and pods say, folded into what the status says. Pure.
//!
//! Here what Jobs and pods say by themselves; below, what that means for a streamer, for snapshots and for a restore.

pub mod restore;
pub mod snapshots;
pub mod streamer;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::Outcome;

/// Kubernetes' label that names the Job of a pod.
pub(super) const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// Why the newest pod does not do its work, where it says.
pub fn trouble(pods: &[Pod]) -> Option<(&'static str, String)> {
    let newest = pods.iter().max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))?;
    let status = newest.status.as_ref()?;
    let name = newest.metadata.name.as_deref().unwrap_or_default();
    if let Some(container) = status.container_statuses.iter().flatten().next() {
        let ended = container.state.as_ref().and_then(|state| state.terminated.as_ref());
        let before = container.last_state.as_ref().and_then(|state| state.terminated.as_ref());
        if let Some(ended) = ended.or(before).filter(|ended| ended.exit_code != 0) {
            return Some((exit_reason(ended), format!("pod {name} ended with {}: {}", ended.exit_code, words(ended))));
        }
        if let Some(text) = container.state.as_ref().and_then(waiting) {
            return Some(("PodWaiting", format!("pod {name} waits: {text}")));
        }
    }
    let unscheduled = status.conditions.iter().flatten();
    let mut unscheduled =
        unscheduled.filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False");
    let message = unscheduled.next()?.message.clone().unwrap_or_default();
    Some(("Unschedulable", format!("pod {name} has no node: {message}")))
}

/// What the exit codes of the pods' program mean.
fn exit_reason(ended: &ContainerStateTerminated) -> &'static str {
    match (ended.reason.as_deref(), ended.exit_code) {
        (Some("OOMKilled"), _) => "OutOfMemory",
        (_, 2) => "ConfigurationRefused",
        (_, 3) => "Fenced",
        (_, 4) => "BackupUnusable",
        _ => "PodFailed",
    }
}

fn words(ended: &ContainerStateTerminated) -> String {
    if ended.reason.as_deref() == Some("OOMKilled") {
        return "it used more memory than spec.resources lets it: raise the limit, or lower backup.memoryBudget"
            .to_owned();
    }
    let text = ended.message.as_deref().or(ended.reason.as_deref()).unwrap_or("it said nothing");
    text.trim().to_owned()
}

fn waiting(state: &ContainerState) -> Option<String> {
    let waiting = state.waiting.as_ref()?;
    let reason = waiting.reason.as_deref().filter(|reason| *reason != "ContainerCreating")?;
    Some(waiting.message.as_ref().map_or_else(|| reason.to_owned(), |message| format!("{reason}: {message}")))
}

/// How far a Job is. It runs once its pod is ready, and while it waits to be tried again.
pub fn outcome(job: &Job) -> Outcome {
    let Some(status) = &job.status else { return Outcome::Pending };
    let is = |kind: &str| {
        let mut conditions = status.conditions.iter().flatten();
        conditions.any(|condition| condition.type_ == kind && condition.status == "True")
    };
    if is("Complete") {
        Outcome::Completed
    } else if is("Failed") || is("FailureTarget") {
        Outcome::Failed
    } else if is("Suspended") {
        Outcome::Suspended
    } else if status.ready.unwrap_or(0) > 0 || status.failed.unwrap_or(0) > 0 {
        Outcome::Running
    } else {
        Outcome::Pending
    }
}

/// When a Job ended.
pub(super) fn ended(job: &Job) -> Option<Time> {
    let status = job.status.as_ref()?;
    let mut conditions = status.conditions.iter().flatten();
    let failed = conditions.find(|condition| condition.type_ == "Failed" && condition.status == "True");
    status.completion_time.clone().or_else(|| failed?.last_transition_time.clone())
}

/// How the containers of a pod ended, if they have.
pub(super) fn endings(pod: &Pod) -> impl Iterator<Item = &ContainerStateTerminated> {
    let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    containers.filter_map(|container| container.state.as_ref()?.terminated.as_ref())
}

/// The Job of a pod.
pub(super) fn job_of(pod: &Pod) -> Option<&str> {
    pod.metadata.labels.as_ref()?.get(JOB_NAME).map(String::as_str)
}

/// How a pod ended, if it has and did its work.
pub(super) fn done(pod: &Pod) -> Option<&ContainerStateTerminated> {
    endings(pod).find(|ended| ended.exit_code == 0)
}

/// The newest pod that has ended well.
pub fn succeeded(pods: &[Pod]) -> Option<&Pod> {
    let phase = |pod: &&Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Succeeded");
    pods.iter().filter(phase).max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    pub(super) fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
    }

    pub(super) fn job(name: &str, created: &str, status: serde_json::Value) -> Job {
        let metadata = json!({"name": name, "creationTimestamp": created});
        serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap()
    }

    #[test]
    fn a_pod_that_ends_says_why() {
        let ended = |reason: &str, code: i32| {
            let terminated = json!({"exitCode": code, "reason": reason, "message": "error: x\n"});
            let container = json!({"name": "streamer", "ready": false, "restartCount": 1, "image": "", "imageID": "",
                "state": {"waiting": {"reason": "CrashLoopBackOff"}}, "lastState": {"terminated": terminated}});
            trouble(&[pod(json!({"containerStatuses": [container]}))]).unwrap()
        };
        assert_eq!(ended("Error", 2), ("ConfigurationRefused", "pod p ended with 2: error: x".to_owned()));
        assert_eq!(ended("Error", 3).0, "Fenced");
        assert_eq!(ended("Error", 4).0, "BackupUnusable");
        let (reason, message) = ended("OOMKilled", 137);
        assert!(reason == "OutOfMemory" && message.contains("raise the limit"), "{message}");
        let unscheduled = json!({"conditions": [
            {"type": "PodScheduled", "status": "False", "message": "0/3 nodes are available"}]});
        assert_eq!(trouble(&[pod(unscheduled)]).unwrap().0, "Unschedulable");
    }
}
