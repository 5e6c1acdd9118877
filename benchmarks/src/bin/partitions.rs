//! Many partitions: how soon records are durable, and what waiting costs.
//!
//! A thousand partitions at 100 records a second, at commit intervals of 1 s and 5 s: latency from produce to commit,
//! CPU at rest, requests. Then ten thousand idle partitions.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseRecord, DefaultProducerContext, Producer as _, ThreadedProducer};
use serde_json::json;
use strimzi_backup_benchmarks::measure::{cpu_of, mib, peak_of};
use strimzi_backup_benchmarks::table;
use strimzi_backup_format::ids::TimestampMs;
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::streamer::Job;

/// How long each case is watched.
const WATCHED: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let broker = KafkaBroker::start()?;
    broker.client().create_topic("thousand", 1000, &[])?;
    table::head(&["case", "commitInterval", "p50 s", "p99 s", "CPU of a core", "objects a minute", "peak MiB"]);
    for interval in [5, 1] {
        busy(&broker, interval)?;
    }
    broker.client().delete_topic("thousand")?;
    // A broker refuses more than a few thousand partitions in one request.
    for number in 0..10 {
        broker.client().create_topic(&format!("ten-thousand-{number}"), 1000, &[])?;
    }
    idle(&broker)
}

fn job(dir: &RunDir, broker: &KafkaBroker, topic: &str, seconds: u64) -> Job {
    Job::new(dir.path(), &broker.bootstrap())
        .set("/topics", json!({"include": [topic]}))
        .set("/backup", json!({"commitInterval": format!("{seconds}s")}))
}

fn busy(broker: &KafkaBroker, seconds: u64) -> Result<()> {
    let dir = RunDir::new("partitions")?;
    let job = job(&dir, broker, "thousand", seconds);
    job.catch_up()?;
    let before = Backup::open(&job.backup_dir())?.log.state.next_sequence();
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    let pid = streamer.process.id();
    produce_for(&broker.bootstrap(), Duration::from_secs(10))?;
    let (cpu, objects, started) = (cpu_of(pid)?, objects(&job)?, Instant::now());
    produce_for(&broker.bootstrap(), WATCHED)?;
    let (cpu, minutes) = (cpu_of(pid)? - cpu, started.elapsed().as_secs_f64() / 60.0);
    let objects = (self::objects(&job)? - objects) as f64 / minutes;
    let peak = peak_of(pid)?;
    streamer.stop()?;
    let mut latencies = latencies(&job, before)?;
    latencies.sort_by(f64::total_cmp);
    let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or(f64::NAN);
    table::row(&[
        "1,000 partitions, 100 records/s".to_owned(),
        format!("{seconds} s"),
        format!("{:.2}", at(50)),
        format!("{:.2}", at(99)),
        format!("{:.1} %", cpu.as_secs_f64() / minutes / 60.0 * 100.0),
        format!("{objects:.0}"),
        format!("{:.0}", mib(peak)),
    ]);
    Ok(())
}

fn idle(broker: &KafkaBroker) -> Result<()> {
    let dir = RunDir::new("partitions")?;
    let job = job(&dir, broker, "ten-thousand-.*", 5);
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    // The broker takes its time to create ten thousand logs, and those that it does not tell of yet wait for the next look.
    let all = |partitions: f64| partitions >= 10_000.0;
    streamer
        .wait_metric("strimzi_backup_partitions", all)
        .or_else(|_| streamer.wait_metric("strimzi_backup_partitions", all))?;
    std::thread::sleep(Duration::from_secs(20));
    let pid = streamer.process.id();
    let (cpu, objects, started) = (cpu_of(pid)?, objects(&job)?, Instant::now());
    std::thread::sleep(WATCHED);
    let (cpu, minutes) = (cpu_of(pid)? - cpu, started.elapsed().as_secs_f64() / 60.0);
    let objects = (self::objects(&job)? - objects) as f64 / minutes;
    table::row(&[
        "10,000 idle partitions".to_owned(),
        "5 s".to_owned(),
        "".to_owned(),
        "".to_owned(),
        format!("{:.1} %", cpu.as_secs_f64() / minutes / 60.0 * 100.0),
        format!("{objects:.0}"),
        format!("{:.0}", mib(peak_of(pid)?)),
    ]);
    streamer.stop()
}

fn objects(job: &Job) -> Result<u64> {
    fn count(dir: &std::path::Path) -> Result<u64> {
        let mut files = 0;
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            files += if entry.file_type()?.is_dir() { count(&entry.path())? } else { 1 };
        }
        Ok(files)
    }
    count(&job.backup_dir())
}

/// 100 records a second, each with the time it was produced at as its timestamp.
fn produce_for(bootstrap: &str, span: Duration) -> Result<()> {
    let producer: ThreadedProducer<DefaultProducerContext> =
        ClientConfig::new().set("bootstrap.servers", bootstrap).set("linger.ms", "0").create()?;
    let started = Instant::now();
    let mut sent = 0_u32;
    while started.elapsed() < span {
        let partition = i32::try_from(sent.wrapping_mul(7919) % 1000)?;
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?;
        let record =
            BaseRecord::<(), str>::to("thousand").partition(partition).payload("a small record").timestamp(now);
        producer.send(record).map_err(|(error, _)| error)?;
        sent += 1;
        let due = started + Duration::from_millis(10) * sent;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    producer.flush(Duration::from_secs(10))?;
    Ok(())
}

/// Seconds from each record's timestamp to the moment its manifest's file appeared.
fn latencies(job: &Job, from: strimzi_backup_format::ids::Sequence) -> Result<Vec<f64>> {
    let backup = Backup::open(&job.backup_dir())?;
    let mut committed: BTreeMap<String, f64> = BTreeMap::new();
    for manifest in backup.log.tail.iter().filter(|manifest| manifest.sequence >= from) {
        let key = strimzi_backup_format::layout::manifest(manifest.shard, manifest.sequence);
        let modified = std::fs::metadata(job.backup_dir().join(key.as_str()))?.modified()?;
        let at = modified.duration_since(UNIX_EPOCH)?.as_secs_f64();
        for segment in &manifest.segments {
            committed.insert(segment.object.to_string(), at);
        }
    }
    let mut latencies = Vec::new();
    for (object, at) in committed {
        for timestamp in backup.timestamps(&object).context(object)? {
            latencies.push(at - seconds(timestamp));
        }
    }
    Ok(latencies)
}

fn seconds(timestamp: TimestampMs) -> f64 {
    timestamp.get() as f64 / 1000.0
}
