//! What is refused, by whom and by which name, and that nothing of it is silently missing.

use super::*;

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
    let value = noise(1, 12_000);
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
    let bytes = noise(1, 50_000);
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
