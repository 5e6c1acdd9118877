//! What the streamer's Kafka client promises, on a real broker: the traps that librdkafka lays, and the answers that the
//! pipeline relies on.

mod faults;
mod groups;
mod producer;
mod records;
mod rights;
mod target;
mod traps;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex, Weak};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use strimzi_backup_format::ids::{Offset, PartitionId, TopicName};
use strimzi_backup_format::job::Cluster;
use strimzi_backup_format::record::{RecordRef, TimestampType};
use strimzi_backup_streamer::kafka::{Assignment, Error, Kafka, PartitionFault, Sink, Tuning};
use strimzi_backup_tests::client::{Header, Record};
use strimzi_backup_tests::kafka::KafkaBroker;

const SOON: Duration = Duration::from_secs(20);
/// Long enough for what must not come, to come.
const QUIET: Duration = Duration::from_millis(1500);

/// One broker for the tests that run at the same time; the last to end stops it.
fn broker() -> Result<Arc<KafkaBroker>> {
    static SHARED: LazyLock<Mutex<Weak<KafkaBroker>>> = LazyLock::new(|| Mutex::new(Weak::new()));
    let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    if let Some(running) = shared.upgrade() {
        return Ok(running);
    }
    let started = Arc::new(KafkaBroker::start()?);
    *shared = Arc::downgrade(&started);
    Ok(started)
}

fn cluster(bootstrap: &str) -> Cluster {
    Cluster { bootstrap_servers: bootstrap.to_owned(), tls: None, authentication: None, properties: BTreeMap::new() }
}

fn tuning() -> Tuning {
    Tuning {
        fetch_wait: Duration::from_millis(50),
        fetch_min_bytes: 1,
        metadata_interval: Duration::from_secs(1),
        ..Tuning::default()
    }
}

fn connect(bootstrap: &str) -> Result<Kafka> {
    Ok(Kafka::connect(&cluster(bootstrap), &tuning())?)
}

fn name(topic: &str) -> Result<TopicName> {
    Ok(TopicName::new(topic)?)
}

fn at(slot: u32, topic: &str, partition: i32, offset: i64) -> Result<Assignment> {
    let (topic, partition) = (name(topic)?, PartitionId::new(partition));
    Ok(Assignment { slot, topic, partition, offset: Offset::new(offset), leader_epoch: None })
}

fn numbered(range: std::ops::Range<i64>, partition: i32) -> Vec<Record> {
    range.map(|number| Record::value(number.to_string()).partition(partition)).collect()
}

fn block_on<T>(future: impl Future<Output = T>) -> Result<T> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future))
}

/// A record as it was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    slot: u32,
    offset: i64,
    timestamp: i64,
    timestamp_type: TimestampType,
    epoch: i32,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<Header>,
}

/// Keeps everything.
#[derive(Default)]
struct Recorder {
    records: Vec<Seen>,
    ends: Vec<(u32, i64)>,
    faults: Vec<(u32, PartitionFault)>,
    client_faults: Vec<Error>,
}

impl Sink for Recorder {
    fn record(&mut self, slot: u32, record: RecordRef<'_>) {
        let headers = record.headers.iter().map(|header| (header.key.to_vec(), header.value.map(<[u8]>::to_vec)));
        self.records.push(Seen {
            slot,
            offset: record.offset.get(),
            timestamp: record.timestamp.get(),
            timestamp_type: record.timestamp_type,
            epoch: record.leader_epoch.get(),
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: headers.collect(),
        });
    }

    fn end_of_partition(&mut self, slot: u32, offset: Offset) {
        self.ends.push((slot, offset.get()));
    }

    fn partition_fault(&mut self, slot: u32, fault: PartitionFault) {
        self.faults.push((slot, fault));
    }

    fn client_fault(&mut self, fault: Error) {
        self.client_faults.push(fault);
    }
}

impl Recorder {
    fn offsets(&self, slot: u32) -> Vec<i64> {
        self.records.iter().filter(|record| record.slot == slot).map(|record| record.offset).collect()
    }

    fn poll_until(&mut self, kafka: &Kafka, what: &str, done: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + SOON;
        while !done(self) {
            ensure!(
                Instant::now() < deadline,
                "waited for {what}: {} records, ends {:?}, faults {:?}, {:?}",
                self.records.len(),
                self.ends,
                self.faults,
                self.client_faults
            );
            kafka.poll(Duration::from_millis(50), 1000, self);
        }
        Ok(())
    }

    fn poll_for(&mut self, kafka: &Kafka, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            kafka.poll(Duration::from_millis(50), 1000, self);
        }
    }
}
