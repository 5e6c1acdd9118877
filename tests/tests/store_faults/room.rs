//! Rooms that are too small: a full or read-only file system, and a small memory budget.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::json;
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::process::run;
use strimzi_backup_tests::scenario::{Scenario, bulky, copy_dir, noise};
use strimzi_backup_tests::streamer::{PATIENCE, Streamer, unshare};
use strimzi_backup_tests::wait;

/// A streamer into a file system of 16 MiB that only it sees and that ends with it.
struct Confined {
    streamer: Streamer,
    mount: PathBuf,
}

impl Confined {
    fn start(scenario: &Scenario) -> Result<Self> {
        let mount = scenario.dir().join("mount");
        std::fs::create_dir(&mount)?;
        let script = "mount -t tmpfs -o size=16m backup \"$0\" && exec \"$@\"";
        let mount_text = mount.display().to_string();
        let wrapper = [&unshare("--mount")[..], &["sh", "-c", script, &mount_text]].concat();
        let job = scenario.job.clone().set("/storage/filesystem/path", json!(mount.join("backup")));
        let mut streamer = job.under(&wrapper).stream(&[])?;
        streamer.ready()?;
        Ok(Self { streamer, mount })
    }

    /// A directory of the confined file system as everybody sees it.
    fn path(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.streamer.process.id()));
        root.join(self.mount.strip_prefix("/").unwrap_or(&self.mount)).join(name)
    }

    fn remount(&self, option: &str) -> Result<()> {
        let id = self.streamer.process.id().to_string();
        let mount = self.mount.display().to_string();
        let arguments = ["-t", &id, "-m", "mount", "-o", &format!("remount,{option}"), &mount];
        run("remount", Command::new("nsenter").args(arguments)).map(drop)
    }

    /// A copy of what is in the store now: paths through another process's root cannot be resolved to plain ones.
    fn backup(&self) -> Result<Backup> {
        copy_dir(&self.path("backup"), &self.copy())?;
        Backup::open(&self.copy())
    }

    /// Where that copy is.
    fn copy(&self) -> PathBuf {
        self.mount.with_file_name("copy")
    }

    fn wait_rows(&self, topic: &str, rows: u64) -> Result<()> {
        // A copy made while the streamer writes may lack what another part of it tells of.
        let rows_now = || self.backup().map_or(0, |backup| backup.rows(topic, 0));
        wait::wait_until("records", PATIENCE, || Ok(rows_now() >= rows))
    }
}

#[test]
fn a22_a_full_disk_pauses_the_streamer_until_there_is_room() -> Result<()> {
    let topic = "a22";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 1, &[])?;
    let mut confined = Confined::start(&scenario)?;
    client.produce(topic, &bulky(0..10))?;
    confined.wait_rows(topic, 10)?;
    std::fs::write(confined.path("filler"), vec![1_u8; 12 << 20])?;
    client.produce(topic, &bulky(10..60))?;
    confined.streamer.wait_metric("strimzi_backup_store_failing", |failing| failing == 1.0)?;
    confined.streamer.wait_log("No space left on device")?;
    ensure!(confined.backup()?.rows(topic, 0) < 60, "not everything fits");
    std::fs::remove_file(confined.path("filler"))?;
    confined.wait_rows(topic, 60)?;
    confined.streamer.wait_metric("strimzi_backup_store_failing", |failing| failing == 0.0)?;
    ensure!(confined.backup()?.equals_topic(client, topic)? == 60, "every record, once");
    confined.streamer.stop()
}

#[test]
fn a62_a_read_only_disk_is_waited_for_and_no_half_file_counts() -> Result<()> {
    let topic = "a62";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 1, &[])?;
    let mut confined = Confined::start(&scenario)?;
    client.produce(topic, &bulky(0..5))?;
    confined.wait_rows(topic, 5)?;
    confined.remount("ro")?;
    client.produce(topic, &bulky(5..10))?;
    confined.streamer.wait_metric("strimzi_backup_store_failing", |failing| failing == 1.0)?;
    confined.remount("rw")?;
    confined.wait_rows(topic, 10)?;
    let backup = confined.backup()?;
    ensure!(backup.equals_topic(client, topic)? == 10, "every record, once");
    ensure!(!backup.whole_files(&confined.copy())?.is_empty(), "no file is half");
    confined.streamer.stop()
}

#[test]
fn a62_directories_that_were_removed_while_idle_are_made_again() -> Result<()> {
    let topic = "a62d";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 1, &[])?;
    let probe = scenario.job.backup_dir().join("probe");
    for rows in [5, 10] {
        let mut streamer = scenario.job.stream(&[])?;
        streamer.ready()?;
        // What the probe leaves is anybody's to tidy up (docs/providers.md).
        std::fs::remove_dir_all(&probe).context("what the probe has left")?;
        client.produce(topic, &bulky(rows - 5..rows))?;
        scenario.wait_rows(topic, 0, rows)?;
        streamer.stop()?;
    }
    ensure!(scenario.backup()?.equals_topic(client, topic)? == 10, "every record, once");
    Ok(())
}

/// What the process may hold at most, in MiB, when nothing compresses: twice the budget, and its fixed costs.
const DEFAULT_BUDGET_PEAK: u64 = 2 * 256 + 128;
const SMALL_BUDGET_PEAK: u64 = 2 * 64 + 128;

/// The most memory a process has held, in bytes.
fn peak_memory(id: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).context("VmHWM")?;
    let kib: u64 = line.split_whitespace().nth(1).context("a number")?.parse()?;
    Ok(kib << 10)
}

#[test]
fn a63_memory_stays_within_bounds_with_a_backlog_of_small_and_of_big_records() -> Result<()> {
    let scenario = Scenario::shared("a63")?;
    let client = &scenario.client;
    client.create_topic("a63-big", 4, &[("max.message.bytes", "2097152")])?;
    client.create_topic("a63-small", 8, &[])?;
    let big: Vec<Record> =
        (0..400).map(|number| Record::new(format!("{number}"), noise(number + 1, 1_000_000))).collect();
    client.clone().property("message.max.bytes", "2000000").produce("a63-big", &big)?;
    let small = (0..300_000_u64).map(|number| Record::new(format!("{number}"), noise(number + 1, 200)));
    let small: Vec<Record> = small.collect();
    client.produce("a63-small", &small)?;
    let records = f64::from(u32::try_from(big.len() + small.len())?);
    for (budget, most) in [("64Mi", SMALL_BUDGET_PEAK), ("256Mi", DEFAULT_BUDGET_PEAK)] {
        let store = scenario.dir().join(budget);
        let job =
            scenario.job.clone().set("/backup/memoryBudget", json!(budget)).set("/backup/commitInterval", json!("5s"));
        let mut streamer = job.set("/storage/filesystem/path", json!(store)).stream(&[])?;
        streamer.wait_metric("strimzi_backup_records_total", |committed| committed >= records)?;
        let peak = peak_memory(streamer.process.id())? >> 20;
        println!("peak memory at a budget of {budget}: {peak} MiB");
        streamer.stop()?;
        ensure!(peak <= most, "{peak} MiB at a budget of {budget}");
        ensure!(Backup::open(&store)?.equals_topic(client, "a63-big")? == big.len(), "every record, once");
    }
    Ok(())
}
