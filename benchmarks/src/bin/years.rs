//! A year of history in fast motion: 10⁶ segments of ten topics over 365 days, named and not stored, sealed hour by hour: what a
//! start, a plan over five minutes, `inspect` and the plan of a prune cost. Each is carried out by a process of its own, over an image of
//! that store on disk: what it holds at its peak is what the command takes.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use object_store::{ObjectStoreExt as _, PutPayload};
use strimzi_backup_benchmarks::counting::Counting;
use strimzi_backup_benchmarks::image::{self, Image};
use strimzi_backup_benchmarks::measure::{mib, peak_of, run_for_output};
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
use strimzi_backup_streamer::cost::Prices;
use strimzi_backup_streamer::inspect;
use strimzi_backup_streamer::prune;
use strimzi_backup_tests::run_dir::RunDir;

const HOUR_MS: i64 = 3_600_000;
const DAYS: i64 = 365;
/// Of the prune.
const JOB: &str = "name: year\ncluster: {bootstrapServers: 'a:1'}\nstorage: {type: filesystem, filesystem: {path: /y}}\n\
                   retention: {maxAge: 30d}";
const TOPICS: usize = 10;
/// A commit every five minutes with a segment of each topic: 114 segments an hour, 10⁶ a year.
const COMMIT_MS: i64 = 315_000;
/// Sealed so rarely to be written in minutes; a streamer seals every hour.
const SEAL_MS: i64 = 12 * HOUR_MS;

/// What is measured, each in a process of its own, and how it is called there.
const MEASURED: [&str; 5] = ["start", "open", "plan", "inspect", "prune"];

#[tokio::main]
async fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [] => measure_all().await,
        [what, folder] => measure(what, Path::new(folder)).await,
        _ => bail!("years takes no arguments but from itself"),
    }
}

/// Writes the year, and has each command measured.
async fn measure_all() -> Result<()> {
    let dir = RunDir::new("years")?;
    let now = SystemClock.now();
    let begin = now.plus_millis(-DAYS * 24 * HOUR_MS);
    let started = Instant::now();
    let store = Store::memory();
    let segments = write_year(&store, begin, now).await?;
    image::write(store.inner.as_ref(), dir.path()).await?;
    drop(store);
    println!("{segments} segments of {TOPICS} topics in {DAYS} days, written in {:.0?}\n", started.elapsed());
    table::head(&["a year of history, each in a process of its own", "requests", "MiB read", "seconds", "peak MiB"]);
    for what in MEASURED {
        let mut command = Command::new(std::env::current_exe()?);
        // As the streamer: not a heap of glibc for each thread.
        command.arg(what).arg(dir.path()).env("MALLOC_ARENA_MAX", "1");
        print!("{}", run_for_output(&mut command)?.1);
    }
    Ok(())
}

/// Prints the row of one command, which is all that this process does.
async fn measure(what: &str, folder: &Path) -> Result<()> {
    let (counting, counted) = Counting::new(Arc::new(Image::open(folder)?));
    let store = Store::memory().with_inner(Arc::new(counting));
    let started = Instant::now();
    let done = carry_out(what, &store).await?;
    let seconds = started.elapsed().as_secs_f64();
    let (requests, bytes) = counted.take();
    // Of this program since it began; what the kernel says of a process that has ended counts its parent's in.
    let peak = mib(peak_of(std::process::id())?);
    table::row(&[
        done,
        requests.to_string(),
        format!("{:.2}", mib(bytes)),
        format!("{seconds:.3}"),
        format!("{peak:.0}"),
    ]);
    Ok(())
}

/// Carries a command out, and says what it was.
async fn carry_out(what: &str, store: &Store) -> Result<String> {
    match what {
        "start" => {
            reader::open_to_write(store, Shard::ONLY).await?.context("a log")?;
            Ok("start: the log, to go on writing".to_owned())
        }
        "open" => {
            reader::open(store, Shard::ONLY).await?.context("a log")?;
            Ok("the log, for who only reads; 4 requests are up to the newest checkpoint".to_owned())
        }
        "plan" => {
            let segments = plan(store).await?;
            Ok(format!("plan of 5 minutes of one topic, log included: {segments} segments"))
        }
        "inspect" => {
            inspect::run(store, Prices::default(), Duration::from_secs(30), SystemClock.now()).await?;
            Ok("inspect".to_owned())
        }
        "prune" => {
            let job: Job = JOB.parse()?;
            prune::run(store, &job, true, &SystemClock).await?;
            Ok("plan of a prune".to_owned())
        }
        other => bail!("{other} is not measured"),
    }
}

/// The segments of five minutes of a topic, in the middle of the year.
async fn plan(store: &Store) -> Result<usize> {
    let log = reader::open(store, Shard::ONLY).await?.context("a log")?;
    let selected = |key: &PartitionKey| key.topic.as_str() == "topic-3";
    let from = SystemClock.now().plus_millis(-DAYS * 12 * HOUR_MS + 600_000);
    let until = Some(from.plus_millis(300_000 - 1));
    let slice = Slice { selected: &selected, ends: None, from: Some(from), until };
    let found = slice.find(store, &log).await?;
    ensure!(!found.is_empty(), "there are records in these five minutes");
    Ok(found.len())
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
    // As a streamer that idles: the newest manifest is as old as its clock says.
    writer.add(Vec::new(), SystemClock.now()).await?;
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
