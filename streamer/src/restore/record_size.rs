//! Whether a topic at the target takes the largest record that is restored into it. Pure.
//!
//! A broker compares `max.message.bytes` with the batch as it comes. Here a record counts as a batch of its own that is not
//! compressed: what fits then is surely taken, since no client sends a batch that grew by compression. What does not fit is
//! a conflict, although it might be taken compressed: how well a record compresses is not known before it is read.

use std::collections::BTreeMap;

use super::conflict::{Conflict, Warning};
use super::plan::TopicPlan;

/// What decides.
const SETTING: &str = "max.message.bytes";

/// `message.max.bytes` of brokers that set nothing.
const DEFAULT_LIMIT: u64 = 1_048_588;

/// The limit in these settings; `None` where they have none.
pub(super) fn limit(settings: &BTreeMap<String, String>) -> Option<u64> {
    settings.get(SETTING)?.parse().ok()
}

/// Sees to it that a topic takes its largest record. One that is created gets a higher limit where `may_raise`; where
/// its limit is not known, that of Kafka is taken for it.
///
/// # Errors
/// [`Conflict::RecordTooLarge`] where the limit is known to be lower, and stays so.
pub(super) fn fit(plan: &mut TopicPlan, may_raise: bool) -> Result<Option<Warning>, Conflict> {
    let (bytes, known, is_created) = (plan.largest_record(), plan.max_message_bytes, plan.is_created());
    let raises = is_created && may_raise;
    let Some(limit) = known.or(raises.then_some(DEFAULT_LIMIT)).filter(|limit| bytes > *limit) else { return Ok(None) };
    let topic = plan.target.clone();
    if !raises {
        return Err(Conflict::RecordTooLarge { topic, bytes, limit, is_created });
    }
    plan.settings.insert(SETTING.to_owned(), bytes.to_string());
    plan.max_message_bytes = Some(bytes);
    Ok(Some(Warning::RaisesLimit { topic, bytes, instead_of: known }))
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Plan, Target};
    use super::super::sample::{found, key, plan, run, settings, state, target, topic, touched};
    use super::*;

    /// Plans a restore of a record of `bytes` in `orders`, whose own limit is `own`, into this target.
    fn planned(bytes: u64, own: Option<&str>, more: &str, target: &Target) -> (Plan, Vec<Conflict>) {
        let mut state = state(&[("orders", 1)]);
        let described = &mut state.topics.get_mut(&topic("orders")).expect("there").description;
        described.config.extend(own.map(|own| (SETTING.to_owned(), own.to_owned())));
        let small = run(&key("orders", 0, 0), 0..10, 20..30);
        let mut large = run(&key("orders", 0, 0), 10..20, 30..40);
        large.largest_record = bytes;
        plan(&state, &settings(more), &[touched(vec![large]), touched(vec![small])], target)
    }

    /// A target whose brokers say this limit.
    fn saying(limit: Option<u64>) -> Target {
        Target { max_message_bytes: limit, ..target(3) }
    }

    /// A target that has `orders` with this limit.
    fn there(limit: &str) -> Target {
        let mut target = saying(Some(1));
        target.topics.insert(topic("orders"), Ok(found(&[0], &[(SETTING, limit)])));
        target
    }

    fn too_large(bytes: u64, limit: u64, is_created: bool) -> Vec<Conflict> {
        vec![Conflict::RecordTooLarge { topic: topic("orders"), bytes, limit, is_created }]
    }

    #[test]
    fn a48_a_record_larger_than_its_topic_takes_is_a_conflict_and_one_as_large_is_not() {
        let created = |bytes, own, limit| planned(bytes, own, "", &saying(limit)).1;
        assert_eq!(created(1000, None, Some(1000)), []);
        assert_eq!(created(1001, None, Some(1000)), too_large(1001, 1000, true));
        assert_eq!(created(1001, Some("1001"), Some(1000)), [], "the topic brings its own limit");
        assert_eq!(created(1001, Some("999"), Some(2000)), too_large(1001, 999, true));
        assert_eq!(created(u64::MAX, None, None), [], "what is not known stands in nobody's way");
        let appended = |bytes, limit| planned(bytes, Some("5000"), "existingTopicPolicy: append", &there(limit)).1;
        assert_eq!([appended(1000, "1000"), appended(1001, "none")], [vec![], vec![]]);
        assert_eq!(appended(1001, "1000"), too_large(1001, 1000, false));
        let replaced = planned(1001, Some("5000"), "existingTopicPolicy: overwrite", &there("1000")).1;
        assert_eq!(replaced, [], "one that is created anew has the limit of the backup");
    }

    #[test]
    fn a48_a_limit_is_raised_with_consent_alone_and_only_where_the_restore_creates_the_topic() {
        let raised = |bytes, own, limit| {
            let (mut plan, conflicts) = planned(bytes, own, "raiseMessageLimit: true", &saying(limit));
            assert_eq!(conflicts, []);
            let topic = plan.topics.remove(0);
            (topic.settings.get(SETTING).cloned(), topic.max_message_bytes, plan.warnings)
        };
        let told = |bytes, instead_of| vec![Warning::RaisesLimit { topic: topic("orders"), bytes, instead_of }];
        let to = |bytes: u64, instead_of| (Some(bytes.to_string()), Some(bytes), told(bytes, instead_of));
        assert_eq!(raised(1001, None, Some(1000)), to(1001, Some(1000)));
        assert_eq!(raised(1001, Some("999"), Some(5000)), to(1001, Some(999)));
        assert_eq!(raised(1000, None, Some(1000)), (None, Some(1000), vec![]), "nothing is raised without need");
        assert_eq!(raised(DEFAULT_LIMIT + 1, None, None), to(DEFAULT_LIMIT + 1, None));
        assert_eq!(raised(DEFAULT_LIMIT, None, None), (None, None, vec![]));
        let (plan, conflicts) =
            planned(1001, None, "raiseMessageLimit: true, existingTopicPolicy: append", &there("1000"));
        assert_eq!(
            (conflicts, plan.warnings),
            (too_large(1001, 1000, false), vec![]),
            "a topic that is there stays as it is"
        );
    }

    #[test]
    fn a48_both_conflicts_say_the_numbers_and_the_way_out() {
        let told = |is_created| too_large(2_000_068, 1_048_588, is_created)[0].to_string();
        let numbers = "topic orders takes records of at most 1048588 bytes (max.message.bytes), and one of up to 2000068 is \
                       restored, counted without compression: ";
        assert_eq!(told(true), format!("{numbers}set raiseMessageLimit: true to create it with as much"));
        assert_eq!(told(false), format!("{numbers}raise it to 2000068 while it is restored"));
    }
}
