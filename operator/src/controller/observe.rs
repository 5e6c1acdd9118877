//! What Deployments, Jobs and pods say, folded into what the status says. Pure.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use serde::Deserialize;

use super::conditions::{GROUPS_COVERED, NO_GAPS, READY, RETENTION_HELD, STREAMING, Verdict, shortened};
use crate::api::{Backup, Outcome, Reported, RestorePod, RestoreProgress, Sums};

/// Snapshots that the status lists.
const HISTORY: usize = 20;

/// Kubernetes' label that names the Job of a pod.
pub(super) const JOB_NAME: &str = "batch.kubernetes.io/job-name";

/// Whether a streamer follows the topics; `pods` are its own, and `told` is what they tell.
pub fn streaming(deployment: Option<&Deployment>, pods: &[Pod], suspended: bool, told: &Reported) -> Verdict {
    if suspended {
        return Verdict::fails(STREAMING, "Suspended", "spec.suspend is true; what Kafka deletes meanwhile is lost");
    }
    let status = deployment.and_then(|deployment| deployment.status.as_ref());
    let seen = status.and_then(|status| status.observed_generation);
    let current = deployment.is_some_and(|deployment| deployment.metadata.generation == seen);
    let available = status.and_then(|status| status.available_replicas).unwrap_or(0);
    if current && available > 0 {
        if let Some(trouble) = &told.trouble {
            return stuck(trouble);
        }
        return Verdict::holds(STREAMING, "Streaming", "the streamer follows the topics");
    }
    let hindrance = trouble(pods).or_else(|| refused(deployment?));
    // Without its keys a streamer reads no log, and so is not ready. What one has told that is gone says nothing.
    let is_there = |pod: &Pod| pod.metadata.name.is_some() && pod.metadata.name == told.reported_by;
    let locked_out = told.trouble.as_deref().filter(|trouble| *trouble == LOCKED_OUT && pods.iter().any(is_there));
    if let (None, Some(trouble)) = (&hindrance, locked_out) {
        return stuck(trouble);
    }
    let (reason, message) = hindrance.unwrap_or(("Starting", "the streamer's pod is not ready yet".to_owned()));
    Verdict::fails(STREAMING, reason, message)
}

/// Why a Deployment gets no pod, where Kubernetes refuses to make one: its namespace has a quota, or a policy for pods.
fn refused(deployment: &Deployment) -> Option<(&'static str, String)> {
    let mut conditions = deployment.status.as_ref()?.conditions.iter().flatten();
    let refused = conditions.find(|condition| condition.type_ == "ReplicaFailure" && condition.status == "True")?;
    let why = refused.message.as_deref().unwrap_or("it does not say why");
    Some(("PodRefused", format!("Kubernetes makes no pod of it: {why}")))
}

/// The streamer's word for that it does not get the key which the backup is sealed with.
const LOCKED_OUT: &str = "EncryptionKeyUnavailable";

/// A streamer that runs and cannot go on.
fn stuck(trouble: &str) -> Verdict {
    let tries = "the streamer tries on, and its log says why";
    match trouble {
        LOCKED_OUT => Verdict::fails(
            STREAMING,
            LOCKED_OUT,
            format!(
                "the key that the backup is sealed with cannot be had: {tries}; nothing is written meanwhile, and what Kafka \
                 deletes is lost"
            ),
        ),
        "KafkaUnreachable" => Verdict::fails(
            STREAMING,
            "KafkaUnreachable",
            format!("no broker answers: {tries}; what Kafka deletes meanwhile is lost"),
        ),
        _ => Verdict::fails(
            STREAMING,
            "StoreFailing",
            format!("the store takes nothing: {tries}; look at its credentials first"),
        ),
    }
}

/// Whether everything was captured; nothing is said before the streamer has told.
pub fn no_gaps(told: &Reported) -> Option<Verdict> {
    let gaps = told.gaps.as_ref()?;
    if gaps.count == 0 {
        return Some(Verdict::holds(NO_GAPS, "NothingMissing", "every offset since the first copy was captured"));
    }
    let newest = gaps.newest.as_deref().unwrap_or_default();
    let message = format!("{} offsets in {} gaps are missing; the last: {newest}", gaps.lost_offsets, gaps.count);
    Some(Verdict::fails(NO_GAPS, "GapsFound", message))
}

/// Whether the offsets of consumer groups are captured; nothing is said before the streamer has told.
pub fn groups_covered(told: &Reported) -> Option<Verdict> {
    let groups = told.consumer_groups.as_ref()?;
    let fails = |reason, message: &str| Verdict::fails(GROUPS_COVERED, reason, message);
    Some(match groups.state.as_str() {
        "Streaming" => Verdict::holds(GROUPS_COVERED, "GroupsStreaming", "the offsets of consumer groups are captured"),
        "FirstCopy" => fails("GroupsFirstCopy", "their first copy is not complete"),
        "NotSelected" => fails("GroupsNotSelected", "spec.consumerGroups selects none"),
        "Denied" => {
            let way_out = "the user may not see __consumer_offsets: give its KafkaUser Describe and Read on that topic";
            fails("GroupsDenied", way_out)
        }
        "Damaged" => {
            fails("GroupsDamaged", "what was stored of them cannot be read; the log of the streamer says more")
        }
        _ => fails("GroupsUnreachable", "__consumer_offsets cannot be read; the log of the streamer says why"),
    })
}

/// The streamer's reasons to hold retention.
const HOLDS: [&str; 4] = ["Shrinks", "Clock", "Restore", "Failed"];

/// Whether something that is not kept, or may not be, is not retired; nothing is said before the streamer has told.
pub fn retention_held(told: &Reported) -> Option<Verdict> {
    told.reported_at.as_ref()?;
    let Some(held) = &told.retention_held else {
        return Some(Verdict::fails(RETENTION_HELD, "NothingHeld", "what is not kept any longer is retired"));
    };
    let reason = HOLDS.into_iter().find(|known| *known == held.reason).unwrap_or("Held");
    Some(Verdict::holds(RETENTION_HELD, reason, held.message.clone()))
}

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

/// The snapshots that Jobs were to make, newest first. `pods` are theirs, and `known` is what was told before: a pod may be
/// gone, and what its snapshot holds stays.
pub fn snapshots(jobs: &[Job], pods: &[Pod], known: &[Backup]) -> Vec<Backup> {
    let mut jobs: Vec<_> = jobs.iter().collect();
    jobs.sort_by_key(|job| std::cmp::Reverse(job.metadata.creation_timestamp.as_ref().map(|time| time.0)));
    let snapshot = |job: &&Job| {
        let id = job.metadata.name.clone().unwrap_or_default();
        let before = || known.iter().find(|backup| backup.id == id).map(|backup| backup.sums.clone());
        Backup {
            status: outcome(job),
            start_time: job.status.as_ref().and_then(|status| status.start_time.clone()),
            completion_time: ended(job),
            sums: pods.iter().find_map(|pod| sums(pod, &id)).or_else(before).unwrap_or_default(),
            id,
        }
    };
    jobs.iter().take(HISTORY).map(snapshot).collect()
}

/// What `strimzi-backup snapshot --summary-file` writes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    id: String,
    size_bytes: i64,
    records: i64,
    topics: i64,
    partitions: i64,
    oldest_timestamp: Option<String>,
    newest_timestamp: Option<String>,
    recoverable_until: Option<String>,
}

/// What the snapshot `id` holds, as a pod that has made it says.
fn sums(pod: &Pod, id: &str) -> Option<Sums> {
    let message = done(pod)?.message.as_deref()?;
    let summary: Summary = serde_json::from_str(message).ok().filter(|summary: &Summary| summary.id == id)?;
    Some(Sums {
        size_bytes: Some(summary.size_bytes),
        records: Some(summary.records),
        topics_backed_up: Some(summary.topics),
        partitions_backed_up: Some(summary.partitions),
        oldest_timestamp: summary.oldest_timestamp,
        newest_timestamp: summary.newest_timestamp,
        recoverable_until: summary.recoverable_until,
    })
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

/// The last snapshot that has ended.
pub fn last(snapshots: &[Backup]) -> Option<Backup> {
    snapshots.iter().find(|backup| matches!(backup.status, Outcome::Completed | Outcome::Failed)).cloned()
}

/// How far the restore `id` is.
pub fn progress(id: &str, job: Option<&Job>, point_in_time: Option<String>) -> RestoreProgress {
    RestoreProgress {
        id: id.to_owned(),
        status: job.map_or(Outcome::Pending, outcome),
        start_time: job.and_then(|job| job.status.as_ref()?.start_time.clone()),
        completion_time: job.and_then(ended),
        point_in_time_target: point_in_time,
        pod: RestorePod::default(),
        plan: None,
    }
}

/// How long a restore took that is complete.
pub fn took(progress: &RestoreProgress) -> Option<SignedDuration> {
    let (start, end) = (progress.start_time.as_ref()?, progress.completion_time.as_ref()?);
    (progress.status == Outcome::Completed).then(|| end.0.duration_since(start.0))
}

/// The most of a plan that is kept in the status, in bytes.
const PLAN_BYTES: usize = 32 << 10;

/// The plan that a pod printed, taken out of its log: what it logged beside is JSON, a line each.
#[derive(Debug, Default)]
pub struct Plan(String);

impl Plan {
    /// Takes a line of the log; says whether more of them are wanted.
    pub fn takes(&mut self, line: &str) -> bool {
        if !line.starts_with('{') {
            self.0.push_str(line);
            self.0.push('\n');
        }
        self.0.len() < PLAN_BYTES
    }

    /// As much of it as is kept; `None` where the log had none.
    pub fn text(&self) -> Option<String> {
        let text = shortened(self.0.trim(), PLAN_BYTES);
        (!text.is_empty()).then_some(text)
    }
}

/// The newest pod that has ended well.
pub fn succeeded(pods: &[Pod]) -> Option<&Pod> {
    let phase = |pod: &&Pod| pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Succeeded");
    pods.iter().filter(phase).max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|time| time.0))
}

/// Whether a restore is done, or where that is all that was asked for, its plan; `pods` are its own.
pub fn restored(progress: &RestoreProgress, is_dry: bool, job: &str, pods: &[Pod]) -> Verdict {
    let said = trouble(pods).map(|(_, message)| message);
    match progress.status {
        Outcome::Completed if progress.plan.is_some() => {
            let message = "the plan is in status.restore.plan; nothing was written";
            Verdict::holds(READY, "PlanCompleted", message)
        }
        Outcome::Completed => Verdict::holds(READY, "RestoreCompleted", "the restore is complete"),
        Outcome::Failed => {
            let said = said.unwrap_or_else(|| "its pod is gone".to_owned());
            let way_out = format!("when that is mended, delete Job {job:?}: it goes on where it was");
            Verdict::fails(READY, "RestoreFailed", format!("{said}; {way_out}"))
        }
        Outcome::Suspended => {
            Verdict::fails(READY, "RestoreSuspended", "spec.suspend is true; it goes on where it was")
        }
        Outcome::Running => {
            let doing = if is_dry { "the plan is being made" } else { "records are being restored" };
            Verdict::fails(READY, "RestoreRunning", said.unwrap_or_else(|| doing.to_owned()))
        }
        Outcome::Pending => {
            let message = said.unwrap_or_else(|| "its pod has not started, or is still planning".to_owned());
            Verdict::fails(READY, "RestorePending", message)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::RetentionHeld;

    fn pod(status: serde_json::Value) -> Pod {
        serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
    }

    fn job(name: &str, created: &str, status: serde_json::Value) -> Job {
        let metadata = json!({"name": name, "creationTimestamp": created});
        serde_json::from_value(json!({"metadata": metadata, "status": status})).unwrap()
    }

    #[test]
    fn a_streamer_streams_once_its_newest_shape_is_available() {
        let deployment = |seen: i64| {
            let status = json!({"observedGeneration": seen, "availableReplicas": 1});
            serde_json::from_value::<Deployment>(json!({"metadata": {"generation": 2}, "status": status})).unwrap()
        };
        assert!(streaming(Some(&deployment(2)), &[], false, &Reported::default()).holds);
        let failing = Reported { trouble: Some("StoreFailing".to_owned()), ..Reported::default() };
        assert_eq!(streaming(Some(&deployment(2)), &[], false, &failing).reason, "StoreFailing");
        assert_eq!(streaming(Some(&deployment(1)), &[], false, &Reported::default()).reason, "Starting");
        assert_eq!(streaming(None, &[], false, &Reported::default()).reason, "Starting");
        assert_eq!(streaming(Some(&deployment(2)), &[], true, &Reported::default()).reason, "Suspended");
    }

    #[test]
    fn a33_a_streamer_that_does_not_get_its_key_is_told_though_it_is_not_ready() {
        let deployment = |available: i32| {
            let status = json!({"observedGeneration": 2, "availableReplicas": available});
            serde_json::from_value::<Deployment>(json!({"metadata": {"generation": 2}, "status": status})).unwrap()
        };
        let told = |by: &str| Reported {
            trouble: Some("EncryptionKeyUnavailable".to_owned()),
            reported_by: Some(by.to_owned()),
            ..Reported::default()
        };
        let reason = |available, pods: &[Pod], by: &str| {
            let verdict = streaming(Some(&deployment(available)), pods, false, &told(by));
            assert!(!verdict.holds);
            verdict.reason
        };
        assert_eq!(reason(1, &[], "p"), "EncryptionKeyUnavailable");
        assert_eq!(reason(0, &[pod(json!({}))], "p"), "EncryptionKeyUnavailable");
        assert_eq!(reason(0, &[pod(json!({}))], "before"), "Starting", "that pod is gone");
        let unscheduled = json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]});
        assert_eq!(reason(0, &[pod(unscheduled)], "p"), "Unschedulable", "what its pod says now goes before");
    }

    #[test]
    fn a_pod_that_is_refused_is_told_until_there_is_one() {
        let why = "exceeded quota: must specify limits.cpu";
        let condition = json!({"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": why});
        let status = json!({"observedGeneration": 2, "conditions": [condition]});
        let deployment: Deployment =
            serde_json::from_value(json!({"metadata": {"generation": 2}, "status": status})).unwrap();
        let verdict = streaming(Some(&deployment), &[], false, &Reported::default());
        assert_eq!((verdict.holds, verdict.reason), (false, "PodRefused"));
        assert!(verdict.message.ends_with(why), "{}", verdict.message);
        let unscheduled = json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "0/3 nodes"}]});
        let verdict = streaming(Some(&deployment), &[pod(unscheduled)], false, &Reported::default());
        assert_eq!(verdict.reason, "Unschedulable");
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

    #[test]
    fn snapshots_are_listed_newest_first_and_the_last_that_ended_is_told() {
        let complete = json!({"startTime": "2026-02-13T02:00:00Z", "completionTime": "2026-02-13T02:00:09Z",
            "conditions": [{"type": "Complete", "status": "True"}]});
        let failed = json!({"conditions": [
            {"type": "Failed", "status": "True", "lastTransitionTime": "2026-02-12T02:05:00Z"}]});
        let jobs = [
            job("a", "2026-02-12T02:00:00Z", failed),
            job("c", "2026-02-14T02:00:00Z", json!({"active": 1, "ready": 1})),
            job("b", "2026-02-13T02:00:00Z", complete),
        ];
        let summary = json!({"id": "b", "sizeBytes": 7, "records": 3, "topics": 1, "partitions": 2,
            "newestTimestamp": "2026-02-13T01:59:59.999Z"});
        let container = json!({"name": "snapshot", "ready": false, "restartCount": 0, "image": "", "imageID": "",
            "state": {"terminated": {"exitCode": 0, "message": summary.to_string()}}});
        let list = snapshots(&jobs, &[pod(json!({"containerStatuses": [container]}))], &[]);
        let sums = &list[1].sums;
        assert_eq!((sums.size_bytes, sums.topics_backed_up, sums.partitions_backed_up), (Some(7), Some(1), Some(2)));
        assert_eq!(snapshots(&jobs, &[], &list), list, "what is known stays when the pod is gone");
        let told: Vec<_> = list.iter().map(|backup| (backup.id.as_str(), backup.status)).collect();
        assert_eq!(told, [("c", Outcome::Running), ("b", Outcome::Completed), ("a", Outcome::Failed)]);
        assert_eq!(last(&list).unwrap().id, "b");
        assert!(list[2].completion_time.is_some());
    }

    #[test]
    fn a76_retention_that_is_held_says_why_once_the_streamer_has_told() {
        assert_eq!(retention_held(&Reported::default()), None);
        let told = Reported { reported_at: Some("2026-02-13T09:41:02.118Z".to_owned()), ..Reported::default() };
        let verdict = retention_held(&told).unwrap();
        assert_eq!((verdict.holds, verdict.reason), (false, "NothingHeld"));
        let held = |reason: &str| {
            let held = RetentionHeld { reason: reason.to_owned(), message: "set it".to_owned() };
            retention_held(&Reported { retention_held: Some(held), ..told.clone() }).unwrap()
        };
        for reason in HOLDS {
            assert_eq!(held(reason), Verdict::holds(RETENTION_HELD, reason, "set it"));
        }
        assert_eq!(held("Another").reason, "Held", "a later release of the streamer may know more");
    }

    #[test]
    fn a_plan_is_what_was_printed_beside_the_log_however_much_was_logged() {
        let plan = |log: &str| {
            let mut plan = Plan::default();
            // As long as it wants more.
            let _all = log.lines().all(|line| plan.takes(line));
            plan.text()
        };
        let printed = "plan        of restore r\n\n  orders: 3 records";
        let logged = "{\"level\":\"DEBUG\"}\n".repeat(PLAN_BYTES);
        assert_eq!(plan(&format!("{logged}{printed}\n{logged}")).unwrap(), printed);
        assert_eq!(plan(&logged), None);
        let long = plan(&"ä: 1 record\n".repeat(PLAN_BYTES)).unwrap();
        assert!(long.len() <= PLAN_BYTES && long.len() > PLAN_BYTES - 4, "{}", long.len());
        let ended = |name: &str, phase: &str| {
            serde_json::from_value::<Pod>(json!({"metadata": {"name": name}, "status": {"phase": phase}})).unwrap()
        };
        let pods = [ended("a", "Failed"), ended("b", "Succeeded")];
        assert_eq!(succeeded(&pods).unwrap().metadata.name.as_deref(), Some("b"));
    }

    #[test]
    fn a_failed_restore_says_why_and_how_it_goes_on() {
        let failed = json!({"conditions": [{"type": "Failed", "status": "True"}]});
        let progress = |status| progress("r", Some(&job("x-restore", "2026-02-12T02:00:00Z", status)), None);
        let running = |is_dry| restored(&progress(json!({"active": 1, "ready": 1})), is_dry, "x-restore", &[]).message;
        assert_eq!([running(true), running(false)], ["the plan is being made", "records are being restored"]);
        let container = json!({"name": "restore", "ready": false, "restartCount": 0, "image": "", "imageID": "",
            "state": {"terminated": {"exitCode": 2, "message": "error: topic orders is there already"}}});
        let verdict =
            restored(&progress(failed), false, "x-restore", &[pod(json!({"containerStatuses": [container]}))]);
        assert_eq!(verdict.reason, "RestoreFailed");
        assert!(verdict.message.contains("orders is there already"), "{}", verdict.message);
        assert!(verdict.message.contains("delete Job \"x-restore\""), "{}", verdict.message);
    }
}
