//! Kafka's own producer benchmark, `kafka-producer-perf-test`, as what a restore is measured against.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use strimzi_backup_tests::parts;

use crate::measure::{Cost, run_for_output};
use crate::payload::Payload;

/// Different values in the file that it draws from.
const VALUES: usize = 10_000;

/// Values for it, in a file, a line each.
///
/// # Errors
/// Where the file cannot be written.
pub fn write_values(dir: &Path, size: usize) -> Result<PathBuf> {
    let mut payload = Payload::new(size, 7);
    let lines: Vec<String> = (0..VALUES).map(|_| payload.value().to_owned()).collect();
    let path = dir.join(format!("values-{size}"));
    std::fs::write(&path, lines.join("\n"))?;
    Ok(path)
}

/// What one run of it came to.
#[derive(Clone, Copy, Debug)]
pub struct PerfTest {
    /// Its process, with the start of the Java machine.
    pub cost: Cost,
    /// As it says itself, from its first record to its last.
    pub records_per_second: f64,
}

/// Writes `count` records, values drawn from a file and no keys, idempotently and with all acknowledgements.
///
/// # Errors
/// Where it fails, or does not say how fast it was.
pub fn run(bootstrap: &str, topic: &str, count: usize, values: &Path, properties: &[&str]) -> Result<PerfTest> {
    let kafka = parts::part("kafka")?;
    let mut command = Command::new("java");
    // The argument file is for the short lives of the tests' tools; Kafka's script has these.
    command
        .arg(format!("@{}", kafka.join("java.args").display()))
        .args(["-XX:TieredStopAtLevel=4", "-XX:-UseSerialGC", "-XX:+UseG1GC", "-Xmx512m"])
        .args(["-Dkafka.log.level=ERROR", "org.apache.kafka.tools.ProducerPerformance"])
        .args(["--bootstrap-server", bootstrap, "--topic", topic, "--throughput", "-1"])
        .args(["--num-records", &count.to_string(), "--payload-file"])
        .arg(values)
        .args(["--command-property", "acks=all", "enable.idempotence=true"])
        .args(properties);
    let (cost, output) = run_for_output(&mut command)?;
    let records_per_second = rate(&output).with_context(|| format!("no rate in {output}"))?;
    Ok(PerfTest { cost, records_per_second })
}

/// Of its last line: `1000 records sent, 500.0 records/sec (0.49 MB/sec), …`.
fn rate(output: &str) -> Option<f64> {
    let line = output.lines().rfind(|line| line.contains(" records/sec "))?;
    line.split(", ").nth(1)?.split(' ').next()?.parse().ok()
}
