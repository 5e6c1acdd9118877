//! Events: what changed between two states of a resource. Pure but for the publishing.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::events::{Event, EventType, Recorder};

use super::conditions::{RECONCILED, RETENTION_HELD, STREAMING, shortened};
use crate::api::{Backup, JobFailure, Outcome, Prune, Verification};

/// Something that happened, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// Whether somebody should look.
    pub warning: bool,
    /// What happened, in one word.
    pub reason: String,
    /// What happened.
    pub note: String,
}

impl Told {
    pub(super) fn new(warning: bool, reason: &str, note: impl Into<String>) -> Self {
        Self { warning, reason: reason.to_owned(), note: note.into() }
    }
}

/// Reasons not to stream that are somebody's wish, or pass.
const NO_FAULTS: [&str; 2] = ["Suspended", "Starting"];

/// Tells that a resource's objects cannot be made, or that its streamer cannot go on, once for each reason.
pub fn faults(old: &[Condition], new: &[Condition]) -> Vec<Told> {
    let is_fault = |condition: &&Condition| {
        [RECONCILED, STREAMING].contains(&condition.type_.as_str())
            && condition.status == "False"
            && !NO_FAULTS.contains(&condition.reason.as_str())
    };
    let is_known = |fault: &Condition| {
        let mut known = old.iter().filter(is_fault);
        known.any(|known| (&known.type_, &known.reason) == (&fault.type_, &fault.reason))
    };
    let faults = new.iter().filter(is_fault).filter(|fault| !is_known(fault));
    faults.map(|fault| Told::new(true, &fault.reason, fault.message.clone())).collect()
}

/// Tells snapshots that began or ended.
pub fn snapshots(old: &[Backup], new: &[Backup]) -> Vec<Told> {
    let told = |backup: &Backup| {
        let before = old.iter().find(|known| known.id == backup.id).map(|known| known.status);
        work("Backup", "snapshot", &backup.id, before, backup.status)
    };
    new.iter().rev().filter_map(told).collect()
}

/// Tells that retention is held, once for each reason.
pub fn held(old: &[Condition], new: &[Condition]) -> Option<Told> {
    let is_held = |condition: &&Condition| condition.type_ == RETENTION_HELD && condition.status == "True";
    let now = new.iter().find(is_held)?;
    let is_known = old.iter().find(is_held).is_some_and(|before| before.reason == now.reason);
    (!is_known).then(|| Told::new(true, RETENTION_HELD, now.message.clone()))
}

/// Tells a prune that has ended well.
pub fn prune(old: Option<&Prune>, new: Option<&Prune>) -> Option<Told> {
    let prune = new.filter(|new| old.is_none_or(|old| old.time != new.time))?;
    let Prune { deleted_objects, deleted_bytes, refused_objects, .. } = prune;
    let mut note =
        format!("{deleted_objects} objects with {deleted_bytes} bytes were deleted, {refused_objects} refused");
    if let Some(since) = &prune.kept_since {
        note.push_str(&format!("; kept is what is needed since {since}"));
    }
    Some(Told::new(false, "RetentionPruned", note))
}

/// Tells a prune that was given up.
pub fn prune_failure(old: Option<&JobFailure>, new: Option<&JobFailure>) -> Option<Told> {
    given_up("PruneFailed", old, new)
}

/// Why a backup could not be shown to be whole.
const VERIFICATION_FAILED: &str = "VerificationFailed";

/// Tells a verification that came to no result.
pub fn verification_failure(old: Option<&JobFailure>, new: Option<&JobFailure>) -> Option<Told> {
    given_up(VERIFICATION_FAILED, old, new)
}

/// Tells what a verification found, once for each that did.
pub fn findings(old: Option<&Verification>, new: Option<&Verification>) -> Option<Told> {
    let found = new.filter(|new| new.findings > 0 && old.is_none_or(|old| old.job != new.job))?;
    Some(Told::new(true, VERIFICATION_FAILED, format!("Job {:?}: {}", found.job, found.message)))
}

fn given_up(reason: &str, old: Option<&JobFailure>, new: Option<&JobFailure>) -> Option<Told> {
    let failure = new.filter(|new| old.is_none_or(|old| old.job != new.job))?;
    let note = format!("Job {:?} was given up: {}", failure.job, failure.message);
    Some(Told::new(true, reason, note))
}

/// Tells that a restore began or ended.
pub fn restore(id: &str, before: Option<Outcome>, now: Outcome) -> Vec<Told> {
    work("Restore", "restore", id, before, now).into_iter().collect()
}

fn work(prefix: &str, noun: &str, id: &str, before: Option<Outcome>, now: Outcome) -> Option<Told> {
    if before == Some(now) {
        return None;
    }
    match now {
        Outcome::Running => Some(Told::new(false, &format!("{prefix}Started"), format!("{noun} {id} has begun"))),
        Outcome::Completed => Some(Told::new(false, &format!("{prefix}Completed"), format!("{noun} {id} is complete"))),
        Outcome::Failed => Some(Told::new(true, &format!("{prefix}Failed"), format!("{noun} {id} was given up"))),
        Outcome::Pending | Outcome::Suspended => None,
    }
}

/// The most bytes that an event's note may have.
const NOTE_BYTES: usize = 1000;

/// Publishes. An event that does not arrive is in the log; the status says the same.
pub async fn publish(recorder: &Recorder, reference: &ObjectReference, told: Vec<Told>) {
    for told in told {
        let event = Event {
            type_: if told.warning { EventType::Warning } else { EventType::Normal },
            reason: told.reason.clone(),
            note: Some(shortened(&told.note, NOTE_BYTES)),
            action: "Reconcile".to_owned(),
            secondary: None,
        };
        if let Err(error) = recorder.publish(&event, reference).await {
            tracing::warn!(reason = told.reason, error = %error, "an event could not be published");
        }
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
    use k8s_openapi::jiff::Timestamp;

    use super::super::conditions::{self, Verdict};
    use super::*;
    use crate::api::VerificationStatus;

    fn snapshot(id: &str, status: Outcome) -> Backup {
        Backup { id: id.to_owned(), status, start_time: None, completion_time: None, sums: Default::default() }
    }

    #[test]
    fn a_streamer_that_cannot_go_on_is_told_once_and_one_that_starts_is_not() {
        let list = |kind, reason| {
            conditions::updated(&[], &[Verdict::fails(kind, reason, "why")], Some(1), Timestamp::UNIX_EPOCH)
        };
        let (starting, unreachable) = (list(STREAMING, "Starting"), list(STREAMING, "KafkaUnreachable"));
        assert_eq!(faults(&[], &starting), []);
        assert_eq!(faults(&starting, &unreachable), [Told::new(true, "KafkaUnreachable", "why")]);
        assert_eq!(faults(&unreachable, &unreachable), []);
        let refused = list(RECONCILED, "InvalidSpec");
        assert_eq!(faults(&unreachable, &refused), [Told::new(true, "InvalidSpec", "why")]);
    }

    #[test]
    fn a76_retention_that_is_held_is_told_once_for_each_reason() {
        let list = |verdict| conditions::updated(&[], &[verdict], Some(1), Timestamp::UNIX_EPOCH);
        let shrinks = list(Verdict::holds(RETENTION_HELD, "Shrinks", "set it"));
        let clock = list(Verdict::holds(RETENTION_HELD, "Clock", "apart"));
        let nothing = list(Verdict::fails(RETENTION_HELD, "NothingHeld", ""));
        assert_eq!(held(&nothing, &shrinks), Some(Told::new(true, "RetentionHeld", "set it")));
        assert_eq!(held(&shrinks, &shrinks), None);
        assert_eq!(held(&shrinks, &clock), Some(Told::new(true, "RetentionHeld", "apart")));
        assert_eq!(held(&clock, &nothing), None);
    }

    #[test]
    fn each_prune_is_told_once() {
        let prune_at = |second| Prune {
            time: Time(Timestamp::from_second(second).unwrap()),
            deleted_objects: 3,
            deleted_bytes: 7,
            refused_objects: 1,
            kept_since: Some("2026-01-14T02:00:00.000Z".to_owned()),
        };
        let (first, second) = (prune_at(10), prune_at(20));
        let told = prune(Some(&first), Some(&second)).unwrap();
        assert!(!told.warning && told.reason == "RetentionPruned");
        let note =
            "3 objects with 7 bytes were deleted, 1 refused; kept is what is needed since 2026-01-14T02:00:00.000Z";
        assert_eq!(told.note, note);
        assert_eq!(prune(Some(&second), Some(&second)), None);
        let failure = |job: &str| JobFailure { job: job.to_owned(), time: None, message: "no right".to_owned() };
        let told = prune_failure(Some(&failure("a")), Some(&failure("b"))).unwrap();
        assert_eq!(told, Told::new(true, "PruneFailed", "Job \"b\" was given up: no right"));
        assert_eq!(prune_failure(Some(&failure("b")), Some(&failure("b"))), None);
        assert_eq!(prune_failure(Some(&failure("b")), None), None);
    }

    #[test]
    fn a25_each_verification_that_finds_something_or_comes_to_nothing_is_told_once() {
        let found = |job: &str, findings: i64| Verification {
            job: job.to_owned(),
            completion_time: Time(Timestamp::UNIX_EPOCH),
            status: if findings > 0 { VerificationStatus::Failed } else { VerificationStatus::Succeeded },
            level: 2,
            findings,
            objects: 12,
            bytes: 7,
            records: None,
            recoverable: None,
            message: "1 findings: missing x".to_owned(),
        };
        let (sound, harmed) = (found("a", 0), found("b", 1));
        assert_eq!(findings(None, Some(&sound)), None);
        let told = Told::new(true, "VerificationFailed", "Job \"b\": 1 findings: missing x");
        assert_eq!(findings(Some(&sound), Some(&harmed)), Some(told));
        assert_eq!(findings(Some(&harmed), Some(&harmed)), None);
        assert_eq!(findings(Some(&harmed), Some(&sound)), None);
        let failure = |job: &str| JobFailure { job: job.to_owned(), time: None, message: "no answer".to_owned() };
        let told = Told::new(true, "VerificationFailed", "Job \"c\" was given up: no answer");
        assert_eq!(verification_failure(None, Some(&failure("c"))), Some(told));
        assert_eq!(verification_failure(Some(&failure("c")), Some(&failure("c"))), None);
    }

    #[test]
    fn each_change_is_told_once() {
        let running = [snapshot("a", Outcome::Running)];
        let done = [snapshot("b", Outcome::Failed), snapshot("a", Outcome::Completed)];
        let reasons = |told: Vec<Told>| told.into_iter().map(|told| told.reason).collect::<Vec<_>>();
        assert_eq!(reasons(snapshots(&[], &running)), ["BackupStarted"]);
        assert_eq!(reasons(snapshots(&running, &done)), ["BackupCompleted", "BackupFailed"]);
        assert_eq!(snapshots(&done, &done), []);
        assert_eq!(reasons(restore("r", Some(Outcome::Running), Outcome::Completed)), ["RestoreCompleted"]);
    }
}
