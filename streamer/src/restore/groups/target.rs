//! Groups at the target: what stands in the way there, and committing offsets for them at the end.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use strimzi_backup_format::ids::{GroupId, PartitionId, TopicName};
use tokio::time::Instant;

use super::{GroupConflict, GroupPlan, GroupReport};
use crate::error::Error;
use crate::kafka::{BrokerError, Code, Group, GroupOffset, Kafka, Offsets, Operation, TargetError};
use crate::restore::conflict::{Conflict, Resource, Warning};
use crate::restore::error::RestoreError;
use crate::restore::plan::{Action, Plan};

/// How long a group's coordinator may take to be found and ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is asked meanwhile.
const INTERVAL: Duration = Duration::from_millis(500);

/// What a restore does with a group whose offsets it sets.
const NEEDED: [Operation; 2] = [Operation::Describe, Operation::Read];

type Described = BTreeMap<GroupId, Result<Group, BrokerError>>;

/// What stands in the way at the target's groups, and what to know of them. Changes nothing.
///
/// # Errors
/// [`Error::Kafka`] where the target cannot be asked.
pub(in crate::restore) async fn look(kafka: &Kafka, plan: &Plan) -> Result<(Vec<Conflict>, Vec<Warning>), Error> {
    // No request may name a group twice; that two sources have one target, or an id that cannot be sent, is told before.
    let groups: BTreeMap<GroupId, &GroupPlan> = plan
        .groups
        .iter()
        .filter(|group| group.is_restored() && !group.target.as_str().contains('\0'))
        .map(|group| (group.target.clone(), group))
        .collect();
    if groups.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let described = kafka.describe_groups(&groups.keys().cloned().collect::<Vec<_>>()).await?;
    let conflicts = groups.values().filter_map(|group| conflict(group, &described)).collect();
    let mut warnings = Vec::new();
    let written = written(plan);
    for (group, _) in described.iter().filter(|(_, told)| may_have_offsets(told)) {
        if written.is_empty() {
            break;
        }
        let held = kafka.group_offsets(group).await?;
        let partitions = held.keys().filter(|(topic, partition)| written.contains(&(topic, *partition))).count();
        if partitions > 0 {
            warnings.push(Warning::ReplacesOffsets { group: group.clone(), partitions });
        }
    }
    Ok((conflicts, warnings))
}

fn conflict(group: &GroupPlan, described: &Described) -> Option<Conflict> {
    let of_rights = |missing| Conflict::of_rights(Resource::Group(group.target.to_string()), missing, &NEEDED);
    match described.get(&group.target)? {
        Ok(found) if found.members > 0 => {
            let (members, state) = (found.members, found.state.clone());
            let (group, source_group) = (group.target.clone(), group.source.clone());
            Some(GroupConflict::Members { group, source_group, members, state }.into())
        }
        Ok(found) => of_rights(NEEDED.into_iter().filter(|operation| found.rights.forbid(*operation)).collect()),
        Err(error) if error.code() == Code::GROUP_ID_NOT_FOUND => None,
        Err(error) if error.is_denied() => of_rights(NEEDED.to_vec()),
        Err(code) => Some(GroupConflict::Undescribed { group: group.target.clone(), code: *code }.into()),
    }
}

fn may_have_offsets(told: &Result<Group, BrokerError>) -> bool {
    told.as_ref().is_ok_and(|group| group.state != "Dead" && !group.rights.forbid(Operation::Describe))
}

/// Partitions of topics that stay: a topic that is created, or created anew, has no offsets of any group.
fn written(plan: &Plan) -> BTreeSet<(&TopicName, PartitionId)> {
    let stays =
        |topic: &&TopicName| plan.topics.iter().any(|plan| plan.target == **topic && plan.action == Action::Append);
    let positions = plan.groups.iter().flat_map(|group| &group.offsets).filter(|position| position.is_kept());
    positions.map(|position| (&position.target_topic, position.partition)).filter(|(topic, _)| stays(topic)).collect()
}

/// Commits the offsets of every group. May be repeated: a group that has its offsets is left alone, where it has gone on from
/// them too.
///
/// # Errors
/// [`RestoreError::LiveGroups`] with every group that has members by now, [`RestoreError::Target`] with the first that the target
/// refuses otherwise; all others have their offsets then. [`Error::Kafka`].
pub(in crate::restore) async fn commit(kafka: &Kafka, plan: &Plan, reports: &[GroupReport]) -> Result<(), Error> {
    let (mut live, mut refused) = (Vec::new(), None);
    for (plan, report) in plan.groups.iter().zip(reports) {
        let offsets = offsets(plan, report);
        let offsets =
            if offsets.is_empty() { offsets } else { ahead(offsets, &kafka.group_offsets(&report.target).await?) };
        if offsets.is_empty() {
            continue;
        }
        match commit_patiently(kafka, &report.target, &offsets).await? {
            Ok(()) => {}
            Err(refusal) if refusal.has_members() => live.push(report.target.clone()),
            Err(refusal) => refused = refused.or(Some(refusal)),
        }
    }
    match refused {
        Some(refusal) => Err(RestoreError::from(refusal).into()),
        None if live.is_empty() => Ok(()),
        None => Err(RestoreError::LiveGroups(live).into()),
    }
}

/// Those that are ahead of what the group holds. Nothing that was there before the restore is ahead of what it wrote, so what
/// is held up to there was set by an earlier start, and a group that has gone on since must not be set back.
fn ahead(offsets: Vec<GroupOffset>, held: &Offsets) -> Vec<GroupOffset> {
    let is_ahead =
        |one: &GroupOffset| held.get(&(one.topic.clone(), one.partition)).is_none_or(|held| *held < one.offset);
    offsets.into_iter().filter(is_ahead).collect()
}

/// What is to be committed for a group.
fn offsets(plan: &GroupPlan, report: &GroupReport) -> Vec<GroupOffset> {
    let offset = |(position, report): (&super::Position, &super::PositionReport)| {
        let metadata = Some(position.metadata.clone()).filter(|metadata| !metadata.is_empty());
        let (topic, partition) = (position.target_topic.clone(), position.partition);
        Some(GroupOffset { topic, partition, offset: report.target_offset?, metadata })
    };
    plan.offsets.iter().zip(&report.offsets).filter_map(offset).collect()
}

async fn commit_patiently(
    kafka: &Kafka,
    group: &GroupId,
    offsets: &[GroupOffset],
) -> Result<Result<(), TargetError>, Error> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = kafka.set_group_offsets(group, offsets).await;
        let may_pass = match &answer {
            Ok(answer) => answer.as_ref().is_err_and(TargetError::may_pass),
            Err(error) => error.is_retryable(),
        };
        if !may_pass || Instant::now() >= deadline {
            return Ok(answer?);
        }
        tokio::time::sleep(INTERVAL).await;
    }
}
