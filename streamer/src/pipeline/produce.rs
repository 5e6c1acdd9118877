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
    /// And as many segments uploaded.
    pub uploads: Semaphore,
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
/// Only where records cannot be encoded, or sealed, at all; the store is tried without end.
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
    let segments = uploads.collect::<FuturesOrdered<_>>().collect::<Vec<_>>();
    let (segments, group_image) = tokio::join!(segments, image);
    let segments = segments.into_iter().collect::<Result<_, _>>()?;
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
    let Segment { object, bytes, sha256, rows, .. } = upload(shop, object, encoded).await?;
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

/// Runs work that blocks, or takes CPU time.
pub(crate) async fn run_on<T: Send + 'static>(pool: Pool, work: impl FnOnce() -> T + Send + 'static) -> T {
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

/// Brings a segment into the store, however often it takes.
///
/// # Errors
/// Before anything is sent, where it is in the clear and its backup is encrypted, or the other way round.
pub(crate) async fn upload<C: Clock>(
    shop: &Workshop<C>,
    object: ObjectKey,
    encoded: EncodedSegment,
) -> Result<Segment, segment::Error> {
    encoded.check_encrypted(shop.store.keys.is_some())?;
    let EncodedSegment { parts, bytes, sha256, footer_bytes, footer_sha256, rows, raw_bytes, runs } = encoded;
    let key = object.below(&shop.store.prefix);
    let backoff = Backoff::new();
    loop {
        let permit = shop.uploads.acquire().await;
        let uploaded = store::upload(shop.store.inner.as_ref(), &key, parts.clone(), shop.store.part_bytes).await;
        drop(permit);
        match uploaded {
            Ok(()) => break,
            Err(error) => {
                shop.metrics.store_failed("upload", &object, &error, shop.clock.now());
                tokio::time::sleep(backoff.next(shop.clock.as_ref())).await;
            }
        }
    }
    shop.metrics.store_recovered();
    Ok(Segment { object, bytes, sha256, footer_bytes, footer_sha256, rows, raw_bytes, runs })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::TryStreamExt as _;
    use strimzi_backup_format::crypt::KeyRing;
    use strimzi_backup_format::groups::OffsetRow;
    use strimzi_backup_format::groups::file::decode;
    use strimzi_backup_format::ids::LeaderEpoch;
    use strimzi_backup_format::record::{RecordRef, TimestampType};
    use strimzi_backup_format::sample::{at, backup, key, range, ring};
    use strimzi_backup_format::segment::batch::BatchBuilder;
    use strimzi_backup_format::segment::decode::SegmentReader;
    use strimzi_backup_format::segment::encode::{Codec, RunInput};
    use strimzi_backup_format::store::faulty::FaultyStore;
    use tokio::time::Instant;

    use super::*;
    use crate::budget::Budget;
    use crate::clock::SystemClock;

    const PLANTED: &str = "a value that nobody may see";

    fn shop(keys: Option<Arc<KeyRing>>) -> Workshop<SystemClock> {
        Workshop {
            store: Store { keys, ..Store::memory() },
            options: EncodeOptions::new(backup(), Codec::None).expect("a codec"),
            shard: Shard::ONLY,
            epoch: Epoch::new(1),
            encoders: Semaphore::new(1),
            uploads: Semaphore::new(1),
            pool: Pool::Inline,
            clock: Arc::new(SystemClock),
            metrics: Arc::new(Metrics::new()),
        }
    }

    fn bucket() -> Bucket {
        Bucket::of(at(0))
    }

    fn record(key: Option<&[u8]>) -> RecordRef<'_> {
        RecordRef {
            offset: range(4..5).base(),
            timestamp: at(4),
            timestamp_type: TimestampType::CreateTime,
            leader_epoch: LeaderEpoch::new(1),
            key,
            value: Some(PLANTED.as_bytes()),
            headers: &[],
        }
    }

    fn run() -> RunInput {
        let mut builder = BatchBuilder::new(false);
        builder.append(&record(None));
        RunInput { key: key("orders", 0, 0), range: range(4..5), bucket: bucket(), batches: vec![builder.finish()] }
    }

    /// Of a record of consumer groups that could not be read.
    fn offsets() -> GroupRun {
        let key = key("__consumer_offsets", 0, 0);
        let row: Option<OffsetRow> = groups::of_record(key.lineage, key.partition, &record(Some(b"\0\x63key")));
        GroupRun { key, range: range(4..5), leader_epoch: LeaderEpoch::new(1), rows: vec![row.expect("a row")] }
    }

    fn order() -> Order {
        let planned = PlannedSegment { place: SegmentPlace::Intake(bucket()), row_groups: vec![vec![run()]] };
        let image = Image { rows: Vec::new(), newest: None, unreadable: 0 };
        Order { segments: vec![planned], offsets: vec![offsets()], image: Some(image), bucket: bucket() }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_segments_are_uploaded_at_once_than_there_are_permits() {
        let mut seconds = Vec::new();
        for permits in [1, 2, 6] {
            let faulty = FaultyStore::new(Store::memory().inner);
            // An upload is a put, and a look at what has come of it.
            faulty.control().set_latency(Duration::from_secs(1));
            let store = Store { inner: Arc::new(faulty), ..Store::memory() };
            let shop = Arc::new(Workshop { store, uploads: Semaphore::new(permits), ..shop(None) });
            let segment = || PlannedSegment { place: SegmentPlace::Intake(bucket()), row_groups: vec![vec![run()]] };
            let segments = std::iter::repeat_with(segment).take(6).collect();
            let order = Order { segments, offsets: Vec::new(), image: None, bucket: bucket() };
            let (begun, charge) = (Instant::now(), Charge::adopt(Arc::new(Budget::new(1 << 20)), 0));
            produce(shop, order, Sequence::new(2), charge).await.expect("produced");
            seconds.push(begun.elapsed().as_secs());
        }
        assert_eq!(seconds, [12, 6, 2]);
    }

    #[tokio::test]
    async fn a35_each_file_of_an_encrypted_backup_is_sealed_under_its_own_key_in_the_store() {
        let shop = Arc::new(shop(Some(ring(backup()))));
        let charge = Charge::adopt(Arc::new(Budget::new(1 << 20)), 0);
        let (produced, _) = produce(Arc::clone(&shop), order(), Sequence::new(2), charge).await.expect("produced");
        let stored: Vec<_> = shop.store.inner.list(None).try_collect().await.expect("listed");
        assert_eq!((produced.segments.len(), stored.len()), (2, 3), "records, offsets, and an image");
        let image = produced.group_image.expect("an image").object;
        let objects = produced.segments.into_iter().map(|segment| segment.object).chain([image]);
        for object in objects {
            let found = shop.store.find(&object).await.expect("asked").expect("there");
            let bytes = found.bytes().await.expect("read");
            assert!(!bytes.windows(PLANTED.len()).any(|window| window == PLANTED.as_bytes()), "{object}");
            let opener = shop.store.opener(&object);
            if object.segment() == Some(SegmentPlace::Groups(bucket())) {
                decode(bytes, opener.as_ref()).expect("opened");
            } else {
                let rows = SegmentReader::open(bytes, opener.as_ref()).expect("opened").rows();
                let values: Vec<_> = rows.map(|row| row.expect("a row").1.value.expect("a value")).collect();
                assert_eq!(values, [PLANTED]);
            }
        }
    }

    #[tokio::test]
    async fn a33_nothing_in_the_clear_is_sent_into_an_encrypted_backup() {
        let (shard, epoch, sequence, origin) = (Shard::ONLY, Epoch::new(1), Sequence::new(2), Origin::Cut);
        let name = SegmentName { shard, epoch, sequence, number: 0, origin };
        let object = || layout::segment(&SegmentPlace::Groups(bucket()), name);
        let (open, encrypted) = (shop(None), shop(Some(ring(backup()))));
        let encoded = |seal| groups::file::encode_image(&[], seal).expect("encoded");
        let refused = upload(&encrypted, object(), encoded(None)).await;
        assert!(matches!(refused, Err(segment::Error::NotEncrypted)));
        assert!(encrypted.store.find(&object()).await.expect("asked").is_none());
        assert!(upload(&open, object(), encoded(None)).await.is_ok());
        let seal = encrypted.store.seal_file(&object()).expect("a seal");
        assert!(matches!(upload(&open, object(), encoded(seal)).await, Err(segment::Error::Encrypted)));
    }
}
