//! The topics that a restore writes: created before the first record, set back to what they were after the last.

use std::collections::BTreeMap;
use std::time::Duration;

use strimzi_backup_format::ids::TopicName;

use super::error::RestoreError;
use super::plan::{Action, Plan, Target, TopicPlan};
use crate::error::Error;
use crate::kafka::{BrokerError, Code, Kafka, NewTopic, TargetError, TargetTopic};

/// How long topics may take to be created, or to be gone.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long the target may take to say which cluster it is.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(30);

/// What the target says of itself and of `topics`.
///
/// # Errors
/// [`Error::Kafka`] where it cannot be asked.
pub async fn look(kafka: &Kafka, topics: &[TopicName]) -> Result<Target, Error> {
    let cluster = kafka.cluster_id(CLUSTER_PATIENCE).await?;
    let brokers = kafka.broker_count().await?;
    let limit = kafka.broker_number("message.max.bytes").await?;
    let topics = if topics.is_empty() { BTreeMap::new() } else { kafka.target_topics(topics).await? };
    Ok(Target { cluster, brokers, max_message_bytes: limit.and_then(|limit| u64::try_from(limit).ok()), topics })
}

/// What the target would refuse of the topics that are to be created.
///
/// # Errors
/// [`Error::Kafka`] where it cannot be asked.
pub async fn refusals(kafka: &Kafka, plan: &Plan) -> Result<Vec<TargetError>, Error> {
    let mut created: Vec<NewTopic> = plan.topics.iter().filter(|topic| topic.is_created()).map(new_topic).collect();
    created.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    created.dedup_by(|one, other| one.name == other.name);
    if created.is_empty() {
        return Ok(Vec::new());
    }
    let answers = kafka.validate_topics(&created).await?;
    let refused = answers.into_values().filter_map(Result::err);
    // One that is there is deleted first, or told as a conflict of its own.
    let refused = refused.filter(|refusal| refusal.code != Code::TOPIC_ALREADY_EXISTS);
    Ok(refused.collect())
}

fn new_topic(topic: &TopicPlan) -> NewTopic {
    let mut settings = topic.settings.clone();
    settings.extend(topic.lifted.clone());
    NewTopic {
        name: topic.target.clone(),
        partitions: topic.target_partitions,
        replicas: Some(topic.replication_factor),
        settings,
    }
}

/// Makes the topics what the plan says, before the first record of a restore whose target holds no progress. Topics that
/// an earlier start has created already, and that are empty, are taken as they are.
///
/// # Errors
/// [`RestoreError::ProgressGone`] where a topic holds what it should not; [`RestoreError::Target`].
pub async fn prepare(kafka: &Kafka, plan: &Plan) -> Result<(), Error> {
    let names: Vec<TopicName> = plan.topics.iter().map(|topic| topic.target.clone()).collect();
    let found = kafka.target_topics(&names).await?;
    // All of them are looked at before any is touched.
    let steps = plan.topics.iter().map(|topic| Ok((topic, step(plan, topic, found.get(&topic.target))?)));
    for (topic, step) in steps.collect::<Result<Vec<_>, RestoreError>>()? {
        if step == Step::Recreate {
            kafka.delete_topic(&topic.target, PATIENCE).await?.map_err(RestoreError::from)?;
        }
        if step != Step::Take {
            create(kafka, topic).await?;
        }
    }
    Ok(())
}

/// What makes a topic what the plan says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is so already.
    Take,
    Create,
    /// Deleted first.
    Recreate,
}

/// The step for one topic. What cannot be looked at may hold records, and is not taken for missing. Pure.
fn step(
    plan: &Plan,
    topic: &TopicPlan,
    found: Option<&Result<TargetTopic, BrokerError>>,
) -> Result<Step, RestoreError> {
    let found = match found {
        Some(Ok(found)) => Some(found),
        Some(Err(code)) if !code.is_unknown() => {
            return Err(RestoreError::Undescribed { topic: topic.target.to_string(), code: *code });
        }
        _ => None,
    };
    let is_as_planned =
        |found: &TargetTopic| found.partitions.iter().map(|one| one.end).eq(topic.existing_ends.clone());
    match (topic.action, found) {
        (Action::Append, Some(found)) if is_as_planned(found) => Ok(Step::Take),
        // That it is missing is told by the brokers with the first transaction.
        (Action::Append, None) => Ok(Step::Take),
        (Action::Create | Action::Recreate, None) => Ok(Step::Create),
        (Action::Recreate, Some(found)) if found.id.is_some() && found.id == topic.existing => Ok(Step::Recreate),
        (Action::Create | Action::Recreate, Some(found)) if found.is_empty() => Ok(Step::Take),
        _ => Err(RestoreError::ProgressGone { id: plan.restore.clone(), topic: topic.target.to_string() }),
    }
}

/// Creates a topic. After a deletion a broker that lags may still know the old one for a moment.
async fn create(kafka: &Kafka, topic: &TopicPlan) -> Result<(), Error> {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let answers = kafka.create_topics(&[new_topic(topic)], PATIENCE).await?;
        let Some(Err(refusal)) = answers.into_values().next() else { return Ok(()) };
        let may_pass = refusal.code == Code::TOPIC_ALREADY_EXISTS && tokio::time::Instant::now() < deadline;
        if !may_pass {
            return Err(RestoreError::from(refusal).into());
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Sets the topics that the restore created back to what they are to be.
///
/// # Errors
/// [`RestoreError::Target`]; what is set back already stays so.
pub async fn set_back(kafka: &Kafka, plan: &Plan) -> Result<(), Error> {
    for topic in plan.topics.iter().filter(|topic| !topic.lifted.is_empty()) {
        let settled = |name: &String| (name.clone(), topic.settings.get(name).cloned());
        let settings: BTreeMap<String, Option<String>> = topic.lifted.keys().map(settled).collect();
        kafka.alter_topic(&topic.target, &settings).await?.map_err(RestoreError::from)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::sample::{found, plan, settings, state, target, topic};
    use super::*;

    /// The step for `orders` where it was found like that at the plan, and is like this now.
    fn of(
        policy: &str,
        planned: Option<TargetTopic>,
        now: Result<TargetTopic, BrokerError>,
    ) -> Result<Step, RestoreError> {
        let mut target = target(3);
        target.topics.extend(planned.map(|planned| (topic("orders"), Ok(planned))));
        let (plan, _) = plan(&state(&[("orders", 1)]), &settings(policy), &[], &target);
        step(&plan, &plan.topics[0], Some(&now))
    }

    fn missing() -> Result<TargetTopic, BrokerError> {
        Err(BrokerError(Code::UNKNOWN_TOPIC_OR_PARTITION))
    }

    #[test]
    fn a_topic_is_made_or_taken_only_where_that_harms_nothing() {
        let topic = |end| found(&[end], &[]);
        let other = |end| TargetTopic { id: None, ..topic(end) };
        let is = |found: Result<Step, RestoreError>, step| assert_eq!(found.ok(), Some(step));
        is(of("", None, missing()), Step::Create);
        is(of("", None, Ok(topic(0))), Step::Take);
        is(of("existingTopicPolicy: overwrite", Some(topic(5)), Ok(topic(7))), Step::Recreate);
        is(of("existingTopicPolicy: overwrite", Some(topic(5)), Ok(other(0))), Step::Take);
        is(of("existingTopicPolicy: overwrite", Some(topic(5)), missing()), Step::Create);
        is(of("existingTopicPolicy: append", Some(topic(5)), Ok(topic(5))), Step::Take);
    }

    #[test]
    fn a67_what_may_hold_records_of_the_restore_is_never_begun_again() {
        let topic = |end| found(&[end], &[]);
        let other = TargetTopic { id: None, ..topic(3) };
        let gone = |found| assert!(matches!(found, Err(RestoreError::ProgressGone { .. })), "{found:?}");
        gone(of("", None, Ok(topic(3))));
        gone(of("existingTopicPolicy: overwrite", Some(topic(5)), Ok(other)));
        gone(of("existingTopicPolicy: append", Some(topic(5)), Ok(topic(6))));
        let unseen = of("existingTopicPolicy: append", Some(topic(5)), Err(BrokerError(Code::NOT_LEADER)));
        assert!(unseen.is_err_and(|error| error.is_retryable()), "it is looked at again");
    }
}
