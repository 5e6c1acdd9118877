//! A small steady load over many partitions, and how soon each of its records is durable.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use strimzi_backup_format::document;
use strimzi_backup_format::ids::{Sequence, Shard};
use strimzi_backup_format::layout;
use strimzi_backup_format::manifest::Manifest;
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::streamer::Job;

/// Between two records: 100 come in a second, however many partitions there are.
const EVERY: Duration = Duration::from_millis(10);

/// A topic that the load is spread over.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// The topic.
    pub topic: &'static str,
    /// Its partitions.
    pub partitions: u32,
}

impl Load {
    /// Produces for that long. Each record has the time it was produced at as its timestamp.
    ///
    /// # Errors
    /// Where the broker does not take them.
    pub fn produce_for(self, bootstrap: &str, span: Duration) -> Result<()> {
        let producer: ThreadedProducer<DefaultProducerContext> =
            ClientConfig::new().set("bootstrap.servers", bootstrap).set("linger.ms", "0").create()?;
        let started = Instant::now();
        let mut sent = 0_u32;
        while started.elapsed() < span {
            let partition = i32::try_from(sent.wrapping_mul(7919) % self.partitions)?;
            let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
            let record =
                BaseRecord::<(), str>::to(self.topic).partition(partition).payload("a small record").timestamp(now);
            producer.send(record).map_err(|(error, _)| error)?;
            sent += 1;
            let due = started + EVERY * sent;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        producer.flush(Duration::from_secs(10))?;
        Ok(())
    }
}

/// Seconds from the timestamps of records to the moment that the file of their manifest appeared.
#[derive(Debug)]
pub struct Latencies(Vec<f64>);

impl Latencies {
    /// Of all records that the manifest `from` and those after it have added.
    ///
    /// # Errors
    /// Where one of them, or a segment, cannot be read.
    pub fn since(job: &Job, from: Sequence) -> Result<Self> {
        let dir = job.backup_dir();
        let backup = Backup::open(&dir)?;
        let mut latencies = Vec::new();
        // By their numbers: a checkpoint, which refining begins with, takes them out of what a reader has at hand.
        for number in from.get()..backup.log.state.next_sequence().get() {
            let path = dir.join(layout::manifest(Shard::ONLY, Sequence::new(number)).as_str());
            let at = std::fs::metadata(&path)?.modified()?.duration_since(UNIX_EPOCH)?.as_secs_f64();
            let manifest: Manifest = document::unpack(&std::fs::read(&path)?)?;
            for segment in manifest.segments.iter().filter(|segment| !segment.holds_groups()) {
                let object = segment.object.as_str();
                for timestamp in backup.timestamps(object).with_context(|| object.to_owned())? {
                    latencies.push(at - timestamp.get() as f64 / 1000.0);
                }
            }
        }
        latencies.sort_by(f64::total_cmp);
        Ok(Self(latencies))
    }

    /// So many percent of them are no longer, as a cell of a table.
    pub fn percentile(&self, percent: usize) -> String {
        let latency = self.0.get(self.0.len() * percent / 100).copied().unwrap_or(f64::NAN);
        format!("{latency:.2}")
    }
}
