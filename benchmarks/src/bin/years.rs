//! A year of history in fast motion, and a day of mixed traffic refined.
//!
//! `years log`: 10⁶ segments of ten topics over 365 days, named and not stored, sealed hour by hour: what a start, a plan over
//! five minutes, `inspect` and the plan of a prune cost. `years refine`: hours of one busy topic and a thousand quiet ones, as
//! they lie in intake, refined for real: CPU, and the files that come of it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use object_store::{ObjectStoreExt as _, PutPayload};
use strimzi_backup_benchmarks::counting::Counting;
use strimzi_backup_benchmarks::measure::{cpu_of, mib, peak_of};
use strimzi_backup_benchmarks::payload::Payload;
use strimzi_backup_benchmarks::table;
use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::identity::Identity;
use strimzi_backup_format::ids::{
    BackupId, ClusterId, LeaderEpoch, Lineage, Nonce, Offset, PartitionId, PartitionKey, Shard, TimestampMs, TopicName,
};
use strimzi_backup_format::job::Job;
use strimzi_backup_format::layout::{self, Origin, SegmentName, SegmentPlace};
use strimzi_backup_format::manifest::log::{self, Draft, LogWriter};
use strimzi_backup_format::manifest::{Claim, Frontier, LastRecord, PartitionPosition, Run, Segment, reader};
use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::record::{RecordRef, TimestampType};
use strimzi_backup_format::seal;
use strimzi_backup_format::segment::batch::BatchBuilder;
use strimzi_backup_format::segment::encode::{Codec, EncodeOptions, RunInput, SegmentWriter, encode_row_group};
use strimzi_backup_format::slice::Slice;
use strimzi_backup_format::store::Store;
use strimzi_backup_streamer::budget::Budget;
use strimzi_backup_streamer::clock::{Clock as _, SystemClock};
use strimzi_backup_streamer::inspect::{self, Prices};
use strimzi_backup_streamer::metrics::Metrics;
use strimzi_backup_streamer::pipeline::produce::{Pool, Workshop};
use strimzi_backup_streamer::{prune, refine};
use tokio::sync::Semaphore;

const HOUR_MS: i64 = 3_600_000;
const TOPICS: usize = 10;
/// A commit every five minutes with a segment of each topic: 114 segments an hour, 10⁶ a year.
const COMMIT_MS: i64 = 315_000;
/// Sealed so rarely to be written in minutes; a streamer seals every hour.
const SEAL_MS: i64 = 12 * HOUR_MS;

#[tokio::main]
async fn main() -> Result<()> {
    let what = std::env::args().nth(1).unwrap_or_else(|| "all".to_owned());
    ensure!(["all", "log", "refine"].contains(&what.as_str()), "years [log|refine]");
    if what != "refine" {
        year().await?;
    }
    if what != "log" {
        refined().await?;
    }
    Ok(())
}

fn nonce(number: u64) -> Nonce {
    Nonce::new(uuid::Uuid::from_u128(u128::from(number)))
}

async fn claimed(store: &Store, name: &str, at: TimestampMs) -> Result<LogWriter> {
    let backup = BackupId::new(uuid::Uuid::from_u128(1));
    let identity = Identity::new(backup, name, ClusterId::new("cluster"), at);
    log::create_identity(store, &identity).await?;
    let empty = reader::open(store, Shard::ONLY).await?.context("a log")?;
    let mut writer = LogWriter::new(store.clone(), Shard::ONLY, empty);
    let claim = Claim { writer: "bench".to_owned(), software: "0".to_owned() };
    let claim = writer.prepare_claim(claim, nonce(0), at)?;
    writer.commit(&claim).await?;
    Ok(writer)
}

fn key(topic: &str, partition: i32) -> Result<PartitionKey> {
    let topic = TopicName::new(topic)?;
    Ok(PartitionKey { topic, lineage: Lineage::FIRST, partition: PartitionId::new(partition) })
}

fn position(run: &Run) -> PartitionPosition {
    let next = run.range.next_offset();
    PartitionPosition {
        topic: run.topic.clone(),
        lineage: run.lineage,
        partition: run.partition,
        next_offset: next,
        last_record: Some(LastRecord { offset: Offset::new(next.get() - 1), leader_epoch: run.leader_epoch }),
        highest_timestamp: Some(run.max_timestamp),
    }
}

/// Writes the year, and measures what reading it costs.
async fn year() -> Result<()> {
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
    let mut writer = claimed(store, "year", begin).await?;
    let (mut at, mut number, mut offset, mut sealed) = (begin, 1_u64, 0_i64, Bucket::of(begin));
    let mut count = 0;
    while at < now {
        let segments = (0..TOPICS).map(|topic| named(&writer, topic, offset, at)).collect::<Result<Vec<_>>>()?;
        for segment in &segments {
            // What a listing shows.
            store.inner.put(&segment.object.below(&store.prefix), PutPayload::default()).await?;
        }
        count += segments.len() as u64;
        let positions = segments.iter().flat_map(|segment| &segment.runs).map(position).collect();
        let frontier = Frontier { until: Some(at), ..Frontier::default() };
        let draft = Draft { segments, positions, frontier, ..Draft::default() };
        let prepared = writer.prepare(draft, nonce(number), at)?;
        writer.commit(&prepared).await?;
        (number, offset, at) = (number + 1, offset + 100, at.plus_millis(COMMIT_MS));
        if writer.checkpoint_is_due() {
            writer.checkpoint().await?;
        }
        let hour = Bucket::of(at);
        if Bucket::of(at.plus_millis(-SEAL_MS)) > sealed {
            writer.checkpoint().await?;
            while let Some(order) = writer.to_seal(hour) {
                let done = seal::seal(order).await?;
                writer.sealed(done);
            }
            sealed = hour;
        }
    }
    // As a streamer that idles.
    let frontier = Frontier { until: Some(now), ..Frontier::default() };
    let draft = Draft { frontier, ..Draft::default() };
    let prepared = writer.prepare(draft, nonce(number), now)?;
    writer.commit(&prepared).await?;
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
    let place = SegmentPlace::Topic(name, run.bucket);
    let (epoch, sequence) = (writer.epoch(), writer.next_sequence());
    let name = SegmentName { shard: Shard::ONLY, epoch, sequence, number: topic, origin: Origin::Cut };
    let object = layout::segment(&place, name);
    let sha256 = Sha256::of(object.as_str().as_bytes());
    let (bytes, footer_bytes, rows, raw_bytes) = (40_000, 2_000, 100, 100_000);
    Ok(Segment { object, bytes, sha256, footer_bytes, footer_sha256: sha256, rows, raw_bytes, runs: vec![run] })
}

/// Cuts of one commit interval: so much of the busy topic, and one record of each quiet one every minute.
const CUTS: i64 = 720;
const BUSY_BYTES: usize = 640 << 10;
const QUIET: i32 = 1000;
const CUT_MS: i64 = 5000;

/// An hour of mixed traffic, as it lies in intake, refined.
async fn refined() -> Result<()> {
    let store = Store::memory();
    let begin = Bucket::of(SystemClock.now().plus_millis(-2 * HOUR_MS)).end();
    let mut writer = claimed(&store, "mixed", begin).await?;
    let options = EncodeOptions::new(writer.state().backup, Codec::Zstd(1))?;
    let mut payload = Payload::new(1024, 7);
    let (mut next, mut raw) = (std::collections::BTreeMap::<PartitionKey, i64>::new(), 0_u64);
    for cut in 0..CUTS {
        let at = begin.plus_millis(cut * CUT_MS);
        let segment = cut_of(&writer, &options, &mut payload, (cut, at), &mut next)?;
        raw += segment.1.raw_bytes;
        let payload: PutPayload = segment.0.into_iter().collect();
        store.inner.put(&segment.1.object.below(&store.prefix), payload).await?;
        let positions = segment.1.runs.iter().map(position).collect();
        let frontier = Frontier { until: Some(at), ..Frontier::default() };
        let draft = Draft { segments: vec![segment.1], positions, frontier, ..Draft::default() };
        let prepared = writer.prepare(draft, nonce(u64::try_from(cut)? + 1), at)?;
        writer.commit(&prepared).await?;
        if writer.checkpoint_is_due() {
            writer.checkpoint().await?;
        }
    }
    writer.checkpoint().await?;
    let shop = Arc::new(Workshop {
        store: store.clone(),
        options,
        shard: Shard::ONLY,
        epoch: writer.epoch(),
        encoders: Semaphore::new(4),
        pool: Pool::Blocking,
        clock: Arc::new(SystemClock),
        metrics: Arc::new(Metrics::new()),
    });
    // What a streamer with the default memoryBudget has for records.
    let budget = Arc::new(Budget::new(192 << 20));
    let (mut files, mut cpu, mut wall) = (Vec::new(), Duration::ZERO, Duration::ZERO);
    let numbers = Arc::new(AtomicUsize::new(0));
    while let Some(order) = refine::Order::new(writer.state(), writer.blocks_to_refine()) {
        let limits = refine::Limits::of(&budget);
        let charge = limits.charge(&budget).context("room")?;
        let (before, started) = (cpu_of(std::process::id())?, Instant::now());
        let done = refine::refine(Arc::clone(&shop), order, (limits, charge), Arc::clone(&numbers)).await?;
        cpu += cpu_of(std::process::id())?.saturating_sub(before);
        wall += started.elapsed();
        files.extend(done.segments.iter().map(|segment| (segment.runs[0].topic.clone(), segment.bytes)));
        let frontier = writer.state().frontier.clone();
        let draft = Draft { refined: Some(done), frontier, ..Draft::default() };
        let prepared = writer.prepare(draft, nonce(1_000_000), begin.plus_millis(HOUR_MS))?;
        writer.commit(&prepared).await?;
    }
    let busy: Vec<u64> = files.iter().filter(|(topic, _)| topic.as_str() == "busy").map(|(_, bytes)| *bytes).collect();
    let (sum, large): (u64, u64) = (busy.iter().sum(), busy.iter().filter(|bytes| **bytes >= 32 << 20).sum());
    println!();
    table::head(&["an hour of mixed traffic refined", ""]);
    let rows = [
        ("raw MiB", format!("{:.0}", mib(raw))),
        ("intake segments", CUTS.to_string()),
        (
            "files of the busy topic",
            format!("{} of {:?} MiB", busy.len(), busy.iter().map(|b| b >> 20).collect::<Vec<_>>()),
        ),
        ("its bytes in files of 32 MiB and more", format!("{:.0} %", 100.0 * large as f64 / sum.max(1) as f64)),
        ("files of quiet topics", (files.len() - busy.len()).to_string()),
        ("CPU seconds", format!("{:.1}", cpu.as_secs_f64())),
        ("raw MiB per CPU second", format!("{:.0}", mib(raw) / cpu.as_secs_f64())),
        ("seconds of wall time", format!("{:.1}", wall.as_secs_f64())),
        ("peak MiB of the process, the store in memory included", format!("{:.0}", mib(peak_of(std::process::id())?))),
    ];
    rows.into_iter().for_each(|(what, value)| table::row(&[what.to_owned(), value]));
    Ok(())
}

type Cut = (Vec<bytes::Bytes>, Segment);

/// The intake segment of one cut.
fn cut_of(
    writer: &LogWriter,
    options: &EncodeOptions,
    payload: &mut Payload,
    (cut, at): (i64, TimestampMs),
    next: &mut std::collections::BTreeMap<PartitionKey, i64>,
) -> Result<Cut> {
    let busy_rows = i64::try_from(BUSY_BYTES / 1024)?;
    let mut inputs = vec![input(key("busy", 0)?, busy_rows, at, payload, next)?];
    // Each quiet topic has a partition, and a record a minute, spread over the cuts.
    for topic in (0..QUIET).filter(|topic| i64::from(*topic) % 12 == cut % 12) {
        inputs.push(input(key(&format!("quiet-{topic:04}"), 0)?, 1, at, payload, next)?);
    }
    let quiet = inputs.split_off(1);
    let mut file = SegmentWriter::new(options)?;
    file.append(encode_row_group(options, inputs)?)?;
    file.append(encode_row_group(options, quiet)?)?;
    let encoded = file.finish()?;
    let (epoch, sequence) = (writer.epoch(), writer.next_sequence());
    let name = SegmentName { shard: Shard::ONLY, epoch, sequence, number: 0, origin: Origin::Cut };
    let object = layout::segment(&SegmentPlace::Intake(Bucket::of(at)), name);
    let segment = Segment {
        object,
        bytes: encoded.bytes,
        sha256: encoded.sha256,
        footer_bytes: encoded.footer_bytes,
        footer_sha256: encoded.footer_sha256,
        rows: encoded.rows,
        raw_bytes: encoded.raw_bytes,
        runs: encoded.runs,
    };
    Ok((encoded.parts, segment))
}

fn input(
    key: PartitionKey,
    rows: i64,
    at: TimestampMs,
    payload: &mut Payload,
    next: &mut std::collections::BTreeMap<PartitionKey, i64>,
) -> Result<RunInput> {
    let mut builder = BatchBuilder::new(rows > 1);
    let base = next.entry(key.clone()).or_default();
    for row in 0..rows {
        builder.append(&RecordRef {
            offset: Offset::new(*base + row),
            timestamp: at.plus_millis(row * CUT_MS / rows),
            timestamp_type: TimestampType::CreateTime,
            leader_epoch: LeaderEpoch::new(0),
            key: Some(b"key-000000001"),
            value: Some(payload.value().as_bytes()),
            headers: &[],
        });
    }
    let range = OffsetRange::new(Offset::new(*base), Offset::new(*base + rows))?;
    *base += rows;
    Ok(RunInput { key, range, bucket: Bucket::of(at), batches: vec![builder.finish()] })
}
