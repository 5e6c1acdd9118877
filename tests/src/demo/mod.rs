//! The demo: the main job on real input, told line by line.
//!
//! ```text
//! shop ──▶ Kafka ──▶ streamer ──▶ folder          the streamer is killed three times on the way
//!            │                      │
//!            ├──▶ another consumer ─┴▶ compare    every record, every field
//!            └◀── restored ◀── half-way, killed once, and compared again; a consumer group goes on there
//! ```
//!
//! Owns: the order of the steps and what is printed. [`shop`] makes the traffic, [`compare`] reads both sides. Anything
//! that is not as it must be ends the demo with an error.

mod compare;
mod group;
mod restored;
mod shop;

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rand::Rng as _;
use serde_json::json;

use crate::backup::Backup;
use crate::client::KafkaClient;
use crate::kafka::KafkaBroker;
use crate::run_dir::{KEEP_VARIABLE, RunDir};
use crate::streamer::{Job, Streamer};
use group::Group;
use shop::{Shop, Sold, TOPICS, Topics};

/// Names a broker to use (`host:port`, plain text) instead of starting one.
pub const KAFKA_VARIABLE: &str = "KAFKA";

/// How often the streamer is killed.
const KILLS: usize = 3;

/// It is killed at a random moment within this time after it is ready, in milliseconds.
const KILLED_WITHIN: std::ops::Range<u64> = 500..3000;

/// How long the shop stays open after the last kill.
const LAST_ORDERS: Duration = Duration::from_secs(2);

/// Runs the demo and prints it.
///
/// # Errors
/// With the first thing that is not as it must be.
pub fn run() -> Result<()> {
    let started = Instant::now();
    println!(
        "Strimzi Backup demo: orders in Kafka, a backup in a folder, and a streamer that is killed {KILLS} times\n"
    );
    let kafka = Kafka::find()?;
    let dir = RunDir::new("demo")?;
    let job = Job::new(dir.path(), &kafka.bootstrap())
        .set("/topics", json!({"include": kafka.topics.patterns()}))
        .set("/backup", json!({"commitInterval": "500ms", "heartbeatInterval": "1s", "metadataInterval": "1s"}));

    let shop = Shop::open(&kafka.client(), &kafka.topics)?;
    let group = Group::join(&kafka.client(), &kafka.topics)?;
    kill_again_and_again(&job, &group)?;
    drop(group);
    let sold = finish(&job, shop)?;
    show(&job, "inspect", &["inspect"])?;
    show(&job, "verify --level 3", &["verify", "--level", "3"])?;
    let compared = compare::all(&job.backup_dir(), &kafka.client(), &kafka.topics, &sold)?;
    let restored = restored::half_way(dir.path(), &job, &kafka.client(), &kafka.bootstrap(), &kafka.topics)?;

    if std::env::var_os(KEEP_VARIABLE).is_some() {
        println!("\nkept: {}", dir.path().display());
    }
    println!(
        "\n{} records in {} topics: Kafka and the backup are equal, record for record; {KILLS} kills, 0 lost, 0 twice; {} \
         restored and equal after another kill ({:.0} s)",
        number(compared),
        TOPICS.len(),
        number(restored),
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

/// The broker of the demo and what was made on it.
struct Kafka {
    /// Absent where a broker was given; one that was started goes with this value.
    broker: Option<KafkaBroker>,
    given: String,
    topics: Topics,
}

impl Kafka {
    fn find() -> Result<Kafka> {
        let given = std::env::var(KAFKA_VARIABLE).unwrap_or_default();
        let start = Instant::now();
        let kafka = if given.is_empty() {
            let broker = KafkaBroker::start()?;
            Kafka { broker: Some(broker), given, topics: Topics::named("") }
        } else {
            // A broker that belongs to somebody: nothing there may be touched but what is made here.
            let prefix = format!("strimzi-backup-demo-{:08x}-", rand::rng().random::<u32>());
            Kafka { broker: None, given, topics: Topics::named(&prefix) }
        };
        let (version, how) = match kafka.broker {
            Some(_) => (version().unwrap_or_default(), format!("started in {:.1} s", start.elapsed().as_secs_f64())),
            None => (String::new(), format!("given by {KAFKA_VARIABLE}; its other topics are left alone")),
        };
        step("Kafka", &format!("{version}{} ({how})", kafka.bootstrap()));
        kafka.topics.create(&kafka.client()).with_context(|| format!("make topics on {}", kafka.bootstrap()))?;
        step("topics", &kafka.topics.to_string());
        Ok(kafka)
    }

    fn bootstrap(&self) -> String {
        self.broker.as_ref().map_or_else(|| self.given.clone(), KafkaBroker::bootstrap)
    }

    fn client(&self) -> KafkaClient {
        KafkaClient::new(&self.bootstrap())
    }
}

impl Drop for Kafka {
    fn drop(&mut self) {
        if self.broker.is_none() {
            match self.topics.delete(&self.client()) {
                Ok(()) => step("cleaned up", "the topics of the demo are deleted"),
                Err(error) => eprintln!("topics of the demo could not be deleted: {error:#}"),
            }
        }
    }
}

/// The version of the installed broker, from the name of its jar, with a blank behind it.
fn version() -> Option<String> {
    let jars = std::fs::read_dir(crate::parts::part("kafka").ok()?.join("lib")).ok()?;
    let names = jars.flatten().filter_map(|jar| jar.file_name().into_string().ok());
    let version = |name: String| Some(format!("{} on ", name.strip_prefix("kafka_2.13-")?.strip_suffix(".jar")?));
    names.filter_map(version).min_by_key(String::len)
}

fn kill_again_and_again(job: &Job, group: &Group) -> Result<()> {
    step("streamer", "started, and killed with SIGKILL at random moments while orders keep coming in");
    for kill in 1..=KILLS {
        let mut streamer = job.stream(&[])?;
        streamer.ready()?;
        let moment = Duration::from_millis(rand::rng().random_range(KILLED_WITHIN));
        std::thread::sleep(moment);
        streamer.process.kill_9()?;
        group.read_on()?;
        let held = held(job)?;
        println!("               kill {kill}: {:.2} s after it was ready; {held}", moment.as_secs_f64());
    }
    Ok(())
}

/// What the manifest log says at this moment.
fn held(job: &Job) -> Result<String> {
    let state = Backup::open(&job.backup_dir())?.log.state;
    let head = state.head.context("a log has a head")?;
    let rows = number(usize::try_from(state.totals.rows)?);
    Ok(format!("the log holds {rows} records up to manifest {}, epoch {}", head.sequence, head.epoch))
}

/// Starts the streamer a last time, closes the shop, and lets the streamer finish.
fn finish(job: &Job, shop: Shop) -> Result<Sold> {
    let mut streamer: Streamer = job.stream(&[])?;
    streamer.ready()?;
    std::thread::sleep(LAST_ORDERS);
    let sold = shop.close()?;
    streamer.stop()?;
    println!("               stopped with SIGTERM: exit code 0; {}", held(job)?);
    job.catch_up()?;
    println!("               run until it is caught up: exit code 0; {}", held(job)?);
    step("produced", &sold.to_string());
    Ok(sold)
}

/// Runs a command and shows it as a user would see it.
fn show(job: &Job, name: &str, arguments: &[&str]) -> Result<()> {
    let (code, out, err) = job.run(arguments)?;
    ensure!(code == 0, "{name} ended with {code}\n{out}\n{err}");
    println!("\n$ strimzi-backup {name}");
    for line in shorten(&out, &job.backup_dir()).lines() {
        println!("  {line}");
    }
    Ok(())
}

/// The backup's folder has a long random name that tells nothing.
fn shorten(text: &str, backup: &Path) -> String {
    text.replace(&backup.display().to_string(), "<backup>")
}

fn step(name: &str, what: &str) {
    println!("{name:<14} {what}");
}

/// A number with its thousands apart.
fn number(value: usize) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn thousands_are_apart() {
        for (value, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(number(value), text);
        }
    }
}
