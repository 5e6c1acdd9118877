//! Restore: records of a backup back into a Kafka cluster, to a moment or a snapshot, each exactly once.
//!
//! ```text
//! document ─▶ point ─▶ slice of the log ─▶ plan ◀─ target          pure but for the looks; nothing written yet
//!                                           │ kept in restores/<id>/plan.json
//!                                           ▼
//!             topics (create) ─▶ pass: source (fetch, decode) ─▶ write (transactions with progress) ─▶ report
//! ```
//!
//! Owns: the order of things, passes after failures. Does not own: what is stored (`format`), the client ([`crate::kafka`]).
//!
//! Crash at any point: before the plan is kept, nothing was written. Afterwards the same document started again reads the
//! progress that was committed with the records, and goes on there.

pub mod conflict;
mod dates;
pub mod documents;
mod error;
#[cfg(test)]
mod golden;
pub mod groups;
pub mod list;
mod metrics;
mod order;
pub mod partitioner;
pub mod plan;
pub mod point;
pub mod progress;
mod record_size;
mod render;
pub mod report;
mod rights;
mod same;
#[cfg(test)]
mod sample;
pub mod source;
pub mod tally;
pub mod topics;
pub mod translation;
mod watch;
pub mod write;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use strimzi_backup_format::groups::at::{self, Found, Moment};
use strimzi_backup_format::ids::{RestoreId, Shard, TopicName};
use strimzi_backup_format::job::{RESTORE_GROUP_PREFIX, RestoreJob, RestoreSettings};
use strimzi_backup_format::layout;
use strimzi_backup_format::manifest::reader::{self, Log};
use strimzi_backup_format::slice::{Slice, Touched};
use strimzi_backup_format::snapshot::{Snapshot, catalog};
use strimzi_backup_format::store::Store;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

pub use conflict::{Conflict, Warning};
pub use documents::DocumentError;
pub use error::RestoreError;
pub use plan::Plan;
pub use report::Report;
pub use same::{asked, check_same};

use crate::clock::{Backoff, Clock as _, SystemClock};
use crate::error::{Error, exit};
use crate::kafka::{self, Kafka, ProducerTuning, TransactionalProducer, Tuning};
use crate::keys;
use crate::report::{Resource, Restoring};
use plan::Basis;
use point::Point;
use progress::Progress;
use same::{check_asked, other_plan};
use source::Source;
use tally::{Phase, Tally};
use translation::Translations;
use write::{Resume, Writer};

/// How long the target may take to hand the transactional id over: it ends what an older start left open.
const INIT_PATIENCE: Duration = Duration::from_secs(60);

/// How long the target may take to tell the progress.
const PROGRESS_PATIENCE: Duration = Duration::from_secs(60);

/// A restore that commits nothing for so long ends, and is to be started again when the target is well.
const PATIENCE: Duration = Duration::from_secs(300);

/// After it was told to stop, a restore has so long to commit what it has written: less than the 30 s that Kubernetes
/// grants.
const GRACE: Duration = Duration::from_secs(20);

/// What a restore came to.
#[derive(Debug)]
pub enum Outcome {
    /// Only planned, with everything that stands in the way.
    Planned(Box<Plan>, Vec<Conflict>),
    /// Everything is written.
    Done(Box<Report>),
}

/// Restores as the document says, or says only what that would be. Tells `resource` how far it is, where there is one.
///
/// # Errors
/// [`Error`], which knows its exit code; [`Error::NoBroker`] where the target does not answer. What was committed to the target
/// stays, and the same document goes on there.
pub async fn run(
    job: RestoreJob,
    plan_only: bool,
    resource: Option<Resource>,
    stop: CancellationToken,
) -> Result<Outcome, Error> {
    let tally: Arc<Tally> = Arc::default();
    tally.enter(Phase::Planning);
    let _serving = match job.http.filter(|_| !plan_only) {
        Some(http) => Some(metrics::serve(http, &tally).await?),
        None => None,
    };
    let cluster = job.cluster.clone();
    let named = |error: Error| error.of_cluster(&cluster);
    let Some(resource) = resource else { return carry_out(job, plan_only, stop, tally).await.map_err(named) };
    let told = Arc::clone(&tally);
    let telling = crate::report::tell(resource.clone(), move || Restoring::of(&told));
    let telling = AbortOnDropHandle::new(tokio::spawn(telling));
    let outcome = carry_out(job, plan_only, stop, Arc::clone(&tally)).await.map_err(named)?;
    drop(telling);
    if let Outcome::Done(report) = &outcome {
        crate::report::tell_last(resource, &Restoring::done(report)).await;
    }
    Ok(outcome)
}

async fn carry_out(
    job: RestoreJob,
    plan_only: bool,
    stop: CancellationToken,
    tally: Arc<Tally>,
) -> Result<Outcome, Error> {
    let store = keys::open(&job.storage).await?;
    let log = reader::open(&store, Shard::ONLY).await.map_err(|error| Error::from(error).of_store(&store))?;
    let log = log.ok_or_else(|| Error::NoBackup(store.description.clone()))?;
    let id = job.restore.id.clone();
    let kafka = Kafka::connect(&job.cluster, &Tuning::default())?;
    if plan_only {
        let (plan, conflicts) = make_plan(&store, &log, &kafka, &job.restore).await?;
        return Ok(Outcome::Planned(Box::new(plan), conflicts));
    }
    let unread = |error: DocumentError| Error::from(error).of_store(&store);
    let plan = match documents::plan(&store, &id).await.map_err(unread)? {
        Some(plan) => plan,
        None => {
            let (plan, mut conflicts) = make_plan(&store, &log, &kafka, &job.restore).await?;
            conflicts.extend(may_not_commit(&job, &stop).await);
            if !conflicts.is_empty() {
                return Err(RestoreError::Conflicts(conflicts).into());
            }
            documents::keep(&store, &layout::restore_plan(&id), &plan, &SystemClock).await?
        }
    };
    if let Some(report) = documents::report(&store, &id).await.map_err(unread)? {
        check_asked(&plan, &log, &job.restore)?;
        tracing::info!(restore = %id, "the restore came to its end before; nothing is written");
        return Ok(Outcome::Done(Box::new(report)));
    }
    check_same(&plan, &log, &job.restore)?;
    if plan.target != topics::look(&kafka, &[]).await?.cluster {
        return Err(other_plan(&plan, "it was begun into another Kafka cluster").into());
    }
    let halt = CancellationToken::new();
    let is_untold = AtomicBool::new(false);
    let restore = Restore { job, store, log, kafka, plan, tally: Arc::clone(&tally), is_untold, stop, halt };
    let report = restore.run().await.inspect_err(|error| tell_what_stays(error, &tally))?;
    Ok(Outcome::Done(Box::new(report)))
}

/// Whoever starts a restore again is told that it goes on. Refusals, and who took it over, say by themselves what to do.
fn tell_what_stays(error: &Error, tally: &Tally) {
    if matches!(error.exit_code(), exit::FAILED | exit::DAMAGED) {
        let committed = tally.records.get();
        tracing::warn!(
            committed,
            "the restore did not come to its end; what is at the target stays, and the same document goes on there"
        );
    }
}

/// Plans a restore from what the backup and the target are now.
async fn make_plan(
    store: &Store,
    log: &Log,
    kafka: &Kafka,
    settings: &RestoreSettings,
) -> Result<(Plan, Vec<Conflict>), Error> {
    let backup = log.identity.backup;
    let snapshot = match &settings.stop.snapshot {
        Some(id) => Some(catalog::read(store, backup, id).await?),
        None => None,
    };
    let point = point::resolve(settings, &log.state, snapshot.as_ref()).map_err(RestoreError::Point)?;
    let selected = |key: &_| point.ends.contains_key(key);
    let slice = Slice { selected: &selected, ends: Some(&point.ends), from: point.start, until: point.until };
    let touched = slice.find(store, log).await?;
    // No request may name a topic twice; that two sources have one target is told as a conflict.
    let names: BTreeSet<TopicName> = point.topics.keys().map(|source| settings.target(source).topic).collect();
    let target = topics::look(kafka, &names.into_iter().collect::<Vec<_>>()).await?;
    let groups = committed_offsets(store, log, settings, (&point, snapshot.as_ref())).await?;
    let (asked, now) = (asked(settings), SystemClock.now());
    let (state, groups) = (&log.state, groups.as_ref());
    let basis =
        Basis { backup, settings, asked, point: &point, touched: &touched, state, groups, target: &target, now };
    let (mut plan, mut conflicts) = plan::build(basis);
    let refused = topics::refusals(kafka, &plan).await?;
    conflicts.extend(rights::missing(kafka, &plan, settings, &target, &refused).await?);
    let refused = refused.into_iter().filter(|refusal| !refusal.is_denied());
    conflicts.extend(refused.map(Conflict::Refused));
    let (of_groups, warnings) = groups::target::look(kafka, &plan).await?;
    conflicts.extend(of_groups);
    plan.warnings.extend(warnings);
    Ok((plan, conflicts))
}

/// What groups had committed at the moment of the restore; `None` where no offset of a group is restored.
async fn committed_offsets(
    store: &Store,
    log: &Log,
    settings: &RestoreSettings,
    (point, snapshot): (&Point, Option<&Snapshot>),
) -> Result<Option<groups::Held>, Error> {
    if settings.groups.is_none() {
        return Ok(None);
    }
    let ends = snapshot.map(|snapshot| snapshot.positions.iter().map(point::held_end).collect());
    let frontier = point::frontier(&log.state, snapshot);
    let moment = Moment { last: point.manifest.sequence, frontier, ends: ends.as_ref(), until: point.until };
    let Found { offsets, incomplete, unreadable } = at::at(store, log, moment).await?;
    Ok(Some(groups::Held { offsets, incomplete: incomplete.map(|why| why.to_string()), unreadable }))
}

/// Whether the user may not use the transactional id. What is looked at by `--plan-only` is left as it is, this is not.
async fn may_not_commit(job: &RestoreJob, stop: &CancellationToken) -> Option<Conflict> {
    let (cluster, id, stop) = (job.cluster.clone(), job.restore.id.clone(), stop.clone());
    joined(tokio::task::spawn_blocking(move || rights::transactional_id(&cluster, &id, stop)).await)
}

/// A batch of small records may be no larger than the strictest topic allows a record to be; the largest record goes alone.
fn tuning(plan: &Plan) -> ProducerTuning {
    let tuning = ProducerTuning::default();
    let strictest = plan.topics.iter().filter_map(|topic| topic.max_message_bytes).min();
    ProducerTuning {
        batch_bytes: strictest.map_or(tuning.batch_bytes, |most| most.min(tuning.batch_bytes)),
        record_bytes: tuning.record_bytes.max(plan.reads.largest_record),
        ..tuning
    }
}

/// The group that carries a restore's progress, and its transactional id.
fn group(id: &RestoreId) -> String {
    format!("{RESTORE_GROUP_PREFIX}{id}")
}

/// A restore whose plan is kept.
struct Restore {
    job: RestoreJob,
    store: Store,
    log: Log,
    kafka: Kafka,
    plan: Plan,
    tally: Arc<Tally>,
    /// Whether the target once did not tell where records are that offsets of groups stand for.
    is_untold: AtomicBool,
    stop: CancellationToken,
    /// Ends whatever waits for the target.
    halt: CancellationToken,
}

async fn halt_after(stop: CancellationToken, halt: CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(GRACE).await;
    halt.cancel();
}

impl Restore {
    async fn run(self) -> Result<Report, Error> {
        let _watch = watch::start(&self.plan, Arc::clone(&self.tally));
        let _grace = AbortOnDropHandle::new(tokio::spawn(halt_after(self.stop.clone(), self.halt.clone())));
        self.tally.planned(&self.plan.reads);
        self.tally.enter(Phase::Writing);
        self.check_group().await?;
        let writer = self.passes().await?;
        self.tally.enter(Phase::Finishing);
        topics::set_back(&self.kafka, &self.plan).await?;
        let groups = groups::translate(&self.plan, &writer.translations());
        groups::target::commit(&self.kafka, &self.plan, &groups).await?;
        let report = Report::of(&self.plan, &writer.progress(), groups, writer.foreign_writes(), SystemClock.now());
        drop(writer);
        let key = layout::restore_report(&self.plan.restore);
        let report = documents::keep(&self.store, &key, &report, &SystemClock).await?;
        self.delete_group().await;
        Ok(report)
    }

    /// The group with the progress has served; where it cannot be deleted, it expires.
    async fn delete_group(&self) {
        let deleted = self.kafka.delete_group(&group(&self.plan.restore)).await;
        let failed = match deleted {
            Ok(Ok(())) => return,
            Ok(Err(refused)) => crate::error::chain(&refused),
            Err(error) => crate::error::chain(&error),
        };
        tracing::warn!(error = failed, "delete the group with the progress of the restore");
    }

    /// Passes over what is left, until one comes to the end or nothing was committed for too long.
    async fn passes(&self) -> Result<Writer, Error> {
        let (mut calm_since, mut backoff) = (Instant::now(), Backoff::new());
        let mut transactions = 0;
        loop {
            let error = match self.pass().await {
                Ok(writer) => return Ok(writer),
                Err(error) if may_pass(&error) && !self.stop.is_cancelled() => error,
                Err(error) => return Err(error),
            };
            if matches!(error, Error::Restore(RestoreError::Untold(_))) {
                self.is_untold.store(true, Ordering::Relaxed);
            }
            let committed = self.tally.read().transactions;
            if std::mem::replace(&mut transactions, committed) != committed {
                (calm_since, backoff) = (Instant::now(), Backoff::new());
            }
            if calm_since.elapsed() >= PATIENCE {
                return Err(error);
            }
            self.tally.repeats();
            tracing::warn!(error = crate::error::chain(&error), "the restore goes on from its last commit in a moment");
            tokio::select! {
                () = tokio::time::sleep(backoff.next(&SystemClock)) => {}
                () = self.stop.cancelled() => return Err(RestoreError::Stopped.into()),
            }
        }
    }

    /// Takes the transactional id over, and writes from the progress that is committed to the end.
    async fn pass(&self) -> Result<Writer, Error> {
        let (producer, progress) = self.take_over().await?;
        let is_new = progress.is_none();
        let (progress, translations) = match progress {
            Some(known) => known,
            None => {
                // A client remembers for long that it did not know a topic.
                let kafka = Kafka::connect(&self.job.cluster, &Tuning::default())?;
                topics::prepare(&kafka, &self.plan).await?;
                let missing = rights::missing_of_topics(&kafka, &self.plan).await?;
                if !missing.is_empty() {
                    return Err(RestoreError::Rights(missing).into());
                }
                (progress::none(&self.plan), Translations::new())
            }
        };
        self.tally.begins(&progress);
        let left = self.left(&progress).await?;
        let resume = Resume { progress, translations, is_last_try: self.is_untold.load(Ordering::Relaxed) };
        let (throttle, tally) = (self.job.restore.throttle_bytes, Arc::clone(&self.tally));
        let mut writer = Writer::new(producer, &self.plan, &resume, throttle, tally, self.stop.clone());
        let parallelism = self.job.restore.parallelism.get();
        let mut source = Source::open(&self.store, left, parallelism, &self.tally);
        let plan = self.plan.clone();
        let written = tokio::task::spawn_blocking(move || {
            if is_new {
                writer.commit_all()?;
            }
            if !progress::is_complete(&plan, &resume.progress) {
                writer.write(&mut source, &plan)?;
            }
            Ok::<_, RestoreError>(writer)
        });
        Ok(joined(written.await)?)
    }

    /// A group that the user may not use is told here: reading the progress would wait for it in vain.
    async fn check_group(&self) -> Result<(), Error> {
        match rights::group(&self.kafka, &self.plan.restore).await {
            Ok(Some(missing)) => Err(RestoreError::Rights(vec![missing]).into()),
            Ok(None) => Ok(()),
            // A target that does not answer is told by what comes next.
            Err(error) => {
                tracing::debug!(error = crate::error::chain(&error), "ask for the rights to the group");
                Ok(())
            }
        }
    }

    async fn take_over(&self) -> Result<(TransactionalProducer, Option<(Progress, Translations)>), Error> {
        let (cluster, plan, halt) = (self.job.cluster.clone(), self.plan.clone(), self.halt.clone());
        let work = tokio::task::spawn_blocking(move || {
            let group = group(&plan.restore);
            let unready = TransactionalProducer::connect(&cluster, &group, &tuning(&plan), halt);
            let producer = unready.map_err(kafka::ProducerError::from)?.init(INIT_PATIENCE)?;
            let homes: Vec<_> = progress::homes(&plan).into_keys().collect();
            let committed = producer.committed(&group, &homes, PROGRESS_PATIENCE)?;
            let progress = progress::read(&plan, &group, &committed)?;
            Ok::<_, RestoreError>((producer, progress))
        });
        Ok(joined(work.await)?)
    }

    /// The segments that hold what is not restored yet.
    async fn left(&self, progress: &Progress) -> Result<Vec<Touched>, Error> {
        let ends = self.plan.ends();
        let selected = |key: &_| ends.contains_key(key);
        let slice = Slice { selected: &selected, ends: Some(&ends), from: self.plan.start, until: self.plan.until };
        Ok(source::rest(slice.find(&self.store, &self.log).await?, progress))
    }
}

/// The result of a task; a panic in it goes on here.
fn joined<T>(joined: Result<T, tokio::task::JoinError>) -> T {
    match joined {
        Ok(done) => done,
        Err(failed) => std::panic::resume_unwind(failed.into_panic()),
    }
}

/// Whether another pass may succeed.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Restore(error) => error.is_retryable(),
        Error::Kafka(error) => error.is_retryable(),
        Error::Read(error) => error.is_retryable(),
        _ => false,
    }
}
