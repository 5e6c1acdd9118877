//! A CA that is renewed, and one that is replaced, while a streamer runs: as Strimzi does it, with a moment at which both are
//! trusted.

use std::ops::Range;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::certs::Certs;
use strimzi_backup_tests::kafka::{BrokerOptions, KafkaBroker, SCRAM_BACKUP};
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::scenario::{Scenario, numbered};
use strimzi_backup_tests::streamer::{Job, PATIENCE, Streamer};
use strimzi_backup_tests::wait;

use crate::security::{Files, refused, scram};

const TOPIC: &str = "renewed";

/// Writes the file of the CAs, in which these are.
fn trust(files: &Files, authorities: &[PathBuf]) -> Result<Value> {
    let certificates = authorities.iter().map(std::fs::read_to_string).collect::<std::io::Result<String>>()?;
    files.write("ca", certificates.trim_end())
}

/// Has a running streamer trust these CAs and no other, and waits until it does.
fn trusts(streamer: &Streamer, files: &Files, authorities: &[PathBuf]) -> Result<()> {
    let connected = || streamer.process.stderr().matches("connected anew").count();
    let before = connected();
    trust(files, authorities)?;
    let waited = wait::wait_until("a new connection", PATIENCE, || Ok(connected() > before));
    waited.with_context(|| streamer.process.tail())
}

/// Produces more records, and waits until they are captured.
fn goes_on(scenario: &Scenario, records: Range<usize>) -> Result<()> {
    let all = u64::try_from(records.end)?;
    scenario.client.produce(TOPIC, &numbered(records))?;
    scenario.wait_rows(TOPIC, 0, all)
}

#[test]
fn a30_a_ca_is_renewed_and_then_replaced_and_the_streamer_goes_on_without_a_restart_or_a_gap() -> Result<()> {
    let options = BrokerOptions::default().secure();
    let options = options.property("super.users", &format!("User:{};User:ANONYMOUS", SCRAM_BACKUP.0));
    let mut broker = KafkaBroker::start_with(&options)?;
    let scenario = Scenario::on(&broker, TOPIC)?;
    scenario.client.create_topic(TOPIC, 1, &[])?;
    let (first, files) = (broker.certs()?.clone(), Files::new()?);
    let password = files.write("password", SCRAM_BACKUP.1)?;
    let by_password = |job: &Job, broker: &KafkaBroker| scram(job, broker, "scram-sha-512", SCRAM_BACKUP.0, &password);
    let trusted = trust(&files, &[first.ca()])?;
    let job = by_password(&scenario.job, &broker)?.set("/cluster/tls", json!({"caFiles": [trusted]}));
    let streamer = job.stream(&[])?;
    goes_on(&scenario, 0..50)?;

    // Its certificate runs out, and its key stays: the brokers have no other certificates yet.
    first.renew_ca()?;
    trusts(&streamer, &files, &[first.ca()])?;
    goes_on(&scenario, 50..100)?;

    // Another key. Before any broker shows a certificate of the new CA, everybody trusts both.
    let second = Certs::generate_by("second-ca", &broker.dir().join("second-certs"), &[])?;
    trusts(&streamer, &files, &[second.ca(), first.ca()])?;
    goes_on(&scenario, 100..150)?;
    std::fs::copy(second.key_store("broker"), first.key_store("broker"))?;
    broker.stop()?;
    broker.restart()?;
    goes_on(&scenario, 150..200)?;
    let dir = RunDir::new("trusts-the-first")?;
    let late = by_password(&Job::new(dir.path(), &broker.bootstrap()), &broker)?;
    refused(&late.set("/cluster/tls", json!({"caFiles": [first.ca()]})), &[], &["certificate", "TLS", "SSL"])?;
    trusts(&streamer, &files, &[second.ca()])?;
    goes_on(&scenario, 200..250)?;

    streamer.stop()?;
    let backup = scenario.backup()?;
    ensure!(backup.equals_topic(&scenario.client, TOPIC)? == 250, "every record, once");
    ensure!(backup.topic(TOPIC)?.lives.len() == 1 && backup.gaps(TOPIC).is_empty(), "one life, no gap");
    Ok(())
}
