//! Peak memory at `memoryBudget: 256Mi`: ten thousand partitions with a backlog, and records of 1 MB.

use anyhow::Result;
use serde_json::json;
use strimzi_backup_benchmarks::measure::{mib, run};
use strimzi_backup_benchmarks::{payload, table};
use strimzi_backup_tests::kafka::{BrokerOptions, KafkaBroker};
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::streamer::Job;

fn main() -> Result<()> {
    let broker = KafkaBroker::start_with(&BrokerOptions::default().property("message.max.bytes", "5000000"))?;
    table::head(&["case", "raw MiB", "peak MiB", "seconds"]);
    for (case, topic, partitions, count, size) in [
        ("10,000 partitions with a backlog", "wide", 10_000, 2_000_000, 400),
        ("records of 1 MB", "big", 6, 1500, 1_000_000),
    ] {
        // A broker refuses more than a few thousand partitions in one request.
        let topics = (partitions / 1000).max(1);
        let mut bytes = 0;
        for number in 0..topics {
            let name = format!("{topic}-{number}");
            broker.client().create_topic(&name, partitions / topics, &[])?;
            bytes += payload::fill(&broker.bootstrap(), &name, count / usize::try_from(topics)?, size)?;
        }
        let dir = RunDir::new("memory")?;
        let job = Job::new(dir.path(), &broker.bootstrap())
            .set("/topics", json!({"include": [format!("{topic}-.*")]}))
            .set("/backup", json!({"memoryBudget": "256Mi"}));
        let cost = run(&mut job.command(&["stream", "--until-caught-up"])?)?;
        table::row(&[
            case.to_owned(),
            format!("{:.0}", mib(bytes)),
            format!("{:.0}", mib(cost.peak_bytes)),
            format!("{:.1}", cost.wall.as_secs_f64()),
        ]);
        for number in 0..topics {
            broker.client().delete_topic(&format!("{topic}-{number}"))?;
        }
    }
    Ok(())
}
