//! Becoming the one writer of a backup: prove the store, read the log, check whose it is, claim it.
//!
//! Of an encrypted backup, the keys come first: what was written is opened with them before anything of it is believed, and the next
//! backup key is made, where a new master key asks for one, right before the claim, when this job may write. While who has the master key
//! does not answer, nothing is fetched and nothing written: what is not backed up is in Kafka still. An attempt asks once for each
//! backup key.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strimzi_backup_format::crypt::wraps;
use strimzi_backup_format::identity::Identity;
use strimzi_backup_format::ids::{BackupId, ClusterId, Nonce, Sequence, Shard, TimestampMs};
use strimzi_backup_format::job::{BackupSettings, Job, defaults};
use strimzi_backup_format::layout;
use strimzi_backup_format::manifest::Claim;
use strimzi_backup_format::manifest::log::{self, LogWriter};
use strimzi_backup_format::manifest::reader;
use strimzi_backup_format::state::State;
use strimzi_backup_format::store::probe::{ProbeError, probe};
use strimzi_backup_format::store::{ErrorKind, Store};

use crate::clock::{Backoff, Clock};
use crate::error::Error;
use crate::keys::{self, KeysError};
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
    /// The store, not sealed.
    pub store: Store,
    /// Where the master keys are; `None` for a backup in the clear.
    pub keys: Option<&'a dyn keys::Source>,
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
    /// Claims the log, creating the backup where there is none. Waits for a store that fails, for a living writer that has fenced
    /// this one before, and, for as long as it takes, for who has the master key.
    ///
    /// Dropped at any point, it may or may not have claimed; the next start claims higher.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::Read`], [`Error::Keys`] or [`Error::Log`] where this job must not write here; nothing is changed
    /// then. [`Error::NoStore`] where the store refuses, or fails too often.
    pub async fn claim(&self) -> Result<LogWriter, Error> {
        let (mut backoff, keyless, mut known) = (Backoff::new(), Backoff::new(), None);
        loop {
            match self.attempt(&backoff, &mut known).await {
                Ok(Some(writer)) => return Ok(writer),
                Err(Error::Keys(error)) if error.is_unavailable() => {
                    self.metrics.key_failed(&error, self.clock.now());
                    tokio::time::sleep(keyless.next(self.clock.as_ref())).await;
                    // The store answered before.
                    backoff = Backoff::new();
                }
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

    /// One attempt; `None` where another writer is to be left alone for now, with the store as it was opened in `known`: who stands by
    /// looks again every few seconds, maybe for weeks, and who has the master key is not asked each time.
    async fn attempt(&self, backoff: &Backoff, known: &mut Option<Store>) -> Result<Option<LogWriter>, Error> {
        let (shard, looked) = (Shard::ONLY, known.take());
        // Of all that follows: one login, and one question for each thing.
        let once = self.keys.map(keys::Once::new);
        let source = once.as_ref().map(|once| once as &dyn keys::Source);
        let is_known = looked.is_some();
        let opened = match looked {
            Some(opened) => opened,
            None => match keys::unlocked(self.store.clone(), source).await {
                // Its founder was cut off before it made the first key, or somebody deleted them all.
                Err(Error::Keys(KeysError::NoWraps { .. })) => return self.create(source, backoff).await,
                opened => opened?,
            },
        };
        if opened.keys.is_some() {
            self.metrics.key_answered();
        }
        let read = reader::open_to_write(&opened, shard).await;
        if !matches!(read, Ok(None)) && self.is_founded_since(&opened).await? {
            return Err(Error::Raced);
        }
        let log = match read {
            // It may be sealed by a key that was made since: the next look asks for the keys again, and tells what is wrong if it is not.
            Err(error) if is_known && !error.is_retryable() => return Ok(None),
            log => log?,
        };
        let Some(log) = log else {
            return self.create(source, backoff).await;
        };
        log.identity.admits(&self.job.name, &self.cluster)?;
        for (object, reason) in &log.ignored {
            tracing::warn!(object, reason, "checkpoint ignored; the log is read instead");
        }
        if let Some(other) = fenced_by_living(&log.state, &self.writer, alive_for(&self.job.backup), self.clock.now()) {
            tracing::warn!(writer = other, "another writer took this backup over and is alive; standing by");
            *known = Some(opened);
            return Ok(None);
        }
        // Only now, when this job may write here: a probe leaves an object.
        self.prove().await?;
        self.warn_of_a_namesake(&log.state);
        let store = self.sealed(source, log.identity.backup).await?;
        let writer = LogWriter::new(store, shard, log);
        self.create_claim(writer, backoff).await.map(Some)
    }

    /// Says so where the job has no name of its own, and another host claimed its backup last.
    fn warn_of_a_namesake(&self, state: &State) {
        let last = state.claims.last().filter(|claim| claim.writer != self.writer);
        if let Some(other) = last.filter(|_| self.job.name == defaults::NAME) {
            tracing::warn!(
                writer = other.writer,
                "another host claimed this backup last, and the job has no name of its own: two jobs without a name \
                 are not told apart, so make sure that no other writes here"
            );
        }
    }

    /// The store as the writer of that backup uses it. Makes the first key of a backup that is encrypted, or, under a new master key,
    /// its next one.
    async fn sealed(&self, source: Option<&dyn keys::Source>, backup: BackupId) -> Result<Store, Error> {
        let Some(source) = source else { return Ok(self.store.clone()) };
        let provider = source.provider()?;
        let ring = wraps::found_or_rotate(&self.store, backup, provider.as_ref(), self.clock.now()).await?;
        self.metrics.key_answered();
        Ok(keys::sealed_by(&self.store, ring))
    }

    /// Whether there was no backup whose keys could have been asked for when the store was opened, and there is one now.
    async fn is_founded_since(&self, opened: &Store) -> Result<bool, Error> {
        Ok(self.keys.is_some() && opened.keys.is_none() && reader::identity(&self.store).await?.is_some())
    }

    async fn prove(&self) -> Result<(), Error> {
        if !self.proven.load(Ordering::Relaxed) {
            probe(self.store.inner.as_ref(), &self.store.prefix).await?;
            self.proven.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Founds the backup. The log is then read and claimed by the next attempt, as any other.
    async fn create(&self, source: Option<&dyn keys::Source>, backoff: &Backoff) -> Result<Option<LogWriter>, Error> {
        self.check_no_keys().await?;
        self.prove().await?;
        let identity = self.new_identity(source, BackupId::new(self.clock.uuid())).await?;
        log::create_identity(&self.store, &identity).await?;
        // What stands there now is read as by any other start: the answer to a create may be damaged, and the digest of
        // the identity goes into the first link for good.
        let Some(identity) = reader::identity(&self.store).await? else { return Err(Error::Raced) };
        identity.admits(&self.job.name, &self.cluster)?;
        self.check_closed_as(&identity)?;
        if self.keys.is_some() {
            // The first key is bound to its backup for good, and nothing but a second look says yet that it was read as it stands.
            if reader::identity(&self.store).await?.as_ref() != Some(&identity) {
                return Err(Error::Raced);
            }
            self.check_no_log().await?;
        }
        let store = self.sealed(source, identity.backup).await?;
        let Some(log) = reader::open_to_write(&store, Shard::ONLY).await? else { return Err(Error::Raced) };
        log.identity.admits(&self.job.name, &self.cluster)?;
        let writer = LogWriter::new(store, Shard::ONLY, log);
        self.create_claim(writer, backoff).await.map(Some)
    }

    /// The identity of a new backup, which names the master key that it is begun under.
    async fn new_identity(&self, source: Option<&dyn keys::Source>, backup: BackupId) -> Result<Identity, Error> {
        let identity = Identity::new(backup, &self.job.name, self.cluster.clone(), self.clock.now());
        let Some(source) = source else { return Ok(identity) };
        let provider = source.provider()?;
        Ok(identity.with_encryption(provider.current().await?))
    }

    /// Fails where somebody else founded the backup meanwhile, and not as this job would.
    fn check_closed_as(&self, identity: &Identity) -> Result<(), Error> {
        // The next attempt says what is wrong, in the words for a backup that was there before.
        if identity.encryption.is_some() == self.keys.is_some() { Ok(()) } else { Err(Error::Raced) }
    }

    /// Fails where there are keys and nothing says whose: under another identity nobody would open what they seal.
    async fn check_no_keys(&self) -> Result<(), Error> {
        let wraps = wraps::read(&self.store).await?.wraps;
        // In this order: who founds a backup creates its identity before the first key.
        let (Some(wrap), None) = (wraps.first(), reader::identity(&self.store).await?) else { return Ok(()) };
        let (object, witness) = (layout::identity().to_string(), wrap.object().to_string());
        Err(reader::Error::Missing { object, witness }.into())
    }

    /// Fails where there is a log and no key that it could be sealed by: making one would hide that they are gone.
    async fn check_no_log(&self) -> Result<(), Error> {
        let first = layout::manifest(Shard::ONLY, Sequence::FIRST);
        let failed = |source| reader::Error::Store { object: first.to_string(), source };
        if self.store.find(&first).await.map_err(failed)?.is_none() {
            return Ok(());
        }
        // Or it was founded in this moment.
        let wraps = wraps::read(&self.store).await?.wraps;
        let place = self.store.description.clone();
        if wraps.is_empty() { Err(KeysError::NoWraps { place }.into()) } else { Err(Error::Raced) }
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
                Err(log::Error::Fenced { .. } | log::Error::Rotated { .. }) => return Err(Error::Raced),
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
        // The next attempt reads the keys anew, too.
        Error::Probe(ProbeError::WrongBytes { .. }) | Error::Raced | Error::Read(reader::Error::Rotated { .. }) => true,
        Error::Keys(error) => error.store_kind().is_some_and(passes),
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
    use object_store::ObjectStoreExt as _;
    use strimzi_backup_format::checksum::Sha256;
    use strimzi_backup_format::ids::Epoch;
    use strimzi_backup_format::state::{ClaimRecord, Head};

    use super::*;
    use crate::clock::SystemClock;
    use crate::error::{chain, exit};
    use crate::keys::tests::{TestKeys, objects};

    fn a_job() -> Job {
        let text =
            "name: orders-dr\ncluster: {bootstrapServers: 'a:1'}\nstorage: {type: filesystem, filesystem: {path: /b}}";
        text.parse().expect("job")
    }

    /// A claim of the backup in `store` by the writer `a`.
    async fn claim(store: &Store, keys: Option<&TestKeys>, metrics: &Arc<Metrics>) -> Result<LogWriter, Error> {
        claim_as("a", store, keys, metrics).await
    }

    async fn claim_as(
        writer: &str,
        store: &Store,
        keys: Option<&TestKeys>,
        metrics: &Arc<Metrics>,
    ) -> Result<LogWriter, Error> {
        let claimant = Claimant {
            job: &a_job(),
            store: store.clone(),
            keys: keys.map(|keys| keys as &dyn keys::Source),
            cluster: ClusterId::new("of the test"),
            writer: writer.to_owned(),
            clock: Arc::new(SystemClock),
            metrics: Arc::clone(metrics),
            proven: false.into(),
        };
        claimant.claim().await
    }

    #[tokio::test(start_paused = true)]
    async fn a33_nothing_is_written_while_the_master_key_is_away_and_what_is_written_then_is_sealed() {
        let (store, keys, metrics) = (Store::memory(), TestKeys::new(&[1]), Arc::new(Metrics::new()));
        keys.be_away(u64::MAX);
        let patience = Duration::from_secs(3600);
        let waiting = tokio::time::timeout(patience, claim(&store, Some(&keys), &metrics)).await;
        assert!(waiting.is_err(), "it waits for as long as it takes");
        assert_eq!(objects(&store).await, ["probe/create-once"]);
        assert!(metrics.key_errors.get() > 100 && metrics.key_unavailable.get() == 1);
        assert_eq!(metrics.trouble(), Some(crate::report::Trouble::EncryptionKeyUnavailable));
        let why = metrics.why_keyless().expect("it is told");
        assert!(why.contains("master key file:of-the-test") && why.ends_with("Vault is sealed"), "{why}");
        keys.be_away(2);
        let writer = claim(&store, Some(&keys), &metrics).await.expect("it is there again");
        assert_eq!((metrics.key_unavailable.get(), metrics.trouble(), metrics.why_keyless()), (0, None, None));
        let found =
            ["backup.json", "keys/0000-0000.json", "manifests/0000/00000000000000000001.json.zst", "probe/create-once"];
        assert_eq!(objects(&store).await, found);
        let manifest = layout::manifest(Shard::ONLY, Sequence::FIRST);
        let stored = store.find(&manifest).await.expect("there").expect("there").bytes().await.expect("bytes");
        assert!(stored.starts_with(b"SBE1"), "sealed");
        assert!(writer.store().keys.is_some());
    }

    #[tokio::test]
    async fn a34_a_new_master_key_begins_a_key_of_its_own_and_a_wrong_one_writes_nothing() {
        let (store, metrics) = (Store::memory(), Arc::new(Metrics::new()));
        let [old, both, wrong] = [TestKeys::new(&[1]), TestKeys::new(&[2, 1]), TestKeys::new(&[3])];
        claim(&store, Some(&old), &metrics).await.expect("founded");
        claim(&store, Some(&both), &metrics).await.expect("the next master key");
        let before = objects(&store).await;
        assert!(before.contains(&"keys/0001-0000.json".to_owned()), "{before:?}");
        for (keys, code) in [(Some(&old), exit::USAGE), (Some(&wrong), exit::USAGE), (None, exit::USAGE)] {
            let error = claim(&store, keys, &metrics).await.expect_err("no key, or not the right one");
            assert_eq!((error.exit_code(), objects(&store).await), (code, before.clone()), "{}", chain(&error));
            assert!(chain(&error).contains(both.id().await.as_str()), "{}", chain(&error));
        }
        claim(&store, Some(&both), &metrics).await.expect("still its writer's");
        assert_eq!(objects(&store).await.len(), before.len() + 1, "one more claim");
    }

    #[tokio::test(start_paused = true)]
    async fn a33_who_stands_by_asks_for_the_master_key_once_and_again_where_a_key_was_made_since() {
        let (store, metrics) = (Store::memory(), Arc::new(Metrics::new()));
        let [old, ours, theirs] = [TestKeys::new(&[1]), TestKeys::new(&[2, 1]), TestKeys::new(&[2, 1])];
        for writer in ["a", "b"] {
            claim_as(writer, &store, Some(&old), &metrics).await.expect("claimed");
        }
        let others = async {
            tokio::time::sleep(Duration::from_secs(60)).await;
            ours.be_away(u64::MAX);
            tokio::time::sleep(Duration::from_secs(60)).await;
            assert_eq!((metrics.key_errors.get(), metrics.key_unavailable.get()), (0, 0), "nobody was asked");
            ours.be_away(0);
            claim_as("b", &store, Some(&theirs), &metrics).await.expect("under a new master key")
        };
        let standing_by = claim_as("a", &store, Some(&ours), &metrics);
        let (stood_by, _) = tokio::join!(tokio::time::timeout(Duration::from_secs(300), standing_by), others);
        assert!(stood_by.is_err(), "it reads on what the other one seals, and leaves the log to it");
        assert_eq!(metrics.trouble(), None);
        assert!(objects(&store).await.contains(&"keys/0001-0000.json".to_owned()));
    }

    #[tokio::test]
    async fn a33_a_start_logs_in_once_and_asks_once_for_each_backup_key() {
        let (store, metrics) = (Store::memory(), Arc::new(Metrics::new()));
        let [old, both] = [TestKeys::new(&[1]), TestKeys::new(&[2, 1])];
        claim(&store, Some(&old), &metrics).await.expect("founded");
        assert_eq!(old.asked(), (1, 3), "which is the current one, wrapped, and opened again");
        claim(&store, Some(&old), &metrics).await.expect("as ever");
        assert_eq!(old.asked(), (1, 2), "the backup key, and which is the current one");
        claim(&store, Some(&both), &metrics).await.expect("the next master key");
        assert_eq!(
            both.asked(),
            (1, 4),
            "what there was, which is the current one, the next wrapped, and opened again"
        );
        claim(&store, Some(&both), &metrics).await.expect("as ever");
        assert_eq!(both.asked(), (1, 3), "two backup keys, and which is the current one");
    }

    #[tokio::test]
    async fn a_backup_in_the_clear_is_not_closed_later() {
        let (store, metrics) = (Store::memory(), Arc::new(Metrics::new()));
        claim(&store, None, &metrics).await.expect("founded");
        let before = objects(&store).await;
        let error = claim(&store, Some(&TestKeys::new(&[1])), &metrics).await.expect_err("in the clear");
        assert!(chain(&error).contains("is not encrypted; take another prefix"), "{}", chain(&error));
        assert_eq!((error.exit_code(), objects(&store).await), (exit::USAGE, before));
    }

    #[tokio::test]
    async fn a35_keys_without_an_identity_get_no_other_one() {
        let (store, metrics) = (Store::memory(), Arc::new(Metrics::new()));
        let keys = TestKeys::new(&[1]);
        claim(&store, Some(&keys), &metrics).await.expect("founded");
        for gone in [layout::identity(), layout::manifest(Shard::ONLY, Sequence::FIRST)] {
            store.inner.delete(&gone.below(&store.prefix)).await.expect("deleted");
        }
        let before = objects(&store).await;
        for keys in [Some(&keys), None] {
            let error = claim(&store, keys, &metrics).await.expect_err("whose keys are these?");
            let told = chain(&error);
            assert!(told.contains("backup.json is missing, and keys/0000-0000.json proves"), "{told}");
            assert_eq!((error.exit_code(), objects(&store).await), (exit::DAMAGED, before.clone()));
        }
    }

    #[tokio::test]
    async fn a35_a_log_whose_keys_are_gone_gets_no_new_ones() {
        let (store, metrics) = (Store::memory(), Arc::new(Metrics::new()));
        let keys = TestKeys::new(&[1]);
        claim(&store, Some(&keys), &metrics).await.expect("founded");
        let wrap = layout::key_wrap(0, 0).below(&store.prefix);
        store.inner.delete(&wrap).await.expect("deleted");
        let before = objects(&store).await;
        let error = claim(&store, Some(&keys), &metrics).await.expect_err("nothing opens it");
        assert!(chain(&error).contains("no wrapped key below keys/"), "{}", chain(&error));
        assert_eq!((error.exit_code(), objects(&store).await), (exit::DAMAGED, before));
    }

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
