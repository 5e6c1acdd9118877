//! Streaming from a real broker into a real store: everything that was produced is there, once, as it was.

use anyhow::Result;
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::client::{KafkaClient, Record};
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::streamer::Job;

fn produce(client: &KafkaClient, topic: &str, count: usize) -> Result<()> {
    let records: Vec<Record> =
        (0..count).map(|number| Record::new(format!("key-{number}"), format!("value {number} of {topic}"))).collect();
    client.produce(topic, &records)?;
    Ok(())
}

#[test]
fn streams_until_caught_up_and_goes_on_where_it_ended() -> Result<()> {
    let broker = KafkaBroker::start()?;
    let client = broker.client();
    client.create_topic("orders", 3, &[])?;
    client.create_topic("payments", 1, &[])?;
    produce(&client, "orders", 1000)?;
    produce(&client, "payments", 10)?;
    let dir = RunDir::new("stream")?;
    let job = Job::new(dir.path(), &broker.bootstrap());
    job.catch_up()?;
    let backup = Backup::open(&job.backup_dir())?;
    assert_eq!(backup.equals_topic(&client, "orders")?, 1000);
    assert_eq!(backup.equals_topic(&client, "payments")?, 10);

    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    produce(&client, "orders", 500)?;
    streamer.wait_metric("strimzi_backup_records_total", |records| records >= 500.0)?;
    streamer.stop()?;
    let backup = Backup::open(&job.backup_dir())?;
    assert_eq!(backup.equals_topic(&client, "orders")?, 1500);
    Ok(())
}
