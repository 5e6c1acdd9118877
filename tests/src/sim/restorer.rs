//! Restores while everything else goes on: planned and pinned as the product does it, read by its own code through a store of their
//! own weather, killed and gone on with, into a target in memory.
//!
//! What a restore must bring is what the oracle holds when it is planned. Whatever is refined, sealed, retired or pruned until it ends
//! may change nothing of that, nor stop it.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use parking_lot::Mutex;
use strimzi_backup_format::coverage::recoverable_until;
use strimzi_backup_format::errors::chain;
use strimzi_backup_format::ids::{RestoreId, Shard, TimestampMs};
use strimzi_backup_format::job::RestoreSettings;
use strimzi_backup_format::layout;
use strimzi_backup_format::manifest::reader::{self, Log};
use strimzi_backup_format::record::Record;
use strimzi_backup_format::snapshot::catalog;
use strimzi_backup_format::state::State;
use strimzi_backup_format::store::Store;
use strimzi_backup_format::store::faulty::{FaultControl, FaultyStore};
use strimzi_backup_streamer::clock::Clock as _;
use strimzi_backup_streamer::error::Error;
use strimzi_backup_streamer::metrics::KindLabel;
use strimzi_backup_streamer::restore::point::{self, PointFault};
use strimzi_backup_streamer::restore::{self, DocumentError, Report, RestoreError, documents, progress};

use super::clock::SimClock;
use super::dice::Dice;
use super::keys::KEY_CAME_LATER;
use super::sabotage::Sabotage;
use super::target::{self, FakeTarget, Written};
use super::weather::{self, Weather};
use super::world::World;
use super::writer::{Surroundings, Writer};

/// Segments read at once. The decoded rows of several would come in an order that no seed decides.
const PARALLELISM: usize = 1;

/// Once nothing disturbs it any more, a restore comes to its end within so many passes.
const LAST_PASSES: u32 = 60;

/// The restores of a world.
#[derive(Debug)]
pub struct Restores {
    /// Decide when one begins, and are of nobody else; `None` where there are no restores.
    dice: Option<Dice>,
    begun: u64,
    running: Option<Restorer>,
}

impl Restores {
    /// As the seed has them. A planted bug that is not about them is found without.
    pub fn new(seed: u64, sabotage: Option<Sabotage>) -> Self {
        let are_wanted = matches!(sabotage, None | Some(Sabotage::PinsIgnored));
        Self { dice: are_wanted.then(|| Dice::new(seed ^ 0x7265_7374_6f72_6573)), begun: 0, running: None }
    }

    /// None, ever.
    pub fn none() -> Self {
        Self { dice: None, begun: 0, running: None }
    }
}

/// What a step of a restore came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Something is left.
    GoesOn,
    /// It brought what it must.
    Done,
    /// What was being retired when it was planned is retired, and it says so.
    Refused,
}

/// A restore that has a plan.
#[derive(Debug)]
struct Restorer {
    id: RestoreId,
    settings: RestoreSettings,
    clock: SimClock,
    dice: Dice,
    target: FakeTarget,
    kept_at: TimestampMs,
    /// What it must bring.
    expected: Written,
    /// What its process read of the log when it started; `None` where that was killed.
    log: Option<Log>,
    was_killed: bool,
}

impl World {
    /// When in the next time of growing old a restore begins, if one does: before it, or at a step.
    pub(super) fn next_restore(&mut self) -> Option<u64> {
        let dice = self.restores.dice.as_mut().filter(|_| self.restores.running.is_none())?;
        match dice.below(8) {
            0 => Some(0),
            1 => Some(1 + dice.below(10)),
            _ => None,
        }
    }

    /// Plans a restore to something that there is, where there is anything, and keeps the plan.
    pub(super) async fn begin_restore(&mut self) -> Result<()> {
        let Some(mut dice) = self.restores.dice.as_mut().map(Dice::fork) else { return Ok(()) };
        let store = self.store().await?;
        let Some(log) = reader::open(&store, Shard::ONLY).await? else { return Ok(()) };
        let id = RestoreId::new(format!("r{}", self.restores.begun))?;
        let Some(settings) = draw(&store, &log.state, &id, &mut dice).await? else { return Ok(()) };
        let snapshot = match &settings.stop.snapshot {
            Some(id) => Some(catalog::read(&store, log.identity.backup, id).await?),
            None => None,
        };
        let point = match point::resolve(&settings, &log.state, snapshot.as_ref()) {
            Ok(point) => point,
            Err(faults) if faults.iter().all(is_nothing) => return Ok(()),
            Err(faults) => bail!("the restore {id} is refused: {faults:?}"),
        };
        let expected = self.oracle.restorable(&point).await?;
        let plan = target::plan(&store, &log, &settings, &point, self.now()).await?;
        let clock = SimClock::new(self.around.began, dice.fork());
        let kept = documents::keep(&store, &layout::restore_plan(&id), &plan, &clock).await?;
        ensure!(kept == plan, "the restore {id} has the plan of another one");
        tracing::debug!(%id, now = %self.now(), until = ?point.until, records = plan.reads.records, "a restore begins");
        self.restores.begun += 1;
        self.restores.running = Some(Restorer {
            id,
            settings,
            clock,
            dice,
            target: FakeTarget::new(plan),
            kept_at: self.now(),
            expected,
            log: Some(log),
            was_killed: false,
        });
        Ok(())
    }

    /// The restore that is under way goes on for a while, if there is one.
    pub(super) async fn restore_on(&mut self) -> Result<()> {
        self.step_restore(false).await.map(drop)
    }

    /// The restore that is under way comes to its end, after a prune.
    pub(super) async fn restore_to_the_end(&mut self) -> Result<()> {
        for _ in 0..LAST_PASSES {
            match self.step_restore(true).await? {
                None => return Ok(()),
                Some(Step::GoesOn) => self.pass(1_000).await,
                Some(Step::Done) => {
                    self.oracle.seen.insert("RestoredOverPrune".to_owned());
                    return Ok(());
                }
                Some(Step::Refused) => return Ok(()),
            }
        }
        let id = self.restores.running.as_ref().map(|running| &running.id);
        bail!("the restore {id:?} does not come to its end in {LAST_PASSES} passes")
    }

    async fn step_restore(&mut self, is_last: bool) -> Result<Option<Step>> {
        let Some(mut running) = self.restores.running.take() else { return Ok(None) };
        let step = Box::pin(running.step(&self.around, is_last)).await?;
        let seen = &mut self.oracle.seen;
        let pins = |writer: &Writer| writer.metrics.retention_held.get_or_create(&KindLabel::new("Restore")).get() == 1;
        seen.extend(self.writers.last().is_some_and(pins).then(|| "RestorePins".to_owned()));
        match step {
            Step::GoesOn => self.restores.running = Some(running),
            Step::Done => {
                seen.insert("Restored".to_owned());
                seen.extend(running.was_killed.then(|| "RestoreStartedAgain".to_owned()));
            }
            Step::Refused => drop(seen.insert("RestoreRefused".to_owned())),
        }
        Ok(Some(step))
    }
}

impl Restorer {
    /// Goes on for some records, or to the end.
    async fn step(&mut self, around: &Surroundings, is_last: bool) -> Result<Step> {
        if self.log.is_none() {
            let started = self.start_again(around).await?;
            if started != Step::GoesOn {
                return Ok(started);
            }
        }
        let Some(log) = &self.log else { return Ok(Step::GoesOn) };
        let most = usize::try_from(self.target.plan().reads.records / 8)?;
        let kill = (!is_last).then(|| 1 + self.dice.index(most));
        let (store, control) = open(around, &mut self.dice).await?;
        let passed = self.target.pass((&store, log), PARALLELISM, kill, &mut self.dice).await;
        // How far it has read ahead, no seed decides.
        control.kill();
        match passed {
            Ok(()) => {}
            Err(error) if may_pass(&error) => return Ok(Step::GoesOn),
            Err(error) => bail!("the restore {} does not go on: {}", self.id, chain(&error)),
        }
        if self.is_complete()? {
            self.end(around).await?;
            return Ok(Step::Done);
        }
        if self.dice.once_in(3) {
            (self.log, self.was_killed) = (None, true);
        }
        Ok(Step::GoesOn)
    }

    /// A new process of a restore that was killed, as the command starts it; where its store fails it, it is started once more.
    async fn start_again(&mut self, around: &Surroundings) -> Result<Step> {
        let (store, _) = open(around, &mut self.dice).await?;
        let log = match reader::open(&store, Shard::ONLY).await {
            Ok(log) => log.context("the backup is gone")?,
            Err(error) if error.is_retryable() || chain(&error).contains(KEY_CAME_LATER) => return Ok(Step::GoesOn),
            Err(error) => bail!("the restore {} does not start again: {}", self.id, chain(&error)),
        };
        match documents::plan(&store, &self.id).await {
            Ok(plan) => ensure!(plan.as_ref() == Some(self.target.plan()), "the plan of {} is another one", self.id),
            Err(DocumentError::Store { .. }) => return Ok(Step::GoesOn),
            Err(error) => bail!("the restore {} does not start again: {}", self.id, chain(&error)),
        }
        if let Err(error) = restore::check_same(self.target.plan(), &log, &self.settings) {
            let is_late = matches!(error, RestoreError::Retired(_)) && self.came_too_late(&log.state);
            ensure!(is_late, "the restore {} is refused although its plan was there: {error}", self.id);
            return Ok(Step::Refused);
        }
        self.log = Some(log);
        Ok(Step::GoesOn)
    }

    /// Whether who retired last may have looked for restores before the plan was there: no later writer did it.
    fn came_too_late(&self, state: &State) -> bool {
        let Some(retired) = state.retired else { return false };
        let later = |claimed_at: TimestampMs| self.kept_at < claimed_at && claimed_at <= retired.observed_at;
        !state.claims.iter().any(|claim| later(claim.observed_at))
    }

    fn is_complete(&self) -> Result<bool> {
        let progress = self.target.progress()?;
        Ok(progress.is_some_and(|progress| progress::is_complete(self.target.plan(), &progress)))
    }

    /// Compares what came with what must, and keeps the report, which takes the pin away.
    async fn end(&mut self, around: &Surroundings) -> Result<()> {
        let written = self.target.check_complete()?;
        for key in self.expected.keys().chain(written.keys()) {
            let [wanted, found] =
                [&self.expected, written].map(|records| records.get(key).map_or(&[][..], Vec::as_slice));
            let (id, [of_wanted, of_found]) = (&self.id, [wanted, found].map(offsets));
            ensure!(
                wanted == found,
                "the restore {id} differs: {key}: it must bring {of_wanted:?}, and brought {of_found:?}"
            );
        }
        let progress = self.target.progress()?.context("nothing was committed")?;
        let now = self.clock.now();
        let report = Report::of(self.target.plan(), &progress, Vec::new(), std::iter::empty(), now);
        let (store, _) = open(around, &mut self.dice).await?;
        documents::keep(&store, &layout::restore_report(&self.id), &report, &self.clock).await?;
        Ok(())
    }
}

/// The store as a pass sees it, with a weather of its own. It is never misled: what is not there is damage to a restore.
async fn open(around: &Surroundings, dice: &mut Dice) -> Result<(Store, FaultControl)> {
    let faulty = FaultyStore::new(Arc::clone(&around.store));
    let control = faulty.control().clone();
    let (faults, latency) = ([0, 5, 15][dice.index(3)], [0, 30, 300][dice.index(3)]);
    let weather = Arc::new(Mutex::new(Weather { faults, latency, ..Weather::default() }));
    weather::plan(&control, weather, None, around.keys.is_some(), dice.fork());
    Ok((around.opened(Arc::new(faulty)).await?, control))
}

/// What a restore is asked for: everything, a moment of the window, or a snapshot; `None` where there is none.
async fn draw(store: &Store, state: &State, id: &RestoreId, dice: &mut Dice) -> Result<Option<RestoreSettings>> {
    let stop = match dice.below(4) {
        0 => String::new(),
        1 => {
            let listed = catalog::list(store).await?;
            let Some(snapshot) = listed.get(dice.index(listed.len())) else { return Ok(None) };
            format!(", backupId: {}", snapshot.id)
        }
        _ => {
            let Some((from, until)) = state.recoverable_from().zip(recoverable_until(state)) else { return Ok(None) };
            let at = TimestampMs::new(dice.between(from.get(), until.get() + 1));
            format!(", pointInTime: {{timestamp: '{}'}}", at.to_rfc3339())
        }
    };
    Ok(Some(target::settings(&format!("id: {id}, onGap: accept{stop}"))?))
}

/// Whether it only says that there is nothing to restore.
fn is_nothing(fault: &PointFault) -> bool {
    matches!(
        fault,
        PointFault::NoTopic { .. }
            | PointFault::NothingYet
            | PointFault::EmptyWindow { .. }
            | PointFault::Retired { .. }
    )
}

/// Whether the executor would make another pass.
fn may_pass(error: &Error) -> bool {
    match error {
        Error::Restore(error) => error.is_retryable(),
        Error::Read(error) => error.is_retryable(),
        _ => false,
    }
}

fn offsets(records: &[Record]) -> Vec<i64> {
    records.iter().map(|record| record.offset.get()).collect()
}
