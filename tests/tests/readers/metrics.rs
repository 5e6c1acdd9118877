//! Health and metrics: ready only when it is, and every metric moves in a scenario in which everything happens.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Result, ensure};
use serde_json::json;
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::front::{Front, Verdict};
use strimzi_backup_tests::http;
use strimzi_backup_tests::kafka::{BrokerOptions, KafkaBroker};
use strimzi_backup_tests::metrics::Seen;
use strimzi_backup_tests::past;
use strimzi_backup_tests::ports::Port;
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::scenario::{Scenario, noise, now, numbered, wait_backup};
use strimzi_backup_tests::streamer::{Job, PATIENCE, Streamer};
use strimzi_backup_tests::toxiproxy::Toxiproxy;
use strimzi_backup_tests::wait;

#[test]
fn every_metric_moves() -> Result<()> {
    let mut broker = KafkaBroker::start()?;
    let scenario = Scenario::on(&broker, "metrics")?;
    let client = &scenario.client;
    let server = S3Server::start()?;
    let toxiproxy = Toxiproxy::start()?;
    let proxy = toxiproxy.proxy("s3", &server.address())?;
    client.create_topic("metrics", 1, &[("retention.ms", "-1")])?;
    client.create_topic("metrics-tx", 1, &[])?;
    client.produce("metrics", &numbered(0..100))?;
    let job = scenario.job.clone().into_s3(&server, "m").set("/backup/heartbeatInterval", json!("200ms"));
    let job = job.set("/storage/s3/endpoint", json!(format!("http://{}", proxy.address())));
    client.produce("metrics-tx", &numbered(0..20))?;
    let job = job.set("/backup/refineBytes", json!("64Ki")).set("/retention/maxAge", json!("30d"));
    live_long(&scenario, &job, &server.dir_of("m"))?;
    let mut seen = Seen::default();
    let mut hasty = job.clone().set("/retention/maxAge", json!("1h")).stream(&[])?;
    let address = hasty.http()?;
    seen.until(&address, "strimzi_backup_retention_held{kind=\"Shrinks\"}", |held| held == 1.0)?;
    hasty.stop()?;
    locked_out(&scenario, &job, &mut seen)?;
    // Retention is at the heels of a partition that an open transaction holds.
    client.delete_records("metrics-tx", 0, 20)?;
    // A gap: what is deleted before it is read.
    client.produce("metrics", &numbered(100..200))?;
    client.delete_records("metrics", 0, 150)?;
    let open = client.transactional_producer("metrics")?;
    open.begin()?;
    numbered(20..40).iter().try_for_each(|record| open.send("metrics-tx", record))?;
    open.flush()?;
    client.commit_offsets("metrics", &[("metrics", 0, 150)])?;
    // A version that only a later release knows. The broker takes records for its own topics from its tools alone.
    let tool = client.clone().property("client.id", "__admin_client");
    tool.produce("__consumer_offsets", &[Record::new([0x7f, 0xff], "later").partition(0)])?;
    let mut streamer = job.stream(&[])?;
    let address = streamer.http()?;
    seen.until(&address, "strimzi_backup_consumer_group_offsets_total", |offsets| offsets > 0.0)?;
    seen.until(&address, "strimzi_backup_consumer_group_unreadable_total", |unreadable| unreadable == 1.0)?;
    seen.until(&address, "strimzi_backup_lost_offsets_total{kind=\"DeletedByUser\"}", |lost| lost == 50.0)?;
    seen.until(&address, "strimzi_backup_partitions_behind{kind=\"OpenTransaction\"}", |count| count == 1.0)?;
    seen.until(&address, "strimzi_backup_headroom_low_partitions", |low| low == 1.0)?;
    streamer.wait_log("HeadroomLow")?;
    open.abort()?;
    proxy.disable()?;
    // With so much of one topic in a cut, its row group is copied when it is refined.
    client.produce("metrics", &(1..8).map(|seed| Record::value(noise(seed, 900_000))).collect::<Vec<_>>())?;
    seen.until(&address, "strimzi_backup_store_failing", |failing| failing == 1.0)?;
    seen.until(&address, "strimzi_backup_buffered_bytes", |bytes| bytes > 0.0)?;
    // What fails is the upload; nothing has failed before.
    ensure!(streamer.metric("strimzi_backup_last_failure_timestamp")? > 0.0, "a failed upload is a failure");
    proxy.enable()?;
    seen.until(&address, "strimzi_backup_store_failing", |failing| failing == 0.0)?;
    broker.kill()?;
    seen.until(&address, "strimzi_backup_kafka_unreachable", |unreachable| unreachable == 1.0)?;
    broker.restart()?;
    seen.until(&address, "strimzi_backup_kafka_unreachable", |unreachable| unreachable == 0.0)?;
    // Every 256 manifests there is a checkpoint; with a record in each interval there are five a second.
    wait::wait_until("a checkpoint, and all to be refined", PATIENCE * 2, || {
        client.produce("metrics", &numbered(0..1))?;
        seen.look(&address)?;
        let copied = streamer.metric("strimzi_backup_refined_copied_bytes_total")?;
        Ok(streamer.metric("strimzi_backup_checkpoints_total")? > 0.0 && copied > 0.0)
    })?;
    println!("{} metrics", seen.registered());
    ensure!(seen.unmoved().is_empty(), "never set: {:?}", seen.unmoved());
    streamer.stop()
}

/// Looks at a start of another backup whose master key nobody gives: nobody listens where it is asked for.
fn locked_out(scenario: &Scenario, job: &Job, seen: &mut Seen) -> Result<()> {
    let (away, token) = (Port::reserve()?, scenario.dir().join("token"));
    std::fs::write(&token, "hvs.a-token")?;
    let transit = json!({"address": format!("http://{}", away.address()), "key": "metrics", "tokenFile": token});
    let job = job.clone().set("/storage/s3/prefix", json!("locked"));
    let mut streamer = job.set("/backup/encryption", json!({"enabled": true, "transit": transit})).stream(&[])?;
    let address = streamer.http()?;
    seen.until(&address, "strimzi_backup_key_errors_total", |errors| errors > 1.0)?;
    seen.until(&address, "strimzi_backup_key_unavailable", |waits| waits == 1.0)?;
    streamer.stop()
}

/// Streams what there is, and a topic of which Kafka keeps an hour, as if that had been forty days ago.
fn live_long(scenario: &Scenario, job: &Job, dir: &Path) -> Result<()> {
    const DAY: i64 = 86_400_000;
    let (client, topic) = (&scenario.client, "metrics-old");
    client.create_topic(topic, 1, &[("retention.ms", "-1")])?;
    let now = now()?;
    client.produce(topic, &[Record::value("long ago").partition(0).timestamp(now - 45 * DAY)])?;
    job.catch_up()?;
    client.alter_topic_config(topic, "retention.ms", "3600000")?;
    wait_backup(dir, "a window, and the change of the topic", |backup| {
        job.catch_up()?;
        let is_changed = backup.topic(topic)?.description.config.get("retention.ms").is_some_and(|ms| ms == "3600000");
        Ok(is_changed && backup.log.state.complete_since.is_some())
    })?;
    past::move_back(dir, 40 * DAY)
}

/// A store that refuses everything until it is opened.
struct ShutStore {
    server: S3Server,
    front: Front,
    shut: Arc<AtomicBool>,
}

impl ShutStore {
    fn start() -> Result<Self> {
        let server = S3Server::start()?;
        let shut = Arc::new(AtomicBool::new(true));
        let judge = Arc::clone(&shut);
        let front = Front::start(&server.address(), move |_| {
            if judge.load(Ordering::Relaxed) { Verdict::Refuse(503, "SlowDown") } else { Verdict::Forward }
        })?;
        Ok(Self { server, front, shut })
    }

    /// A streamer that has asked its broker and now waits for this store.
    fn waiting_streamer(&self, scenario: &Scenario) -> Result<(Streamer, String)> {
        let job = scenario.job.clone().into_s3(&self.server, "r");
        let mut streamer = job.set("/storage/s3/endpoint", json!(self.front.endpoint())).stream(&[])?;
        streamer.wait_metric("strimzi_backup_store_failing", |failing| failing == 1.0)?;
        let address = streamer.http()?;
        let answer = http::get(&address, "/readyz")?;
        ensure!(answer.status == 503 && answer.body.contains("not claimed"), "{answer:?}");
        Ok((streamer, address))
    }

    fn open(&self) {
        self.shut.store(false, Ordering::Relaxed);
    }
}

#[test]
fn a_request_that_never_ends_does_not_keep_the_process_alive() -> Result<()> {
    use std::io::Write as _;
    let scenario = Scenario::shared("half")?;
    scenario.client.create_topic("half", 1, &[])?;
    let mut streamer = scenario.job.stream(&[])?;
    streamer.ready()?;
    let mut peer = std::net::TcpStream::connect(streamer.http()?)?;
    peer.write_all(b"GET /metrics HTTP/1.1\r\nHos")?;
    streamer.stop()
}

#[test]
fn not_ready_before_the_log_is_claimed() -> Result<()> {
    let scenario = Scenario::shared("ready")?;
    scenario.client.create_topic("ready", 1, &[])?;
    let store = ShutStore::start()?;
    let (mut streamer, address) = store.waiting_streamer(&scenario)?;
    ensure!(http::get(&address, "/livez")?.status == 200, "alive meanwhile");
    ensure!(http::get(&address, "/nothing")?.status == 404, "nothing else is served");
    store.open();
    streamer.ready()?;
    ensure!(http::get(&address, "/readyz")?.body == "ok\n", "ready");
    streamer.stop()
}

#[test]
fn not_ready_before_the_broker_has_told_its_topics_and_answered_a_fetch() -> Result<()> {
    let (toxiproxy, port) = (Toxiproxy::start()?, Port::reserve()?);
    let broker = KafkaBroker::start_with(&BrokerOptions::default().advertised(&port.address()))?;
    let proxy = toxiproxy.proxy_on(port, "kafka", &broker.listener_address())?;
    let scenario = Scenario::on(&broker, "ready")?;
    scenario.client.create_topic("ready", 1, &[])?;
    let store = ShutStore::start()?;
    let (mut streamer, address) = store.waiting_streamer(&scenario)?;
    proxy.disable()?;
    store.open();
    streamer.wait_log("claimed the manifest log")?;
    wait::wait_until("the claim to show", PATIENCE, || {
        let answer = http::get(&address, "/readyz")?;
        ensure!(answer.status == 503, "ready without a broker: {answer:?}");
        Ok(answer.body.contains("topics are not known"))
    })?;
    streamer.wait_metric("strimzi_backup_kafka_unreachable", |unreachable| unreachable == 1.0)?;
    ensure!(http::get(&address, "/readyz")?.status == 503, "not ready");
    ensure!(http::get(&address, "/livez")?.status == 200, "alive meanwhile");
    proxy.enable()?;
    streamer.ready()?;
    streamer.stop()
}
