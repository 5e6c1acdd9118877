//! The topics that a restore writes: created before the first record, set back to what they were after the last.

use std::collections::BTreeMap;
use std::time::Duration;

use strimzi_backup_format::ids::TopicName;

use super::error::RestoreError;
use super::plan::{Action, Plan, Target, TopicPlan};
use crate::error::Error;
use crate::kafka::{Code, Kafka, NewTopic, TargetError, TargetTopic};

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
    let topics = if topics.is_empty() { BTreeMap::new() } else { kafka.target_topics(topics).await? };
    Ok(Target { cluster, brokers, topics })
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
    for topic in &plan.topics {
        let found = found.get(&topic.target).and_then(|found| found.as_ref().ok());
        match (topic.action, found) {
            (Action::Append, Some(found)) if ends(found) != topic.existing_ends => return Err(gone(plan, topic)),
            (Action::Append, _) | (Action::Create, None) => {}
            (Action::Recreate, Some(found)) if found.id.is_some() && found.id == topic.existing => {
                kafka.delete_topic(&topic.target, PATIENCE).await?.map_err(RestoreError::from)?;
                create(kafka, topic).await?;
                continue;
            }
            (Action::Create | Action::Recreate, Some(found)) if !found.is_empty() => return Err(gone(plan, topic)),
            (Action::Create | Action::Recreate, _) => {}
        }
        if topic.is_created() && found.is_none() {
            create(kafka, topic).await?;
        }
    }
    Ok(())
}

fn ends(topic: &TargetTopic) -> Vec<strimzi_backup_format::ids::Offset> {
    topic.partitions.iter().map(|one| one.end).collect()
}

fn gone(plan: &Plan, topic: &TopicPlan) -> Error {
    RestoreError::ProgressGone { id: plan.restore.clone(), topic: topic.target.to_string() }.into()
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
