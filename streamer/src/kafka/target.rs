//! The target of a restore: what stands there, and making it ready.
//!
//! Owns: describing topics as a plan needs them, and the requests that change a cluster; each waits until what it did
//! holds. Does not own: what is to be made, changed or deleted. Runs as the questions of [`super::admin`] do.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use strimzi_backup_format::ids::{Offset, PartitionId, TopicId, TopicName};

use super::admin::{REQUEST_TIMEOUT, TopicSettings, broker_error};
use super::error::{BrokerError, Code, Error};
use super::ffi::{self, Outcome, Queue};
use super::{Kafka, OffsetSpec};

/// Topics in one request to create some: the controller answers once all of them stand.
const TOPICS_PER_REQUEST: usize = 100;

/// How often it is looked whether brokers have noticed.
const NOTICE_INTERVAL: Duration = Duration::from_millis(50);

/// Longer than anybody waits.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// The broker refused to make, change or delete one thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{doing} {name}: {code}{}{detail}", if detail.is_empty() { "" } else { ": " })]
pub struct TargetError {
    /// What was being done.
    pub doing: &'static str,
    /// The topic or group.
    pub name: String,
    /// The broker's code, such as [`Code::INVALID_CONFIG`].
    pub code: Code,
    /// The broker's words: what it does not like about which setting. Empty where it says nothing.
    pub detail: String,
}

impl TargetError {
    /// Whether the user may not do it.
    pub const fn is_denied(&self) -> bool {
        self.code.is_denied()
    }
}

/// A topic to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: TopicName,
    /// How many partitions; 1 to 100,000.
    pub partitions: u32,
    /// How many replicas each; `None` is the brokers' default.
    pub replicas: Option<u16>,
    /// Its settings beside the brokers' defaults.
    pub settings: BTreeMap<String, String>,
}

/// A topic that the target has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetTopic {
    /// Changes when the topic is re-created. Absent where the brokers know no topic ids.
    pub id: Option<TopicId>,
    /// Its partitions, in order.
    pub partitions: Vec<TargetPartition>,
    /// Its settings.
    pub settings: TopicSettings,
}

impl TargetTopic {
    /// Whether its logs hold no offset at all. One from which everything was deleted is empty too, and begins later than
    /// at 0.
    pub fn is_empty(&self) -> bool {
        self.partitions.iter().all(|one| one.start == one.end)
    }
}

/// A partition that the target has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetPartition {
    /// Its number.
    pub partition: PartitionId,
    /// How many replicas it should have.
    pub replicas: usize,
    /// The first offset of its log.
    pub start: Offset,
    /// The end of its log, open transactions included.
    pub end: Offset,
}

type Described = Result<TargetTopic, BrokerError>;

impl Kafka {
    /// How many brokers the cluster has: the most replicas that a partition can have.
    ///
    /// # Errors
    /// As [`Error`].
    pub async fn broker_count(&self) -> Result<usize, Error> {
        const DOING: &str = "count the brokers";
        self.ask(DOING, |inner| {
            inner.client.broker_count(REQUEST_TIMEOUT).map_err(|code| Error::of_request(DOING, Code::new(code)))
        })
        .await
    }

    /// A number among the settings of a broker, such as `message.max.bytes`, which topics have unless they have one of their
    /// own. `None` where the user may not see it (`DescribeConfigs` of the cluster), or the broker has none.
    ///
    /// # Errors
    /// As [`Error`].
    pub async fn broker_number(&self, setting: &'static str) -> Result<Option<i64>, Error> {
        const DOING: &str = "read the configuration of a broker";
        self.ask(DOING, move |inner| {
            let failed = |code| Error::of_request(DOING, Code::new(code));
            let Some(broker) = inner.client.any_broker(REQUEST_TIMEOUT).map_err(failed)? else { return Ok(None) };
            let answers = Queue::new(&inner.client, REQUEST_TIMEOUT).broker_settings(broker).map_err(failed)?;
            let told = answers.into_iter().filter_map(|(_, settings)| settings.ok()?.remove(setting));
            Ok(told.filter_map(|(value, _)| value.parse().ok()).next())
        })
        .await
    }

    /// Describes topics, each with its own answer; one that does not exist is [`BrokerError::is_unknown`].
    ///
    /// # Errors
    /// As [`Error`], if a request as a whole failed.
    pub async fn target_topics(&self, names: &[TopicName]) -> Result<BTreeMap<TopicName, Described>, Error> {
        let described = self.describe_topics(names).await?;
        let found: Vec<TopicName> =
            described.iter().filter(|(_, found)| found.is_ok()).map(|(name, _)| name.clone()).collect();
        let mut settings = self.topic_settings(&found).await?;
        let partitions: Vec<(TopicName, PartitionId)> = described
            .iter()
            .filter_map(|(name, found)| Some((name, found.as_ref().ok()?)))
            .flat_map(|(name, found)| found.partitions.iter().map(|one| (name.clone(), one.partition)))
            .collect();
        let starts: Ends = self.list_offsets(&partitions, OffsetSpec::LogStart).await?.into_iter().collect();
        let ends: Ends = self.list_offsets(&partitions, OffsetSpec::HighWatermark).await?.into_iter().collect();
        let assemble = |(name, found): (TopicName, Result<super::TopicDescription, BrokerError>)| {
            let settings = settings.remove(&name);
            let topic = found.and_then(|found| assemble(&name, found, settings, &starts, &ends));
            (name, topic)
        };
        Ok(described.into_iter().map(assemble).collect())
    }

    /// Creates topics, each with its own answer, and waits until the brokers know every partition of those created, at
    /// most `within`. One that exists is [`Code::TOPIC_ALREADY_EXISTS`].
    ///
    /// # Errors
    /// As [`Error`], if a request as a whole failed: some topics may be there then. [`Error::Unreachable`] also where
    /// `within` was not enough.
    pub async fn create_topics(
        &self,
        topics: &[NewTopic],
        within: Duration,
    ) -> Result<BTreeMap<TopicName, Result<(), TargetError>>, Error> {
        let deadline = Instant::now() + within.min(FOR_EVER);
        let answers = self.ask_to_create(topics, false).await?;
        let made = |topic: &&NewTopic| answers.get(&topic.name).is_some_and(Result::is_ok);
        let mut missing: BTreeMap<TopicName, u32> =
            topics.iter().filter(made).map(|topic| (topic.name.clone(), topic.partitions)).collect();
        while !missing.is_empty() {
            // Not by their offsets alone: the client remembers for long that it did not know a topic when it was asked before.
            let names: Vec<TopicName> = missing.keys().cloned().collect();
            for (name, found) in self.describe_topics(&names).await? {
                let Ok(found) = found else { continue };
                let partitions: Vec<_> = found.partitions.iter().map(|one| (name.clone(), one.partition)).collect();
                let is_whole = missing.get(&name).is_some_and(|wanted| u32::try_from(partitions.len()) == Ok(*wanted));
                if is_whole && self.are_led(&partitions).await? {
                    missing.remove(&name);
                }
            }
            notice(missing.is_empty(), "wait for new topics to be there", deadline).await?;
        }
        Ok(answers)
    }

    /// Whether no broker says that the leader of one of these partitions is yet to be known.
    async fn are_led(&self, partitions: &[(TopicName, PartitionId)]) -> Result<bool, Error> {
        let told = self.list_offsets(partitions, OffsetSpec::LogStart).await?;
        let is_waited_for = |code: Code| code == Code::NOT_LEADER || code == Code::LEADER_NOT_AVAILABLE;
        Ok(!told.iter().any(|(_, answer)| answer.as_ref().is_err_and(|error| is_waited_for(error.code()))))
    }

    /// Says for each topic whether it could be created now, and changes nothing.
    ///
    /// # Errors
    /// As [`Error`], if a request as a whole failed.
    pub async fn validate_topics(
        &self,
        topics: &[NewTopic],
    ) -> Result<BTreeMap<TopicName, Result<(), TargetError>>, Error> {
        self.ask_to_create(topics, true).await
    }

    async fn ask_to_create(
        &self,
        topics: &[NewTopic],
        validate_only: bool,
    ) -> Result<BTreeMap<TopicName, Result<(), TargetError>>, Error> {
        const DOING: &str = "create topics";
        let topics = topics.to_vec();
        self.ask(DOING, move |inner| {
            let mut answers = BTreeMap::new();
            for chunk in topics.chunks(TOPICS_PER_REQUEST) {
                let asked: Vec<ffi::NewTopic<'_>> = chunk.iter().map(new_topic).collect();
                let found = Queue::new(&inner.client, REQUEST_TIMEOUT)
                    .create_topics(&asked, validate_only)
                    .map_err(|code| Error::of_request(DOING, Code::new(code)))?;
                answers.extend(found.into_iter().filter_map(|outcome| {
                    let name = TopicName::new(outcome.0.clone()).ok()?;
                    Some((name, told("create the topic", outcome)))
                }));
            }
            Ok(answers)
        })
        .await
    }

    /// Deletes a topic with all its records and waits until the brokers do not know it any more, at most `within`: a new
    /// one of the name can be created then. One that does not exist is deleted already. (Where a lagging broker still
    /// knows the old one, creating is answered with [`Code::TOPIC_ALREADY_EXISTS`] for a moment: try again.)
    ///
    /// # Errors
    /// [`Error`] if no answer came, [`Error::Unreachable`] also where `within` was not enough; inside, the broker's
    /// refusal.
    pub async fn delete_topic(&self, name: &TopicName, within: Duration) -> Result<Result<(), TargetError>, Error> {
        const DOING: &str = "delete a topic";
        let deadline = Instant::now() + within.min(FOR_EVER);
        let asked = name.clone();
        let answers = self
            .ask(DOING, move |inner| {
                Queue::new(&inner.client, REQUEST_TIMEOUT)
                    .delete_topic(asked.as_str())
                    .map_err(|code| Error::of_request(DOING, Code::new(code)))
            })
            .await?;
        match only(DOING, "delete the topic", answers)? {
            Err(refusal) if !refusal.code.is_unknown() => return Ok(Err(refusal)),
            _ => {}
        }
        loop {
            let described = self.describe_topics(std::slice::from_ref(name)).await?;
            let gone =
                |found: &Result<_, BrokerError>| found.as_ref().is_err_and(|error: &BrokerError| error.is_unknown());
            let is_gone = described.iter().all(|(_, found)| gone(found));
            notice(is_gone, "wait for a deleted topic to be gone", deadline).await?;
            if is_gone {
                return Ok(Ok(()));
            }
        }
    }

    /// Changes settings of a topic: `Some` sets one, `None` takes it back to the brokers' default. All others stay as they
    /// are.
    ///
    /// # Errors
    /// [`Error`] if no answer came; inside, the broker's refusal: then nothing was changed.
    pub async fn alter_topic(
        &self,
        name: &TopicName,
        changes: &BTreeMap<String, Option<String>>,
    ) -> Result<Result<(), TargetError>, Error> {
        const DOING: &str = "change topic configurations";
        if changes.is_empty() {
            return Ok(Ok(()));
        }
        let (asked, changes) = (name.clone(), changes.clone());
        let answers = self
            .ask(DOING, move |inner| {
                let changes: Vec<(&str, Option<&str>)> =
                    changes.iter().map(|(name, value)| (name.as_str(), value.as_deref())).collect();
                Queue::new(&inner.client, REQUEST_TIMEOUT)
                    .alter_topics(&[asked.as_str()], &changes, false)
                    .map_err(|code| Error::of_request(DOING, Code::new(code)))
            })
            .await?;
        only(DOING, "change the topic", answers)
    }

    /// Says for each topic, whether it exists or not, why its settings could not be changed now, and changes nothing.
    ///
    /// # Errors
    /// As [`Error`], if a request as a whole failed.
    pub async fn validate_alterations(&self, topics: &[TopicName]) -> Result<Vec<TargetError>, Error> {
        const DOING: &str = "ask whether topic configurations may be changed";
        let topics = topics.to_vec();
        self.ask(DOING, move |inner| {
            let mut refusals = Vec::new();
            for chunk in topics.chunks(TOPICS_PER_REQUEST) {
                let asked: Vec<&str> = chunk.iter().map(TopicName::as_str).collect();
                let found = Queue::new(&inner.client, REQUEST_TIMEOUT)
                    .alter_topics(&asked, &[("retention.ms", Some("-1"))], true)
                    .map_err(|code| Error::of_request(DOING, Code::new(code)))?;
                refusals.extend(found.into_iter().filter_map(|outcome| told("change the topic", outcome).err()));
            }
            Ok(refusals)
        })
        .await
    }

    /// Deletes a group with all it committed, also what an open transaction is about to: the commit then says OK and the
    /// offsets are gone. A group that does not exist is deleted already.
    ///
    /// # Errors
    /// [`Error`] if no answer came; inside, the broker's refusal, such as [`Code::NON_EMPTY_GROUP`] for one with live
    /// members.
    pub async fn delete_group(&self, group: &str) -> Result<Result<(), TargetError>, Error> {
        const DOING: &str = "delete a group";
        let asked = group.to_owned();
        let answers = self
            .ask(DOING, move |inner| {
                Queue::new(&inner.client, REQUEST_TIMEOUT)
                    .delete_group(&asked)
                    .map_err(|code| Error::of_request(DOING, Code::new(code)))
            })
            .await?;
        Ok(match only(DOING, "delete the group", answers)? {
            Err(refusal) if refusal.code == Code::GROUP_ID_NOT_FOUND => Ok(()),
            answer => answer,
        })
    }
}

type Ends = BTreeMap<(TopicName, PartitionId), Result<Offset, BrokerError>>;

/// Puts a topic together from the answers about it; one that was deleted between them is unknown.
fn assemble(
    name: &TopicName,
    found: super::TopicDescription,
    settings: Option<Result<TopicSettings, BrokerError>>,
    starts: &Ends,
    ends: &Ends,
) -> Described {
    let no_answer = || broker_error(Code::UNKNOWN_TOPIC_OR_PARTITION.get());
    let end = |of: &Ends, partition| of.get(&(name.clone(), partition)).copied().unwrap_or_else(|| Err(no_answer()));
    let partition = |one: super::PartitionDescription| {
        let (start, end) = (end(starts, one.partition)?, end(ends, one.partition)?);
        Ok(TargetPartition { partition: one.partition, replicas: one.replicas, start, end })
    };
    let settings = settings.unwrap_or_else(|| Err(no_answer()))?;
    let partitions = found.partitions.into_iter().map(partition).collect::<Result<_, BrokerError>>()?;
    Ok(TargetTopic { id: found.id, partitions, settings })
}

fn new_topic(topic: &NewTopic) -> ffi::NewTopic<'_> {
    ffi::NewTopic {
        name: topic.name.as_str(),
        partitions: i32::try_from(topic.partitions).unwrap_or(i32::MAX),
        replicas: topic.replicas.map_or(-1, i32::from),
        settings: topic.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
    }
}

/// One answer, told as what was done to what.
fn told(doing: &'static str, (name, code, detail): Outcome) -> Result<(), TargetError> {
    if code == 0 { Ok(()) } else { Err(TargetError { doing, name, code: Code::new(code), detail }) }
}

/// The answer of a request about one thing.
fn only(request: &'static str, doing: &'static str, answers: Vec<Outcome>) -> Result<Result<(), TargetError>, Error> {
    let answer = answers.into_iter().next().ok_or_else(|| Error::of_request(request, Code::BAD_MSG))?;
    Ok(told(doing, answer))
}

/// Lets brokers notice, unless they have; not beyond the deadline.
async fn notice(done: bool, doing: &'static str, deadline: Instant) -> Result<(), Error> {
    if done {
        return Ok(());
    }
    if Instant::now() >= deadline {
        return Err(Error::of_request(doing, Code::TIMED_OUT));
    }
    tokio::time::sleep(NOTICE_INTERVAL).await;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kafka::{PartitionDescription, TopicDescription};

    #[test]
    fn a_topic_whose_ends_are_not_told_is_not_taken_for_an_empty_one() {
        let name = TopicName::new("t").expect("a name");
        let place = (name.clone(), PartitionId::new(0));
        let found = TopicDescription {
            id: None,
            partitions: vec![PartitionDescription { partition: PartitionId::new(0), replicas: 1 }],
        };
        let at = |offset| Ends::from([(place.clone(), Ok(Offset::new(offset)))]);
        let settings = || Some(Ok(TopicSettings::default()));
        let topic = assemble(&name, found.clone(), settings(), &at(5), &at(5)).expect("a topic");
        assert!(topic.is_empty());
        let topic = assemble(&name, found.clone(), settings(), &at(5), &at(6)).expect("a topic");
        assert!(!topic.is_empty());
        assert!(assemble(&name, found.clone(), settings(), &at(5), &Ends::new()).is_err());
        assert!(assemble(&name, found, None, &at(5), &at(5)).is_err());
    }

    #[test]
    fn a_refusal_names_the_thing_and_the_reason() {
        let refusal = told("create the topic", ("t".to_owned(), 40, "Unknown topic config name: x".to_owned()));
        let text = refusal.expect_err("a refusal").to_string();
        assert!(text.starts_with("create the topic t: ") && text.ends_with("Unknown topic config name: x"), "{text}");
        let silent = told("delete the group", ("g".to_owned(), 68, String::new())).expect_err("a refusal").to_string();
        assert!(!silent.ends_with(": "), "{silent}");
    }
}
