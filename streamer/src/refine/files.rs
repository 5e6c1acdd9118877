//! Segments of one topic and hour that are made of the rows of others, and brought into the store as they are full.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::ids::{Epoch, Sequence, Shard, TopicName};
use strimzi_backup_format::layout::{self, ObjectKey, Origin, SegmentName, SegmentPlace, TopicDir};
use strimzi_backup_format::manifest::{Run, Segment};
use strimzi_backup_format::segment;
use strimzi_backup_format::segment::encode::{EncodeOptions, SegmentWriter};
use strimzi_backup_format::segment::slice::GroupPages;
use strimzi_backup_format::store::Store;

use super::sorter::{Finished, Keep, Rest, Sorter};
use super::{Error, Limits};
use crate::clock::Clock;
use crate::pipeline::produce::{Workshop, run_on, upload};

/// Where segments of a topic and an hour are filed.
pub(crate) type Place = fn(TopicDir, Bucket) -> SegmentPlace;

/// What files are called, which each must be before it is begun: of an encrypted backup it is sealed under its key in the store.
#[derive(Clone, Debug)]
pub(super) struct Names {
    pub(super) store: Store,
    pub(super) place: Place,
    pub(super) shard: Shard,
    pub(super) epoch: Epoch,
    pub(super) sequence: Sequence,
    pub(super) numbers: Arc<AtomicUsize>,
}

impl Names {
    /// Begins the next file of a topic and a bucket, under its key.
    pub(super) fn begin(
        &self,
        options: &EncodeOptions,
        (topic, bucket): &(TopicName, Bucket),
    ) -> Result<(ObjectKey, SegmentWriter), segment::Error> {
        let Self { shard, epoch, sequence, .. } = *self;
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let name = SegmentName { shard, epoch, sequence, number, origin: Origin::Refined };
        let object = layout::segment(&(self.place)(self.store.topic_dir(topic), *bucket), name);
        let seal = self.store.seal_file(&object)?;
        Ok((object, SegmentWriter::new(options, seal)?))
    }
}

/// Files under way.
pub(crate) struct Files<'a, C> {
    shop: &'a Workshop<C>,
    /// Away while a thread works on it.
    sorter: Option<Sorter>,
    segments: Vec<Segment>,
}

impl<'a, C: Clock> Files<'a, C> {
    /// To make files within `limits`, of which about `rest` is to come. `sequence` is in their names, and a number of `numbers`.
    pub(crate) fn new(
        shop: &'a Workshop<C>,
        place: Place,
        (sequence, numbers): (Sequence, &Arc<AtomicUsize>),
        (limits, rest): (Limits, Rest),
    ) -> Self {
        let Workshop { shard, epoch, .. } = *shop;
        let (store, numbers) = (shop.store.clone(), Arc::clone(numbers));
        let names = Names { store, place, shard, epoch, sequence, numbers };
        let sorter = Some(Sorter::new(shop.options.clone(), names, limits, rest));
        Self { shop, sorter, segments: Vec::new() }
    }

    /// Takes in one row group, whose live runs are `runs`, each with about how many bytes it has.
    pub(crate) async fn take_group(&mut self, runs: Vec<(Run, u64)>, pages: GroupPages) -> Result<(), Error> {
        let finished = self.on_thread(move |sorter| sorter.take_group(runs, pages)).await?;
        self.upload(finished).await
    }

    /// Takes in those rows of one row group, as [`Self::take_group`], that are kept.
    pub(crate) async fn take(&mut self, runs: Vec<(Run, u64)>, pages: GroupPages, keep: Keep) -> Result<(), Error> {
        let finished = self.on_thread(move |sorter| sorter.take(runs, pages.rows()?, keep)).await?;
        self.upload(finished).await
    }

    /// What is in the store, all files closed.
    pub(crate) async fn finish(mut self) -> Result<Vec<Segment>, Error> {
        loop {
            let finished = self.on_thread(Sorter::finish_one).await?;
            if finished.is_empty() {
                self.shop.metrics.refined_copied_bytes.inc_by(self.sorter.as_ref().map_or(0, Sorter::copied));
                return Ok(self.segments);
            }
            self.upload(finished).await?;
        }
    }

    /// Runs work on the sorter where it may block.
    async fn on_thread(
        &mut self,
        work: impl FnOnce(&mut Sorter) -> Result<Vec<Finished>, Error> + Send + 'static,
    ) -> Result<Vec<Finished>, Error> {
        let Some(mut sorter) = self.sorter.take() else { return Ok(Vec::new()) };
        let permit = self.shop.encoders.acquire().await;
        let (sorter, done) = run_on(self.shop.pool, move || {
            let done = work(&mut sorter);
            (sorter, done)
        })
        .await;
        drop(permit);
        self.sorter = Some(sorter);
        done
    }

    async fn upload(&mut self, finished: Vec<Finished>) -> Result<(), Error> {
        for Finished { object, encoded } in finished {
            self.segments.push(upload(self.shop, object, encoded).await?);
        }
        Ok(())
    }
}
