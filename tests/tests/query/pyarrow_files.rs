//! The scripts for pyarrow.

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strimzi_backup_tests::python::run_python;

use super::scene::{Scene, value};
use super::{Question, example, picked, same};

pub(super) const QUESTIONS: &[Question] = &[
    ("slice.py", slice),
    ("per_minute.py", per_minute),
    ("headers.py", headers),
    ("key_at.py", key_at),
    ("bad_deployment.py", bad_deployment),
];

/// The lines that a script prints about the orders.
fn ask(scene: &Scene, file: &str, arguments: &[&str]) -> Result<Vec<Value>> {
    let store = scene.store();
    let arguments = [&[store.as_str(), scene.orders.as_str()][..], arguments].concat();
    let printed = run_python(&example(&format!("pyarrow/{file}"))?, &arguments)?;
    printed.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

fn slice(scene: &Scene) -> Result<()> {
    let times = ["2026-02-13T01:10:00Z", "2026-02-13T01:12:00Z"];
    let base64 = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| STANDARD.encode(bytes));
    let wanted: Value = scene
        .slice(times[0], times[1])?
        .iter()
        .map(|record| json!([record.partition, record.offset, base64(&record.key), base64(&record.value)]))
        .collect();
    let rows = ask(scene, "slice.py", &times)?;
    same("slice.py", &picked(&rows, &["partition", "offset", "key", "value"]), &wanted)?;
    same("its first time", &rows[0]["timestamp"], &json!("2026-02-13T01:10:00.250+00:00"))
}

fn per_minute(scene: &Scene) -> Result<()> {
    let rows = ask(scene, "per_minute.py", &[])?;
    let records = scene.slice("2026-02-13T01:10:00Z", "2026-02-13T01:11:00Z")?;
    let bytes: usize = records.iter().filter_map(|record| record.value.as_ref()).map(Vec::len).sum();
    let minute: Vec<Value> =
        rows.iter().filter(|row| row["minute"] == json!("2026-02-13T01:10:00+00:00")).cloned().collect();
    same("a minute", &picked(&minute, &["records", "bytes"]), &json!([[12, bytes]]))?;
    let all: i64 = rows.iter().filter_map(|row| row["records"].as_i64()).sum();
    same("all minutes", &json!([rows.len(), all]), &json!([120, 1203]))
}

fn headers(scene: &Scene) -> Result<()> {
    let rows = ask(scene, "headers.py", &["trace", "trace-7"])?;
    let columns = ["partition", "offset", "keys"];
    same("headers.py", &picked(&rows, &columns), &json!([[1, 2, ["trace", "trace", "app-version"]]]))
}

fn key_at(scene: &Scene) -> Result<()> {
    let of = |key: &str, moment: &str| -> Result<Value> {
        Ok(picked(&ask(scene, "key_at.py", &[key, moment])?, &["partition", "value"]))
    };
    same("before the bad release", &of("order-5", "2026-02-13T01:30:00.249Z")?, &json!([[2, value(565)]]))?;
    same("the millisecond after", &of("order-0", "2026-02-13T01:30:00.250Z")?, &json!([[0, value(600)]]))?;
    same("a tombstone", &of("order-39", "2026-02-13T02:30:00Z")?, &json!([[0, null]]))?;
    same("not there yet", &of("order-5", "2026-02-13T00:30:00Z")?, &json!([]))
}

fn bad_deployment(scene: &Scene) -> Result<()> {
    let columns = ["bad_records", "restore_to"];
    let rows = ask(scene, "bad_deployment.py", &["2026-02-13T00:00:00Z"])?;
    same("all of it", &picked(&rows, &columns), &json!([[600, "2026-02-13T01:30:00.249Z"]]))?;
    let none = ask(scene, "bad_deployment.py", &["2026-02-13T03:00:00Z"])?;
    same("after it", &picked(&none, &columns), &json!([[0, null]]))
}
