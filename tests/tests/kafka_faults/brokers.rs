//! Brokers that go down and come back, and leaders that move.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use anyhow::{Result, anyhow, ensure};
use serde_json::json;
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::client::{KafkaClient, Record};
use strimzi_backup_tests::http;
use strimzi_backup_tests::kafka::{KafkaBroker, KafkaCluster};
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::scenario::{Scenario, numbered, wait_backup};
use strimzi_backup_tests::streamer::Job;

#[test]
fn a37_a_broker_that_goes_away_is_waited_for() -> Result<()> {
    let topic = "a37";
    let mut broker = KafkaBroker::start()?;
    let scenario = Scenario::on(&broker, topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 3, &[])?;
    client.produce(topic, &numbered(0..100))?;
    let mut streamer = scenario.job.stream(&[])?;
    scenario.wait_rows(topic, 0, 100)?;
    broker.kill()?;
    streamer.wait_metric("strimzi_backup_kafka_unreachable", |value| value == 1.0)?;
    let address = streamer.http()?;
    ensure!(http::get(&address, "/livez")?.status == 200, "alive without a broker");
    broker.restart()?;
    streamer.wait_metric("strimzi_backup_kafka_unreachable", |value| value == 0.0)?;
    client.produce(topic, &numbered(100..200))?;
    scenario.wait_rows(topic, 0, 200)?;
    streamer.stop()?;
    let backup = scenario.backup()?;
    backup.equals_topic(client, topic)?;
    ensure!(backup.topic(topic)?.lives.len() == 1 && backup.gaps(topic).is_empty(), "one life, no gap");
    Ok(())
}

/// Produces to all partitions until it is told to stop, and gives the number of records.
fn produce_in_background(
    client: KafkaClient,
    topic: &'static str,
    stop: Arc<AtomicBool>,
) -> thread::JoinHandle<Result<usize>> {
    thread::spawn(move || {
        let mut count = 0;
        let producer = client.producer()?;
        while !stop.load(Ordering::Relaxed) {
            for number in 0..20 {
                producer.send(topic, &Record::new(format!("{number}"), format!("{}", count + number)))?;
            }
            count += producer.flush()?.len();
        }
        Ok(count)
    })
}

#[test]
fn a37_and_a38_a_rolling_restart_and_then_no_controller_lose_nothing() -> Result<()> {
    let mut cluster = KafkaCluster::start()?;
    let client = cluster.client();
    client.create_topic("a37", 6, &[("min.insync.replicas", "2")])?;
    let dir = RunDir::new("a37-cluster")?;
    let job = Job::new(dir.path(), &cluster.bootstrap()).set("/topics/include", json!(["a37", "a38"]));
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    let stop = Arc::new(AtomicBool::new(false));
    let producing = produce_in_background(client.clone(), "a37", Arc::clone(&stop));
    let rows =
        |at_least: u64| wait_backup(&job.backup_dir(), "records", |backup| Ok(backup.rows("a37", 0) >= at_least));
    rows(1)?;
    for id in 1..=3 {
        cluster.broker(id)?.stop()?;
        let held = Backup::open(&job.backup_dir())?.rows("a37", 0);
        rows(held + 20)?;
        cluster.broker(id)?.restart()?;
    }
    stop.store(true, Ordering::Relaxed);
    let produced = producing.join().map_err(|_| anyhow!("the producer panicked"))??;
    rows(u64::try_from(produced)?)?;
    let backup = Backup::open(&job.backup_dir())?;
    ensure!(backup.equals_topic(&client, "a37")? == produced, "every record, once");
    ensure!(backup.topic("a37")?.lives.len() == 1 && backup.gaps("a37").is_empty(), "no false truncation, no gap");
    without_a_controller(&mut cluster, &job)?;
    streamer.stop()
}

/// A38: two of three controllers are gone, so that no metadata changes any more; the leader that is left is read on.
fn without_a_controller(cluster: &mut KafkaCluster, job: &Job) -> Result<()> {
    let client = cluster.client();
    client.create_replicated_topic("a38", 1, 1, &[])?;
    // The producer has its id already: only a controller could give it one.
    let producer = client.producer()?;
    let send = |range| -> Result<()> {
        numbered(range).iter().try_for_each(|record| producer.send("a38", record))?;
        producer.flush().map(drop)
    };
    send(0..10)?;
    wait_backup(&job.backup_dir(), "ten records", |backup| Ok(backup.rows("a38", 0) == 10))?;
    let leader = client.leader("a38", 0)?;
    for id in (1..=3).filter(|id| *id != leader) {
        cluster.broker(id)?.kill()?;
    }
    send(10..20)?;
    wait_backup(&job.backup_dir(), "a record without a controller", |backup| Ok(backup.rows("a38", 0) == 20))
}
