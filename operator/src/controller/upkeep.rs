//! Verifications and prunes by a schedule: what verifications found, and what metrics tell of both, and of the streamer. Pure.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, Pod};
use k8s_openapi::jiff::Timestamp;
use serde::Deserialize;

use super::conditions::{STREAMING, VERIFIED, Verdict};
use super::{observe, schedule};
use crate::api::{
    JobFailure, KafkaBackupSpec, KafkaBackupStatus, Outcome, Prune, Verification, VerificationStatus, Window,
};
use crate::metrics::Figures;

/// What `strimzi-backup verify --summary-file` writes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Summary {
    level: i64,
    findings: i64,
    unanswered: i64,
    objects: i64,
    bytes: i64,
    records: Option<i64>,
    recoverable_from: Option<String>,
    recoverable_until: Option<String>,
    message: String,
}

impl Summary {
    /// Whether it says how the backup stands. Where nothing was found, and the store did not give everything, nobody knows.
    fn is_result(&self) -> bool {
        self.findings > 0 || self.unanswered == 0
    }
}

/// How a pod of a verification ended, and what it said then.
fn summary(pod: &Pod) -> Option<(&ContainerStateTerminated, Summary)> {
    observe::endings(pod).find_map(|ended| Some((ended, serde_json::from_str(ended.message.as_deref()?).ok()?)))
}

/// The last verification that came to a result. `pods` are those of verifications, and `known` is what was told before: a pod
/// may be gone.
pub fn last_verification(pods: &[Pod], known: Option<Verification>) -> Option<Verification> {
    pods.iter().filter_map(verification).chain(known).max_by_key(|verification| verification.completion_time.0)
}

/// What a verification came to, as its pod says.
fn verification(pod: &Pod) -> Option<Verification> {
    let (ended, summary) = summary(pod)?;
    if !summary.is_result() {
        return None;
    }
    let recoverable = Window { from: summary.recoverable_from, until: summary.recoverable_until };
    Some(Verification {
        job: observe::job_of(pod)?.to_owned(),
        completion_time: ended.finished_at.clone()?,
        status: if summary.findings > 0 { VerificationStatus::Failed } else { VerificationStatus::Succeeded },
        level: summary.level,
        findings: summary.findings,
        objects: summary.objects,
        bytes: summary.bytes,
        records: summary.records,
        recoverable: (recoverable != Window::default()).then_some(recoverable),
        message: summary.message,
    })
}

/// Why the last verification came to no result, if it did not. `jobs` and `pods` are those of verifications, `known` is what was
/// told before, and `last` the last one with a result.
pub fn verification_failure(
    jobs: &[Job],
    pods: &[Pod],
    known: Option<&JobFailure>,
    last: Option<&Verification>,
) -> Option<JobFailure> {
    let failure = failure(jobs, pods, known)?;
    // One that found something ends its Job as failed, too.
    if last.is_some_and(|last| last.job == failure.job) {
        return None;
    }
    let own = pods.iter().filter(|pod| observe::job_of(pod) == Some(failure.job.as_str()));
    let said = own.filter_map(summary).max_by_key(|(ended, _)| ended.finished_at.as_ref().map(|time| time.0));
    Some(match said {
        Some((_, summary)) => JobFailure { message: summary.message, ..failure },
        None => failure,
    })
}

/// Whether what is stored holds. What was found stays found until a verification finds nothing.
pub fn verified(last: Option<&Verification>, failure: Option<&JobFailure>) -> Verdict {
    let since = failure.map(|failure| format!("the last verification came to no result: {}", failure.message));
    match (last, since) {
        (Some(last), since) if last.findings > 0 => {
            let Verification { job, level, completion_time, message, .. } = last;
            let mut message =
                format!("level {level} of {}, {message}; the log of Job {job:?} has all", completion_time.0);
            if let Some(since) = since {
                message.push_str(&format!("; {since}"));
            }
            Verdict::fails(VERIFIED, "FindingsFound", message)
        }
        (_, Some(since)) => Verdict::unknown(VERIFIED, "VerificationFailed", since),
        (Some(last), None) => {
            let message = format!("level {} of {}, everything holds", last.level, last.completion_time.0);
            Verdict::holds(VERIFIED, "EverythingHolds", message)
        }
        (None, None) => Verdict::unknown(VERIFIED, "NotVerifiedYet", "no verification has ended yet"),
    }
}

/// What `strimzi-backup prune --summary-file` writes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PruneSummary {
    deleted_objects: i64,
    deleted_bytes: i64,
    refused_objects: i64,
    kept_since: Option<String>,
}

/// The last prune that has ended well. `pods` are those of prunes, and `known` is what was told before: a pod may be gone.
pub fn last_prune(pods: &[Pod], known: Option<Prune>) -> Option<Prune> {
    pods.iter().filter_map(pruned).chain(known).max_by_key(|prune| prune.time.0)
}

/// What a prune did, as its pod says.
fn pruned(pod: &Pod) -> Option<Prune> {
    let ended = observe::done(pod)?;
    let summary: PruneSummary = serde_json::from_str(ended.message.as_deref()?).ok()?;
    Some(Prune {
        time: ended.finished_at.clone()?,
        deleted_objects: summary.deleted_objects,
        deleted_bytes: summary.deleted_bytes,
        refused_objects: summary.refused_objects,
        kept_since: summary.kept_since,
    })
}

/// Why the last of these Jobs failed, if it did. `pods` are theirs, and `known` is what was told before: a pod may be gone, and
/// what it said stays.
pub fn failure(jobs: &[Job], pods: &[Pod], known: Option<&JobFailure>) -> Option<JobFailure> {
    let has_ended = |job: &&Job| matches!(observe::outcome(job), Outcome::Completed | Outcome::Failed);
    let last = jobs.iter().filter(has_ended);
    let last = last.max_by_key(|job| job.metadata.creation_timestamp.as_ref().map(|time| time.0))?;
    if observe::outcome(last) == Outcome::Completed {
        return None;
    }
    let job = last.metadata.name.clone().unwrap_or_default();
    let own: Vec<_> = pods.iter().filter(|pod| observe::job_of(pod) == Some(job.as_str())).cloned().collect();
    let before = known.filter(|known| known.job == job).map(|known| known.message.clone());
    let message = observe::trouble(&own).map(|(_, message)| message).or(before);
    Some(JobFailure {
        time: observe::ended(last),
        message: message.unwrap_or_else(|| "its pod is gone".to_owned()),
        job,
    })
}

/// Since when there are the schedules of a backup.
#[derive(Clone, Copy, Debug, Default)]
pub struct Since {
    /// That of prunes.
    pub prunes: Option<Timestamp>,
    /// That of verifications.
    pub verifications: Option<Timestamp>,
}

/// What metrics tell of a backup, and of the prunes and verifications that it asks for. What is due is the first instant of the
/// schedule after the last success, or after there was a schedule.
pub fn figures(spec: &KafkaBackupSpec, status: &KafkaBackupStatus, since: Since) -> Figures {
    let mut told = Figures { streaming: streaming(spec, status), ..Figures::default() };
    if spec.prunes() {
        let last = status.last_prune.as_ref().map(|prune| prune.time.0);
        let schedule = spec.schedule.as_ref().filter(|_| !spec.suspend);
        let due = schedule.zip(last.max(since.prunes)).and_then(|(schedule, after)| schedule::next(schedule, after));
        told.last_prune = last.map(unix_seconds);
        told.prune_due = due.map(unix_seconds);
        told.prune_failed = Some(flag(status.prune_failure.is_some()));
    }
    if let Some(verification) = &spec.verification {
        let last = status.last_verification.as_ref();
        let ended = last.map(|last| last.completion_time.0);
        let after = ended.max(since.verifications).filter(|_| !verification.suspend);
        let due = after.and_then(|after| schedule::after(&verification.cron, &verification.timezone, after));
        told.last_verification = ended.map(unix_seconds);
        told.verification_due = due.map(unix_seconds);
        told.verification_failed = Some(flag(status.verification_failure.is_some()));
        told.verification_findings = last.map(|last| f64::from(u32::try_from(last.findings).unwrap_or(u32::MAX)));
    }
    told
}

/// Whether a streamer follows the topics, as the condition says. Of one that is suspended nothing: that is somebody's wish.
fn streaming(spec: &KafkaBackupSpec, status: &KafkaBackupStatus) -> Option<f64> {
    let told = status.conditions.iter().find(|condition| condition.type_ == STREAMING).filter(|_| !spec.suspend);
    told.map(|condition| flag(condition.status == "True"))
}

fn unix_seconds(instant: Timestamp) -> f64 {
    instant.as_duration().as_secs_f64()
}

fn flag(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::conditions;
    use super::super::observe::JOB_NAME;
    use super::*;
    use crate::api::KafkaBackup;

    const BACKUP: &str = include_str!("../api/testdata/kafka-backup.yaml");

    /// What a verification leaves.
    fn left(findings: i64, unanswered: i64, message: &str) -> String {
        let until = "2026-02-13T01:59:59.999Z";
        let from = (findings == 0).then_some("2026-01-14T02:00:00.000Z");
        let summary = json!({"level": 2, "findings": findings, "unanswered": unanswered, "objects": 12, "bytes": 7,
            "records": null, "recoverableFrom": from, "recoverableUntil": until, "message": message});
        summary.to_string() + "\n"
    }

    fn pod(job: &str, code: i32, at: &str, message: &str) -> Pod {
        let state = json!({"terminated": {"exitCode": code, "finishedAt": at, "message": message}});
        let container =
            json!({"name": "verify", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": state});
        let metadata = json!({"name": "p", "labels": {JOB_NAME: job}});
        serde_json::from_value(json!({"metadata": metadata, "status": {"containerStatuses": [container]}})).unwrap()
    }

    fn job(name: &str, created: &str, ended: &str) -> Job {
        let metadata = json!({"name": name, "creationTimestamp": created});
        let condition = json!({"type": ended, "status": "True", "lastTransitionTime": created});
        serde_json::from_value(json!({"metadata": metadata, "status": {"conditions": [condition]}})).unwrap()
    }

    #[test]
    fn a25_findings_stay_until_a_verification_finds_nothing() {
        let gone = "1 findings: missing intake/x.parquet: it is not there";
        let mut pods = vec![pod("a", 4, "2026-02-12T02:00:09Z", &left(1, 0, gone))];
        let mut jobs = vec![job("a", "2026-02-12T02:00:00Z", "Failed")];
        let found = last_verification(&pods, None).unwrap();
        assert_eq!((found.job.as_str(), found.status, found.findings), ("a", VerificationStatus::Failed, 1));
        assert_eq!((found.level, found.objects, found.bytes, found.records), (2, 12, 7, None));
        let window = Window { from: None, until: Some("2026-02-13T01:59:59.999Z".to_owned()) };
        assert_eq!(found.recoverable, Some(window));
        assert_eq!(verification_failure(&jobs, &pods, None, Some(&found)), None, "it came to a result");
        let verdict = verified(Some(&found), None);
        assert_eq!((verdict.holds, verdict.is_known, verdict.reason), (false, true, "FindingsFound"));
        assert!(verdict.message.contains(gone), "{}", verdict.message);
        assert_eq!(last_verification(&[], Some(found.clone())), Some(found.clone()), "its pod may be gone");

        // The next one learns nothing.
        pods.push(pod("b", 1, "2026-02-13T02:00:09Z", &left(0, 3, "incomplete")));
        jobs.push(job("b", "2026-02-13T02:00:00Z", "Failed"));
        let last = last_verification(&pods, Some(found.clone()));
        assert_eq!(last, Some(found));
        let failure = verification_failure(&jobs, &pods, None, last.as_ref()).unwrap();
        assert_eq!((failure.job.as_str(), failure.message.as_str()), ("b", "incomplete"));
        let verdict = verified(last.as_ref(), Some(&failure));
        assert_eq!(verdict.reason, "FindingsFound");
        assert!(verdict.message.contains(gone) && verdict.message.ends_with("incomplete"), "{}", verdict.message);

        pods.push(pod("c", 0, "2026-02-14T02:00:09Z", &left(0, 0, "everything holds")));
        jobs.push(job("c", "2026-02-14T02:00:00Z", "Complete"));
        let last = last_verification(&pods, last).unwrap();
        assert_eq!((last.job.as_str(), last.status), ("c", VerificationStatus::Succeeded));
        assert_eq!(verification_failure(&jobs, &pods, Some(&failure), Some(&last)), None);
        let verdict = verified(Some(&last), None);
        assert_eq!((verdict.holds, verdict.reason), (true, "EverythingHolds"));
        assert_eq!(verdict.message, "level 2 of 2026-02-14T02:00:09Z, everything holds");
    }

    #[test]
    fn a_verification_that_says_nothing_leaves_it_unknown() {
        let verdict = verified(None, None);
        assert_eq!((verdict.is_known, verdict.reason), (false, "NotVerifiedYet"));
        let jobs = [job("a", "2026-02-12T02:00:00Z", "Failed")];
        let pods = [pod("a", 1, "2026-02-12T02:00:09Z", "error: there is no backup")];
        assert_eq!(last_verification(&pods, None), None);
        let failure = verification_failure(&jobs, &pods, None, None).unwrap();
        assert_eq!(failure.message, "pod p ended with 1: error: there is no backup");
        assert_eq!(verification_failure(&jobs, &[], Some(&failure), None), Some(failure.clone()), "its words stay");
        let verdict = verified(None, Some(&failure));
        assert_eq!((verdict.is_known, verdict.reason), (false, "VerificationFailed"));
        let sound = pod("b", 0, "2026-02-11T02:00:09Z", &left(0, 0, "everything holds"));
        let last = last_verification(&[sound], None);
        assert_eq!(verified(last.as_ref(), Some(&failure)), verdict, "that it held before says nothing of now");
    }

    #[test]
    fn the_last_prune_is_the_newest_that_ended_well() {
        let summary = |objects: u32| {
            let sums = json!({"deletedObjects": objects, "deletedBytes": 7, "refusedObjects": 1, "keptSince": null});
            sums.to_string() + "\n"
        };
        let pods = [
            pod("a", 0, "2026-02-12T02:00:09Z", &summary(3)),
            pod("c", 1, "2026-02-14T02:00:09Z", "error: the store refuses to delete"),
            pod("b", 0, "2026-02-13T02:00:09Z", &summary(4)),
        ];
        let last = last_prune(&pods, None).unwrap();
        let sums = (last.deleted_objects, last.deleted_bytes, last.refused_objects, last.kept_since.as_deref());
        assert_eq!(sums, (4, 7, 1, None));
        assert_eq!(last_prune(&pods[..1], Some(last.clone())), Some(last), "what is known stays when the pod is gone");
        assert_eq!(last_prune(&[], None), None);
    }

    #[test]
    fn a_prune_that_failed_says_why_until_one_succeeds() {
        let mut jobs = vec![job("a", "2026-02-12T02:00:00Z", "Failed")];
        let pods = [
            pod("a", 1, "2026-02-12T02:00:09Z", "error: the store refuses to delete"),
            pod("other", 4, "2026-02-12T02:00:09Z", "error: another"),
        ];
        let told = failure(&jobs, &pods, None).unwrap();
        assert_eq!(told.message, "pod p ended with 1: error: the store refuses to delete");
        assert!(told.job == "a" && told.time.is_some());
        assert_eq!(failure(&jobs, &[], Some(&told)), Some(told.clone()), "its words stay");
        jobs.push(job("b", "2026-02-13T02:00:00Z", "Suspended"));
        assert_eq!(failure(&jobs, &pods, None), Some(told.clone()), "one that runs says nothing yet");
        jobs.push(job("c", "2026-02-13T03:00:00Z", "Complete"));
        assert_eq!(failure(&jobs, &pods, Some(&told)), None);
    }

    fn at(instant: &str) -> Timestamp {
        instant.parse().unwrap()
    }

    fn asked(change: impl FnOnce(&mut Value)) -> KafkaBackupSpec {
        let mut backup = serde_norway::from_str(BACKUP).unwrap();
        change(&mut backup);
        serde_json::from_value::<KafkaBackup>(backup).unwrap().spec
    }

    #[test]
    fn what_is_due_comes_after_the_last_success_or_the_schedule_itself() {
        let spec = asked(|backup| backup["spec"]["verification"] = json!({"cron": "0 4 * * *"}));
        let since = Since { prunes: Some(at("2026-02-10T12:00:00Z")), verifications: Some(at("2026-02-10T12:00:00Z")) };
        let new = figures(&spec, &KafkaBackupStatus::default(), since);
        let wanted = Figures {
            prune_due: Some(unix_seconds(at("2026-02-11T02:00:00Z"))),
            prune_failed: Some(0.0),
            verification_due: Some(unix_seconds(at("2026-02-11T04:00:00Z"))),
            verification_failed: Some(0.0),
            ..Figures::default()
        };
        assert_eq!(new, wanted);

        let gone = pod("a", 4, "2026-02-12T04:00:09Z", &left(1, 0, "1 findings"));
        let failure = JobFailure { job: "p".to_owned(), time: None, message: "no right".to_owned() };
        let status = KafkaBackupStatus {
            last_verification: last_verification(&[gone], None),
            prune_failure: Some(failure.clone()),
            verification_failure: Some(failure),
            ..KafkaBackupStatus::default()
        };
        let told = figures(&spec, &status, since);
        assert_eq!(told.last_verification, Some(unix_seconds(at("2026-02-12T04:00:09Z"))));
        assert_eq!(told.verification_due, Some(unix_seconds(at("2026-02-13T04:00:00Z"))));
        assert_eq!((told.verification_findings, told.verification_failed), (Some(1.0), Some(1.0)));
        assert_eq!((told.prune_failed, told.prune_due), (Some(1.0), wanted.prune_due));
    }

    #[test]
    fn whether_a_backup_streams_is_told_unless_it_is_suspended() {
        let told = |spec: &KafkaBackupSpec, verdict: Verdict| {
            let conditions = conditions::updated(&[], &[verdict], Some(1), Timestamp::UNIX_EPOCH);
            let status = KafkaBackupStatus { conditions, ..KafkaBackupStatus::default() };
            figures(spec, &status, Since::default()).streaming
        };
        let mut spec = asked(|_| {});
        assert_eq!(told(&spec, Verdict::holds(STREAMING, "Streaming", "")), Some(1.0));
        for reason in ["Starting", "BackupUnusable", "StoreFailing"] {
            assert_eq!(told(&spec, Verdict::fails(STREAMING, reason, "")), Some(0.0), "{reason}");
        }
        spec.suspend = true;
        assert_eq!(told(&spec, Verdict::fails(STREAMING, "Suspended", "")), None);
    }

    #[test]
    fn nothing_is_due_of_what_is_suspended_and_nothing_is_told_of_what_is_not_asked_for() {
        let since = Since { prunes: Some(Timestamp::UNIX_EPOCH), verifications: Some(Timestamp::UNIX_EPOCH) };
        let spec = asked(|backup| {
            backup["spec"]["suspend"] = json!(true);
            backup["spec"]["verification"] = json!({"cron": "@weekly", "suspend": true});
        });
        let told = figures(&spec, &KafkaBackupStatus::default(), since);
        assert_eq!((told.prune_due, told.verification_due), (None, None));
        let spec = asked(|backup| {
            backup["spec"]["verification"] = Value::Null;
            backup["spec"]["retention"] = Value::Null;
        });
        assert_eq!(figures(&spec, &KafkaBackupStatus::default(), since), Figures::default());
    }
}
