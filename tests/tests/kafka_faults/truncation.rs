//! A log that is cut back below what was captured of it, as after an unclean leader election: an older copy of the
//! partition's files takes the place of the newer one while the broker is down.

use std::path::PathBuf;

use anyhow::{Result, ensure};
use strimzi_backup_format::manifest::TopicEventKind;
use strimzi_backup_tests::backup::same;
use strimzi_backup_tests::client::ReadRecord;
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

/// A topic of 150 records, and a copy of its replica from when there were 100.
struct Diverged {
    broker: KafkaBroker,
    scenario: Scenario,
    replica: Replica,
    /// The 150 records.
    first: Vec<ReadRecord>,
}

impl Diverged {
    fn new(topic: &str) -> Result<Self> {
        let mut broker = KafkaBroker::start()?;
        let scenario = Scenario::on(&broker, topic)?;
        scenario.client.create_topic(topic, 1, &[])?;
        scenario.client.produce(topic, &numbered(0..100))?;
        let replica = Replica::of(&broker, topic);
        replica.keep(&mut broker)?;
        scenario.client.produce(topic, &numbered(100..150))?;
        let first = scenario.client.read_all(topic)?;
        Ok(Self { broker, scenario, replica, first })
    }

    /// The copy takes over, without the last 50 records.
    fn elect(&mut self) -> Result<()> {
        self.replica.elect(&mut self.broker)
    }

    fn assert_two_histories(&self, topic: &str) -> Result<()> {
        let backup = self.scenario.backup()?;
        same(&backup.records(topic, 0)?, &self.first, topic)?;
        same(&backup.records(topic, 1)?, &self.scenario.client.read_all(topic)?, topic)?;
        let began: Vec<TopicEventKind> = backup.topic(topic)?.lives.iter().map(|life| life.began).collect();
        ensure!(began == [TopicEventKind::Added, TopicEventKind::Truncated], "{began:?}");
        ensure!(backup.gaps(topic).is_empty(), "{:?}", backup.gaps(topic));
        Ok(())
    }
}

#[test]
fn a44_a_log_cut_back_while_streaming_is_a_truncation_and_both_histories_stay() -> Result<()> {
    let topic = "a44";
    let mut diverged = Diverged::new(topic)?;
    let mut streamer = diverged.scenario.job.stream(&[])?;
    diverged.scenario.wait_rows(topic, 0, 150)?;
    diverged.elect()?;
    let Diverged { scenario, .. } = &diverged;
    ensure!(scenario.client.watermarks(topic, 0)?.1 == 100, "the log was cut back");
    streamer.wait_log("TruncationDetected")?;
    scenario.wait_rows(topic, 1, 100)?;
    scenario.client.produce(topic, &numbered(900..930))?;
    scenario.wait_rows(topic, 1, 130)?;
    streamer.stop()?;
    diverged.assert_two_histories(topic)
}

#[test]
fn a44_other_records_at_the_same_offsets_are_told_apart_by_the_leader_epoch() -> Result<()> {
    let topic = "a44b";
    let mut diverged = Diverged::new(topic)?;
    diverged.scenario.job.catch_up()?;
    diverged.elect()?;
    let Diverged { scenario, .. } = &diverged;
    // Longer than before: by its offsets alone nothing is wrong with this log.
    scenario.client.produce(topic, &numbered(5000..5100))?;
    let mut streamer = scenario.job.stream(&[])?;
    streamer.wait_log("TruncationDetected")?;
    scenario.wait_rows(topic, 1, 200)?;
    streamer.stop()?;
    diverged.assert_two_histories(topic)
}
