//! Which segments a slice of the backup touches, and what of each.
//!
//! Owns: what belongs to a slice. Does not own: finding the blocks of the log that may hold it ([`Log::segments`]), or
//! reading segments ([`crate::segment::slice`]).
//!
//! Invariant: every record of the slice lies in a run that is named. Requests grow with the checkpoints whose records
//! overlap the slice in time, not with the segments.

use std::collections::BTreeMap;

use crate::ids::{Offset, PartitionKey, TimestampMs};
use crate::manifest::reader::{Error, Log};
use crate::manifest::{PartitionPosition, Run, Segment};
use crate::offset_range::OffsetRange;
use crate::segment::slice::Wanted;
use crate::state::State;
use crate::store::Store;

/// The first offset of each partition that a slice does not hold; of other partitions it holds nothing.
pub type Ends = BTreeMap<PartitionKey, Offset>;

/// The ends that these positions are.
pub fn ends<'a>(positions: impl IntoIterator<Item = &'a PartitionPosition>) -> Ends {
    positions.into_iter().map(|position| (position.key(), position.next_offset)).collect()
}

/// Some records of a backup: those that all of its conditions hold for.
#[derive(Clone, Copy)]
pub struct Slice<'a> {
    /// Whether a partition, in one life of its topic, belongs to it.
    pub selected: &'a (dyn Fn(&PartitionKey) -> bool + Send + Sync),
    /// Where each partition ends, exclusive; where absent, all of them go on to the end of the log.
    pub ends: Option<&'a Ends>,
    /// The first timestamp, inclusive; from the lowest where absent.
    pub from: Option<TimestampMs>,
    /// The last timestamp, inclusive, whatever offset its record has; to the highest where absent.
    pub until: Option<TimestampMs>,
}

impl std::fmt::Debug for Slice<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { from, until, .. } = self;
        write!(f, "Slice({} ends, from {from:?} until {until:?})", self.ends.map_or(0, BTreeMap::len))
    }
}

/// A segment that a slice touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The segment.
    pub segment: Segment,
    /// Its runs that may hold records of the slice, at least one, in its order, and which records these are.
    pub wanted: Vec<Wanted>,
}

impl Slice<'_> {
    /// The segments it touches, in the order they were committed; those of one commit do not follow the offsets of a
    /// partition. Fetches the blocks of the log that overlap in time, and nothing else.
    ///
    /// # Errors
    /// As [`Log::segments`].
    pub async fn find(&self, store: &Store, log: &Log) -> Result<Vec<Touched>, Error> {
        // A slice until the highest timestamp has no end.
        let to = self.until.and_then(|until| until.get().checked_add(1)).map(TimestampMs::new);
        let segments = log.segments(store, self.from, to).await?;
        Ok(segments.into_iter().filter_map(|segment| self.touched(segment, &log.state)).collect())
    }

    fn touched(&self, segment: Segment, state: &State) -> Option<Touched> {
        let wanted: Vec<Wanted> = state.live_runs(&segment).filter_map(|run| self.wanted(run)).collect();
        (!wanted.is_empty()).then_some(Touched { segment, wanted })
    }

    /// What it holds of a run; `None` where that is nothing.
    fn wanted(&self, run: &Run) -> Option<Wanted> {
        let key = run.key();
        let end = match self.ends {
            Some(ends) => *ends.get(&key)?,
            None => run.range.next_offset(),
        };
        let offsets = OffsetRange::new(run.range.base(), end.min(run.range.next_offset())).ok()?;
        let wanted = Wanted { run: run.clone(), offsets, from: self.from, until: self.until };
        (wanted.may_hold_any() && (self.selected)(&key)).then_some(wanted)
    }
}

#[cfg(test)]
mod tests;
