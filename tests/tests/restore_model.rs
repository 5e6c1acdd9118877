//! Restores of random histories against a model of what they must bring: to moments, snapshots and windows, whole and killed. Half of
//! the backups are encrypted.
//!
//! ```text
//!  seed ─▶ simulation of the streamer ─▶ backup ─▶ point ─▶ plan ─▶ slice ─▶ source ─▶ target, killed at any record
//!                  │                                 │                                    │
//!                  └─▶ what Kafka ever held ─▶ model ┴──────────── are they equal? ───────┘
//! ```

#![allow(dead_code, unreachable_pub)]

#[path = "restore_model/ask.rs"]
mod ask;
#[path = "restore_model/kept.rs"]
mod kept;
#[path = "restore_model/model.rs"]
mod model;
#[path = "../src/sim/mod.rs"]
mod sim;

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use ask::{Asked, Moment};
use kept::Aging;
use model::{Choice, Model, Window};
use sim::dice::Dice;
use sim::seeds;
use sim::simulate;
use sim::target::{self, FakeTarget};
use sim::world::World;
use strimzi_backup_format::ids::{Nonce, Offset, PartitionKey, Shard, SnapshotId, TimestampMs};
use strimzi_backup_format::job::RestoreSettings;
use strimzi_backup_format::manifest::reader::{self, Log};
use strimzi_backup_format::snapshot::{Label, Snapshot};
use strimzi_backup_format::state::State;
use strimzi_backup_format::store::Store;
use strimzi_backup_streamer::restore::point::{self, Point, PointFault};

const SEEDS: u64 = 240;

/// Restores of each history.
const RESTORES: usize = 16;

/// What the histories and their restores must have had in them, or they prove less than they seem to.
const WANTED: [&str; 37] = [
    "Aborted",
    "AfterWindow",
    "AtMoment",
    "AtStart",
    "BeforeTruncation",
    "BeforeWindow",
    "Compacted",
    "Deleted",
    "Disorder",
    "EarlierManifest",
    "EmptyWindow",
    "Encrypted",
    "EqualAtMoment",
    "Excluded",
    "FarFuture",
    "FirstCopy",
    "FromEnd",
    "GapAccepted",
    "GapRefused",
    "GoneLog",
    "InsideOut",
    "Killed",
    "Lost",
    "Marker",
    "Moment",
    "Negative",
    "Newest",
    "NoTopic",
    "NotYet",
    "NothingYet",
    "OffsetCut",
    "OldLife",
    "OutsideOfGap",
    "Reach",
    "SeveralLineages",
    "Snapshot",
    "Spread",
];

/// Histories that grow old.
const AGING_SEEDS: u64 = 48;

/// What these must have had in them.
const WANTED_OF_AGING: [&str; 12] = [
    "Base",
    "CompactedNewest",
    "CompactedWhole",
    "Encrypted",
    "Moment",
    "Newest",
    "Outside",
    "Pruned",
    "Retired",
    "Shortened",
    "Snapshot",
    "Whole",
];

/// A history that is over, its backup, and what it must be restored to.
struct Trial {
    store: Store,
    log: Log,
    model: Model,
    dice: Dice,
}

impl Trial {
    async fn new(seed: u64) -> Result<Self> {
        let mut world = World::new(seed, None);
        world.run().await.context("the history itself")?;
        let store = world.store().await?;
        let is_closed = store.keys.is_some();
        ensure!(is_closed == seed.is_multiple_of(2), "a backup that is encrypted: {is_closed}");
        let log = reader::open(&store, Shard::ONLY).await?.context("no log")?;
        let captured = |key: &PartitionKey| Some((key.clone(), world.oracle.captured(key)?.clone()));
        let states = states(&store, &log).await?;
        let model = Model {
            lives: world.around.cluster.lock().lives.clone(),
            states,
            captured: log.state.positions.keys().filter_map(captured).collect(),
            seen: is_closed.then_some("Encrypted").into_iter().collect(),
        };
        Ok(Self { store, log, model, dice: Dice::new(!seed) })
    }

    async fn run(mut self) -> Result<BTreeSet<String>> {
        for asked in Asked::draw(&self.model, RESTORES, &mut self.dice) {
            self.check(&asked).await.with_context(|| format!("{asked:?}"))?;
        }
        Ok(self.model.seen.into_iter().map(str::to_owned).collect())
    }

    fn resolve(&self, asked: &Asked) -> Result<Result<Point, Vec<PointFault>>> {
        let settings = asked.settings()?;
        let held = &self.model.states[asked.manifest];
        if !asked.snapshot {
            return Ok(point::resolve(&settings, held, None));
        }
        let asked_at = held.head.context("no manifest")?.observed_at;
        let label = Label { id: SnapshotId::new("s")?, nonce: Nonce::new(uuid::Uuid::nil()), asked_at, keep: None };
        let snapshot = Snapshot::of(held, label).context("no manifest")?;
        Ok(point::resolve(&settings, &self.log.state, Some(&snapshot)))
    }

    /// The window of a question, or why it must be refused.
    fn window(&self, asked: &Asked) -> Result<Window, PointFault> {
        let start = asked.start;
        let recoverable = Model::recoverable(&self.model.states[asked.manifest]);
        let frontier = &self.model.states[asked.manifest].frontier;
        let was_looked = frontier.until.is_some() || !frontier.behind.is_empty();
        if matches!(asked.moment, Moment::Newest) && was_looked {
            return Ok(Window { start, until: None });
        }
        let Some((earliest, latest)) = recoverable else { return Err(PointFault::NothingYet) };
        let wanted = match asked.moment {
            Moment::Newest => return Err(PointFault::NothingYet),
            _ if latest < earliest && !asked.snapshot => return Err(PointFault::EmptyWindow { earliest, latest }),
            Moment::At(at) => at,
            Moment::FromEnd(millis) => latest.plus_millis(-millis),
        };
        if wanted < earliest {
            return Err(PointFault::BeforeWindow { wanted, earliest });
        }
        if wanted > latest && !asked.snapshot {
            return Err(PointFault::AfterWindow { wanted, latest });
        }
        match start.filter(|start| *start > wanted) {
            Some(start) => Err(PointFault::InsideOut { start, until: wanted }),
            None => Ok(Window { start, until: Some(wanted) }),
        }
    }

    async fn check(&mut self, asked: &Asked) -> Result<()> {
        let accepting = Asked { accept: true, ..asked.clone() };
        let (strict, lenient) = (self.resolve(asked)?, self.resolve(&accepting)?);
        let window = match self.window(asked) {
            Ok(window) => window,
            Err(fault) => {
                let refused =
                    [&strict, &lenient].iter().all(|found| found.as_ref().is_err_and(|told| *told == [fault.clone()]));
                ensure!(refused, "must be refused with {fault}, is {strict:?}, {lenient:?}");
                return self.check_nearest_moment(&accepting, &fault);
            }
        };
        let Some(point) = self.check_choice(asked, window, &strict, lenient)? else { return Ok(()) };
        self.check_gaps(&accepting, &point, strict, window)?;
        self.check_restore(&accepting.settings()?, &point, window).await?;
        let kind = match asked.moment {
            Moment::Newest => "Newest",
            Moment::At(_) => "Moment",
            Moment::FromEnd(_) => "FromEnd",
        };
        self.model.seen.insert(kind);
        self.model.seen.extend(asked.spread.is_some().then_some("Spread"));
        self.model.seen.extend(asked.snapshot.then_some("Snapshot"));
        self.model
            .seen
            .extend((!asked.snapshot && asked.manifest + 1 < self.model.states.len()).then_some("EarlierManifest"));
        Ok(())
    }

    /// A moment that was refused tells the nearest one, and that one is in the window.
    fn check_nearest_moment(&mut self, asked: &Asked, fault: &PointFault) -> Result<()> {
        let (seen, nearest) = match fault {
            PointFault::BeforeWindow { earliest, .. } => ("BeforeWindow", Some(*earliest)),
            PointFault::AfterWindow { latest, .. } => ("AfterWindow", Some(*latest)),
            PointFault::EmptyWindow { .. } => ("EmptyWindow", None),
            PointFault::InsideOut { .. } => ("InsideOut", None),
            _ => ("NothingYet", None),
        };
        self.model.seen.insert(seen);
        let Some(nearest) = nearest else { return Ok(()) };
        let again = Asked { moment: Moment::At(nearest), start: None, ..asked.clone() };
        match self.resolve(&again)? {
            Ok(point) => ensure!(point.until == Some(nearest), "asked for {nearest}, got {:?}", point.until),
            Err(faults) => {
                let other = faults.iter().all(|fault| matches!(fault, PointFault::NoTopic { .. }));
                ensure!(other, "{nearest} was said to work, and is refused: {faults:?}");
            }
        }
        Ok(())
    }

    /// Compares what is chosen with the model; `None` where there is nothing to restore, and it is said.
    fn check_choice(
        &mut self,
        asked: &Asked,
        window: Window,
        strict: &Result<Point, Vec<PointFault>>,
        lenient: Result<Point, Vec<PointFault>>,
    ) -> Result<Option<Point>> {
        let held = self.model.states[asked.manifest].clone();
        let first = if asked.snapshot { self.log.state.clone() } else { held.clone() };
        let (mut chosen, mut absent) = (BTreeMap::new(), BTreeMap::new());
        for name in held.topics.keys().filter(|name| asked.topic.as_ref().is_none_or(|only| *only == name.as_str())) {
            match self.model.choice(&held, name, window, &first)? {
                Choice::Absent(because) => drop(absent.insert(name.clone(), because)),
                Choice::Lineages(lineages) => drop(chosen.insert(name.clone(), lineages)),
            }
        }
        if chosen.is_empty() {
            let none = |found: &Result<Point, Vec<PointFault>>| match found.as_ref().map_err(Vec::as_slice) {
                Err([PointFault::NoTopic { held: topics, absent: left_out, .. }]) => {
                    let left_out: BTreeMap<_, _> =
                        left_out.iter().map(|absent| (absent.topic.clone(), absent.because)).collect();
                    topics.iter().eq(held.topics.keys()) && left_out == absent
                }
                _ => false,
            };
            ensure!(none(&lenient) && none(strict), "there is no topic, but {lenient:?}");
            self.model.seen.insert("NoTopic");
            return Ok(None);
        }
        let point = lenient.map_err(|faults| anyhow::anyhow!("refused although gaps are accepted: {faults:?}"))?;
        let found = point.topics.iter().map(|(name, topic)| (name.clone(), topic.lineages.clone())).collect();
        ensure!(chosen == found, "chosen must be {chosen:?}, is {found:?}");
        let found = point.absent.iter().map(|absent| (absent.topic.clone(), absent.because)).collect();
        ensure!(absent == found, "absent must be {absent:?}, is {found:?}");
        let keys: usize = chosen.values().map(BTreeMap::len).sum();
        ensure!(point.ends.len() == keys, "{keys} partitions are chosen, {} have an end", point.ends.len());
        for (key, end) in &point.ends {
            let next = held.position(key).map_or(Offset::new(0), |position| position.next_offset);
            ensure!(*end == next, "{key} ends at {end}, and stood at {next}");
        }
        ensure!((point.start, point.until) == (window.start, window.until), "other times than {window:?}: {point:?}");
        let incomplete = held.frontier.behind.iter().filter(|behind| behind.until.is_none()).map(|behind| behind.key());
        let incomplete: BTreeSet<PartitionKey> = incomplete.filter(|key| point.ends.contains_key(key)).collect();
        ensure!(point.incomplete.iter().cloned().collect::<BTreeSet<_>>() == incomplete, "first copies {incomplete:?}");
        let latest = Model::recoverable(&held).map(|(_, latest)| latest);
        if let Some(until) = window.until.filter(|until| Some(*until) <= latest) {
            self.model.check_reach(&point, asked.manifest, until)?;
        }
        Ok(Some(point))
    }

    /// Gaps are refused unless they are accepted, and the times that would work do.
    fn check_gaps(
        &mut self,
        asked: &Asked,
        point: &Point,
        strict: Result<Point, Vec<PointFault>>,
        window: Window,
    ) -> Result<()> {
        self.model.check_losses(point, window)?;
        if point.gaps.is_empty() && point.incomplete.is_empty() {
            ensure!(strict.as_ref() == Ok(point), "nothing is missing, and it is refused: {strict:?}");
            return Ok(());
        }
        let copying = point.incomplete.iter().cloned().map(PointFault::FirstCopy);
        let gaps = point.gaps.iter().map(|gap| PointFault::Gap(Box::new(gap.clone())));
        let faults: Vec<PointFault> = gaps.chain(copying).collect();
        ensure!(strict.as_ref() == Err(&faults), "must be refused with {faults:?}, is {strict:?}");
        self.model.seen.extend((!point.incomplete.is_empty()).then_some("FirstCopy"));
        for gap in &point.gaps {
            self.model.seen.extend(["GapRefused", "GapAccepted"]);
            let text = PointFault::Gap(Box::new(gap.clone())).to_string();
            let later = Asked { start: Some(gap.observed_at.plus_millis(1)), ..asked.clone() };
            let mut outside = vec![(gap.observed_at, later)];
            if let Some((after, said)) = gap.after.map(|after| (after, after.to_rfc3339()))
                && text.contains(&format!("until before {said}"))
            {
                outside
                    .push((after, Asked { moment: Moment::At(after.plus_millis(-1)), start: None, ..asked.clone() }));
            }
            for (said, other) in outside {
                ensure!(text.contains(&said.to_rfc3339()), "{said} is not told: {text}");
                // Whatever else is wrong with that time, it is not this gap.
                let Ok(settings) = other.settings() else { continue };
                ensure!(settings.on_gap == strimzi_backup_format::job::OnGap::Accept, "gaps are not accepted");
                if let Ok(found) = self.resolve(&other)? {
                    ensure!(!found.gaps.contains(gap), "{other:?} was said to be outside of {gap:?}");
                    self.model.seen.insert("OutsideOfGap");
                }
            }
        }
        Ok(())
    }

    /// Restores whole and killed, and with an end moved by an offset.
    async fn check_restore(&mut self, settings: &RestoreSettings, point: &Point, window: Window) -> Result<()> {
        let whole = self.restore(settings, point, window, &[]).await?;
        if whole > 0 {
            let kills: Vec<usize> = (0..=self.dice.below(2)).map(|_| self.dice.index(whole + 1)).collect();
            self.restore(settings, point, window, &kills).await.with_context(|| format!("killed after {kills:?}"))?;
            self.model.seen.insert("Killed");
        }
        let mut cut = point.clone();
        let keys: Vec<&PartitionKey> = point.ends.iter().filter(|(_, end)| end.get() > 0).map(|(key, _)| key).collect();
        if keys.is_empty() || !self.dice.once_in(3) {
            return Ok(());
        }
        let key = keys[self.dice.index(keys.len())].clone();
        let at = self.dice.between(0, point.ends[&key].get() + 1);
        for end in
            [at.saturating_sub(1), at, at + 1].into_iter().filter(|end| 0 <= *end && *end <= point.ends[&key].get())
        {
            cut.ends.insert(key.clone(), Offset::new(end));
            self.restore(settings, &cut, window, &[]).await.with_context(|| format!("{key} ends at {end}"))?;
            self.model.seen.insert("OffsetCut");
        }
        Ok(())
    }

    /// Restores and compares. Gives back how many records there were.
    async fn restore(
        &mut self,
        settings: &RestoreSettings,
        point: &Point,
        window: Window,
        kills: &[usize],
    ) -> Result<usize> {
        let plan = target::plan(&self.store, &self.log, settings, point, TimestampMs::new(0)).await?;
        let mut written = FakeTarget::new(plan).restore((&self.store, &self.log), kills, &mut self.dice).await?;
        let mut records = 0;
        for (key, end) in &point.ends {
            let found = written.remove(key).unwrap_or_default();
            self.model.compare(key, end.get(), window, &found)?;
            records += found.len();
        }
        ensure!(written.is_empty(), "records of other partitions came: {:?}", written.keys());
        Ok(records)
    }
}

/// The log as it stood after each of its manifests.
async fn states(store: &Store, log: &Log) -> Result<Vec<State>> {
    let mut state = State::empty(log.state.backup, Shard::ONLY, log.state.identity);
    let mut states = Vec::new();
    while let Some((manifest, digest)) = reader::manifest(store, Shard::ONLY, state.next_sequence()).await? {
        state.fold(&manifest, digest)?;
        states.push(state.clone());
    }
    ensure!(states.last() == Some(&log.state), "the log's state is not what its manifests come to");
    Ok(states)
}

/// Restores the history of a seed. Gives back what happened.
fn try_seed(seed: u64) -> Result<BTreeSet<String>, String> {
    seeds::caught(|| simulate(|| async move { Trial::new(seed).await?.run().await }))
}

#[test]
fn a42_a44_a45_a46_a52_a70_random_histories_are_restored_as_the_model_has_them() {
    seeds::check("restore_model a70_", SEEDS, &WANTED, try_seed);
}

/// Lets the history of a seed grow old, and restores what is left. Gives back what happened.
fn try_aging(seed: u64) -> Result<BTreeSet<String>, String> {
    seeds::caught(|| simulate(|| async move { Aging::new(seed).await?.run().await }))
}

#[test]
fn a78_a80_after_each_prune_every_instant_that_is_kept_is_restored_as_it_was() {
    seeds::check("restore_model a78_", AGING_SEEDS, &WANTED_OF_AGING, try_aging);
}
