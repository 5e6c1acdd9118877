//! The files for DuckDB, over globs and over exactly the files that count.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::client::ReadRecord;
use strimzi_backup_tests::duckdb;
use strimzi_backup_tests::streamer::Job;

use super::scene::{KEYS, RESTORE_TO, Scene, by_channel, bytes, text, value};
use super::{Question, example, picked, same};

/// What the others ask.
pub(super) const VIEWS: &[&str] = &["records-view.sql", "offsets-view.sql"];

pub(super) const QUESTIONS: &[Question] = &[
    ("topics.sql", topics),
    ("slice.sql", slice),
    ("per-minute.sql", per_minute),
    ("json-fields.sql", json_fields),
    ("headers.sql", headers),
    ("key-at.sql", key_at),
    ("key-history.sql", key_history),
    ("state-at.sql", state_at),
    ("bad-deployment.sql", bad_deployment),
    ("damage.sql", damage),
    ("lag-history.sql", lag_history),
    ("groups-at.sql", groups_at),
    ("duplicates.sql", duplicates),
];

/// The views over globs.
fn views(scene: &Scene) -> Result<String> {
    let files: Result<String> = VIEWS.iter().map(|file| example(&format!("duckdb/{file}"))).collect();
    Ok(format!("SET VARIABLE backup = '{}';\n{}", scene.store(), files?))
}

/// The view over exactly the files that count, made as docs/query.md says.
pub(super) fn view_of_segments(job: &Job) -> Result<String> {
    let sql = job.segments(&["--output", "duckdb"])?;
    ensure!(sql.starts_with("SELECT"), "{sql}");
    Ok(format!("CREATE OR REPLACE VIEW records AS {sql}"))
}

/// The rows of a file, asked of these views.
pub(super) fn ask_of(views: &str, file: &str, variables: &[(&str, &str)]) -> Result<Vec<Value>> {
    let set: String = variables.iter().map(|(name, value)| format!("SET VARIABLE {name} = '{value}';\n")).collect();
    duckdb::query(&format!("{views}\n{set}\n{}", example(&format!("duckdb/{file}"))?))
}

/// The rows of a file about the orders, asked of globs.
fn ask(scene: &Scene, file: &str, variables: &[(&str, &str)]) -> Result<Vec<Value>> {
    let variables = [&[("topic", scene.orders.as_str())][..], variables].concat();
    ask_of(&views(scene)?, file, &variables)
}

fn topics(scene: &Scene) -> Result<()> {
    let rows = ask(scene, "topics.sql", &[])?;
    let orders = scene.read()?;
    let keys: usize = orders.iter().filter_map(|record| record.key.as_ref()).map(Vec::len).sum();
    let (first, last) = ("2026-02-13 00:30:00.250000+00:00", "2026-02-13 02:29:59.900000+00:00");
    let wanted = json!([[scene.orders, 0, 3, orders.len(), keys + bytes(&orders), first, last]]);
    let columns = ["topic", "lineage", "partitions", "records", "bytes", "first", "last"];
    same("the orders", &picked(&rows[..1], &columns), &wanted)?;
    same("all", &picked(&rows, &["topic", "records"]), &json!([[scene.orders, 1203], [scene.payments, 40]]))
}

fn slice(scene: &Scene) -> Result<()> {
    let (since, until) = ("2026-02-13T01:10:00Z", "2026-02-13T01:12:00Z");
    let rows = ask(scene, "slice.sql", &[("since", since), ("until", until)])?;
    let shown = |record: &ReadRecord| {
        let (key, value) = (text(record.key.as_deref()), text(record.value.as_deref()));
        json!([record.partition, record.offset, key, value])
    };
    let wanted: Value = scene.slice(since, until)?.iter().map(shown).collect();
    same("slice.sql", &picked(&rows, &["partition", "offset", "key", "value"]), &wanted)
}

fn per_minute(scene: &Scene) -> Result<()> {
    let (since, until) = ("2026-02-13T01:10:00Z", "2026-02-13T01:12:00Z");
    let rows = ask(scene, "per-minute.sql", &[("since", since), ("until", until)])?;
    let [tenth, eleventh] = scene.two_minutes()?;
    let wanted =
        json!([["2026-02-13 01:10:00", 12, bytes(&tenth), 0], ["2026-02-13 01:11:00", 10, bytes(&eleventh), 0]]);
    same("per-minute.sql", &picked(&rows, &["minute", "records", "bytes", "tombstones"]), &wanted)?;
    let end = [("since", "2026-02-13T02:29:00Z"), ("until", "2026-02-13T02:30:00Z")];
    let rows = ask(scene, "per-minute.sql", &end)?;
    same("the last minute", &picked(&rows, &["records", "tombstones"]), &json!([[11, 1]]))
}

fn json_fields(scene: &Scene) -> Result<()> {
    let rows = ask(scene, "json-fields.sql", &[])?;
    same("json-fields.sql", &picked(&rows, &["channel", "records", "orders", "amount"]), &by_channel())
}

fn headers(scene: &Scene) -> Result<()> {
    for value in ["trace-7", "retry-7"] {
        let wanted = [("header", "trace"), ("header_value", value), ("other_header", "app-version")];
        let rows = ask(scene, "headers.sql", &wanted)?;
        same(value, &picked(&rows, &["partition", "offset", "key", "other"]), &json!([[1, 2, "order-7", "2.4.0"]]))?;
    }
    Ok(())
}

fn key_at(scene: &Scene) -> Result<()> {
    let of = |key: &str, moment: &str| -> Result<Value> {
        let rows = ask(scene, "key-at.sql", &[("key", key), ("moment", moment)])?;
        Ok(picked(&rows, &["partition", "value"]))
    };
    same("before the bad release", &of("order-5", RESTORE_TO)?, &json!([[2, value(565)]]))?;
    same("the millisecond after", &of("order-0", "2026-02-13T01:30:00.250Z")?, &json!([[0, value(600)]]))?;
    same("a tombstone", &of("order-39", "2026-02-13T02:30:00Z")?, &json!([[0, null]]))?;
    same("not there yet", &of("order-5", "2026-02-13T00:30:00Z")?, &json!([]))
}

fn key_history(scene: &Scene) -> Result<()> {
    let rows = ask(scene, "key-history.sql", &[("key", "order-5")])?;
    let wanted: Value = (0..30).map(|version| json!([2, value(5 + version * KEYS)])).collect();
    same("key-history.sql", &picked(&rows, &["partition", "value"]), &wanted)?;
    same("how long they stood", &json!([rows[0]["stood"], rows[29]["stood"]]), &json!(["0:04:00", null]))
}

/// The last version of each order before the bad release, by key.
fn good(key: usize) -> Option<String> {
    value(560 + key)
}

fn state_at(scene: &Scene) -> Result<()> {
    let rows = ask(scene, "state-at.sql", &[("moment", RESTORE_TO)])?;
    let mut wanted: Vec<(String, Option<String>)> = (0..KEYS).map(|key| (format!("order-{key}"), good(key))).collect();
    wanted.push(("broken".to_owned(), None));
    wanted.push(("text".to_owned(), Some("not json".to_owned())));
    wanted.sort();
    same("before the bad release", &picked(&rows, &["key", "value"]), &json!(wanted))?;
    let rows = ask(scene, "state-at.sql", &[("moment", "2026-02-13T02:30:00Z")])?;
    let deleted = rows.iter().find(|row| row["key"] == json!("order-39"));
    ensure!(rows.len() == 41 && deleted.is_none(), "{} rows, and what was deleted: {deleted:?}", rows.len());
    Ok(())
}

fn bad_deployment(scene: &Scene) -> Result<()> {
    let rows = ask(scene, "bad-deployment.sql", &[("since", "2026-02-13T00:00:00Z")])?;
    let (first, last) = ("2026-02-13 01:30:00.250000+00:00", "2026-02-13 02:29:54.250000+00:00");
    let columns = ["first_bad", "last_bad", "bad_records", "restore_to"];
    same("bad-deployment.sql", &picked(&rows, &columns), &json!([[first, last, 600, RESTORE_TO]]))
}

fn damage(scene: &Scene) -> Result<()> {
    let rows = ask(scene, "damage.sql", &[("moment", RESTORE_TO)])?;
    let mut wanted: Vec<(String, i64, Option<String>, Option<String>)> =
        (0..39).map(|key| (format!("order-{key}"), 15, good(key), value(1160 + key))).collect();
    wanted.push(("order-39".to_owned(), 16, good(39), None));
    wanted.sort();
    same("damage.sql", &picked(&rows, &["key", "writes", "before", "now"]), &json!(wanted))
}

fn lag_history(scene: &Scene) -> Result<()> {
    let variables = [("topic", scene.payments.as_str()), ("group_id", scene.group.as_str())];
    let rows = ask_of(&views(scene)?, "lag-history.sql", &variables)?;
    same(
        "lag-history.sql",
        &picked(&rows, &["partition", "committed", "lag"]),
        &json!([[0, 8, 12], [0, 30, 10], [0, 40, 0]]),
    )?;
    let oldest = [&rows[0]["oldest_unread"], &rows[2]["oldest_unread"]];
    ensure!(oldest[0].is_string() && oldest[1].is_null(), "{oldest:?}");
    Ok(())
}

/// Other tests' groups may be in the same broker.
fn groups_at(scene: &Scene) -> Result<()> {
    for (moment, offset) in [(scene.between.as_str(), 8), ("2100-01-01T00:00:00Z", 40)] {
        let mut rows = ask(scene, "groups-at.sql", &[("moment", moment)])?;
        rows.retain(|row| row["group_id"] == json!(scene.group));
        same(moment, &picked(&rows, &["topic", "partition", "offset"]), &json!([[scene.payments, 0, offset]]))?;
    }
    Ok(())
}

/// A file that a crash left shows its records twice in a glob, and not in what `segments` prints.
fn duplicates(scene: &Scene) -> Result<()> {
    same("nothing yet", &json!(ask(scene, "duplicates.sql", &[])?), &json!([]))?;
    let objects = scene.scenario.backup()?.objects()?;
    let of_payments = format!("/topic={}/", scene.payments);
    let object = objects.iter().find(|object| object.contains(&of_payments)).context("a segment of payments")?;
    let file = scene.scenario.job.backup_dir().join(object);
    std::fs::copy(&file, file.with_file_name("0000-0000000001-00000000000000000099-0000.parquet"))?;
    let rows = ask(scene, "duplicates.sql", &[])?;
    let wanted = json!({"topic": scene.payments, "lineage": 0, "partition": 0, "offset": 0, "times": 2});
    ensure!(rows.len() == 40 && rows[0] == wanted, "{} rows, first {:?}", rows.len(), rows.first());
    let exact = ask_of(&view_of_segments(&scene.scenario.job)?, "duplicates.sql", &[])?;
    same("exactly the files that count", &json!(exact), &json!([]))
}

/// Every field of every record, as these views show them.
fn everything(views: &str) -> Result<Vec<Value>> {
    let columns = "topic, lineage, \"partition\", \"offset\", \"timestamp\", timestamp_type, \"key\", \"value\", \
                   headers::VARCHAR AS headers";
    duckdb::query(&format!("{views}\nSELECT {columns} FROM records ORDER BY topic, lineage, \"partition\", \"offset\""))
}

#[test]
fn a_glob_over_topics_and_segments_show_the_same_and_segments_shows_intake_too() -> Result<()> {
    let scene = Scene::new("exact")?;
    let by_glob = everything(&views(&scene)?)?;
    ensure!(by_glob.len() == 1243, "{} records", by_glob.len());
    ensure!(
        everything(&view_of_segments(&scene.scenario.job)?)? == by_glob,
        "segments shows other records than a glob"
    );
    let store = scene.scenario.dir().join("intake-only");
    let job = scene.scenario.job.clone().set("/storage/filesystem/path", json!(store));
    let job = job.set("/backup/topicSegmentBytes", json!("16Mi"));
    job.catch_up()?;
    ensure!(!store.join("topics").exists(), "not all is in intake");
    ensure!(everything(&view_of_segments(&job)?)? == by_glob, "intake holds other records than topics/");
    Ok(())
}
