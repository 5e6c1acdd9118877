//! Restoring a backup: against `kafka-producer-perf-test` on the same broker, and how soon the first record is there.
//!
//! `restore [rounds [records]]`: rounds, and a part of the names of the records to measure.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use strimzi_backup_benchmarks::backup::{Backlog, Backup, PARTITIONS};
use strimzi_backup_benchmarks::measure::{Cost, mib};
use strimzi_backup_benchmarks::perf_test::{self, PerfTest};
use strimzi_backup_benchmarks::table;
use strimzi_backup_tests::kafka::{BrokerOptions, KafkaBroker};

/// Name, bytes of a value, how many.
const RECORDS: [(&str, usize, usize); 3] =
    [("size-1k", 1024, 1_500_000), ("size-200", 200, 4_000_000), ("size-10k", 10_240, 120_000)];

/// The batching of a restore, for the other producer.
const AS_A_RESTORE: [&str; 4] =
    ["compression.type=lz4", "batch.size=1000000", "linger.ms=20", "buffer.memory=67108864"];

/// Longer than a start takes.
const PATIENCE: Duration = Duration::from_secs(60);

/// One round.
struct Round {
    restore: Cost,
    plain: PerfTest,
    tuned: PerfTest,
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let rounds: usize = arguments.first().map_or(Ok(3), |rounds| rounds.parse())?;
    let wanted = arguments.get(1).map_or("", String::as_str);
    // The harness's own broker is compiled for short lives.
    let jvm = vec!["-XX:TieredStopAtLevel=4".to_owned()];
    let broker = KafkaBroker::start_with(&BrokerOptions { jvm, ..BrokerOptions::default() })?;
    table::head(&[
        "records",
        "MiB/s",
        "MiB/s per CPU s",
        "peak MiB",
        "perf-test MiB/s",
        "of it",
        "perf-test as a restore",
        "of it",
        "first record s",
    ]);
    for (name, size, count) in RECORDS.into_iter().filter(|(name, ..)| name.contains(wanted)) {
        let backup = back_up(&broker, name, size, count)?;
        let values = perf_test::write_values(backup.dir.path(), size)?;
        let mut done = Vec::new();
        for number in 0..rounds {
            let restore = backup.restore(&broker, &format!("round-{number}"))?;
            let perf = |properties| {
                let topic = format!("{name}-perf");
                broker.client().create_topic(&topic, PARTITIONS, &[])?;
                let perf = perf_test::run(&broker.bootstrap(), &topic, count, &values, properties)?;
                broker.client().delete_topic(&topic)?;
                Ok::<_, anyhow::Error>(perf)
            };
            done.push(Round { restore, plain: perf(&[])?, tuned: perf(&AS_A_RESTORE)? });
        }
        let first = (0..rounds).map(|number| first_record(&broker, &backup, number)).collect::<Result<_>>()?;
        print(&backup, &done, table::median(first));
    }
    Ok(())
}

/// A backup of a topic, which is not in Kafka any more.
fn back_up(broker: &KafkaBroker, name: &'static str, size: usize, count: usize) -> Result<Backup> {
    let backup = Backup::new(broker, Backlog::produce(broker, name, size, count)?)?;
    backup.stream()?;
    broker.client().delete_topic(name)?;
    Ok(backup)
}

/// Seconds from the start of the process until a reader of committed records is given one; the restore ends there.
fn first_record(broker: &KafkaBroker, backup: &Backup, number: usize) -> Result<f64> {
    let (restore, target) = backup.prepared(broker, &format!("first-{number}"));
    let started = Instant::now();
    let mut process = restore.start()?;
    while !is_readable(broker, &target)? {
        ensure!(process.is_running() && started.elapsed() < PATIENCE, "no record\n{}", process.tail());
        std::thread::sleep(Duration::from_millis(10));
    }
    let seconds = started.elapsed().as_secs_f64();
    drop(process);
    broker.client().delete_topic(&target)?;
    Ok(seconds)
}

/// Whether a committed record is in any partition. A client of its own, as one remembers for long that a topic was not there.
fn is_readable(broker: &KafkaBroker, topic: &str) -> Result<bool> {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("isolation.level", "read_committed")
        .set("log_level", "0")
        .create()
        .context("make a consumer")?;
    // Before it is created there are no partitions.
    let end =
        |partition| consumer.fetch_watermarks(topic, partition, Duration::from_millis(100)).map_or(0, |(_, end)| end);
    let metadata = consumer.fetch_metadata(None, Duration::from_secs(5)).context("fetch metadata")?;
    let is_there = metadata.topics().iter().any(|found| found.name() == topic);
    Ok(is_there && (0..PARTITIONS).any(|partition| end(partition) > 0))
}

fn print(backup: &Backup, rounds: &[Round], first: f64) {
    let middle = |of: &dyn Fn(&Round) -> f64| table::median(rounds.iter().map(of).collect());
    let Backlog { topic, count, bytes } = backup.backlog;
    let rate = |perf: &PerfTest| perf.records_per_second * mib(bytes) / count as f64;
    let restored = |round: &Round| round.restore.mib_per_second(bytes);
    table::row(&[
        topic.to_owned(),
        format!("{:.0}", middle(&restored)),
        format!("{:.0}", middle(&|round| round.restore.mib_per_cpu_second(bytes))),
        format!("{:.0}", middle(&|round| mib(round.restore.peak_bytes))),
        format!("{:.0}", middle(&|round| rate(&round.plain))),
        format!("{:.2}", middle(&|round| restored(round) / rate(&round.plain))),
        format!("{:.0}", middle(&|round| rate(&round.tuned))),
        format!("{:.2}", middle(&|round| restored(round) / rate(&round.tuned))),
        format!("{first:.2}"),
    ]);
}
