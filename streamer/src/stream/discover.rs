//! What topics there are, and what must be read: questions asked beside the loop.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use strimzi_backup_format::ids::{LeaderEpoch, Offset, PartitionKey, TimestampMs, TopicName};
use strimzi_backup_format::job::TopicSelection;
use strimzi_backup_format::manifest::{Gap, GapReason, PartitionPosition};
use strimzi_backup_format::offset_range::OffsetRange;
use tokio::time::Instant;

use super::{Answer, Parts, Stream, Until};
use crate::clock::Clock;
use crate::error::Error;
use crate::source::buffers::Start;
use crate::source::catalog::Begin;
use crate::source::{Assignment, Broker, Described, Refusal, TopicConfig, TopicPartition, Unreachable};

/// How long one question to the broker may take in all.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long the broker may take to tell where the logs of new partitions start.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// How long a topic must be unknown before it counts as deleted. A broker that lost its controller may still answer from
/// what it knew, and is shut out after `broker.session.timeout.ms`, 9 s by default.
const UNKNOWN_UNTIL_DELETED: Duration = Duration::from_secs(10);

/// Which topics of a cluster are looked at.
#[derive(Clone, Debug)]
pub(super) struct Scope {
    topics: TopicSelection,
    groups: bool,
}

impl Scope {
    pub(super) fn of<B, C>(parts: &Parts<B, C>) -> Self {
        Self { topics: parts.selection.clone(), groups: parts.groups.are_selected() }
    }

    pub(super) fn selects(&self, topic: &TopicName) -> bool {
        self.topics.selects(topic) || (self.groups && topic.is_consumer_offsets())
    }
}

/// One look at the whole cluster.
#[derive(Debug)]
pub(super) struct Look {
    asked_at: TimestampMs,
    asked: Instant,
    told: Result<Topics, String>,
}

#[derive(Debug)]
struct Topics {
    described: BTreeMap<TopicName, Result<Described, Refusal>>,
    configs: BTreeMap<TopicName, TopicConfig>,
    /// Where the logs of lagging partitions start.
    log_starts: BTreeMap<TopicPartition, Result<Offset, Refusal>>,
}

/// What the broker says of every topic that is selected or known.
pub(super) async fn describe_all<B: Broker>(
    broker: &B,
    known: BTreeSet<TopicName>,
    scope: &Scope,
) -> Result<BTreeMap<TopicName, Result<Described, Refusal>>, Unreachable> {
    let listed = broker.topics().await?;
    // Known topics that are not listed any more are asked for by name: only a clear "unknown" counts as deleted.
    let mut topics = known;
    topics.extend(listed.into_iter().filter(|topic| scope.selects(topic)));
    // One that the user may not see is not listed, and that is to be told.
    topics.extend(scope.groups.then(TopicName::consumer_offsets));
    broker.describe(&topics.into_iter().collect::<Vec<_>>()).await
}

async fn look<B: Broker>(
    broker: &B,
    known: BTreeSet<TopicName>,
    lagging: &[TopicPartition],
    scope: &Scope,
) -> Result<Topics, Unreachable> {
    let described = describe_all(broker, known, scope).await?;
    let alive: Vec<TopicName> =
        described.iter().filter(|(_, told)| told.is_ok()).map(|(topic, _)| topic.clone()).collect();
    let configs = broker.configs(&alive).await?;
    let log_starts = if lagging.is_empty() { BTreeMap::new() } else { broker.log_starts(lagging).await? };
    Ok(Topics { described, configs, log_starts })
}

/// What a question to the broker comes to within its patience.
pub(super) async fn patient<T>(question: impl Future<Output = Result<T, Unreachable>>) -> Result<T, String> {
    match tokio::time::timeout(PATIENCE, question).await {
        Ok(Ok(told)) => Ok(told),
        Ok(Err(error)) => Err(crate::error::chain(&error)),
        Err(_) => Err("no answer in time".to_owned()),
    }
}

impl<B: Broker, C: Clock> Stream<B, C> {
    /// Asks for the cluster's topics, unless a question is out already.
    pub(super) fn ask_topics(&mut self) {
        if std::mem::replace(&mut self.asking_topics, true) {
            return;
        }
        self.reconnect();
        let broker = Arc::clone(&self.parts.broker);
        let known = self.catalog.live().cloned().collect();
        let scope = Scope::of(&self.parts);
        let lagging = self.lagging();
        let (asked_at, asked) = (self.parts.clock.now(), Instant::now());
        self.asking.spawn(async move {
            let told = patient(look(broker.as_ref(), known, &lagging, &scope)).await;
            Answer::Topics(Box::new(Look { asked_at, asked, told }))
        });
    }

    pub(super) async fn take_answer(&mut self, answer: Answer) -> Result<(), Error> {
        match answer {
            Answer::Topics(look) => {
                self.asking_topics = false;
                // What was fetched so far is settled by what was known so far; only then may lives change.
                self.cut().await?;
                if self.unsettled.is_none() {
                    self.take_topics(*look).await?;
                }
            }
            Answer::Footing(stands) => {
                self.asking_footing = false;
                self.take_footing(stands)?;
            }
            Answer::Watermarks(watermarks) => {
                self.asking_watermarks = false;
                self.take_watermarks(watermarks);
            }
        }
        Ok(())
    }

    async fn take_topics(&mut self, Look { asked_at, asked, told }: Look) -> Result<(), Error> {
        let Topics { described, configs, log_starts } = match told {
            Ok(told) => told,
            Err(error) => {
                self.broker_failed(&error);
                return Ok(());
            }
        };
        self.parts.metrics.kafka_unreachable.set(0);
        self.watch_headroom(&log_starts);
        self.unknown.retain(|topic, _| described.get(topic).is_some_and(Result::is_err));
        for (topic, told) in &described {
            match told {
                Ok(seen) => {
                    self.recreated |= self.catalog.id(topic).is_some_and(|id| *id != seen.id);
                    match configs.get(topic) {
                        Some(config) => self.catalog.observe(topic, seen, config),
                        None => self.catalog.observe(topic, seen, &self.known_config(topic)),
                    }
                }
                Err(Refusal::Unknown) => self.is_unknown(topic),
                Err(Refusal::NoId) => return Err(Error::NoTopicId(topic.clone())),
                // How groups stand is told once.
                Err(_) if topic.is_consumer_offsets() => {}
                Err(refusal) => tracing::warn!(%topic, ?refusal, "the broker does not describe the topic"),
            }
        }
        let of_groups = TopicName::consumer_offsets();
        let is_known = self.catalog.live().any(|topic| *topic == of_groups);
        self.parts.groups.observe(described.get(&of_groups), is_known);
        self.confirm(&described, asked);
        self.inherit();
        let denied: BTreeSet<&TopicName> =
            described.iter().filter(|(_, told)| told.is_err()).map(|(topic, _)| topic).collect();
        self.stop_unwanted();
        for (key, end) in std::mem::take(&mut self.unconfirmed_ends) {
            if self.catalog.is_gone(&key) {
                self.lose(&key, end, GapReason::TopicDeleted);
            } else if self.unknown.contains_key(&key.topic) {
                self.unconfirmed_ends.insert(key, end);
            }
        }
        if self.recreated {
            self.reconnect();
        }
        if self.start_wanted(&denied).await && self.catalog.covers(&described) {
            self.catalog.watched();
            self.watched_at = self.watched_at.max(Some(asked_at));
            if self.until == Until::CaughtUp && self.goal.is_none() {
                self.set_goal(&described).await?;
            }
        }
        if self.catalog.live().all(TopicName::is_consumer_offsets) {
            tracing::warn!("no topic matches topics.include yet; topics are taken up when they appear");
        }
        self.parts.status.watched();
        Ok(())
    }

    /// A topic that the broker does not know is deleted once it has been unknown for so long that no broker can be behind:
    /// its end is then given up for lost.
    fn is_unknown(&mut self, topic: &TopicName) {
        let since = *self.unknown.entry(topic.clone()).or_insert_with(Instant::now);
        if since.elapsed() >= UNKNOWN_UNTIL_DELETED {
            self.catalog.deleted(topic);
        }
    }

    /// What appeared in the meantime was not there at the last complete look, so nothing of it was there to be missed.
    /// Nobody looked at topics that were not selected.
    fn inherit(&mut self) {
        let Some(watched_at) = self.watched_at else { return };
        let unread = self.catalog.wanted().into_iter().filter(|key| !self.ledger.contains_key(key));
        let appeared: Vec<PartitionKey> = unread
            .filter(|key| self.catalog.begin(key) != Begin::LogStart)
            .filter(|key| !self.returning.iter().any(|returning| returning.topic == key.topic))
            .collect();
        for key in appeared {
            self.inherited.entry(key).or_insert(watched_at);
        }
    }

    /// A configuration that may not be read stays as it was: that it cannot be seen is no change.
    fn known_config(&self, topic: &TopicName) -> TopicConfig {
        let known = self.catalog.description(topic).map(|description| {
            let (own, inherited) = (description.config.clone(), description.inherited.clone());
            TopicConfig { own, inherited }
        });
        known.unwrap_or_default()
    }

    pub(super) fn broker_failed(&self, error: &str) {
        if self.parts.metrics.broker_failed(self.parts.clock.now()) {
            tracing::warn!(error, "the broker cannot be asked; waiting for it");
        }
    }

    /// Closes the slots of partitions that are not to be read any more. What a deleted topic held beyond the position
    /// is a gap; what was fetched of it goes into a last cut first.
    fn stop_unwanted(&mut self) {
        let wanted = self.catalog.wanted();
        let unwanted: Vec<(u32, PartitionKey)> = {
            let buffers = self.parts.buffers.lock();
            let slots = buffers.assigned().filter(|(_, key)| !wanted.contains(key));
            slots.map(|(slot, key)| (slot, key.clone())).collect()
        };
        if unwanted.is_empty() {
            return;
        }
        let partitions: Vec<TopicPartition> =
            unwanted.iter().map(|(_, key)| (key.topic.clone(), key.partition)).collect();
        if let Err(error) = self.parts.broker.unassign(&partitions) {
            tracing::warn!(error = crate::error::chain(&error), "stop fetching");
        }
        for (slot, key) in unwanted {
            let Some(closed) = self.parts.buffers.lock().close(slot) else { continue };
            self.parts.budget.release(closed.charged);
            if self.catalog.is_gone(&key)
                && let Some(end) = closed.high_watermark
            {
                self.lose(&key, end, GapReason::TopicDeleted);
            }
        }
    }

    /// Opens slots for partitions that are to be read and are not yet, as far as their leaders tell where. Says whether the
    /// broker could be asked, and the client took them.
    async fn start_wanted(&mut self, denied: &BTreeSet<&TopicName>) -> bool {
        let assigned: BTreeSet<PartitionKey> = {
            let buffers = self.parts.buffers.lock();
            buffers.assigned().map(|(_, key)| key.clone()).collect()
        };
        let missing: Vec<PartitionKey> = self
            .catalog
            .wanted()
            .into_iter()
            .filter(|key| !assigned.contains(key) && !denied.contains(&key.topic))
            .collect();
        if missing.is_empty() {
            return true;
        }
        let Some(starts) = self.starts(missing).await else { return false };
        self.open(starts)
    }

    /// Where each of these partitions is to be read from, as far as it is told; `None` where the broker cannot be asked.
    async fn starts(&mut self, missing: Vec<PartitionKey>) -> Option<Vec<Start>> {
        let unknown: Vec<PartitionKey> = missing
            .iter()
            .filter(|key| !self.ledger.contains_key(key) && self.catalog.begin(key) != Begin::Zero)
            .cloned()
            .collect();
        let log_starts = self.log_starts(&unknown).await?;
        let starts = missing.into_iter().filter_map(|key| match self.ledger.get(&key) {
            Some(start) => Some(start.clone()),
            None => self.first_start(key, &log_starts),
        });
        Some(starts.collect())
    }

    /// Where a partition is to be read from of which nothing is held.
    fn first_start(&self, key: PartitionKey, log_starts: &BTreeMap<TopicPartition, Offset>) -> Option<Start> {
        let log_start = log_starts.get(&(key.topic.clone(), key.partition)).copied();
        let begin = self.catalog.begin(&key);
        let offset = if begin == Begin::Zero { Some(Offset::new(0)) } else { log_start };
        let Some(offset) = offset else {
            // Behind as unreachable until the next look, which asks again.
            tracing::warn!(partition = %key, "the broker does not tell where its log starts; not read yet");
            return None;
        };
        let was_there = begin == Begin::Appeared && offset > Offset::new(0);
        let until = self.inherited.get(&key).copied().filter(|_| !was_there);
        Some(Start { key, offset, last_record: None, highest_timestamp: None, filed: None, until })
    }

    pub(super) async fn log_starts(&self, keys: &[PartitionKey]) -> Option<BTreeMap<TopicPartition, Offset>> {
        if keys.is_empty() {
            return Some(BTreeMap::new());
        }
        let partitions: Vec<TopicPartition> = keys.iter().map(|key| (key.topic.clone(), key.partition)).collect();
        match tokio::time::timeout(START_PATIENCE, self.parts.broker.log_starts(&partitions)).await {
            Ok(Ok(told)) => {
                Some(told.into_iter().filter_map(|(partition, told)| Some((partition, told.ok()?))).collect())
            }
            Ok(Err(error)) => {
                self.broker_failed(&crate::error::chain(&error));
                None
            }
            Err(_) => {
                self.broker_failed("log starts: no answer in time");
                None
            }
        }
    }

    /// Opens slots and assigns them. Says whether the client took them.
    pub(super) fn open(&mut self, starts: Vec<Start>) -> bool {
        let mut assignments = Vec::with_capacity(starts.len());
        {
            let mut buffers = self.parts.buffers.lock();
            buffers.set_now(self.parts.clock.now());
            for start in &starts {
                let (offset, leader_epoch) = begin(start);
                assignments.push(Assignment {
                    slot: buffers.open(start.clone()),
                    partition: (start.key.topic.clone(), start.key.partition),
                    offset,
                    leader_epoch,
                });
            }
        }
        if let Err(error) = self.parts.broker.assign(&assignments) {
            self.broker_failed(&crate::error::chain(&error));
            let mut buffers = self.parts.buffers.lock();
            for assignment in &assignments {
                buffers.close(assignment.slot);
            }
            return false;
        }
        for start in starts {
            if !self.ledger.contains_key(&start.key) {
                // The first position enters the log before its first record, so that a loss in between is a gap.
                self.pending.positions.insert(start.key.clone(), first_position(&start));
                self.inherited.remove(&start.key);
                self.ledger.insert(start.key.clone(), start);
            }
        }
        let partitions = self.parts.buffers.lock().assigned().count();
        self.parts.metrics.partitions.set(i64::try_from(partitions).unwrap_or(i64::MAX));
        true
    }

    /// Records that everything of `key` from its position up to `end` is lost, and moves on to `end`.
    pub(super) fn lose(&mut self, key: &PartitionKey, end: Offset, reason: GapReason) {
        let Some(start) = self.ledger.get_mut(key) else { return };
        let Ok(range) = OffsetRange::new(start.offset, end) else { return };
        if range.is_empty() {
            return;
        }
        start.offset = end;
        start.last_record = None;
        let gap = Gap {
            topic: key.topic.clone(),
            lineage: key.lineage,
            partition: key.partition,
            range,
            reason,
            after: start.highest_timestamp,
            observed_at: self.parts.clock.now(),
        };
        self.pending.positions.insert(key.clone(), first_position(start));
        self.count_gap(&gap);
        self.pending.gaps.push(gap);
    }

    /// Connects anew where credentials changed, the client stopped, or a topic was re-created; everything is assigned again by
    /// the look that follows.
    fn reconnect(&mut self) {
        match self.parts.broker.reconnect_if_outdated(self.recreated) {
            Ok(false) => {}
            Ok(true) => {
                self.recreated = false;
                tracing::info!("connected anew");
                self.forget_assignments();
            }
            Err(error) => {
                tracing::warn!(error = crate::error::chain(&error), "connect anew; keeping the connection that stands");
            }
        }
    }

    fn forget_assignments(&mut self) {
        let mut freed = 0;
        let mut buffers = self.parts.buffers.lock();
        let slots: Vec<u32> = buffers.assigned().map(|(slot, _)| slot).collect();
        for slot in slots {
            freed += buffers.close(slot).map_or(0, |closed| closed.charged);
        }
        drop(buffers);
        self.parts.budget.release(freed);
    }

    /// The end offsets at this moment, as the goal of a run that ends when it is caught up. There is none before every
    /// topic and every partition has answered: what is left out would count as read.
    async fn set_goal(&mut self, described: &BTreeMap<TopicName, Result<Described, Refusal>>) -> Result<(), Error> {
        let refused = described.iter().filter_map(|(topic, told)| Some((topic, told.as_ref().err().copied()?)));
        // That groups are not covered is told, and ends nothing.
        let refused = refused.filter(|(topic, _)| !topic.is_consumer_offsets());
        // A topic that is unknown is deleted, and not wanted any more.
        if !may_go_on(refused.filter(|(_, refusal)| *refusal != Refusal::Unknown))? {
            return Ok(());
        }
        let partitions: Vec<TopicPartition> =
            self.catalog.wanted().into_iter().map(|key| (key.topic, key.partition)).collect();
        let is_needed = |partition: &TopicPartition| !partition.0.is_consumer_offsets();
        match tokio::time::timeout(PATIENCE, self.parts.broker.high_watermarks(&partitions)).await {
            Ok(Ok(told)) => {
                let end = |partition| told.get(partition).copied().unwrap_or(Err(Refusal::Unavailable));
                let needed = partitions.iter().filter(|partition| is_needed(partition));
                let refused = needed.filter_map(|partition| Some((&partition.0, end(partition).err()?)));
                if may_go_on(refused)? {
                    let ends = told.into_iter().filter_map(|(partition, end)| Some((partition, end.ok()?)));
                    self.goal = Some(ends.collect());
                }
            }
            Ok(Err(error)) => self.broker_failed(&crate::error::chain(&error)),
            Err(_) => self.broker_failed("end offsets: no answer in time"),
        }
        Ok(())
    }
}

/// Whether none was refused. What is unavailable is asked again at the next look; what is denied stays so.
fn may_go_on<'a>(refused: impl Iterator<Item = (&'a TopicName, Refusal)>) -> Result<bool, Error> {
    let mut all_told = true;
    for (topic, refusal) in refused {
        if refusal == Refusal::Denied {
            return Err(Error::Denied { topic: topic.clone() });
        }
        tracing::warn!(%topic, ?refusal, "the broker does not tell where the topic ends; waiting for it");
        all_told = false;
    }
    Ok(all_told)
}

/// Where the client begins: right behind the last record, with its epoch, so that the leader can say whether its log
/// is still the one that was read. Between there and the position nothing is readable, or the log is another one.
fn begin(start: &Start) -> (Offset, Option<LeaderEpoch>) {
    match start.last_record {
        Some(last) if last.leader_epoch != LeaderEpoch::UNKNOWN => (last.offset.next(), Some(last.leader_epoch)),
        _ => (start.offset, None),
    }
}

fn first_position(start: &Start) -> PartitionPosition {
    PartitionPosition {
        topic: start.key.topic.clone(),
        lineage: start.key.lineage,
        partition: start.key.partition,
        next_offset: start.offset,
        last_record: start.last_record,
        highest_timestamp: start.highest_timestamp,
        filed: start.filed,
    }
}
