//! What a verification came to, as text and as JSON.
//!
//! Owns: findings, counts, the exit. Does not own: finding ([`super`]).
//!
//! Invariants: damage and a store that does not answer are never mixed up: the first is a finding, the second says only
//! that nothing is known. Every finding is counted; the first [`KEPT`] of each kind are kept with their details, so that
//! a backup of which everything is gone is reported within bounded memory too.

use std::fmt;

use bytesize::ByteSize;
use serde::Serialize;
use strimzi_backup_format::coverage::Recoverable;
use strimzi_backup_format::document;
use strimzi_backup_format::identity::Identity;
use strimzi_backup_format::ids::{Lineage, PartitionId, PartitionKey, TimestampMs, TopicName};
use strimzi_backup_format::manifest::{Run, reader};
use strimzi_backup_format::offset_range::OffsetRange;

use super::Level;
use super::keys::Keys;
use crate::error::Error;

/// How many findings, and how many objects the log does not name, are kept in detail.
pub const KEPT: usize = 1000;

/// How many offset ranges of one finding, and objects the log does not name, the text shows.
const SHOWN: usize = 10;

/// The most bytes of [`Report::summary`]: half of what Kubernetes takes from a pod that has ended.
const SUMMARY_BYTES: usize = 2048;

/// How many characters of a finding the summary has at most.
const SUMMARY_FINDING: usize = 250;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub enum FindingKind {
    /// An object that the log names is not there.
    Missing,
    /// An object is not what was written.
    Damaged,
    /// Documents contradict each other.
    Contradiction,
    /// A newer release wrote it; this one cannot tell whether it is whole.
    NewerFormat,
    /// The store did not give it: nothing is known, try again.
    Unanswered,
}

impl FindingKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Damaged => "damaged",
            Self::Contradiction => "contradiction",
            Self::NewerFormat => "newer format",
            Self::Unanswered => "no answer",
        }
    }
}

/// One thing that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// What kind.
    pub kind: FindingKind,
    /// The object, below the storage prefix.
    pub object: String,
    /// What is wrong with it.
    pub problem: String,
    /// The offsets concerned, where they are known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub affected: Vec<Affected>,
}

/// Offsets that a finding is about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Affected {
    /// The topic.
    pub topic: TopicName,
    /// Which life of the topic.
    pub lineage: Lineage,
    /// The partition.
    pub partition: PartitionId,
    /// The offsets.
    #[serde(flatten)]
    pub range: OffsetRange,
}

impl Affected {
    pub(super) fn new(key: &PartitionKey, range: OffsetRange) -> Self {
        Self { topic: key.topic.clone(), lineage: key.lineage, partition: key.partition, range }
    }

    pub(super) fn of(run: &Run) -> Self {
        Self::new(&run.key(), run.range)
    }
}

impl fmt::Display for Finding {
    /// In one line, with the first offsets alone.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.kind.as_str(), self.object, self.problem)?;
        match self.affected.as_slice() {
            [] => Ok(()),
            [only] => write!(f, " ({only})"),
            [first, more @ ..] => write!(f, " ({first} and {} more)", more.len()),
        }
    }
}

impl fmt::Display for Affected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { topic, lineage, partition, range } = self;
        let key = PartitionKey { topic: topic.clone(), lineage: *lineage, partition: *partition };
        write!(f, "{key} {range}")
    }
}

/// What was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Counts {
    /// Manifests read and found right.
    pub manifests: u64,
    /// Manifests that stand after a break of the chain, and are not trusted.
    pub untrusted_manifests: u64,
    /// Checkpoints read, right or not.
    pub checkpoints: u64,
    /// Snapshots read, right or not.
    pub snapshots: u64,
    /// Live segments that the manifests name.
    pub segments: u64,
    /// Segments that were replaced or retired since; not looked at.
    pub superseded_segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records that were decoded and found right.
    pub decoded_records: u64,
    /// Partitions, of all lives of their topics.
    pub partitions: u64,
    /// Recorded gaps: no finding, since the backup says so itself.
    pub gaps: u64,
    /// The offsets in them.
    pub lost_offsets: u64,
}

/// Objects under the prefix that the log does not name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Orphans {
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The first of them, below the storage prefix.
    pub first: Vec<String>,
}

/// Records that are in missing or damaged segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Harm {
    /// How many records.
    pub records: u64,
    /// The lowest timestamp among them.
    pub min_timestamp: TimestampMs,
    /// The highest.
    pub max_timestamp: TimestampMs,
}

/// Whose backup was verified.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// The place, for people.
    pub storage: String,
    /// The identity document, where it could be read.
    #[serde(flatten)]
    pub identity: Option<Identity>,
}

/// What a verification came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether all that the level looks at holds.
    pub sound: bool,
    /// How deep it looked.
    pub level: Level,
    /// Whose backup.
    pub subject: Subject,
    /// How many findings there are.
    pub finding_count: usize,
    /// The first of them.
    pub findings: Vec<Finding>,
    /// How many objects the store did not give.
    pub unanswered_count: usize,
    /// The first of them.
    pub unanswered: Vec<Finding>,
    /// The records concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub harm: Option<Harm>,
    /// What can be recovered in spite of the findings: `from` lies after every harmed record; absent where none is safe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recoverable: Option<Recoverable>,
    /// Objects that the log does not name; absent where the log could not be read to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub orphans: Option<Orphans>,
    /// Who opens it; absent where it is not encrypted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keys: Option<Keys>,
    /// What was looked at.
    pub counts: Counts,
    /// The newer version, and the document that names it.
    #[serde(skip)]
    pub(super) newer: Option<(String, u32)>,
}

impl Report {
    pub(super) fn new(level: Level, storage: &str) -> Self {
        Self {
            sound: true,
            level,
            subject: Subject { storage: storage.to_owned(), identity: None },
            finding_count: 0,
            findings: Vec::new(),
            unanswered_count: 0,
            unanswered: Vec::new(),
            harm: None,
            recoverable: None,
            orphans: None,
            keys: None,
            counts: Counts::default(),
            newer: None,
        }
    }

    pub(super) fn find(&mut self, finding: Finding) {
        self.sound = false;
        let (count, kept) = match finding.kind {
            FindingKind::Unanswered => (&mut self.unanswered_count, &mut self.unanswered),
            _ => (&mut self.finding_count, &mut self.findings),
        };
        *count += 1;
        if kept.len() < KEPT {
            kept.push(finding);
        }
    }

    pub(super) fn find_object(&mut self, kind: FindingKind, object: &impl fmt::Display, problem: impl Into<String>) {
        self.find(Finding { kind, object: object.to_string(), problem: problem.into(), affected: Vec::new() });
    }

    /// Notes a document that is not what was written.
    pub(super) fn find_document(&mut self, object: &impl fmt::Display, error: &document::Error) {
        let kind = match error {
            document::Error::NewerFormat { found } => {
                self.newer.get_or_insert((object.to_string(), *found));
                FindingKind::NewerFormat
            }
            document::Error::Damaged(_) | document::Error::SealedLater { .. } | document::Error::TooLarge { .. } => {
                FindingKind::Damaged
            }
        };
        self.find_object(kind, object, error.to_string());
    }

    pub(super) fn harm(&mut self, runs: &[Run]) {
        for run in runs {
            let (min_timestamp, max_timestamp) = (run.min_timestamp, run.max_timestamp);
            let harm = self.harm.get_or_insert(Harm { records: 0, min_timestamp, max_timestamp });
            harm.records = harm.records.saturating_add(run.rows);
            harm.min_timestamp = harm.min_timestamp.min(min_timestamp);
            harm.max_timestamp = harm.max_timestamp.max(max_timestamp);
        }
    }

    /// How the command ends.
    ///
    /// # Errors
    /// [`Error::Findings`] where anything is damaged; the newer format's refusal where that is all there is; an error
    /// worth a retry where the store did not answer for everything, and what it did answer for holds.
    pub fn outcome(&self) -> Result<(), Error> {
        let only_newer = self.findings.iter().all(|finding| finding.kind == FindingKind::NewerFormat);
        match (&self.newer, self.finding_count, self.unanswered_count) {
            (_, 0, 0) => Ok(()),
            (_, 0, count) => {
                let first = self.unanswered.first().map_or("", |finding| finding.problem.as_str());
                let what =
                    format!("nothing damaged was found, but the store did not give {count} objects; verify again");
                Err(Error::Io { what, source: std::io::Error::other(first.to_owned()) })
            }
            (Some((object, found)), ..) if only_newer => Err(Error::Read(reader::Error::Document {
                object: object.clone(),
                source: document::Error::NewerFormat { found: *found },
            })),
            (_, count, _) => Err(Error::Findings(count)),
        }
    }

    /// The report as JSON.
    pub fn to_json(&self) -> String {
        // Text keys and finite numbers only, which is all that serde_json asks for.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// The sums, and as many of the findings as there is room for, as a line of JSON that fits into a pod's termination log.
    pub fn summary(&self) -> String {
        let mut message = self.verdict();
        let mut line = self.summary_with(&message);
        for (number, finding) in self.findings.iter().chain(&self.unanswered).enumerate() {
            let finding: String = finding.to_string().chars().take(SUMMARY_FINDING).collect();
            let longer = format!("{message}{} {finding}", if number == 0 { ":" } else { ";" });
            let longer_line = self.summary_with(&longer);
            if longer_line.len() > SUMMARY_BYTES {
                break;
            }
            (message, line) = (longer, longer_line);
        }
        line
    }

    fn summary_with(&self, message: &str) -> String {
        let Counts { manifests, checkpoints, snapshots, segments, bytes, decoded_records, .. } = self.counts;
        let recoverable = self.recoverable.as_ref();
        let summary = serde_json::json!({
            "level": u8::from(self.level),
            "findings": self.finding_count,
            "unanswered": self.unanswered_count,
            "objects": manifests + checkpoints + snapshots + segments,
            "bytes": bytes,
            "records": (self.level == Level::Records).then_some(decoded_records),
            "recoverableFrom": recoverable.and_then(|window| window.from).map(TimestampMs::to_rfc3339),
            "recoverableUntil": recoverable.and_then(|window| window.until).map(TimestampMs::to_rfc3339),
            "message": message,
        });
        summary.to_string() + "\n"
    }

    /// The answer in a few words.
    fn verdict(&self) -> String {
        let (findings, unanswered) = (self.finding_count, self.unanswered_count);
        match (findings, unanswered) {
            (0, 0) => "everything holds".to_owned(),
            (0, _) => format!("incomplete, the store did not give {unanswered} objects; verify again"),
            (_, 0) => format!("{findings} findings"),
            _ => format!("{findings} findings, and the store did not give {unanswered} objects"),
        }
    }
}

impl fmt::Display for Report {
    /// The report as text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_head(f)?;
        write_findings(f, &self.findings, self.finding_count)?;
        write_findings(f, &self.unanswered, self.unanswered_count)?;
        self.write_counts(f)?;
        self.write_harm(f)?;
        self.keys.as_ref().map_or(Ok(()), |keys| keys.fmt(f))?;
        self.write_orphans(f)
    }
}

impl Report {
    fn write_head(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "backup       ")?;
        if let Some(identity) = &self.subject.identity {
            write!(f, "{:?} of Kafka cluster {}, id {}, ", identity.name, identity.cluster, identity.backup)?;
        }
        writeln!(f, "under {}", self.subject.storage)?;
        writeln!(f, "verified     {}: {}", self.level, self.verdict())
    }

    fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { manifests, checkpoints, segments, bytes, partitions, gaps, lost_offsets, .. } = self.counts;
        let size = ByteSize(bytes);
        write!(f, "looked at    {manifests} manifests, {checkpoints} checkpoints, ")?;
        if self.counts.snapshots > 0 {
            write!(f, "{} snapshots, ", self.counts.snapshots)?;
        }
        write!(f, "{segments} segments ({size})")?;
        if self.level == Level::Records {
            write!(f, ", {} records", self.counts.decoded_records)?;
        }
        writeln!(f, " of {partitions} partitions")?;
        if gaps > 0 {
            writeln!(
                f,
                "gaps         {gaps} recorded, {lost_offsets} offsets lost before they were read; see inspect"
            )?;
        }
        if self.counts.superseded_segments > 0 {
            let superseded = self.counts.superseded_segments;
            writeln!(f, "superseded   {superseded} segments, replaced or retired since; not looked at")?;
        }
        if self.counts.untrusted_manifests > 0 {
            let untrusted = self.counts.untrusted_manifests;
            writeln!(f, "not trusted  {untrusted} manifests after the break, and all that only they name")?;
        }
        Ok(())
    }

    fn write_harm(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Harm { records, min_timestamp, max_timestamp }) = self.harm {
            let (min, max) = (min_timestamp.to_rfc3339(), max_timestamp.to_rfc3339());
            writeln!(f, "harmed       {records} records with timestamps from {min} to {max}")?;
        }
        match self.recoverable {
            Some(Recoverable { from: Some(from), until: Some(until) }) => {
                writeln!(f, "recoverable  from {} until {}", from.to_rfc3339(), until.to_rfc3339())
            }
            Some(_) => writeln!(f, "recoverable  no instant at which every partition is whole"),
            None => Ok(()),
        }
    }

    fn write_orphans(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(Orphans { objects, bytes, first }) = &self.orphans else { return Ok(()) };
        if *objects == 0 {
            return Ok(());
        }
        let size = ByteSize(*bytes);
        writeln!(
            f,
            "orphans      {objects} objects ({size}) that the log does not name: uploads under way or cut off"
        )?;
        write_list(f, first, usize::try_from(*objects).unwrap_or(usize::MAX))
    }
}

fn write_findings(f: &mut fmt::Formatter<'_>, findings: &[Finding], count: usize) -> fmt::Result {
    for Finding { kind, object, problem, affected } in findings {
        writeln!(f, "{:<12} {object}: {problem}", kind.as_str())?;
        write_list(f, affected, affected.len())?;
    }
    match count.saturating_sub(findings.len()) {
        0 => Ok(()),
        more => writeln!(f, "             and {more} more"),
    }
}

fn write_list(f: &mut fmt::Formatter<'_>, items: &[impl fmt::Display], count: usize) -> fmt::Result {
    for item in items.iter().take(SHOWN) {
        writeln!(f, "             {item}")?;
    }
    match count.saturating_sub(items.len().min(SHOWN)) {
        0 => Ok(()),
        more => writeln!(f, "             and {more} more"),
    }
}
