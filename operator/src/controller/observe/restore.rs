//! How far a restore is, and what its pods printed.

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::jiff::SignedDuration;

use super::{ended, outcome, trouble};
use crate::api::{Outcome, RestorePod, RestoreProgress};
use crate::controller::conditions::{READY, Verdict, shortened};

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

    use super::super::succeeded;
    use super::super::tests::{job, pod};
    use super::*;

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
    fn a33_a_restore_that_tries_again_for_want_of_its_key_says_which_it_is() {
        let why = "error: the master key transit:transit/kafka-backup cannot be used now: Vault is sealed (503)";
        let container = json!({"name": "restore", "ready": false, "restartCount": 0, "image": "", "imageID": "",
            "state": {"terminated": {"exitCode": 1, "message": why}}});
        let progress = progress("r", Some(&job("x-restore", "2026-02-12T02:00:00Z", json!({"failed": 1}))), None);
        let verdict = restored(&progress, false, "x-restore", &[pod(json!({"containerStatuses": [container]}))]);
        assert_eq!((verdict.holds, verdict.reason), (false, "RestoreRunning"));
        assert_eq!(verdict.message, format!("pod p ended with 1: {why}"));
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
