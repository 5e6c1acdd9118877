//! Which documents list the segments of a log, and reading them: bucket manifests for hours that are over, blocks for the rest.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};

use super::{Error, Log, WINDOW, decode, get, hole_error, manifest};
use crate::checkpoint::{Block, Checkpoint};
use crate::checksum::Sha256;
use crate::document;
use crate::ids::{BackupId, Sequence, Shard, TimestampMs};
use crate::layout::{self, ObjectKey};
use crate::manifest::{Manifest, Segment};
use crate::seal::{BucketManifest, SealedBucket};
use crate::store::Store;

impl Log {
    /// All live segments that may hold a record of a topic with a timestamp in `[from, to)`. Fetches the bucket manifests and the
    /// blocks that overlap, and nothing else. What is sealed comes first, by hour; then the rest, in the order it was committed.
    ///
    /// # Errors
    /// [`Error`], where one of them cannot be read or is not what the newest checkpoint says.
    pub async fn segments(
        &self,
        store: &Store,
        from: Option<TimestampMs>,
        to: Option<TimestampMs>,
    ) -> Result<Vec<Segment>, Error> {
        let inside = |segment: &Segment| {
            segment.runs.iter().any(|run| {
                from.is_none_or(|from| from <= run.max_timestamp) && to.is_none_or(|to| run.min_timestamp < to)
            })
        };
        let listings = self.listings(|bucket| bucket.overlaps(from, to), |block| block.overlaps(from, to));
        let mut segments = self.listed(store, listings).await?;
        segments.retain(|segment| !segment.holds_groups() && inside(segment) && self.state.holds(segment));
        Ok(segments)
    }

    /// The segments with offsets of consumer groups that the manifests after `after`, up to and with `last`, have added, and
    /// that may hold one from before `to`.
    ///
    /// # Errors
    /// As [`Log::segments`].
    pub async fn group_segments(
        &self,
        store: &Store,
        after: Option<Sequence>,
        last: Sequence,
        to: Option<TimestampMs>,
    ) -> Result<Vec<Segment>, Error> {
        let named = |segment: &Segment| {
            let sequence = segment.object.segment_sequence();
            sequence.is_some_and(|sequence| Some(sequence) > after && sequence <= last)
        };
        let inside = |segment: &Segment| segment.runs.iter().any(|run| to.is_none_or(|to| run.min_timestamp < to));
        let in_bucket =
            |bucket: &SealedBucket| bucket.groups.is_some_and(|(first, newest)| Some(newest) > after && first <= last);
        let in_block = |block: &Block| Some(block.to) > after && block.from <= last && block.overlaps(None, to);
        let mut segments = self.listed(store, self.listings(in_bucket, in_block)).await?;
        segments
            .retain(|segment| segment.holds_groups() && named(segment) && inside(segment) && self.state.holds(segment));
        Ok(segments)
    }

    /// The images of consumer groups that are kept.
    pub fn group_images(&self) -> impl Iterator<Item = &ObjectKey> {
        self.state.group_images.iter().map(|at| &at.image.object)
    }

    /// The documents that list segments, as far as they are wanted: bucket manifests, then blocks.
    pub fn listings(
        &self,
        wants_bucket: impl Fn(&SealedBucket) -> bool,
        wants_block: impl Fn(&Block) -> bool,
    ) -> Vec<Listing> {
        let buckets = self.sealed.iter().flat_map(|sealed| &sealed.buckets).filter(|bucket| wants_bucket(bucket));
        let blocks = self.blocks.iter().filter(|block| wants_block(block));
        buckets.cloned().map(Listing::Bucket).chain(blocks.cloned().map(Listing::Block)).collect()
    }

    /// The segments that these documents list, and those after all blocks; live or not.
    async fn listed(&self, store: &Store, listings: Vec<Listing>) -> Result<Vec<Segment>, Error> {
        let read: Vec<Vec<Segment>> = futures::stream::iter(listings)
            .map(|listing| async move { self.read(store, &listing).await })
            .buffered(8)
            .try_collect()
            .await?;
        let mut segments: Vec<Segment> = read.into_iter().flatten().collect();
        segments.extend(self.tail.iter().flat_map(Manifest::named_segments).cloned());
        Ok(segments)
    }

    /// The segments that a document lists, live or not; of a block without those that are sealed.
    ///
    /// # Errors
    /// [`Error`], where it cannot be read or is not what the newest checkpoint says.
    pub async fn read(&self, store: &Store, listing: &Listing) -> Result<Vec<Segment>, Error> {
        let block = match listing {
            Listing::Bucket(bucket) => return read_bucket(store, self.state.backup, bucket).await,
            Listing::Block(block) => block,
        };
        // The newest was read with the log.
        let mut segments = if Some(block) == self.blocks.last() {
            self.block_segments.to_vec()
        } else {
            read_block(store, self.state.shard, block).await?
        };
        if let Some(sealed) = &self.sealed {
            segments.retain(|segment| !sealed.covers(block, segment));
        }
        Ok(segments)
    }
}

/// A document that lists segments.
#[derive(Clone, Debug)]
pub enum Listing {
    /// A bucket manifest.
    Bucket(SealedBucket),
    /// A block.
    Block(Block),
}

impl Listing {
    /// Whether the time that is said of it holds the records of a segment.
    pub fn spans(&self, segment: &Segment) -> bool {
        let (min, max) = match self {
            Self::Bucket(bucket) => (bucket.min_timestamp, bucket.max_timestamp),
            Self::Block(block) => (block.min_timestamp, block.max_timestamp),
        };
        segment.runs.iter().all(|run| min <= Some(run.min_timestamp) && Some(run.max_timestamp) <= max)
    }

    /// Its object.
    pub fn object(&self) -> &ObjectKey {
        match self {
            Self::Bucket(bucket) => &bucket.object,
            Self::Block(block) => &block.object,
        }
    }
}

/// The segments of a bucket manifest.
///
/// # Errors
/// [`Error`], where it cannot be read or is not what the newest checkpoint says.
pub async fn read_bucket(store: &Store, backup: BackupId, bucket: &SealedBucket) -> Result<Vec<Segment>, Error> {
    let bytes = get_derived(store, &bucket.object, bucket.sha256).await?;
    let document: BucketManifest = decode(bucket.object.as_str(), &bytes)?;
    if (document.backup, document.bucket) != (backup, bucket.bucket) {
        let source = document::Error::Damaged("it is of another backup, or of another hour".to_owned());
        return Err(Error::Document { object: bucket.object.to_string(), source });
    }
    Ok(document.segments)
}

/// The segments of a block: from its checkpoint, or from its manifests where the checkpoint is not what it was. A
/// checkpoint is derived from them, so losing it costs requests and nothing else.
///
/// # Errors
/// [`Error`], where neither can be read.
pub async fn read_block(store: &Store, shard: Shard, block: &Block) -> Result<Vec<Segment>, Error> {
    match read_checkpoint_block(store, block).await {
        Err(error) if !error.is_retryable() => read_manifests(store, shard, block.from, block.to).await,
        read => read,
    }
}

async fn read_manifests(store: &Store, shard: Shard, first: Sequence, last: Sequence) -> Result<Vec<Segment>, Error> {
    let slots: Vec<Sequence> = (first.get()..=last.get()).map(Sequence::new).collect();
    let read: Vec<Vec<Segment>> = futures::stream::iter(slots)
        .map(|sequence| async move {
            match manifest(store, shard, sequence).await? {
                Some((manifest, _)) => Ok(manifest.named_segments().cloned().collect()),
                None => Err(hole_error(shard, sequence, &layout::manifest(shard, last))),
            }
        })
        .buffered(usize::try_from(WINDOW).unwrap_or(1))
        .try_collect()
        .await?;
    Ok(read.into_iter().flatten().collect())
}

async fn read_checkpoint_block(store: &Store, block: &Block) -> Result<Vec<Segment>, Error> {
    let bytes = get_derived(store, &block.object, block.sha256).await?;
    Ok(decode::<Checkpoint>(block.object.as_str(), &bytes)?.segments)
}

/// The bytes of a document that the newest checkpoint names.
async fn get_derived(store: &Store, key: &ObjectKey, digest: Sha256) -> Result<Bytes, Error> {
    let object = || key.to_string();
    let Some(bytes) = get(store, key).await? else {
        return Err(Error::Missing { object: object(), witness: "the newest checkpoint".to_owned() });
    };
    if Sha256::of(&bytes) != digest {
        let source = document::Error::Damaged("it has not the digest that the newest checkpoint names".to_owned());
        return Err(Error::Document { object: object(), source });
    }
    Ok(bytes)
}
