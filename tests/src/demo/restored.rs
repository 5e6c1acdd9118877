//! The way back: the demo's backup as it was half-way, into new topics of the same broker, by a restore that is killed once.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use strimzi_backup_format::ids::TimestampMs;

use super::shop::{TOPICS, Topics};
use super::{group, number, step};
use crate::client::KafkaClient;
use crate::restore::{Restore, same_but_offsets};
use crate::streamer::{Job, PATIENCE};
use crate::wait;

/// Slow enough to be killed on the way.
const THROTTLE: &str = "512Ki";

/// The name that a topic gets.
pub(super) fn name(topic: &str) -> String {
    format!("{topic}-restored")
}

/// Restores, shows it, and compares every record. Gives how many there are.
pub(super) fn half_way(dir: &Path, job: &Job, client: &KafkaClient, bootstrap: &str, topics: &Topics) -> Result<usize> {
    let moment = moment(job)?;
    let at = TimestampMs::new(moment).to_rfc3339();
    let group = group::id(topics);
    let groups = json!({
        "restore": true, "include": [group], "mapping": [{"sourceGroup": group, "targetGroup": name(&group)}],
    });
    let restore = Restore::new(dir, "demo", job, bootstrap).set("pointInTime", json!({"timestamp": at}));
    let mut restore = restore.set("consumerGroups", groups);
    for topic in TOPICS.map(|topic| topics.name(topic.name)) {
        restore = restore.mapped(&topic, &name(&topic));
    }
    println!();
    step("restore", &format!("to {at}, half-way, into topics of their own; killed once"));
    kill_once(&restore.clone().set("throttle", json!(THROTTLE)), client, &name(&topics.name("orders")))?;
    let (code, out, err) = restore.run(&[])?;
    ensure!(code == 0, "restore ended with {code}\n{out}\n{err}");
    println!("\n$ strimzi-backup restore    # the same document again");
    out.lines().for_each(|line| println!("  {line}"));
    let compared = compare(client, topics, moment)?;
    let mut orders = client.read_all(&topics.name("orders"))?;
    orders.retain(|record| record.timestamp <= moment);
    group::compare(job, client, topics, &at, &orders)?;
    Ok(compared)
}

/// The middle of the window that a restore may choose its moment from.
fn moment(job: &Job) -> Result<i64> {
    let found = job.inspect()?;
    let instant = |name: &str| found["recoverable"][name].as_i64().with_context(|| format!("recoverable.{name}"));
    let of_groups = found["groups"]["from"].as_i64().context("groups.from")?;
    Ok(of_groups.max((instant("from")? + instant("until")?) / 2))
}

fn kill_once(restore: &Restore, client: &KafkaClient, topic: &str) -> Result<()> {
    let mut process = restore.start()?;
    let mut held = 0;
    wait::wait_until("the first records of the restore", PATIENCE, || {
        ensure!(process.is_running(), "the restore ended by itself\n{}", process.tail());
        held = if client.partition_count(topic)? > 0 { client.read_all(topic)?.len() } else { 0 };
        Ok(held > 0)
    })?;
    process.kill_9()?;
    println!("               killed with SIGKILL when {} records of {topic} could be read", number(held));
    Ok(())
}

fn compare(client: &KafkaClient, topics: &Topics, moment: i64) -> Result<usize> {
    println!("\n{:<14} {:>9} {:>9}  up to that moment, every field but offsets", "topic", "Kafka", "restored");
    let mut compared = 0;
    for topic in TOPICS.map(|topic| topic.name) {
        let source = topics.name(topic);
        let mut wanted = client.read_all(&source)?;
        wanted.retain(|record| record.timestamp <= moment);
        let found = client.read_all(&name(&source))?;
        let equal = same_but_offsets(&wanted, &found).with_context(|| format!("{source} and {}", name(&source)))?;
        println!("{topic:<14} {:>9} {:>9}  =", number(wanted.len()), number(equal));
        compared += equal;
    }
    Ok(compared)
}
