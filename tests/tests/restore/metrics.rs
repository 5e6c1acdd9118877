//! What a restore tells while it runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::front::{Front, Verdict};
use strimzi_backup_tests::http;
use strimzi_backup_tests::metrics::{Seen, value};
use strimzi_backup_tests::process::Process;
use strimzi_backup_tests::restore::{Restore, same_but_offsets};
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::scenario::{Scenario, shared_broker};
use strimzi_backup_tests::streamer::PATIENCE;
use strimzi_backup_tests::wait;

use super::kilobytes;

/// Where a restore serves, as its log says.
pub(super) fn address(process: &Process) -> Result<String> {
    wait::wait_for("the HTTP address of the restore", PATIENCE, || {
        let log = process.stderr();
        let mut lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        Ok(lines.find_map(|line| Some(line["address"].as_str()?.to_owned())))
    })
}

/// The store refuses segments until one pass has failed; later somebody else writes.
#[test]
fn every_metric_of_a_restore_moves() -> Result<()> {
    let scenario = Scenario::shared("told")?;
    scenario.client.create_topic("told-orders", 1, &[])?;
    scenario.client.produce("told-orders", &kilobytes(3000))?;
    let server = S3Server::start()?;
    let job = scenario.job.clone().into_s3(&server, "m");
    job.catch_up()?;
    let shut = Arc::new(AtomicBool::new(true));
    let judge = Arc::clone(&shut);
    let front = Front::start(&server.address(), move |head| {
        let refused = judge.load(Ordering::Relaxed) && head.path.contains(".parquet");
        if refused { Verdict::Refuse(503, "SlowDown") } else { Verdict::Forward }
    })?;
    let job = job.set("/storage/s3/endpoint", json!(front.endpoint()));
    let restore = Restore::new(scenario.dir(), "told", &job, &shared_broker()?.bootstrap())
        .mapped("told-orders", "retold-orders")
        .set("throttle", json!("512Ki"))
        .serving();
    let mut command = restore.command(&[])?;
    command.envs(server.environment());
    let mut process = Process::spawn("restore-told", &command, scenario.dir())?;
    let (address, mut seen) = (address(&process)?, Seen::default());
    seen.until(&address, "strimzi_restore_repeats_total", |repeats| repeats >= 1.0)?;
    ensure!(http::get(&address, "/livez")?.status == 200, "alive");
    ensure!(http::get(&address, "/readyz")?.body == "ok\n", "planned");
    shut.store(false, Ordering::Relaxed);
    seen.until(&address, "strimzi_restore_records_total", |records| records > 0.0)?;
    let text = seen.look(&address)?;
    assert_eq!(value(&text, "strimzi_restore_planned_records")?, 3000.0);
    assert_eq!(value(&text, "strimzi_restore_phase{kind=\"Writing\"}")?, 1.0);
    ensure!(value(&text, "strimzi_restore_restored_records")? <= 3000.0, "{text}");
    scenario.client.produce("retold-orders", &[Record::new("theirs", "in between").partition(0)])?;
    seen.until(&address, "strimzi_restore_foreign_offsets", |offsets| offsets == 1.0)?;
    ensure!(seen.unmoved().is_empty(), "never set: {:?}", seen.unmoved());
    println!("{} metrics of a restore", seen.registered());
    let status = process.wait(PATIENCE)?;
    ensure!(status.success(), "{status}\n{}", process.tail());
    let mut written = scenario.client.read_all("retold-orders")?;
    written.retain(|record| record.key.as_deref() != Some(b"theirs".as_slice()));
    same_but_offsets(&scenario.client.read_all("told-orders")?, &written)?;
    Ok(())
}

#[test]
fn an_address_that_is_taken_ends_a_restore_before_anything_is_written() -> Result<()> {
    let scenario = Scenario::shared("taken")?;
    scenario.client.create_topic("taken-orders", 1, &[])?;
    scenario.job.catch_up()?;
    let other = std::net::TcpListener::bind("127.0.0.1:0")?;
    let restore = Restore::new(scenario.dir(), "taken", &scenario.job, &shared_broker()?.bootstrap());
    let (code, _, err) = restore.serving_at(&other.local_addr()?.to_string()).run(&[])?;
    ensure!(code == 1 && err.contains("http.address") && err.contains("another process"), "ended with {code}\n{err}");
    ensure!(!scenario.job.backup_dir().join("restores").exists(), "no plan is kept");
    Ok(())
}
