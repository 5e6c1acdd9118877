//! What is asked: orders over two hours, of which a bad release wrote the second, and payments that a group reads too slowly.

use std::ops::Range;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use strimzi_backup_format::ids::TimestampMs;
use strimzi_backup_tests::client::{ReadRecord, Record};
use strimzi_backup_tests::scenario::{Scenario, moment};
use strimzi_backup_tests::streamer::PATIENCE;
use strimzi_backup_tests::wait;

use super::{picked, same};

/// When the first order is written: 2026-02-13T00:30:00.250Z. One follows every six seconds.
const BEGIN: i64 = 1_770_942_600_250;

/// Orders that are written, the second half by the bad release.
const ORDERS: usize = 1200;

/// Keys of orders: each is written again and again.
pub(super) const KEYS: usize = 40;

/// The last millisecond before the bad release.
pub(super) const RESTORE_TO: &str = "2026-02-13T01:30:00.249Z";

/// A backup in whose store everything lies under `topics/`.
pub(super) struct Scene {
    pub(super) scenario: Scenario,
    /// The topic of orders: 3 partitions, JSON, headers; a tombstone, and two late records that are no JSON.
    pub(super) orders: String,
    /// The topic of payments: 1 partition, written now.
    pub(super) payments: String,
    /// Reads payments: commits 8 of the first 20, then 30 and 40 of 40.
    pub(super) group: String,
    /// Between its first commit and its second.
    pub(super) between: String,
}

impl Scene {
    /// Fills a broker and backs it up. The topics' names begin with `name`.
    pub(super) fn new(name: &str) -> Result<Self> {
        let mut scenario = Scenario::shared(name)?;
        // One cut, at the end: then every hour of a topic has enough for a segment of its own.
        scenario.job = scenario
            .job
            .set("/backup/commitInterval", json!("1m"))
            .set("/backup/heartbeatInterval", json!("1m"))
            .set("/backup/topicSegmentBytes", json!("64Ki"));
        let [orders, payments, group] = ["orders", "payments", "billing"].map(|what| format!("{name}-{what}"));
        scenario.client.create_topic(&orders, 3, &[("retention.ms", "-1")])?;
        scenario.client.create_topic(&payments, 1, &[])?;
        scenario.client.produce(&orders, &all_orders()?)?;
        let commit = |offset: i64| scenario.client.commit_offsets(&group, &[(payments.as_str(), 0, offset)]);
        scenario.client.produce(&payments, &payments_of(0..20))?;
        commit(8)?;
        let between = moment()?;
        scenario.client.produce(&payments, &payments_of(20..40))?;
        commit(30)?;
        moment()?;
        commit(40)?;
        let last = moment()?;
        let scene = Self { orders, payments, group, between, scenario };
        scene.back_up(&last)?;
        Ok(scene)
    }

    fn back_up(&self, until: &str) -> Result<()> {
        let until = millis(until)?;
        wait::wait_until("a backup of one cut that covers groups", PATIENCE, || {
            self.scenario.job.catch_up()?;
            if !self.scenario.backup()?.objects()?.iter().all(|object| object.starts_with("topics/")) {
                // A broker that pauses makes two cuts of it, and the little that comes after the pause goes to intake.
                std::fs::remove_dir_all(self.store()).context("remove a backup of two cuts")?;
                return Ok(false);
            }
            Ok(self.scenario.job.inspect()?["groups"]["until"].as_i64().is_some_and(|covered| covered >= until))
        })
    }

    /// The folder of the storage prefix.
    pub(super) fn store(&self) -> String {
        self.scenario.job.backup_dir().display().to_string()
    }

    /// The orders as a consumer reads them, in the order of partitions and offsets.
    pub(super) fn read(&self) -> Result<Vec<ReadRecord>> {
        self.scenario.client.read_all(&self.orders)
    }

    /// The orders of a slice of time, in the same order.
    pub(super) fn slice(&self, since: &str, until: &str) -> Result<Vec<ReadRecord>> {
        let (since, until) = (millis(since)?, millis(until)?);
        let mut records = self.read()?;
        records.retain(|record| (since..until).contains(&record.timestamp));
        Ok(records)
    }

    /// The orders of two minutes: 12 and 10.
    pub(super) fn two_minutes(&self) -> Result<[Vec<ReadRecord>; 2]> {
        let times = ["2026-02-13T01:10:00Z", "2026-02-13T01:11:00Z", "2026-02-13T01:12:00Z"];
        Ok([self.slice(times[0], times[1])?, self.slice(times[1], times[2])?])
    }

    /// What the group committed, in order: topic, partition, offset.
    pub(super) fn commits(&self) -> Value {
        [8, 30, 40].iter().map(|offset| json!([self.payments, 0, offset])).collect()
    }

    /// Insists that these rows of a table are the orders, in their order, field by field: bytes in base64, headers as
    /// `name=value`, the time as SQL writes it in UTC.
    pub(super) fn shown_by(&self, table: &str, rows: &[Value]) -> Result<()> {
        let columns = ["partition", "offset", "time", "timestamp_type", "key", "value", "headers"];
        let found = picked(rows, &columns);
        let wanted: Value = self.read()?.iter().map(fields).collect();
        ensure!(rows.len() == ORDERS + 3, "{table} shows {} records", rows.len());
        same(table, &found, &wanted)
    }
}

/// The fields of a record as [`Scene::shown_by`] has them.
fn fields(record: &ReadRecord) -> Value {
    let base64 = |bytes: &Option<Vec<u8>>| bytes.as_ref().map(|bytes| STANDARD.encode(bytes));
    let time = TimestampMs::new(record.timestamp).to_rfc3339().replace('T', " ");
    let header = |(name, value): &(Vec<u8>, Option<Vec<u8>>)| -> Option<String> {
        Some(format!("{}={}", text(Some(name.as_slice()))?, text(value.as_deref())?))
    };
    let headers: Vec<Option<String>> = record.headers.iter().map(header).collect();
    json!([
        record.partition,
        record.offset,
        time.trim_end_matches('Z'),
        record.timestamp_type,
        base64(&record.key),
        base64(&record.value),
        headers,
    ])
}

/// Channel, records, orders and amount. Of 40 orders, 14 came by the web, 13 by each of the others; each had 15 versions that cost
/// something.
pub(super) fn by_channel() -> Value {
    let unknown = json!([null, 2, 0, null]);
    json!([["app", 390, 13, "3997.50"], ["store", 390, 13, "4192.50"], ["web", 420, 14, "4410.00"], unknown])
}

/// Bytes of the values of records.
pub(super) fn bytes(records: &[ReadRecord]) -> usize {
    records.iter().filter_map(|record| record.value.as_ref()).map(Vec::len).sum()
}

/// Milliseconds of an instant.
pub(super) fn millis(time: &str) -> Result<i64> {
    Ok(TimestampMs::from_rfc3339(time)?.get())
}

/// Bytes as text; nothing where they are none, or no UTF-8.
pub(super) fn text(bytes: Option<&[u8]>) -> Option<String> {
    bytes.and_then(|bytes| String::from_utf8(bytes.to_vec()).ok())
}

/// The order of that number: a new version of order `number % KEYS`.
pub(super) fn order(number: usize) -> Record {
    let (key, version) = (number % KEYS, number / KEYS);
    let bad = number >= ORDERS / 2;
    let release: &[u8] = if bad { b"2.4.1" } else { b"2.4.0" };
    let amount = if bad { "0.00".to_owned() } else { format!("{}.50", key + 1) };
    let status = ["placed", "paid", "packed", "delivered"][version % 4];
    let channel = ["web", "app", "store"][key % 3];
    let value = json!({
        "order": key,
        "status": status,
        "channel": channel,
        "total": {"amount": amount, "currency": "EUR"},
        "note": "x".repeat(300),
    });
    Record::new(format!("order-{key}"), value.to_string())
        .partition(i32::try_from(key % 3).unwrap_or(0))
        .timestamp(BEGIN + 6000 * i64::try_from(number).unwrap_or(0))
        .header("trace", Some(format!("trace-{number}").as_bytes()))
        .header("app-version", Some(release))
}

/// The value of an order, as text.
pub(super) fn value(number: usize) -> Option<String> {
    text(order(number).value.as_deref())
}

fn all_orders() -> Result<Vec<Record>> {
    let mut records: Vec<Record> = (0..ORDERS).map(order).collect();
    records[7].headers.insert(1, (b"trace".to_vec(), Some(b"retry-7".to_vec())));
    records.push(Record::tombstone("order-39").partition(0).timestamp(millis("2026-02-13T02:29:59.900Z")?));
    let late = millis("2026-02-13T01:10:00.500Z")?;
    records.push(Record::new("broken", vec![0xff, 0xfe]).partition(1).timestamp(late));
    records.push(Record::new("text", "not json").partition(1).timestamp(late + 1000));
    Ok(records)
}

fn payments_of(numbers: Range<usize>) -> Vec<Record> {
    let payment = |number: usize| json!({"payment": number, "note": "x".repeat(4000)}).to_string();
    numbers.map(|number| Record::new(format!("payment-{number}"), payment(number)).partition(0)).collect()
}
