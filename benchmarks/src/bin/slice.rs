//! What a slice of five minutes costs in requests and bytes, by the length of the history and the size of segments.
//!
//! The slice begins and ends within a segment. Its own bytes are its share of the rows of each segment that it touches.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use strimzi_backup_benchmarks::counting::{Counted, Counting};
use strimzi_backup_benchmarks::history::{History, INTERVAL_MS, START};
use strimzi_backup_benchmarks::measure::mib;
use strimzi_backup_benchmarks::table;
use strimzi_backup_format::ids::{PartitionKey, Shard};
use strimzi_backup_format::manifest::reader;
use strimzi_backup_format::segment::slice::SliceReader;
use strimzi_backup_format::slice::{Slice, Touched};
use strimzi_backup_format::store::Store;

/// Five minutes.
const SLICE_MS: i64 = 300_000;

#[tokio::main]
async fn main() -> Result<()> {
    table::head(&[
        "segments",
        "MiB each",
        "wanted",
        "planning: requests",
        "MiB",
        "segments touched",
        "requests",
        "MiB fetched",
        "MiB of the slice",
        "fetched / slice",
    ]);
    for (segments, rows) in [(1_000, 2000), (100_000, 2000), (1_000, 200)] {
        let middle = segments / 2;
        let history = History { segments, rows, legible: middle..middle + 62 };
        let store = Store::memory();
        history.write(&store).await?;
        for topic in [None, Some("orders")] {
            measure(&store, &history, topic).await?;
        }
    }
    Ok(())
}

async fn measure(store: &Store, history: &History, topic: Option<&str>) -> Result<()> {
    let (counting, counted) = Counting::new(Arc::clone(&store.inner));
    let store = store.with_inner(Arc::new(counting));
    // From the middle of a segment to the middle of another.
    let from = START.plus_millis(i64::try_from(history.legible.start)? * INTERVAL_MS + INTERVAL_MS / 2);
    let selected = |key: &PartitionKey| topic.is_none_or(|topic| key.topic.as_str() == topic);
    let until = Some(from.plus_millis(SLICE_MS - 1));
    let slice = Slice { selected: &selected, ends: None, from: Some(from), until };
    let log = reader::open(&store, Shard::ONLY).await?.context("a log")?;
    let touched = slice.find(&store, &log).await?;
    let (planning, planned_bytes) = counted.take();
    let first = touched.first().context("a segment")?;
    let (each, segments) = (first.segment.bytes, touched.len());
    let (requests, fetched, wanted) = read(&store, &counted, touched).await?;
    table::row(&[
        history.segments.to_string(),
        format!("{:.2}", mib(each)),
        topic.map_or("all of it", |_| "one of two topics").to_owned(),
        planning.to_string(),
        format!("{:.2}", mib(planned_bytes)),
        segments.to_string(),
        requests.to_string(),
        format!("{:.1}", mib(fetched)),
        format!("{wanted:.1}"),
        format!("{:.2}", mib(fetched) / wanted),
    ]);
    Ok(())
}

/// Reads all of it: requests, bytes fetched, and MiB of the slice.
async fn read(store: &Store, counted: &Counted, touched: Vec<Touched>) -> Result<(u64, u64, f64)> {
    let mut wanted = 0.0;
    for one in touched {
        let (bytes, rows) = (one.segment.bytes, one.segment.rows);
        let mut reader = SliceReader::open(store, one.segment, one.wanted).await?;
        let mut read = 0_u64;
        while let Some(group) = reader.next_group().await? {
            for row in group {
                row?;
                read += 1;
            }
        }
        wanted += mib(bytes) * read as f64 / rows as f64;
    }
    let (requests, bytes) = counted.take();
    Ok((requests, bytes, wanted))
}
