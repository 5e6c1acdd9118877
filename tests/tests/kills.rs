//! Streamers that are killed, frozen, or started twice: nothing is lost, nothing is there twice, one writer stays.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::client::{KafkaClient, Record};
use strimzi_backup_tests::front::{Front, Head, Verdict};
use strimzi_backup_tests::http;
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::scenario::{Scenario, noise, numbered, shared_broker, tree, wait_backup};
use strimzi_backup_tests::sealing::Sealing;
use strimzi_backup_tests::streamer::Job;
use strimzi_backup_tests::toxiproxy::{Direction, Toxiproxy};
use strimzi_backup_tests::wait;

/// Set to repeat the moments of a run.
const SEED_VARIABLE: &str = "STRIMZI_BACKUP_SEED";

const KILLS: usize = 50;

/// The same where the backup is encrypted: what is killed is the same program.
const KILLS_SEALED: usize = 15;

/// The longest a streamer lives before it is killed: long enough for a few commits after its start.
const LONGEST_LIFE_MILLIS: u64 = 1_600;

fn seed() -> Result<u64> {
    let seed = match std::env::var(SEED_VARIABLE) {
        Ok(text) => text.parse().context(SEED_VARIABLE)?,
        Err(_) => u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos()),
    };
    println!("the moments of this run: {SEED_VARIABLE}={seed}");
    Ok(seed)
}

type Work = JoinHandle<Result<()>>;

/// Plain records, to all partitions of a topic, until told to stop.
fn produce_plain(client: KafkaClient, topic: String, stop: Arc<AtomicBool>) -> Work {
    thread::spawn(move || {
        let producer = client.producer()?;
        let mut number = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            for _ in 0..50 {
                let size = usize::try_from(number % 900)?;
                producer.send(&topic, &Record::new(format!("{number}"), noise(number, size)))?;
                number += 1;
            }
            producer.flush()?;
            // The rate of the load, not a wait for anything.
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    })
}

/// Transactions, every third of them aborted, until told to stop.
fn produce_transactions(client: KafkaClient, topic: String, stop: Arc<AtomicBool>) -> Work {
    thread::spawn(move || {
        let producer = client.transactional_producer(&topic)?;
        let mut number = 0;
        while !stop.load(Ordering::Relaxed) {
            producer.begin()?;
            for record in 0..10 {
                let verdict = if number % 3 == 0 { "aborted" } else { "committed" };
                let record = Record::new(format!("{number}-{record}"), verdict).header("n", Some(b"1"));
                producer.send(&topic, &record)?;
            }
            if number % 3 == 0 {
                producer.abort()?
            } else {
                producer.commit()?
            }
            number += 1;
            thread::sleep(Duration::from_millis(30));
        }
        Ok(())
    })
}

/// A streamer of two topics whose names begin with `name` that is killed so many times while they are written to.
fn killed_again_and_again(name: &str, sealing: Sealing, kills: usize) -> Result<()> {
    let broker = shared_broker()?;
    let client = broker.client();
    let [plain, transactions] = ["plain", "tx"].map(|kind| format!("{name}-{kind}"));
    client.create_topic(&plain, 3, &[])?;
    client.create_topic(&transactions, 2, &[])?;
    let server = S3Server::start()?;
    let toxiproxy = Toxiproxy::start()?;
    let proxy = toxiproxy.proxy("s3", &server.address())?;
    // Stretches the steps of a commit, so that kills fall between them.
    proxy.add_toxic("latency", "latency", Direction::Downstream, &json!({"latency": 15}))?;
    let dir = RunDir::new(name)?;
    let job = Job::new(dir.path(), &broker.bootstrap())
        .into_s3(&server, name)
        .set("/storage/s3/endpoint", json!(format!("http://{}", proxy.address())))
        .set("/topics/include", json!([format!("{name}-.*")]))
        .set("/backup/topicSegmentBytes", json!("64Ki"));
    let job = sealing.of(job, dir.path())?;
    let root = server.dir_of(name);
    let stop = Arc::new(AtomicBool::new(false));
    let work = [
        produce_plain(client.clone(), plain.clone(), Arc::clone(&stop)),
        produce_transactions(client.clone(), transactions.clone(), Arc::clone(&stop)),
    ];
    let mut dice = StdRng::seed_from_u64(seed()?);
    let mut heads = BTreeSet::new();
    for _ in 0..kills {
        let mut streamer = job.stream(&[])?;
        // The random moment itself.
        thread::sleep(Duration::from_millis(dice.random_range(0..LONGEST_LIFE_MILLIS)));
        ensure!(streamer.process.is_running(), "the streamer ended by itself\n{}", streamer.process.tail());
        streamer.process.kill_9()?;
        if let Ok(backup) = Backup::of_job(&root, &job) {
            heads.insert(backup.log.state.head.map(|head| head.sequence));
        }
    }
    stop.store(true, Ordering::Relaxed);
    for work in work {
        work.join().map_err(|_| anyhow!("a producer panicked"))??;
    }
    job.catch_up()?;
    let backup = Backup::of_job(&root, &job)?;
    let equal = [backup.equals_topic(&client, &plain)?, backup.equals_topic(&client, &transactions)?];
    println!("{equal:?} plain and transactional records equal after {kills} kills");
    ensure!(equal[0] > 1000 && equal[1] > 100, "too few records to mean anything: {equal:?}");
    ensure!(heads.len() > kills / 4, "kills hit a log that moved {} times only", heads.len());
    ensure!(backup.log.state.gaps.is_empty(), "no gap: {:?}", backup.log.state.gaps);
    let aborted = backup.records(&transactions, 0)?.iter().any(|record| record.value.as_deref() == Some(b"aborted"));
    ensure!(!aborted, "no aborted record");
    sealing.check(&root)?;
    assert_few_orphans(&root, &backup, kills)
}

#[test]
fn a01_fifty_kills_at_random_moments_lose_nothing_and_double_nothing() -> Result<()> {
    killed_again_and_again("a01", Sealing::Open, KILLS)
}

#[test]
fn a01_kills_at_random_moments_of_a_streamer_of_an_encrypted_backup_lose_nothing_and_double_nothing() -> Result<()> {
    killed_again_and_again("sealed-a01", Sealing::Key, KILLS_SEALED)
}

/// A kill leaves at most the segments of the cuts in flight, of which there are three with a segment of each topic and
/// one of the rest; and each of them is whole.
fn assert_few_orphans(root: &Path, backup: &Backup, kills: usize) -> Result<()> {
    let named: BTreeSet<String> = backup.files()?.into_iter().collect();
    let orphans = backup.whole_files(root)?.iter().filter(|file| !named.contains(*file)).count();
    println!("{orphans} orphans");
    ensure!(orphans <= kills * 9, "{orphans} orphans after {kills} kills");
    Ok(())
}

/// How many parts of unfinished uploads the server holds.
fn parts_of_uploads(server: &S3Server) -> Result<usize> {
    let uploads = server.dir_of(".sgwtmp");
    // The server renames files while they are counted.
    let files = tree(&uploads).unwrap_or_default();
    Ok(files
        .keys()
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().parse::<u32>().is_ok()))
        .count())
}

/// The steps of an upload in parts, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// The part of this number, from 1.
    Part(usize),
    /// The request that makes an object of the parts.
    Complete,
    /// The manifest that names the object.
    Manifest,
}

impl Step {
    fn of(head: &Head) -> Option<Step> {
        let (path, query) = head.path.split_once('?').unwrap_or((&head.path, ""));
        let part = query.split('&').find_map(|pair| pair.strip_prefix("partNumber=")?.parse().ok());
        match (head.method.as_str(), part) {
            ("PUT", Some(part)) => Some(Step::Part(part)),
            ("PUT", None) if path.contains("/manifests/") => Some(Step::Manifest),
            ("POST", _) if query.contains("uploadId=") => Some(Step::Complete),
            _ => None,
        }
    }
}

/// Lets an upload go on up to a step and holds every request after it half-way.
struct Gate {
    last: Step,
    /// The first step that was held.
    held: Option<Step>,
    /// Manifests before the upload's own pass.
    completed: bool,
}

impl Gate {
    fn at(last: Step) -> Gate {
        Gate { last, held: None, completed: false }
    }

    fn judge(&mut self, head: &Head) -> Verdict {
        let Some(step) = Step::of(head) else { return Verdict::Forward };
        if step <= self.last || (step == Step::Manifest && !self.completed) {
            self.completed |= step == Step::Complete;
            return Verdict::Forward;
        }
        self.held.get_or_insert(step);
        Verdict::Stall(head.bytes / 2)
    }
}

/// The segments of a store, whether a manifest names them or not.
fn segments_in(root: &Path) -> Result<usize> {
    let files = tree(root)?;
    Ok(files.keys().filter(|path| path.extension().is_some_and(|extension| extension == "parquet")).count())
}

#[test]
fn a02_kills_in_the_middle_of_a_multipart_upload_show_nothing_half() -> Result<()> {
    let broker = shared_broker()?;
    let client = broker.client();
    client.create_topic("a02", 1, &[("max.message.bytes", "2097152")])?;
    let records: Vec<Record> = (0..80).map(|number| Record::value(noise(number + 1, 1_000_000)).partition(0)).collect();
    client.clone().property("message.max.bytes", "2000000").produce("a02", &records)?;
    let server = S3Server::start()?;
    let gate = Arc::new(Mutex::new(Gate::at(Step::Manifest)));
    let judge = Arc::clone(&gate);
    let front = Front::start(&server.address(), move |head| judge.lock().judge(head))?;
    let dir = RunDir::new("a02")?;
    // A third of the budget, 64 MiB, is cut at once; nothing but that cuts before.
    let job = Job::new(dir.path(), &broker.bootstrap())
        .into_s3(&server, "a02")
        .set("/storage/s3/endpoint", json!(front.endpoint()))
        .set("/topics/include", json!(["a02"]))
        .set("/consumerGroups/include", json!([]))
        .set("/backup/commitInterval", json!("1m"))
        .set("/backup/metadataInterval", json!("1m"))
        .set("/backup/compression", json!("none"));
    let root = server.dir_of("a02");
    let kill_behind = |last: Step| -> Result<Step> {
        let before = parts_of_uploads(&server)?;
        *gate.lock() = Gate::at(last);
        let mut streamer = job.stream(&[])?;
        let held = wait::wait_for(&format!("a request after {last:?}"), Duration::from_secs(60), || {
            let Some(held) = gate.lock().held else { return Ok(None) };
            let Step::Part(parts) = last else { return Ok(Some(held)) };
            // The parts before it are on their way side by side.
            let all_there = matches!(held, Step::Complete) || parts_of_uploads(&server)? >= before + parts;
            Ok(all_there.then_some(held))
        })?;
        streamer.process.kill_9()?;
        ensure!(Backup::open(&root)?.records("a02", 0)?.is_empty(), "killed behind {last:?}: no record is there yet");
        Ok(held)
    };
    let mut parts = 0;
    while kill_behind(Step::Part(parts))? != Step::Complete {
        ensure!(segments_in(&root)? == 0, "killed in the middle of a part behind {parts}: no object is there");
        parts += 1;
    }
    println!("killed behind each of {parts} parts, and before the upload was completed");
    ensure!(parts >= 8 && segments_in(&root)? == 0, "{parts} parts, no object");
    ensure!(kill_behind(Step::Complete)? == Step::Manifest, "killed before the manifest");
    ensure!(segments_in(&root)? == 1, "the object is there, and nothing names it");
    *gate.lock() = Gate::at(Step::Manifest);
    job.catch_up()?;
    let backup = Backup::open(&root)?;
    ensure!(backup.equals_topic(&client, "a02")? == records.len(), "every record, once");
    ensure!(segments_in(&root)? == backup.objects()?.len() + 1, "one orphan, tried again under another name");
    assert_few_orphans(&root, &backup, 1)
}

#[test]
fn a06_of_two_streamers_the_older_is_fenced_and_ends_with_3() -> Result<()> {
    let topic = "a06";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 2, &[])?;
    client.produce(topic, &numbered(0..100))?;
    let mut older = scenario.job.stream(&[])?;
    scenario.wait_rows(topic, 0, 100)?;
    let mut newer = scenario.job.stream(&[])?;
    newer.ready()?;
    client.produce(topic, &numbered(100..200))?;
    ensure!(older.exit_code()? == 3, "{}", older.process.tail());
    let error = older.process.stderr();
    ensure!(error.contains("error: ") && error.contains("manifests/"), "the fence is named: {}", older.process.tail());
    scenario.wait_rows(topic, 0, 200)?;
    newer.wait_metric("strimzi_backup_recent_claims", |claims| claims == 2.0)?;
    newer.wait_metric("strimzi_backup_epoch", |epoch| epoch == 2.0)?;
    newer.stop()?;
    ensure!(scenario.backup()?.equals_topic(client, topic)? == 200, "every record, once");
    Ok(())
}

#[test]
fn a06_a_fenced_streamer_that_is_started_again_on_its_host_stands_by_and_does_not_fight() -> Result<()> {
    let topic = "a06h";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 1, &[])?;
    let loser = scenario.job.clone().on_host("a06-loser");
    let mut fenced = loser.stream(&[])?;
    fenced.ready()?;
    let mut winner = scenario.job.clone().on_host("a06-winner").stream(&[])?;
    winner.ready()?;
    client.produce(topic, &numbered(0..10))?;
    ensure!(fenced.exit_code()? == 3, "{}", fenced.process.tail());
    let mut rows = 10;
    // As a pod whose container is started again and again: it keeps its name.
    for _ in 0..3 {
        let mut again = loser.stream(&[])?;
        again.wait_log("another writer took this backup over and is alive; standing by")?;
        ensure!(again.process.stderr().contains("a06-winner"), "it says who\n{}", again.process.tail());
        let ready = http::get(&again.http()?, "/readyz")?;
        ensure!(ready.status == 503 && ready.body.contains("not claimed"), "{ready:?}");
        client.produce(topic, &numbered(rows..rows + 10))?;
        rows += 10;
        scenario.wait_rows(topic, 0, u64::try_from(rows)?)?;
        ensure!(again.process.is_running(), "it waits\n{}", again.process.tail());
        again.process.kill_9()?;
    }
    ensure!(winner.metric("strimzi_backup_epoch")? == 2.0, "the winner keeps its epoch");
    ensure!(winner.metric("strimzi_backup_recent_claims")? == 2.0, "nobody has claimed since");
    winner.stop()?;
    ensure!(scenario.backup()?.equals_topic(client, topic)? == rows, "every record, once");
    Ok(())
}

#[test]
fn a07_a_frozen_streamer_fences_itself_when_it_thaws() -> Result<()> {
    let topic = "a07";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 1, &[])?;
    let mut frozen = scenario.job.stream(&[])?;
    frozen.ready()?;
    client.produce(topic, &numbered(0..10))?;
    scenario.wait_rows(topic, 0, 10)?;
    frozen.process.sigstop()?;
    let mut second = scenario.job.stream(&[])?;
    second.ready()?;
    client.produce(topic, &numbered(10..500))?;
    scenario.wait_rows(topic, 0, 500)?;
    frozen.process.sigcont()?;
    ensure!(frozen.exit_code()? == 3, "{}", frozen.process.tail());
    client.produce(topic, &numbered(500..600))?;
    scenario.wait_rows(topic, 0, 600)?;
    second.stop()?;
    ensure!(scenario.backup()?.equals_topic(client, topic)? == 600, "every record, once");
    Ok(())
}

#[test]
fn a06_two_streamers_that_are_started_again_and_again_never_fork_the_log() -> Result<()> {
    let topic = "a08";
    let scenario = Scenario::shared(topic)?;
    let client = &scenario.client;
    client.create_topic(topic, 2, &[])?;
    client.produce(topic, &numbered(0..50))?;
    let mut number = 50;
    for _ in 0..5 {
        let mut pair = [scenario.job.stream(&[])?, scenario.job.stream(&[])?];
        client.produce(topic, &numbered(number..number + 50))?;
        number += 50;
        wait_backup(&scenario.job.backup_dir(), "the new records", |backup| {
            Ok(backup.rows(topic, 0) >= u64::try_from(number)?)
        })?;
        for streamer in &mut pair {
            streamer.process.kill_9()?;
        }
    }
    scenario.job.catch_up()?;
    ensure!(scenario.backup()?.equals_topic(client, topic)? == number, "every record, once");
    Ok(())
}
