//! Why a part of a segment cannot be read, and what is missing because of it.

use std::fmt;

use super::Wanted;
use crate::crypt;
use crate::ids::PartitionKey;
use crate::layout::ObjectKey;
use crate::offset_range::OffsetRange;
use crate::segment;
use crate::store::{ErrorKind, StoreError};

/// How many partitions an error names.
const NAMED: usize = 4;

/// Records that were wanted of a segment cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {} from {object}", Parts(.missing))]
pub struct SliceError {
    /// The segment.
    pub object: ObjectKey,
    /// The offsets that were wanted of it and are not to be had.
    pub missing: Vec<(PartitionKey, OffsetRange)>,
    /// Why.
    #[source]
    pub cause: Cause,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
pub enum Cause {
    /// The store did not give the bytes, or others than were written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The bytes are those that were written, and no segment that can be read.
    #[error(transparent)]
    Segment(#[from] segment::Error),
}

impl SliceError {
    pub(super) fn new(object: ObjectKey, wanted: &[Wanted], cause: Cause) -> Self {
        let missing = wanted.iter().map(|wanted| (wanted.run.key(), inside(wanted))).collect();
        Self { object, missing, cause }
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(&self.cause, Cause::Store(error) if error.is_retryable())
    }

    /// Whether the object is not there, or not what was written: a repeated call fails as well.
    pub fn is_damage(&self) -> bool {
        match &self.cause {
            Cause::Store(error) => matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::NotFound),
            // Its key was made after the others were read: nothing is wrong with it.
            Cause::Segment(segment::Error::Key(crypt::Error::NoKey { .. })) => false,
            Cause::Segment(_) => true,
        }
    }
}

/// The wanted offsets that the run has.
fn inside(wanted: &Wanted) -> OffsetRange {
    let (run, offsets) = (wanted.run.range, wanted.offsets);
    let (base, next) = (run.base().max(offsets.base()), run.next_offset().min(offsets.next_offset()));
    OffsetRange::new(base, next).unwrap_or(run)
}

/// Partitions and offsets as an error shows them.
struct Parts<'a>(&'a [(PartitionKey, OffsetRange)]);

impl fmt::Display for Parts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, (partition, offsets)) in self.0.iter().take(NAMED).enumerate() {
            let comma = if number == 0 { "" } else { ", " };
            write!(f, "{comma}offsets {offsets} of {partition}")?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, " and of {more} more runs"),
        }
    }
}
