//! The files for Trino and Athena on Trino, over a bucket that is called as they say: its tables are made by their text alone.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::scenario::copy_dir;
use strimzi_backup_tests::trino::Trino;

use super::scene::{RESTORE_TO, Scene, by_channel, bytes, value};
use super::{Question, edited, example, picked, same};

/// The tables that the others ask, which are asked themselves as well.
const TABLES: [&str; 2] = ["trino/records-table.sql", "trino/offsets-table.sql"];

pub(super) const QUESTIONS: &[Question<Lake>] = &[
    (TABLES[0], records_table),
    (TABLES[1], offsets_table),
    ("athena/per-minute.sql", per_minute),
    ("athena/json-fields.sql", json_fields),
    ("athena/headers.sql", headers),
    ("athena/key-at.sql", key_at),
    ("athena/bad-deployment.sql", bad_deployment),
    ("athena/lag-history.sql", lag_history),
    ("athena/groups-at.sql", groups_at),
];

/// A scene in a bucket, and Trino over it.
pub(super) struct Lake {
    scene: Scene,
    trino: Trino,
    // Goes after who reads it.
    _store: S3Server,
}

impl Lake {
    pub(super) fn new(name: &str) -> Result<Self> {
        let scene = Scene::new(name)?;
        let store = S3Server::start()?;
        copy_dir(&scene.scenario.job.backup_dir(), &store.root_dir().join("company-kafka-backup/production"))?;
        let trino = Trino::start(&store)?;
        for table in TABLES {
            trino.query(&example(table)?).with_context(|| format!("examples/query: {table}"))?;
        }
        Ok(Self { scene, trino, _store: store })
    }

    /// The rows of a file about this scene's topics and group, with more that it says to edit.
    fn ask(&self, file: &str, edits: &[(&str, &str)]) -> Result<Vec<Value>> {
        let mut sql = example(file)?;
        let (orders, payments) = (format!("'{}'", self.scene.orders), format!("'{}'", self.scene.payments));
        let group = format!("'{}'", self.scene.group);
        for (name, own) in [("'orders'", &orders), ("'payments'", &payments), ("'billing'", &group)] {
            sql = sql.replace(name, own);
        }
        self.trino.query(&edited(sql, edits)?)
    }
}

/// Every field of every record, of a topic that a query has to name.
fn records_table(lake: &Lake) -> Result<()> {
    let sql = format!(
        "SELECT \"partition\", \"offset\", CAST(\"timestamp\" AS varchar) AS time, timestamp_type, \"key\", \"value\", \
         transform(headers, h -> h.\"key\" || '=' || from_utf8(h.\"value\")) AS headers \
         FROM records WHERE topic = '{}' AND date >= '2026-02-13' ORDER BY lineage, \"partition\", \"offset\"",
        lake.scene.orders
    );
    lake.scene.shown_by("trino/records-table.sql", &lake.trino.query(&sql)?)?;
    let of_all = lake.trino.query("SELECT count(*) FROM records").err().context("no topic is named, and it answers")?;
    ensure!(of_all.to_string().contains("'topic'"), "refused for another reason: {of_all:#}");
    Ok(())
}

fn offsets_table(lake: &Lake) -> Result<()> {
    let sql = format!(
        "SELECT topic, \"partition\", \"offset\" FROM offsets \
         WHERE group_id = '{}' AND kind = 'Commit' AND date >= '2026-02-13' ORDER BY log_offset",
        lake.scene.group
    );
    let rows = lake.trino.query(&sql)?;
    same("its commits", &picked(&rows, &["topic", "partition", "offset"]), &lake.scene.commits())
}

fn per_minute(lake: &Lake) -> Result<()> {
    let rows = lake.ask("athena/per-minute.sql", &[])?;
    let [tenth, eleventh] = lake.scene.two_minutes()?;
    let wanted = json!([
        ["2026-02-13 01:10:00.000", 12, bytes(&tenth), 0],
        ["2026-02-13 01:11:00.000", 10, bytes(&eleventh), 0],
    ]);
    same("per-minute.sql", &picked(&rows, &["minute", "records", "bytes", "tombstones"]), &wanted)
}

fn json_fields(lake: &Lake) -> Result<()> {
    let rows = lake.ask("athena/json-fields.sql", &[])?;
    same("json-fields.sql", &picked(&rows, &["channel", "records", "orders", "amount"]), &by_channel())
}

fn headers(lake: &Lake) -> Result<()> {
    for other in ["'trace-7'", "'retry-7'"] {
        let rows = lake.ask("athena/headers.sql", &[("'trace-7'", other)])?;
        let columns = ["partition", "offset", "key", "app_version"];
        same(other, &picked(&rows, &columns), &json!([[1, 2, "order-7", "2.4.0"]]))?;
    }
    Ok(())
}

fn key_at(lake: &Lake) -> Result<()> {
    let of = |edits: &[(&str, &str)]| -> Result<Value> {
        Ok(picked(&lake.ask("athena/key-at.sql", edits)?, &["partition", "value"]))
    };
    same("before the bad release", &of(&[])?, &json!([[2, value(565)]]))?;
    let after = of(&[("'order-5'", "'order-0'"), ("01:30:00'", "01:30:00.250'")])?;
    same("the millisecond after", &after, &json!([[0, value(600)]]))?;
    let deleted = of(&[("'order-5'", "'order-39'"), ("01:30:00'", "02:30:00'")])?;
    same("a tombstone", &deleted, &json!([[0, null]]))?;
    same("not there yet", &of(&[("01:30:00'", "00:30:00'")])?, &json!([]))
}

fn bad_deployment(lake: &Lake) -> Result<()> {
    let rows = lake.ask("athena/bad-deployment.sql", &[])?;
    let (first, last) = ("2026-02-13 01:30:00.250", "2026-02-13 02:29:54.250");
    let columns = ["first_bad", "last_bad", "bad_records", "restore_to"];
    same("bad-deployment.sql", &picked(&rows, &columns), &json!([[first, last, 600, RESTORE_TO]]))
}

fn lag_history(lake: &Lake) -> Result<()> {
    let rows = lake.ask("athena/lag-history.sql", &[])?;
    let wanted = json!([[0, 8, 12], [0, 30, 10], [0, 40, 0]]);
    same("lag-history.sql", &picked(&rows, &["partition", "committed", "lag"]), &wanted)?;
    let oldest = [&rows[0]["oldest_unread"], &rows[2]["oldest_unread"]];
    ensure!(oldest[0].is_string() && oldest[1].is_null(), "{oldest:?}");
    Ok(())
}

/// Other tests' groups may be in the same broker.
fn groups_at(lake: &Lake) -> Result<()> {
    let between = lake.scene.between.replace('T', " ");
    for (moment, offset) in [(between.trim_end_matches('Z'), 8), ("2100-01-01 00:00:00", 40)] {
        let mut rows = lake.ask("athena/groups-at.sql", &[("2027-01-01 00:00:00", moment)])?;
        rows.retain(|row| row["group_id"] == json!(lake.scene.group));
        let wanted = json!([[lake.scene.payments, 0, offset]]);
        same(moment, &picked(&rows, &["topic", "partition", "offset"]), &wanted)?;
    }
    Ok(())
}
