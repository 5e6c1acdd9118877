//! Refining: intake segments, which hold a few seconds of many topics, become segments of one topic and one hour each.
//!
//! ```text
//! blocks of the log ──▶ intake segments ──▶ rows ──▶ Sorter: by topic and bucket ──▶ row groups ──▶ files ──▶ Refined
//!                                   └──▶ large row groups of one topic and bucket, as they are ──▶┘
//! ```
//!
//! Owns: reading each intake segment once, in the order of the log, and what comes of it. Does not own: when it is done, or
//! the manifest that makes it count ([`crate::stream`]). Until that is committed, what was uploaded does not exist; so it may
//! be dropped at any point.
//!
//! Invariants: the records that come out are those that went in, each once, under their offsets; the offsets of a partition
//! ascend within a file; memory is bounded by [`Limits`] and one row group, and [`Limits`] are charged to the process's budget.

mod files;
mod groups;
mod sorter;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use strimzi_backup_format::checkpoint::Block;
use strimzi_backup_format::ids::{PartitionKey, Sequence};
use strimzi_backup_format::layout::SegmentPlace;
use strimzi_backup_format::manifest::{Refined, Segment, reader};
use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::segment;
use strimzi_backup_format::segment::slice::{SliceError, estimated_bytes};
use strimzi_backup_format::state::{State, Totals};
use strimzi_backup_format::store::Store;

use crate::budget::{Budget, Charge};
use crate::clock::Clock;
use crate::pipeline::produce::Workshop;
pub(crate) use files::Files;
pub(crate) use groups::Groups;
pub(crate) use sorter::{Keep, Rest};

/// Blocks that are refined at once: so many runs are held in memory, and so much work is lost where it does not succeed.
const BLOCKS_AT_ONCE: usize = 8;

/// Stored bytes of intake after which no further block is taken.
const BYTES_AT_ONCE: u64 = 4 << 30;

/// What refining may hold in memory.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of records that wait for their row group.
    pub raw_bytes: usize,
    /// Bytes of row groups that wait for their files to be full.
    pub encoded_bytes: usize,
}

impl Limits {
    /// Five eighths of the budget that all records in memory share: of the default, enough for a file of one busy topic among many
    /// quiet ones.
    pub fn of(budget: &Budget) -> Self {
        Self { raw_bytes: budget.limit() / 8, encoded_bytes: budget.limit() / 2 }
    }

    /// Takes it from the budget; `None` where that is needed for streaming.
    pub fn charge(self, budget: &Arc<Budget>) -> Option<Charge> {
        let bytes = self.raw_bytes + self.encoded_bytes;
        budget.try_charge(bytes).then(|| Charge::adopt(Arc::clone(budget), bytes))
    }
}

/// Why intake segments could not be refined. They stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log does not say what lies in intake.
    #[error(transparent)]
    Log(#[from] reader::Error),
    /// An intake segment cannot be read.
    #[error(transparent)]
    Read(#[from] SliceError),
    /// The records cannot be encoded.
    #[error(transparent)]
    Encode(#[from] segment::Error),
    /// What came out is not what went in: a fault of this program, found before anything counts.
    #[error("a fault of this program: refining lost or doubled offsets of {0}; nothing was changed")]
    Unequal(PartitionKey),
}

/// What is to be refined.
#[derive(Debug)]
pub struct Order {
    /// What the log says, when it was ordered.
    pub state: State,
    /// The blocks of the log that hold the intake segments, oldest first.
    pub blocks: Vec<Block>,
}

impl Order {
    /// The first of `blocks`, as many as are refined at once; `None` where there is none.
    pub fn new<'a>(state: &State, blocks: impl Iterator<Item = &'a Block>) -> Option<Self> {
        let mut bytes = 0;
        let fits = blocks.take(BLOCKS_AT_ONCE).take_while(|block| {
            let fits = bytes < BYTES_AT_ONCE;
            bytes += block.intake_bytes;
            fits
        });
        let blocks: Vec<Block> = fits.cloned().collect();
        (!blocks.is_empty()).then(|| Self { state: state.clone(), blocks })
    }

    /// The manifest through which it is refined.
    fn through(&self) -> Sequence {
        self.blocks.last().map_or(Sequence::FIRST, |block| block.to)
    }
}

/// Refines what is ordered, within `limits`, which are charged. On success all segments are complete in the store. `numbers`
/// counts the files that this writer has refined.
///
/// # Errors
/// [`Error`]; what was uploaded until then, no manifest names.
pub async fn refine<C: Clock>(
    shop: Arc<Workshop<C>>,
    order: Order,
    (limits, charge): (Limits, Charge),
    numbers: Arc<AtomicUsize>,
) -> Result<Refined, Error> {
    let through = order.through();
    let mut rest = Rest::new();
    for block in &order.blocks {
        for segment in intake(&shop, &order.state, block).await? {
            for run in &segment.runs {
                *rest.entry((run.topic.clone(), run.bucket)).or_default() += estimated_bytes(&segment, run);
            }
        }
    }
    let mut work = Work {
        files: Files::new(&shop, SegmentPlace::Topic, (through, &numbers), (limits, rest)),
        through,
        replaced: Totals::default(),
        read: BTreeMap::new(),
    };
    for block in &order.blocks {
        for segment in intake(&shop, &order.state, block).await? {
            work.take(&shop.store, &order.state, segment).await?;
        }
    }
    let refined = work.finish().await;
    drop(charge);
    refined
}

/// The live intake segments of a block.
async fn intake<C: Clock>(shop: &Workshop<C>, state: &State, block: &Block) -> Result<Vec<Segment>, Error> {
    let mut segments = reader::read_block(&shop.store, shop.shard, block).await?;
    segments.retain(|segment| segment.is_intake() && state.holds(segment));
    Ok(segments)
}

/// Refining under way.
struct Work<'a, C> {
    files: Files<'a, C>,
    through: Sequence,
    replaced: Totals,
    /// What was read of each partition, in order; what follows on is joined.
    read: BTreeMap<PartitionKey, Vec<OffsetRange>>,
}

impl<C: Clock> Work<'_, C> {
    /// Takes in all records of one intake segment.
    async fn take(&mut self, store: &Store, state: &State, segment: Segment) -> Result<(), Error> {
        self.replaced = self.replaced.plus(&segment).unwrap_or(self.replaced);
        let mut live = Vec::new();
        for run in state.live_runs(&segment) {
            join(self.read.entry(run.key()).or_default(), run.range);
            live.push((run.clone(), estimated_bytes(&segment, run)));
        }
        let mut groups = Groups::open(store, segment, live).await?;
        while let Some((runs, pages)) = groups.next().await? {
            self.files.take_group(runs, pages).await?;
        }
        Ok(())
    }

    async fn finish(self) -> Result<Refined, Error> {
        let Self { files, through, replaced, read } = self;
        let segments = files.finish().await?;
        check(&read, &segments)?;
        Ok(Refined { through, segments, replaced })
    }
}

/// Compares the offsets that came out with those that went in.
fn check(read: &BTreeMap<PartitionKey, Vec<OffsetRange>>, segments: &[Segment]) -> Result<(), Error> {
    let mut written: BTreeMap<PartitionKey, Vec<OffsetRange>> = BTreeMap::new();
    for run in segments.iter().flat_map(|segment| &segment.runs) {
        written.entry(run.key()).or_default().push(run.range);
    }
    for ranges in written.values_mut() {
        ranges.sort_unstable();
        let sorted = std::mem::take(ranges);
        sorted.into_iter().for_each(|range| join(ranges, range));
    }
    if written == *read {
        return Ok(());
    }
    let differs = |key: &&PartitionKey| written.get(*key) != read.get(*key);
    match read.keys().chain(written.keys()).find(differs) {
        Some(key) => Err(Error::Unequal(key.clone())),
        None => Ok(()),
    }
}

/// Adds a range at the end of some, to the last of them where it follows on.
fn join(ranges: &mut Vec<OffsetRange>, range: OffsetRange) {
    if let Some(last) = ranges.last_mut()
        && last.next_offset() == range.base()
        && let Ok(joined) = OffsetRange::new(last.base(), range.next_offset())
    {
        *last = joined;
        return;
    }
    ranges.push(range);
}
