//! What is delivered: records, ends and epochs, in every life of a topic, and what the cluster tells of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::client::DefaultClientContext;
use strimzi_backup_format::ids::{LeaderEpoch, Offset, PartitionId};
use strimzi_backup_format::job::Cluster;
use strimzi_backup_format::record::RecordRef;
use strimzi_backup_streamer::kafka::{Assignment, Error, Kafka, OffsetSpec, PartitionFault, Sink};
use strimzi_backup_tests::kafka::KafkaBroker;

use super::{QUIET, Recorder, SOON, at, block_on, broker, cluster, connect, name, numbered, tuning};

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
    let settings = block_on(kafka.topic_settings(&asked))??;
    let of = |topic: &str| -> Result<_> { Ok(settings.get(&name(topic)?).context("an answer")?.clone()) };
    let expected = [("cleanup.policy", "compact"), ("retention.ms", "12345")];
    let expected: BTreeMap<_, _> = expected.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    assert_eq!(of("told")??.overrides, expected);
    let plain = of("plain")??;
    assert_eq!(plain.overrides, BTreeMap::new());
    assert_eq!(plain.effective["retention.ms"], "604800000", "the broker's default");
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
fn a42_a_recreated_topic_is_read_by_a_client_that_knows_no_leader_epoch_of_the_life_before() -> Result<()> {
    let mut broker = KafkaBroker::start()?;
    broker.client().create_topic("again", 1, &[])?;
    broker.stop()?;
    broker.restart()?;
    let client = broker.client();
    client.produce("again", &numbered(0..3, 0))?;
    let mut kafka = connect(&broker.bootstrap())?;
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
        // Epochs begin again. One client may take those of the new topic for outdated, for ever.
        kafka = connect(&broker.bootstrap())?;
        kafka.assign(&[at(slot + 1, "again", 0, 0)?])?;
        seen.poll_until(&kafka, "the new topic's end", |seen| seen.ends.contains(&(slot + 1, 3)))?;
        assert_eq!(seen.offsets(slot + 1), [0, 1, 2]);
    }
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
