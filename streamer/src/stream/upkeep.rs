//! Upkeep of the log beside streaming: refining what lies in intake, sealing hours that are over, retiring what is not kept any
//! longer. One job at a time runs in a task of its own. What comes of it goes into the next manifest, or, where it is derived,
//! the next checkpoint.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::ids::TimestampMs;
use strimzi_backup_format::layout::ObjectKey;
use strimzi_backup_format::manifest::{Refined, Retired};
use strimzi_backup_format::seal::{self, SealError};
use strimzi_backup_format::state::State;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{Stream, unpack};
use crate::clock::Clock;
use crate::error::Error;
use crate::metrics::KindLabel;
use crate::refine::{self, Limits, Order};
use crate::retire::{self, Held, Outcome};
use crate::source::Broker;

/// How long after a failure it is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// How often it is looked whether anything is to be retired: records go by hours.
const RETIRE_EVERY: Duration = Duration::from_secs(3600);

/// What has come of a job.
#[derive(Debug)]
pub(super) enum Done {
    Refined(Result<Refined, refine::Error>, TimestampMs),
    Sealed(Result<seal::Done, SealError>),
    Retired(Result<Outcome, retire::Error>, TimestampMs),
}

/// What is under way, and when to look again.
#[derive(Debug)]
pub(super) struct Upkeep {
    job: Option<AbortOnDropHandle<Done>>,
    /// Nothing before.
    next: Instant,
    /// No refining before.
    refine: Instant,
    /// The hour in which the oldest intake segment may have been cut that is not refined; `None` while there is none.
    oldest: Option<Bucket>,
    /// That hour, once what is being refined is committed, if anything is left in intake then.
    left: Option<Bucket>,
    /// The hour before which everything is sealed that was in the log then.
    sealed: Option<Bucket>,
    /// Whether no checkpoint has what was sealed or retired last.
    unlisted: bool,
    /// When it is looked for what is to be retired.
    retire: Instant,
    /// Bucket manifests that list nothing any more, once what is retired is committed.
    emptied: Vec<ObjectKey>,
    /// Whether what has come of a job is not committed yet.
    uncommitted: bool,
    /// When the first file was made of what was made of other segments and is not committed.
    pub(super) made_since: Option<TimestampMs>,
    /// Files that this writer has made of others.
    numbers: Arc<AtomicUsize>,
}

impl Upkeep {
    /// What is left to do where the log ends.
    pub(super) fn new(state: &State, intake_bytes: u64) -> Self {
        let last = state.refined.map(|refined| refined.observed_at);
        let since = last.or(state.claims.first().map(|claim| claim.observed_at));
        let oldest = since.filter(|_| intake_bytes > 0).map(Bucket::of);
        let now = Instant::now();
        Self {
            job: None,
            next: now,
            refine: now,
            oldest,
            left: None,
            sealed: None,
            unlisted: false,
            retire: now,
            emptied: Vec::new(),
            uncommitted: false,
            made_since: None,
            numbers: Arc::default(),
        }
    }

    /// What has come of the job under way. Cancel safe.
    pub(super) async fn finished(&mut self) -> Done {
        let Some(job) = &mut self.job else { return std::future::pending().await };
        let done = unpack(job.await);
        self.job = None;
        done
    }

    /// Notes that something was cut into intake.
    pub(super) fn intake(&mut self, observed_at: TimestampMs) {
        self.oldest.get_or_insert(Bucket::of(observed_at));
    }

    /// Notes that refining begins in the hour `now`, of all that is in blocks or of the oldest of them.
    fn refining(&mut self, now: Bucket, is_all: bool) {
        // What comes from now on is of this hour; what is left waits for no other.
        self.left = self.oldest.filter(|_| !is_all).or(Some(now));
    }

    /// Notes that what was refined is committed, and whether anything is left in intake.
    fn refined(&mut self, is_left: bool) {
        (self.uncommitted, self.made_since) = (false, None);
        self.oldest = self.left.take().filter(|_| is_left);
    }

    fn is_idle(&self) -> bool {
        self.job.is_none() && !self.uncommitted && self.next <= Instant::now()
    }
}

impl<B: Broker, C: Clock> Stream<B, C> {
    /// Begins the next job that is due. What is refined or sealed must be in the blocks of a checkpoint, so that is written first.
    pub(super) async fn begin_upkeep(&mut self) -> Result<(), Error> {
        if !self.upkeep.is_idle() {
            return Ok(());
        }
        // Soon: until then nobody but this process knows that what was sealed is needed.
        if self.upkeep.unlisted && self.parts.writer.has_news() && self.checkpoint().await? {
            self.upkeep.unlisted = false;
        }
        if self.refining_is_due() && self.begin_to_refine().await? {
            return Ok(());
        }
        // Also while refining waits for room, or fails.
        if self.sealing_is_due() {
            return self.begin_to_seal().await;
        }
        self.begin_to_retire();
        Ok(())
    }

    /// Has everything that was committed in the blocks of a checkpoint; says whether.
    async fn close_block(&mut self) -> Result<bool, Error> {
        let is_closed = !self.parts.writer.has_open_block() || self.checkpoint().await?;
        if !is_closed {
            self.upkeep.next = Instant::now() + AFTER_FAILURE;
        }
        Ok(is_closed)
    }

    fn refining_is_due(&self) -> bool {
        if Instant::now() < self.upkeep.refine {
            return false;
        }
        let now = Bucket::of(self.parts.clock.now());
        let hour_is_over = self.upkeep.oldest.is_some_and(|oldest| oldest < now);
        hour_is_over || self.parts.writer.intake_bytes() >= self.parts.settings.refine_bytes
    }

    /// Begins once streaming leaves room for it; says whether it did.
    async fn begin_to_refine(&mut self) -> Result<bool, Error> {
        let limits = Limits::of(&self.parts.budget);
        let Some(charge) = limits.charge(&self.parts.budget) else { return Ok(false) };
        if !self.close_block().await? {
            return Ok(true);
        }
        let writer = &self.parts.writer;
        if let Some(order) = Order::new(writer.state(), writer.blocks_to_refine()) {
            let is_all = writer.blocks_to_refine().count() == order.blocks.len();
            let (shop, numbers) = (Arc::clone(&self.parts.workshop), Arc::clone(&self.upkeep.numbers));
            let began = self.parts.clock.now();
            self.upkeep.refining(Bucket::of(began), is_all);
            let work = async move {
                let refined = refine::refine(shop, order, (limits, charge), numbers).await;
                Done::Refined(refined, began)
            };
            self.upkeep.job = Some(AbortOnDropHandle::new(tokio::spawn(work)));
        }
        Ok(true)
    }

    /// Every hour once: what is filed under the hours before.
    fn sealing_is_due(&self) -> bool {
        self.upkeep.sealed < Some(Bucket::of(self.parts.clock.now()))
    }

    async fn begin_to_seal(&mut self) -> Result<(), Error> {
        if !self.close_block().await? {
            return Ok(());
        }
        let before = Bucket::of(self.parts.clock.now());
        match self.parts.writer.to_seal(before) {
            Some(order) => {
                let work = async move { Done::Sealed(seal::seal(order).await) };
                self.upkeep.job = Some(AbortOnDropHandle::new(tokio::spawn(work)));
            }
            None => self.upkeep.sealed = Some(before),
        }
        Ok(())
    }

    /// Looks for what is not kept any longer, where anything limits it, and not too often.
    fn begin_to_retire(&mut self) {
        if !self.parts.retention.is_limited() || Instant::now() < self.upkeep.retire {
            return;
        }
        // What is written anew of old records takes as much memory as refining does.
        let limits = Limits::of(&self.parts.budget);
        let Some(charge) = limits.charge(&self.parts.budget) else { return };
        let writer = &self.parts.writer;
        let order = retire::Order {
            shop: Arc::clone(&self.parts.workshop),
            numbers: Arc::clone(&self.upkeep.numbers),
            memory: (limits, charge),
            state: writer.state().clone(),
            sealed: writer.sealed_buckets().cloned(),
            policy: self.parts.retention.clone(),
            now: self.parts.clock.now(),
        };
        self.upkeep.retire = Instant::now() + RETIRE_EVERY;
        let began = order.now;
        let work = async move { Done::Retired(retire::retire(order).await, began) };
        self.upkeep.job = Some(AbortOnDropHandle::new(tokio::spawn(work)));
    }

    /// Takes what a look for what is not kept any longer has come to, and tells what holds it.
    fn end_look(&mut self, look: Result<Outcome, retire::Error>, began: TimestampMs) {
        let held = Held::after(&look);
        self.parts.metrics.set_retention_held(held.as_ref().map(Held::reason));
        self.parts.status.retention_held(held);
        match look {
            Ok(outcome) => {
                self.upkeep.made_since = Some(began);
                self.take_outcome(outcome);
            }
            Err(error) => self.upkeep_failed("retire", &error),
        }
    }

    fn take_outcome(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Nothing => {}
            Outcome::Retire(retired, emptied) => {
                (self.pending.retired, self.upkeep.uncommitted) = (Some(*retired), true);
                self.upkeep.emptied = emptied;
            }
            Outcome::Held(held) => tracing::warn!(reason = held.reason(), "{held}"),
        }
    }

    /// Takes what has come of a job.
    pub(super) fn end_upkeep(&mut self, done: Done) {
        match done {
            Done::Refined(Ok(refined), began) => {
                (self.pending.refined, self.upkeep.uncommitted) = (Some(refined), true);
                self.upkeep.made_since = Some(began);
            }
            Done::Sealed(Ok(done)) => {
                tracing::info!(before = %done.sealed.before, buckets = done.sealed.buckets.len(), "sealed");
                self.parts.writer.sealed(done);
                // Only what is sealed can be retired: a look before found less than there is.
                (self.upkeep.unlisted, self.upkeep.retire) = (true, Instant::now());
            }
            Done::Retired(look, began) => self.end_look(look, began),
            Done::Refined(Err(error), _) => {
                self.upkeep_failed("refine", &error);
                self.upkeep.refine = Instant::now() + AFTER_FAILURE;
            }
            Done::Sealed(Err(error)) => {
                self.upkeep_failed("seal", &error);
                self.upkeep.next = Instant::now() + AFTER_FAILURE;
            }
        }
    }

    fn upkeep_failed(&mut self, kind: &str, error: &(dyn std::error::Error + 'static)) {
        self.parts.metrics.upkeep_failures.get_or_create(&KindLabel::new(kind)).inc();
        tracing::warn!(error = crate::error::chain(error), kind, "upkeep of the log; it stays as it is");
    }

    /// Tells what was retired, once that is committed.
    pub(super) fn retired(&mut self, retired: &Retired) {
        // A checkpoint soon: a prune goes by them.
        (self.upkeep.uncommitted, self.upkeep.unlisted, self.upkeep.made_since) = (false, true, None);
        let emptied = std::mem::take(&mut self.upkeep.emptied);
        self.parts.writer.emptied(&emptied);
        let metrics = &self.parts.metrics;
        metrics.retired_segments.inc_by(retired.freed.segments);
        metrics.retired_bytes.inc_by(retired.freed.bytes);
        let (before, segments) = (retired.before.to_rfc3339(), retired.freed.segments);
        tracing::info!(before, segments, bytes = retired.freed.bytes, "retired what is not kept any longer");
    }

    /// Tells what was refined, once that is committed.
    pub(super) fn refined(&mut self, refined: &Refined) {
        let metrics = &self.parts.metrics;
        metrics.refined_segments.inc_by(refined.replaced.segments);
        metrics.refined_bytes.inc_by(refined.replaced.bytes);
        self.upkeep.refined(self.parts.writer.intake_bytes() > 0);
        let (replaced, segments) = (refined.replaced.segments, refined.segments.len());
        tracing::info!(through = %refined.through, replaced, segments, "refined intake segments");
    }
}

#[cfg(test)]
mod tests {
    use strimzi_backup_format::sample::{at, empty_state};

    use super::*;

    #[test]
    fn what_is_left_in_intake_is_refined_without_waiting_for_another_hour() {
        let hour = |number: i64| Bucket::of(at(number * 3600));
        let mut upkeep = Upkeep::new(&empty_state(), 0);
        upkeep.intake(at(0));
        for (is_all, is_left, oldest) in
            [(false, true, Some(hour(0))), (true, true, Some(hour(1))), (true, false, None)]
        {
            upkeep.refining(hour(1), is_all);
            upkeep.refined(is_left);
            assert_eq!(upkeep.oldest, oldest);
        }
    }
}
