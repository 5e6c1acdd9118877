//! Whether a streamer follows the topics, and what it misses: what its pods tell beside what Kubernetes says of them.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;

use super::trouble;
use crate::api::Reported;
use crate::controller::conditions::{GROUPS_COVERED, NO_GAPS, RETENTION_HELD, STREAMING, Verdict};

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
            return stuck(trouble, told);
        }
        return Verdict::holds(STREAMING, "Streaming", "the streamer follows the topics");
    }
    let hindrance = trouble(pods).or_else(|| refused(deployment?));
    // Without its keys a streamer reads no log, and so is not ready. What one has told that is gone says nothing.
    let is_there = |pod: &Pod| pod.metadata.name.is_some() && pod.metadata.name == told.reported_by;
    let locked_out = told.trouble.as_deref().filter(|trouble| *trouble == LOCKED_OUT && pods.iter().any(is_there));
    if let (None, Some(trouble)) = (&hindrance, locked_out) {
        return stuck(trouble, told);
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

/// A streamer that runs and cannot go on, because of `trouble`.
fn stuck(trouble: &str, told: &Reported) -> Verdict {
    let tries = "the streamer tries on, and its log says why";
    match trouble {
        LOCKED_OUT => {
            // A streamer of an earlier release does not say which key it is.
            let why = told.trouble_message.as_deref().unwrap_or("the key that the backup is sealed with cannot be had");
            let meanwhile = "nothing is written meanwhile, and what Kafka deletes is lost";
            Verdict::fails(STREAMING, LOCKED_OUT, format!("{why}: {tries}; {meanwhile}"))
        }
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::pod;
    use super::*;
    use crate::api::RetentionHeld;

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
    fn a33_a_key_that_cannot_be_had_is_named_with_the_words_of_who_has_it() {
        let message = |why: Option<&str>| {
            let told = Reported {
                trouble: Some(LOCKED_OUT.to_owned()),
                trouble_message: why.map(str::to_owned),
                reported_by: Some("p".to_owned()),
                ..Reported::default()
            };
            let verdict = streaming(None, &[pod(json!({}))], false, &told);
            assert_eq!((verdict.holds, verdict.reason), (false, LOCKED_OUT));
            verdict.message
        };
        let why = "the master key transit:transit/kafka-backup cannot be used now: Vault is sealed (503)";
        assert!(message(Some(why)).starts_with(&format!("{why}: the streamer tries on")), "{}", message(Some(why)));
        assert!(
            message(None).starts_with("the key that the backup is sealed with cannot be had: "),
            "{}",
            message(None)
        );
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
}
