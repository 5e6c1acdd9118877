//! What a restore relies on when it writes: all of a transaction or nothing of it, and every record as it was.

use std::time::Duration;

use anyhow::{Context, Result};
use strimzi_backup_format::ids::{LeaderEpoch, Offset, PartitionId, TimestampMs, TopicName};
use strimzi_backup_format::record::{HeaderRef, Record as OwnedRecord, RecordRef, TimestampType};
use strimzi_backup_streamer::kafka::{
    Code, CommittedOffset, Error, GroupOffset, OffsetSpec, ProducerError, ProducerTuning, Refusal,
    TransactionalProducer, Unready,
};
use strimzi_backup_tests::client::ReadRecord;
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::wait;
use tokio_util::sync::CancellationToken;

use super::{Recorder, SOON, at, block_on, broker, cluster, connect, name, numbered};

fn unready(broker: &KafkaBroker, id: &str, tuning: &ProducerTuning) -> Result<Unready> {
    let cluster = cluster(&broker.bootstrap());
    Ok(TransactionalProducer::connect(&cluster, id, tuning, CancellationToken::new())?)
}

fn ready(broker: &KafkaBroker, id: &str) -> Result<TransactionalProducer> {
    Ok(unready(broker, id, &ProducerTuning::default())?.init(SOON)?)
}

/// The records are older than the brokers' retention.
const KEPT: (&str, &str) = ("retention.ms", "-1");

/// A record of 2024.
fn record<'a>(key: Option<&'a [u8]>, value: Option<&'a [u8]>, headers: &'a [HeaderRef<'a>]) -> RecordRef<'a> {
    RecordRef {
        offset: Offset::new(5_000_000_000),
        timestamp: TimestampMs::new(1_720_000_000_000),
        timestamp_type: TimestampType::CreateTime,
        leader_epoch: LeaderEpoch::UNKNOWN,
        key,
        value,
        headers,
    }
}

fn valued(value: &[u8]) -> RecordRef<'_> {
    record(None, Some(value), &[])
}

const P0: PartitionId = PartitionId::new(0);

fn progress(topic: &TopicName, offset: i64, metadata: Option<&str>) -> GroupOffset {
    let metadata = metadata.map(str::to_owned);
    GroupOffset { topic: topic.clone(), partition: P0, offset: Offset::new(offset), metadata }
}

/// What a new producer of the id reads of the group's progress in partition 0.
fn committed(producer: &TransactionalProducer, group: &str, topic: &TopicName) -> Result<Option<CommittedOffset>> {
    let asked = [(topic.clone(), P0)];
    let mut found = producer.committed(group, &asked, SOON)?;
    found.remove(&asked[0]).context("an answer")
}

/// The ends of partitions 0 and up, as readers of committed records see them and as they are.
fn ends(broker: &KafkaBroker, topic: &str) -> Result<(Vec<i64>, Vec<i64>)> {
    let kafka = connect(&broker.bootstrap())?;
    let count = i32::try_from(broker.client().partition_count(topic)?)?;
    let partitions: Result<Vec<_>> =
        (0..count).map(|partition| Ok((name(topic)?, PartitionId::new(partition)))).collect();
    let partitions = partitions?;
    let ends = |spec| -> Result<Vec<i64>> {
        let mut found = block_on(kafka.list_offsets(&partitions, spec))??;
        found.sort_by(|one, other| one.0.cmp(&other.0));
        found.into_iter().map(|(_, end)| Ok(end?.get())).collect()
    };
    Ok((ends(OffsetSpec::LastStable)?, ends(OffsetSpec::HighWatermark)?))
}

/// Every committed record of a topic without open transactions. The brokers' last word on one comes a moment after its
/// end was told.
fn settled(broker: &KafkaBroker, topic: &str) -> Result<Vec<ReadRecord>> {
    wait::wait_until("the end of all transactions", SOON, || {
        let (stable, all) = ends(broker, topic)?;
        Ok(stable == all)
    })?;
    broker.client().read_all(topic)
}

/// The committed values of a topic without open transactions, in order.
fn visible(broker: &KafkaBroker, topic: &str) -> Result<Vec<Vec<u8>>> {
    Ok(settled(broker, topic)?.into_iter().filter_map(|record| record.value).collect())
}

/// Waits until the log of partition 0 holds so many offsets, committed or not.
fn wait_for_log(broker: &KafkaBroker, topic: &str, end: i64) -> Result<()> {
    wait::wait_until(&format!("{end} offsets in {topic}"), SOON, || Ok(broker.client().watermarks(topic, 0)?.1 >= end))
}

/// Bytes that no codec makes smaller.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..size).map(|_| next()).collect()
}

#[test]
fn a51_hostile_records_are_written_byte_for_byte() -> Result<()> {
    let broker = broker()?;
    broker.client().create_topic("hostile", 2, &[KEPT])?;
    let header = |key, value| HeaderRef { key, value };
    let many: Vec<HeaderRef<'_>> = (0..1000).map(|_| header(b"same", Some(b"x"))).collect();
    let odd = [
        header(&[0xff, 0xfe], Some(b"not UTF-8")),
        header(b"a", Some(b"1")),
        header(b"a", None),
        header(b"a", Some(b"")),
        header(b"", None),
        header(b"", Some(b"")),
        header(b"nul\0inside", Some(b"\0")),
        header(b"\0", None),
        header(b"a", Some(b"1")),
    ];
    let large = noise(3 << 20);
    let sent = [
        record(Some(b""), Some(b""), &[]),
        record(None, None, &[]),
        record(Some(b"k"), None, &odd),
        record(None, Some(&[0xff, 0, 0xfe]), &many),
        record(Some(&[0, 0xff]), Some(b"v"), &odd[..1]),
    ];
    broker.client().alter_topic_config("hostile", "max.message.bytes", "10000000")?;
    let topic = name("hostile")?;
    let mut producer = ready(&broker, "hostile")?;
    producer.begin()?;
    for record in &sent {
        producer.send(&topic, PartitionId::new(1), record)?;
    }
    producer.send(&topic, P0, &valued(&large))?;
    // As a segment gives it back.
    let owned = OwnedRecord {
        offset: Offset::new(1),
        timestamp: TimestampMs::new(7),
        timestamp_type: TimestampType::LogAppendTime,
        key: None,
        value: Some(b"owned".as_slice().into()),
        headers: vec![strimzi_backup_format::record::Header { key: b"h".as_slice().into(), value: None }],
    };
    producer.send_owned(&topic, P0, &owned)?;
    let written = producer.commit()?;
    assert_eq!(written[&(topic.clone(), PartitionId::new(1))].count, 5);
    assert!(written[&(topic.clone(), P0)].is_contiguous());

    let kafka = connect(&broker.bootstrap())?;
    kafka.assign(&[at(1, "hostile", 1, 0)?, at(0, "hostile", 0, 0)?])?;
    let mut seen = Recorder::default();
    seen.poll_until(&kafka, "both ends", |seen| seen.ends.contains(&(1, 6)) && seen.ends.contains(&(0, 3)))?;
    let (of_1, of_0): (Vec<_>, Vec<_>) = seen.records.iter().partition(|record| record.slot == 1);
    assert_eq!(of_1.len(), sent.len());
    for (seen, sent) in of_1.iter().zip(&sent) {
        assert_eq!((seen.key.as_deref(), seen.value.as_deref()), (sent.key, sent.value));
        let headers = seen.headers.iter().map(|(key, value)| HeaderRef { key, value: value.as_deref() });
        assert_eq!(headers.collect::<Vec<_>>(), sent.headers);
    }
    assert!(of_0[0].value.as_ref() == Some(&large));
    assert_eq!((of_0[1].value.as_deref(), of_0[1].timestamp), (Some(b"owned".as_slice()), 7));
    assert_eq!(of_0[1].headers, [(b"h".to_vec(), None)]);
    Ok(())
}

#[test]
fn a52_every_timestamp_is_written_as_it_was_also_0() -> Result<()> {
    let broker = broker()?;
    broker.client().create_topic("times", 2, &[KEPT, ("message.timestamp.after.max.ms", "9223372036854775807")])?;
    let topic = name("times")?;
    let times = [0, 1, 0, -1, -100_000, 1_720_000_000_000, 0, 253_402_300_799_999];
    let mut producer = ready(&broker, "times")?;
    producer.begin()?;
    for time in times {
        let record = RecordRef { timestamp: TimestampMs::new(time), ..valued(b"v") };
        producer.send(&topic, P0, &record)?;
        producer.send(&topic, PartitionId::new(1), &RecordRef { timestamp: TimestampMs::new(0), ..record })?;
    }
    producer.commit()?;
    let read = settled(&broker, "times")?;
    let of = |partition| -> Vec<i64> {
        read.iter().filter(|record| record.partition == partition).map(|record| record.timestamp).collect()
    };
    assert_eq!(of(0), times);
    assert_eq!(of(1), [0; 8]);
    assert!(read.iter().all(|record| record.timestamp_type == "CreateTime"));
    Ok(())
}

#[test]
fn nothing_of_an_aborted_transaction_is_visible() -> Result<()> {
    let broker = broker()?;
    broker.client().create_topic("aborted", 1, &[KEPT])?;
    let topic = name("aborted")?;
    let mut producer = ready(&broker, "aborted")?;
    producer.begin()?;
    producer.send(&topic, P0, &valued(b"first"))?;
    producer.send_offsets("aborted", &[progress(&topic, 1, None)])?;
    producer.commit()?;
    producer.begin()?;
    producer.send(&topic, P0, &valued(b"never"))?;
    producer.send_offsets("aborted", &[progress(&topic, 2, None)])?;
    wait_for_log(&broker, "aborted", 3)?;
    producer.abort()?;
    assert_eq!(visible(&broker, "aborted")?, [b"first"]);
    let expected = CommittedOffset { offset: Offset::new(1), metadata: None };
    assert_eq!(committed(&producer, "aborted", &topic)?, Some(expected));
    producer.begin()?;
    producer.send(&topic, P0, &valued(b"second"))?;
    let written = producer.commit()?[&(topic, P0)];
    assert_eq!((written.count, written.is_contiguous()), (1, true));
    assert_eq!(visible(&broker, "aborted")?, [b"first".as_slice(), b"second"]);
    Ok(())
}

#[test]
fn records_and_progress_are_committed_together() -> Result<()> {
    let broker = broker()?;
    broker.client().create_topic("together", 1, &[KEPT])?;
    let topic = name("together")?;
    let mut producer = ready(&broker, "together")?;
    assert_eq!(committed(&producer, "together", &topic)?, None);
    producer.begin()?;
    producer.send(&topic, P0, &valued(b"v"))?;
    producer.send_offsets("together", &[progress(&topic, 5_000_000_123, Some("vector é"))])?;
    wait_for_log(&broker, "together", 1)?;
    assert_eq!(ends(&broker, "together")?, (vec![0], vec![1]), "written and not visible");
    producer.commit()?;
    assert_eq!(visible(&broker, "together")?, [b"v"]);
    let metadata = Some("vector é".to_owned());
    let expected = CommittedOffset { offset: Offset::new(5_000_000_123), metadata };
    assert_eq!(committed(&producer, "together", &topic)?, Some(expected));
    Ok(())
}

#[test]
fn progress_that_no_broker_should_take_is_refused() -> Result<()> {
    let broker = broker()?;
    broker.client().create_topic("odd-progress", 1, &[KEPT])?;
    let topic = name("odd-progress")?;
    let mut producer = ready(&broker, "odd-progress")?;
    producer.begin()?;
    let below = producer.send_offsets("odd-progress", &[progress(&topic, -5, None)]);
    assert!(matches!(below, Err(ProducerError::Client(Error::Refused { code: Code::INVALID_ARG, .. }))), "{below:?}");
    let long = "x".repeat(4097);
    let long = producer.send_offsets("odd-progress", &[progress(&topic, 5, Some(&long))]);
    let code = Code::OFFSET_METADATA_TOO_LARGE;
    assert!(matches!(long, Err(ProducerError::Abortable { code: found, .. }) if found == code), "{long:?}");
    producer.abort()?;
    producer.begin()?;
    let nowhere = producer.send_offsets("odd-progress", &[progress(&name("no-such-topic")?, 5, None)]);
    let code = Code::UNKNOWN_TOPIC_OR_PARTITION;
    assert!(matches!(nowhere, Err(ProducerError::Abortable { code: found, .. }) if found == code), "{nowhere:?}");
    producer.abort()?;
    assert_eq!(committed(&producer, "odd-progress", &topic)?, None);
    Ok(())
}

#[test]
fn the_older_of_two_producers_is_fenced() -> Result<()> {
    let broker = broker()?;
    broker.client().create_topic("fenced", 1, &[KEPT])?;
    let topic = name("fenced")?;
    let mut older = ready(&broker, "fenced")?;
    older.begin()?;
    older.send(&topic, P0, &valued(b"older"))?;
    older.send_offsets("fenced", &[progress(&topic, 1, None)])?;
    wait_for_log(&broker, "fenced", 1)?;
    let mut newer = ready(&broker, "fenced")?;
    assert_eq!(committed(&newer, "fenced", &topic)?, None);
    newer.begin()?;
    newer.send(&topic, P0, &valued(b"newer"))?;
    older.send(&topic, P0, &valued(b"too late"))?;
    let fenced = older.commit();
    assert!(matches!(fenced, Err(ProducerError::Fenced)), "{fenced:?}");
    assert!(matches!(older.begin(), Err(ProducerError::Fenced)));
    newer.commit()?;
    assert_eq!(visible(&broker, "fenced")?, [b"newer"]);
    Ok(())
}

#[test]
fn a_transaction_that_took_too_long_is_fenced_and_leaves_nothing() -> Result<()> {
    let broker = broker()?;
    broker.client().create_topic("too-long", 1, &[KEPT])?;
    let topic = name("too-long")?;
    let tuning = ProducerTuning { transaction_timeout: Duration::from_secs(1), ..ProducerTuning::default() };
    let mut producer = unready(&broker, "too-long", &tuning)?.init(SOON)?;
    producer.begin()?;
    producer.send(&topic, P0, &valued(b"late"))?;
    // The broker looks for such transactions every 10 s, and its marker is the second offset.
    wait_for_log(&broker, "too-long", 2)?;
    let fenced = producer.commit();
    assert!(matches!(fenced, Err(ProducerError::Fenced)), "{fenced:?}");
    assert_eq!(visible(&broker, "too-long")?, Vec::<Vec<u8>>::new());
    Ok(())
}

#[test]
fn a_record_too_large_for_the_producer_is_never_silently_missing() -> Result<()> {
    let broker = broker()?;
    broker.client().create_topic("too-large", 1, &[KEPT])?;
    let topic = name("too-large")?;
    let tuning = ProducerTuning { record_bytes: 10_000, ..ProducerTuning::default() };
    let mut producer = unready(&broker, "too-large", &tuning)?.init(SOON)?;
    let is_refused = |result: Result<(), ProducerError>| {
        matches!(result, Err(ProducerError::Refused { what: Refusal::TooLarge(_), partition: P0, .. }))
    };
    producer.begin()?;
    producer.send(&topic, P0, &valued(b"before"))?;
    let secret = vec![b's'; 20_000];
    let refused = producer.send(&topic, P0, &valued(&secret)).expect_err("a refusal");
    let text = format!("{refused} {refused:?}");
    assert!(text.contains("too-large") && text.contains("max.message.bytes") && !text.contains("ssss"), "{text}");
    assert!(is_refused(producer.send(&topic, P0, &valued(b"after"))));
    assert!(is_refused(producer.commit().map(drop)));
    producer.abort()?;
    assert_eq!(visible(&broker, "too-large")?, Vec::<Vec<u8>>::new());
    producer.begin()?;
    producer.send(&topic, P0, &valued(b"small"))?;
    producer.commit()?;
    assert_eq!(visible(&broker, "too-large")?, [b"small"]);
    Ok(())
}

/// To the byte: what the plan of a restore says is what a broker says.
#[test]
fn a48_a_broker_counts_a_record_as_the_plan_of_a_restore_does() -> Result<()> {
    let broker = broker()?;
    // What cannot be compressed.
    let value = noise(12_000);
    let headers = [HeaderRef { key: b"one", value: None }, HeaderRef { key: b"two", value: Some(&value[8000..8200]) }];
    let records = [valued(b"tiny"), valued(&value), record(Some(b"key"), Some(&value[..5000]), &headers)];
    for (number, record) in records.iter().enumerate() {
        for (missing, is_taken) in [(0, true), (1, false)] {
            let topic = format!("to-the-byte-{number}-{missing}");
            let limit = (record.batch_bytes() - missing).to_string();
            broker.client().create_topic(&topic, 1, &[KEPT, ("max.message.bytes", &limit)])?;
            let mut producer = ready(&broker, &topic)?;
            producer.begin()?;
            producer.send(&name(&topic)?, P0, record)?;
            let committed = producer.commit();
            assert_eq!(committed.is_ok(), is_taken, "{topic} of {limit}: {committed:?}");
        }
    }
    Ok(())
}

#[test]
fn a_record_too_large_for_its_topic_is_refused_and_small_ones_fit_the_batches_asked_for() -> Result<()> {
    let broker = broker()?;
    broker.client().create_topic("small-batches", 1, &[KEPT, ("max.message.bytes", "5000")])?;
    let topic = name("small-batches")?;
    let tuning = ProducerTuning { batch_bytes: 5000, ..ProducerTuning::default() };
    let mut producer = unready(&broker, "small-batches", &tuning)?.init(SOON)?;
    let bytes = noise(50_000);
    producer.begin()?;
    for chunk in bytes.chunks(500) {
        producer.send(&topic, P0, &valued(chunk))?;
    }
    assert_eq!(producer.commit()?[&(topic.clone(), P0)].count, 100);
    producer.begin()?;
    producer.send(&topic, P0, &valued(&bytes[..10_000]))?;
    let refused = producer.commit();
    assert!(matches!(refused, Err(ProducerError::Refused { what: Refusal::TooLarge(_), .. })), "{refused:?}");
    producer.abort()?;
    assert_eq!(visible(&broker, "small-batches")?.len(), 100);
    Ok(())
}

#[test]
fn a_time_that_the_topic_does_not_take_is_refused_by_name() -> Result<()> {
    let broker = broker()?;
    broker.client().create_topic("far-future", 1, &[KEPT])?;
    let topic = name("far-future")?;
    let mut producer = ready(&broker, "far-future")?;
    producer.begin()?;
    for time in [1, 4_102_444_800_000, 2] {
        producer.send(&topic, P0, &RecordRef { timestamp: TimestampMs::new(time), ..valued(b"payload") })?;
    }
    let refused = producer.commit().expect_err("a refusal");
    let is_timestamp =
        matches!(refused, ProducerError::Refused { what: Refusal::Timestamp(Code::INVALID_TIMESTAMP), .. });
    let text = format!("{refused} {refused:?}");
    assert!(is_timestamp && text.contains("message.timestamp.after.max.ms") && !text.contains("payload"), "{text}");
    producer.abort()?;
    assert_eq!(visible(&broker, "far-future")?, Vec::<Vec<u8>>::new());
    Ok(())
}

#[test]
fn topics_and_partitions_that_do_not_exist_are_refused() -> Result<()> {
    let broker = broker()?;
    broker.client().create_topic("one-partition", 1, &[KEPT])?;
    let mut producer = ready(&broker, "nowhere")?;
    for (topic, partition) in [("one-partition", 7), ("no-such-topic", 0)] {
        let topic = name(topic)?;
        producer.begin()?;
        let sent = producer.send(&topic, PartitionId::new(partition), &valued(b"v"));
        let refused = sent.and_then(|()| producer.commit().map(drop));
        assert!(matches!(refused, Err(ProducerError::Refused { what: Refusal::Unknown(_), .. })), "{refused:?}");
        producer.abort()?;
    }
    assert!(broker.client().partition_count("no-such-topic")? == 0, "writing makes no topic");
    Ok(())
}

#[test]
fn what_a_killed_producer_left_is_aborted_by_the_next_of_its_id() -> Result<()> {
    let broker = broker()?;
    broker.client().create_topic("killed", 1, &[KEPT])?;
    let topic = name("killed")?;
    let mut producer = ready(&broker, "killed")?;
    producer.begin()?;
    producer.send(&topic, P0, &valued(b"first"))?;
    producer.send_offsets("killed", &[progress(&topic, 10, Some("first"))])?;
    producer.commit()?;
    producer.begin()?;
    producer.send(&topic, P0, &valued(b"lost"))?;
    producer.send_offsets("killed", &[progress(&topic, 20, None)])?;
    wait_for_log(&broker, "killed", 3)?;
    drop(producer);
    let mut producer = ready(&broker, "killed")?;
    let expected = CommittedOffset { offset: Offset::new(10), metadata: Some("first".to_owned()) };
    assert_eq!(committed(&producer, "killed", &topic)?, Some(expected));
    assert_eq!(visible(&broker, "killed")?, [b"first"]);
    producer.begin()?;
    producer.send(&topic, P0, &valued(b"again"))?;
    producer.commit()?;
    assert_eq!(visible(&broker, "killed")?, [b"first".as_slice(), b"again"]);
    Ok(())
}

#[test]
fn the_offsets_written_tell_whether_others_wrote_too() -> Result<()> {
    let broker = broker()?;
    let client = broker.client();
    client.create_topic("foreign", 2, &[KEPT])?;
    let topic = name("foreign")?;
    let mut producer = ready(&broker, "foreign")?;
    let send = |producer: &mut TransactionalProducer| -> Result<()> {
        for partition in 0..2 {
            producer.send(&topic, PartitionId::new(partition), &valued(b"ours"))?;
        }
        Ok(())
    };
    client.produce("foreign", &numbered(0..5, 0))?;
    producer.begin()?;
    send(&mut producer)?;
    wait_for_log(&broker, "foreign", 6)?;
    client.produce("foreign", &numbered(5..6, 0))?;
    send(&mut producer)?;
    let written = producer.commit()?;
    let of = |partition| written[&(topic.clone(), PartitionId::new(partition))];
    assert_eq!((of(0).offsets, of(0).count), (Some((Offset::new(5), Offset::new(7))), 2));
    assert_eq!((of(1).offsets, of(1).count), (Some((Offset::new(0), Offset::new(1))), 2));
    assert!(!of(0).is_contiguous() && of(1).is_contiguous());
    Ok(())
}

#[test]
fn more_than_the_queue_holds_waits_for_room() -> Result<()> {
    let broker = broker()?;
    broker.client().create_topic("bounded", 4, &[KEPT])?;
    let topic = name("bounded")?;
    // One record in each is larger than all room.
    let tuning = ProducerTuning { queue_bytes: 64 << 10, ..ProducerTuning::default() };
    let mut producer = unready(&broker, "bounded", &tuning)?.init(SOON)?;
    let bytes = noise(200_000);
    producer.begin()?;
    let mut sent = 0_u64;
    for partition in 0..4 {
        for chunk in bytes.chunks(1000).chain([bytes.as_slice()]) {
            producer.send(&topic, PartitionId::new(partition), &valued(chunk))?;
            sent += 1;
        }
    }
    let written = producer.commit()?;
    assert_eq!(written.values().map(|written| written.count).sum::<u64>(), sent);
    let read = settled(&broker, "bounded")?;
    let of_3 = read.iter().filter(|record| record.partition == 3).filter_map(|record| record.value.clone());
    assert!(of_3.flatten().eq(bytes.iter().chain(&bytes).copied()), "in order and whole");
    Ok(())
}

#[test]
fn calls_out_of_turn_are_refused() -> Result<()> {
    let broker = broker()?;
    broker.client().create_topic("out-of-turn", 1, &[KEPT])?;
    let topic = name("out-of-turn")?;
    let mut producer = ready(&broker, "out-of-turn")?;
    let is_state = |result: Result<(), ProducerError>| {
        matches!(result, Err(ProducerError::Client(Error::Refused { code: Code::STATE, .. })))
    };
    assert!(is_state(producer.send(&topic, P0, &valued(b"v"))));
    assert!(is_state(producer.commit().map(drop)));
    producer.begin()?;
    assert!(is_state(producer.begin()));
    producer.send(&topic, P0, &valued(b"v"))?;
    producer.commit()?;
    // A transaction of nothing, as of a slice whose records are all excluded.
    producer.begin()?;
    assert!(producer.commit()?.is_empty());
    assert_eq!(visible(&broker, "out-of-turn")?, [b"v"]);
    Ok(())
}
