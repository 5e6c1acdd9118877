//! The [`Broker`] that is Kafka: the client, the thread that polls it, and the reconnect when credentials change.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use strimzi_backup_format::ids::{Offset, TopicName};
use strimzi_backup_format::job::Cluster;
use strimzi_backup_format::manifest::INHERITED;
use strimzi_backup_format::record::RecordRef;

use super::buffers::{Buffers, Fault};
use super::{Assignment, Broker, Described, Refusal, TopicConfig, TopicPartition, Unreachable};
use crate::budget::Budget;
use crate::clock::Clock;
use crate::error::Error;
use crate::kafka::{self, BrokerError, Kafka, OffsetSpec, PartitionFault, TopicSettings, Tuning};
use crate::metrics::{KindLabel, Metrics};
use crate::thread::Thread;

/// How long one poll waits for the first event, and so how soon the thread notices that it should stop.
const POLL_PATIENCE: Duration = Duration::from_millis(100);

/// Events taken under one lock of the buffers.
const EVENTS_PER_LOCK: usize = 512;

/// A Kafka cluster.
pub struct LiveBroker {
    cluster: Cluster,
    tuning: Tuning,
    kafka: RwLock<Kafka>,
}

impl LiveBroker {
    /// Around a client made from `cluster` and `tuning`.
    pub fn new(cluster: Cluster, tuning: Tuning, kafka: Kafka) -> Self {
        Self { cluster, tuning, kafka: RwLock::new(kafka) }
    }

    fn kafka(&self) -> Kafka {
        self.kafka.read().clone()
    }

    /// Polls the client on a thread of its own: records go into `buffers`, as long as `budget` is not spent.
    ///
    /// # Errors
    /// Where the thread cannot be started.
    pub fn spawn_poller<C: Clock>(
        self: &Arc<Self>,
        buffers: Arc<Mutex<Buffers>>,
        budget: Arc<Budget>,
        clock: Arc<C>,
        metrics: Arc<Metrics>,
    ) -> Result<Thread, Error> {
        let broker = Arc::clone(self);
        Thread::spawn("kafka-poll", move |stop| {
            while !stop.is_cancelled() {
                if budget.wait(POLL_PATIENCE) {
                    broker.poll_once(&buffers, &budget, clock.as_ref(), &metrics);
                }
            }
        })
    }

    fn poll_once(&self, buffers: &Mutex<Buffers>, budget: &Budget, clock: &impl Clock, metrics: &Metrics) {
        let kafka = self.kafka();
        let room = budget.limit().saturating_sub(budget.used());
        // A third is cut early (`crate::stream`), so encoders have something to do, and before long this thread would wait for them.
        let packs = budget.used() >= budget.limit() / 3;
        let mut sink = Intake { buffers: None, shared: buffers, charged: 0, room, packs, metrics, clock };
        kafka.poll(POLL_PATIENCE, EVENTS_PER_LOCK, &mut sink);
        budget.charge(sink.charged);
    }
}

/// Takes events into the buffers; locks them with the first event, not while waiting for it.
struct Intake<'a, C> {
    buffers: Option<parking_lot::MutexGuard<'a, Buffers>>,
    shared: &'a Mutex<Buffers>,
    charged: usize,
    /// What the budget had left: the last record may overdraw it, no other.
    room: usize,
    /// Whether pages that fill are compressed here.
    packs: bool,
    metrics: &'a Metrics,
    clock: &'a C,
}

impl<C: Clock> Intake<'_, C> {
    fn buffers(&mut self) -> &mut Buffers {
        let (shared, packs, clock) = (self.shared, self.packs, self.clock);
        self.buffers.get_or_insert_with(|| {
            let mut buffers = shared.lock();
            buffers.set_packs(packs);
            buffers.set_now(clock.now());
            buffers
        })
    }
}

impl<C: Clock> kafka::Sink for Intake<'_, C> {
    fn record(&mut self, slot: u32, record: RecordRef<'_>) {
        self.charged += self.buffers().record(slot, &record);
    }

    fn is_full(&self) -> bool {
        self.charged >= self.room
    }

    fn end_of_partition(&mut self, slot: u32, offset: Offset) {
        self.buffers().end_of_partition(slot, offset);
    }

    fn partition_fault(&mut self, slot: u32, fault: PartitionFault) {
        let fault = match fault {
            PartitionFault::OutOfRange { .. } => Fault::OutOfRange,
            PartitionFault::UnknownPartition => Fault::Unknown,
            PartitionFault::Denied => Fault::Denied,
            PartitionFault::Corrupt { .. } => Fault::Corrupt,
            PartitionFault::Other(_) => Fault::Other,
        };
        self.metrics.kafka_errors.get_or_create(&KindLabel::new(fault.as_str())).inc();
        self.buffers().fault(slot, fault);
    }

    fn client_fault(&mut self, fault: kafka::Error) {
        self.metrics.kafka_errors.get_or_create(&KindLabel::new("Client")).inc();
        tracing::warn!(error = crate::error::chain(&fault), "kafka client");
    }
}

fn unreachable(what: &'static str) -> impl Fn(kafka::Error) -> Unreachable {
    move |source| Unreachable { what, source: Box::new(source) }
}

fn config(settings: TopicSettings) -> TopicConfig {
    let TopicSettings { overrides: own, effective } = settings;
    let inherited = INHERITED.into_iter().filter(|name| !own.contains_key(*name));
    let inherited = inherited.filter_map(|name| Some((name.to_owned(), effective.get(name)?.clone()))).collect();
    TopicConfig { own, inherited }
}

fn refusal(error: &BrokerError) -> Refusal {
    match error {
        error if error.is_unknown() => Refusal::Unknown,
        error if error.is_denied() => Refusal::Denied,
        _ => Refusal::Unavailable,
    }
}

fn described(told: kafka::TopicDescription) -> Result<Described, Refusal> {
    let number = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    Ok(Described {
        id: told.id.ok_or(Refusal::NoId)?,
        partitions: number(told.partitions.len()),
        replication_factor: told.partitions.first().map_or(0, |partition| number(partition.replicas)),
    })
}

impl LiveBroker {
    async fn offsets(
        &self,
        partitions: &[TopicPartition],
        at: OffsetSpec,
        what: &'static str,
    ) -> Result<BTreeMap<TopicPartition, Result<Offset, Refusal>>, Unreachable> {
        let answers = self.kafka().list_offsets(partitions, at).await.map_err(unreachable(what))?;
        let told = answers.into_iter().map(|(partition, answer)| (partition, answer.map_err(|error| refusal(&error))));
        Ok(told.collect())
    }
}

impl Broker for LiveBroker {
    async fn topics(&self) -> Result<Vec<TopicName>, Unreachable> {
        self.kafka().topic_names().await.map_err(unreachable("its topics"))
    }

    async fn describe(
        &self,
        topics: &[TopicName],
    ) -> Result<BTreeMap<TopicName, Result<Described, Refusal>>, Unreachable> {
        let answers = self.kafka().describe_topics(topics).await.map_err(unreachable("topic ids"))?;
        let told = answers
            .into_iter()
            .map(|(topic, answer)| (topic, answer.map_err(|error| refusal(&error)).and_then(described)));
        Ok(told.collect())
    }

    async fn configs(&self, topics: &[TopicName]) -> Result<BTreeMap<TopicName, TopicConfig>, Unreachable> {
        let answers = self.kafka().topic_settings(topics).await.map_err(unreachable("topic configurations"))?;
        Ok(answers.into_iter().filter_map(|(topic, answer)| Some((topic, config(answer.ok()?)))).collect())
    }

    async fn high_watermarks(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Result<Offset, Refusal>>, Unreachable> {
        self.offsets(partitions, OffsetSpec::HighWatermark, "high watermarks").await
    }

    async fn log_starts(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<BTreeMap<TopicPartition, Result<Offset, Refusal>>, Unreachable> {
        self.offsets(partitions, OffsetSpec::LogStart, "log starts").await
    }

    fn assign(&self, assignments: &[Assignment]) -> Result<(), Unreachable> {
        let assignments: Vec<kafka::Assignment> = assignments
            .iter()
            .map(|assignment| kafka::Assignment {
                slot: assignment.slot,
                topic: assignment.partition.0.clone(),
                partition: assignment.partition.1,
                offset: assignment.offset,
                leader_epoch: assignment.leader_epoch,
            })
            .collect();
        self.kafka().assign(&assignments).map_err(unreachable("records"))
    }

    fn unassign(&self, partitions: &[TopicPartition]) -> Result<(), Unreachable> {
        self.kafka().unassign(partitions).map_err(unreachable("no more records"))
    }

    fn reconnect_if_outdated(&self, was_recreated: bool) -> Result<bool, Unreachable> {
        let kafka = self.kafka();
        if let Some(fault) = kafka.fatal_error() {
            tracing::warn!(error = crate::error::chain(&fault), "kafka client");
        } else if !was_recreated && !kafka.credentials_changed() {
            return Ok(false);
        }
        let fresh = Kafka::connect(&self.cluster, &self.tuning).map_err(unreachable("a new connection"))?;
        *self.kafka.write() = fresh;
        Ok(true)
    }
}
