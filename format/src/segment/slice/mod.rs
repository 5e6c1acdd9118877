//! Some records of a segment, without the rest of it.
//!
//! ```text
//! manifest ──▶ footer, digest checked ──▶ plan ──▶ ranges, page checksums checked ──▶ rows ──▶ the wanted records
//!              one request                pure     a few requests for each row group
//! ```
//!
//! Owns: which bytes are fetched for which records, checking them before anything is made of them, and naming what cannot
//! be read. Does not own: which segments and runs a slice touches ([`crate::slice`]), decoding ([`super::decode`]).
//!
//! Invariants: exactly the wanted records come out, in the order of the segment; nothing is decoded that was not checked, and of an
//! encrypted backup opened; no more than one row group's pages are held, or one segment where all of it is wanted.

mod error;
mod plan;

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;

use super::Error;
use super::copy::NotCopied;
use super::decode::{Part, Row, RowGroupReader, Rows};
use super::encode::{EncodeOptions, EncodedRowGroup};
use super::footer::{MAX_FOOTER_BYTES, SegmentFooter, check_limit};
use super::page_map::Page;
use super::pieces::Pieces;
use crate::ids::{Offset, TimestampMs};
use crate::manifest::{Run, Segment};
use crate::offset_range::OffsetRange;
use crate::store::{Meter, Mismatch, Store, StoreError, get_verified, has_digest};
pub use error::{Cause, SliceError};
use plan::{GroupPlan, Piece};
pub use plan::{estimated_bytes, estimated_requests};

/// Requests for one row group under way at once.
const REQUESTS_IN_FLIGHT: usize = 8;

/// The records of one run that are wanted: those that lie in `offsets` and in `[from, until]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The run, as the manifest has it.
    pub run: Run,
    /// The offsets; what of them is outside the run counts for nothing.
    pub offsets: OffsetRange,
    /// The first timestamp, inclusive; from the lowest where absent.
    pub from: Option<TimestampMs>,
    /// The last timestamp, inclusive; to the highest where absent.
    pub until: Option<TimestampMs>,
}

impl Wanted {
    /// All of a run.
    pub fn all(run: Run) -> Self {
        Self { offsets: run.range, run, from: None, until: None }
    }

    /// Whether it may hold a record, as far as the run says.
    pub fn may_hold_any(&self) -> bool {
        let Run { range, min_timestamp, max_timestamp, .. } = self.run;
        let offsets = self.offsets.base() < range.next_offset() && range.base() < self.offsets.next_offset();
        let until = self.until.is_none_or(|until| min_timestamp <= until);
        offsets && !self.offsets.is_empty() && until && self.from.is_none_or(|from| from <= max_timestamp)
    }

    pub(crate) fn has_all_offsets(&self) -> bool {
        self.offsets.base() <= self.run.range.base() && self.run.range.next_offset() <= self.offsets.next_offset()
    }

    pub(crate) fn has_all_timestamps(&self) -> bool {
        let from = self.from.is_none_or(|from| from <= self.run.min_timestamp);
        from && self.until.is_none_or(|until| self.run.max_timestamp <= until)
    }

    /// Whether all records of the run are wanted.
    pub(crate) fn is_all(&self) -> bool {
        self.has_all_offsets() && self.has_all_timestamps()
    }

    /// Whether a record of the run is wanted, by its exact timestamp.
    pub(crate) fn holds(&self, offset: Offset, timestamp: TimestampMs) -> bool {
        self.offsets.contains(offset)
            && self.from.is_none_or(|from| from <= timestamp)
            && self.until.is_none_or(|until| timestamp <= until)
    }
}

/// What reading cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Requests, with those that were made again.
    pub requests: u64,
    /// Bytes of their answers.
    pub bytes: u64,
}

/// Reads the wanted records of one segment, row group after row group.
#[derive(Debug)]
pub struct SliceReader {
    source: Arc<Source>,
    footer: Option<SegmentFooter>,
    groups: std::vec::IntoIter<GroupPlan>,
    /// All bytes, where they were fetched at once.
    whole: Option<Bytes>,
}

/// Where a segment lies.
#[derive(Debug)]
struct Source {
    store: Store,
    path: Path,
    segment: Segment,
    meter: Meter,
}

impl SliceReader {
    /// Fetches the segment's footer, or all of it where all is wanted or it is small, and plans the rest. `wanted` are runs of
    /// the segment in its order, none of them twice; without any nothing is fetched.
    ///
    /// Bytes that are not those that were written are fetched again before they are reported.
    ///
    /// # Errors
    /// [`SliceError`], which names the object and the offsets that were wanted of it.
    pub async fn open(store: &Store, segment: Segment, wanted: Vec<Wanted>) -> Result<Self, SliceError> {
        let path = segment.object.below(&store.prefix);
        let source = Source { store: store.clone(), path, segment, meter: Meter::default() };
        let mut this = Self { source: Arc::new(source), footer: None, groups: Vec::new().into_iter(), whole: None };
        let wanted: Vec<Wanted> = wanted.into_iter().filter(Wanted::may_hold_any).collect();
        if wanted.is_empty() {
            return Ok(this);
        }
        let failed = |cause| SliceError::new(this.source.segment.object.clone(), &wanted, cause);
        this.source.check_sizes().map_err(|error| failed(error.into()))?;
        let tail = this.source.fetch_tail(&wanted).await.map_err(|error| failed(error.into()))?;
        let (footer, groups) = this.source.plan(&tail.footer, wanted.clone()).map_err(|error| failed(error.into()))?;
        (this.footer, this.groups, this.whole) = (Some(footer), groups.into_iter(), tail.whole);
        Ok(this)
    }

    /// Fetches and checks the pages of the next row group in which something may be wanted; `None` after the last. The
    /// records come from the result without further requests, so that this may be called again before they are taken.
    ///
    /// # Errors
    /// [`SliceError`]. The row group is passed over then.
    pub async fn next_group(&mut self) -> Result<Option<GroupRows>, SliceError> {
        self.next_pages().await?.map(GroupPages::rows).transpose()
    }

    /// The same, before anything is decoded.
    ///
    /// # Errors
    /// As [`SliceReader::next_group`].
    pub async fn next_pages(&mut self) -> Result<Option<GroupPages>, SliceError> {
        let (Some(group), Some(footer)) = (self.groups.next(), &self.footer) else { return Ok(None) };
        let wanted: Vec<Wanted> = group.parts.iter().map(|part| part.wanted.clone()).collect();
        let failed = |cause| SliceError::new(self.source.segment.object.clone(), &wanted, cause);
        let pieces = match &self.whole {
            Some(whole) => cut(whole, &group.pieces).map_err(|error| failed(error.into()))?,
            None => self.source.fetch_pieces(&group.pieces).await.map_err(|error| failed(error.into()))?,
        };
        let reader = open(footer, group.number, pieces, &group.parts).map_err(|error| failed(error.into()))?;
        Ok(Some(GroupPages { reader, parts: group.parts, source: Arc::clone(&self.source), wanted }))
    }

    /// What was fetched so far.
    pub fn fetched(&self) -> Fetched {
        let (requests, bytes) = self.source.meter.read();
        Fetched { requests, bytes }
    }
}

fn open(
    footer: &SegmentFooter,
    group: usize,
    pieces: Vec<(u64, Bytes)>,
    parts: &[Part],
) -> Result<RowGroupReader, Error> {
    RowGroupReader::of_pieces(footer, group, Pieces::new(footer.file_size(), pieces), &plan::rows_of(parts))
}

/// The pieces of an object that is there as a whole.
fn cut(whole: &Bytes, pieces: &[Piece]) -> Result<Vec<(u64, Bytes)>, Error> {
    let cut = |piece: &Piece| {
        let at = |byte: u64| usize::try_from(byte).unwrap_or(usize::MAX);
        let range = at(piece.range.start)..at(piece.range.end);
        let bytes = (range.end <= whole.len()).then(|| whole.slice(range));
        let bytes = bytes.ok_or_else(|| Error::damaged("a page lies outside the file"))?;
        check_pages(piece, &bytes).map_err(Error::damaged)?;
        Ok((piece.range.start, bytes))
    };
    pieces.iter().map(cut).collect()
}

/// Compares each page of a piece with its checksum.
fn check_pages(piece: &Piece, bytes: &[u8]) -> Result<(), Mismatch> {
    let at = |byte: u64| usize::try_from(byte - piece.range.start).unwrap_or(usize::MAX);
    let stored = |page: &Page| bytes.get(at(page.bytes.start)..at(page.bytes.end)).unwrap_or_default();
    piece.pages.iter().try_for_each(|page| page.check(stored(page)))
}

/// The end of a segment, and the rest where it was fetched too.
struct Tail {
    footer: Bytes,
    whole: Option<Bytes>,
}

impl Source {
    /// Fails where the manifest speaks of a footer that no segment has.
    fn check_sizes(&self) -> Result<(), Error> {
        let Segment { bytes, footer_bytes, .. } = self.segment;
        check_limit("footer bytes", footer_bytes, MAX_FOOTER_BYTES)?;
        if footer_bytes == 0 || footer_bytes > bytes {
            return Err(Error::Damaged(format!("a footer of {footer_bytes} bytes in a segment of {bytes} cannot be")));
        }
        Ok(())
    }

    async fn fetch_tail(&self, wanted: &[Wanted]) -> Result<Tail, StoreError> {
        let Segment { bytes: size, sha256, footer_bytes, footer_sha256, .. } = self.segment;
        let footer_at = size.saturating_sub(footer_bytes);
        let (store, meter) = (self.store.inner.as_ref(), &self.meter);
        if !plan::is_whole(&self.segment, wanted) {
            let range = Some(footer_at..size);
            let footer =
                get_verified(store, &self.path, size, range, meter, |bytes| has_digest(bytes, footer_sha256)).await?;
            return Ok(Tail { footer, whole: None });
        }
        let whole = get_verified(store, &self.path, size, None, meter, |bytes| has_digest(bytes, sha256)).await?;
        let footer = whole.slice(usize::try_from(footer_at).unwrap_or(usize::MAX).min(whole.len())..);
        Ok(Tail { footer, whole: Some(whole) })
    }

    fn plan(&self, footer: &[u8], wanted: Vec<Wanted>) -> Result<(SegmentFooter, Vec<GroupPlan>), Error> {
        let opener = self.store.opener(&self.segment.object);
        let footer = SegmentFooter::parse(footer, self.segment.bytes, opener.as_ref())?;
        let groups = plan::groups(&footer, wanted)?;
        Ok((footer, groups))
    }

    async fn fetch_pieces(&self, pieces: &[Piece]) -> Result<Vec<(u64, Bytes)>, StoreError> {
        let fetches: Vec<_> = pieces.iter().map(|piece| self.fetch(piece)).collect();
        stream::iter(fetches).buffered(REQUESTS_IN_FLIGHT).try_collect().await
    }

    async fn fetch(&self, piece: &Piece) -> Result<(u64, Bytes), StoreError> {
        let (store, size, range) = (self.store.inner.as_ref(), self.segment.bytes, Some(piece.range.clone()));
        let check = |bytes: &Bytes| check_pages(piece, bytes);
        let bytes = get_verified(store, &self.path, size, range, &self.meter, check).await?;
        Ok((piece.range.start, bytes))
    }
}

/// The pages of one row group in which something is wanted, checked and not decoded.
#[derive(Debug)]
pub struct GroupPages {
    reader: RowGroupReader,
    parts: Vec<Part>,
    source: Arc<Source>,
    wanted: Vec<Wanted>,
}

impl GroupPages {
    /// The wanted records.
    ///
    /// # Errors
    /// [`SliceError`] where the Parquet reader refuses the pages.
    pub fn rows(self) -> Result<GroupRows, SliceError> {
        let Self { reader, parts, source, wanted } = self;
        match reader.read(parts) {
            Ok(rows) => Ok(GroupRows { rows, source, wanted }),
            Err(error) => Err(SliceError::new(source.segment.object.clone(), &wanted, error.into())),
        }
    }

    /// The row group as it is, for another segment, where all of its records are wanted.
    ///
    /// # Errors
    /// [`NotCopied`]; there are still [`GroupPages::rows`].
    pub fn copy(&self, options: &EncodeOptions) -> Result<EncodedRowGroup, NotCopied> {
        let whole = self.wanted.len() == self.reader.runs().count() && self.wanted.iter().all(Wanted::is_all);
        if whole { self.reader.copy(options) } else { Err(NotCopied::Partly) }
    }
}

/// The wanted records of one row group, in order. The first error is the last item.
#[derive(Debug)]
pub struct GroupRows {
    rows: Rows,
    source: Arc<Source>,
    wanted: Vec<Wanted>,
}

impl Iterator for GroupRows {
    type Item = Result<Row, SliceError>;

    fn next(&mut self) -> Option<Self::Item> {
        let failed = |error: Error| SliceError::new(self.source.segment.object.clone(), &self.wanted, error.into());
        self.rows.next().map(|row| row.map_err(failed))
    }
}

/// All ranges that are fetched for `wanted` beside the footer.
#[cfg(test)]
pub(crate) fn planned(footer: &SegmentFooter, wanted: Vec<Wanted>) -> Vec<std::ops::Range<u64>> {
    let groups = plan::groups(footer, wanted.into_iter().filter(Wanted::may_hold_any).collect()).expect("legal");
    groups.into_iter().flat_map(|group| group.pieces).map(|piece| piece.range).collect()
}
