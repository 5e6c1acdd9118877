//! Judges a document: one pass over all of it, collecting faults, and a [`Job`] only if there are none.
//!
//! Every fault names its field by path and says the way out, so that a document is put right in one round.

mod cluster;
mod encryption;
mod prices;
mod restore;
mod retention;
mod storage;

pub use cluster::ALLOWED_PROPERTIES;
pub use restore::resolve_restore;

use std::fmt;
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::de::DeserializeOwned;

use super::raw::{RawBackup, RawConsumerGroups, RawHttp, RawJob, RawTopics};
use super::resolved::{BackupSettings, Compression, HttpSettings, Job, Storage, defaults};
use super::selection::Pattern;
use super::{GroupSelection, Scalar, TopicSelection};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const SEGMENT_BYTES_RANGE: RangeInclusive<u64> = MIB..=5 * GIB;
const TOPIC_SEGMENT_BYTES_MIN: u64 = 64 << 10;
const REFINE_BYTES_RANGE: RangeInclusive<u64> = (64 << 10)..=64 * GIB;
/// Up to here a size counts as one: nothing on this machine could hold more.
const MEMORY_BUDGET_RANGE: RangeInclusive<u64> = 64 * MIB..=1024 * GIB;
const INTERVAL_RANGE: RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(600);
const METADATA_INTERVAL_RANGE: RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(3600);
/// Of every unit one; which of them a field takes, its range says.
const DURATION_EXAMPLES: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_secs(5),
    Duration::from_secs(2 * 60),
    Duration::from_secs(2 * 3600),
    Duration::from_secs(30 * 86_400),
];
const PARALLELISM_RANGE: RangeInclusive<i64> = 1..=64;
const ZSTD_LEVELS: RangeInclusive<i64> = 1..=19;
const GZIP_LEVELS: RangeInclusive<i64> = 1..=9;

/// One thing wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The field, such as `storage.s3.bucket`; empty where the document as a whole cannot be read.
    pub path: String,
    /// What is wrong and the way out.
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.path.is_empty() {
            return f.write_str(&self.message);
        }
        write!(f, "{}: {}", self.path, self.message)
    }
}

/// Which document it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Document {
    Job,
    Restore,
}

impl fmt::Display for Document {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Job => "job document",
            Self::Restore => "restore document",
        })
    }
}

/// Everything wrong with a document; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{document} has {} fault(s): {}", .faults.len(), .faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct JobFaults {
    document: Document,
    faults: Vec<Fault>,
}

impl JobFaults {
    /// The faults, in the document's order of fields.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }
}

impl FromStr for Job {
    type Err = JobFaults;

    /// Reads a document, YAML or JSON.
    fn from_str(text: &str) -> Result<Self, JobFaults> {
        resolve(read(Document::Job, text)?)
    }
}

fn read<T: DeserializeOwned>(document: Document, text: &str) -> Result<T, JobFaults> {
    serde_norway::from_str(text).map_err(|error| {
        // serde's message names the field's path, the line and the column.
        let fault = Fault { path: String::new(), message: format!("cannot be read: {error}") };
        JobFaults { document, faults: vec![fault] }
    })
}

/// Turns what was read into what the code sees.
///
/// # Errors
/// [`JobFaults`] with every fault of the document.
pub fn resolve(raw: RawJob) -> Result<Job, JobFaults> {
    let mut faults = Faults::default();
    let name = name(raw.name, &mut faults);
    let cluster = faults.required("cluster", raw.cluster).and_then(|raw| cluster::resolve(raw, &mut faults));
    let topics = topics("topics", raw.topics.unwrap_or_default(), &mut faults);
    let consumer_groups = consumer_groups(raw.consumer_groups.unwrap_or_default(), &mut faults);
    let storage = faults.required("storage", raw.storage).and_then(|raw| storage::resolve(raw, &mut faults));
    let mut raw_backup = raw.backup.unwrap_or_default();
    let encryption = raw_backup.encryption.take();
    let backup = backup(&raw_backup, &mut faults);
    let encryption = encryption.and_then(|raw| encryption::resolve("backup.encryption", raw, &mut faults));
    let retention = retention::resolve(&raw.retention.unwrap_or_default(), &mut faults);
    let prices = prices::resolve(&raw.prices.unwrap_or_default(), &mut faults);
    let http = http(raw.http.unwrap_or_default(), &mut faults);
    match (cluster, storage, http) {
        (Some(cluster), Some(storage), Some(http)) if faults.0.is_empty() => {
            let storage = Storage { encryption, ..storage };
            Ok(Job { name, cluster, topics, consumer_groups, storage, backup, retention, prices, http })
        }
        _ => Err(JobFaults { document: Document::Job, faults: faults.0 }),
    }
}

/// The faults found so far.
#[derive(Default)]
struct Faults(Vec<Fault>);

impl Faults {
    fn push(&mut self, path: &str, message: impl Into<String>) {
        self.0.push(Fault { path: path.to_owned(), message: message.into() });
    }

    fn required<T>(&mut self, path: &str, value: Option<T>) -> Option<T> {
        if value.is_none() {
            self.push(path, "is missing and has no default");
        }
        value
    }

    /// A text that must be there and not be blank.
    fn required_text(&mut self, path: &str, value: Option<String>) -> Option<String> {
        let value = self.required(path, value)?;
        if value.trim().is_empty() {
            self.push(path, "is empty");
            return None;
        }
        Some(value.trim().to_owned())
    }

    /// A file's path; an empty one is a template that was not filled in.
    fn file(&mut self, path: &str, value: Option<PathBuf>) -> Option<PathBuf> {
        if value.as_ref().is_some_and(|file| file.as_os_str().is_empty()) {
            self.push(path, "is an empty path; name a file or leave the field out");
            return None;
        }
        value
    }

    fn required_file(&mut self, path: &str, value: Option<PathBuf>) -> Option<PathBuf> {
        let value = self.required(path, value);
        self.file(path, value)
    }

    fn in_range<T: PartialOrd + Copy>(
        &mut self,
        path: &str,
        value: T,
        range: &RangeInclusive<T>,
        show: impl Fn(T) -> String,
    ) {
        if !range.contains(&value) {
            let message =
                format!("is {}; it must be from {} to {}", show(value), show(*range.start()), show(*range.end()));
            self.push(path, message);
        }
    }

    /// A size in its range; the default where absent or at fault.
    fn bytes(&mut self, path: &str, value: Option<&Scalar>, default: u64, range: &RangeInclusive<u64>) -> u64 {
        let Some(value) = value else { return default };
        let Some(bytes) = value.bytes() else {
            self.push(path, format!("{value:?} is no size; write bytes or a size such as 256Mi (Ki, Mi, Gi, k, M, G)"));
            return default;
        };
        self.in_range(path, bytes, range, show_bytes);
        bytes
    }

    /// A duration in its range; the default where absent or at fault.
    fn duration(
        &mut self,
        path: &str,
        value: Option<&Scalar>,
        default: Duration,
        range: &RangeInclusive<Duration>,
    ) -> Duration {
        let Some(value) = value else { return default };
        let Some(duration) = value.duration() else {
            let examples = examples(range);
            self.push(path, format!("{value:?} is no duration; write a number and its unit, such as {examples}"));
            return default;
        };
        self.in_range(path, duration, range, show_duration);
        duration
    }

    /// A whole number in its range; the default where absent or at fault.
    fn integer(&mut self, path: &str, value: Option<&Scalar>, default: i64, range: &RangeInclusive<i64>) -> i64 {
        let Some(value) = value else { return default };
        let Some(number) = value.integer() else {
            self.push(path, format!("{value:?} is no whole number"));
            return default;
        };
        self.in_range(path, number, range, |number| number.to_string());
        number
    }
}

fn show_bytes(bytes: u64) -> String {
    for (unit, name) in [(GIB, "Gi"), (MIB, "Mi"), (1 << 10, "Ki")] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}

/// A duration as documents write it: a whole number of the largest unit, of days and below, in which it is one.
fn show_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if duration.subsec_nanos().is_multiple_of(1_000_000) {
        for (unit, name) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")] {
            if millis >= unit && millis.is_multiple_of(unit) {
                return format!("{}{name}", millis / unit);
            }
        }
    }
    humantime::format_duration(duration).to_string()
}

/// Durations within the range, for people.
fn examples(range: &RangeInclusive<Duration>) -> String {
    let fitting: Vec<String> =
        DURATION_EXAMPLES.into_iter().filter(|example| range.contains(example)).map(show_duration).collect();
    match fitting.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => show_duration(*range.start()),
    }
}

fn name(raw: Option<Scalar>, faults: &mut Faults) -> String {
    let name = raw.map_or_else(|| defaults::NAME.to_owned(), |name| name.as_str().to_owned());
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 253 || !name.chars().all(legal) {
        faults.push("name", format!("{name:?} is no name; use 1 to 253 of [a-zA-Z0-9._-]"));
    }
    name
}

fn topics(path: &str, raw: RawTopics, faults: &mut Faults) -> TopicSelection {
    let path = |field: &str| format!("{path}.{field}");
    let include = raw.include.unwrap_or_else(|| vec![defaults::INCLUDE.to_owned()]);
    if include.is_empty() {
        faults.push(&path("include"), "is empty and so chooses nothing; leave it out to choose every topic");
    }
    let include = patterns(&path("include"), &include, Pattern::of_topics, faults);
    let exclude = patterns(&path("exclude"), &raw.exclude.unwrap_or_default(), Pattern::of_topics, faults);
    TopicSelection::new(include, exclude)
}

/// The consumer groups that are backed up: all where the document says nothing, and none where it includes none.
fn consumer_groups(raw: RawConsumerGroups, faults: &mut Faults) -> Option<GroupSelection> {
    if raw.include.as_ref().is_some_and(Vec::is_empty) && raw.exclude.is_none() {
        return None;
    }
    Some(groups("consumerGroups", raw.include, raw.exclude, faults))
}

/// The consumer groups that `path` chooses; all of them where it says nothing.
fn groups(
    path: &str,
    include: Option<Vec<String>>,
    exclude: Option<Vec<String>>,
    faults: &mut Faults,
) -> GroupSelection {
    let path = |field: &str| format!("{path}.{field}");
    let include = include.unwrap_or_else(|| vec![defaults::INCLUDE.to_owned()]);
    if include.is_empty() {
        faults.push(&path("include"), "is empty and so chooses nothing; leave it out to choose every group");
    }
    let include = patterns(&path("include"), &include, Pattern::of_groups, faults);
    let exclude = patterns(&path("exclude"), &exclude.unwrap_or_default(), Pattern::of_groups, faults);
    GroupSelection::new(include, exclude)
}

fn patterns(
    path: &str,
    texts: &[String],
    new: fn(&str) -> Result<Pattern, String>,
    faults: &mut Faults,
) -> Vec<Pattern> {
    let mut patterns = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if text.is_empty() {
            faults.push(&path, "is empty and matches nothing; remove it");
            continue;
        }
        match new(text) {
            Ok(pattern) => patterns.push(pattern),
            Err(message) => faults.push(&path, message),
        }
    }
    patterns
}

fn backup(raw: &RawBackup, faults: &mut Faults) -> BackupSettings {
    let compression = compression(raw.compression.as_deref(), raw.compression_level.as_ref(), faults);
    let segment_bytes =
        faults.bytes("backup.segmentSize", raw.segment_size.as_ref(), defaults::SEGMENT_BYTES, &SEGMENT_BYTES_RANGE);
    let commit_interval = faults.duration(
        "backup.commitInterval",
        raw.commit_interval.as_ref(),
        defaults::COMMIT_INTERVAL,
        &INTERVAL_RANGE,
    );
    let heartbeat_interval = faults.duration(
        "backup.heartbeatInterval",
        raw.heartbeat_interval.as_ref(),
        defaults::HEARTBEAT_INTERVAL,
        &INTERVAL_RANGE,
    );
    let metadata_interval = faults.duration(
        "backup.metadataInterval",
        raw.metadata_interval.as_ref(),
        defaults::METADATA_INTERVAL,
        &METADATA_INTERVAL_RANGE,
    );
    let memory_budget_bytes = faults.bytes(
        "backup.memoryBudget",
        raw.memory_budget.as_ref(),
        defaults::MEMORY_BUDGET_BYTES,
        &MEMORY_BUDGET_RANGE,
    );
    let refine_bytes =
        faults.bytes("backup.refineBytes", raw.refine_bytes.as_ref(), defaults::REFINE_BYTES, &REFINE_BYTES_RANGE);
    BackupSettings {
        compression,
        refine_bytes,
        segment_bytes,
        topic_segment_bytes: topic_segment_bytes(raw.topic_segment_bytes.as_ref(), segment_bytes, faults),
        commit_interval,
        heartbeat_interval,
        metadata_interval,
        memory_budget_bytes,
        parallelism: parallelism("backup.parallelism", raw.parallelism.as_ref(), faults),
    }
}

/// The default follows a small `segmentSize` down, so that setting the one does not force setting the other.
fn topic_segment_bytes(raw: Option<&Scalar>, segment_bytes: u64, faults: &mut Faults) -> u64 {
    let path = "backup.topicSegmentBytes";
    let largest = segment_bytes.max(TOPIC_SEGMENT_BYTES_MIN);
    let default = defaults::TOPIC_SEGMENT_BYTES.min(largest);
    let reported = faults.0.len();
    let bytes = faults.bytes(path, raw, default, &(TOPIC_SEGMENT_BYTES_MIN..=largest));
    if bytes > largest && faults.0.len() > reported {
        faults.push(path, "must not be above backup.segmentSize; lower the one or raise the other");
    }
    bytes
}

fn parallelism(path: &str, raw: Option<&Scalar>, faults: &mut Faults) -> NonZeroUsize {
    let default = i64::try_from(defaults::PARALLELISM).unwrap_or(1);
    let number = faults.integer(path, raw, default, &PARALLELISM_RANGE);
    usize::try_from(number).ok().and_then(NonZeroUsize::new).unwrap_or(NonZeroUsize::MIN)
}

fn compression(codec: Option<&str>, level: Option<&Scalar>, faults: &mut Faults) -> Compression {
    let path = "backup.compressionLevel";
    match codec.unwrap_or("zstd") {
        "zstd" => {
            let level = faults.integer(path, level, i64::from(defaults::ZSTD_LEVEL), &ZSTD_LEVELS);
            Compression::Zstd { level: i32::try_from(level).unwrap_or(defaults::ZSTD_LEVEL) }
        }
        "gzip" => {
            let level = faults.integer(path, level, i64::from(defaults::GZIP_LEVEL), &GZIP_LEVELS);
            Compression::Gzip { level: u32::try_from(level).unwrap_or(defaults::GZIP_LEVEL) }
        }
        other => {
            let codec = match other {
                "lz4" => Compression::Lz4,
                "snappy" => Compression::Snappy,
                "none" => Compression::None,
                _ => {
                    faults.push("backup.compression", format!("{other:?} is not one of zstd, lz4, snappy, gzip, none"));
                    return Compression::None;
                }
            };
            if level.is_some() {
                faults.push(path, format!("has no meaning for {other}; remove it, or use zstd or gzip"));
            }
            codec
        }
    }
}

fn http(raw: RawHttp, faults: &mut Faults) -> Option<HttpSettings> {
    let text = raw.address.unwrap_or_else(|| defaults::HTTP_ADDRESS.to_owned());
    match text.trim().parse() {
        Ok(address) => Some(HttpSettings { address }),
        Err(_) => {
            let message = format!("{text:?} is no address; write an IP address and a port, such as 0.0.0.0:9090");
            faults.push("http.address", message);
            None
        }
    }
}
