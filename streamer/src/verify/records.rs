//! One segment, down to its records: is what it holds what its manifest says?
//!
//! Pure and blocking: bytes whose digest is already known to be right go in, flaws come out. Each is one that a restore or
//! a query would run into: footer, runs, offsets, timestamps, sums.

use bytes::Bytes;
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::crypt::FileOpener;
use strimzi_backup_format::ids::{BackupId, Offset, TimestampMs};
use strimzi_backup_format::manifest::{Run, Segment};
use strimzi_backup_format::record::Record;
use strimzi_backup_format::segment::decode::SegmentReader;
use strimzi_backup_format::segment::footer::SegmentFooter;
use strimzi_backup_format::segment::{self};

use super::report::{Affected, FindingKind};
use crate::error::chain;

/// What is wrong with a segment.
#[derive(Debug)]
pub(super) struct Flaw {
    pub(super) kind: FindingKind,
    pub(super) problem: String,
    /// The offsets concerned; empty where it is the whole segment.
    pub(super) affected: Vec<Affected>,
}

impl Flaw {
    pub(super) fn of_all(problem: impl Into<String>) -> Self {
        Self { kind: FindingKind::Contradiction, problem: problem.into(), affected: Vec::new() }
    }

    pub(super) fn of(problem: String, affected: Vec<Affected>) -> Self {
        Self { kind: FindingKind::Contradiction, problem, affected }
    }

    fn of_run(run: &Run, problem: String) -> Self {
        Self::of(problem, vec![Affected::of(run)])
    }

    pub(super) fn unreadable(error: &segment::Error, affected: Vec<Affected>) -> Self {
        let kind = match error {
            segment::Error::NewerSchema { .. } => FindingKind::NewerFormat,
            _ => FindingKind::Damaged,
        };
        Self { kind, problem: chain(error), affected }
    }
}

/// Decodes every record of a segment and compares with its manifest. That of an encrypted backup is opened by `opener`.
///
/// # Errors
/// The first [`Flaw`]: what comes after it in the same segment is not to be judged.
pub(super) fn check(
    backup: BackupId,
    segment: &Segment,
    bytes: &Bytes,
    opener: Option<&FileOpener>,
) -> Result<(), Flaw> {
    let whole = |error| Flaw::unreadable(&error, Vec::new());
    let tail_at = bytes.len().checked_sub(usize::try_from(segment.footer_bytes).unwrap_or(usize::MAX));
    let tail = tail_at.and_then(|at| bytes.get(at..));
    let tail = tail.ok_or_else(|| Flaw::of_all("the manifest says that the footer is longer than the segment"))?;
    // A restore fetches no more than this for the footer, so it must suffice.
    SegmentFooter::parse(tail, bytes.len() as u64, opener).map_err(whole)?;
    let reader = SegmentReader::open(bytes.clone(), opener).map_err(whole)?;
    if reader.footer().backup() != backup {
        return Err(Flaw::of_all(format!("it belongs to backup {}", reader.footer().backup())));
    }
    check_runs(segment, reader.runs())?;
    check_rows(segment, &reader)?;
    // What a restore believes of a segment that it reads in parts.
    if Sha256::of(tail) == segment.footer_sha256 {
        return Ok(());
    }
    Err(Flaw::of_all("its footer has not the digest that the manifest says"))
}

fn check_runs(segment: &Segment, found: &[Run]) -> Result<(), Flaw> {
    let differs = |(named, found): &(&Run, &Run)| named != found;
    if let Some((named, _)) = segment.runs.iter().zip(found).find(differs) {
        return Err(Flaw::of_run(
            named,
            format!("its footer describes the run {} of {} otherwise than its manifest", named.range, named.key()),
        ));
    }
    if segment.runs.len() != found.len() {
        let (named, found) = (segment.runs.len(), found.len());
        return Err(Flaw::of_all(format!("its footer has {found} runs, its manifest {named}")));
    }
    Ok(())
}

/// Decodes all rows, and compares them with what the manifest says of them.
///
/// # Errors
/// The first [`Flaw`].
pub(super) fn check_rows(segment: &Segment, reader: &SegmentReader) -> Result<(), Flaw> {
    let mut rows = reader.rows();
    let (mut count, mut raw_bytes) = (0, 0);
    for run in &segment.runs {
        let mut seen = Seen::default();
        for _ in 0..run.rows {
            let row = rows.next().ok_or_else(|| Flaw::of_run(run, seen.ends_early(run)))?;
            let (key, record) = row.map_err(|error| Flaw::unreadable(&error, vec![seen.rest(run)]))?;
            if key != run.key() || !run.range.contains(record.offset) || seen.offset >= Some(record.offset) {
                let problem = format!(
                    "a record of {key} at offset {} stands in the run {} of {}",
                    record.offset,
                    run.range,
                    run.key()
                );
                return Err(Flaw::of_run(run, problem));
            }
            raw_bytes += raw_size(&record);
            seen.take(&record);
        }
        if (seen.lowest, seen.highest) != (Some(run.min_timestamp), Some(run.max_timestamp)) {
            let (min, max) = (run.min_timestamp, run.max_timestamp);
            let problem =
                format!("the timestamps of the run {} of {} are not from {min} to {max}", run.range, run.key());
            return Err(Flaw::of_run(run, problem));
        }
        if seen.largest != run.largest_record {
            let (seen, named) = (seen.largest, run.largest_record);
            let problem =
                format!("the largest record of the run {} of {} takes {seen} bytes, not {named}", run.range, run.key());
            return Err(Flaw::of_run(run, problem));
        }
        count += run.rows;
    }
    if rows.next().is_some() || count != segment.rows {
        return Err(Flaw::of_all(format!("it does not hold the {} records that its manifest says", segment.rows)));
    }
    if raw_bytes != segment.raw_bytes {
        let named = segment.raw_bytes;
        return Err(Flaw::of_all(format!("its records have {raw_bytes} bytes, its manifest says {named}")));
    }
    Ok(())
}

/// What was seen of a run.
#[derive(Default)]
struct Seen {
    offset: Option<Offset>,
    lowest: Option<TimestampMs>,
    highest: Option<TimestampMs>,
    /// Bytes of the largest record in a batch of its own.
    largest: u64,
}

impl Seen {
    fn take(&mut self, record: &Record) {
        self.offset = Some(record.offset);
        self.lowest = Some(self.lowest.map_or(record.timestamp, |low| low.min(record.timestamp)));
        self.highest = self.highest.max(Some(record.timestamp));
        self.largest = self.largest.max(record.batch_bytes() as u64);
    }

    /// The offsets of the run that were not seen yet.
    fn rest(&self, run: &Run) -> Affected {
        let mut rest = Affected::of(run);
        let next = self.offset.map_or(run.range.base(), Offset::next);
        if let Ok(range) = strimzi_backup_format::offset_range::OffsetRange::new(next, run.range.next_offset()) {
            rest.range = range;
        }
        rest
    }

    fn ends_early(&self, run: &Run) -> String {
        format!("the records of {} end before offset {}", run.key(), self.rest(run).range.base())
    }
}

/// Bytes of key, value and headers, as the encoder counts them.
fn raw_size(record: &Record) -> u64 {
    let len = |bytes: &Option<Bytes>| bytes.as_ref().map_or(0, Bytes::len);
    let headers: usize = record.headers.iter().map(|header| header.key.len() + len(&header.value)).sum();
    (len(&record.key) + len(&record.value) + headers) as u64
}
