//! How a restore is told that it may not write, or cannot.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use strimzi_backup_format::ids::{LeaderEpoch, Offset, PartitionId, TimestampMs};
use strimzi_backup_format::job::{Authentication, ScramMechanism, Username};
use strimzi_backup_format::record::{RecordRef, TimestampType};
use strimzi_backup_streamer::kafka::{
    Error, GroupOffset, ProducerError, ProducerTuning, Refusal, TransactionalProducer, Unready,
};
use strimzi_backup_tests::kafka::{BrokerOptions, KafkaBroker, SCRAM_BACKUP};
use tokio_util::sync::CancellationToken;

use super::faults::secure;
use super::{SOON, cluster, name};

fn is_denied(error: &ProducerError) -> bool {
    matches!(
        error,
        ProducerError::Client(Error::Authorization { .. }) | ProducerError::Refused { what: Refusal::Denied(_), .. }
    )
}

/// Where nothing was let into the transaction, the broker has none to abort, and librdkafka gives the producer up.
fn end_denied(mut producer: TransactionalProducer) -> Result<()> {
    let aborted = producer.abort();
    ensure!(matches!(aborted, Ok(()) | Err(ProducerError::Client(Error::Fatal { .. }))), "{aborted:?}");
    Ok(())
}

#[test]
fn what_a_restore_may_not_do_is_told_as_such_and_not_tried_for_ever() -> Result<()> {
    let broker = KafkaBroker::start_with(&BrokerOptions::default().secure())?;
    broker.client().create_topic("rights", 1, &[("retention.ms", "-1")])?;
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("secret");
    let username = Username::Literal(SCRAM_BACKUP.0.to_owned());
    let scram = Authentication::Scram { mechanism: ScramMechanism::Sha512, username, password_file: file.clone() };
    let secured = secure(&broker.bootstrap_sasl_ssl()?, broker.certs()?.ca(), scram);
    let connect = || -> Result<Unready> {
        let tuning = ProducerTuning::default();
        Ok(TransactionalProducer::connect(&secured, "restore", &tuning, CancellationToken::new())?)
    };
    let allow = |resource: &[&str], operation: &str| {
        let to = ["--add", "--allow-principal", "User:backup", "--operation", operation];
        broker.cli("acls", &[&to, resource].concat()).map(drop)
    };
    let topic = name("rights")?;
    let record = RecordRef {
        offset: Offset::new(0),
        timestamp: TimestampMs::new(0),
        timestamp_type: TimestampType::CreateTime,
        leader_epoch: LeaderEpoch::UNKNOWN,
        key: None,
        value: Some(b"v"),
        headers: &[],
    };
    let write = |producer: &mut TransactionalProducer, group: Option<&str>| -> Result<(), ProducerError> {
        producer.begin()?;
        producer.send(&topic, PartitionId::new(0), &record)?;
        let offset = Offset::new(1);
        let progress = GroupOffset { topic: topic.clone(), partition: PartitionId::new(0), offset, metadata: None };
        group.map_or(Ok(()), |group| producer.send_offsets(group, &[progress]))?;
        producer.commit().map(drop)
    };

    std::fs::write(&file, "wrong-secret")?;
    let started = Instant::now();
    let refused = connect()?.init(SOON * 3).err().context("a wrong password")?;
    ensure!(matches!(refused, ProducerError::Client(Error::Authentication { .. })), "{refused:?}");
    ensure!(started.elapsed() < SOON * 3 && !format!("{refused:?}").contains("wrong-secret"), "{refused:?}");

    std::fs::write(&file, SCRAM_BACKUP.1)?;
    let denied = connect()?.init(SOON).err().context("no right to the transactional id")?;
    ensure!(is_denied(&denied), "{denied:?}");
    allow(&["--transactional-id", "restore"], "Write")?;
    let mut producer = connect()?.init(SOON)?;

    allow(&["--topic", "rights"], "Describe")?;
    let denied = write(&mut producer, None).err().context("no right to write to the topic")?;
    ensure!(is_denied(&denied), "{denied:?}");
    end_denied(producer)?;
    allow(&["--topic", "rights"], "Write")?;
    let mut producer = connect()?.init(SOON)?;
    write(&mut producer, None)?;

    let denied = write(&mut producer, Some("restore")).err().context("no right to the group")?;
    ensure!(is_denied(&denied), "{denied:?}");
    end_denied(producer)?;
    Ok(())
}

#[test]
fn a_producer_that_reaches_nobody_stops_when_told_and_else_says_so() -> Result<()> {
    let nobody = cluster("127.0.0.1:1");
    let stop = CancellationToken::new();
    let connect = |stop| TransactionalProducer::connect(&nobody, "nobody", &ProducerTuning::default(), stop);
    let unreachable = connect(stop.clone())?.init(Duration::from_secs(1)).err().context("no broker")?;
    ensure!(unreachable.is_retryable(), "{unreachable}");
    stop.cancel();
    let stopped = connect(stop)?.init(Duration::from_secs(600)).err().context("no broker")?;
    ensure!(matches!(stopped, ProducerError::Stopped), "{stopped}");
    Ok(())
}
