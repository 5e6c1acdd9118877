//! The [`Broker`] of the simulation: it behaves as librdkafka was measured to behave, traps included.
//!
//! - A re-created topic is read on silently at the old offset; nothing but the topic id tells.
//! - A position outside the log is told once, and then the partition stands still until it is assigned anew.
//! - A log that was cut back is found by the leader epoch of the last record, where one is known.
//! - A deleted topic is silent for five seconds, then told as unknown again and again.
//! - The end of a partition is told each time it is reached, past markers and aborted records.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use strimzi_backup_format::ids::{LeaderEpoch, Offset, PartitionId, TopicName};
use strimzi_backup_format::record::{HeaderRef, Record, RecordRef};
use strimzi_backup_streamer::budget::Budget;
use strimzi_backup_streamer::clock::Clock as _;
use strimzi_backup_streamer::source::buffers::{Buffers, Fault};
use strimzi_backup_streamer::source::{
    Assignment, Broker, Described, Refusal, TopicConfig, TopicPartition, Unreachable,
};
use tokio::time::Instant;

use super::clock::SimClock;
use super::cluster::{Cluster, Partition};
use super::dice::Dice;

/// How long the client keeps quiet about a topic that is gone.
const QUIET: Duration = Duration::from_secs(5);

/// A partition as the client reads it.
#[derive(Debug)]
struct Reading {
    slot: u32,
    next: i64,
    last_epoch: Option<i32>,
    /// It waits to be assigned anew.
    stuck: bool,
    told_end: Option<i64>,
    missing_since: Option<Instant>,
}

/// What records go into.
#[derive(Debug)]
pub struct Sink {
    /// The writer's buffers.
    pub buffers: Arc<Mutex<Buffers>>,
    /// The writer's budget.
    pub budget: Arc<Budget>,
    /// The writer's clock.
    pub clock: Arc<SimClock>,
}

/// One writer's client.
#[derive(Debug)]
pub struct SimBroker {
    cluster: Arc<Mutex<Cluster>>,
    sink: Sink,
    readings: Mutex<BTreeMap<TopicPartition, Reading>>,
    dice: Mutex<Dice>,
    /// The largest single poll so far: by so much the budget may be overdrawn.
    largest_poll: Mutex<usize>,
    /// A planted bug: reading begins this many offsets too late where it goes on.
    late_by: i64,
}

impl SimBroker {
    /// A client of `cluster` that fills `sink`.
    pub fn new(cluster: Arc<Mutex<Cluster>>, sink: Sink, dice: Dice, late_by: i64) -> Self {
        let (readings, dice) = (Mutex::default(), Mutex::new(dice));
        Self { cluster, sink, readings, dice, largest_poll: Mutex::new(0), late_by }
    }

    /// Delivers for ever.
    pub async fn poll(self: Arc<Self>) {
        loop {
            let pause = self.dice.lock().below(120) + 10;
            tokio::time::sleep(Duration::from_millis(pause)).await;
            if !self.sink.budget.is_spent() && !self.cluster.lock().unreachable {
                self.deliver();
            }
        }
    }

    /// By how much the budget may be overdrawn.
    pub fn largest_poll(&self) -> usize {
        *self.largest_poll.lock()
    }

    fn deliver(&self) {
        let (cluster, mut readings) = (self.cluster.lock(), self.readings.lock());
        let (mut dice, mut buffers) = (self.dice.lock(), self.sink.buffers.lock());
        buffers.set_now(self.sink.clock.now());
        let mut charged = 0;
        for ((topic, partition), reading) in readings.iter_mut() {
            if reading.stuck || dice.once_in(4) {
                continue;
            }
            let found = cluster.partition(topic, partition.get());
            let events = dice.below(12) + 1;
            charged += reading.fetch(found, events, &mut buffers, &mut dice);
            if charged + self.sink.budget.used() >= self.sink.budget.limit() {
                break;
            }
        }
        self.sink.budget.charge(charged);
        let mut largest = self.largest_poll.lock();
        *largest = charged.max(*largest);
    }

    async fn answer<T>(&self, answer: impl FnOnce(&Cluster) -> T) -> Result<T, Unreachable> {
        let (before, after, hangs) = {
            let mut dice = self.dice.lock();
            let slow = if dice.once_in(40) { 8_000 } else { 60 };
            (dice.below(slow), dice.below(60), dice.once_in(4))
        };
        tokio::time::sleep(Duration::from_millis(before)).await;
        if self.cluster.lock().unreachable {
            if hangs {
                return pending().await;
            }
            return Err(Unreachable { what: "an answer", source: "it is unreachable".into() });
        }
        let told = answer(&self.cluster.lock());
        tokio::time::sleep(Duration::from_millis(after)).await;
        Ok(told)
    }

    async fn bounds(
        &self,
        partitions: &[TopicPartition],
        of: impl Fn(&Partition) -> i64,
    ) -> Result<BTreeMap<TopicPartition, Result<Offset, Refusal>>, Unreachable> {
        self.answer(|cluster| {
            let told = partitions.iter().map(|(topic, partition)| {
                let refused = cluster.refused.as_ref().filter(|(refused, _)| refused == topic);
                let found = match refused {
                    Some((_, refusal)) => Err(*refusal),
                    None => cluster.partition(topic, partition.get()).ok_or(Refusal::Unknown),
                };
                ((topic.clone(), *partition), found.map(|found| Offset::new(of(found))))
            });
            told.collect()
        })
        .await
    }
}

impl Reading {
    /// Delivers what is next. Gives back the bytes it costs.
    fn fetch(&mut self, found: Option<&Partition>, events: u64, buffers: &mut Buffers, dice: &mut Dice) -> usize {
        let Some(partition) = found else {
            let since = *self.missing_since.get_or_insert_with(Instant::now);
            if since.elapsed() > QUIET {
                buffers.fault(self.slot, Fault::Unknown);
            }
            return 0;
        };
        self.missing_since = None;
        if let Some(fault) = self.complaint(partition, dice) {
            self.stuck = true;
            buffers.fault(self.slot, fault);
            return 0;
        }
        let mut cost = 0;
        for _ in 0..events {
            let stable = partition.last_stable();
            let mut offsets = self.next..stable;
            let next = offsets.find_map(|offset| {
                let entry = partition.log.at(offset)?;
                entry.readable().map(|record| (offset, entry.epoch, Arc::clone(record)))
            });
            let Some((offset, epoch, record)) = next else {
                if self.told_end != Some(stable) {
                    buffers.end_of_partition(self.slot, Offset::new(stable));
                    (self.next, self.told_end) = (self.next.max(stable), Some(stable));
                }
                break;
            };
            cost += deliver_record(buffers, self.slot, epoch, &record);
            (self.next, self.last_epoch, self.told_end) = (offset + 1, Some(epoch), None);
        }
        cost
    }

    /// What the client finds wrong before it reads on.
    fn complaint(&self, partition: &Partition, dice: &mut Dice) -> Option<Fault> {
        let outside = self.next < partition.log.start || self.next > partition.log.high_watermark();
        // Epochs of a re-created topic begin anew and prove nothing.
        let diverged =
            self.last_epoch.is_some_and(|epoch| epoch < partition.epoch && partition.end_of_epoch(epoch) < self.next);
        if outside || diverged {
            return Some(Fault::OutOfRange);
        }
        match dice.below(3_000) {
            // A follower that lags and was just made leader.
            0 => Some(Fault::OutOfRange),
            1 => Some(Fault::Corrupt),
            _ => None,
        }
    }
}

fn deliver_record(buffers: &mut Buffers, slot: u32, epoch: i32, record: &Record) -> usize {
    let headers: Vec<HeaderRef<'_>> =
        record.headers.iter().map(|header| HeaderRef { key: &header.key, value: header.value.as_deref() }).collect();
    let record = RecordRef {
        offset: record.offset,
        timestamp: record.timestamp,
        timestamp_type: record.timestamp_type,
        leader_epoch: LeaderEpoch::new(epoch),
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &headers,
    };
    buffers.record(slot, &record)
}

/// How long a topic of the simulation keeps records, in milliseconds; `None`: for ever.
pub fn keeps(topic: &TopicName) -> Option<i64> {
    match topic.as_str() {
        "orders" => Some(20_000),
        "a.b_c" => Some(60_000),
        _ => None,
    }
}

/// Whether Kafka compacts a topic of the simulation.
pub fn compacts(topic: &TopicName) -> bool {
    topic.as_str() == "payments"
}

fn config_of(topic: &TopicName) -> TopicConfig {
    let text = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let own = match topic.as_str() {
        _ if compacts(topic) => vec![text("cleanup.policy", "compact")],
        "late" => vec![text("retention.ms", "-1")],
        _ => keeps(topic).map(|millis| text("retention.ms", &millis.to_string())).into_iter().collect(),
    };
    let inherited = [text("cleanup.policy", "delete"), text("retention.ms", "604800000")];
    let own: BTreeMap<String, String> = own.into_iter().collect();
    let inherited = inherited.into_iter().filter(|(name, _)| !own.contains_key(name)).collect();
    TopicConfig { own, inherited }
}

impl Broker for SimBroker {
    async fn topics(&self) -> Result<Vec<TopicName>, Unreachable> {
        self.answer(|cluster| cluster.alive().map(|life| life.topic.clone()).collect()).await
    }

    async fn describe(
        &self,
        topics: &[TopicName],
    ) -> Result<BTreeMap<TopicName, Result<Described, Refusal>>, Unreachable> {
        self.answer(|cluster| {
            let told = topics.iter().map(|topic| {
                let found = cluster.life(topic).ok_or(Refusal::Unknown);
                let described = found.map(|life| Described {
                    id: life.id.clone(),
                    partitions: u32::try_from(life.partitions.len()).unwrap_or(u32::MAX),
                    replication_factor: 3,
                });
                (topic.clone(), described)
            });
            told.collect()
        })
        .await
    }

    async fn configs(&self, topics: &[TopicName]) -> Result<BTreeMap<TopicName, TopicConfig>, Unreachable> {
        self.answer(|_| topics.iter().map(|topic| (topic.clone(), config_of(topic))).collect()).await
    }

    async fn high_watermarks(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Result<Offset, Refusal>>, Unreachable> {
        self.bounds(partitions, |partition| partition.log.high_watermark()).await
    }

    async fn log_starts(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Result<Offset, Refusal>>, Unreachable> {
        self.bounds(partitions, |partition| partition.log.start).await
    }

    fn assign(&self, assignments: &[Assignment]) -> Result<(), Unreachable> {
        let mut readings = self.readings.lock();
        let conflict = assignments.iter().any(|assignment| readings.contains_key(&assignment.partition));
        if conflict || self.dice.lock().once_in(100) {
            return Err(Unreachable { what: "records", source: "conflict".into() });
        }
        for assignment in assignments {
            let offset = assignment.offset.get();
            let late_by = if assignment.leader_epoch.is_some() { self.late_by } else { 0 };
            let reading = Reading {
                slot: assignment.slot,
                next: offset + late_by,
                last_epoch: assignment.leader_epoch.map(LeaderEpoch::get),
                stuck: false,
                told_end: None,
                missing_since: None,
            };
            readings.insert(assignment.partition.clone(), reading);
        }
        Ok(())
    }

    fn unassign(&self, partitions: &[TopicPartition]) -> Result<(), Unreachable> {
        let mut readings = self.readings.lock();
        for partition in partitions {
            readings.remove(partition);
        }
        Ok(())
    }

    fn reconnect_if_outdated(&self, was_recreated: bool) -> Result<bool, Unreachable> {
        let reconnect = self.dice.lock().once_in(50) || was_recreated;
        if reconnect {
            self.readings.lock().clear();
        }
        Ok(reconnect)
    }
}

/// A partition by its names.
pub fn topic_partition(topic: &TopicName, partition: usize) -> TopicPartition {
    (topic.clone(), PartitionId::new(i32::try_from(partition).unwrap_or(i32::MAX)))
}
