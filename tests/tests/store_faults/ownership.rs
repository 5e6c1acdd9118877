//! Prefixes that are not this job's, were exchanged, rolled back or written by a newer release: nothing is written there.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::front::{Front, Verdict};
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::scenario::{Scenario, copy_dir, numbered, shared_broker, tree};
use strimzi_backup_tests::streamer::Job;

/// What a crashed write of somebody else has left long ago.
fn plant_leftover(store: &Path) -> Result<()> {
    let file = std::fs::File::create(store.join("manifests/x#1"))?;
    Ok(file.set_modified(SystemTime::now() - Duration::from_secs(3600))?)
}

/// Insists that `stream` refuses with a code and these words, and leaves the store as it is.
fn refuses(job: &Job, store: &Path, code: i32, words: &[&str]) -> Result<()> {
    let before = tree(store)?;
    let (found, out, err) = job.run(&["stream", "--until-caught-up"])?;
    let last = err.lines().last().unwrap_or_default();
    ensure!(found == code && last.starts_with("error: "), "code {found} instead of {code}\n{out}{err}");
    for word in words {
        ensure!(last.contains(word), "{word:?} is not in: {last}");
    }
    ensure!(tree(store)? == before, "the store changed");
    Ok(())
}

fn filled(name: &str) -> Result<Scenario> {
    let scenario = Scenario::shared(name)?;
    scenario.client.create_topic(name, 1, &[])?;
    scenario.client.produce(name, &numbered(0..10))?;
    scenario.job.catch_up()?;
    Ok(scenario)
}

#[test]
fn a09_a_second_job_on_the_same_prefix_is_refused_by_name() -> Result<()> {
    let scenario = filled("a09")?;
    let other = scenario.job.clone().set("/name", json!("another-job"));
    plant_leftover(&scenario.job.backup_dir())?;
    refuses(&other, &scenario.job.backup_dir(), 4, &["another-job", "use another prefix"])?;
    scenario.job.catch_up()?;
    ensure!(!scenario.job.backup_dir().join("manifests/x#1").exists(), "the owner tidies up");
    Ok(())
}

#[test]
fn a10_the_backup_of_another_cluster_is_refused_by_its_id() -> Result<()> {
    let scenario = filled("a10")?;
    let other = KafkaBroker::start()?;
    let job = scenario.job.clone().set("/cluster/bootstrapServers", json!(other.bootstrap()));
    plant_leftover(&scenario.job.backup_dir())?;
    refuses(&job, &scenario.job.backup_dir(), 4, &[other.cluster_id(), shared_broker()?.cluster_id()])
}

#[test]
fn a12_a_newer_format_is_not_guessed_at() -> Result<()> {
    let scenario = filled("a12")?;
    let dir = scenario.job.backup_dir();
    let head = scenario.backup()?.log.state.head.context("a head")?.sequence.get();
    let manifest = |sequence: u64| dir.join(format!("manifests/0000/{sequence:020}.json.zst"));
    let newest = zstd::decode_all(&std::fs::read(manifest(head))?[..])?;
    let mut newer: Value = serde_json::from_slice(&newest)?;
    newer["formatVersion"] = json!(2);
    newer["somethingNew"] = json!(true);
    std::fs::write(manifest(head + 1), sealed(&serde_json::to_vec(&newer)?)?)?;
    let name = format!("{:020}", head + 1);
    refuses(&scenario.job, &dir, 4, &[&name, "format version 2", "newer release"])?;
    std::fs::remove_file(manifest(head + 1))?;
    let identity = dir.join("backup.json");
    let text = std::fs::read_to_string(&identity)?;
    let changed = text.replacen("\"formatVersion\":1", "\"formatVersion\":2", 1);
    let changed = changed.replacen("\"formatVersion\": 1", "\"formatVersion\": 2", 1);
    ensure!(changed != text, "the identity has a version");
    std::fs::write(&identity, changed)?;
    refuses(&scenario.job, &dir, 4, &["backup.json", "format version 2", "newer release"])
}

/// A document as it is stored: a zstd frame, and its digest in a frame that tools skip.
fn sealed(json: &[u8]) -> Result<Vec<u8>> {
    use sha2::Digest as _;
    let mut bytes = zstd::encode_all(json, 3)?;
    let digest = sha2::Sha256::digest(&bytes);
    bytes.extend_from_slice(&0x184D_2A50_u32.to_le_bytes());
    bytes.extend_from_slice(&32_u32.to_le_bytes());
    bytes.extend_from_slice(&digest);
    Ok(bytes)
}

#[test]
fn a17_a_store_that_ignores_create_once_is_refused() -> Result<()> {
    let scenario = Scenario::shared("a17")?;
    scenario.client.create_topic("a17", 1, &[])?;
    let server = S3Server::start()?;
    let buckets = server.root_dir();
    // The condition is as good as ignored where what stands in its way is taken away before.
    let front = Front::start(&server.address(), move |head| {
        if head.method == "PUT" && head.text.contains("\r\nif-none-match:") {
            let key = head.path.split('?').next().unwrap_or_default().trim_start_matches('/');
            drop(std::fs::remove_file(buckets.join(key)));
        }
        Verdict::Forward
    })?;
    let job = scenario.job.clone().into_s3(&server, "a17").set("/storage/s3/endpoint", json!(front.endpoint()));
    let (code, _, err) = job.run(&["stream", "--until-caught-up"])?;
    let last = err.lines().last().unwrap_or_default();
    ensure!(code == 2 && last.starts_with("error: "), "code {code}\n{err}");
    ensure!(last.contains("If-None-Match") || last.contains("overwr"), "the reason is named: {last}");
    let left: Vec<_> = tree(&server.root_dir().join("backup/a17"))?.into_keys().collect();
    let backup = left.iter().any(|path| path.starts_with("manifests") || path.ends_with("backup.json"));
    ensure!(!backup, "no backup was begun: {left:?}");
    ensure!(left == [Path::new("probe/create-once")], "nothing is left but what it was tried on: {left:?}");
    Ok(())
}

fn anchored(job: &Job, backup: &Backup) -> Result<Job> {
    let head = backup.log.state.head.context("a head")?;
    let anchor = json!({
        "backup": backup.log.identity.backup.to_string(),
        "sequence": head.sequence.get(),
        "sha256": head.sha256.to_string(),
    });
    Ok(job.clone().set("/storage/anchor", anchor))
}

#[test]
fn a24_a_prefix_that_was_rolled_back_does_not_hold_the_anchor() -> Result<()> {
    let scenario = filled("a24")?;
    let dir = scenario.job.backup_dir();
    let old = scenario.dir().join("old");
    copy_dir(&dir, &old)?;
    scenario.client.produce("a24", &numbered(10..20))?;
    scenario.job.catch_up()?;
    let job = anchored(&scenario.job, &scenario.backup()?)?;
    job.catch_up()?;
    copy_dir(&old, &dir)?;
    refuses(&job, &dir, 4, &["ChainMismatch", "storage.anchor"])?;
    for command in ["inspect", "segments", "verify"] {
        let (code, out, err) = job.run(&[command])?;
        ensure!(code == 4 && format!("{out}{err}").contains("ChainMismatch"), "{command}: {code}\n{out}{err}");
    }
    // Without the anchor it goes on from where the copy stands: what came after is fetched again.
    scenario.job.catch_up()?;
    ensure!(scenario.backup()?.equals_topic(&scenario.client, "a24")? == 20, "every record, once");
    Ok(())
}

fn into_bucket(scenario: &Scenario, server: &S3Server, name: &str) -> Job {
    scenario.job.clone().into_s3(server, name)
}

#[test]
fn a23_a_bucket_that_is_emptied_or_deleted_while_streaming_stops_the_streamer() -> Result<()> {
    for (name, recreated) in [("a23-emptied", true), ("a23-deleted", false)] {
        let scenario = Scenario::shared(name)?;
        scenario.client.create_topic(name, 1, &[])?;
        let server = S3Server::start()?;
        let job = into_bucket(&scenario, &server, name);
        let bucket = server.root_dir().join(server.bucket());
        let mut streamer = job.stream(&[])?;
        streamer.ready()?;
        scenario.client.produce(name, &numbered(0..10))?;
        streamer.wait_metric("strimzi_backup_records_total", |records| records == 10.0)?;
        let anchored = anchored(&job, &Backup::open(&bucket.join(name))?)?;
        // Away in one step, so that no request meets a half of it.
        std::fs::rename(&bucket, server.root_dir().with_file_name("gone"))?;
        if recreated {
            server.create_bucket(server.bucket())?;
        }
        scenario.client.produce(name, &numbered(10..20))?;
        let code = streamer.exit_code()?;
        ensure!(code == 4, "{name}: {code}\n{}", streamer.process.tail());
        let error = streamer.process.stderr();
        let last = error.lines().last().unwrap_or_default();
        ensure!(last.contains("gone or changed"), "{name}: {last}");
        server.create_bucket(server.bucket())?;
        refuses(&anchored, &bucket, 4, &["storage.anchor"])?;
    }
    Ok(())
}

/// Streams a filled scenario, puts other files under its prefix while the streamer is frozen, thaws it with new records to
/// commit, and insists that it ends as one that must not be started again.
fn stops_over(scenario: &Scenario, topic: &str, other: &Path) -> Result<()> {
    let dir = scenario.job.backup_dir();
    // The first look around comes after the next commit.
    let mut streamer = scenario.job.clone().set("/backup/metadataInterval", json!("5s")).stream(&[])?;
    streamer.ready()?;
    streamer.process.sigstop()?;
    copy_dir(other, &dir)?;
    scenario.client.produce(topic, &numbered(10..20))?;
    streamer.process.sigcont()?;
    let code = streamer.exit_code()?;
    ensure!(code == 4, "{code}\n{}", streamer.process.tail());
    Ok(())
}

#[test]
fn a09_a_prefix_that_is_exchanged_for_another_backup_while_streaming_stops_the_streamer() -> Result<()> {
    let scenario = filled("a09x")?;
    let path = scenario.dir().join("other");
    let other = scenario.job.clone().set("/name", json!("another-job")).set("/storage/filesystem/path", json!(path));
    // A longer log of higher epochs: its manifests are not those of a newer writer of ours, and no fence.
    for _ in 0..6 {
        other.catch_up()?;
    }
    let head = Backup::open(&path)?.log.state.head;
    stops_over(&scenario, "a09x", &path)?;
    let there = scenario.backup()?;
    ensure!(there.log.state.head == head && there.rows("a09x", 0) == 10, "the other backup is as it was");
    Ok(())
}

#[test]
fn a24_a_prefix_that_is_set_back_to_an_older_copy_while_streaming_stops_the_streamer() -> Result<()> {
    let scenario = filled("a24s")?;
    let old = scenario.dir().join("old");
    copy_dir(&scenario.job.backup_dir(), &old)?;
    stops_over(&scenario, "a24s", &old)
}
