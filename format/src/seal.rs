//! Sealed buckets: the live segments of an hour that is over, in one document.
//!
//! A block lists what was committed in some minutes, whatever hour the records are of. A bucket manifest lists what is filed
//! under one hour. So who plans over an hour reads one document for it, and who looks for what may go reads nothing newer.
//!
//! Derived as checkpoints are, and trusted for the same reason: the checkpoint that lists them names their digests.
//!
//! Pure but for [`seal`]. Invariant: each live segment is in exactly one of the sealed buckets, the blocks and the tail.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::bucket::Bucket;
use crate::checkpoint::Block;
use crate::checksum::Sha256;
use crate::document::{self, Document, FORMAT_VERSION, Kind};
use crate::ids::{BackupId, Sequence, Shard, TimestampMs};
use crate::layout::{self, ObjectKey, SegmentPlace};
use crate::manifest::Segment;
use crate::manifest::log::{self, Error};
use crate::manifest::reader;
use crate::state::State;
use crate::store::Store;

/// Blocks that are sealed at once: what they list is held in memory.
const BLOCKS_AT_ONCE: usize = 64;

/// The stored document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct BucketManifest {
    /// Always 1 today.
    pub format_version: u32,
    /// Always `bucketManifest`.
    pub kind: Kind,
    /// The backup.
    pub backup: BackupId,
    /// The shard whose segments these are.
    pub shard: Shard,
    /// The hour that all of them are filed under.
    pub bucket: Bucket,
    /// They were live after this manifest.
    pub through: Sequence,
    /// The segments, in the order they were committed.
    pub segments: Vec<Segment>,
}

impl Document for BucketManifest {
    const KIND: Kind = Kind::BucketManifest;
}

/// What is sealed of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Sealed {
    /// Of the manifests up to and with this one …
    pub through: Sequence,
    /// … every live segment that is filed under an hour before this one is in `buckets`, but for those in intake.
    pub before: Bucket,
    /// Every record that came to intake up to this manifest is in a segment of its topic that one of the manifests up to
    /// `through` has added; absent where that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refined: Option<Sequence>,
    /// The bucket manifests, by hour; of an hour to which more came later, several.
    pub buckets: Vec<SealedBucket>,
}

/// What a bucket manifest covers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SealedBucket {
    /// The hour.
    pub bucket: Bucket,
    /// Where it is.
    pub object: ObjectKey,
    /// SHA-256 of its stored bytes.
    pub sha256: Sha256,
    /// How many segments it lists.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The lowest record timestamp in them; absent where there is no record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_timestamp: Option<TimestampMs>,
    /// The highest record timestamp in them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_timestamp: Option<TimestampMs>,
    /// The first and the last manifest that names a segment with offsets of groups in it; absent where none does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub groups: Option<(Sequence, Sequence)>,
}

impl SealedBucket {
    fn new(bucket: Bucket, object: ObjectKey, sha256: Sha256, segments: &[Segment]) -> Self {
        let block = Block::new(object, sha256, Sequence::FIRST, Sequence::FIRST, segments);
        let of_groups = segments.iter().filter(|segment| segment.holds_groups());
        let sequences = || of_groups.clone().filter_map(|segment| segment.object.segment_sequence());
        let Block { object, sha256, segments, bytes, min_timestamp, max_timestamp, .. } = block;
        let groups = sequences().min().zip(sequences().max());
        Self { bucket, object, sha256, segments, bytes, min_timestamp, max_timestamp, groups }
    }

    /// Whether a record of it may lie in `[from, to)`.
    pub fn overlaps(&self, from: Option<TimestampMs>, to: Option<TimestampMs>) -> bool {
        let (Some(min), Some(max)) = (self.min_timestamp, self.max_timestamp) else { return false };
        from.is_none_or(|from| from <= max) && to.is_none_or(|to| min < to)
    }
}

impl Sealed {
    /// Whether `segment`, which `block` lists, is in a sealed bucket; where it is, the block does not count.
    pub fn covers(&self, block: &Block, segment: &Segment) -> bool {
        block.to <= self.through && hour_of(segment).is_some_and(|hour| hour < self.before)
    }
}

/// The hour under which a segment is filed for good; `None` while it is in intake.
fn hour_of(segment: &Segment) -> Option<Bucket> {
    match segment.object.segment()? {
        SegmentPlace::Intake(_) => None,
        SegmentPlace::Topic(_, bucket) | SegmentPlace::Base(_, bucket) | SegmentPlace::Groups(bucket) => Some(bucket),
    }
}

/// What is to be sealed.
#[derive(Debug)]
pub struct Order {
    store: Store,
    state: State,
    sealed: Option<Sealed>,
    /// Oldest first.
    blocks: Vec<Block>,
    /// Whether these are all blocks that there are.
    is_all: bool,
    before: Bucket,
}

/// What was sealed.
#[derive(Debug)]
pub struct Done {
    /// All that is sealed now.
    pub sealed: Sealed,
    /// The blocks that were looked at, with what each lists still; without those that list nothing more.
    pub left: Vec<Block>,
}

impl Order {
    /// To seal what is filed under hours before `before`, as far as it is in `blocks`; `None` where that is sealed already.
    pub(crate) fn new(
        store: Store,
        state: State,
        sealed: Option<Sealed>,
        blocks: &[Block],
        before: Bucket,
    ) -> Option<Self> {
        let is_all = blocks.len() <= BLOCKS_AT_ONCE;
        let blocks: Vec<Block> = blocks.iter().take(BLOCKS_AT_ONCE).cloned().collect();
        let through = blocks.last()?.to;
        let is_done = sealed.as_ref().is_some_and(|sealed| sealed.through >= through && sealed.before >= before);
        (!is_done).then_some(Self { store, state, sealed, blocks, is_all, before })
    }
}

/// Writes the bucket manifests. They count once a checkpoint lists them.
///
/// # Errors
/// [`reader::Error`] where a block cannot be read, [`log::Error`] where a document cannot be written. Nothing is changed then.
pub async fn seal(order: Order) -> Result<Done, SealError> {
    let Order { store, state, sealed, blocks, is_all, before } = order;
    let through = blocks.last().map_or(Sequence::FIRST, |block| block.to);
    let is_sealed =
        |block: &Block, segment: &Segment| sealed.as_ref().is_some_and(|sealed| sealed.covers(block, segment));
    let mut hours: BTreeMap<Bucket, Vec<Segment>> = BTreeMap::new();
    let mut left = Vec::new();
    for block in &blocks {
        let mut listed = reader::read_block(&store, state.shard, block).await?;
        listed.retain(|segment| state.holds(segment) && !is_sealed(block, segment));
        let mut stays = Vec::new();
        for segment in listed {
            match hour_of(&segment).filter(|hour| *hour < before) {
                Some(hour) => hours.entry(hour).or_default().push(segment),
                None => stays.push(segment),
            }
        }
        if !stays.is_empty() {
            left.push(Block::new(block.object.clone(), block.sha256, block.from, block.to, &stays));
        }
    }
    let refined_before = sealed.as_ref().and_then(|sealed| sealed.refined);
    let refined = if is_all { state.refined.map(|refined| refined.through) } else { refined_before };
    let mut buckets = sealed.map(|sealed| sealed.buckets).unwrap_or_default();
    for (bucket, segments) in hours {
        buckets.push(write(&store, &state, (bucket, through), segments).await?);
    }
    buckets.sort_by(|a, b| (a.bucket, &a.object).cmp(&(b.bucket, &b.object)));
    Ok(Done { sealed: Sealed { through, before, refined, buckets }, left })
}

async fn write(
    store: &Store,
    state: &State,
    (bucket, through): (Bucket, Sequence),
    segments: Vec<Segment>,
) -> Result<SealedBucket, SealError> {
    let document = BucketManifest {
        format_version: FORMAT_VERSION,
        kind: Kind::BucketManifest,
        backup: state.backup,
        shard: state.shard,
        bucket,
        through,
        segments,
    };
    let bytes = document::pack(&document).map_err(log::Error::from)?;
    let digest = Sha256::of(&bytes);
    let key = layout::bucket_manifest(bucket, state.shard, through, &digest);
    log::create_derived(store, &key, &bytes).await?;
    Ok(SealedBucket::new(bucket, key, digest, &document.segments))
}

/// Why nothing was sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// A block cannot be read.
    #[error(transparent)]
    Read(#[from] reader::Error),
    /// A document cannot be written.
    #[error(transparent)]
    Write(#[from] Error),
}
