//! Nothing is read from the store, whatever happened while it was written.

use anyhow::{Context, Result, ensure};
use serde_json::json;
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::http;
use strimzi_backup_tests::kafka::KafkaBroker;
use strimzi_backup_tests::ports::Port;
use strimzi_backup_tests::restore::{Restore, same_but_offsets};
use strimzi_backup_tests::scenario::{Scenario, shared_broker, shows_none_of, tree};
use strimzi_backup_tests::streamer::Job;
use strimzi_backup_tests::wait::wait_until;

use super::{encrypted, ended, files, key, records, refine, verified, with};

#[test]
fn a01_killed_again_and_again_it_goes_on_and_every_record_is_there_once() -> Result<()> {
    let (scenario, key) = encrypted("a01-sealed")?;
    let topic = "a01-sealed";
    scenario.client.create_topic(topic, 1, &[])?;
    let job = scenario.job.clone().set("/backup/refineBytes", json!("64Ki"));
    for round in 0..6_u64 {
        scenario.client.produce(topic, &records(round * 40..(round + 1) * 40))?;
        let mut streamer = job.stream(&[])?;
        streamer.ready()?;
        let wanted = (round + 1) * 40;
        scenario.wait_rows(topic, 0, wanted)?;
        streamer.process.kill_9()?;
        let backup = Backup::open_with_key(&job.backup_dir(), &key)?;
        ensure!(backup.equals_topic(&scenario.client, topic)? as u64 == wanted, "round {round}");
    }
    // What was the whole of the topic is known of a start that ends.
    job.catch_up()?;
    job.verify()?;
    let bootstrap = shared_broker()?.bootstrap();
    Restore::new(scenario.dir(), "again", &job, &bootstrap).mapped(topic, "a01-unsealed").done()?;
    same_but_offsets(&scenario.client.read_all(topic)?, &scenario.client.read_all("a01-unsealed")?)?;
    let keys = files(&job.backup_dir().join("keys"))?;
    ensure!(keys.len() == 1, "one key for as many starts: {keys:?}");
    Ok(())
}

#[test]
fn a33_while_vault_is_away_nothing_is_written_and_records_stay_in_kafka() -> Result<()> {
    let scenario = Scenario::shared("vault")?;
    scenario.client.create_topic("vault", 1, &[])?;
    scenario.client.produce("vault", &records(0..10))?;
    let token = scenario.dir().join("token");
    std::fs::write(&token, "hvs.a-token-of-the-test")?;
    // Nobody listens there.
    let away = Port::reserve()?;
    let transit = json!({"address": format!("http://{}", away.address()), "key": "orders", "tokenFile": token});
    let job = scenario.job.clone().set("/backup/encryption", json!({"enabled": true, "transit": transit}));
    let mut streamer = job.stream(&[])?;
    streamer.wait_metric("strimzi_backup_key_unavailable", |value| value == 1.0)?;
    streamer.wait_metric("strimzi_backup_key_errors_total", |count| count >= 3.0)?;
    let answer = http::get(&streamer.http()?, "/readyz")?;
    ensure!(answer.status == 503 && answer.body.contains("master key"), "{} {}", answer.status, answer.body);
    streamer.wait_log("transit:transit/orders")?;
    ensure!(streamer.metric("strimzi_backup_records_total")? == 0.0);
    let stored = files(&job.backup_dir())?;
    ensure!(stored.iter().all(|path| path.ends_with("probe/create-once")), "{stored:?}");
    shows_none_of(&streamer.process.stderr(), &["hvs.a-token-of-the-test"])?;
    streamer.stop()?;
    // The same with the key in a file: it is the first start that writes.
    let key = key(&scenario, 1)?;
    let job = with(&scenario.job, &[&key]);
    job.catch_up()?;
    let backup = Backup::open_with_key(&job.backup_dir(), &key)?;
    ensure!(backup.equals_topic(&scenario.client, "vault")? == 10);
    Ok(())
}

/// What a start may leave where it is refused: not even the probe's object is new.
fn refused(job: &Job, code: i32, says: &[&str]) -> Result<()> {
    let before = tree(&job.backup_dir())?;
    let (_, err) = ended(job, &["stream", "--until-caught-up"], code)?;
    for part in says {
        ensure!(err.contains(part), "it does not say {part:?}: {err}");
    }
    ensure!(tree(&job.backup_dir())? == before, "something was written");
    Ok(())
}

#[test]
fn a33_a_backup_is_encrypted_from_its_first_object_on_or_never() -> Result<()> {
    let scenario = Scenario::shared("never-both")?;
    scenario.client.create_topic("never-both", 1, &[])?;
    scenario.client.produce("never-both", &records(0..10))?;
    let key = key(&scenario, 1)?;
    let (open, closed) = (scenario.job.clone(), with(&scenario.job, &[&key]));
    open.catch_up()?;
    refused(&closed, 2, &["is not encrypted", "take another prefix"])?;
    ended(&closed, &["inspect"], 2)?;
    std::fs::remove_dir_all(open.backup_dir())?;
    closed.catch_up()?;
    refused(&open, 2, &["is encrypted, and no key was given", "file:", "backup.encryption"])?;
    for command in ["inspect", "segments", "verify", "salvage", "prune", "groups", "restores"] {
        let (_, err) = ended(&open, &[command], 2)?;
        ensure!(err.contains("no key was given") && err.contains("file:"), "{command}: {err}");
    }
    let bad = scenario.dir().join("half");
    std::fs::write(&bad, [1; 16])?;
    refused(&with(&open, &[&bad]), 2, &["half", "16 bytes"])?;
    // Who deletes it needs no key: nothing is read that is sealed.
    let backup = Backup::open_with_key(&closed.backup_dir(), &key)?.log.identity.backup.to_string();
    ended(&open, &["destroy", "--backup", &backup, "--stopped"], 0)?;
    ensure!(!closed.backup_dir().join("keys").exists() || files(&closed.backup_dir().join("keys"))?.is_empty());
    Ok(())
}

#[test]
fn a33_snapshots_groups_prune_and_salvage_work_on_what_is_sealed() -> Result<()> {
    let broker = KafkaBroker::start()?;
    let scenario = Scenario::on(&broker, "upkeep")?;
    let key = key(&scenario, 1)?;
    let job = with(&scenario.job, &[&key]).set("/retention/gracePeriod", json!("0s"));
    scenario.client.create_topic("upkeep", 1, &[])?;
    scenario.client.produce("upkeep", &records(0..40))?;
    scenario.client.commit_offsets("upkeep-group", &[("upkeep", 0, 5)])?;
    refine(&job)?;
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    ended(&job, &["snapshot", "--id", "daily"], 0)?;
    wait_until("the groups to be covered", strimzi_backup_tests::streamer::PATIENCE, || {
        let (code, out, _) = job.run(&["groups", "--group", "upkeep-group"])?;
        Ok(code == 0 && out.contains("upkeep-0: 5"))
    })?;
    streamer.stop()?;
    strimzi_backup_tests::past::grow_old(&job.backup_dir(), std::time::Duration::from_secs(7200))?;
    let (out, _) = ended(&job, &["prune", "--output", "json"], 0)?;
    let report: serde_json::Value = serde_json::from_str(&out)?;
    ensure!(report["deleted"]["objects"].as_u64() >= Some(1), "{report}");
    job.verify()?;
    let report = verified(&job, "3", 0)?;
    ensure!(report["orphans"]["objects"] == json!(0), "keys/ belongs to it: {report}");
    ensure!(report["counts"]["snapshots"] == json!(1) && report["keys"]["rekey"] == json!([]), "{report}");
    let files = report["keys"]["backupKeys"][0]["files"].as_u64().context("files")?;
    ensure!(files >= 2, "records and groups: {report}");
    let (out, _) = ended(&job, &["salvage"], 0)?;
    ensure!(out.contains("upkeep-0") && !out.contains("unreadable"), "{out}");
    let (out, _) = ended(&job, &["inspect"], 0)?;
    ensure!(out.contains("encrypted") && out.contains("file:"), "{out}");
    ensure!(Backup::open_with_key(&job.backup_dir(), &key)?.equals_topic(&scenario.client, "upkeep")? == 40);
    Ok(())
}
