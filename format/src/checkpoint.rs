//! Checkpoints: the folded state after a manifest, so that nobody replays the whole log.
//!
//! A checkpoint holds the state, and the segments that were added since the checkpoint before: a *block*. It also
//! lists the blocks before its own with their extent in time, so a reader fetches only those that a slice touches; and the
//! bucket manifests that have taken the place of older ones ([`crate::seal`]).
//! It is derived from manifests alone and proves nothing by itself: a reader trusts it only if the manifest it was
//! folded up to is in the log with the digest that it names.

use serde::{Deserialize, Serialize};

use crate::checksum::Sha256;
use crate::document::{Document, Kind};
use crate::ids::{Sequence, TimestampMs};
use crate::layout::ObjectKey;
use crate::manifest::Segment;
use crate::seal::Sealed;
use crate::state::State;

/// A new checkpoint is written after this many manifests …
pub const MANIFESTS_PER_BLOCK: u64 = 256;

/// … or this many runs, whichever comes first: a block must fit in memory.
pub const RUNS_PER_BLOCK: usize = 50_000;

/// The stored document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Checkpoint {
    /// Always 1 today.
    pub format_version: u32,
    /// Always `checkpoint`.
    pub kind: Kind,
    /// What the log says up to its head.
    pub state: State,
    /// What is sealed, by hour; absent before the first hour was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sealed: Option<Sealed>,
    /// The blocks before this one's that list live segments which are not sealed, oldest first.
    pub blocks: Vec<Block>,
    /// The segments of this checkpoint's own block.
    pub segments: Vec<Segment>,
}

impl Document for Checkpoint {
    const KIND: Kind = Kind::Checkpoint;
}

impl Checkpoint {
    /// The first manifest that its own block covers.
    pub fn begins(&self) -> Sequence {
        begins(self.sealed.as_ref(), &self.blocks)
    }
}

/// The first manifest after all blocks, those included that sealing has emptied.
pub fn begins(sealed: Option<&Sealed>, blocks: &[Block]) -> Sequence {
    let ends = [sealed.map(|sealed| sealed.through), blocks.last().map(|block| block.to)];
    ends.into_iter().flatten().max().map_or(Sequence::FIRST, Sequence::next)
}

/// What a checkpoint's own segments cover.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Block {
    /// The checkpoint that lists its segments.
    pub object: ObjectKey,
    /// SHA-256 of that checkpoint's stored bytes.
    pub sha256: Sha256,
    /// The first manifest it covers.
    pub from: Sequence,
    /// The last manifest it covers.
    pub to: Sequence,
    /// How many segments it lists that were live and not sealed when this was said; so with what follows.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Those of the intake segments among them.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub intake_bytes: u64,
    /// The lowest record timestamp in them; absent where there is no record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_timestamp: Option<TimestampMs>,
    /// The highest record timestamp in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_timestamp: Option<TimestampMs>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(bytes: &u64) -> bool {
    *bytes == 0
}

/// The bytes of the intake segments among these.
pub fn intake_bytes(segments: &[Segment]) -> u64 {
    segments.iter().filter(|segment| segment.is_intake()).map(|segment| segment.bytes).sum()
}

impl Block {
    /// Describes the segments that the checkpoint under `object` lists.
    pub fn new(object: ObjectKey, sha256: Sha256, from: Sequence, to: Sequence, segments: &[Segment]) -> Self {
        let runs = || segments.iter().flat_map(|segment| &segment.runs);
        Self {
            object,
            sha256,
            from,
            to,
            segments: segments.len() as u64,
            bytes: segments.iter().map(|segment| segment.bytes).sum(),
            intake_bytes: intake_bytes(segments),
            min_timestamp: runs().map(|run| run.min_timestamp).min(),
            max_timestamp: runs().map(|run| run.max_timestamp).max(),
        }
    }

    /// Whether a record of it may lie in `[from, to)`.
    pub fn overlaps(&self, from: Option<TimestampMs>, to: Option<TimestampMs>) -> bool {
        let (Some(min), Some(max)) = (self.min_timestamp, self.max_timestamp) else { return false };
        from.is_none_or(|from| from <= max) && to.is_none_or(|to| min < to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Shard;
    use crate::sample::{at, key, run, segment};

    fn block(segments: &[Segment]) -> Block {
        let sha256 = Sha256::of(b"a checkpoint");
        let to = Sequence::new(7);
        Block::new(crate::layout::checkpoint(Shard::ONLY, to, &sha256), sha256, Sequence::FIRST, to, segments)
    }

    #[test]
    fn a_block_reaches_from_its_lowest_to_its_highest_timestamp() {
        let orders = key("orders", 0, 0);
        let late = crate::manifest::Run { max_timestamp: at(90), ..run(&orders, 20..30, 1) };
        let block = block(&[segment(vec![late, run(&orders, 10..20, 1)]), segment(vec![run(&orders, 30..40, 1)])]);
        assert_eq!((block.segments, block.bytes, block.to), (2, 2000, Sequence::new(7)));
        assert_eq!((block.min_timestamp, block.max_timestamp), (Some(at(10)), Some(at(90))));
    }

    #[test]
    fn a_slice_overlaps_a_block_up_to_but_without_its_own_end() {
        let orders = key("orders", 0, 0);
        let block = block(&[segment(vec![run(&orders, 10..11, 1), run(&orders, 20..21, 1)])]);
        let overlaps = |from: Option<i64>, to: Option<i64>| block.overlaps(from.map(at), to.map(at));
        assert!(overlaps(None, None) && overlaps(Some(20), None) && overlaps(None, Some(11)));
        assert!(overlaps(Some(12), Some(13)), "what lies between is not known");
        assert!(!overlaps(Some(21), None) && !overlaps(None, Some(10)));
    }

    #[test]
    fn a_block_without_a_record_is_never_fetched() {
        let empty = block(&[]);
        assert_eq!((empty.segments, empty.bytes, empty.min_timestamp, empty.max_timestamp), (0, 0, None, None));
        assert!(!empty.overlaps(None, None));
    }
}
