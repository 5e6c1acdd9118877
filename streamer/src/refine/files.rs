//! Segments of one topic and hour that are made of the rows of others, and brought into the store as they are full.

use std::sync::atomic::{AtomicUsize, Ordering};

use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::ids::Sequence;
use strimzi_backup_format::layout::{self, Origin, SegmentName, SegmentPlace, TopicDir};
use strimzi_backup_format::manifest::{Run, Segment};
use strimzi_backup_format::segment::slice::GroupPages;

use super::sorter::{Finished, Keep, Rest, Sorter};
use super::{Error, Limits};
use crate::clock::Clock;
use crate::pipeline::produce::{Workshop, run_on, upload};

/// Where segments of a topic and an hour are filed.
pub(crate) type Place = fn(TopicDir, Bucket) -> SegmentPlace;

/// Files under way.
pub(crate) struct Files<'a, C> {
    shop: &'a Workshop<C>,
    /// Away while a thread works on it.
    sorter: Option<Sorter>,
    place: Place,
    sequence: Sequence,
    numbers: &'a AtomicUsize,
    segments: Vec<Segment>,
}

impl<'a, C: Clock> Files<'a, C> {
    /// To make files within `limits`, of which about `rest` is to come. `sequence` is in their names, and a number of `numbers`.
    pub(crate) fn new(
        shop: &'a Workshop<C>,
        place: Place,
        (sequence, numbers): (Sequence, &'a AtomicUsize),
        (limits, rest): (Limits, Rest),
    ) -> Self {
        let sorter = Some(Sorter::new(shop.options.clone(), limits, rest));
        Self { shop, sorter, place, sequence, numbers, segments: Vec::new() }
    }

    /// Takes in one row group, whose live runs are `runs`, each with about how many bytes it has.
    pub(crate) async fn take_group(&mut self, runs: Vec<(Run, u64)>, pages: GroupPages) -> Result<(), Error> {
        let finished = self.on_thread(move |sorter| sorter.take_group(runs, pages)).await?;
        self.upload(finished).await;
        Ok(())
    }

    /// Takes in those rows of one row group, as [`Self::take_group`], that are kept.
    pub(crate) async fn take(&mut self, runs: Vec<(Run, u64)>, pages: GroupPages, keep: Keep) -> Result<(), Error> {
        let finished = self.on_thread(move |sorter| sorter.take(runs, pages.rows()?, keep)).await?;
        self.upload(finished).await;
        Ok(())
    }

    /// What is in the store, all files closed.
    pub(crate) async fn finish(mut self) -> Result<Vec<Segment>, Error> {
        loop {
            let finished = self.on_thread(Sorter::finish_one).await?;
            if finished.is_empty() {
                self.shop.metrics.refined_copied_bytes.inc_by(self.sorter.as_ref().map_or(0, Sorter::copied));
                return Ok(self.segments);
            }
            self.upload(finished).await;
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
            Ok((sorter, done))
        })
        .await?;
        drop(permit);
        self.sorter = Some(sorter);
        done
    }

    async fn upload(&mut self, finished: Vec<Finished>) {
        for Finished { topic, bucket, encoded } in finished {
            let number = self.numbers.fetch_add(1, Ordering::Relaxed);
            let Workshop { shard, epoch, .. } = *self.shop;
            let name = SegmentName { shard, epoch, sequence: self.sequence, number, origin: Origin::Refined };
            let dir = self.shop.store.topic_dir(&topic);
            let object = layout::segment(&(self.place)(dir, bucket), name);
            self.segments.push(upload(self.shop, object, encoded).await);
        }
    }
}
