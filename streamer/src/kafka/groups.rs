//! Consumer groups of the target: what they are, what they have committed, and offsets that are committed for them.
//!
//! Owns: the questions and the one change. Does not own: which groups, or which offsets. Runs as the questions of
//! [`super::admin`] do.

use std::collections::BTreeMap;

use strimzi_backup_format::ids::{GroupId, Offset, PartitionId, TopicName};

use super::admin::{REQUEST_TIMEOUT, broker_error};
use super::error::{BrokerError, Code, Error};
use super::ffi::{GroupDescription, PartitionList, Queue};
use super::{GroupOffset, Kafka, Rights, TargetError};

/// Groups in one description: each becomes a request to its coordinator.
const GROUPS_PER_REQUEST: usize = 100;

/// Partitions in one commit of offsets: with metadata as long as brokers take it, 4 MB.
const OFFSETS_PER_REQUEST: usize = 1000;

/// A group as its coordinator describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Members that it has now. Offsets can be committed for one without members only.
    pub members: usize,
    /// Its state, such as `Stable`; `Dead` is also told of one that does not exist.
    pub state: String,
    /// What the user may do with it.
    pub rights: Rights,
}

/// Offsets by partition.
pub type Offsets = BTreeMap<(TopicName, PartitionId), Offset>;

impl Kafka {
    /// Describes groups, of the classic and the consumer protocol, each with its own answer. One that does not exist is
    /// without members, or [`Code::GROUP_ID_NOT_FOUND`].
    ///
    /// # Errors
    /// As [`Error`], if a request as a whole failed.
    pub async fn describe_groups(
        &self,
        groups: &[GroupId],
    ) -> Result<BTreeMap<GroupId, Result<Group, BrokerError>>, Error> {
        const DOING: &str = "describe consumer groups";
        let groups = groups.to_vec();
        self.ask(DOING, move |inner| {
            let mut answers = BTreeMap::new();
            for chunk in groups.chunks(GROUPS_PER_REQUEST) {
                let asked: Vec<&str> = chunk.iter().map(GroupId::as_str).collect();
                let found = Queue::new(&inner.client, REQUEST_TIMEOUT)
                    .describe_groups(&asked)
                    .map_err(|code| Error::of_request(DOING, Code::new(code)))?;
                answers.extend(found.into_iter().filter_map(|(name, told)| {
                    let name = GroupId::new(name).ok()?;
                    Some((name, told.map(group).map_err(broker_error)))
                }));
            }
            Ok(answers)
        })
        .await
    }

    /// What the user may do with a group, whether it exists or not.
    ///
    /// # Errors
    /// As [`Error`], if the request failed; inside, the broker's refusal: [`Code::GROUP_AUTHORIZATION_FAILED`] where the
    /// group may not even be described.
    pub async fn group_rights(&self, group: &str) -> Result<Result<Rights, BrokerError>, Error> {
        const DOING: &str = "ask for the rights to a group";
        let asked = group.to_owned();
        let answers = self
            .ask(DOING, move |inner| {
                Queue::new(&inner.client, REQUEST_TIMEOUT)
                    .describe_groups(&[&asked])
                    .map_err(|code| Error::of_request(DOING, Code::new(code)))
            })
            .await?;
        let (_, answer) = answers.into_iter().next().ok_or_else(|| Error::of_request(DOING, Code::BAD_MSG))?;
        Ok(answer.map(|found| Rights::told(found.rights)).map_err(broker_error))
    }

    /// What a group has committed, but for what an open transaction is about to.
    ///
    /// # Errors
    /// As [`Error`].
    pub async fn group_offsets(&self, group: &GroupId) -> Result<Offsets, Error> {
        const DOING: &str = "ask for the offsets of a consumer group";
        let asked = group.clone();
        let found = self
            .ask(DOING, move |inner| {
                Queue::new(&inner.client, REQUEST_TIMEOUT)
                    .group_offsets(asked.as_str())
                    .map_err(|code| Error::of_request(DOING, Code::new(code)))
            })
            .await?;
        let found = found.into_iter().filter(|one| one.code == 0 && one.offset >= 0);
        Ok(found
            .filter_map(|one| {
                let topic = TopicName::new(one.topic).ok()?;
                Some(((topic, PartitionId::new(one.partition)), Offset::new(one.offset)))
            })
            .collect())
    }

    /// Commits offsets for a group that has no members, whether it exists or not. May be repeated. No partition may be
    /// named twice.
    ///
    /// # Errors
    /// [`Error`] if no answer came, or for an offset below 0; inside, the first refusal of a partition, which is
    /// [`TargetError::has_members`] for a group with live members. Other partitions may be committed then.
    pub async fn set_group_offsets(
        &self,
        group: &GroupId,
        offsets: &[GroupOffset],
    ) -> Result<Result<(), TargetError>, Error> {
        const DOING: &str = "commit offsets of a consumer group";
        // librdkafka would take the part before a NUL for the whole id.
        if group.as_str().contains('\0') || offsets.iter().any(|one| one.offset.get() < 0) {
            return Err(Error::of_request(DOING, Code::INVALID_ARG));
        }
        let (group, offsets) = (group.clone(), offsets.to_vec());
        self.ask(DOING, move |inner| {
            for chunk in offsets.chunks(OFFSETS_PER_REQUEST) {
                let mut list = PartitionList::new(&inner.client, chunk.len());
                for one in chunk {
                    let metadata = one.metadata.as_deref().map(str::as_bytes);
                    list.add_offset(one.topic.as_str(), one.partition.get(), one.offset.get(), metadata);
                }
                let refusal = |code, detail| {
                    let (doing, name) = ("commit offsets of group", group.to_string());
                    Err(TargetError { doing, name, code: Code::new(code), detail })
                };
                match Queue::new(&inner.client, REQUEST_TIMEOUT).alter_group_offsets(group.as_str(), &list) {
                    Err(code) if TargetError::is_of_groups(Code::new(code)) => {
                        return Ok(refusal(code, String::new()));
                    }
                    Err(code) => return Err(Error::of_request(DOING, Code::new(code))),
                    Ok(told) => {
                        if let Some(one) = told.into_iter().find(|one| one.code != 0) {
                            return Ok(refusal(one.code, format!("{}-{}", one.topic, one.partition)));
                        }
                    }
                }
            }
            Ok(Ok(()))
        })
        .await
    }
}

impl TargetError {
    /// Whether offsets were refused because the group has live members.
    pub const fn has_members(&self) -> bool {
        matches!(
            self.code,
            Code::UNKNOWN_MEMBER_ID | Code::ILLEGAL_GENERATION | Code::REBALANCE_IN_PROGRESS | Code::NON_EMPTY_GROUP
        )
    }

    /// Whether offsets were refused because the group's coordinator is on the move.
    pub const fn may_pass(&self) -> bool {
        matches!(
            self.code,
            Code::WAIT_COORDINATOR
                | Code::COORDINATOR_LOAD_IN_PROGRESS
                | Code::COORDINATOR_NOT_AVAILABLE
                | Code::NOT_COORDINATOR
                | Code::REQUEST_TIMED_OUT
        )
    }

    const fn is_of_groups(code: Code) -> bool {
        code.is_about_groups() || matches!(code, Code::UNKNOWN_MEMBER_ID | Code::NON_EMPTY_GROUP)
    }
}

fn group(found: GroupDescription) -> Group {
    let GroupDescription { members, state, rights } = found;
    Group { members, state, rights: Rights::told(rights) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_tells_live_members_from_a_coordinator_on_the_move() {
        let refusal = |code| TargetError { doing: "commit", name: "g".to_owned(), code, detail: String::new() };
        assert!(refusal(Code::UNKNOWN_MEMBER_ID).has_members() && !refusal(Code::UNKNOWN_MEMBER_ID).may_pass());
        assert!(refusal(Code::NOT_COORDINATOR).may_pass() && !refusal(Code::NOT_COORDINATOR).has_members());
        let denied = refusal(Code::GROUP_AUTHORIZATION_FAILED);
        assert!(!denied.may_pass() && !denied.has_members());
    }
}
