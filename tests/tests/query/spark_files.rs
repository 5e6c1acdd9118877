//! The scripts for Spark, and the tables of Athena, whose dialect of Hive Spark takes. It knows nothing of the projection in them:
//! partitions are looked for, as in any Hive.

use anyhow::Result;
use serde_json::{Value, json};
use strimzi_backup_tests::spark;

use super::scene::{RESTORE_TO, Scene, bytes, value};
use super::{Question, edited, example, picked, same};

pub(super) const QUESTIONS: &[Question] = &[
    ("spark/per_minute.py", per_minute),
    ("spark/key_at.py", key_at),
    ("spark/bad_deployment.py", bad_deployment),
    ("spark/lag_history.py", lag_history),
    ("athena/records-table.sql", records_table),
    ("athena/offsets-table.sql", offsets_table),
];

/// The table that a script shows of a topic.
fn ask(scene: &Scene, file: &str, topic: &str, arguments: &[&str]) -> Result<Vec<Value>> {
    let store = scene.store();
    spark::submit(&example(&format!("spark/{file}"))?, &[&[store.as_str(), topic][..], arguments].concat())
}

fn per_minute(scene: &Scene) -> Result<()> {
    let times = ["2026-02-13T01:10:00Z", "2026-02-13T01:12:00Z"];
    let rows = ask(scene, "per_minute.py", &scene.orders, &times)?;
    let [tenth, eleventh] = scene.two_minutes()?;
    let wanted = json!([
        ["2026-02-13 01:10:00", "12", bytes(&tenth).to_string()],
        ["2026-02-13 01:11:00", "10", bytes(&eleventh).to_string()],
    ]);
    same("per_minute.py", &picked(&rows, &["minute", "records", "bytes"]), &wanted)
}

fn key_at(scene: &Scene) -> Result<()> {
    let of = |key: &str, moment: &str| -> Result<Value> {
        Ok(picked(&ask(scene, "key_at.py", &scene.orders, &[key, moment])?, &["partition", "value"]))
    };
    same("before the bad release", &of("order-5", RESTORE_TO)?, &json!([["2", value(565)]]))?;
    same("the millisecond after", &of("order-0", "2026-02-13T01:30:00.250Z")?, &json!([["0", value(600)]]))?;
    same("a tombstone", &of("order-39", "2026-02-13T02:30:00Z")?, &json!([["0", null]]))?;
    same("not there yet", &of("order-5", "2026-02-13T00:30:00Z")?, &json!([]))
}

fn bad_deployment(scene: &Scene) -> Result<()> {
    let columns = ["first_bad", "last_bad", "bad_records", "restore_to"];
    let rows = ask(scene, "bad_deployment.py", &scene.orders, &["2026-02-13T00:00:00Z"])?;
    let (first, last) = ("2026-02-13 01:30:00.25", "2026-02-13 02:29:54.25");
    same("all of it", &picked(&rows, &columns), &json!([[first, last, "600", RESTORE_TO]]))?;
    let none = ask(scene, "bad_deployment.py", &scene.orders, &["2026-02-13T03:00:00Z"])?;
    same("after it", &picked(&none, &columns), &json!([[null, null, "0", null]]))
}

fn lag_history(scene: &Scene) -> Result<()> {
    let rows = ask(scene, "lag_history.py", &scene.payments, &[scene.group.as_str()])?;
    let wanted = json!([["0", "8", "12"], ["0", "30", "10"], ["0", "40", "0"]]);
    same("lag_history.py", &picked(&rows, &["partition", "committed", "lag"]), &wanted)
}

/// The rows of a question about a table, which is made by its file first.
fn ask_table(scene: &Scene, file: &str, repair: &str, question: &str) -> Result<Vec<Value>> {
    let own = format!("file://{}", scene.store());
    let table = edited(example(file)?, &[("s3://company-kafka-backup/production", own.as_str())])?;
    spark::sql(&[table.as_str(), repair, question])
}

/// Every field of every record.
fn records_table(scene: &Scene) -> Result<()> {
    let question = format!(
        "SELECT `partition`, `offset`, date_format(`timestamp`, 'yyyy-MM-dd HH:mm:ss.SSS') AS time, timestamp_type, key, value, \
         transform(headers, h -> h.key || '=' || CAST(h.value AS STRING)) AS headers \
         FROM records WHERE topic = '{}' ORDER BY lineage, `partition`, `offset`",
        scene.orders
    );
    let file = "athena/records-table.sql";
    scene.shown_by(file, &ask_table(scene, file, "MSCK REPAIR TABLE records", &question)?)
}

fn offsets_table(scene: &Scene) -> Result<()> {
    let question = format!(
        "SELECT topic, `partition`, `offset` FROM offsets WHERE group_id = '{}' AND kind = 'Commit' ORDER BY log_offset",
        scene.group
    );
    let rows = ask_table(scene, "athena/offsets-table.sql", "MSCK REPAIR TABLE offsets", &question)?;
    same("its commits", &picked(&rows, &["topic", "partition", "offset"]), &scene.commits())
}
