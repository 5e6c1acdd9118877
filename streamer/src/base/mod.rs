//! Bases: of the old records of a compacted topic the newest of each key, as of the first instant that is kept.
//!
//! ```text
//! segments with old records ──▶ keys, in rounds: Newest ──▶ which are not needed ──▶ the others, read again ──▶ Files
//! ```
//!
//! Owns: reading what has aged twice, and what is left of it. Does not own: what has aged and when that is worth it
//! ([`strimzi_backup_format::retention`], pure), or the manifest that makes it count ([`crate::stream`]). Until that is
//! committed, what was uploaded does not exist; so it may be dropped at any point.
//!
//! Invariants: at each instant from the horizon on, the newest record of each key is the same with the base as without; no
//! two runs of a base hold one offset; memory is bounded by [`Limits`].

mod newest;
mod plan;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use strimzi_backup_format::ids::{Sequence, TimestampMs};
use strimzi_backup_format::layout::SegmentPlace;
use strimzi_backup_format::manifest::{Run, Segment};
use strimzi_backup_format::retention::Aged;
use strimzi_backup_format::segment::slice::{GroupPages, estimated_bytes};

use crate::clock::Clock;
use crate::pipeline::produce::{Workshop, run_on};
use crate::refine::{Error, Files, Groups, Keep, Limits, Rest};
pub(crate) use newest::Dropped;
use newest::Newest;
use plan::{Input, Pass};

/// What was made of old records.
#[derive(Debug)]
pub struct Made {
    /// The segments, complete in the store.
    pub segments: Vec<Segment>,
    /// How many records are not needed any more.
    pub dropped: u64,
}

/// Makes the base of what has aged of one topic. `sequence` is that of the newest manifest, for its names; `numbers` counts the
/// files that this writer has made of others. `None` where one partition alone has more records than memory has room to
/// decide about.
///
/// # Errors
/// [`Error`]; what was uploaded until then, no manifest names.
pub async fn make<C: Clock>(
    shop: &Workshop<C>,
    aged: &Aged,
    horizon: TimestampMs,
    (sequence, numbers): (Sequence, &Arc<AtomicUsize>),
    limits: Limits,
) -> Result<Option<Made>, Error> {
    // A bit for each record, beside the records that wait.
    let half = limits.raw_bytes / 2;
    let Some(passes) = plan::passes(aged, half as u64 * 8) else { return Ok(None) };
    let Some((topic, bucket)) = aged.topic().cloned().zip(aged.bucket()) else { return Ok(None) };
    let bytes = passes
        .iter()
        .flatten()
        .flat_map(|input| input.runs.iter().map(|(run, _)| estimated_bytes(&input.segment, run)));
    let rest = Rest::from([((topic, bucket), bytes.sum())]);
    let limits = Limits { raw_bytes: half, ..limits };
    let mut files = Files::new(shop, SegmentPlace::Base, (sequence, numbers), (limits, rest));
    let mut all_dropped = 0;
    for pass in &passes {
        let records = usize::try_from(plan::records(pass)).unwrap_or(usize::MAX);
        let newest = Newest::new(records, horizon, limits.raw_bytes + limits.encoded_bytes);
        let dropped = Arc::new(find_newest(shop, pass, newest).await?);
        all_dropped += dropped.count();
        let mut number = 0;
        for Input { segment, runs } in pass {
            let mut groups = Groups::open(&shop.store, segment.clone(), runs.clone()).await?;
            while let Some((of_group, pages)) = groups.next().await? {
                let keep = Keep::But(Arc::clone(&dropped), number);
                number +=
                    of_group.iter().map(|(run, _)| usize::try_from(run.rows).unwrap_or(usize::MAX)).sum::<usize>();
                let of_base = of_group.into_iter().map(|(run, range)| {
                    let bytes = estimated_bytes(segment, &run);
                    (Run { range, bucket, ..run }, bytes)
                });
                files.take(of_base.collect(), pages, keep).await?;
            }
        }
    }
    Ok(Some(Made { segments: files.finish().await?, dropped: all_dropped }))
}

/// Looks at all records of a pass, as often as their keys need.
async fn find_newest<C: Clock>(shop: &Workshop<C>, pass: &Pass, mut newest: Newest) -> Result<Dropped, Error> {
    loop {
        for Input { segment, runs } in pass {
            let mut groups = Groups::open(&shop.store, segment.clone(), runs.clone()).await?;
            while let Some((_, pages)) = groups.next().await? {
                newest = look_at(shop, newest, pages).await?;
            }
        }
        if !newest.end_round() {
            return Ok(newest.finish());
        }
    }
}

async fn look_at<C: Clock>(shop: &Workshop<C>, mut newest: Newest, pages: GroupPages) -> Result<Newest, Error> {
    let permit = shop.encoders.acquire().await;
    let looked = run_on(shop.pool, move || -> Result<Newest, Error> {
        for row in pages.rows()? {
            let (partition, record) = row?;
            newest.take(&partition, &record);
        }
        Ok(newest)
    })
    .await;
    drop(permit);
    looked
}
