//! A topic full of records, its backup in a directory, and restoring that: each a whole process, with what it cost.

use anyhow::{Result, ensure};
use serde_json::json;
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::restore::Restore;
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::streamer::Job;

use crate::measure::{Cost, run};
use crate::payload;

/// Partitions of each topic.
pub const PARTITIONS: i32 = 6;

/// A topic full of records.
#[derive(Clone, Copy, Debug)]
pub struct Backlog {
    /// The topic.
    pub topic: &'static str,
    /// Its records.
    pub count: usize,
    /// Bytes of keys and values.
    pub bytes: u64,
}

impl Backlog {
    /// Creates the topic and fills it with `count` records of about `size` bytes.
    ///
    /// # Errors
    /// Where the broker does not take them.
    pub fn produce(broker: &KafkaBroker, topic: &'static str, size: usize, count: usize) -> Result<Self> {
        broker.client().create_topic(topic, PARTITIONS, &[])?;
        let bytes = payload::fill(&broker.bootstrap(), topic, count, size)?;
        Ok(Self { topic, count, bytes })
    }
}

/// A backup of one topic.
#[derive(Debug)]
pub struct Backup {
    /// What it is of.
    pub backlog: Backlog,
    /// Where it lies, with everything that belongs to it.
    pub dir: RunDir,
    /// The job that makes it.
    pub job: Job,
}

impl Backup {
    /// One that nothing is in yet.
    ///
    /// # Errors
    /// Where there is no room for its directory.
    pub fn new(broker: &KafkaBroker, backlog: Backlog) -> Result<Self> {
        let dir = RunDir::new("benchmark")?;
        let job = Job::new(dir.path(), &broker.bootstrap()).set("/topics", json!({"include": [backlog.topic]}));
        Ok(Self { backlog, dir, job })
    }

    /// Streams until all of the topic is in it.
    ///
    /// # Errors
    /// Where the streamer fails.
    pub fn stream(&self) -> Result<Cost> {
        run(&mut self.job.command(&["stream", "--until-caught-up"])?)
    }

    /// A restore of everything under another name, and that name.
    pub fn prepared(&self, broker: &KafkaBroker, id: &str) -> (Restore, String) {
        let target = format!("{}-{id}", self.backlog.topic);
        let restore = Restore::new(self.dir.path(), id, &self.job, &broker.bootstrap());
        (restore.mapped(self.backlog.topic, &target), target)
    }

    /// Restores everything, and deletes what came of it again.
    ///
    /// # Errors
    /// Where the restore fails, or there are fewer records than there should be.
    pub fn restore(&self, broker: &KafkaBroker, id: &str) -> Result<Cost> {
        let (restore, target) = self.prepared(broker, id);
        let cost = run(&mut restore.command(&[])?)?;
        let (mut offsets, count) = (0, self.backlog.count);
        for partition in 0..PARTITIONS {
            offsets += broker.client().watermarks(&target, partition)?.1;
        }
        ensure!(usize::try_from(offsets)? > count, "{offsets} offsets for {count} records and markers");
        broker.client().delete_topic(&target)?;
        Ok(cost)
    }
}
