//! What of a transaction is there after its end, its abort, and the death of its producer.

use super::*;

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
