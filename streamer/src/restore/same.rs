//! Whether a restore that is started again is the one that was begun. Pure.

use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::job::{RestoreSettings, Until};
use strimzi_backup_format::manifest::reader::Log;

use super::{Plan, RestoreError};

/// What of a document decides about records and topics; how fast it goes may change from start to start.
pub fn asked(settings: &RestoreSettings) -> Sha256 {
    let until = settings.stop.until.map(|until| match until {
        Until::At(at) => format!("at {at}"),
        Until::FromEnd(back) => format!("{} ms from the end", back.as_millis()),
    });
    let mapping: Vec<_> =
        settings.topic_mapping.iter().map(|(source, to)| (source, &to.topic, to.partitions)).collect();
    let mut asked = serde_json::json!({
        "snapshot": settings.stop.snapshot, "until": until, "start": settings.start, "topics": settings.topics.patterns(),
        "mapping": mapping, "creation": format!("{:?}", settings.topic_creation),
        "existing": format!("{:?}", settings.existing_topic_policy), "onGap": format!("{:?}", settings.on_gap),
        "raise": settings.raise_message_limit,
    });
    if let Some(groups) = &settings.groups {
        asked["groups"] = serde_json::json!({ "chosen": groups.selection.patterns(), "mapping": groups.mapping });
    }
    Sha256::of(asked.to_string().as_bytes())
}

/// A restore that goes on must be the one that was begun, and all that it reads must still be held.
///
/// # Errors
/// [`RestoreError::OtherPlan`], or [`RestoreError::Retired`].
pub fn check_same(plan: &Plan, log: &Log, settings: &RestoreSettings) -> Result<(), RestoreError> {
    check_asked(plan, log, settings)?;
    // While a restore lasts, nothing is retired; but not for ever, and not before its plan is there. What the plan was made of
    // decides, and no clock: a retirement may have come while it was made.
    if log.state.retired.map(|retired| retired.before) != plan.retired {
        return Err(RestoreError::Retired(plan.restore.clone()));
    }
    Ok(())
}

/// The same, but for what the backup still holds: enough for one that came to its end.
pub(super) fn check_asked(plan: &Plan, log: &Log, settings: &RestoreSettings) -> Result<(), RestoreError> {
    if plan.asked != asked(settings) {
        return Err(other_plan(plan, "moment, topics, groups or policies differ"));
    }
    if plan.backup != log.identity.backup {
        return Err(other_plan(plan, "it is of another backup"));
    }
    Ok(())
}

/// That a plan is not the one of this start.
pub(super) fn other_plan(plan: &Plan, what: &'static str) -> RestoreError {
    RestoreError::OtherPlan { id: plan.restore.clone(), what }
}

#[cfg(test)]
mod tests {
    use strimzi_backup_format::ids::TimestampMs;
    use strimzi_backup_format::sample::empty_log;
    use strimzi_backup_format::state::Retirement;

    use super::super::sample::{at, now, plan, settings, state, target};
    use super::*;

    #[test]
    fn a67_a_restore_goes_on_only_while_nothing_was_retired_since_its_plan_was_made() {
        let retired = |before: TimestampMs, observed_at| Some(Retirement { before, observed_at });
        let (mut state, settings) = (state(&[("orders", 1)]), settings(""));
        state.retired = retired(at(50), at(60));
        let (mut plan, _) = plan(&state, &settings, &[], &target(3));
        let mut log = Log { state, ..empty_log() };
        (plan.asked, plan.backup) = (asked(&settings), log.identity.backup);
        assert!(check_same(&plan, &log, &settings).is_ok());
        // Also where it was cut before the plan was made, and read after it.
        for observed_at in [at(9_000), now(), at(20_000)] {
            log.state.retired = retired(at(70), observed_at);
            let refused = check_same(&plan, &log, &settings);
            assert!(matches!(refused, Err(RestoreError::Retired(_))), "{observed_at:?}");
        }
    }
}
