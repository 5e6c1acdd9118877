//! A log that is cut back below what was captured of it, as after an unclean leader election: an older copy of the
//! partition's files takes the place of the newer one while the broker is down.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use strimzi_backup_format::manifest::TopicEventKind;
use strimzi_backup_tests::backup::same;
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::scenario::{Scenario, copy_dir, numbered};

struct Replica {
    live: PathBuf,
    old: PathBuf,
}

impl Replica {
    fn of(broker: &KafkaBroker, topic: &str) -> Self {
        let name = format!("{topic}-0");
        Self { live: broker.data_dir().join(&name), old: broker.dir().join(name) }
    }

    /// Keeps a copy of the partition as it stands. The broker is down meanwhile.
    fn keep(&self, broker: &mut KafkaBroker) -> Result<()> {
        broker.stop()?;
        copy_dir(&self.live, &self.old)?;
        broker.restart()
    }

    /// Puts the copy in the place of the partition.
    fn elect(&self, broker: &mut KafkaBroker) -> Result<()> {
        broker.stop()?;
        copy_dir(&self.old, &self.live)?;
        broker.restart()
    }
}

fn assert_two_histories(
    scenario: &Scenario,
    topic: &str,
    first: &[strimzi_backup_tests::client::ReadRecord],
) -> Result<()> {
    let backup = scenario.backup()?;
    same(&backup.records(topic, 0)?, first, topic)?;
    same(&backup.records(topic, 1)?, &scenario.client.read_all(topic)?, topic)?;
    let began: Vec<TopicEventKind> = backup.topic(topic)?.lives.iter().map(|life| life.began).collect();
    ensure!(began == [TopicEventKind::Added, TopicEventKind::Truncated], "{began:?}");
    ensure!(backup.gaps(topic).is_empty(), "{:?}", backup.gaps(topic));
    Ok(())
}

#[test]
fn a44_a_log_cut_back_while_streaming_is_a_truncation_and_both_histories_stay() -> Result<()> {
    let topic = "a44";
    let mut broker = KafkaBroker::start()?;
    let scenario = Scenario::on(&broker, topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 1, &[])?;
    client.produce(topic, &numbered(0..100))?;
    let replica = Replica::of(&broker, topic);
    replica.keep(&mut broker)?;
    client.produce(topic, &numbered(100..150))?;
    let first = client.read_all(topic)?;
    let mut streamer = scenario.job.stream(&[])?;
    scenario.wait_rows(topic, 0, 150)?;
    replica.elect(&mut broker)?;
    ensure!(client.watermarks(topic, 0)?.1 == 100, "the log was cut back");
    streamer.wait_log("TruncationDetected")?;
    scenario.wait_rows(topic, 1, 100)?;
    client.produce(topic, &numbered(900..930))?;
    scenario.wait_rows(topic, 1, 130)?;
    streamer.stop()?;
    assert_two_histories(&scenario, topic, &first)
}

#[test]
fn a44_other_records_at_the_same_offsets_are_told_apart_by_the_leader_epoch() -> Result<()> {
    let topic = "a44b";
    let mut broker = KafkaBroker::start()?;
    let scenario = Scenario::on(&broker, topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 1, &[])?;
    client.produce(topic, &numbered(0..100))?;
    let replica = Replica::of(&broker, topic);
    replica.keep(&mut broker)?;
    client.produce(topic, &numbered(100..150))?;
    let first = client.read_all(topic)?;
    scenario.job.catch_up()?;
    replica.elect(&mut broker)?;
    // Longer than before: by its offsets alone nothing is wrong with this log.
    client.produce(topic, &numbered(5000..5100))?;
    let mut streamer = scenario.job.stream(&[])?;
    streamer.wait_log("TruncationDetected")?;
    scenario.wait_rows(topic, 1, 200)?;
    streamer.stop()?;
    assert_two_histories(&scenario, topic, &first)
}
