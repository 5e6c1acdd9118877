//! The screen: one line for each question, its word on the left. Owns wording only.

use std::fmt;

use bytesize::ByteSize;
use strimzi_backup_format::coverage::{Coverage, GroupCondition, GroupCoverage, Recoverable, TopicCondition};
use strimzi_backup_format::ids::{PartitionKey, TimestampMs};
use strimzi_backup_format::manifest::{Behind, Gap};

use super::{Boundary, Inspection, SnapshotEntry};
use crate::cost::{Cost, Prices, Requests, real};

/// How many lines a list gets before it is cut: the screen stays one screen. The JSON has all.
const SHOWN: usize = 8;

/// A head older than this means that nobody writes: a heartbeat is due every 30 s, and at most every 10 min.
const SILENT_SECONDS: u64 = 900;

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Coverage { name, cluster, backup, .. } = &self.coverage;
        line(f, "backup", format_args!("{name:?} of Kafka cluster {cluster}, id {backup}, under {}", self.storage))?;
        if let Some(keys) = &self.backup_keys {
            line(f, "encrypted", format_args!("by {}", crate::keys::openers(keys)))?;
        }
        self.protection(f)?;
        self.holdings(f)?;
        self.topics(f)?;
        self.groups(f)?;
        self.behind(f)?;
        self.gaps(f)?;
        self.snapshots(f)?;
        self.writer(f)?;
        self.requests(f)?;
        self.checkpoints(f)
    }
}

impl Inspection {
    fn protection(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lag = self.coverage.lag_seconds.map_or_else(String::new, |lag| format!(", {} behind now", span(lag)));
        let copying = self.coverage.behind.iter().filter(|behind| behind.until.is_none()).count();
        let without =
            if copying > 0 { format!(", without {copying} partitions in their first copy") } else { String::new() };
        match self.coverage.recoverable {
            Recoverable { from: Some(from), until: Some(until) } => {
                line(f, "protected", format_args!("from {} until {}{lag}{without}", show(from), show(until)))
            }
            Recoverable { from: None, until: Some(until) } => {
                line(f, "protected", format_args!("in part, until {}{lag}{without}", show(until)))
            }
            Recoverable { until: None, .. } => {
                line(f, "protected", format_args!("no: nothing is complete yet{without}"))
            }
        }
    }

    fn holdings(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let totals = self.coverage.totals;
        if let (Some(oldest), Some(newest)) = (self.coverage.oldest_timestamp, self.coverage.newest_timestamp) {
            let (rows, oldest, newest) = (totals.rows, show(oldest), show(newest));
            line(f, "records", format_args!("{rows}, with timestamps from {oldest} to {newest}"))?;
        }
        let (stored, raw) = (ByteSize(totals.bytes), ByteSize(totals.raw_bytes));
        line(f, "stored", format_args!("{stored} in {} segments, raw {raw}{}", totals.segments, self.ratio()))
    }

    fn ratio(&self) -> String {
        let totals = self.coverage.totals;
        if totals.bytes == 0 {
            return String::new();
        }
        format!(", ratio {:.1}", real(totals.raw_bytes) / real(totals.bytes))
    }

    fn topics(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use TopicCondition::{Deleted, Excluded, FirstCopy, Streaming};
        let topics = &self.coverage.topics;
        let counted = [
            (Streaming, "streaming"),
            (FirstCopy, "in their first copy"),
            (Deleted, "deleted"),
            (Excluded, "excluded"),
        ];
        let counts: Vec<String> = counted
            .into_iter()
            .map(|(state, word)| (topics.iter().filter(|topic| topic.state == state).count(), word))
            .filter(|(count, _)| *count > 0)
            .map(|(count, word)| format!("{count} {word}"))
            .collect();
        let text = if counts.is_empty() { "none".to_owned() } else { counts.join(", ") };
        line(f, "topics", format_args!("{text}"))?;
        let odd: Vec<String> = topics
            .iter()
            .filter(|topic| topic.state != Streaming)
            .map(|topic| format!("{}: {}, {} records held", topic.topic, topic.state.as_str(), topic.rows))
            .collect();
        list(f, &odd)
    }

    fn groups(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GroupCoverage { state, from, until } = self.coverage.groups;
        let text = match (state, until) {
            (GroupCondition::NotSelected, _) => "not covered: the job selects none (consumerGroups)".to_owned(),
            (GroupCondition::Denied, _) => {
                "not covered: the user may not see __consumer_offsets; it needs Describe and Read of it".to_owned()
            }
            (GroupCondition::Unreachable, _) => {
                "not covered: __consumer_offsets is out of reach, or the user may not read it".to_owned()
            }
            (GroupCondition::Damaged, _) => {
                "not covered: a file under groups/ is gone or damaged (`strimzi-backup verify`)".to_owned()
            }
            (GroupCondition::Streaming, Some(until)) => {
                let from = from.map_or_else(String::new, |from| format!("from {} ", show(from)));
                format!("committed offsets {from}until {}", show(until))
            }
            (GroupCondition::FirstCopy | GroupCondition::Streaming, _) => "in their first copy".to_owned(),
        };
        line(f, "groups", format_args!("{text}"))
    }

    fn behind(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let behind = &self.coverage.behind;
        if behind.is_empty() {
            return line(f, "behind", format_args!("no partition"));
        }
        line(f, "behind", format_args!("{} partitions", behind.len()))?;
        let lines: Vec<String> = behind
            .iter()
            .map(|Behind { topic, lineage, partition, until, reason }| {
                let key = PartitionKey { topic: topic.clone(), lineage: *lineage, partition: *partition };
                let until = until
                    .map_or_else(|| "first copy not complete".to_owned(), |until| format!("until {}", show(until)));
                format!("{key}: {}, {until}", reason.as_str())
            })
            .collect();
        list(f, &lines)
    }

    fn gaps(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let gaps = &self.coverage.gaps;
        if gaps.is_empty() {
            return line(f, "gaps", format_args!("none"));
        }
        let lost: u64 = gaps.iter().map(|gap| gap.range.span()).sum();
        line(f, "gaps", format_args!("{}, {lost} offsets lost before they were read", gaps.len()))?;
        let describe = |gap: &Gap| {
            format!("{} {}: {}, found {}", gap.key(), gap.range, gap.reason.as_str(), show(gap.observed_at))
        };
        // The newest first: they are those that somebody can still do something about.
        list(f, &gaps.iter().rev().map(describe).collect::<Vec<_>>())
    }

    fn snapshots(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.snapshot_count == 0 {
            return Ok(());
        }
        line(f, "snapshots", format_args!("{}", self.snapshot_count))?;
        list(f, &self.snapshots.iter().rev().map(describe_snapshot).collect::<Vec<_>>())
    }

    fn writer(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(head) = self.coverage.head else {
            return line(f, "writer", format_args!("none yet"));
        };
        let age = self.inspected_at.millis_since(head.observed_at) / 1000;
        let silent = if age >= SILENT_SECONDS { "; nobody writes: is the streamer running?" } else { "" };
        let (writer, epoch, sequence) = (self.coverage.writer.as_deref().unwrap_or("?"), head.epoch, head.sequence);
        line(f, "writer", format_args!("{writer}, epoch {epoch}, manifest {sequence} {} ago{silent}", span(age)))?;
        line(f, "anchor", format_args!("backup {}, sequence {sequence}, sha256 {}", self.coverage.backup, head.sha256))
    }

    fn requests(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cost { puts, gets, storage, received } = self.monthly_cost;
        match &self.requests {
            None => {
                line(f, "requests", format_args!("unknown: the log is too short to tell"))?;
                line(
                    f,
                    "price",
                    format_args!("{storage:.2} a month for storage; what requests cost is not known yet"),
                )?;
            }
            Some(requests) => {
                let over = span(requests.sampled_seconds);
                line(f, "requests", format_args!("{}, {}", rates(requests), basis(requests)))?;
                line(f, "moved", format_args!("{}", moved(requests)))?;
                let total = self.monthly_cost.total();
                let text = format_args!(
                    "{total:.2} a month, if it went on like those {over}: storage {storage:.2}, puts {puts:.2}, gets and heads \
                     {gets:.2}, bytes read {received:.2}"
                );
                line(f, "price", text)?;
            }
        }
        // In whatever currency the list is.
        let Prices { put, get, storage, received } = self.prices;
        let text = format_args!(
            "at {put} and {get} for 1,000 puts and gets, {storage} for a GB and month, {received} for a GB read"
        );
        note(f, text)
    }

    fn checkpoints(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.ignored_checkpoints.is_empty() {
            return Ok(());
        }
        line(
            f,
            "ignored",
            format_args!("{} checkpoints; the log was read without them", self.ignored_checkpoints.len()),
        )?;
        let lines: Vec<String> =
            self.ignored_checkpoints.iter().map(|ignored| format!("{}: {}", ignored.object, ignored.reason)).collect();
        list(f, &lines)
    }
}

fn describe_snapshot(SnapshotEntry { id, boundary, problem }: &SnapshotEntry) -> String {
    match (boundary, problem) {
        (Some(Boundary { sequence, observed_at, rows, until, retired }), _) => {
            let until =
                until.map_or_else(|| "nothing complete yet".to_owned(), |until| format!("until {}", show(until)));
            let retired = if *retired { "; retired: it cannot be restored any longer" } else { "" };
            format!("{id}: manifest {sequence} of {}, {rows} records, {until}{retired}", show(*observed_at))
        }
        (None, problem) => format!("{id}: cannot be read: {}", problem.as_deref().unwrap_or("?")),
    }
}

fn rates(requests: &Requests) -> String {
    let Requests { puts_per_hour, gets_per_hour, heads_per_hour, .. } = requests;
    format!("{puts_per_hour:.0} puts, {gets_per_hour:.0} gets and {heads_per_hour:.0} heads an hour")
}

fn moved(requests: &Requests) -> String {
    let Requests { sent_bytes_per_hour: sent, received_bytes_per_hour: received, .. } = requests;
    format!("{} an hour to the store and {} from it, of segments", size(*sent), size(*received))
}

/// A rate in bytes as a size.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a sum of bytes over hours, far below 2^64 and not negative"
)]
fn size(bytes: f64) -> ByteSize {
    ByteSize(bytes.round() as u64)
}

/// What the rates are taken from: a few seconds with several starts in them say little of a month.
fn basis(requests: &Requests) -> String {
    let Requests { sampled_manifests, sampled_starts, sampled_seconds, .. } = requests;
    let starts = match sampled_starts {
        0 => String::new(),
        starts => format!(", {starts} of them starts of a streamer"),
    };
    format!("by the last {sampled_manifests} manifests over {}{starts}", span(*sampled_seconds))
}

fn line(f: &mut fmt::Formatter<'_>, word: &str, text: fmt::Arguments<'_>) -> fmt::Result {
    writeln!(f, "{word:<11} {text}")
}

fn note(f: &mut fmt::Formatter<'_>, text: fmt::Arguments<'_>) -> fmt::Result {
    writeln!(f, "{:<11} {text}", "")
}

fn list(f: &mut fmt::Formatter<'_>, lines: &[String]) -> fmt::Result {
    for text in lines.iter().take(SHOWN) {
        note(f, format_args!("{text}"))?;
    }
    match lines.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => note(f, format_args!("and {more} more, which the JSON output has")),
    }
}

fn show(instant: TimestampMs) -> String {
    instant.to_rfc3339()
}

/// A span of time in its two largest units.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{minutes} min {} s", seconds % 60),
        3600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}
