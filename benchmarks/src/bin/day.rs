//! A day of mixed traffic in fast motion: cut, encoded, committed and refined as a streamer does it, then asked by DuckDB.
//!
//! One busy topic and a thousand quiet ones, in a directory. Each hour is refined when it is over, which is what the CPU time is
//! of, and sealed. The questions are of one topic and five minutes in the middle of the day; where DuckDB finds other records than
//! were written, this ends with an error. `day 2` makes two hours.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use object_store::local::LocalFileSystem;
use serde_json::json;
use strimzi_backup_benchmarks::measure::{cpu_of, mib, peak_of};
use strimzi_backup_benchmarks::mixed::{BUSY, CUT_MS, Mixed, NOTED_LINE, Noted};
use strimzi_backup_benchmarks::table;
use strimzi_backup_benchmarks::writer::VirtualWriter;
use strimzi_backup_format::bucket::{BUCKET_MILLIS, Bucket};
use strimzi_backup_format::ids::{Shard, TimestampMs, TopicName};
use strimzi_backup_format::job::Job;
use strimzi_backup_format::manifest::log::Draft;
use strimzi_backup_format::manifest::{Frontier, Refined};
use strimzi_backup_format::segment::encode::{Codec, EncodeOptions};
use strimzi_backup_format::state::Totals;
use strimzi_backup_format::store::{self, Store};
use strimzi_backup_streamer::budget::{Budget, Charge};
use strimzi_backup_streamer::clock::SystemClock;
use strimzi_backup_streamer::metrics::Metrics;
use strimzi_backup_streamer::pipeline::plan::{Policy, plan};
use strimzi_backup_streamer::pipeline::produce::{self, Pool, Workshop};
use strimzi_backup_streamer::refine;
use strimzi_backup_streamer::segments::{self, Format};
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::{duckdb, parts};
use tokio::sync::Semaphore;

/// 2026-02-13T00:00:00Z.
const BEGIN: TimestampMs = TimestampMs::new(1_770_940_800_000);
const DAY_HOURS: i64 = 24;
const CUTS_AN_HOUR: i64 = BUCKET_MILLIS / CUT_MS;

/// The questions are of five minutes, which begin and end in the middle of what a cut brought.
const SLICE_AFTER_MS: i64 = 602_500;
const SLICE_MS: i64 = 300_000;

/// A file of this size and more is a large one.
const LARGE_BYTES: u64 = 32 << 20;

/// How often DuckDB answers each question, after a first time that does not count.
const ROUNDS: usize = 5;

const RECORDS_VIEW: &str = include_str!("../../../examples/query/duckdb/records-view.sql");

#[tokio::main]
async fn main() -> Result<()> {
    let hours = std::env::args().nth(1).map_or(Ok(DAY_HOURS), |hours| hours.parse::<i64>())?;
    ensure!((1..=DAY_HOURS).contains(&hours), "day [hours], from 1 to {DAY_HOURS}");
    // Before minutes of work, not after them.
    parts::part("python")?;
    let dir = RunDir::new("day")?;
    let path = dir.path().join("backup");
    let job = json!({
        "cluster": {"bootstrapServers": "a:1"},
        "storage": {"type": "filesystem", "filesystem": {"path": path}},
    });
    let job: Job = job.to_string().parse()?;
    let opened = store::open_to_write(&job.storage)?;
    // Written without fsync: here CPU is measured, and the disk does not matter.
    let store = opened.with_inner(Arc::new(LocalFileSystem::new_with_prefix(&path)?));
    let started = Instant::now();
    let mut day = Day::begin(store, &job, hours).await?;
    for hour in 0..hours {
        day.hour(hour).await?;
    }
    day.writer.checkpoint().await?;
    println!("{hours} hours of mixed traffic, written and refined in {:.0?}\n", started.elapsed());
    day.sums.print(hours)?;
    println!();
    ask(&day.shop.store, &job, &path, &day.noted).await
}

/// A day under way.
struct Day {
    writer: VirtualWriter,
    shop: Arc<Workshop<SystemClock>>,
    budget: Arc<Budget>,
    policy: Policy,
    traffic: Mixed,
    noted: Noted,
    /// Counts refined files.
    numbers: Arc<AtomicUsize>,
    sums: Sums,
}

impl Day {
    async fn begin(store: Store, job: &Job, hours: i64) -> Result<Self> {
        let traffic = Mixed::new(BEGIN)?;
        let mut writer = VirtualWriter::claim(&store, &job.name, BEGIN).await?;
        let draft = Draft { topics: traffic.topics(), frontier: captured(BEGIN), ..Draft::default() };
        writer.commit(draft, BEGIN).await?;
        let shop = Workshop {
            store,
            options: EncodeOptions::new(writer.log().state().backup, Codec::Zstd(1))?,
            shard: Shard::ONLY,
            epoch: writer.log().epoch(),
            encoders: Semaphore::new(job.backup.parallelism.get()),
            uploads: Semaphore::new(job.backup.parallelism.get()),
            pool: Pool::Blocking,
            clock: Arc::new(SystemClock),
            metrics: Arc::new(Metrics::new()),
        };
        let policy = Policy {
            segment_bytes: usize::try_from(job.backup.segment_bytes)?,
            topic_segment_bytes: usize::try_from(job.backup.topic_segment_bytes)?,
        };
        let since = BEGIN.plus_millis(hours / 2 * BUCKET_MILLIS + SLICE_AFTER_MS);
        Ok(Self {
            writer,
            shop: Arc::new(shop),
            // What a streamer with the default memoryBudget has for records.
            budget: Arc::new(Budget::new(192 << 20)),
            policy,
            traffic,
            noted: Noted::new(since..since.plus_millis(SLICE_MS)),
            numbers: Arc::default(),
            sums: Sums::default(),
        })
    }

    /// Writes an hour to intake, then refines and seals it.
    async fn hour(&mut self, hour: i64) -> Result<()> {
        for cut in 0..CUTS_AN_HOUR {
            self.cut(hour * CUTS_AN_HOUR + cut).await?;
        }
        let end = BEGIN.plus_millis((hour + 1) * BUCKET_MILLIS);
        self.writer.checkpoint().await?;
        while let Some(order) = refine::Order::new(self.writer.log().state(), self.writer.log().blocks_to_refine()) {
            self.refine(order, end).await?;
        }
        self.writer.seal(Bucket::of(end)).await
    }

    async fn cut(&mut self, number: i64) -> Result<()> {
        let parts = self.traffic.cut(number, &mut self.noted);
        let charged: usize = parts.iter().map(|part| part.charged).sum();
        self.budget.charge(charged);
        let charge = Charge::adopt(Arc::clone(&self.budget), charged);
        let at = self.traffic.cut_at(number);
        let cut = plan(parts, self.policy, Bucket::of(at), |topic| self.shop.store.topic_dir(topic));
        let order =
            produce::Order { segments: cut.segments, offsets: cut.offsets, image: None, bucket: Bucket::of(at) };
        let sequence = self.writer.log().next_sequence();
        let (produced, charge) = produce::produce(Arc::clone(&self.shop), order, sequence, charge).await?;
        let frontier = captured(at);
        let draft = Draft { segments: produced.segments, positions: cut.positions, frontier, ..Draft::default() };
        self.writer.commit(draft, at).await?;
        drop(charge);
        Ok(())
    }

    async fn refine(&mut self, order: refine::Order, at: TimestampMs) -> Result<()> {
        let limits = refine::Limits::of(&self.budget);
        let charge = limits.charge(&self.budget).context("room to refine")?;
        let (before, started) = (cpu_of(std::process::id())?, Instant::now());
        let (shop, numbers) = (Arc::clone(&self.shop), Arc::clone(&self.numbers));
        let refined = refine::refine(shop, order, (limits, charge), numbers).await?;
        let cpu = cpu_of(std::process::id())?.saturating_sub(before);
        self.sums.add(&refined, cpu, started.elapsed())?;
        let draft = Draft { refined: Some(refined), frontier: captured(at), ..Draft::default() };
        self.writer.commit(draft, at).await
    }
}

/// All of it is captured up to an instant.
fn captured(until: TimestampMs) -> Frontier {
    Frontier { until: Some(until), ..Frontier::default() }
}

/// What was refined so far, and what that cost.
#[derive(Debug, Default)]
struct Sums {
    replaced: Totals,
    /// The sizes of the files of each topic and hour.
    files: BTreeMap<(TopicName, Bucket), Vec<u64>>,
    cpu: Duration,
    /// The longest that one refining took.
    longest: Duration,
}

impl Sums {
    fn add(&mut self, refined: &Refined, cpu: Duration, wall: Duration) -> Result<()> {
        let replaced = refined.replaced;
        self.replaced.segments += replaced.segments;
        self.replaced.bytes += replaced.bytes;
        self.replaced.rows += replaced.rows;
        self.replaced.raw_bytes += replaced.raw_bytes;
        for segment in &refined.segments {
            let run = segment.runs.first().context("a run")?;
            self.files.entry((run.topic.clone(), run.bucket)).or_default().push(segment.bytes);
        }
        self.cpu += cpu;
        self.longest = self.longest.max(wall);
        Ok(())
    }

    fn print(&self, hours: i64) -> Result<()> {
        let (busy, quiet): (Vec<_>, Vec<_>) = self.files.iter().partition(|(place, _)| place.0.as_str() == BUSY);
        let sizes: Vec<u64> = busy.iter().flat_map(|(_, sizes)| sizes.iter().copied()).collect();
        let large: u64 = sizes.iter().filter(|bytes| **bytes >= LARGE_BYTES).sum();
        let percent = 100.0 * large as f64 / sizes.iter().sum::<u64>().max(1) as f64;
        let [smallest, largest] = [sizes.iter().min(), sizes.iter().max()].map(|size| size.map_or(0.0, |&b| mib(b)));
        let (cpu, raw) = (self.cpu.as_secs_f64(), mib(self.replaced.raw_bytes));
        let (stored, seconds) = (self.replaced.bytes as f64 / 1e6, 3600.0 * hours as f64);
        let peak = mib(peak_of(std::process::id())?);
        table::head(&["refining", ""]);
        let rows = [
            ("records", self.replaced.rows.to_string()),
            ("raw MiB; MB as stored in intake", format!("{raw:.0}; {stored:.0}")),
            ("intake segments", self.replaced.segments.to_string()),
            ("files of the busy topic; in each hour", format!("{}; {}", sizes.len(), span_of(&busy))),
            ("MiB of the smallest and the largest of them", format!("{smallest:.1}; {largest:.1}")),
            ("the busy topic's bytes in files of 32 MiB and more", format!("{percent:.1} %")),
            ("files of quiet topics, for each topic and hour", span_of(&quiet)),
            ("CPU seconds; of a core, over this time", format!("{cpu:.1}; {:.2} %", 100.0 * cpu / seconds)),
            ("CPU ms for a raw MiB; for a stored MB", format!("{:.1}; {:.1}", 1e3 * cpu / raw, 1e3 * cpu / stored)),
            ("seconds for the hour that took longest", format!("{:.1}", self.longest.as_secs_f64())),
            ("peak MiB of the process", format!("{peak:.0}")),
        ];
        rows.into_iter().for_each(|(what, value)| table::row(&[what.to_owned(), value]));
        Ok(())
    }
}

/// The fewest and the most files of a topic and an hour.
fn span_of(files: &[(&(TopicName, Bucket), &Vec<u64>)]) -> String {
    let counts = || files.iter().map(|(_, sizes)| sizes.len());
    let (fewest, most) = (counts().min().unwrap_or(0), counts().max().unwrap_or(0));
    if fewest == most { most.to_string() } else { format!("{fewest} to {most}") }
}

/// A question to DuckDB.
struct Question {
    asked: &'static str,
    /// What it needs before.
    setup: String,
    /// A `SELECT` without its semicolon.
    select: String,
}

/// Asks DuckDB for the slice in three ways.
async fn ask(store: &Store, job: &Job, root: &Path, noted: &Noted) -> Result<()> {
    table::head(&["five minutes of one topic, by", "files opened", "MiB read", "records", "seconds"]);
    for question in [of_view(root, noted), of_hour(root, noted), of_segments(store, job, noted).await?] {
        let row = question.answer(noted)?;
        let bytes = row["bytes"].as_u64().context("the bytes read")?;
        let seconds = row["seconds"].as_f64().context("the seconds")?;
        table::row(&[
            question.asked.to_owned(),
            row["files"].to_string(),
            format!("{:.1}", mib(bytes)),
            noted.rows().to_string(),
            format!("{seconds:.3}"),
        ]);
    }
    Ok(())
}

/// As `slice.sql` asks the view of the examples.
fn of_view(root: &Path, noted: &Noted) -> Question {
    let since = noted.interval().start.to_rfc3339();
    Question {
        asked: "the view `records` of the examples, over a glob of all topics",
        setup: format!("SET VARIABLE backup = '{}';\n{RECORDS_VIEW}", root.display()),
        select: format!(
            "SELECT * FROM records WHERE topic = '{BUSY}' AND filed >= date_trunc('hour', TIMESTAMPTZ '{since}' AT TIME \
             ZONE 'UTC') AND {}",
            within(noted)
        ),
    }
}

/// By whoever knows the folders.
fn of_hour(root: &Path, noted: &Noted) -> Question {
    let hour = Bucket::of(noted.interval().start);
    let glob = format!("topics/topic={BUSY}/date={}/hour={}/*.parquet", hour.date(), hour.hour());
    Question {
        asked: "a glob of its hour",
        setup: String::new(),
        select: format!(
            "SELECT * FROM read_parquet('{}', hive_partitioning = false) WHERE {}",
            root.join(glob).display(),
            within(noted)
        ),
    }
}

/// What `segments --output duckdb` prints.
async fn of_segments(store: &Store, job: &Job, noted: &Noted) -> Result<Question> {
    let (from, to) = (Some(noted.interval().start), Some(noted.interval().end));
    let slice = segments::Slice { topics: vec![TopicName::new(BUSY)?], from, to };
    let sql = segments::run(store, &job.storage.location, &slice, Format::DuckDb).await?;
    let select = sql.trim_end().trim_end_matches(';').to_owned();
    Ok(Question { asked: "the list of `segments --output duckdb`", setup: String::new(), select })
}

fn within(noted: &Noted) -> String {
    let (start, end) = (noted.interval().start.to_rfc3339(), noted.interval().end.to_rfc3339());
    format!("\"timestamp\" >= TIMESTAMPTZ '{start}' AND \"timestamp\" < TIMESTAMPTZ '{end}'")
}

impl Question {
    /// Files opened and bytes read, as DuckDB's own log of the file system has them, and the median of the seconds. All columns are
    /// read, into a table in memory.
    fn answer(&self, noted: &Noted) -> Result<serde_json::Value> {
        let Self { asked, setup, select } = self;
        let found = format!("CREATE OR REPLACE TEMP TABLE found AS {select};\n");
        // A statement's now() is when it began: here, when the one before it ended.
        let timed = format!("{found}INSERT INTO ends SELECT now();\n").repeat(ROUNDS + 1);
        let rows = duckdb::query(&format!(
            "{setup}\n\
             -- Else only the first round would read.\n\
             SET enable_external_file_cache = false;\n\
             CREATE TEMP TABLE ends (ended TIMESTAMPTZ);\n\
             {timed}\
             CALL enable_logging('FileSystem');\n\
             {found}\
             CALL disable_logging();\n\
             SELECT (SELECT median(took) / 1e6 FROM (\n\
                 SELECT epoch_us(ended) - epoch_us(lag(ended) OVER (ORDER BY ended)) AS took FROM ends\n\
             )) AS seconds,\n\
             (SELECT count(DISTINCT path) FROM duckdb_logs_parsed('FileSystem') WHERE op = 'OPEN') AS files,\n\
             (SELECT sum(bytes)::BIGINT FROM duckdb_logs_parsed('FileSystem') WHERE op = 'READ') AS bytes,\n\
             (SELECT count(*) FROM found) AS records,\n\
             (SELECT sha256(string_agg({NOTED_LINE}, '' ORDER BY \"offset\")) FROM found) AS digest;"
        ))?;
        let row = rows.into_iter().next().context("a row")?;
        let same = row["records"] == json!(noted.rows()) && row["digest"] == json!(noted.digest());
        ensure!(same, "by {asked}, DuckDB finds other records than the {} that were written: {row}", noted.rows());
        Ok(row)
    }
}
