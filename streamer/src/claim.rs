//! Becoming the one writer of a backup: prove the store, read the log, check whose it is, claim it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strimzi_backup_format::identity::Identity;
use strimzi_backup_format::ids::{BackupId, ClusterId, Nonce, Sequence, Shard, TimestampMs};
use strimzi_backup_format::job::{BackupSettings, Job, defaults};
use strimzi_backup_format::manifest::Claim;
use strimzi_backup_format::manifest::log::{self, LogWriter};
use strimzi_backup_format::manifest::reader;
use strimzi_backup_format::state::State;
use strimzi_backup_format::store::probe::{ProbeError, probe};
use strimzi_backup_format::store::{ErrorKind, Store};

use crate::clock::{Backoff, Clock};
use crate::error::Error;
use crate::metrics::Metrics;

/// What a living writer may be late by: a slow store, and clocks that differ.
const LATE: Duration = Duration::from_secs(5);

/// How often a store that does not answer is tried at the start: a minute, about.
const ATTEMPTS: u64 = 10;

/// How often a standby looks whether the writer is still alive.
const STANDBY_LOOK: Duration = Duration::from_secs(5);

/// Who wants to write, and what for.
#[derive(Debug)]
pub struct Claimant<'a, C> {
    /// The job.
    pub job: &'a Job,
    /// The store, proven.
    pub store: Store,
    /// The cluster that the broker says it is.
    pub cluster: ClusterId,
    /// This writer's name.
    pub writer: String,
    /// Time and dice.
    pub clock: Arc<C>,
    /// Where failures are counted.
    pub metrics: Arc<Metrics>,
    /// Whether the store was probed.
    pub proven: AtomicBool,
}

impl<C: Clock> Claimant<'_, C> {
    /// Claims the log, creating the backup where there is none. Waits for a store that fails, and for a living writer
    /// that has fenced this one before.
    ///
    /// Dropped at any point, it may or may not have claimed; the next start claims higher.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::Read`] or [`Error::Log`] where this job must not write here; nothing is changed then.
    /// [`Error::NoStore`] where the store refuses, or fails too often.
    pub async fn claim(&self) -> Result<LogWriter, Error> {
        let mut backoff = Backoff::new();
        loop {
            match self.attempt(&backoff).await {
                Ok(Some(writer)) => return Ok(writer),
                Ok(None) => {
                    // The store answers: what failed before is over.
                    backoff = Backoff::new();
                    tokio::time::sleep(STANDBY_LOOK).await;
                }
                Err(error) => self.wait_out(error, &backoff).await.map_err(|error| error.of_store(&self.store))?,
            }
        }
    }

    /// Waits until an attempt that failed may be repeated, or gives its error back.
    async fn wait_out(&self, error: Error, backoff: &Backoff) -> Result<(), Error> {
        if !is_retryable(&error) || backoff.attempts() >= ATTEMPTS {
            return Err(error);
        }
        self.metrics.store_failed("claim", &self.store.description, &error, self.clock.now());
        tokio::time::sleep(backoff.next(self.clock.as_ref())).await;
        Ok(())
    }

    /// One attempt; `None` where another writer is to be left alone for now.
    async fn attempt(&self, backoff: &Backoff) -> Result<Option<LogWriter>, Error> {
        let shard = Shard::ONLY;
        let Some(log) = reader::open(&self.store, shard).await? else {
            return self.create(backoff).await;
        };
        log.identity.admits(&self.job.name, &self.cluster)?;
        for (object, reason) in &log.ignored {
            tracing::warn!(object, reason, "checkpoint ignored; the log is read instead");
        }
        if let Some(other) = fenced_by_living(&log.state, &self.writer, alive_for(&self.job.backup), self.clock.now()) {
            tracing::warn!(writer = other, "another writer took this backup over and is alive; standing by");
            return Ok(None);
        }
        // Only now, when this job may write here: a probe leaves an object.
        self.prove().await?;
        if self.job.name == defaults::NAME
            && let Some(other) = log.state.claims.last().filter(|claim| claim.writer != self.writer)
        {
            tracing::warn!(
                writer = other.writer,
                "another host claimed this backup last, and the job has no name of its own: two jobs without a name \
                 are not told apart, so make sure that no other writes here"
            );
        }
        let writer = LogWriter::new(self.store.clone(), shard, log);
        self.create_claim(writer, backoff).await.map(Some)
    }

    async fn prove(&self) -> Result<(), Error> {
        if !self.proven.load(Ordering::Relaxed) {
            probe(self.store.inner.as_ref(), &self.store.prefix).await?;
            self.proven.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Founds the backup. The log is then read and claimed by the next attempt, as any other.
    async fn create(&self, backoff: &Backoff) -> Result<Option<LogWriter>, Error> {
        self.prove().await?;
        let backup = BackupId::new(self.clock.uuid());
        let identity = Identity::new(backup, &self.job.name, self.cluster.clone(), self.clock.now());
        log::create_identity(&self.store, &identity).await?;
        // What stands there now is read as by any other start: the answer to a create may be damaged, and the digest of
        // the identity goes into the first link for good.
        let Some(log) = reader::open(&self.store, Shard::ONLY).await? else { return Err(Error::Raced) };
        log.identity.admits(&self.job.name, &self.cluster)?;
        let writer = LogWriter::new(self.store.clone(), Shard::ONLY, log);
        self.create_claim(writer, backoff).await.map(Some)
    }

    /// Creates the same claim until its outcome is known: one that landed unseen would only be claimed over.
    async fn create_claim(&self, mut writer: LogWriter, backoff: &Backoff) -> Result<LogWriter, Error> {
        let claim = Claim { writer: self.writer.clone(), software: env!("CARGO_PKG_VERSION").to_owned() };
        let nonce = Nonce::new(self.clock.uuid());
        let prepared = writer.prepare_claim(claim, nonce, self.clock.now())?;
        loop {
            match writer.commit(&prepared).await {
                Ok(()) => break,
                // Somebody else was faster: read what stands there now, and decide anew.
                Err(log::Error::Fenced { .. }) => return Err(Error::Raced),
                Err(error) => self.wait_out(error.into(), backoff).await?,
            }
        }
        let epoch = writer.epoch();
        let sequence = writer.state().head.map_or(Sequence::FIRST, |head| head.sequence);
        tracing::info!(%epoch, %sequence, store = %self.store.description, "claimed the manifest log");
        Ok(writer)
    }
}

/// Whether waiting may help. At the start a refusal is a fault of the job and ends it; a store that does not answer is
/// waited for, but not for ever: who starts a backup wants to hear that its endpoint is wrong.
fn is_retryable(error: &Error) -> bool {
    let passes = |kind| matches!(kind, ErrorKind::Unavailable | ErrorKind::Full | ErrorKind::Incomplete);
    match error {
        Error::Read(reader::Error::Store { source, .. }) => passes(ErrorKind::of(source)),
        Error::Log(log::Error::NotYet { source, .. }) => passes(source.kind()),
        Error::Probe(ProbeError::Unavailable(error)) => passes(error.kind()),
        Error::Probe(ProbeError::WrongBytes { .. }) | Error::Raced => true,
        _ => false,
    }
}

/// The writer that has fenced `writer` and is still alive: then claiming again would only fence it in turn, and so on.
fn fenced_by_living<'a>(state: &'a State, writer: &str, alive_for: Duration, now: TimestampMs) -> Option<&'a str> {
    let newest = state.claims.last().filter(|claim| claim.writer != writer)?;
    let was_ours = state.claims.iter().rev().skip(1).any(|claim| claim.writer == writer);
    let alive = state.head.is_some_and(|head| Duration::from_millis(now.millis_since(head.observed_at)) < alive_for);
    (was_ours && alive).then_some(newest.writer.as_str())
}

/// How long after its newest manifest a writer counts as alive. With nothing to commit it is silent for a heartbeat
/// interval, and up to a commit interval longer, since it looks then; missing that once is no death. The other writer's
/// intervals are not in the log: they are those of the same job.
pub(crate) fn alive_for(settings: &BackupSettings) -> Duration {
    (settings.heartbeat_interval + settings.commit_interval) * 2 + LATE
}

#[cfg(test)]
mod tests {
    use strimzi_backup_format::checksum::Sha256;
    use strimzi_backup_format::ids::Epoch;
    use strimzi_backup_format::state::{ClaimRecord, Head};

    use super::*;

    #[test]
    fn a06_a_fenced_writer_stands_by_while_the_other_lives() {
        let mut state = State::empty(BackupId::new(uuid::Uuid::nil()), Shard::ONLY, Sha256::of(b""));
        let at = TimestampMs::new(1_000_000);
        let claim =
            |epoch, writer: &str| ClaimRecord { epoch: Epoch::new(epoch), writer: writer.to_owned(), observed_at: at };
        state.claims = vec![claim(1, "a"), claim(2, "b")];
        state.head =
            Some(Head { sequence: Sequence::new(9), sha256: Sha256::of(b""), epoch: Epoch::new(2), observed_at: at });
        let settings = |more: &str| {
            let text = "cluster: {bootstrapServers: 'a:1'}\nstorage: {type: filesystem, filesystem: {path: /b}}";
            format!("{text}\n{more}").parse::<Job>().expect("job").backup
        };
        let quick = alive_for(&settings(""));
        assert_eq!(fenced_by_living(&state, "a", quick, at.plus_millis(10_000)), Some("b"));
        assert_eq!(fenced_by_living(&state, "a", quick, at.plus_millis(100_000)), None, "b is dead");
        assert_eq!(fenced_by_living(&state, "b", quick, at), None, "the newest writer goes on");
        assert_eq!(fenced_by_living(&state, "c", quick, at), None, "a new writer was never fenced");
        for slow in ["backup: {heartbeatInterval: 10m}", "backup: {commitInterval: 10m}"] {
            let slow = alive_for(&settings(slow));
            assert_eq!(fenced_by_living(&state, "a", slow, at.plus_millis(600_000)), Some("b"), "b is idle");
        }
    }
}
