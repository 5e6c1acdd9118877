//! Committing: one manifest after the other, each tried until its outcome is known.

use std::time::Duration;

use object_store::ObjectStoreExt as _;
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::coverage;
use strimzi_backup_format::ids::{Nonce, Sequence, TimestampMs};
use strimzi_backup_format::layout::{self, ObjectKey};
use strimzi_backup_format::manifest::Segment;
use strimzi_backup_format::manifest::log::{self, Draft, Prepared};
use strimzi_backup_format::state::{Head, State};
use strimzi_backup_format::store::Store;
use tokio::time::Instant;

use super::{Answer, InFlight, Stream};
use crate::budget::Charge;
use crate::clock::{Backoff, Clock};
use crate::error::Error;
use crate::metrics::KindLabel;
use crate::pipeline::produce::Produced;
use crate::report::Protected;
use crate::source::Broker;

/// In how many looks in a row an object must be missing before it counts as gone: a store may be slow to show it.
const LOOKS_UNTIL_GONE: u32 = 3;

/// An upload is looked after before it is committed when it is so old: less than what a prune leaves alone.
const LONG_AGO_MILLIS: u64 = 1_800_000;

/// Claims within this time count as recent.
const RECENT_MILLIS: u64 = 600_000;

impl<B: Broker, C: Clock> Stream<B, C> {
    /// The slot that the next cut will take, behind those in flight.
    pub(super) fn sequence_after_flight(&self) -> Sequence {
        let next = self.parts.writer.next_sequence().get();
        Sequence::new(next.saturating_add(self.in_flight.len() as u64))
    }

    /// Commits the cut whose segments are in the store.
    pub(super) async fn commit_next(
        &mut self,
        (cut, produced, charge): (InFlight, Produced, Charge),
    ) -> Result<(), Error> {
        let InFlight { mut draft, observed_at, cut_at, .. } = cut;
        (draft.segments, draft.group_image) = (produced.segments, produced.group_image);
        self.commit(draft, observed_at, "data", Some(cut_at)).await?;
        drop(charge);
        Ok(())
    }

    pub(super) async fn commit(
        &mut self,
        draft: Draft,
        observed_at: TimestampMs,
        kind: &'static str,
        cut_at: Option<Instant>,
    ) -> Result<(), Error> {
        self.check_uploads(&draft, observed_at).await?;
        let nonce = Nonce::new(self.parts.clock.uuid());
        let prepared = self.parts.writer.prepare(draft, nonce, observed_at)?;
        self.create(&prepared).await?;
        self.publish(&prepared, kind, cut_at);
        if self.parts.writer.checkpoint_is_due() {
            self.checkpoint().await?;
        }
        Ok(())
    }

    /// Makes sure that what was uploaded long ago is still there: a prune may have taken it for left over. That happens to a
    /// process that was frozen, or that a store kept waiting.
    async fn check_uploads(&self, draft: &Draft, observed_at: TimestampMs) -> Result<(), Error> {
        let is_made = draft.refined.is_some() || draft.retired.is_some();
        let since = self.upkeep.made_since.filter(|_| is_made).map_or(observed_at, |at| at.min(observed_at));
        if self.parts.clock.now().millis_since(since) < LONG_AGO_MILLIS {
            return Ok(());
        }
        let refined = draft.refined.iter().flat_map(|refined| &refined.segments);
        let base = draft.retired.iter().flat_map(|retired| &retired.base);
        let image = draft.group_image.as_ref().map(|image| &image.object);
        let store = self.parts.writer.store();
        for object in draft.segments.iter().chain(refined).chain(base).map(|segment| &segment.object).chain(image) {
            // Where the store does not tell, the commit is tried, and fails as long as it does.
            let found = store.inner.head(&object.below(&store.prefix)).await;
            if matches!(found, Err(object_store::Error::NotFound { .. })) {
                return Err(Error::Vanished { object: object.to_string() });
            }
        }
        Ok(())
    }

    /// Creates the manifest, however long the store takes.
    async fn create(&mut self, prepared: &Prepared) -> Result<(), Error> {
        let backoff = Backoff::new();
        loop {
            let error = match self.parts.writer.commit(prepared).await {
                Ok(()) => break,
                Err(error) if error.is_retryable() => error,
                Err(error) => return Err(error.into()),
            };
            let object = layout::manifest(prepared.manifest().shard, prepared.manifest().sequence);
            self.parts.metrics.store_failed("commit", &object, &error, self.parts.clock.now());
            tokio::time::sleep(backoff.next(self.parts.clock.as_ref())).await;
            let stands = self.footing().check().await;
            self.take_footing(stands)?;
            self.watch_retention().await;
        }
        self.parts.metrics.store_recovered();
        Ok(())
    }

    /// What the log stands on now, to be looked at after a failure, and once in a metadata interval.
    fn footing(&self) -> Footing {
        let state = self.parts.writer.state();
        let (shard, identity, head) = (state.shard, state.identity, state.head);
        let seen = self.seen_head.filter(|seen| head.is_none_or(|head| head.sequence != seen.sequence));
        let mut must_stand = vec![(layout::identity(), identity)];
        let heads = [seen, head].into_iter().flatten();
        must_stand.extend(heads.map(|head| (layout::manifest(shard, head.sequence), head.sha256)));
        Footing { store: self.parts.writer.store().clone(), must_stand, head }
    }

    /// Looks beside the loop whether the log still stands, unless somebody looks already.
    pub(super) fn ask_footing(&mut self) {
        if !std::mem::replace(&mut self.asking_footing, true) {
            let footing = self.footing();
            self.asking.spawn(async move { Answer::Footing(footing.check().await) });
        }
    }

    /// Notes the newest manifest that was seen to stand.
    pub(super) fn take_footing(&mut self, stands: Result<Option<Head>, Error>) -> Result<(), Error> {
        self.seen_head = stands?.or(self.seen_head);
        Ok(())
    }

    /// Tells the world what is committed now.
    fn publish(&mut self, prepared: &Prepared, kind: &'static str, cut_at: Option<Instant>) {
        let Self { parts, .. } = self;
        let (manifest, metrics) = (prepared.manifest(), &parts.metrics);
        self.last_commit = Instant::now();
        metrics.commits.get_or_create(&KindLabel::new(kind)).inc();
        let (of_groups, of_records): (Vec<&Segment>, Vec<&Segment>) =
            manifest.segments.iter().partition(|segment| segment.holds_groups());
        metrics.records.inc_by(of_records.iter().map(|segment| segment.rows).sum());
        metrics.bytes.inc_by(of_records.iter().map(|segment| segment.raw_bytes).sum());
        metrics.group_offsets.inc_by(of_groups.iter().map(|segment| segment.rows).sum());
        if manifest.segments.iter().any(Segment::is_intake) {
            self.upkeep.intake(manifest.observed_at);
        }
        if let Some(cut_at) = cut_at {
            metrics.duration.observe(cut_at.elapsed().as_secs_f64());
        }
        for event in &manifest.topics {
            metrics.topic_events.get_or_create(&KindLabel::new(&format!("{:?}", event.event))).inc();
            tracing::info!(topic = %event.topic, event = ?event.event, lineage = %event.lineage, "topic");
        }
        metrics.succeeded(parts.clock.now());
        let state = parts.writer.state();
        metrics.set_stored(state.totals.bytes, &parts.prices, parts.clock.now());
        metrics.set_behind(coverage::behind_in_records(state).map(|behind| behind.reason));
        metrics.set_groups(coverage::groups(state));
        metrics.recent_claims.set(recent_claims(state, parts.clock.now()));
        parts.status.committed(Protected::of(state));
        if let Some(refined) = &manifest.refined {
            self.refined(refined);
        }
        if let Some(retired) = &manifest.retired {
            self.retired(retired);
        }
        tracing::debug!(sequence = %manifest.sequence, kind, segments = manifest.segments.len(), "committed");
    }

    /// Writes a checkpoint, and says whether; one that fails is tried after the next commit.
    pub(super) async fn checkpoint(&mut self) -> Result<bool, Error> {
        self.footing().check().await?;
        match self.parts.writer.checkpoint().await {
            Ok(()) => {
                self.parts.metrics.checkpoints.inc();
                Ok(true)
            }
            // Nor one that is too large: what was committed is in the log all the same.
            Err(error @ (log::Error::NotYet { .. } | log::Error::Encode(_))) => {
                self.parts.metrics.store_failed("checkpoint", &"checkpoint", &error, self.parts.clock.now());
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// The objects that every later manifest builds on. A bucket that was emptied or exchanged takes the next manifest as if
/// nothing had been before it, and one that was deleted lets uploads wait for ever. One that was set back may hold our newest
/// manifest by now, but not the one that was the newest at the last look.
#[derive(Debug)]
struct Footing {
    store: Store,
    must_stand: Vec<(ObjectKey, Sha256)>,
    /// The newest manifest when it was asked.
    head: Option<Head>,
}

impl Footing {
    /// Gives the newest manifest where everything is seen to stand.
    async fn check(&self) -> Result<Option<Head>, Error> {
        let mut all_stand = true;
        for (key, digest) in &self.must_stand {
            match self.stands(key, *digest).await {
                Some(true) => {}
                Some(false) => return Err(Error::Vanished { object: key.to_string() }),
                None => all_stand = false,
            }
        }
        Ok(self.head.filter(|_| all_stand))
    }

    /// Whether an object is there as it was written; `None` where the store does not tell.
    async fn stands(&self, key: &ObjectKey, digest: Sha256) -> Option<bool> {
        for look in 1..=LOOKS_UNTIL_GONE {
            let found = match self.store.inner.get(&key.below(&self.store.prefix)).await {
                Ok(object) => object.bytes().await,
                Err(error) => Err(error),
            };
            match found {
                Ok(bytes) if Sha256::of(&bytes) == digest => return Some(true),
                Ok(_) | Err(object_store::Error::NotFound { .. }) => {
                    tokio::time::sleep(Duration::from_millis(200) * look).await;
                }
                // The commit is tried again, and fails again as long as the store does.
                Err(_) => return None,
            }
        }
        Some(false)
    }
}

fn recent_claims(state: &State, now: TimestampMs) -> i64 {
    let recent = state.claims.iter().filter(|claim| now.millis_since(claim.observed_at) < RECENT_MILLIS);
    i64::try_from(recent.count()).unwrap_or(i64::MAX)
}
