//! Conditions: types and reasons that are constants of the API, and how a list of them changes. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;

/// Whether the resource does what it is for.
pub const READY: &str = "Ready";
/// Whether the objects of the resource are as they should be.
pub const RECONCILED: &str = "Reconciled";
/// Whether the streamer follows the topics.
pub const STREAMING: &str = "Streaming";
/// Whether all offsets were captured; not there before the streamer has told.
pub const NO_GAPS: &str = "NoGaps";
/// Whether the offsets of consumer groups are captured; not there before the streamer has told.
pub const GROUPS_COVERED: &str = "GroupsCovered";
/// Whether something is older than what is kept, or may be, and is not retired; only there with `retention`, once the streamer has
/// told.
pub const RETENTION_HELD: &str = "RetentionHeld";
/// Whether what is stored holds, as the last verification found; only there with `verification`.
pub const VERIFIED: &str = "Verified";
/// Whether somebody asked that nothing be changed; not there otherwise.
pub const PAUSED: &str = "ReconciliationPaused";

/// The longest message of a condition.
const MESSAGE_BYTES: usize = 32_768;

/// What one condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The condition.
    pub kind: &'static str,
    /// Whether it holds.
    pub holds: bool,
    /// Whether that is known.
    pub is_known: bool,
    /// Why, in one word.
    pub reason: &'static str,
    /// Why, and the way out.
    pub message: String,
}

impl Verdict {
    /// It holds.
    pub fn holds(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: true, is_known: true, reason, message: message.into() }
    }

    /// It does not.
    pub fn fails(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: false, is_known: true, reason, message: message.into() }
    }

    /// Nobody knows.
    pub fn unknown(kind: &'static str, reason: &'static str, message: impl Into<String>) -> Self {
        Self { kind, holds: false, is_known: false, reason, message: message.into() }
    }

    /// As the API has it.
    fn status(&self) -> &'static str {
        match (self.is_known, self.holds) {
            (false, _) => "Unknown",
            (true, true) => "True",
            (true, false) => "False",
        }
    }

    /// The same, of another condition.
    pub fn of(&self, kind: &'static str) -> Self {
        Self { kind, ..self.clone() }
    }
}

/// The list of conditions that the verdicts make of an old one. What the verdicts do not speak of is gone. The time of a
/// transition stays until the status of the condition is another one.
pub fn updated(old: &[Condition], verdicts: &[Verdict], generation: Option<i64>, now: Timestamp) -> Vec<Condition> {
    let condition = |verdict: &Verdict| {
        let status = verdict.status();
        let before = old.iter().find(|condition| condition.type_ == verdict.kind && condition.status == status);
        Condition {
            type_: verdict.kind.to_owned(),
            status: status.to_owned(),
            reason: verdict.reason.to_owned(),
            message: shortened(&verdict.message, MESSAGE_BYTES),
            observed_generation: generation,
            last_transition_time: before.map_or(Time(now), |condition| condition.last_transition_time.clone()),
        }
    };
    verdicts.iter().map(condition).collect()
}

/// As many whole characters of a text as fit into so many bytes.
pub(super) fn shortened(text: &str, bytes: usize) -> String {
    match text.char_indices().map(|(at, _)| at).take_while(|at| *at <= bytes).last() {
        Some(at) if text.len() > bytes => text.get(..at).unwrap_or_default().to_owned(),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn the_time_of_a_transition_stays_until_the_status_is_another() {
        let first = updated(&[], &[Verdict::fails(READY, "Starting", "a")], Some(1), at(10));
        let same = updated(&first, &[Verdict::fails(READY, "ClusterNotFound", "b")], Some(2), at(20));
        assert_eq!(same[0].last_transition_time, Time(at(10)));
        assert_eq!((same[0].reason.as_str(), same[0].observed_generation), ("ClusterNotFound", Some(2)));
        let other = updated(&same, &[Verdict::holds(READY, "Streaming", "")], Some(2), at(30));
        assert_eq!(other[0].last_transition_time, Time(at(30)));
        assert_eq!(updated(&other, &[], Some(2), at(40)), []);
    }

    #[test]
    fn what_nobody_knows_is_neither_true_nor_false() {
        let list = updated(&[], &[Verdict::unknown(VERIFIED, "NotVerifiedYet", "")], None, at(10));
        assert_eq!(list[0].status, "Unknown");
        let known = updated(&list, &[Verdict::fails(VERIFIED, "FindingsFound", "")], None, at(20));
        assert_eq!((known[0].status.as_str(), &known[0].last_transition_time), ("False", &Time(at(20))));
    }

    #[test]
    fn a_message_is_no_longer_than_the_api_takes() {
        let long = "ä".repeat(MESSAGE_BYTES);
        let list = updated(&[], &[Verdict::fails(READY, "InvalidSpec", long)], None, at(0));
        assert!(list[0].message.len() <= MESSAGE_BYTES && list[0].message.len() > MESSAGE_BYTES - 4);
    }
}
