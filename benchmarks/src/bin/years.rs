//! A year of history in fast motion: 10⁶ segments of ten topics over 365 days, named and not stored, sealed hour by hour: what a
//! start, a plan over five minutes, `inspect` and the plan of a prune cost.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use object_store::{ObjectStoreExt as _, PutPayload};
use strimzi_backup_benchmarks::counting::Counting;
use strimzi_backup_benchmarks::measure::{mib, peak_of};
use strimzi_backup_benchmarks::table;
use strimzi_backup_benchmarks::writer::{VirtualWriter, key};
use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::ids::{LeaderEpoch, Offset, PartitionKey, Shard, TimestampMs};
use strimzi_backup_format::job::Job;
use strimzi_backup_format::layout::{self, Origin, SegmentName, SegmentPlace};
use strimzi_backup_format::manifest::log::LogWriter;
use strimzi_backup_format::manifest::{Run, Segment, reader};
use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::slice::Slice;
use strimzi_backup_format::store::Store;
use strimzi_backup_streamer::clock::{Clock as _, SystemClock};
use strimzi_backup_streamer::inspect::{self, Prices};
use strimzi_backup_streamer::prune;

const HOUR_MS: i64 = 3_600_000;
const TOPICS: usize = 10;
/// A commit every five minutes with a segment of each topic: 114 segments an hour, 10⁶ a year.
const COMMIT_MS: i64 = 315_000;
/// Sealed so rarely to be written in minutes; a streamer seals every hour.
const SEAL_MS: i64 = 12 * HOUR_MS;

#[tokio::main]
async fn main() -> Result<()> {
    let store = Store::memory();
    let now = SystemClock.now();
    let begin = now.plus_millis(-365 * 24 * HOUR_MS);
    let started = Instant::now();
    let segments = write_year(&store, begin, now).await?;
    println!("{segments} segments of {TOPICS} topics in 365 days, written in {:.0?}\n", started.elapsed());
    table::head(&["a year of history", "requests", "MiB read", "seconds", "peak MiB of the process"]);
    let (counting, counted) = Counting::new(Arc::clone(&store.inner));
    let counting = store.with_inner(Arc::new(counting));
    let row = |what: &str, seconds: f64| -> Result<()> {
        let (requests, bytes) = counted.take();
        let peak = mib(peak_of(std::process::id())?);
        let cells = [what.to_owned(), requests.to_string(), format!("{:.2}", mib(bytes))];
        table::row(&[&cells[..], &[format!("{seconds:.3}"), format!("{peak:.0}")]].concat());
        Ok(())
    };
    let started = Instant::now();
    let log = reader::open(&counting, Shard::ONLY).await?.context("a log")?;
    row("start: read the log", started.elapsed().as_secs_f64())?;
    let selected = |key: &PartitionKey| key.topic.as_str() == "topic-3";
    let from = begin.plus_millis(200 * 24 * HOUR_MS + 600_000);
    let until = Some(from.plus_millis(300_000 - 1));
    let slice = Slice { selected: &selected, ends: None, from: Some(from), until };
    let started = Instant::now();
    let touched = slice.find(&counting, &log).await?;
    row(
        &format!("plan of 5 minutes, once the log is read: {} segments", touched.len()),
        started.elapsed().as_secs_f64(),
    )?;
    let started = Instant::now();
    drop(inspect::run(&counting, Prices::default(), Duration::from_secs(30), now).await?);
    row("inspect", started.elapsed().as_secs_f64())?;
    let job: Job =
        "name: year\ncluster: {bootstrapServers: 'a:1'}\nstorage: {type: filesystem, filesystem: {path: /y}}\n\
                    retention: {maxAge: 30d}"
            .parse()?;
    let started = Instant::now();
    drop(prune::run(&counting, &job, true, &SystemClock).await?);
    row("plan of a prune", started.elapsed().as_secs_f64())
}

async fn write_year(store: &Store, begin: TimestampMs, now: TimestampMs) -> Result<u64> {
    let mut writer = VirtualWriter::claim(store, "year", begin).await?;
    let (mut at, mut offset, mut sealed) = (begin, 0_i64, Bucket::of(begin));
    let mut count = 0;
    while at < now {
        let segments = (0..TOPICS).map(|topic| named(writer.log(), topic, offset, at)).collect::<Result<Vec<_>>>()?;
        for segment in &segments {
            // What a listing shows.
            store.inner.put(&segment.object.below(&store.prefix), PutPayload::default()).await?;
        }
        count += segments.len() as u64;
        writer.add(segments, at).await?;
        (offset, at) = (offset + 100, at.plus_millis(COMMIT_MS));
        let hour = Bucket::of(at);
        if Bucket::of(at.plus_millis(-SEAL_MS)) > sealed {
            writer.seal(hour).await?;
            sealed = hour;
        }
    }
    // As a streamer that idles.
    writer.add(Vec::new(), now).await?;
    writer.checkpoint().await?;
    Ok(count)
}

/// A segment of a hundred records of one topic, by name alone.
fn named(writer: &LogWriter, topic: usize, offset: i64, at: TimestampMs) -> Result<Segment> {
    let PartitionKey { topic: name, lineage, partition } = key(&format!("topic-{topic}"), 0)?;
    let run = Run {
        topic: name.clone(),
        lineage,
        partition,
        range: OffsetRange::new(Offset::new(offset), Offset::new(offset + 100))?,
        row_group: 0,
        first_row: 0,
        rows: 100,
        largest_record: 1000,
        min_timestamp: at,
        max_timestamp: at.plus_millis(COMMIT_MS - 1),
        leader_epoch: LeaderEpoch::new(0),
        bucket: Bucket::of(at),
    };
    let place = SegmentPlace::Topic(name.into(), run.bucket);
    let (epoch, sequence) = (writer.epoch(), writer.next_sequence());
    let name = SegmentName { shard: Shard::ONLY, epoch, sequence, number: topic, origin: Origin::Cut };
    let object = layout::segment(&place, name);
    let sha256 = Sha256::of(object.as_str().as_bytes());
    let (bytes, footer_bytes, rows, raw_bytes) = (40_000, 2_000, 100, 100_000);
    Ok(Segment { object, bytes, sha256, footer_bytes, footer_sha256: sha256, rows, raw_bytes, runs: vec![run] })
}
