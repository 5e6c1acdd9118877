//! What is written is what was given: byte for byte, in its room, and at the offsets that are told.

use super::*;

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
    let large = noise(1, 3 << 20);
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
    let bytes = noise(1, 200_000);
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
