//! Others who read what is sealed: a copy in the clear, and pyarrow with the keys of files.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use strimzi_backup_format::ids::TimestampMs;
use strimzi_backup_tests::client::{ReadRecord, Record};
use strimzi_backup_tests::duckdb;
use strimzi_backup_tests::python::run_python;
use strimzi_backup_tests::scenario::{Scenario, flip};
use strimzi_backup_tests::streamer::Job;

use super::{encrypted, ended, records};

/// 2026-02-13T00:00:00Z, from which on a record follows every second.
const BEGIN: i64 = 1_770_940_800_000;

/// Text, bytes that are none, null and empty, over two partitions.
fn odd() -> Vec<Record> {
    let at = |n: i64, record: Record| record.timestamp(BEGIN + n * 1000).partition(i32::from(n % 2 == 1));
    (0..40)
        .map(|n| match n % 4 {
            0 => at(n, Record::new(format!("key-{n}"), format!("{{\"n\": {n}, \"text\": \"é\"}}"))),
            1 => at(n, Record::new([0xff_u8, 0xfe], vec![0_u8; 3]).header([0xc3_u8, 0x28], Some(&b"\x80"[..]))),
            2 => at(n, Record::tombstone(format!("key-{n}")).header("trace", None).header("trace", Some(&b""[..]))),
            _ => at(n, Record::value(String::new())),
        })
        .collect()
}

/// A topic of odd records, backed up, with another one beside it in the same files.
fn scene(name: &str, is_encrypted: bool) -> Result<Scenario> {
    let scenario = if is_encrypted { encrypted(name)?.0 } else { Scenario::shared(name)? };
    for topic in [name.to_owned(), format!("{name}-beside")] {
        scenario.client.create_topic(&topic, 2, &[("retention.ms", "-1")])?;
        scenario.client.produce(&topic, &odd())?;
    }
    scenario.client.produce(name, &records(0..30))?;
    scenario.job.catch_up()?;
    Ok(scenario)
}

/// Bytes as a line has them.
fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({"base64": BASE64.encode(bytes)}),
    }
}

/// A record that was read from Kafka, as a line has it.
fn line(topic: &str, record: &ReadRecord) -> Value {
    let of = |bytes: &Option<Vec<u8>>| bytes.as_deref().map(text);
    let headers: Vec<Value> =
        record.headers.iter().map(|(key, value)| json!({"key": text(key), "value": of(value)})).collect();
    json!({
        "topic": topic, "lineage": 0, "partition": record.partition, "offset": record.offset,
        "timestamp": record.timestamp, "timestampType": record.timestamp_type,
        "key": of(&record.key), "value": of(&record.value), "headers": headers,
    })
}

fn by_place(lines: impl IntoIterator<Item = Value>) -> BTreeMap<(i64, i64), Value> {
    let place = |line: &Value| (line["partition"].as_i64().unwrap_or(-1), line["offset"].as_i64().unwrap_or(-1));
    lines.into_iter().map(|line| (place(&line), line)).collect()
}

fn exported(job: &Job, arguments: &[&str]) -> Result<Vec<Value>> {
    let (out, _) = ended(job, &[&["export"], arguments].concat(), 0)?;
    out.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// Insists that the copies of a backup are what Kafka holds.
fn copies_equal(scenario: &Scenario, topic: &str) -> Result<()> {
    let job = &scenario.job;
    let held = scenario.client.read_all(topic)?;
    let lines = exported(job, &["--topic", topic])?;
    ensure!(lines.len() == held.len(), "{} lines for {} records", lines.len(), held.len());
    let wanted = by_place(held.iter().map(|record| line(topic, record)));
    ensure!(by_place(lines.clone()) == wanted, "{lines:#?}");
    for pair in lines.windows(2).filter(|pair| pair[0]["partition"] == pair[1]["partition"]) {
        ensure!(pair[0]["offset"].as_i64() < pair[1]["offset"].as_i64(), "of a partition in order: {pair:?}");
    }
    let [from, to] = [10, 15].map(|second| TimestampMs::new(BEGIN + second * 1000).to_rfc3339());
    let slice = exported(job, &["--topic", topic, "--from", &from, "--to", &to])?;
    let times: Vec<i64> = by_place(slice).values().filter_map(|line| line["timestamp"].as_i64()).collect();
    ensure!(times.len() == 5 && times.iter().all(|at| (BEGIN + 10_000..BEGIN + 15_000).contains(at)), "{times:?}");
    parquet_equals(job, topic, &held, scenario.dir())
}

fn parquet_equals(job: &Job, topic: &str, held: &[ReadRecord], folder: &Path) -> Result<()> {
    let file = folder.join(format!("{topic}.parquet"));
    let path = file.display().to_string();
    let arguments = ["export", "--topic", topic, "--format", "parquet"];
    ended(job, &[&arguments[..], &["--output", &path]].concat(), 0)?;
    let sql = format!(
        "SELECT \"partition\", \"offset\", epoch_ms(\"timestamp\") AS at, \"key\", \"value\", len(headers) AS headers \
         FROM read_parquet('{path}') ORDER BY 1, 2"
    );
    let rows = duckdb::query(&sql)?;
    let hex = |bytes: &Option<Vec<u8>>| {
        bytes.as_ref().map(|bytes| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
    };
    let mut wanted: Vec<&ReadRecord> = held.iter().collect();
    wanted.sort_by_key(|record| (record.partition, record.offset));
    let wanted = wanted.into_iter().map(|record| {
        json!({
            "partition": record.partition, "offset": record.offset, "at": record.timestamp,
            "key": hex(&record.key), "value": hex(&record.value), "headers": record.headers.len(),
        })
    });
    ensure!(rows == wanted.collect::<Vec<_>>(), "{rows:?}");
    let (_, err) = ended(job, &[&arguments[..], &["--output", &path]].concat(), 2)?;
    ensure!(err.contains("is there already"), "{err}");
    ended(job, &arguments, 2)?;
    let left: Vec<_> =
        std::fs::read_dir(folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    ensure!(left.iter().all(|name| !name.contains("strimzi-backup-export")), "{left:?}");
    Ok(())
}

#[test]
fn a_copy_in_the_clear_equals_what_kafka_holds() -> Result<()> {
    for (name, is_encrypted) in [("export-open", false), ("export-sealed", true)] {
        let scenario = scene(name, is_encrypted)?;
        copies_equal(&scenario, name).context(name)?;
        let (_, err) = ended(&scenario.job, &["export", "--topic", "nowhere"], 2)?;
        ensure!(err.contains("the backup has no topic nowhere"), "{err}");
    }
    Ok(())
}

#[test]
fn a_file_that_is_damaged_ends_a_copy_and_no_file_appears() -> Result<()> {
    let scenario = scene("export-bad", true)?;
    let segment = super::files(&scenario.job.backup_dir().join("intake"))?.pop().context("a segment")?;
    flip(&segment)?;
    let file = scenario.dir().join("copy.parquet");
    let path = file.display().to_string();
    let topics = ["--topic", "export-bad", "--topic", "export-bad-beside"];
    ended(&scenario.job, &[&["export"], &topics[..], &["--format", "parquet", "--output", &path]].concat(), 4)?;
    ensure!(!file.exists());
    Ok(())
}

#[test]
fn pyarrow_reads_the_files_with_the_keys_that_segments_prints_and_not_without() -> Result<()> {
    let scenario = scene("pyarrow-sealed", true)?;
    let topic = "pyarrow-sealed";
    scenario.client.produce(topic, &records(30..40))?;
    scenario.job.catch_up()?;
    let (entries, err) = ended(&scenario.job, &["segments", "--topic", topic, "--output", "json", "--with-keys"], 0)?;
    ensure!(err.contains("opens these files"), "who asks is warned: {err}");
    let (silent, _) = ended(&scenario.job, &["segments", "--topic", topic, "--output", "json"], 0)?;
    ensure!(!silent.contains("dataKey"), "who does not ask is given none: {silent}");
    let list: Vec<Value> = serde_json::from_str(&entries)?;
    let keys: std::collections::BTreeSet<&str> = list.iter().filter_map(|entry| entry["dataKey"].as_str()).collect();
    ensure!(keys.len() == list.len() && !list.is_empty(), "a key for each file: {}", list.len());
    let file = scenario.dir().join("entries.json");
    std::fs::write(&file, &entries)?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/encryption/read.py");
    let script = std::fs::read_to_string(script)?;
    let store = scenario.job.backup_dir().display().to_string();
    let entries = file.display().to_string();
    let printed = run_python(&script, &[&store, &entries])?;
    let read = by_place(printed.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?);
    let base64 = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| BASE64.encode(bytes));
    let held = scenario.client.read_all(topic)?;
    ensure!(read.len() == held.len(), "{} rows for {} records", read.len(), held.len());
    for record in &held {
        let row = &read[&(i64::from(record.partition), record.offset)];
        let found = (&row["topic"], &row["key"], &row["value"]);
        ensure!(found == (&json!(topic), &json!(base64(&record.key)), &json!(base64(&record.value))), "{row}");
    }
    // Each key opens its own file.
    let mut swapped = list.clone();
    ensure!(swapped.len() > 1, "two files at least");
    let key = swapped[0]["dataKey"].take();
    swapped[0]["dataKey"] = swapped[1]["dataKey"].take();
    swapped[1]["dataKey"] = key;
    std::fs::write(&file, serde_json::to_vec(&swapped)?)?;
    ensure!(run_python(&script, &[&store, &entries]).is_err(), "the key of another file opens none");

    ended(&scenario.job, &["segments", "--with-keys"], 2)?;
    let (_, err) = ended(&scenario.job, &["segments", "--output", "duckdb"], 2)?;
    ensure!(err.contains("export --format parquet"), "{err}");
    let open = scene("pyarrow-open", false)?;
    let (_, err) = ended(&open.job, &["segments", "--output", "json", "--with-keys"], 2)?;
    ensure!(err.contains("is not encrypted"), "{err}");
    Ok(())
}
