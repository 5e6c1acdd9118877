//! What the streamer's Kafka client promises, on a real broker: the traps that librdkafka lays, one test each, and the
//! answers that the pipeline relies on.

use std::collections::BTreeMap;
use std::io::{Seek, SeekFrom, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, Mutex, Weak, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset as RdOffset, TopicPartitionList};
use strimzi_backup_format::ids::{LeaderEpoch, Offset, PartitionId, TopicName};
use strimzi_backup_format::job::{Authentication, Cluster, ScramMechanism, Tls, Username};
use strimzi_backup_format::record::{RecordRef, TimestampType};
use strimzi_backup_streamer::kafka::{
    Assignment, Code, ConfigurationFault, Error, Kafka, OffsetSpec, PartitionFault, Sink, Tuning,
};
use strimzi_backup_tests::client::{Header, KafkaClient, Record};
use strimzi_backup_tests::kafka::{BrokerOptions, KafkaBroker, SCRAM_BACKUP};

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

#[test]
fn trap1_no_record_is_lost_around_the_end_of_a_partition_and_a_pause() -> Result<()> {
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("trap1-end", 1, &[])?;
    let kafka = connect(&broker.bootstrap())?;
    kafka.assign(&[at(7, "trap1-end", 0, 0)?])?;
    let mut seen = Recorder::default();
    for round in 0..10_i64 {
        client.produce("trap1-end", &numbered(round * 3..round * 3 + 3, 0))?;
        let end = round * 3 + 3;
        seen.poll_until(&kafka, "the end", |seen| seen.ends.last() == Some(&(7, end)))?;
        thread::sleep(Duration::from_millis(30));
    }
    assert_eq!(seen.offsets(7), (0..30).collect::<Vec<_>>());
    assert!(seen.faults.is_empty() && seen.client_faults.is_empty());
    Ok(())
}

#[test]
fn trap1_no_record_is_lost_or_repeated_when_the_caller_stops_polling() -> Result<()> {
    const COUNT: i64 = 20_000;
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("trap1-pressure", 2, &[])?;
    for partition in 0..2 {
        let records: Vec<Record> = (0..COUNT).map(|_| Record::value(vec![b'x'; 512]).partition(partition)).collect();
        client.produce("trap1-pressure", &records)?;
    }
    let small_queue = Tuning { queue_bytes: 256 << 10, ..tuning() };
    let kafka = Kafka::connect(&cluster(&broker.bootstrap()), &small_queue)?;
    kafka.assign(&[at(0, "trap1-pressure", 0, 0)?, at(1, "trap1-pressure", 1, 0)?])?;
    let mut seen = Recorder::default();
    seen.poll_until(&kafka, "both ends", |seen| {
        // Rests now and then, as a caller does whose memory is spent.
        if seen.records.len() % 3 == 0 {
            thread::sleep(Duration::from_millis(5));
        }
        seen.ends.len() >= 2
    })?;
    for slot in 0..2 {
        assert_eq!(seen.offsets(slot), (0..COUNT).collect::<Vec<_>>());
    }
    Ok(())
}

#[test]
fn trap2_a_recreated_topic_goes_on_silently_and_only_its_id_tells() -> Result<()> {
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("trap2", 1, &[])?;
    client.produce("trap2", &numbered(0..3, 0))?;
    let kafka = connect(&broker.bootstrap())?;
    let describe = || -> Result<_> {
        let mut found = block_on(kafka.describe_topics(&[name("trap2")?]))??;
        let (_, description) = found.pop().context("an answer")?;
        Ok(description?)
    };
    let before = describe()?;
    assert_eq!(before.partitions.len(), 1);
    assert_eq!(before.partitions[0].replicas, 1);
    kafka.assign(&[at(0, "trap2", 0, 0)?])?;
    let mut seen = Recorder::default();
    seen.poll_until(&kafka, "the end", |seen| seen.ends.contains(&(0, 3)))?;

    let epoch = seen.records[2].epoch;
    let partition = [(name("trap2")?, PartitionId::new(0))];
    // Not fetching meanwhile, as under back-pressure: a fetch from the still empty new log would be out of range.
    kafka.unassign(&partition)?;
    client.delete_topic("trap2")?;
    client.create_topic("trap2", 1, &[])?;
    client.produce("trap2", &numbered(100..105, 0))?;
    let after = describe()?;
    assert_ne!(before.id, after.id);
    let id = after.id.as_ref().context("an id")?;
    assert_eq!(id.as_str().len(), 22);
    let listed = broker.cli("topics", &["--describe", "--topic", "trap2"])?;
    assert!(listed.contains(id.as_str()), "the id as Kafka's own tools print it");
    // Epochs begin at 0 again, so they do not tell either.
    let known = Assignment { leader_epoch: Some(LeaderEpoch::new(epoch)), ..at(1, "trap2", 0, 3)? };
    kafka.assign(&[known])?;
    seen.poll_until(&kafka, "records of the new topic", |seen| seen.ends.contains(&(1, 5)))?;
    assert_eq!(seen.offsets(1), [3, 4], "offsets 0 to 2 of the new topic were skipped without a word");
    assert_eq!(seen.faults, []);
    Ok(())
}

#[test]
fn trap3_dropping_the_client_ends_after_lists_pauses_and_records_in_flight() -> Result<()> {
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("trap3", 4, &[])?;
    for partition in 0..4 {
        client.produce("trap3", &numbered(0..2000, partition))?;
    }
    let bootstrap = broker.bootstrap();
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        let work = || -> Result<()> {
            let kafka = connect(&bootstrap)?;
            let all: Result<Vec<_>> = (0..4).map(|partition| at(0, "trap3", partition, 0)).collect();
            kafka.assign(&all?)?;
            block_on(kafka.topic_names())??;
            let partitions = [(name("trap3")?, PartitionId::new(0))];
            block_on(kafka.list_offsets(&partitions, OffsetSpec::LogStart))??;
            kafka.poll(SOON, 10, &mut Recorder::default());
            kafka.unassign(&partitions)?;
            kafka.assign(&[at(0, "trap3", 0, 5)?])?;
            drop(kafka);
            Ok(())
        };
        done.send(work())
    });
    ended.recv_timeout(SOON).context("the client hangs when it is dropped")?
}

fn transactional(client_id: &str, bootstrap: &str, backoff_ms: &str) -> Result<BaseProducer> {
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", bootstrap)
        .set("transactional.id", client_id)
        .set("retry.backoff.ms", backoff_ms)
        .create()?;
    producer.init_transactions(SOON)?;
    Ok(producer)
}

/// One record and one offset of a group in an open transaction.
fn fill_transaction(producer: &BaseProducer, bootstrap: &str, topic: &str, group: &str) -> Result<()> {
    let consumer: BaseConsumer =
        ClientConfig::new().set("bootstrap.servers", bootstrap).set("group.id", group).create()?;
    let metadata = consumer.group_metadata().context("metadata of a group")?;
    producer.begin_transaction()?;
    producer.send(BaseRecord::<(), str>::to(topic).payload("v")).map_err(|(error, _)| error)?;
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(topic, 0, RdOffset::Offset(5_000_000_123))?;
    producer.send_offsets_to_transaction(&offsets, &metadata, SOON)?;
    Ok(())
}

#[test]
fn trap4_the_retry_backoff_is_the_time_of_a_small_transaction() -> Result<()> {
    let broker = broker()?;
    let bootstrap = broker.bootstrap();
    broker.client().create_topic("trap4", 1, &[])?;
    let mut times = Vec::new();
    for backoff in ["100", "5"] {
        let producer = transactional(&format!("trap4-{backoff}"), &bootstrap, backoff)?;
        fill_transaction(&producer, &bootstrap, "trap4", "trap4")?;
        producer.commit_transaction(SOON)?;
        let mut fastest = Duration::MAX;
        for _ in 0..5 {
            let started = Instant::now();
            fill_transaction(&producer, &bootstrap, "trap4", "trap4")?;
            producer.commit_transaction(SOON)?;
            fastest = fastest.min(started.elapsed());
        }
        times.push(fastest);
    }
    println!("fastest transaction with a backoff of 100 ms and 5 ms: {times:?}");
    assert!(times[0] > times[1], "{times:?}");
    Ok(())
}

#[test]
fn trap5_deleting_a_group_takes_its_pending_offsets_and_the_commit_says_ok() -> Result<()> {
    let broker = broker()?;
    let bootstrap = broker.bootstrap();
    broker.client().create_topic("trap5", 1, &[])?;
    let producer = transactional("trap5", &bootstrap, "5")?;
    fill_transaction(&producer, &bootstrap, "trap5", "trap5")?;
    broker.client().delete_group("trap5")?;
    producer.commit_transaction(SOON)?;
    assert_eq!(broker.client().committed_offset("trap5", "trap5", 0)?, None);
    Ok(())
}

#[test]
fn trap6_librdkafka_cannot_produce_timestamp_0() -> Result<()> {
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("trap6", 1, &[])?;
    let records: Vec<Record> =
        [0, 1, -1, -100_000].into_iter().map(|time| Record::value("v").timestamp(time)).collect();
    client.produce("trap6", &records)?;
    let kafka = connect(&broker.bootstrap())?;
    kafka.assign(&[at(0, "trap6", 0, 0)?])?;
    let mut seen = Recorder::default();
    seen.poll_until(&kafka, "the end", |seen| !seen.ends.is_empty())?;
    let times: Vec<i64> = seen.records.iter().map(|record| record.timestamp).collect();
    assert!(times[0] > 1_600_000_000_000, "0 became now: {times:?}");
    assert_eq!(times[1..], [1, -1, -100_000]);
    assert!(seen.records.iter().all(|record| record.timestamp_type == TimestampType::CreateTime));
    Ok(())
}

#[test]
fn trap7_headers_come_byte_for_byte_and_none_panics() -> Result<()> {
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("trap7", 1, &[])?;
    let mut many = Record::tombstone("");
    for number in 0..10_000 {
        many = many.header("same", Some(u32::to_be_bytes(number).as_slice()));
    }
    let sent = [
        Record::new("", "value")
            .header(vec![0xff, 0xfe], Some(b"not UTF-8".as_slice()))
            .header("a", Some(b"1".as_slice()))
            .header("a", None)
            .header("", Some(b"".as_slice()))
            .header("", None)
            .header(b"nul\0inside".to_vec(), Some(b"x".as_slice()))
            .header(b"\0".to_vec(), None),
        many,
        Record::default(),
        Record::new("k", ""),
    ];
    client.produce("trap7", &sent)?;
    let kafka = connect(&broker.bootstrap())?;
    kafka.assign(&[at(0, "trap7", 0, 0)?])?;
    let mut seen = Recorder::default();
    seen.poll_until(&kafka, "the end", |seen| !seen.ends.is_empty())?;
    assert_eq!(seen.records.len(), sent.len());
    for (seen, sent) in seen.records.iter().zip(&sent) {
        assert_eq!((&seen.key, &seen.value, &seen.headers), (&sent.key, &sent.value, &sent.headers));
    }
    Ok(())
}

#[test]
fn a39_out_of_range_tells_topic_partition_and_offset_and_others_go_on() -> Result<()> {
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("range", 2, &[])?;
    for partition in 0..2 {
        client.produce("range", &numbered(0..10, partition))?;
    }
    client.delete_records("range", 0, 4)?;
    let kafka = connect(&broker.bootstrap())?;
    kafka.assign(&[at(0, "range", 0, 2)?, at(1, "range", 1, 0)?])?;
    let mut seen = Recorder::default();
    seen.poll_until(&kafka, "a fault and an end", |seen| !seen.faults.is_empty() && seen.ends.contains(&(1, 10)))?;
    let requested = Some(Offset::new(2));
    assert_eq!(seen.faults, [(0, PartitionFault::OutOfRange { requested })]);
    assert_eq!(seen.offsets(1), (0..10).collect::<Vec<_>>());

    let partitions = [(name("range")?, PartitionId::new(0)), (name("range")?, PartitionId::new(9))];
    let starts = block_on(kafka.list_offsets(&partitions, OffsetSpec::LogStart))??;
    let start = starts.iter().find(|((_, partition), _)| partition.get() == 0).context("partition 0")?.1?;
    assert_eq!(start, Offset::new(4));
    let unknown = starts.iter().find(|((_, partition), _)| partition.get() == 9).context("partition 9")?;
    assert!(unknown.1.is_err_and(|error| error.is_unknown()));

    kafka.assign(&[at(2, "range", 0, start.get())?])?;
    seen.poll_until(&kafka, "the end of the other", |seen| seen.ends.contains(&(2, 10)))?;
    assert_eq!(seen.offsets(2), (4..10).collect::<Vec<_>>());
    assert_eq!(seen.faults.len(), 1);
    kafka.assign(&[at(3, "range", 0, 100)?])?;
    seen.poll_until(&kafka, "a fault beyond the end", |seen| seen.faults.len() == 2)?;
    assert_eq!(seen.faults[1], (3, PartitionFault::OutOfRange { requested: Some(Offset::new(100)) }));
    Ok(())
}

#[test]
fn a45_the_end_is_the_last_stable_offset_and_aborted_records_are_hidden() -> Result<()> {
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("transactions", 1, &[])?;
    let producer = client.transactional_producer("transactions")?;
    let send = |count: i64| -> Result<()> {
        producer.begin()?;
        for record in numbered(0..count, 0) {
            producer.send("transactions", &record)?;
        }
        producer.flush().map(drop)
    };
    send(3)?;
    producer.commit()?;
    send(2)?;
    producer.abort()?;
    send(2)?; // 3 records and a marker, 2 aborted and a marker, then 2 open: stable up to 7 of 9.
    let kafka = connect(&broker.bootstrap())?;
    let partition = [(name("transactions")?, PartitionId::new(0))];
    for (spec, offset) in [(OffsetSpec::LogStart, 0), (OffsetSpec::LastStable, 7), (OffsetSpec::HighWatermark, 9)] {
        let found = block_on(kafka.list_offsets(&partition, spec))??;
        assert_eq!(found[0].1?, Offset::new(offset), "{spec:?}");
    }
    kafka.assign(&[at(0, "transactions", 0, 0)?])?;
    let mut seen = Recorder::default();
    seen.poll_until(&kafka, "the stable end", |seen| seen.ends.contains(&(0, 7)))?;
    seen.poll_for(&kafka, QUIET);
    assert_eq!(seen.offsets(0), [0, 1, 2]);
    producer.commit()?;
    seen.poll_until(&kafka, "the end", |seen| seen.ends.contains(&(0, 10)))?;
    assert_eq!(seen.offsets(0), [0, 1, 2, 7, 8]);
    kafka.assign(&[at(1, "transactions", 0, 4)?])?;
    seen.poll_until(&kafka, "the end from inside the aborted ones", |seen| seen.ends.contains(&(1, 10)))?;
    assert_eq!(seen.offsets(1), [7, 8]);
    Ok(())
}

#[test]
fn assigning_one_partition_does_not_disturb_another() -> Result<()> {
    const COUNT: i64 = 30_000;
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("disturb", 2, &[])?;
    for partition in 0..2 {
        client.produce("disturb", &numbered(0..COUNT, partition))?;
    }
    let kafka = connect(&broker.bootstrap())?;
    kafka.assign(&[at(0, "disturb", 0, 0)?])?;
    let mut seen = Recorder::default();
    let mut round = 0_u32;
    while !seen.ends.contains(&(0, COUNT)) {
        kafka.poll(Duration::from_millis(20), 500, &mut seen);
        round += 1;
        if round.is_multiple_of(2) {
            kafka.assign(&[at(1, "disturb", 1, i64::from(round))?])?;
        } else {
            kafka.unassign(&[(name("disturb")?, PartitionId::new(1))])?;
        }
        ensure!(round < 100_000 && seen.faults.is_empty(), "{:?}", seen.faults);
    }
    assert_eq!(seen.offsets(0), (0..COUNT).collect::<Vec<_>>());
    Ok(())
}

/// Says which records came after their assignment ended.
struct Generations {
    current: u32,
    fresh: bool,
    stale: Vec<(u32, i64)>,
    next: i64,
    holes: Vec<(u32, i64, i64)>,
}

impl Sink for Generations {
    fn record(&mut self, slot: u32, record: RecordRef<'_>) {
        if slot < self.current {
            self.stale.push((slot, record.offset.get()));
            return;
        }
        if slot > self.current || !self.fresh {
            (self.current, self.fresh, self.next) = (slot, true, i64::from(slot % 50));
        }
        if record.offset.get() != self.next {
            self.holes.push((slot, self.next, record.offset.get()));
        }
        self.next = record.offset.get() + 1;
    }
    fn end_of_partition(&mut self, _: u32, _: Offset) {}
    fn partition_fault(&mut self, _: u32, _: PartitionFault) {}
    fn client_fault(&mut self, _: Error) {}
}

#[test]
fn no_record_of_an_earlier_assignment_comes_after_a_new_one() -> Result<()> {
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("generations", 1, &[])?;
    client.produce("generations", &numbered(0..50_000, 0))?;
    let kafka = connect(&broker.bootstrap())?;
    let stop = Arc::new(AtomicBool::new(false));
    let poller = {
        let (kafka, stop) = (kafka.clone(), stop.clone());
        thread::spawn(move || {
            let mut sink = Generations { current: 0, fresh: false, stale: Vec::new(), next: 0, holes: Vec::new() };
            while !stop.load(Ordering::Relaxed) {
                kafka.poll(Duration::from_millis(100), 100, &mut sink);
            }
            sink
        })
    };
    for slot in 1..=300_u32 {
        kafka.assign(&[at(slot, "generations", 0, i64::from(slot % 50))?])?;
        if slot % 3 == 0 {
            // At once: librdkafka must survive an assignment that ends before it has begun.
            kafka.unassign(&[(name("generations")?, PartitionId::new(0))])?;
        } else {
            thread::sleep(Duration::from_millis(u64::from(slot % 7)));
        }
    }
    thread::sleep(QUIET);
    stop.store(true, Ordering::Relaxed);
    let sink = poller.join().map_err(|_| anyhow::anyhow!("the poller panicked"))?;
    assert_eq!(sink.stale, []);
    assert_eq!(sink.holes, []);
    Ok(())
}

#[test]
fn assigning_does_not_wait_for_a_poll_that_waits_for_records() -> Result<()> {
    let broker = broker()?;
    broker.client().create_topic("wake", 1, &[])?;
    let kafka = connect(&broker.bootstrap())?;
    let poller = {
        let kafka = kafka.clone();
        thread::spawn(move || {
            let mut seen = Recorder::default();
            let end = Instant::now() + SOON;
            while seen.ends.is_empty() && Instant::now() < end {
                kafka.poll(Duration::from_secs(10), 100, &mut seen);
            }
            seen.ends
        })
    };
    thread::sleep(Duration::from_millis(500));
    let started = Instant::now();
    kafka.assign(&[at(0, "wake", 0, 0)?])?;
    let took = started.elapsed();
    assert_eq!(poller.join().map_err(|_| anyhow::anyhow!("the poller panicked"))?, [(0, 0)]);
    assert!(took < Duration::from_secs(2), "{took:?}");
    Ok(())
}

#[test]
fn a_long_silence_of_the_caller_does_no_harm() -> Result<()> {
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("silence", 1, &[])?;
    client.produce("silence", &numbered(0..10, 0))?;
    let limits = [("max.poll.interval.ms", "3000"), ("session.timeout.ms", "3000")];
    let properties = limits.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let impatient = Cluster { properties: BTreeMap::from(properties), ..cluster(&broker.bootstrap()) };
    let kafka = Kafka::connect(&impatient, &tuning())?;
    kafka.assign(&[at(0, "silence", 0, 0)?])?;
    thread::sleep(Duration::from_secs(6));
    client.produce("silence", &numbered(10..20, 0))?;
    let mut seen = Recorder::default();
    seen.poll_until(&kafka, "the end", |seen| seen.ends.contains(&(0, 20)))?;
    assert_eq!(seen.offsets(0), (0..20).collect::<Vec<_>>());
    assert!(seen.client_faults.is_empty() && seen.faults.is_empty());
    Ok(())
}

#[test]
fn a41_a_deleted_topic_is_reported_for_its_partitions() -> Result<()> {
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("deleted", 1, &[])?;
    client.create_topic("stays", 1, &[])?;
    let kafka = connect(&broker.bootstrap())?;
    kafka.assign(&[at(0, "deleted", 0, 0)?, at(1, "stays", 0, 0)?, at(2, "never-was", 0, 0)?])?;
    let mut seen = Recorder::default();
    seen.poll_until(&kafka, "both ends", |seen| seen.ends.len() == 2)?;
    client.delete_topic("deleted")?;
    seen.poll_until(&kafka, "two unknown partitions", |seen| {
        [0, 2].iter().all(|slot| seen.faults.contains(&(*slot, PartitionFault::UnknownPartition)))
    })?;
    assert!(seen.faults.iter().all(|(slot, _)| *slot != 1));
    let described = block_on(kafka.describe_topics(&[name("deleted")?, name("stays")?]))??;
    for (topic, description) in described {
        assert_eq!(description.is_err_and(|error| error.is_unknown()), topic.as_str() == "deleted");
    }
    client.produce("stays", &numbered(0..1, 0))?;
    seen.poll_until(&kafka, "a record of the other", |seen| seen.offsets(1) == [0])?;
    Ok(())
}

#[test]
fn topics_their_overrides_and_the_cluster_are_told() -> Result<()> {
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("told", 3, &[("retention.ms", "12345"), ("cleanup.policy", "compact")])?;
    client.create_topic("plain", 1, &[])?;
    let kafka = connect(&broker.bootstrap())?;
    assert_eq!(block_on(kafka.cluster_id(SOON))??.as_str(), broker.cluster_id());
    let topics = block_on(kafka.topic_names())??;
    assert!(topics.contains(&name("told")?) && topics.contains(&name("plain")?));
    let asked = [name("told")?, name("plain")?, name("never-was")?];
    let overrides = block_on(kafka.topic_overrides(&asked))??;
    let of = |topic: &str| -> Result<_> { Ok(overrides.get(&name(topic)?).context("an answer")?.clone()) };
    let expected = [("cleanup.policy", "compact"), ("retention.ms", "12345")];
    let expected: BTreeMap<_, _> = expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    assert_eq!(of("told")??, expected);
    assert_eq!(of("plain")??, BTreeMap::new());
    assert!(of("never-was")?.is_err_and(|error| error.is_unknown()));
    let described = block_on(kafka.describe_topics(&[name("told")?]))??;
    let partitions = &described[0].1.as_ref().map_err(|error| *error)?.partitions;
    assert_eq!(partitions.iter().map(|found| found.partition.get()).collect::<Vec<_>>(), [0, 1, 2]);
    Ok(())
}

#[test]
fn the_leader_epoch_comes_with_the_records_and_goes_out_with_the_assignment() -> Result<()> {
    let mut broker = KafkaBroker::start()?;
    broker.client().create_topic("epoch", 1, &[])?;
    broker.client().produce("epoch", &numbered(0..3, 0))?;
    let kafka = connect(&broker.bootstrap())?;
    kafka.assign(&[at(0, "epoch", 0, 0)?])?;
    let mut seen = Recorder::default();
    seen.poll_until(&kafka, "three records", |seen| seen.records.len() == 3)?;
    broker.stop()?;
    broker.restart()?;
    broker.client().produce("epoch", &numbered(3..6, 0))?;
    seen.poll_until(&kafka, "three more after a restart", |seen| seen.records.len() == 6)?;
    let epochs: Vec<i32> = seen.records.iter().map(|record| record.epoch).collect();
    assert_eq!(seen.offsets(0), (0..6).collect::<Vec<_>>());
    assert!(epochs[0] >= 0 && epochs[5] > epochs[0], "{epochs:?}");
    assert!(seen.client_faults.iter().all(Error::is_retryable), "{:?}", seen.client_faults);

    let known = Assignment { leader_epoch: Some(LeaderEpoch::new(epochs[5])), ..at(1, "epoch", 0, 6)? };
    kafka.assign(&[known])?;
    seen.poll_until(&kafka, "the end under a known epoch", |seen| seen.ends.contains(&(1, 6)))?;
    let truncated = Assignment { leader_epoch: Some(LeaderEpoch::new(epochs[0])), ..at(2, "epoch", 0, 5)? };
    kafka.assign(&[truncated])?;
    seen.poll_until(&kafka, "a fault under an epoch that ended earlier", |seen| !seen.faults.is_empty())?;
    assert!(matches!(seen.faults[0], (2, PartitionFault::OutOfRange { .. })), "{:?}", seen.faults);

    // The same from a client that knows nothing of the topic yet, as after a restart of the streamer.
    for (epoch, offset, truncated) in [(epochs[5], 6, false), (epochs[0], 5, true)] {
        let kafka = connect(&broker.bootstrap())?;
        let mut seen = Recorder::default();
        let leader_epoch = Some(LeaderEpoch::new(epoch));
        kafka.assign(&[Assignment { leader_epoch, ..at(3, "epoch", 0, offset)? }])?;
        seen.poll_until(&kafka, "a fault or the end", |seen| seen.ends.len() + seen.faults.len() > 0)?;
        assert_eq!(!seen.faults.is_empty(), truncated, "{:?}", seen.faults);
    }
    Ok(())
}

#[test]
fn a42_a_recreated_topic_is_read_although_its_leader_epochs_begin_again() -> Result<()> {
    let mut broker = KafkaBroker::start()?;
    broker.client().create_topic("again", 1, &[])?;
    broker.stop()?;
    broker.restart()?;
    let client = broker.client();
    client.produce("again", &numbered(0..3, 0))?;
    let kafka = connect(&broker.bootstrap())?;
    let partition = [(name("again")?, PartitionId::new(0))];
    let mut seen = Recorder::default();
    for (slot, notice_the_deletion) in [(0, true), (2, false)] {
        kafka.assign(&[at(slot, "again", 0, 0)?])?;
        seen.poll_until(&kafka, "the end", |seen| seen.ends.contains(&(slot, 3)))?;
        client.delete_topic("again")?;
        if notice_the_deletion {
            seen.poll_until(&kafka, "the deletion", |seen| {
                seen.faults.contains(&(slot, PartitionFault::UnknownPartition))
            })?;
        }
        client.create_topic("again", 1, &[])?;
        client.produce("again", &numbered(0..3, 0))?;
        kafka.assign(&[at(slot + 1, "again", 0, 0)?])?;
        seen.poll_until(&kafka, "the new topic's end", |seen| seen.ends.contains(&(slot + 1, 3)))?;
        assert_eq!(seen.offsets(slot + 1), [0, 1, 2]);
        kafka.unassign(&partition)?;
    }
    Ok(())
}

#[test]
fn a49_corrupt_data_stops_its_partition_and_is_never_skipped() -> Result<()> {
    let mut broker = KafkaBroker::start()?;
    let client = broker.client();
    client.create_topic("corrupt", 1, &[])?;
    for batch in 0..3 {
        let value = format!("batch-{batch}-payload");
        client.produce("corrupt", &[Record::value(value.clone()), Record::value(value)])?;
    }
    broker.stop()?;
    let segment = broker.data_dir().join("corrupt-0").join("00000000000000000000.log");
    let bytes = std::fs::read(&segment)?;
    let middle = bytes.windows(7).position(|window| window == b"batch-1").context("the batch")?;
    let mut file = std::fs::File::options().write(true).open(&segment)?;
    file.seek(SeekFrom::Start(u64::try_from(middle)?))?;
    file.write_all(b"BATCH")?;
    file.sync_all()?;
    broker.restart()?;
    let kafka = connect(&broker.bootstrap())?;
    kafka.assign(&[at(0, "corrupt", 0, 0)?])?;
    let mut seen = Recorder::default();
    seen.poll_until(&kafka, "the fault", |seen| !seen.faults.is_empty())?;
    seen.poll_for(&kafka, QUIET);
    assert_eq!(seen.offsets(0), [0, 1]);
    assert_eq!(seen.faults, [(0, PartitionFault::Corrupt { at: Offset::new(2), code: Code::BAD_MSG })]);
    assert_eq!(seen.ends, []);
    kafka.assign(&[at(1, "corrupt", 0, 4)?])?;
    seen.poll_until(&kafka, "the end behind it", |seen| seen.ends.contains(&(1, 6)))?;
    assert_eq!(seen.offsets(1), [4, 5]);
    Ok(())
}

#[test]
fn an_absent_cluster_is_unreachable_and_may_be_retried() -> Result<()> {
    let port = strimzi_backup_tests::ports::Port::reserve()?;
    let kafka = connect(&port.address())?;
    let error = block_on(kafka.cluster_id(Duration::from_secs(2)))?.err().context("an error")?;
    assert!(matches!(error, Error::Unreachable { .. }) && error.is_retryable(), "{error:?}");
    let mut seen = Recorder::default();
    kafka.assign(&[at(0, "t", 0, 0)?])?;
    seen.poll_until(&kafka, "all brokers down", |seen| {
        seen.client_faults.iter().any(|fault| matches!(fault, Error::Unreachable { code: Code::ALL_BROKERS_DOWN, .. }))
    })
}

/// A job's cluster on the secure broker, with its secrets in files of `dir`.
fn secure(bootstrap: &str, ca: std::path::PathBuf, authentication: Authentication) -> Cluster {
    let tls = Tls {
        ca_files: vec![ca],
        certificate_file: None,
        key_file: None,
        key_password_file: None,
        verify_hostname: true,
    };
    Cluster { tls: Some(tls), authentication: Some(authentication), ..cluster(bootstrap) }
}

#[test]
fn every_way_to_authenticate_works_and_a_wrong_password_is_told_as_such() -> Result<()> {
    let broker = KafkaBroker::start_with(&BrokerOptions::default().secure())?;
    let ca = broker.certs()?.ca();
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("secret");
    std::fs::write(&file, SCRAM_BACKUP.1)?;
    let username = || Username::Literal(SCRAM_BACKUP.0.to_owned());
    let scram = |mechanism| Authentication::Scram { mechanism, username: username(), password_file: file.clone() };
    let plain = Authentication::Plain { username: username(), password_file: file.clone() };
    let sasl = broker.bootstrap_sasl_ssl()?;
    for authentication in [scram(ScramMechanism::Sha512), scram(ScramMechanism::Sha256), plain] {
        let kafka = Kafka::connect(&secure(&sasl, ca.clone(), authentication.clone()), &tuning())?;
        let id = block_on(kafka.cluster_id(SOON))?;
        assert_eq!(id.with_context(|| format!("{authentication:?}"))?.as_str(), broker.cluster_id());
    }
    let mut mutual = secure(&broker.bootstrap_ssl()?, ca.clone(), Authentication::Tls);
    if let Some(tls) = &mut mutual.tls {
        tls.certificate_file = Some(broker.certs()?.certificate("backup"));
        tls.key_file = Some(broker.certs()?.key("backup"));
    }
    let kafka = Kafka::connect(&mutual, &tuning())?;
    assert_eq!(block_on(kafka.cluster_id(SOON))??.as_str(), broker.cluster_id());

    let kafka = Kafka::connect(&secure(&sasl, ca.clone(), scram(ScramMechanism::Sha512)), &tuning())?;
    block_on(kafka.cluster_id(SOON))??;
    assert!(!kafka.credentials_changed());
    std::fs::write(&file, "wrong-secret")?;
    assert!(kafka.credentials_changed());
    let kafka = Kafka::connect(&secure(&sasl, ca.clone(), scram(ScramMechanism::Sha512)), &tuning())?;
    let error = block_on(kafka.cluster_id(SOON))?.err().context("an error")?;
    assert!(matches!(error, Error::Authentication { .. }), "{error:?}");
    assert!(!format!("{error:?} {error}").contains("wrong-secret"));

    let stranger = strimzi_backup_tests::certs::Certs::generate(&dir.path().join("stranger"))?.ca();
    let kafka = Kafka::connect(&secure(&sasl, stranger, scram(ScramMechanism::Sha512)), &tuning())?;
    let error = block_on(kafka.cluster_id(SOON))?.err().context("an error")?;
    assert!(matches!(error, Error::Tls { .. }), "{error:?}");

    std::fs::remove_file(&file)?;
    let fault = Kafka::connect(&secure(&sasl, ca, scram(ScramMechanism::Sha512)), &tuning()).err();
    assert!(matches!(fault, Some(Error::Configuration(ConfigurationFault::Unreadable { .. }))));
    Ok(())
}

/// A token as the secure broker's unsecured validator takes it.
fn token(seconds: u64) -> Result<String> {
    use base64::Engine as _;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
    let claims = format!(r#"{{"sub":"backup","iat":{now},"exp":{}}}"#, now + seconds);
    let encode = |text: &str| base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text);
    Ok(format!("{}.{}.", encode(r#"{"alg":"none"}"#), encode(&claims)))
}

#[test]
fn tokens_are_read_again_while_nobody_polls_and_denials_are_told() -> Result<()> {
    let broker = KafkaBroker::start_with(&BrokerOptions::default().secure())?;
    let client: KafkaClient = broker.client();
    client.create_topic("token", 1, &[])?;
    client.produce("token", &numbered(0..3, 0))?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("token");
    std::fs::write(&file, token(8)?)?;
    let authentication = Authentication::OauthBearer { token_file: file.clone() };
    let kafka = Kafka::connect(&secure(&broker.bootstrap_oauth()?, broker.certs()?.ca(), authentication), &tuning())?;
    assert_eq!(block_on(kafka.cluster_id(SOON))??.as_str(), broker.cluster_id());
    // At 80 % of its life the file is read again; nothing polls meanwhile, and the first token ends.
    std::fs::write(&file, token(3600)?)?;
    thread::sleep(Duration::from_secs(10));
    // A request that crosses the renewal on a connection breaks it once; librdkafka then connects anew.
    let describe = || block_on(kafka.describe_topics(&[name("token")?]));
    strimzi_backup_tests::wait::wait_until("an answer under the second token", SOON, || Ok(describe()?.is_ok()))?;

    // This user may do nothing. A topic that it may not see stays silent: only the description tells.
    let mut seen = Recorder::default();
    kafka.assign(&[at(0, "token", 0, 0)?])?;
    seen.poll_for(&kafka, QUIET);
    assert!(seen.records.is_empty() && seen.faults.is_empty() && seen.ends.is_empty());
    assert!(describe()??[0].1.as_ref().is_err_and(|error| error.is_denied()));
    let allow = |operation: &str| {
        let to = ["--add", "--allow-principal", "User:backup", "--topic", "token", "--operation", operation];
        broker.cli("acls", &to)
    };
    allow("Describe")?;
    seen.poll_until(&kafka, "a denial", |seen| seen.faults.contains(&(0, PartitionFault::Denied)))?;
    allow("Read")?;
    seen.poll_until(&kafka, "the end, without a right to any group", |seen| seen.ends.contains(&(0, 3)))?;
    seen.client_faults.clear();
    seen.poll_for(&kafka, QUIET);
    assert!(seen.client_faults.is_empty(), "{:?}", seen.client_faults);
    Ok(())
}

#[test]
fn reading_makes_no_group() -> Result<()> {
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("no-group", 1, &[])?;
    client.produce("no-group", &numbered(0..3, 0))?;
    let kafka = connect(&broker.bootstrap())?;
    kafka.assign(&[at(0, "no-group", 0, 0)?])?;
    let mut seen = Recorder::default();
    seen.poll_until(&kafka, "the end", |seen| seen.ends.contains(&(0, 3)))?;
    drop(kafka);
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", broker.bootstrap()).create()?;
    let groups = admin.inner().fetch_group_list(None, SOON)?;
    assert!(groups.groups().iter().all(|group| group.name() != "strimzi-backup"));
    Ok(())
}
