//! Whether refining costs streaming its commit interval: a thousand partitions at 100 records a second, first with a backlog in
//! intake that is left alone, then while the same backlog is refined.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use strimzi_backup_benchmarks::measure::{cpu_of, mib, peak_of, run};
use strimzi_backup_benchmarks::trickle::{Latencies, Load};
use strimzi_backup_benchmarks::{payload, table};
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::streamer::{Job, Streamer};

const LOAD: Load = Load { topic: "thousand", partitions: 1000 };

/// Topics of the backlog: each with too little for a segment of its own, and so few partitions that row groups have several topics.
const TOPICS: u32 = 200;
const PARTITIONS: i32 = 5;

/// Records of 1 KiB in each of them: 2 GB in all, which takes longer to refine than some commit intervals.
const RECORDS: usize = 10_000;

/// How long the backlog is left alone.
const WATCHED: Duration = Duration::from_secs(60);

/// The most that refining may take; after that the benchmark gives up.
const MOST: Duration = Duration::from_secs(900);

/// Between two looks at whether the backlog is refined.
const LOOK: Duration = Duration::from_secs(5);

const REFINED: &str = "strimzi_backup_refined_bytes_total";

fn main() -> Result<()> {
    let broker = KafkaBroker::start()?;
    broker.client().create_topic(LOAD.topic, i32::try_from(LOAD.partitions)?, &[])?;
    for number in 0..TOPICS {
        let topic = format!("backlog-{number}");
        broker.client().create_topic(&topic, PARTITIONS, &[])?;
        payload::fill(&broker.bootstrap(), &topic, RECORDS, 1024)?;
    }
    let dir = RunDir::new("refining")?;
    let job = Job::new(dir.path(), &broker.bootstrap())
        .set("/topics", json!({"include": [LOAD.topic, "backlog-.*"]}))
        .set("/backup", json!({"commitInterval": "5s"}));
    let [alone, refining] = ["64Gi", "64Ki"].map(|bytes| job.clone().set("/backup/refineBytes", json!(bytes)));
    run(&mut alone.command(&["stream", "--until-caught-up"])?)?;
    table::head(&[
        "backlog",
        "seconds",
        "p50 s",
        "p99 s",
        "CPU of a core",
        "MiB refined",
        "of these copied",
        "peak MiB",
    ]);
    watch("left alone", &alone, &broker, |_, watched| Ok(watched >= WATCHED))?;
    watch("refined", &refining, &broker, |streamer, watched| {
        ensure!(watched < MOST, "nothing was refined\n{}", streamer.process.tail());
        Ok(streamer.metric(REFINED)? > 0.0)
    })
}

/// Streams from a start on, with records coming, until it is `over`.
fn watch(
    case: &str,
    job: &Job,
    broker: &KafkaBroker,
    over: impl Fn(&mut Streamer, Duration) -> Result<bool>,
) -> Result<()> {
    let before = Backup::open(&job.backup_dir())?.log.state.next_sequence();
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    let (started, cpu) = (Instant::now(), cpu_of(streamer.process.id())?);
    while !over(&mut streamer, started.elapsed())? {
        LOAD.produce_for(&broker.bootstrap(), LOOK)?;
    }
    let (seconds, cpu) = (started.elapsed().as_secs_f64(), cpu_of(streamer.process.id())? - cpu);
    let refined = streamer.metric(REFINED)?;
    let copied = streamer.metric("strimzi_backup_refined_copied_bytes_total")?;
    let peak = peak_of(streamer.process.id())?;
    streamer.stop()?;
    let latencies = Latencies::since(job, before)?;
    let bytes = |bytes: f64| format!("{:.0}", bytes / f64::from(1 << 20));
    table::row(&[
        case.to_owned(),
        format!("{seconds:.0}"),
        latencies.percentile(50),
        latencies.percentile(99),
        format!("{:.0} %", cpu.as_secs_f64() / seconds * 100.0),
        bytes(refined),
        bytes(copied),
        format!("{:.0}", mib(peak)),
    ]);
    Ok(())
}
