//! Which bytes are fetched for which records. Pure.

use std::collections::BTreeSet;
use std::ops::{Range, RangeInclusive};

use super::Wanted;
use crate::ids::TimestampMs;
use crate::manifest::{Run, Segment};
use crate::offset_range::OffsetRange;
use crate::schema::{MAX_TIMESTAMP, MIN_TIMESTAMP, column};
use crate::segment::Error;
use crate::segment::decode::Part;
use crate::segment::footer::SegmentFooter;
use crate::segment::page_map::{self, ColumnPages, Page};

/// A hole up to this size is fetched with what is around it: a request costs more than these bytes.
pub(super) const MAX_HOLE: u64 = 128 << 10;

/// All holes of a row group together are no more than this share of what is wanted of it, or than one request is worth.
const WANTED_PER_HOLE: u64 = 5;

/// What is fetched of one row group.
#[derive(Debug)]
pub(super) struct GroupPlan {
    pub(super) number: usize,
    pub(super) parts: Vec<Part>,
    /// Sorted and apart.
    pub(super) pieces: Vec<Piece>,
}

/// Bytes that are fetched by one request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) range: Range<u64>,
    /// The pages in it that are needed; between them lies what is not looked at.
    pub(super) pages: Vec<Page>,
}

/// About how many bytes of a segment hold a run: its share of the rows. An estimate, since records differ in size; what
/// is really fetched, only the footer says.
pub fn estimated_bytes(segment: &Segment, run: &Run) -> u64 {
    let share = u128::from(segment.bytes) * u128::from(run.rows) / u128::from(segment.rows.max(1));
    u64::try_from(share).unwrap_or(u64::MAX).min(segment.bytes)
}

/// What a row group that is not wanted as a whole costs, about: its keys, its values and its small columns lie apart.
const REQUESTS_PER_GROUP: u64 = 3;

/// About how many requests fetch what is wanted of a segment. An estimate; how the pages lie, only the footer says.
pub fn estimated_requests(segment: &Segment, wanted: &[Wanted]) -> u64 {
    if is_whole(segment, wanted) {
        return 1;
    }
    let groups: BTreeSet<u32> = wanted.iter().map(|wanted| wanted.run.row_group).collect();
    1 + REQUESTS_PER_GROUP * groups.len() as u64
}

/// Whether the segment is fetched by one request: all of it is wanted, or the footer alone would cost as much. Which share
/// the manifest cannot tell otherwise: a few rows may be most of the bytes.
pub(super) fn is_whole(segment: &Segment, wanted: &[Wanted]) -> bool {
    let all = wanted.len() == segment.runs.len() && wanted.iter().all(Wanted::is_all);
    all || segment.bytes <= MAX_HOLE
}

/// Plans all row groups in which something may be wanted.
pub(super) fn groups(footer: &SegmentFooter, wanted: Vec<Wanted>) -> Result<Vec<GroupPlan>, Error> {
    check_order(&wanted)?;
    let mut groups: Vec<GroupPlan> = Vec::new();
    for wanted in wanted {
        footer.check_knows(&wanted.run)?;
        let number = wanted.run.row_group as usize;
        let rows = rows(footer, number, &wanted);
        if rows.is_empty() {
            continue;
        }
        let part = Part { wanted, rows };
        match groups.last_mut().filter(|group| group.number == number) {
            Some(group) => group.parts.push(part),
            None => groups.push(GroupPlan { number, parts: vec![part], pieces: Vec::new() }),
        }
    }
    for group in &mut groups {
        group.pieces = pieces(footer.pages.group(group.number), &rows_of(&group.parts));
    }
    Ok(groups)
}

fn check_order(wanted: &[Wanted]) -> Result<(), Error> {
    let place = |wanted: &Wanted| (wanted.run.row_group, wanted.run.first_row);
    match wanted.windows(2).find(|pair| place(&pair[0]) >= place(&pair[1])) {
        None => Ok(()),
        Some(pair) => Err(Error::Unsorted {
            previous: pair[0].run.key(),
            previous_range: pair[0].run.range,
            partition: pair[1].run.key(),
            range: pair[1].run.range,
        }),
    }
}

/// The rows of parts that follow each other, sorted and apart.
pub(super) fn rows_of(parts: &[Part]) -> Vec<Range<u64>> {
    let mut rows = Vec::new();
    parts.iter().flat_map(|part| &part.rows).for_each(|range| push(&mut rows, range.clone()));
    rows
}

/// The rows of a run that may be wanted, as far as the run and the bounds of the pages tell.
fn rows(footer: &SegmentFooter, group: usize, wanted: &Wanted) -> Vec<Range<u64>> {
    let run = &wanted.run;
    let all = run.first_row..run.first_row.saturating_add(run.rows);
    let mut rows = Vec::new();
    if wanted.has_all_offsets() {
        push(&mut rows, all);
    } else {
        let last = run.range.next_offset().get().saturating_sub(1);
        push(&mut rows, ascending(&all, run.range.base().get()..=last, wanted.offsets));
        rows = narrowed(footer, group, column::OFFSET, &rows, |page, bounds| {
            // Of a page that holds rows of other runs, the bounds are theirs too.
            let own = all.start <= page.start && page.end <= all.end;
            if own { ascending(page, bounds, wanted.offsets) } else { page.clone() }
        });
    }
    if !wanted.has_all_timestamps() {
        let (from, until) = (wanted.from.unwrap_or(run.min_timestamp), wanted.until.unwrap_or(run.max_timestamp));
        // As the column has them: whatever lies between two instants also lies between the two when all are clamped.
        let clamped = |instant: TimestampMs| instant.get().clamp(MIN_TIMESTAMP, MAX_TIMESTAMP);
        let (from, until) = (clamped(from), clamped(until));
        rows = narrowed(footer, group, column::TIMESTAMP, &rows, |page, bounds| {
            if *bounds.start() <= until && from <= *bounds.end() { page.clone() } else { 0..0 }
        });
    }
    rows
}

/// Those of `rows` whose offsets may be wanted, when they ascend within `bounds`: each is at least one above the one before,
/// so without holes this is exact.
fn ascending(rows: &Range<u64>, bounds: RangeInclusive<i64>, wanted: OffsetRange) -> Range<u64> {
    let distance = |from: i64, to: i64| u64::try_from(to.saturating_sub(from)).ok();
    let (base, next) = (wanted.base().get(), wanted.next_offset().get());
    // So many rows at most, from the end, are not below the first wanted offset, and so many, from the start, below the last.
    let from_end = distance(base, *bounds.end()).map_or(0, |above| above.saturating_add(1));
    let from_start = distance(*bounds.start(), next).unwrap_or(0);
    let start = rows.end.saturating_sub(from_end).max(rows.start);
    let end = rows.start.saturating_add(from_start).min(rows.end);
    start..end.max(start)
}

/// What `part` leaves of `rows`, page by page of a column: it is given the rows of a page and their bounds.
fn narrowed(
    footer: &SegmentFooter,
    group: usize,
    leaf: usize,
    rows: &[Range<u64>],
    part: impl Fn(&Range<u64>, RangeInclusive<i64>) -> Range<u64>,
) -> Vec<Range<u64>> {
    let bounds = page_map::bounds(footer.reader.metadata(), group, leaf);
    let pages = footer.pages.group(group).get(leaf).map_or(&[][..], |column| &column.data);
    let part = |number: usize, page: &Page| {
        let bounds = bounds.and_then(|all| Some(*all.min_values().get(number)?..=*all.max_values().get(number)?));
        bounds.map_or_else(|| page.rows.clone(), |bounds| part(&page.rows, bounds))
    };
    let mut narrowed = Vec::new();
    for range in rows {
        let first = pages.partition_point(|page| page.rows.end <= range.start);
        let inside = pages.iter().enumerate().skip(first).take_while(|(_, page)| page.rows.start < range.end);
        for rows in inside.map(|(number, page)| part(number, page)) {
            push(&mut narrowed, range.start.max(rows.start)..range.end.min(rows.end));
        }
    }
    narrowed
}

/// Adds a range after those that are there, to the last of them where it goes on.
fn push(ranges: &mut Vec<Range<u64>>, range: Range<u64>) {
    match ranges.last_mut() {
        _ if range.is_empty() => {}
        Some(last) if last.end == range.start => last.end = range.end,
        _ => ranges.push(range),
    }
}

/// The requests that bring all pages of some rows.
fn pieces(columns: &[ColumnPages], rows: &[Range<u64>]) -> Vec<Piece> {
    let mut pages: Vec<Page> = columns.iter().flat_map(|column| column.of_rows(rows)).cloned().collect();
    pages.sort_by_key(|page| page.bytes.start);
    let joined = joined_holes(&pages);
    let mut pieces: Vec<Piece> = Vec::new();
    for page in pages {
        match pieces.last_mut() {
            Some(piece) if page.bytes.start - piece.range.end <= joined => {
                piece.range.end = page.bytes.end;
                piece.pages.push(page);
            }
            _ => pieces.push(Piece { range: page.bytes.clone(), pages: vec![page] }),
        }
    }
    pieces
}

/// Up to which size holes are fetched as well: as large as may be, while all of them stay within their share.
fn joined_holes(pages: &[Page]) -> u64 {
    let wanted: u64 = pages.iter().map(|page| page.bytes.end - page.bytes.start).sum();
    let mut left = (wanted / WANTED_PER_HOLE).max(MAX_HOLE);
    let mut holes: Vec<u64> = pages.windows(2).map(|pair| pair[1].bytes.start - pair[0].bytes.end).collect();
    holes.sort_unstable();
    let mut joined = 0;
    for hole in holes.into_iter().filter(|hole| *hole > 0) {
        match left.checked_sub(hole) {
            Some(rest) if hole <= MAX_HOLE => (left, joined) = (rest, hole),
            // Others of this size may have fitted; all of them do not.
            _ => return joined.min(hole - 1),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::range;

    /// Pages that lie at these bytes, and a row each.
    fn column(leaf: usize, bytes: &[Range<u64>]) -> ColumnPages {
        let page = |(number, bytes): (usize, &Range<u64>)| {
            let row = number as u64;
            Page { bytes: bytes.clone(), plain: bytes.clone(), rows: row..row + 1, checksum: 0, leaf, number }
        };
        ColumnPages { dictionary: None, data: bytes.iter().enumerate().map(page).collect() }
    }

    fn ranges(pieces: &[Piece]) -> Vec<Range<u64>> {
        pieces.iter().map(|piece| piece.range.clone()).collect()
    }

    #[test]
    fn small_holes_are_fetched_and_large_ones_are_not() {
        let far = 10 + MAX_HOLE;
        let one = column(0, &[0..10, 10..20, 20..30]);
        let other = column(1, &[30..40, far + 30..far + 40]);
        let near = pieces(&[one.clone(), other.clone()], std::slice::from_ref(&(0..1)));
        assert_eq!(ranges(&near), vec![Range { start: 0, end: 40 }]);
        let both = pieces(&[one, other], &[0..1, 1..2]);
        assert_eq!(ranges(&both), [0..40, far + 30..far + 40]);
        assert_eq!(both.iter().map(|piece| piece.pages.len()).collect::<Vec<_>>(), [3, 1]);
    }

    #[test]
    fn all_holes_together_stay_below_a_fifth_of_what_is_wanted() {
        const PAGE: u64 = 240 << 10;
        let pages: Vec<Range<u64>> =
            (0..40).map(|at| at * 2 * PAGE..at * 2 * PAGE + 2 * PAGE - (PAGE >> (at % 4))).collect();
        let wanted: u64 = pages.iter().map(|page| page.end - page.start).sum();
        let pieces = pieces(&[column(0, &pages)], std::slice::from_ref(&(0..40)));
        let fetched: u64 = pieces.iter().map(|piece| piece.range.end - piece.range.start).sum();
        assert!(fetched <= wanted + wanted / 5 && fetched > wanted, "{fetched} for {wanted}");
        assert!(pieces.len() < 40);
    }

    #[test]
    fn offsets_that_ascend_without_holes_are_cut_exactly_and_others_as_far_as_they_may_reach() {
        let cut = |bounds: RangeInclusive<i64>, wanted: Range<i64>| ascending(&(10..20), bounds, range(wanted));
        assert_eq!(cut(100..=109, 103..105), 13..15);
        assert_eq!(cut(100..=109, 0..101), 10..11);
        assert_eq!(cut(100..=109, 109..999), 19..20);
        assert!(cut(100..=109, 0..100).is_empty() && cut(100..=109, 110..999).is_empty());
        assert_eq!(cut(100..=129, 100..103), 10..13, "100, 101, 102, and then anything");
        assert_eq!(cut(100..=129, 115..117), 10..20);
        assert_eq!(cut(100..=129, 125..127), 15..20);
    }

    #[test]
    fn ranges_that_meet_become_one() {
        let mut ranges = Vec::new();
        [0..5, 5..9, 12..12, 12..14].into_iter().for_each(|range| push(&mut ranges, range));
        assert_eq!(ranges, [0..9, 12..14]);
    }
}
