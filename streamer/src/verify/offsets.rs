//! One file with offsets of consumer groups, down to its rows: is what it holds what its manifest says?
//!
//! Pure and blocking, as [`super::records`].

use bytes::Bytes;
use strimzi_backup_format::crypt::FileOpener;
use strimzi_backup_format::groups::{self, OffsetRow, RowKind};
use strimzi_backup_format::manifest::{GroupImage, Run, Segment};

use super::records::Flaw;
use super::report::Affected;

/// An image in the shape of a segment: a file that is to be there, whole, and accounts for no offset.
pub(super) fn as_segment(image: &GroupImage) -> Segment {
    let GroupImage { object, bytes, sha256, rows, .. } = image.clone();
    Segment { object, bytes, sha256, footer_bytes: 0, footer_sha256: sha256, rows, raw_bytes: 0, runs: Vec::new() }
}

/// Decodes every row and compares with the manifest. A file of an encrypted backup is opened by `opener`.
///
/// # Errors
/// The first [`Flaw`].
pub(super) fn check(segment: &Segment, bytes: Bytes, opener: Option<&FileOpener>) -> Result<(), Flaw> {
    let rows = groups::file::decode(bytes, opener).map_err(|error| Flaw::unreadable(&error, Vec::new()))?;
    if rows.len() as u64 != segment.rows {
        return Err(Flaw::of_all(format!("it has {} rows, its manifest says {}", rows.len(), segment.rows)));
    }
    let is_image = segment.runs.is_empty();
    if let Some(row) = rows.iter().find(|row| (row.kind == RowKind::Image) != is_image) {
        let kind = row.kind.as_str();
        return Err(Flaw::of_all(format!("a row of kind {kind} does not belong into such a file")));
    }
    let mut rest = rows.as_slice();
    for run in &segment.runs {
        let (of_run, others) = rest.split_at(rest.len().min(usize::try_from(run.rows).unwrap_or(usize::MAX)));
        check_run(run, of_run)?;
        rest = others;
    }
    Ok(())
}

fn check_run(run: &Run, rows: &[OffsetRow]) -> Result<(), Flaw> {
    let fault = |problem: String| Err(Flaw::of(problem, vec![Affected::of(run)]));
    let belongs = |row: &OffsetRow| {
        row.lineage == run.lineage && row.log_partition == run.partition && run.range.contains(row.log_offset)
    };
    let in_order = rows.is_sorted_by(|a, b| a.log_offset < b.log_offset);
    if !in_order || !rows.iter().all(belongs) {
        return fault(format!("its rows are not those of the run {} of {}", run.range, run.key()));
    }
    let timestamps = || rows.iter().map(|row| row.timestamp);
    if (timestamps().min(), timestamps().max()) != (Some(run.min_timestamp), Some(run.max_timestamp)) {
        let (min, max) = (run.min_timestamp, run.max_timestamp);
        return fault(format!("the timestamps of the run {} of {} are not from {min} to {max}", run.range, run.key()));
    }
    Ok(())
}
