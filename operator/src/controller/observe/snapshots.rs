//! The snapshots that Jobs were to make.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde::Deserialize;

use super::{done, ended, outcome};
use crate::api::{Backup, Outcome, Sums};

/// Snapshots that the status lists.
const HISTORY: usize = 20;

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

/// The last snapshot that has ended.
pub fn last(snapshots: &[Backup]) -> Option<Backup> {
    snapshots.iter().find(|backup| matches!(backup.status, Outcome::Completed | Outcome::Failed)).cloned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::{job, pod};
    use super::*;

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
}
