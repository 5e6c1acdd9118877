//! A damaged backup, as the program's user meets it: what `verify`, `segments` and `inspect` say, and their exit codes.
//!
//! What every kind of damage looks like is tested beside `verify` itself, on memory; here are the real program on a real
//! backup, a store that lies or does not answer, and DuckDB on what `segments` prints.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use strimzi_backup_format::store::Store;
use strimzi_backup_format::store::faulty::{Decision, Fault, FaultyStore, Op};
use strimzi_backup_streamer::verify::report::FindingKind;
use strimzi_backup_streamer::verify::{self, Level, Options, Progress};
use strimzi_backup_tests::client::Record;
use strimzi_backup_tests::duckdb;
use strimzi_backup_tests::scenario::{Scenario, flip};
use strimzi_backup_tests::sealing::Sealing;

const COUNT: usize = 300;

/// A caught-up backup of one topic with a segment of its own and one that shares an intake segment.
fn scenario(name: &str, sealing: Sealing) -> Result<Scenario> {
    let mut scenario = Scenario::shared(name)?.sealed(sealing)?;
    scenario.job = scenario.job.set("/backup/topicSegmentBytes", "64Ki".into());
    for (topic, value) in [("big", "x".repeat(1000)), ("small", "y".to_owned())] {
        let topic = format!("{name}-{topic}");
        scenario.client.create_topic(&topic, 1, &[])?;
        let records: Vec<Record> =
            (0..COUNT).map(|n| Record::new(format!("key-{n}"), format!("{n} {value}"))).collect();
        scenario.client.produce(&topic, &records)?;
    }
    scenario.job.catch_up()?;
    Ok(scenario)
}

fn files(dir: &Path, end: &str) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.to_string_lossy().ends_with(end) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

fn report(scenario: &Scenario, level: &str, code: i32) -> Result<Value> {
    let (exit, out, err) = scenario.job.run(&["verify", "--level", level, "--output", "json"])?;
    ensure!(exit == code, "level {level} ended with {exit}, not {code}\n{out}\n{err}");
    serde_json::from_str(&out).with_context(|| format!("the report of level {level}: {out}"))
}

/// A byte that was changed, and then a segment that is missing.
fn changed_and_missing(name: &str, sealing: Sealing) -> Result<()> {
    let scenario = scenario(name, sealing)?;
    for level in ["1", "2", "3"] {
        assert_eq!(report(&scenario, level, 0)?["sound"], true);
    }
    let segment = files(&scenario.job.backup_dir(), ".parquet")?.pop().context("a segment")?;
    flip(&segment)?;
    assert_eq!(report(&scenario, "1", 0)?["sound"], true);
    let damaged = report(&scenario, "2", 4)?;
    let object = damaged["findings"][0]["object"].as_str().context("an object")?;
    assert!(segment.ends_with(object), "{object}");
    let topic = damaged["findings"][0]["affected"][0]["topic"].as_str().context("a topic")?;
    assert!(topic.starts_with(&format!("{name}-")), "{topic}");
    std::fs::remove_file(&segment)?;
    let missing = report(&scenario, "1", 4)?;
    assert_eq!(missing["findings"][0]["kind"], "Missing");
    Ok(())
}

#[test]
fn a57_a_changed_byte_is_named_and_the_exit_code_is_4() -> Result<()> {
    changed_and_missing("a57", Sealing::Open)
}

#[test]
fn a57_a_changed_byte_of_an_encrypted_backup_is_named_and_the_exit_code_is_4() -> Result<()> {
    changed_and_missing("sealed-a57", Sealing::Key)
}

/// The second manifest of several, changed.
fn broken_chain(name: &str, sealing: Sealing) -> Result<()> {
    let scenario = scenario(name, sealing)?;
    let manifests = files(&scenario.job.backup_dir().join("manifests"), ".json.zst")?;
    flip(manifests.get(1).context("a second manifest")?)?;
    let broken = report(&scenario, "3", 4)?;
    assert_eq!(broken["findings"][0]["object"], "manifests/0000/00000000000000000002.json.zst");
    assert_eq!(broken["counts"]["manifests"], 1);
    assert_eq!(broken["counts"]["untrustedManifests"], manifests.len() - 1);
    for command in ["inspect", "segments"] {
        let (exit, _, err) = scenario.job.run(&[command])?;
        assert_eq!(exit, 4, "{command}: {err}");
        assert!(err.contains("00000000000000000002"), "{command}: {err}");
    }
    Ok(())
}

#[test]
fn a58_a_broken_chain_ends_every_command_with_4() -> Result<()> {
    broken_chain("a58", Sealing::Open)
}

#[test]
fn a58_a_broken_chain_of_an_encrypted_backup_ends_every_command_with_4() -> Result<()> {
    broken_chain("sealed-a58", Sealing::Key)
}

#[test]
fn duckdb_reads_the_slice_that_segments_prints_from_intake_and_topic_segments_together() -> Result<()> {
    let scenario = scenario("duck", Sealing::Open)?;
    let sql = scenario.job.segments(&["--output", "duckdb"])?;
    ensure!(sql.contains("/intake/") && sql.contains("/topics/"), "both kinds of segment: {sql}");
    let count = |sql: &str, condition: &str| -> Result<Value> {
        let sql = sql.trim().trim_end_matches(';');
        let rows =
            duckdb::query(&format!("SELECT count(*) AS n, count(DISTINCT topic) AS t FROM ({sql}) {condition}"))?;
        Ok(rows.into_iter().next().unwrap_or_default())
    };
    let all = count(&sql, "")?;
    assert_eq!((&all["n"], &all["t"]), (&(2 * COUNT).into(), &2.into()), "{sql}");

    let (_, one, _) = scenario.job.run(&["segments", "--topic", "duck-small", "--output", "duckdb"])?;
    let small = count(&one, "")?;
    assert_eq!((&small["n"], &small["t"]), (&COUNT.into(), &1.into()), "{one}");

    let past = ["segments", "--to", "1999-01-01T00:00:00Z", "--output", "duckdb"];
    let (_, none, _) = scenario.job.run(&past)?;
    assert_eq!(count(&none, "")?["n"], 0, "{none}");
    let columns = |sql: &str| duckdb::query(&format!("DESCRIBE {}", sql.trim().trim_end_matches(';')));
    assert_eq!(columns(&none)?, columns(&sql)?, "an empty slice has the same columns");

    let (exit, _, err) = scenario.job.run(&["segments", "--topic", "duck-none"])?;
    assert_eq!(exit, 2, "{err}");
    Ok(())
}

/// The backup in a directory, through a store that can be told to fail.
fn faulty(scenario: &Scenario) -> Result<(Store, FaultyStore)> {
    let inner = object_store::local::LocalFileSystem::new_with_prefix(scenario.job.backup_dir())?;
    let faulty = FaultyStore::new(Arc::new(inner));
    Ok((Store::memory().with_inner(Arc::new(faulty.clone())), faulty))
}

async fn verify(store: &Store) -> Result<verify::report::Report> {
    Ok(verify::run(store, Level::Records, &Options::default(), &Progress::hidden()).await?)
}

#[tokio::test]
async fn a21_wrong_bytes_in_transit_are_read_again_before_they_are_reported() -> Result<()> {
    let scenario = scenario("a21", Sealing::Open)?;
    let (store, faulty) = faulty(&scenario)?;
    // Every object's first read lies.
    let mut seen = std::collections::BTreeSet::new();
    faulty.control().set_plan(move |call| {
        let lies = call.op == Op::Get && seen.insert(call.path.clone());
        if lies { Decision::FlipBit(20) } else { Decision::Pass }
    });
    let report = verify(&store).await?;
    assert!(report.sound, "{report}");
    faulty.control().set_plan(|call| {
        let lies = call.op == Op::Get && call.path.as_ref().ends_with(".parquet");
        if lies { Decision::FlipBit(20) } else { Decision::Pass }
    });
    let report = verify(&store).await?;
    assert_eq!(report.finding_count as u64, report.counts.segments, "{report}");
    assert!(report.findings.iter().all(|finding| finding.kind == FindingKind::Damaged), "{report}");
    Ok(())
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_told_apart_from_damage() -> Result<()> {
    let scenario = scenario("silent", Sealing::Open)?;
    let (store, faulty) = faulty(&scenario)?;
    faulty.control().set_plan(|call| {
        let fails = call.op == Op::Get && call.path.as_ref().ends_with(".parquet");
        if fails { Decision::FailBefore(Fault::Denied) } else { Decision::Pass }
    });
    let report = verify(&store).await?;
    assert_eq!(report.finding_count, 0, "{report}");
    assert_eq!(report.unanswered_count as u64, report.counts.segments, "{report}");
    assert!(report.harm.is_none(), "nothing is known of them");
    let error = report.outcome().expect_err("not verified");
    assert_eq!(error.exit_code(), 1, "{error}");
    // A failure that passes is waited out.
    let mut failures = 0;
    faulty.control().set_plan(move |call| {
        failures += u32::from(call.op == Op::Get);
        if call.op == Op::Get && failures <= 3 { Decision::FailBefore(Fault::Unavailable) } else { Decision::Pass }
    });
    assert!(verify(&store).await?.sound);
    Ok(())
}
