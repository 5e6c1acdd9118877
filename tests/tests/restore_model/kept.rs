//! What retention leaves: after each prune, each instant that is kept is restored as it was, and none outside is.
//!
//! ```text
//! seed ─▶ history, all of it kept ─▶ hours go by, a random retention, a prune ─▶ restores to the edges of the window and within
//!              │                                 └── again ◀──────────────────────┤
//!              └─▶ what Kafka ever held ─▶ what must be there at that instant ─────┴─ are they equal?
//! ```
//! Of a topic that Kafka deletes old records of, all is there that Kafka may have held then; of one that it compacts, what makes the
//! table that all of it made. Whatever else is there is what was there before.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use strimzi_backup_format::coverage::recoverable_until;
use strimzi_backup_format::ids::{Offset, PartitionKey, Shard, TimestampMs, TopicName};
use strimzi_backup_format::job::RestoreSettings;
use strimzi_backup_format::manifest::Gap;
use strimzi_backup_format::manifest::reader::{self, Log};
use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::record::Record;
use strimzi_backup_format::snapshot::{Snapshot, catalog};
use strimzi_backup_format::state::{Position, State, TopicState};
use strimzi_backup_format::store::Store;
use strimzi_backup_streamer::restore::point::{self, Point, PointFault};

use crate::sim::broker::{compacts, keeps};
use crate::sim::cluster::{Entry, Fate, Log as KafkaLog};
use crate::sim::dice::Dice;
use crate::sim::restorer::Restores;
use crate::sim::target::{self, FakeTarget};
use crate::sim::world::{MAX_AGE, World};

/// How often hours go by, with a prune at the end.
const PRUNES: usize = 2;

/// Restores to instants after each of them; where there are no more that differ, to all.
const INSTANTS: usize = 20;

/// What was captured of a partition before anything was retired.
#[derive(Clone, Debug, Default)]
struct Captured {
    first_offset: i64,
    records: BTreeMap<i64, Record>,
}

/// What a restore is asked for.
#[derive(Clone, Debug)]
enum Moment {
    Newest,
    At(TimestampMs),
    Snapshot(Box<Snapshot>),
}

/// What must be there: what Kafka may have held at `at`, of that no record with a timestamp after `until`.
#[derive(Clone, Copy, Debug)]
struct Then {
    at: TimestampMs,
    until: Option<TimestampMs>,
}

/// A partition below an end, as the backup holds it now.
#[derive(Clone, Copy)]
struct Held<'a> {
    key: &'a PartitionKey,
    position: Option<&'a Position>,
    end: i64,
    gaps: &'a [Gap],
}

/// A history that grows old.
pub struct Aging {
    world: World,
    captured: BTreeMap<PartitionKey, Captured>,
    /// Those that were there before anything was retired.
    gaps: Vec<Gap>,
    dice: Dice,
    seen: BTreeSet<&'static str>,
}

impl Aging {
    /// The history of a seed, all of it kept.
    pub async fn new(seed: u64) -> Result<Self> {
        let mut world = World::new(seed, None);
        world.restores = Restores::none();
        world.run().await.context("the history itself")?;
        let state = world.state()?;
        let captured = state.positions.iter().map(|(key, held)| {
            let records = world.oracle.captured(key).cloned().unwrap_or_default();
            (key.clone(), Captured { first_offset: held.first_offset.get(), records })
        });
        let (captured, gaps) = (captured.collect(), state.gaps.clone());
        Ok(Self { world, captured, gaps, dice: Dice::new(!seed), seen: BTreeSet::new() })
    }

    /// Lets it grow old, and looks at what is left each time. Gives back what happened.
    pub async fn run(mut self) -> Result<BTreeSet<String>> {
        for prune in 1..=PRUNES {
            self.choose_retention();
            let retention = self.world.retention.clone();
            let grown = self.world.grow_old().await;
            grown.with_context(|| format!("until prune {prune}, with {retention:?}"))?;
            self.check().await.with_context(|| format!("after prune {prune}, with {retention:?}"))?;
        }
        let of_world = self.world.seen().into_iter();
        Ok(of_world.chain(self.seen.into_iter().map(str::to_owned)).collect())
    }

    /// Another retention, which begins within the newest minute, between the minutes that were streamed, or within those before.
    fn choose_retention(&mut self) {
        const BETWEEN: Duration = Duration::from_secs(2 * 3600);
        self.world.choose_retention();
        let retention = &mut self.world.retention;
        let ages = [MAX_AGE, BETWEEN / 2, BETWEEN - Duration::from_millis(self.dice.below(240_000)), BETWEEN];
        retention.max_age = retention.max_age.map(|_| ages[self.dice.index(ages.len())]);
        retention.acknowledged = Some(Duration::ZERO);
    }

    async fn check(&mut self) -> Result<()> {
        let store = self.world.store().await?;
        let log = reader::open(&store, Shard::ONLY).await?.context("no log")?;
        let window = log.state.recoverable_from().zip(recoverable_until(&log.state));
        let (from, until) = window.context("nothing can be restored")?;
        self.check_outside(&log.state, from, until)?;
        let mut moments = vec![Moment::Newest];
        moments.extend(kept_snapshots(&store, &log.state).await?);
        moments.extend(self.instants(&log.state, from, until).into_iter().map(Moment::At));
        for moment in &moments {
            let checked = self.check_restore(&store, &log, moment).await;
            checked.with_context(|| format!("{moment:?} of {from} to {until}"))?;
        }
        Ok(())
    }

    /// A millisecond before the window and one after it nothing is restored, and the nearest moment is told.
    fn check_outside(&mut self, state: &State, from: TimestampMs, until: TimestampMs) -> Result<()> {
        let (before, after) = (from.plus_millis(-1), until.plus_millis(1));
        let told = |at| Ok::<_, anyhow::Error>(point::resolve(&settings(&Moment::At(at))?, state, None));
        let early = told(before)?;
        let fault = PointFault::BeforeWindow { wanted: before, earliest: from };
        ensure!(early == Err(vec![fault]), "{before} is before the window, and comes to {early:?}");
        let late = told(after)?;
        let fault = PointFault::AfterWindow { wanted: after, latest: until };
        ensure!(late == Err(vec![fault]), "{after} is after the window, and comes to {late:?}");
        self.seen.extend(state.retired.map(|_| "Outside"));
        Ok(())
    }

    /// The edges of the window, and of all others within at which something changes, a millisecond before and after included, some.
    fn instants(&mut self, state: &State, from: TimestampMs, until: TimestampMs) -> BTreeSet<TimestampMs> {
        let around = |at: TimestampMs| [-1, 0, 1].map(|millis| TimestampMs::new(at.get().saturating_add(millis)));
        let within = |at: &TimestampMs| from <= *at && *at <= until;
        let mut chosen: BTreeSet<TimestampMs> = [from, until].into_iter().flat_map(around).filter(within).collect();
        let cluster = self.world.around.cluster.lock();
        let partitions = cluster.lives.iter().flat_map(|life| &life.partitions);
        let entries = partitions.flat_map(|partition| partition.logs()).flat_map(|log| &log.entries);
        let records = entries.filter_map(|entry| entry.record.as_ref().map(|record| record.timestamp));
        let lives = state.topics.values().flat_map(|topic| &topic.lives);
        let lives = lives.flat_map(|life| [Some(life.since), life.deleted]).flatten();
        let all: BTreeSet<TimestampMs> = records.chain(lives).flat_map(around).filter(within).collect();
        drop(cluster);
        let mut all: Vec<TimestampMs> = all.into_iter().collect();
        while chosen.len() < INSTANTS && !all.is_empty() {
            chosen.insert(all.swap_remove(self.dice.index(all.len())));
        }
        chosen
    }

    async fn check_restore(&mut self, store: &Store, log: &Log, moment: &Moment) -> Result<()> {
        let settings = settings(moment)?;
        let newest = log.state.head.context("no manifest")?.observed_at;
        let (snapshot, then, seen) = match moment {
            Moment::Newest => (None, Then { at: newest, until: None }, "Newest"),
            Moment::At(at) => (None, Then { at: *at, until: Some(*at) }, "Moment"),
            Moment::Snapshot(one) => (Some(&**one), Then { at: one.manifest.observed_at, until: None }, "Snapshot"),
        };
        let point = match point::resolve(&settings, &log.state, snapshot) {
            Ok(point) => Some(point),
            Err(faults) if matches!(&faults[..], [PointFault::NoTopic { .. }]) => None,
            Err(faults) => bail!("it is refused: {faults:?}"),
        };
        if snapshot.is_none() {
            check_topics(&log.state, point.as_ref(), then.at)?;
        }
        let Some(point) = point else { return Ok(()) };
        let plan = target::plan(store, log, &settings, &point, newest).await?;
        let mut written = FakeTarget::new(plan).restore((store, log), &[], &mut self.dice).await?;
        for (key, end) in &point.ends {
            let found = written.remove(key).unwrap_or_default();
            let held = Held { key, position: log.state.position(key), end: end.get(), gaps: &log.state.gaps };
            self.compare(&log.state, held, then, &found).with_context(|| format!("{key} below {end}"))?;
        }
        ensure!(written.is_empty(), "records of other partitions came: {:?}", written.keys());
        self.seen.insert(seen);
        Ok(())
    }

    /// Compares what was restored of a partition with what one of its logs must have left.
    fn compare(&mut self, state: &State, held: Held<'_>, then: Then, found: &[Record]) -> Result<()> {
        let topic = state.topics.get(&held.key.topic).context("no such topic")?;
        let life = usize::try_from(held.key.lineage.get()).ok().and_then(|number| topic.lives.get(number));
        let life = life.context("no such life")?;
        let cluster = Arc::clone(&self.world.around.cluster);
        let cluster = cluster.lock();
        let life = cluster.by_id(&life.topic_id).context("Kafka never had a topic of that id")?;
        let number = usize::try_from(held.key.partition.get()).unwrap_or(usize::MAX);
        let partition = life.partitions.get(number).context("Kafka never had this partition")?;
        let verdicts: Vec<Result<&'static str>> =
            partition.logs().map(|log| self.verdict(log, held, then, found)).collect();
        if let Some(seen) = verdicts.iter().find_map(|verdict| verdict.as_ref().ok().copied()) {
            self.seen.insert(seen);
            return Ok(());
        }
        let reasons: Vec<String> = verdicts.into_iter().filter_map(Result::err).map(|why| format!("{why:#}")).collect();
        bail!("it is what none of its {} logs left: {}", reasons.len(), reasons.join("; "))
    }

    /// Whether a restore brought what must be there of a log; says how much that is.
    fn verdict(&self, log: &KafkaLog, held: Held<'_>, then: Then, found: &[Record]) -> Result<&'static str> {
        let (all, topic) = (self.all(log, held, then.until), &held.key.topic);
        let ascends = found.is_sorted_by(|one, next| one.offset < next.offset);
        ensure!(ascends, "it is out of order");
        for record in found {
            let entry = all.get(&record.offset.get()).and_then(|entry| entry.record.as_deref());
            ensure!(entry == Some(record), "{} came, and Kafka had {entry:?}", record.offset);
        }
        let brought: BTreeSet<i64> = found.iter().map(|record| record.offset.get()).collect();
        let missing: Vec<(&i64, &&Entry)> = all.iter().filter(|(offset, _)| !brought.contains(*offset)).collect();
        let first = held.position.map_or(0, |position| position.first_offset.get());
        let unretired = missing.iter().find(|(offset, _)| **offset >= first);
        ensure!(unretired.is_none(), "{unretired:?} is not there, and retired is what is below {first}");
        if compacts(topic) {
            let of_all = table(all.values().filter_map(|entry| entry.record.as_deref()));
            let of_found = table(found.iter());
            ensure!(of_all == of_found, "the table is {of_found:?}, and was {of_all:?}");
            return Ok(if missing.is_empty() { "CompactedWhole" } else { "CompactedNewest" });
        }
        check_gone(topic, &missing, then.at)?;
        Ok(if missing.is_empty() { "Whole" } else { "Shortened" })
    }

    /// What there would be of a log if nothing had been retired.
    fn all<'a>(&self, log: &'a KafkaLog, held: Held<'_>, until: Option<TimestampMs>) -> BTreeMap<i64, &'a Entry> {
        let captured = self.captured.get(held.key);
        let first = held.position.map_or(0, |position| position.first_offset.get());
        let first = captured.map_or(first, |captured| captured.first_offset);
        let gaps = self.gaps.iter().chain(held.gaps).filter(|gap| gap.key() == *held.key);
        let lost: Vec<OffsetRange> = gaps.map(|gap| gap.range).collect();
        let wanted = |offset: i64| {
            let entry = log.at(offset).filter(|entry| entry.fate == Fate::Committed)?;
            let record = entry.record.as_deref()?;
            // What compaction removed was captured before, or never.
            let is_held = !entry.compacted || captured.is_some_and(|captured| captured.records.contains_key(&offset));
            let is_lost = lost.iter().any(|range| range.contains(Offset::new(offset)));
            let is_then = until.is_none_or(|until| record.timestamp <= until);
            (is_held && !is_lost && is_then).then_some((offset, entry))
        };
        (first..held.end).filter_map(wanted).collect()
    }
}

/// The snapshots that can be restored. The others are refused.
async fn kept_snapshots(store: &Store, state: &State) -> Result<Vec<Moment>> {
    let mut kept = Vec::new();
    for listed in catalog::list(store).await? {
        let snapshot = catalog::load(store, state.backup, &listed.id).await?.context("a snapshot is gone")?;
        let is_kept = !snapshot.is_retired(state.retired.map(|retired| retired.before));
        let moment = Moment::Snapshot(Box::new(snapshot.clone()));
        if is_kept {
            kept.push(moment);
            continue;
        }
        let told = point::resolve(&settings(&moment)?, state, Some(&snapshot));
        let is_refused = matches!(told.as_ref().map_err(Vec::as_slice), Err([PointFault::Retired { .. }]));
        ensure!(is_refused, "{} is not kept, and comes to {told:?}", listed.id);
    }
    Ok(kept)
}

/// Whether each topic is restored that was there at the instant, was seen by then, and selected.
fn check_topics(state: &State, point: Option<&Point>, at: TimestampMs) -> Result<()> {
    let was_there = |topic: &TopicState| {
        let life = topic.lives.iter().rev().find(|life| life.since <= at);
        let selected = topic.selected.iter().rev().find(|interval| interval.from <= at);
        let is_over = |end: Option<TimestampMs>| end.is_some_and(|end| end <= at);
        life.is_some_and(|life| !is_over(life.deleted)) && !selected.is_some_and(|selected| is_over(selected.until))
    };
    for (name, _) in state.topics.iter().filter(|(_, topic)| was_there(topic)) {
        let is_chosen = point.is_some_and(|point| point.topics.contains_key(name));
        ensure!(is_chosen, "{name} was there, and is not restored: {:?}", point.map(|point| &point.absent));
    }
    Ok(())
}

/// Whether Kafka itself had deleted what is missing at the instant.
fn check_gone(topic: &TopicName, missing: &[(&i64, &&Entry)], at: TimestampMs) -> Result<()> {
    for (offset, entry) in missing {
        let keeps = keeps(topic).with_context(|| format!("{offset} is gone, and Kafka keeps {topic} for ever"))?;
        let written = entry.record.as_ref().map_or(entry.appended_at, |record| record.timestamp);
        // What a producer dates into the future counts from when it was written.
        let age = written.min(entry.appended_at);
        ensure!(age.plus_millis(keeps) < at, "{offset} of {age} is gone, and Kafka held it");
    }
    Ok(())
}

/// Where the value of each key stands that a consumer knows who has read all of this.
fn table<'a>(records: impl Iterator<Item = &'a Record>) -> BTreeMap<&'a [u8], i64> {
    let mut table = BTreeMap::new();
    for record in records {
        let Some(key) = record.key.as_deref() else { continue };
        match &record.value {
            Some(_) => table.insert(key, record.offset.get()),
            None => table.remove(key),
        };
    }
    table
}

/// The document that asks for it, whatever is missing.
fn settings(moment: &Moment) -> Result<RestoreSettings> {
    let stop = match moment {
        Moment::Newest => String::new(),
        Moment::At(at) => format!(", pointInTime: {{timestamp: '{}'}}", at.to_rfc3339()),
        Moment::Snapshot(snapshot) => format!(", backupId: {}", snapshot.id),
    };
    target::settings(&format!("id: r, onGap: accept{stop}"))
}
