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
use crate::checkpoint::{Block, RUNS_PER_BLOCK};
use crate::checksum::Sha256;
use crate::document::{self, Document, FORMAT_VERSION, Kind};
use crate::ids::{BackupId, Sequence, Shard, TimestampMs};
use crate::layout::{self, ObjectKey, SegmentPlace};
use crate::manifest::Segment;
use crate::manifest::log::{self, Error};
use crate::manifest::reader;
use crate::state::State;
use crate::store::Store;

/// So many runs wait in memory for their bucket manifests, at about 250 bytes of JSON each: far below what a document may have.
const RUNS_AT_ONCE: usize = 4 * RUNS_PER_BLOCK;

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
    /// The bucket manifests, by hour; of an hour to which more came later, or that has very many runs, several.
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
        let through = blocks.last()?.to;
        let is_done = sealed.as_ref().is_some_and(|sealed| sealed.through >= through && sealed.before >= before);
        (!is_done).then(|| Self { store, state, sealed, blocks: blocks.to_vec(), before })
    }
}

/// Writes the bucket manifests. They count once a checkpoint lists them.
///
/// # Errors
/// [`reader::Error`] where a block cannot be read, [`log::Error`] where a document cannot be written. Nothing is changed then.
pub async fn seal(order: Order) -> Result<Done, SealError> {
    seal_within(order, RUNS_AT_ONCE).await
}

/// What is to be written, by hour.
#[derive(Debug, Default)]
struct Hours {
    segments: BTreeMap<Bucket, Vec<Segment>>,
    runs: usize,
}

impl Hours {
    fn add(&mut self, hour: Bucket, segment: Segment) {
        self.runs += segment.runs.len();
        self.segments.entry(hour).or_default().push(segment);
    }

    /// The hour with the most runs.
    fn take_largest(&mut self) -> Option<(Bucket, Vec<Segment>)> {
        let runs = |segments: &Vec<Segment>| segments.iter().map(|segment| segment.runs.len()).sum::<usize>();
        let hour = self.segments.iter().max_by_key(|(_, segments)| runs(segments)).map(|(hour, _)| *hour)?;
        let segments = self.segments.remove(&hour)?;
        self.runs -= runs(&segments);
        Some((hour, segments))
    }
}

/// With so many runs in memory, and those of a block.
async fn seal_within(order: Order, most: usize) -> Result<Done, SealError> {
    let Order { store, state, sealed, blocks, before } = order;
    let through = blocks.last().map_or(Sequence::FIRST, |block| block.to);
    let is_sealed =
        |block: &Block, segment: &Segment| sealed.as_ref().is_some_and(|sealed| sealed.covers(block, segment));
    let mut hours = Hours::default();
    let (mut left, mut written) = (Vec::new(), Vec::new());
    for block in &blocks {
        let mut listed = reader::read_block(&store, state.shard, block).await?;
        listed.retain(|segment| state.holds(segment) && !is_sealed(block, segment));
        let mut stays = Vec::new();
        for segment in listed {
            match hour_of(&segment).filter(|hour| *hour < before) {
                Some(hour) => hours.add(hour, segment),
                None => stays.push(segment),
            }
        }
        if !stays.is_empty() {
            left.push(Block::new(block.object.clone(), block.sha256, block.from, block.to, &stays));
        }
        while hours.runs >= most
            && let Some((bucket, segments)) = hours.take_largest()
        {
            written.push(write(&store, &state, (bucket, through), segments).await?);
        }
    }
    for (bucket, segments) in hours.segments {
        written.push(write(&store, &state, (bucket, through), segments).await?);
    }
    let refined = state.refined.map(|refined| refined.through);
    let mut buckets = sealed.map(|sealed| sealed.buckets).unwrap_or_default();
    buckets.extend(written);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Origin, SegmentName};
    use crate::manifest::Run;
    use crate::manifest::log::{Draft, LogWriter};
    use crate::sample::{at, captured, claimed, commit, key, run, segment};

    fn hour(number: i64) -> Bucket {
        Bucket::of(at(number * 3600))
    }

    /// A record that is filed under an hour, in a segment of its topic, in a block of its own.
    async fn block(writer: &mut LogWriter, offset: i64, bucket: Bucket) -> ObjectKey {
        let (orders, offsets) = (key("orders", 0, 0), offset..offset + 1);
        let run = Run { bucket, ..run(&orders, offsets.clone(), 1) };
        let (shard, epoch, sequence) = (Shard::ONLY, writer.epoch(), writer.next_sequence());
        let name = SegmentName { shard, epoch, sequence, number: 0, origin: Origin::Cut };
        let object = layout::segment(&SegmentPlace::Topic(run.topic.clone().into(), bucket), name);
        let segments = vec![Segment { object: object.clone(), ..segment(vec![run]) }];
        commit(writer, Draft { segments, ..captured(&orders, offsets) }).await;
        writer.checkpoint().await.expect("written");
        object
    }

    #[tokio::test]
    async fn an_hour_with_more_runs_than_memory_takes_is_sealed_in_several_lists() {
        let store = Store::memory();
        let mut writer = claimed(&store).await;
        let mut named = Vec::new();
        for (offset, number) in [(0, 1), (1, 2), (2, 2), (3, 2)] {
            named.push(block(&mut writer, offset, hour(number)).await);
        }
        let order = writer.to_seal(hour(3)).expect("hours that are over");
        let Done { sealed, left } = seal_within(order, 2).await.expect("sealed");
        assert_eq!(left, []);
        let hours: Vec<Bucket> = sealed.buckets.iter().map(|bucket| bucket.bucket).collect();
        assert_eq!(hours, [1, 2, 2, 2].map(hour));
        let mut listed = Vec::new();
        for bucket in &sealed.buckets {
            let segments = reader::read_bucket(&store, writer.state().backup, bucket).await.expect("readable");
            listed.extend(segments.into_iter().map(|segment| segment.object));
        }
        listed.sort();
        named.sort();
        assert_eq!(listed, named);
    }

    #[tokio::test]
    async fn every_block_is_looked_at_however_many_there_are() {
        let mut writer = claimed(&Store::memory()).await;
        for offset in 0..71 {
            block(&mut writer, offset, hour(9)).await;
        }
        block(&mut writer, 71, hour(10)).await;
        let Done { sealed, left } = seal(writer.to_seal(hour(10)).expect("an hour")).await.expect("sealed");
        assert_eq!((sealed.buckets.len(), sealed.buckets[0].segments, left.len()), (1, 71, 1));
        assert_eq!(Some(sealed.through), writer.state().head.map(|head| head.sequence));
    }
}
