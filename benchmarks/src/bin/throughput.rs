//! Catching up with a backlog: the whole streamer against the limit, per record size, codec and store.
//!
//! `throughput [rounds]` prints the table; `throughput limit JOB TOPIC LEVEL BLOCK` is the limit's own process.

use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;
use strimzi_backup_benchmarks::measure::{Cost, bytes_below, mib, run};
use strimzi_backup_benchmarks::{limit, payload, table};
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::streamer::Job;

/// Name, bytes of a value, how many, partitions.
const TOPICS: [(&str, usize, usize, i32); 4] = [
    ("size-1k", 1024, 2_000_000, 6),
    ("size-200", 200, 5_000_000, 6),
    ("size-10k", 10_240, 150_000, 6),
    ("single-1k", 1024, 1_500_000, 1),
];

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [mode, job, topic, level, block] = arguments.as_slice()
        && mode == "limit"
    {
        let job = std::fs::read_to_string(job)?.parse()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(limit::consume_and_compress(&job, topic, level.parse()?, block.parse()?))?;
        return Ok(());
    }
    let rounds = arguments.first().map_or(Ok(3), |rounds| rounds.parse())?;
    let broker = KafkaBroker::start()?;
    let s3 = S3Server::start()?;
    table::head(&[
        "records",
        "codec",
        "store",
        "MiB/s per CPU s",
        "limit",
        "of it",
        "by pages",
        "of it",
        "MB/s wall",
        "peak MiB",
        "stored MiB",
        "raw MiB",
    ]);
    for (topic, size, count, partitions) in TOPICS {
        broker.client().create_topic(topic, partitions, &[])?;
        let bytes = payload::fill(&broker.bootstrap(), topic, count, size)?;
        let variants: &[(i32, bool)] = match topic {
            "single-1k" => &[(1, false)],
            _ => &[(1, false), (1, true), (3, false), (3, true)],
        };
        for (level, to_s3) in variants {
            measure(&broker, to_s3.then_some(&s3), topic, bytes, *level, rounds)?;
        }
        broker.client().delete_topic(topic)?;
    }
    Ok(())
}

fn measure(
    broker: &KafkaBroker,
    s3: Option<&S3Server>,
    topic: &str,
    bytes: u64,
    level: i32,
    rounds: usize,
) -> Result<()> {
    let (mut streamed, mut limits, mut by_pages, mut stored) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for round in 0..rounds {
        let dir = RunDir::new("throughput")?;
        let mut job = Job::new(dir.path(), &broker.bootstrap())
            .set("/topics", json!({"include": [topic]}))
            .set("/backup", json!({"compression": "zstd", "compressionLevel": level, "memoryBudget": "256Mi"}));
        if let Some(server) = s3 {
            job = job.into_s3(server, &format!("{topic}-{level}-{round}"));
        }
        limits.push(run(&mut limit_command(&job, topic, level, limit::BLOCKS)?)?);
        by_pages.push(run(&mut limit_command(&job, topic, level, limit::PAGES)?)?);
        streamed.push(run(&mut job.command(&["stream", "--until-caught-up"])?)?);
        stored = match s3 {
            Some(server) => bytes_below(&server.dir_of(&format!("{topic}-{level}-{round}")))?,
            None => bytes_below(&job.backup_dir())?,
        };
    }
    let middle = |costs: &[Cost], of: &dyn Fn(&Cost) -> f64| table::median(costs.iter().map(of).collect());
    let of = |limits: &[Cost]| {
        let pairs = streamed.iter().zip(limits);
        table::median(pairs.map(|(ours, limit)| limit.cpu.as_secs_f64() / ours.cpu.as_secs_f64()).collect())
    };
    table::row(&[
        topic.to_owned(),
        format!("zstd-{level}"),
        s3.map_or("directory", |_| "S3").to_owned(),
        format!("{:.0}", middle(&streamed, &|cost| cost.mib_per_cpu_second(bytes))),
        format!("{:.0}", middle(&limits, &|cost| cost.mib_per_cpu_second(bytes))),
        format!("{:.2}", of(&limits)),
        format!("{:.0}", middle(&by_pages, &|cost| cost.mib_per_cpu_second(bytes))),
        format!("{:.2}", of(&by_pages)),
        format!("{:.0}", middle(&streamed, &|cost| cost.mb_per_second(bytes))),
        format!("{:.0}", middle(&streamed, &|cost| mib(cost.peak_bytes))),
        format!("{:.0}", mib(stored)),
        format!("{:.0}", mib(bytes)),
    ]);
    Ok(())
}

fn limit_command(job: &Job, topic: &str, level: i32, block: usize) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe().context("this program")?);
    command.arg("limit").arg(job.write()?).arg(topic).arg(level.to_string()).arg(block.to_string());
    Ok(command)
}
