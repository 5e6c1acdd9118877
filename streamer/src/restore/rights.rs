//! Whether the user may do what a restore does, found out before it is done.
//!
//! Owns: which rights a restore needs, and telling all that are missing at once. Does not own: the questions
//! ([`crate::kafka`]), or what to say of them ([`super::conflict`]).
//!
//! Brokers do not tell the rights to a topic that is not there, beyond `Describe`, `Create` and `AlterConfigs`. `Read` and
//! `Write` of created topics are looked at as soon as these stand, before the first record.

use std::collections::{BTreeMap, BTreeSet};

use strimzi_backup_format::ids::{RestoreId, TopicName};
use strimzi_backup_format::job::{Cluster, ExistingTopicPolicy, RestoreSettings};
use tokio_util::sync::CancellationToken;

use super::conflict::{Conflict, Resource};
use super::plan::{Action, Plan, Target, TopicPlan};
use crate::error::Error;
use crate::kafka::{
    self, BrokerError, Kafka, Operation, ProducerError, ProducerTuning, Rights, TargetError, TransactionalProducer,
};

/// What a restore does with its group. Without `Delete` the group stays until it expires.
const OF_GROUP: [Operation; 2] = [Operation::Describe, Operation::Read];

/// Every right to topics and group that is known to be missing. Writes nothing. `uncreatable` is what the target would
/// refuse to create, and `looked` what it says of its topics.
///
/// # Errors
/// [`Error::Kafka`] where the target cannot be asked.
pub(super) async fn missing(
    kafka: &Kafka,
    plan: &Plan,
    settings: &RestoreSettings,
    looked: &Target,
    uncreatable: &[TargetError],
) -> Result<Vec<Conflict>, Error> {
    // Two sources may have one target, which is told as a conflict; no request may name a topic twice.
    let created: BTreeSet<TopicName> = plan.topics.iter().filter(|topic| topic.is_created()).map(target_name).collect();
    let created: Vec<TopicName> = created.into_iter().collect();
    let told = of_topics(kafka, plan).await?;
    let unalterable = if created.is_empty() { Vec::new() } else { kafka.validate_alterations(&created).await? };
    let denies = |refusals: &[TargetError], topic: &TopicPlan| {
        refusals.iter().any(|one| one.name == topic.target.as_str() && one.is_denied())
    };
    let conflict_of = |topic: &TopicPlan| {
        let told = told.get(&topic.target);
        let is_hidden = |found: &Result<_, BrokerError>| found.as_ref().is_err_and(|error| error.is_denied());
        let is_hidden = looked.topics.get(&topic.target).is_some_and(is_hidden);
        let action = match (is_hidden && matches!(told, Some(Ok(_))), settings.existing_topic_policy) {
            // It is there. The plan takes what it cannot look at for missing.
            (true, ExistingTopicPolicy::Overwrite) => Action::Recreate,
            (true, _) => Action::Append,
            (false, _) => topic.action,
        };
        let mut tried = Vec::new();
        if action != Action::Append {
            tried.extend(denies(uncreatable, topic).then_some(Operation::Create));
            tried.extend(denies(&unalterable, topic).then_some(Operation::AlterConfigs));
        }
        conflict(&topic.target, action, told, is_hidden, tried)
    };
    let conflicts = plan.topics.iter().filter_map(conflict_of);
    Ok(conflicts.chain(group(kafka, &plan.restore).await?).collect())
}

/// The rights to the topics of a plan that are missing, once all of them stand.
///
/// # Errors
/// [`Error::Kafka`] where the target cannot be asked.
pub(super) async fn missing_of_topics(kafka: &Kafka, plan: &Plan) -> Result<Vec<Conflict>, Error> {
    let told = of_topics(kafka, plan).await?;
    let conflict_of =
        |topic: &TopicPlan| conflict(&topic.target, topic.action, told.get(&topic.target), false, Vec::new());
    Ok(plan.topics.iter().filter_map(conflict_of).collect())
}

/// The rights to the group with the progress that are missing: the client library would wait for it in vain.
///
/// # Errors
/// [`Error::Kafka`] where the target cannot be asked.
pub(super) async fn group(kafka: &Kafka, id: &RestoreId) -> Result<Option<Conflict>, Error> {
    let group = super::group(id);
    let missing = match kafka.group_rights(&group).await? {
        Ok(rights) => forbidden(rights, &OF_GROUP),
        Err(error) if error.is_denied() => OF_GROUP.to_vec(),
        // Its coordinator may be on the move.
        Err(_) => Vec::new(),
    };
    let needed = [Operation::Describe, Operation::Read, Operation::Delete];
    Ok(Conflict::of_rights(Resource::Group(group), missing, &needed))
}

/// The right to the transactional id, if it is missing. Takes the id over, which writes no record; blocks.
pub(super) fn transactional_id(cluster: &Cluster, id: &RestoreId, stop: CancellationToken) -> Option<Conflict> {
    let name = super::group(id);
    let unready = TransactionalProducer::connect(cluster, &name, &ProducerTuning::default(), stop).ok()?;
    // Whatever else goes wrong is tried again, and told, when the restore begins.
    let Err(ProducerError::Client(kafka::Error::Authorization { .. })) = unready.init(super::INIT_PATIENCE) else {
        return None;
    };
    let needed = [Operation::Describe, Operation::Write];
    Conflict::of_rights(Resource::TransactionalId(name), vec![Operation::Write], &needed)
}

type Told = BTreeMap<TopicName, Result<Rights, BrokerError>>;

async fn of_topics(kafka: &Kafka, plan: &Plan) -> Result<Told, Error> {
    let names: BTreeSet<TopicName> = plan.topics.iter().map(target_name).collect();
    let names: Vec<TopicName> = names.into_iter().collect();
    Ok(if names.is_empty() { Told::new() } else { kafka.topic_rights(&names).await? })
}

fn target_name(topic: &TopicPlan) -> TopicName {
    topic.target.clone()
}

/// What a restore does with a topic.
fn needed(action: Action) -> Vec<Operation> {
    use Operation::{AlterConfigs, Create, Delete, Describe, DescribeConfigs, Read, Write};
    let mut needed = vec![Describe, DescribeConfigs, Read, Write];
    if action != Action::Append {
        needed.extend([Create, AlterConfigs]);
    }
    if action == Action::Recreate {
        needed.push(Delete);
    }
    needed
}

fn forbidden(rights: Rights, needed: &[Operation]) -> Vec<Operation> {
    needed.iter().copied().filter(|operation| rights.forbid(*operation)).collect()
}

/// What is missing of one topic: as the target tells the rights, as it hides the topic, and as it would refuse what was
/// `tried`.
fn conflict(
    topic: &TopicName,
    action: Action,
    told: Option<&Result<Rights, BrokerError>>,
    is_hidden: bool,
    tried: Vec<Operation>,
) -> Option<Conflict> {
    let needed = needed(action);
    let mut missing = match told {
        Some(Ok(rights)) => forbidden(*rights, &needed),
        Some(Err(error)) if error.is_denied() => vec![Operation::Describe],
        _ => Vec::new(),
    };
    // A right to the cluster allows it, too: it was tried.
    missing.retain(|operation| *operation != Operation::Create);
    missing.extend(tried);
    if missing.is_empty() && is_hidden {
        missing.push(Operation::Describe);
    }
    missing.sort_unstable();
    missing.dedup();
    Conflict::of_rights(Resource::Topic(topic.clone()), missing, &needed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::Code;
    use Operation::{AlterConfigs, Create, Describe, DescribeConfigs, Read, Write};

    fn topic() -> TopicName {
        TopicName::new("b").expect("a name")
    }

    fn missing(conflict: Option<Conflict>) -> Vec<Operation> {
        match conflict {
            Some(Conflict::Rights { missing, .. }) => missing,
            _ => Vec::new(),
        }
    }

    #[test]
    fn what_is_missing_is_told_once_and_with_all_that_is_needed() {
        let told = Ok(Rights::of(&[Describe, Read]));
        let of = |action, is_hidden, tried| conflict(&topic(), action, Some(&told), is_hidden, tried);
        assert_eq!(missing(of(Action::Append, true, vec![])), [Write, DescribeConfigs]);
        assert_eq!(missing(of(Action::Create, false, vec![AlterConfigs])), [Write, DescribeConfigs, AlterConfigs]);
        let denied = Err(BrokerError(Code::TOPIC_AUTHORIZATION_FAILED));
        let hidden = conflict(&topic(), Action::Create, Some(&denied), true, vec![Create]);
        let text = hidden.expect("a conflict").to_string();
        let wanted = "the target does not let this user Create, Describe topic b; in the acls of its KafkaUser: {resource: \
                      {type: topic, name: b, patternType: literal}, operations: \
                      [Describe, DescribeConfigs, Read, Write, Create, AlterConfigs]}";
        assert_eq!(text, wanted);
    }

    #[test]
    fn where_nothing_is_told_nothing_is_missing() {
        assert_eq!(conflict(&topic(), Action::Create, None, false, vec![]), None);
        let unknown = Err(BrokerError(Code::UNKNOWN_TOPIC_OR_PARTITION));
        assert_eq!(conflict(&topic(), Action::Create, Some(&unknown), false, vec![]), None);
        assert_eq!(missing(conflict(&topic(), Action::Append, None, true, vec![])), [Describe]);
    }
}
