//! pyarrow and DuckDB read the same records from the segments as a consumer reads from Kafka.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::client::{ReadRecord, Record};
use strimzi_backup_tests::duckdb;
use strimzi_backup_tests::python::run_python;
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::scenario::{Scenario, numbered, shows_none_of};

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A record as a query shows it: bytes in hexadecimal, headers that are text as pairs.
fn expected(record: &ReadRecord) -> Value {
    let text = record.headers.iter().all(|(key, _)| std::str::from_utf8(key).is_ok());
    let headers: Vec<Value> = record
        .headers
        .iter()
        .map(|(key, value)| json!({"key": String::from_utf8_lossy(key), "value": value.as_deref().map(hex)}))
        .collect();
    json!({
        "partition": record.partition,
        "offset": record.offset,
        "timestamp": record.timestamp,
        "type": record.timestamp_type,
        "key": record.key.as_deref().map(hex),
        "value": record.value.as_deref().map(hex),
        "headers": if text { json!(headers) } else { Value::Null },
    })
}

fn assert_equal(found: &[Value], wanted: &[Value], who: &str) -> Result<()> {
    ensure!(found.len() == wanted.len(), "{who} reads {} records, a consumer {}", found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        let (mut found, mut wanted) = (found.clone(), wanted.clone());
        if wanted["headers"].is_null() {
            found["headers"] = Value::Null;
        }
        // An empty list of headers and none are the same to Kafka.
        for side in [&mut found, &mut wanted] {
            if side["headers"].as_array().is_some_and(Vec::is_empty) {
                side["headers"] = Value::Null;
            }
        }
        ensure!(found == wanted, "{who}\nreads {found}\nKafka {wanted}");
    }
    Ok(())
}

/// Two topics with segments of their own, of which the second holds odd records, and one whose odd records lie in intake.
struct Filled {
    scenario: Scenario,
    big: String,
    odd: String,
    small: String,
}

fn filled(name: &str) -> Result<Filled> {
    let scenario = Scenario::shared(name)?;
    let [big, odd, small] = ["big", "odd", "small"].map(|kind| format!("{name}-{kind}"));
    scenario.client.create_topic(&big, 3, &[])?;
    scenario.client.create_topic(&odd, 1, &[])?;
    scenario.client.create_topic(&small, 1, &[])?;
    let records: Vec<Record> = (0..4000)
        .map(|n| Record::new(format!("key-{n}"), format!("{{\"order\": {n}}}").repeat(10)).header("n", Some(b"1")))
        .collect();
    scenario.client.produce(&big, &records)?;
    let bare = || Record { partition: Some(0), ..Record::default() };
    let odd_records = [
        bare(),
        Record { key: Some(Vec::new()), value: Some(Vec::new()), ..bare() },
        Record { key: Some(b"tombstone".to_vec()), ..bare() },
        bare().header("same", Some(b"1")).header("same", None).header("same", Some(b"")),
        bare().header(b"\xff".to_vec(), Some(b"1")),
        bare().timestamp(1),
        bare().timestamp(1_700_000_000_123),
        Record { value: Some(vec![0, 255, 10]), ..bare() },
    ];
    scenario.client.produce(&small, &odd_records)?;
    let weight = Record { value: Some(vec![b'x'; 100_000]), ..bare() };
    scenario.client.produce(&odd, &[&odd_records[..], &[weight]].concat())?;
    scenario.job.clone().set("/backup/topicSegmentBytes", json!("64Ki")).catch_up()?;
    let filled = Filled { scenario, big, odd, small };
    let own = filled.files("topics/")?;
    let has_own = |topic: &str| own.iter().any(|path| path.display().to_string().contains(&format!("/topic={topic}/")));
    ensure!(has_own(&filled.big) && has_own(&filled.odd) && !has_own(&filled.small), "{own:?}");
    Ok(filled)
}

impl Filled {
    fn files(&self, below: &str) -> Result<Vec<PathBuf>> {
        let objects = self.scenario.backup()?.objects()?;
        let files = objects.iter().filter(|object| object.starts_with(below));
        Ok(files.map(|object| self.scenario.job.backup_dir().join(object)).collect())
    }

    /// The folder of all topic segments.
    fn topics(&self) -> PathBuf {
        self.scenario.job.backup_dir().join("topics")
    }

    /// What a consumer reads, without the headers of records whose headers no query engine can show.
    fn consumer_view(&self, topic: &str) -> Result<Vec<Value>> {
        Ok(self.scenario.client.read_all(topic)?.iter().map(expected).collect())
    }
}

fn list(files: &[PathBuf]) -> String {
    let quoted: Vec<String> = files.iter().map(|file| format!("'{}'", file.display())).collect();
    format!("[{}]", quoted.join(", "))
}

#[test]
fn duckdb_reads_what_a_consumer_reads_with_hive_partitioning() -> Result<()> {
    let filled = filled("duck")?;
    let columns = "\"partition\", \"offset\", epoch_ms(timestamp) AS timestamp, timestamp_type AS type, key, value, \
                   headers::STRUCT(key VARCHAR, value BLOB)[] AS headers";
    let glob = filled.topics().join("**/*.parquet");
    let order = "ORDER BY \"partition\", \"offset\"";
    for topic in [&filled.big, &filled.odd] {
        // The topic is a column of the files and a key of their folders.
        let sql = format!(
            "SELECT {columns} FROM read_parquet('{}', hive_partitioning = true) WHERE topic = '{topic}' AND date <= \
             current_date {order}",
            glob.display()
        );
        assert_equal(&plain(duckdb::query(&sql)?)?, &filled.consumer_view(topic)?, "DuckDB")?;
    }
    let intake = list(&filled.files("intake/")?);
    let small = &filled.small;
    let sql = format!("SELECT {columns} FROM read_parquet({intake}) WHERE topic = '{small}' {order}");
    assert_equal(&plain(duckdb::query(&sql)?)?, &filled.consumer_view(small)?, "DuckDB")?;
    let types = duckdb::query(&format!("DESCRIBE SELECT * FROM read_parquet({intake})"))?;
    let of = |name: &str| {
        let column = types.iter().find(|column| column["column_name"] == name);
        column.and_then(|column| column["column_type"].as_str()).unwrap_or_default().to_owned()
    };
    ensure!(of("timestamp") == "TIMESTAMP WITH TIME ZONE", "timestamp is {}", of("timestamp"));
    ensure!(of("key") == "BLOB" && of("offset") == "BIGINT" && of("topic") == "VARCHAR", "{types:?}");
    Ok(())
}

#[test]
fn duckdb_runs_what_segments_prints_of_an_s3_store() -> Result<()> {
    let server = S3Server::start()?;
    let scenario = Scenario::shared("remote")?;
    for topic in ["remote-wanted", "remote-other"] {
        scenario.client.create_topic(topic, 1, &[])?;
        scenario.client.produce(topic, &numbered(0..300))?;
    }
    let job = scenario.job.clone().into_s3(&server, "deep/prefix");
    job.catch_up()?;
    let sql = job.segments(&["--topic", "remote-wanted", "--output", "duckdb"])?;
    shows_none_of(&sql, &[server.access_key(), server.secret_key()])?;
    // The keys alone: region, endpoint and the style of its URLs are in what was printed.
    let mut keys = server.environment();
    keys.retain(|(name, _)| ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].contains(&name.as_str()));
    let mut rows = duckdb::query_s3(&sql, &keys)?;
    rows.sort_by_key(|row| row["offset"].as_i64());
    let wanted = scenario.client.read_all("remote-wanted")?;
    ensure!(rows.len() == wanted.len(), "{} records of {}", rows.len(), wanted.len());
    for (row, record) in rows.iter().zip(&wanted) {
        let held = (&row["topic"], &row["offset"], &row["value"]);
        let read = (&json!("remote-wanted"), &json!(record.offset), &json!(record.value.as_deref().map(hex)));
        ensure!(held == read, "DuckDB reads {held:?}\nKafka {read:?}");
    }
    Ok(())
}

/// The rows of a query in the shape of [`expected`]: DuckDB's millisecond count may come as text.
fn plain(rows: Vec<Value>) -> Result<Vec<Value>> {
    let mut rows = rows;
    for row in &mut rows {
        if let Some(text) = row["timestamp"].as_str() {
            row["timestamp"] = json!(text.parse::<i64>().context("milliseconds")?);
        }
    }
    Ok(rows)
}

const PYARROW: &str = r"
import json, sys
import pyarrow as pa, pyarrow.compute as pc, pyarrow.dataset as ds
topic, hive, paths = sys.argv[1], sys.argv[2] == 'hive', sys.argv[3:]
dataset = ds.dataset(paths[0], format='parquet', partitioning='hive') if hive else ds.dataset(paths, format='parquet')
table = dataset.to_table(filter=pc.field('topic') == topic)
table = table.sort_by([('partition', 'ascending'), ('offset', 'ascending')])
show = lambda data: None if data is None else bytes(data).hex()
millis = table['timestamp'].cast(pa.int64()).to_pylist()
rows = []
for row, timestamp in zip(table.to_pylist(), millis):
    headers = row['headers']
    rows.append({'partition': row['partition'], 'offset': row['offset'], 'timestamp': timestamp,
                 'type': row['timestamp_type'], 'key': show(row['key']), 'value': show(row['value']),
                 'headers': None if headers is None else [{'key': h['key'], 'value': show(h['value'])} for h in headers]})
print(json.dumps(rows))
";

#[test]
fn pyarrow_reads_what_a_consumer_reads() -> Result<()> {
    let filled = filled("arrow")?;
    let root = filled.topics().display().to_string();
    for topic in [&filled.big, &filled.odd] {
        let rows: Vec<Value> = serde_json::from_str(&run_python(PYARROW, &[topic, "hive", &root])?)?;
        assert_equal(&rows, &filled.consumer_view(topic)?, "pyarrow")?;
    }
    let intake: Vec<String> = filled.files("intake/")?.iter().map(|path| path.display().to_string()).collect();
    let small = filled.small.as_str();
    let arguments: Vec<&str> = [small, "files"].into_iter().chain(intake.iter().map(String::as_str)).collect();
    let rows: Vec<Value> = serde_json::from_str(&run_python(PYARROW, &arguments)?)?;
    assert_equal(&rows, &filled.consumer_view(small)?, "pyarrow")
}

#[test]
fn every_compression_is_read_by_both() -> Result<()> {
    let scenario = Scenario::shared("codec")?;
    scenario.client.create_topic("codec", 1, &[])?;
    let records: Vec<Record> = (0..500).map(|n| Record::new(format!("{n}"), "x".repeat(n)).partition(0)).collect();
    scenario.client.produce("codec", &records)?;
    let bytes: usize = (0..500).sum();
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let store = scenario.dir().join(compression);
        let job = scenario.job.clone().set("/backup/compression", json!(compression));
        job.set("/storage/filesystem/path", json!(store)).catch_up()?;
        let glob = format!("{}/intake/**/*.parquet", store.display());
        let sql = format!("SELECT count(*) AS n, sum(octet_length(value)) AS bytes FROM read_parquet('{glob}')");
        let row = duckdb::query(&sql)?.into_iter().next().context("a row")?;
        ensure!(row["n"] == json!(500), "{compression}: {row}");
        ensure!(row["bytes"] == json!(bytes) || row["bytes"] == json!(bytes.to_string()), "{compression}: {row}");
        // Counting alone would ask the footers.
        let script = "import sys, pyarrow.dataset as ds\n\
                      values = ds.dataset(sys.argv[1]).to_table(columns=['value'])['value'].to_pylist()\n\
                      print(len(values), sum(map(len, values)))";
        let found = run_python(script, &[&format!("{}/intake", store.display())])?;
        ensure!(found.trim() == format!("500 {bytes}"), "{compression}: {found}");
    }
    Ok(())
}
