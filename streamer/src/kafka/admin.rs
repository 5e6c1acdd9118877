//! Questions to the cluster: its id, its topics, the ends of their logs.
//!
//! Owns: splitting large questions, deadlines, and the types of the answers. Does not own: how often to ask. Each
//! question blocks a thread of tokio's blocking pool, never a worker; dropping the future leaves the thread to end by
//! itself at the deadline.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use strimzi_backup_format::ids::{ClusterId, Offset, PartitionId, TopicId, TopicName};

use super::error::{BrokerError, Code, Error};
use super::ffi::{OffsetQuery, Queue};
use super::{Inner, Kafka};

/// Time for one request. Longer than a broker's restart takes to move its leaders, short enough to be told as trouble.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Partitions in one ListOffsets request; 1,000 took 23–30 ms.
const PARTITIONS_PER_REQUEST: usize = 2_000;

/// Topics in one request. An answer describes every partition, so it is kept to some megabytes.
const TOPICS_PER_REQUEST: usize = 500;

/// How often the wait for the cluster's id looks whether the connection was refused.
const REFUSAL_CHECK: Duration = Duration::from_millis(200);

/// Which end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OffsetSpec {
    /// The first offset that the broker still has.
    LogStart,
    /// The end of the log, open transactions included.
    HighWatermark,
    /// Where a reader of committed records must stop.
    LastStable,
}

/// What a topic is at this moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Changes when the topic is re-created. Absent where the brokers know no topic ids.
    pub id: Option<TopicId>,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionDescription>,
}

/// One partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub partition: PartitionId,
    /// How many replicas it should have.
    pub replicas: usize,
}

/// The settings of one topic, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicSettings {
    /// Those made on the topic itself.
    pub overrides: BTreeMap<String, String>,
    /// Those that hold: the topic's own, else the brokers'.
    pub effective: BTreeMap<String, String>,
}

impl TopicSettings {
    fn of(settings: BTreeMap<String, (String, bool)>) -> Self {
        let mut found = Self::default();
        for (name, (value, is_override)) in settings {
            if is_override {
                found.overrides.insert(name.clone(), value.clone());
            }
            found.effective.insert(name, value);
        }
        found
    }

    /// The number that holds for a setting such as `max.message.bytes` (bytes) or `retention.ms` (milliseconds; −1 is
    /// without a limit); `None` where there is none, as on a broker older than the setting.
    pub fn number(&self, name: &str) -> Option<i64> {
        self.effective.get(name)?.parse().ok()
    }
}

impl Kafka {
    /// The cluster's id; the first proof that the connection works.
    ///
    /// # Errors
    /// [`Error::Authentication`] or [`Error::Tls`] as soon as a broker refuses the connection, [`Error::Unreachable`] at
    /// the deadline.
    pub async fn cluster_id(&self, timeout: Duration) -> Result<ClusterId, Error> {
        self.ask("read the cluster id", move |inner| {
            let deadline = Instant::now() + timeout;
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                // The client connects with its first request, and without one only a second later.
                let _ = inner.client.broker_count(left.min(REFUSAL_CHECK));
                if let Some(id) = inner.client.cluster_id(left.min(REFUSAL_CHECK)) {
                    return Ok(ClusterId::new(id));
                }
                let trouble = inner.consumer.trouble(&inner.client);
                if let Some(refusal) = trouble.filter(|error| !error.is_retryable()) {
                    return Err(refusal);
                }
                if left.is_zero() {
                    return Err(Error::of_request("read the cluster id", Code::TIMED_OUT));
                }
            }
        })
        .await
    }

    /// The names of all topics that the user may see.
    ///
    /// # Errors
    /// As [`Error`].
    pub async fn topic_names(&self) -> Result<Vec<TopicName>, Error> {
        const DOING: &str = "list topics";
        let names = self
            .ask(DOING, |inner| {
                inner.client.topic_names(REQUEST_TIMEOUT).map_err(|code| Error::of_request(DOING, Code::new(code)))
            })
            .await?;
        // A broker has no topic with an illegal name; whatever says so is not followed.
        Ok(names.into_iter().filter_map(|name| TopicName::new(name).ok()).collect())
    }

    /// Ids and partitions of topics, each with its own answer, in no particular order.
    ///
    /// # Errors
    /// As [`Error`], if a request as a whole failed.
    pub async fn describe_topics(
        &self,
        names: &[TopicName],
    ) -> Result<Vec<(TopicName, Result<TopicDescription, BrokerError>)>, Error> {
        let answers = self.ask_of_topics("describe topics", names, |queue, asked| queue.describe_topics(asked)).await?;
        let described = |(name, told): (TopicName, Result<_, BrokerError>)| (name, told.map(topic_description));
        Ok(answers.into_iter().map(described).collect())
    }

    /// Asks about topics, in as many requests as so many need. Each topic has its own answer, in no particular order.
    pub(super) async fn ask_of_topics<T: Send + 'static>(
        &self,
        doing: &'static str,
        names: &[TopicName],
        question: impl Fn(Queue<'_>, &[&str]) -> Result<Vec<(String, Result<T, i32>)>, i32> + Send + 'static,
    ) -> Result<Vec<(TopicName, Result<T, BrokerError>)>, Error> {
        let names = names.to_vec();
        self.ask(doing, move |inner| {
            let mut answers = Vec::with_capacity(names.len());
            for chunk in names.chunks(TOPICS_PER_REQUEST) {
                let asked: Vec<&str> = chunk.iter().map(TopicName::as_str).collect();
                let found = question(Queue::new(&inner.client, REQUEST_TIMEOUT), &asked)
                    .map_err(|code| Error::of_request(doing, Code::new(code)))?;
                let named = |(name, told): (String, Result<T, i32>)| {
                    Some((TopicName::new(name).ok()?, told.map_err(broker_error)))
                };
                answers.extend(found.into_iter().filter_map(named));
            }
            Ok(answers)
        })
        .await
    }

    /// The settings of topics, as they were made on them and as they hold, the brokers' defaults included. Sensitive ones
    /// are left out.
    ///
    /// # Errors
    /// As [`Error`], if a request as a whole failed.
    pub async fn topic_settings(
        &self,
        names: &[TopicName],
    ) -> Result<BTreeMap<TopicName, Result<TopicSettings, BrokerError>>, Error> {
        const DOING: &str = "read topic configurations";
        let answers = self.ask_of_topics(DOING, names, |queue, asked| queue.topic_settings(asked)).await?;
        Ok(answers.into_iter().map(|(name, told)| (name, told.map(TopicSettings::of))).collect())
    }

    /// One end of each partition's log, each with its own answer, in no particular order. A partition that is named
    /// twice is asked for once.
    ///
    /// # Errors
    /// As [`Error`], if a request as a whole failed.
    pub async fn list_offsets(
        &self,
        partitions: &[(TopicName, PartitionId)],
        at: OffsetSpec,
    ) -> Result<Vec<((TopicName, PartitionId), Result<Offset, BrokerError>)>, Error> {
        const DOING: &str = "list offsets";
        let mut partitions = partitions.to_vec();
        // librdkafka refuses a request that names a partition twice.
        partitions.sort_unstable();
        partitions.dedup();
        let query = match at {
            OffsetSpec::LogStart => OffsetQuery::Earliest,
            OffsetSpec::HighWatermark => OffsetQuery::Latest { committed: false },
            OffsetSpec::LastStable => OffsetQuery::Latest { committed: true },
        };
        self.ask(DOING, move |inner| {
            let mut answers = Vec::with_capacity(partitions.len());
            for chunk in partitions.chunks(PARTITIONS_PER_REQUEST) {
                let asked: Vec<(&str, i32)> =
                    chunk.iter().map(|(topic, partition)| (topic.as_str(), partition.get())).collect();
                let found = match Queue::new(&inner.client, REQUEST_TIMEOUT).list_offsets(&asked, query) {
                    Ok(found) => found,
                    // None of them has a leader, as after their topic was deleted: each is answered so, and the request
                    // did not fail.
                    Err(code) if Code::new(code) == Code::NOENT => {
                        let nothing =
                            |partition: &(TopicName, PartitionId)| (partition.clone(), Err(broker_error(code)));
                        answers.extend(chunk.iter().map(nothing));
                        continue;
                    }
                    Err(code) => return Err(Error::of_request(DOING, Code::new(code))),
                };
                answers.extend(found.into_iter().filter_map(|(topic, partition, offset)| {
                    let offset = offset.map(Offset::new).map_err(broker_error);
                    Some(((TopicName::new(topic).ok()?, PartitionId::new(partition)), offset))
                }));
            }
            Ok(answers)
        })
        .await
    }

    /// Runs a blocking question. One that got no answer is explained by the trouble of the connection, if there was any
    /// since the last answer: "wrong password" says more than "no answer".
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        doing: &'static str,
        question: impl FnOnce(&Inner) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let inner = self.inner.clone();
        let answer = tokio::task::spawn_blocking(move || {
            let answer = question(&inner);
            match answer {
                Ok(_) => inner.consumer.forget_trouble(),
                Err(ref error) if error.is_retryable() => {
                    let trouble = inner.consumer.trouble(&inner.client);
                    if let Some(cause) = trouble.filter(|trouble| !trouble.is_retryable()) {
                        return Err(cause);
                    }
                }
                Err(_) => {}
            }
            answer
        });
        // Fails only if the runtime is shutting down: then there is no answer either.
        answer.await.unwrap_or_else(|_| Err(Error::of_request(doing, Code::TIMED_OUT)))
    }
}

pub(super) fn broker_error(code: i32) -> BrokerError {
    BrokerError(Code::new(code))
}

/// How the id of 16 zeros is printed: a broker older than topic ids leaves the field empty.
const NO_ID: &str = "AAAAAAAAAAAAAAAAAAAAAA";

fn topic_description((id, partitions): (String, Vec<(i32, usize)>)) -> TopicDescription {
    let mut partitions: Vec<PartitionDescription> = partitions
        .into_iter()
        .map(|(partition, replicas)| PartitionDescription { partition: PartitionId::new(partition), replicas })
        .collect();
    partitions.sort_unstable_by_key(|found| found.partition);
    TopicDescription { id: (id != NO_ID).then(|| TopicId::new(id)), partitions }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a42_an_id_of_zeros_is_no_id() {
        let described = |id: &str| topic_description((id.to_owned(), vec![(1, 3), (0, 3)]));
        assert_eq!(described("AAAAAAAAAAAAAAAAAAAAAA").id, None);
        assert_eq!(described("GGocbCGyTsmVReeT9fnMVw").id, Some(TopicId::new("GGocbCGyTsmVReeT9fnMVw")));
        assert_eq!(described("x").partitions[0].partition, PartitionId::new(0));
    }
}
