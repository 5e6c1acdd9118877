//! Makes the segments of a cut and brings them into the store.
//!
//! Row groups are encoded side by side on the blocking pool, put together in order, and uploaded. A store that fails is
//! tried again for as long as it takes: the records are held by the byte budget meanwhile. Of an encrypted backup each is sealed under
//! its own key in the store, which is known before it is begun.

use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::groups::{self, GroupRun};
use strimzi_backup_format::ids::{Epoch, Sequence, Shard};
use strimzi_backup_format::layout::{self, ObjectKey, Origin, SegmentName, SegmentPlace};
use strimzi_backup_format::manifest::{GroupImage, Segment};
use strimzi_backup_format::segment;
use strimzi_backup_format::segment::encode::{EncodeOptions, EncodedSegment, SegmentWriter, encode_row_group};
use strimzi_backup_format::store::{self, Store};
use tokio::sync::Semaphore;

use super::plan::PlannedSegment;
use crate::budget::Charge;
use crate::clock::{Backoff, Clock};
use crate::metrics::Metrics;
use crate::source::groups::Image;

/// Where segments are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pool {
    /// On threads for work that blocks.
    Blocking,
    /// On the calling thread: the simulation's choice, whose runs must not depend on how threads interleave.
    Inline,
}

/// What producing needs; shared by all cuts of a writer.
#[derive(Debug)]
pub struct Workshop<C> {
    /// Where segments go.
    pub store: Store,
    /// How they are encoded.
    pub options: EncodeOptions,
    /// The writer's shard.
    pub shard: Shard,
    /// The writer's epoch.
    pub epoch: Epoch,
    /// As many row groups are encoded at once as it has permits.
    pub encoders: Semaphore,
    /// Where they are encoded.
    pub pool: Pool,
    /// Time between tries.
    pub clock: Arc<C>,
    /// Where tries are counted.
    pub metrics: Arc<Metrics>,
}

/// What is to be made of a cut.
#[derive(Debug)]
pub struct Order {
    /// The segments with records.
    pub segments: Vec<PlannedSegment>,
    /// What consumer groups have committed.
    pub offsets: Vec<GroupRun>,
    /// What is known of all groups, where an image is due.
    pub image: Option<Image>,
    /// The hour of the cut, under which both are filed.
    pub bucket: Bucket,
}

/// What was made of a cut.
#[derive(Debug)]
pub struct Produced {
    /// The segments.
    pub segments: Vec<Segment>,
    /// The image of all groups.
    pub group_image: Option<GroupImage>,
}

/// Encodes and uploads the segments of a cut. On success all of them are complete in the store (P2).
///
/// Cancel safe: what is dropped half-way leaves at most objects that no manifest names.
///
/// # Errors
/// Only where records cannot be encoded at all; the store is tried without end.
pub async fn produce<C: Clock>(
    workshop: Arc<Workshop<C>>,
    order: Order,
    sequence: Sequence,
    mut charge: Charge,
) -> Result<(Produced, Charge), segment::Error> {
    let shop = workshop.as_ref();
    let Order { segments, offsets, image, bucket } = order;
    let name = |number| SegmentName { shard: shop.shard, epoch: shop.epoch, sequence, number, origin: Origin::Cut };
    let encoded = segments.into_iter().enumerate().map(|(number, planned)| {
        let object = layout::segment(&planned.place, name(number));
        encode(shop, object, planned)
    });
    let encoded: Vec<_> = encoded.collect::<FuturesOrdered<_>>().collect().await;
    let mut encoded = encoded.into_iter().collect::<Result<Vec<_>, _>>()?;
    for offsets in groups::file::in_files(offsets)? {
        let object = layout::segment(&SegmentPlace::Groups(bucket), name(encoded.len()));
        let seal = shop.store.seal_file(&object)?;
        let segment = run_on(shop.pool, move || groups::file::encode(offsets, bucket, seal)).await?;
        encoded.push((object, segment));
    }
    let image = make_image(shop, image, layout::segment(&SegmentPlace::Groups(bucket), name(encoded.len())));
    let bytes: u64 = encoded.iter().map(|(_, segment)| segment.bytes).sum();
    charge.shrink_to(usize::try_from(bytes).unwrap_or(usize::MAX));
    let uploads = encoded.into_iter().map(|(object, segment)| upload(shop, object, segment));
    let segments = uploads.collect::<FuturesOrdered<_>>().collect();
    let (segments, group_image) = tokio::join!(segments, image);
    Ok((Produced { segments, group_image: group_image? }, charge))
}

async fn make_image<C: Clock>(
    shop: &Workshop<C>,
    image: Option<Image>,
    object: ObjectKey,
) -> Result<Option<GroupImage>, segment::Error> {
    let Some(Image { rows, newest, unreadable }) = image else { return Ok(None) };
    let seal = shop.store.seal_file(&object)?;
    let encoded = run_on(shop.pool, move || groups::file::encode_image(&rows, seal)).await?;
    let Segment { object, bytes, sha256, rows, .. } = upload(shop, object, encoded).await;
    Ok(Some(GroupImage { object, bytes, sha256, rows, newest, unreadable }))
}

/// Encodes a segment that will be stored as `object`; gives both.
async fn encode<C: Clock>(
    shop: &Workshop<C>,
    object: ObjectKey,
    planned: PlannedSegment,
) -> Result<(ObjectKey, EncodedSegment), segment::Error> {
    let jobs = planned.row_groups.into_iter().map(|runs| async {
        let permit = shop.encoders.acquire().await;
        let options = shop.options.clone();
        let encoded = run_on(shop.pool, move || encode_row_group(&options, runs)).await;
        drop(permit);
        encoded
    });
    let groups: Vec<_> = jobs.collect::<FuturesOrdered<_>>().collect().await;
    let (options, seal) = (shop.options.clone(), shop.store.seal_file(&object)?);
    let segment = run_on(shop.pool, move || {
        let mut writer = SegmentWriter::new(&options, seal)?;
        for group in groups {
            writer.append(group?)?;
        }
        writer.finish()
    });
    Ok((object, segment.await?))
}

/// Runs CPU-heavy work.
pub(crate) async fn run_on<T: Send + 'static>(
    pool: Pool,
    work: impl FnOnce() -> Result<T, segment::Error> + Send + 'static,
) -> Result<T, segment::Error> {
    if pool == Pool::Inline {
        return work();
    }
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failed) => match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The pool drops work only when the runtime shuts down, and then nobody waits for the answer.
            Err(_) => std::future::pending().await,
        },
    }
}

pub(crate) async fn upload<C: Clock>(shop: &Workshop<C>, object: ObjectKey, encoded: EncodedSegment) -> Segment {
    let EncodedSegment { parts, bytes, sha256, footer_bytes, footer_sha256, rows, raw_bytes, runs } = encoded;
    let key = object.below(&shop.store.prefix);
    let backoff = Backoff::new();
    loop {
        match store::upload(shop.store.inner.as_ref(), &key, parts.clone(), shop.store.part_bytes).await {
            Ok(()) => break,
            Err(error) => {
                shop.metrics.store_failed("upload", &object, &error, shop.clock.now());
                tokio::time::sleep(backoff.next(shop.clock.as_ref())).await;
            }
        }
    }
    shop.metrics.store_recovered();
    Segment { object, bytes, sha256, footer_bytes, footer_sha256, rows, raw_bytes, runs }
}
