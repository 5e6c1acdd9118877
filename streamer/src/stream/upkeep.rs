//! Upkeep of the log beside streaming: refining what lies in intake. One job at a time runs in a task of its own; what comes
//! of it goes into the next manifest.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::ids::TimestampMs;
use strimzi_backup_format::manifest::Refined;
use strimzi_backup_format::state::State;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::{Stream, unpack};
use crate::clock::Clock;
use crate::error::Error;
use crate::metrics::KindLabel;
use crate::refine::{self, Limits, Order};
use crate::source::Broker;

/// How long after a failure it is tried again.
const AFTER_FAILURE: Duration = Duration::from_secs(60);

/// What is under way, and when to look again.
#[derive(Debug)]
pub(super) struct Upkeep {
    job: Option<AbortOnDropHandle<Result<Refined, refine::Error>>>,
    /// Not before.
    next: Instant,
    /// The hour in which the oldest intake segment may have been cut that is not refined; `None` while there is none.
    oldest: Option<Bucket>,
    /// Whether what has come of a job is not committed yet.
    uncommitted: bool,
    /// Files refined by this writer.
    numbers: Arc<AtomicUsize>,
}

impl Upkeep {
    /// What is left to do where the log ends.
    pub(super) fn new(state: &State, intake_bytes: u64) -> Self {
        let last = state.refined.map(|refined| refined.observed_at);
        let since = last.or(state.claims.first().map(|claim| claim.observed_at));
        let oldest = since.filter(|_| intake_bytes > 0).map(Bucket::of);
        Self { job: None, next: Instant::now(), oldest, uncommitted: false, numbers: Arc::default() }
    }

    /// What has come of the job under way. Cancel safe.
    pub(super) async fn finished(&mut self) -> Result<Refined, refine::Error> {
        let Some(job) = &mut self.job else { return std::future::pending().await };
        let done = unpack(job.await);
        self.job = None;
        done
    }

    /// Notes that something was cut into intake.
    pub(super) fn intake(&mut self, observed_at: TimestampMs) {
        self.oldest.get_or_insert(Bucket::of(observed_at));
    }

    fn is_idle(&self) -> bool {
        self.job.is_none() && !self.uncommitted && self.next <= Instant::now()
    }
}

impl<B: Broker, C: Clock> Stream<B, C> {
    /// Begins to refine where enough lies in intake, or an hour is over. What is to be refined must be in the blocks of a
    /// checkpoint, so that is written first.
    pub(super) async fn begin_upkeep(&mut self) -> Result<(), Error> {
        if !self.upkeep.is_idle() || !self.refining_is_due() {
            return Ok(());
        }
        if self.parts.writer.has_open_block() && !self.checkpoint().await? {
            self.upkeep.next = Instant::now() + AFTER_FAILURE;
            return Ok(());
        }
        let writer = &self.parts.writer;
        let limits = Limits::of(&self.parts.budget);
        if let Some(order) = Order::new(writer.state(), writer.blocks_to_refine())
            && let Some(charge) = limits.charge(&self.parts.budget)
        {
            let (shop, numbers) = (Arc::clone(&self.parts.workshop), Arc::clone(&self.upkeep.numbers));
            let work = refine::refine(shop, order, (limits, charge), numbers);
            self.upkeep.job = Some(AbortOnDropHandle::new(tokio::spawn(work)));
        }
        Ok(())
    }

    fn refining_is_due(&self) -> bool {
        let now = Bucket::of(self.parts.clock.now());
        let hour_is_over = self.upkeep.oldest.is_some_and(|oldest| oldest < now);
        hour_is_over || self.parts.writer.intake_bytes() >= self.parts.settings.refine_bytes
    }

    /// Takes what has come of a job.
    pub(super) fn end_upkeep(&mut self, done: Result<Refined, refine::Error>) {
        match done {
            Ok(refined) => (self.pending.refined, self.upkeep.uncommitted) = (Some(refined), true),
            Err(error) => {
                self.parts.metrics.upkeep_failures.get_or_create(&KindLabel::new("refine")).inc();
                tracing::warn!(error = crate::error::chain(&error), "refine: what lies in intake stays there");
                self.upkeep.next = Instant::now() + AFTER_FAILURE;
            }
        }
    }

    /// Tells what was refined, once that is committed.
    pub(super) fn refined(&mut self, refined: &Refined, observed_at: TimestampMs) {
        let metrics = &self.parts.metrics;
        metrics.refined_segments.inc_by(refined.replaced.segments);
        metrics.refined_bytes.inc_by(refined.replaced.bytes);
        self.upkeep.uncommitted = false;
        self.upkeep.oldest = (self.parts.writer.intake_bytes() > 0).then(|| Bucket::of(observed_at));
        let (replaced, segments) = (refined.replaced.segments, refined.segments.len());
        tracing::info!(through = %refined.through, replaced, segments, "refined intake segments");
    }
}
