//! Told to stop while the store swallows every answer: the end comes in time, and the next start goes on.

use std::io::Read as _;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::json;
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::scenario::{Scenario, numbered};
use strimzi_backup_tests::streamer::Streamer;
use strimzi_backup_tests::toxiproxy::{Direction, Toxiproxy};

/// What Kubernetes grants before it kills.
const TERMINATION_GRACE: Duration = Duration::from_secs(30);

/// How soon "at once" is on a loaded machine.
const AT_ONCE: Duration = Duration::from_secs(8);

/// Has `end` stop a streamer that has records and a store that hangs; insists on code 1 within `most`, and on a next start
/// that loses nothing.
fn ends_within(name: &str, most: Duration, end: impl Fn(&mut Streamer) -> Result<()>) -> Result<()> {
    let scenario = Scenario::shared(name)?;
    let client = &scenario.client;
    client.create_topic(name, 1, &[])?;
    let server = S3Server::start()?;
    let toxiproxy = Toxiproxy::start()?;
    let proxy = toxiproxy.proxy("s3", &server.address())?;
    let job = scenario.job.clone().into_s3(&server, name);
    let job = job.set("/storage/s3/endpoint", json!(format!("http://{}", proxy.address())));
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    proxy.add_toxic("stall", "timeout", Direction::Downstream, &json!({"timeout": 0}))?;
    client.produce(name, &numbered(0..100))?;
    streamer.wait_metric("strimzi_backup_buffered_bytes", |bytes| bytes > 0.0)?;
    let asked = Instant::now();
    end(&mut streamer)?;
    let code = streamer.exit_code()?;
    ensure!(asked.elapsed() < most, "it took {:?}", asked.elapsed());
    ensure!(code == 1, "code {code}\n{}", streamer.process.tail());
    ensure!(streamer.process.stderr().contains("nothing is lost"), "{}", streamer.process.tail());
    proxy.remove_toxic("stall")?;
    job.catch_up()?;
    let root = server.dir_of(name);
    ensure!(Backup::open(&root)?.equals_topic(client, name)? == 100, "every record, once");
    Ok(())
}

#[test]
fn a15_a_stop_ends_within_the_grace_period_although_the_store_hangs() -> Result<()> {
    ends_within("a15-stop", TERMINATION_GRACE, |streamer| streamer.process.sigterm())
}

#[test]
fn a15_a_second_signal_ends_at_once_although_the_store_hangs() -> Result<()> {
    ends_within("a15-twice", AT_ONCE, |streamer| {
        streamer.process.sigterm()?;
        streamer.wait_log("told to stop")?;
        streamer.process.sigterm()
    })
}

#[test]
fn a15_a_stop_before_the_claim_ends_at_once_with_0() -> Result<()> {
    let scenario = Scenario::shared("a15-claim")?;
    let server = S3Server::start()?;
    let hanging = TcpListener::bind("127.0.0.1:0")?;
    let endpoint = format!("http://{}", hanging.local_addr()?);
    let job = scenario.job.clone().into_s3(&server, "x").set("/storage/s3/endpoint", json!(endpoint));
    let mut streamer = job.stream(&[])?;
    // The first request is here, and gets no answer.
    let (mut request, _) = hanging.accept()?;
    request.read_exact(&mut [0])?;
    let asked = Instant::now();
    streamer.process.sigterm()?;
    ensure!(streamer.exit_code()? == 0, "{}", streamer.process.tail());
    ensure!(asked.elapsed() < AT_ONCE, "it took {:?}", asked.elapsed());
    ensure!(!streamer.process.stderr().contains("error: "), "{}", streamer.process.tail());
    Ok(())
}
