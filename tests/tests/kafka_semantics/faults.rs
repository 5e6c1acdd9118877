//! What is told when something cannot be read: positions out of range, deleted topics, damaged data, absent and refusing
//! brokers.

use std::io::{Seek, SeekFrom, Write};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use strimzi_backup_format::ids::{Offset, PartitionId};
use strimzi_backup_format::job::{Authentication, Cluster, ScramMechanism, Tls, Username};
use strimzi_backup_streamer::kafka::{Code, ConfigurationFault, Error, Kafka, OffsetSpec, PartitionFault};
use strimzi_backup_tests::client::{KafkaClient, Record};
use strimzi_backup_tests::kafka::{BrokerOptions, KafkaBroker, SCRAM_BACKUP};

use super::{QUIET, Recorder, SOON, at, block_on, broker, cluster, connect, name, numbered, tuning};

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
    // Also where nothing else is asked for: that a partition is gone is an answer, not a question that failed.
    let gone = [(name("deleted")?, PartitionId::new(0))];
    let starts = block_on(kafka.list_offsets(&gone, OffsetSpec::LogStart))??;
    assert!(starts.len() == 1 && starts[0].1.is_err(), "{starts:?}");
    client.produce("stays", &numbered(0..1, 0))?;
    seen.poll_until(&kafka, "a record of the other", |seen| seen.offsets(1) == [0])?;
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
pub(super) fn secure(bootstrap: &str, ca: std::path::PathBuf, authentication: Authentication) -> Cluster {
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
