//! The traps that librdkafka lays, one test each; the first has two sides.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset as RdOffset, TopicPartitionList};
use strimzi_backup_format::ids::{LeaderEpoch, PartitionId};
use strimzi_backup_format::record::TimestampType;
use strimzi_backup_streamer::kafka::{Assignment, Kafka, OffsetSpec, Tuning};
use strimzi_backup_tests::client::Record;

use super::{Recorder, SOON, at, block_on, broker, cluster, connect, name, numbered, tuning};

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
    for backoff in ["1000", "5"] {
        let producer = transactional(&format!("trap4-{backoff}"), &bootstrap, backoff)?;
        fill_transaction(&producer, &bootstrap, "trap4", "trap4")?;
        producer.commit_transaction(SOON)?;
        let mut slowest = Duration::ZERO;
        for _ in 0..5 {
            let started = Instant::now();
            fill_transaction(&producer, &bootstrap, "trap4", "trap4")?;
            producer.commit_transaction(SOON)?;
            slowest = slowest.max(started.elapsed());
        }
        times.push(slowest);
    }
    println!("slowest transaction with a backoff of 1 s and 5 ms: {times:?}");
    // It waits the time out, less the client's dice, unless the broker is done with the transaction before by then: as it may
    // be where the machine is slow. How slow without, only a benchmark may ask.
    assert!(times[0] > Duration::from_millis(500), "{times:?}");
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
