//! Many partitions: how soon records are durable, and what waiting costs.
//!
//! The same 100 records a second over a hundred and over a thousand partitions, at commit intervals of 1 s and 5 s: latency from
//! produce to commit, CPU at rest, requests. Then ten thousand idle partitions.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::json;
use strimzi_backup_benchmarks::measure::{cpu_of, mib, peak_of};
use strimzi_backup_benchmarks::table;
use strimzi_backup_benchmarks::trickle::{Latencies, Load};
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::streamer::{Job, Streamer};

/// How long each case is watched.
const WATCHED: Duration = Duration::from_secs(60);

const LOADS: [Load; 2] = [Load { topic: "hundred", partitions: 100 }, Load { topic: "thousand", partitions: 1000 }];

fn main() -> Result<()> {
    let broker = KafkaBroker::start()?;
    table::head(&[
        "partitions",
        "records/s",
        "commitInterval",
        "p50 s",
        "p99 s",
        "CPU of a core",
        "requests an hour",
        "objects a minute",
        "peak MiB",
    ]);
    for load in LOADS {
        broker.client().create_topic(load.topic, i32::try_from(load.partitions)?, &[])?;
        for interval in [5, 1] {
            busy(&broker, load, interval)?;
        }
        broker.client().delete_topic(load.topic)?;
    }
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

fn busy(broker: &KafkaBroker, load: Load, seconds: u64) -> Result<()> {
    let dir = RunDir::new("partitions")?;
    let job = job(&dir, broker, load.topic, seconds);
    job.catch_up()?;
    let before = Backup::open(&job.backup_dir())?.log.state.next_sequence();
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    load.produce_for(&broker.bootstrap(), Duration::from_secs(10))?;
    let look = Look::at(&job, &mut streamer)?;
    load.produce_for(&broker.bootstrap(), WATCHED)?;
    let spent = look.spent_until(&Look::at(&job, &mut streamer)?);
    let peak = peak_of(streamer.process.id())?;
    streamer.stop()?;
    let latencies = Latencies::since(&job, before)?;
    let case = [load.partitions.to_string(), "100".to_owned(), format!("{seconds} s")];
    row(case, [latencies.percentile(50), latencies.percentile(99)], spent, peak);
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
    let look = Look::at(&job, &mut streamer)?;
    std::thread::sleep(WATCHED);
    let spent = look.spent_until(&Look::at(&job, &mut streamer)?);
    let case = ["10000".to_owned(), "0".to_owned(), "5 s".to_owned()];
    row(case, [String::new(), String::new()], spent, peak_of(streamer.process.id())?);
    streamer.stop()
}

fn row(case: [String; 3], latencies: [String; 2], spent: [String; 3], peak: u64) {
    let peak = [format!("{:.0}", mib(peak))];
    let cells: Vec<String> = case.into_iter().chain(latencies).chain(spent).chain(peak).collect();
    table::row(&cells);
}

/// What a streamer had spent at an instant.
struct Look {
    at: Instant,
    cpu: Duration,
    requests: f64,
    objects: u64,
}

impl Look {
    fn at(job: &Job, streamer: &mut Streamer) -> Result<Self> {
        let mut requests = 0.0;
        for kind in ["put", "get", "head", "list", "delete"] {
            requests += streamer.metric(&format!("strimzi_backup_store_requests_total{{kind=\"{kind}\"}}"))?;
        }
        let (cpu, objects) = (cpu_of(streamer.process.id())?, objects(&job.backup_dir())?);
        Ok(Self { at: Instant::now(), cpu, requests, objects })
    }

    /// Of a core, requests an hour, and objects a minute.
    fn spent_until(&self, now: &Self) -> [String; 3] {
        let seconds = (now.at - self.at).as_secs_f64();
        let cpu = (now.cpu - self.cpu).as_secs_f64() / seconds * 100.0;
        let requests = (now.requests - self.requests) / seconds * 3600.0;
        let objects = (now.objects - self.objects) as f64 / seconds * 60.0;
        [format!("{cpu:.1} %"), format!("{requests:.0}"), format!("{objects:.0}")]
    }
}

/// Files below a folder.
fn objects(dir: &std::path::Path) -> Result<u64> {
    let mut files = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        files += if entry.file_type()?.is_dir() { objects(&entry.path())? } else { 1 };
    }
    Ok(files)
}
