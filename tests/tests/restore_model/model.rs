//! The model: what a restore must bring, from what Kafka ever held. Of the backup it takes where partitions ended, what is
//! lost, and when topics were seen; what it holds of records that compaction removed since, from a reading of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use strimzi_backup_format::coverage;
use strimzi_backup_format::ids::{Lineage, PartitionId, PartitionKey, TimestampMs, TopicName};
use strimzi_backup_format::manifest::Gap;
use strimzi_backup_format::record::Record;
use strimzi_backup_format::state::{Life as HeldLife, State, TopicState};
use strimzi_backup_streamer::restore::point::{Absence, Point};

use crate::sim::cluster::{Entry, Fate, Life, Log};

/// By how much a producer's clock is behind when its record arrives, but for the absurd ones.
const DISORDER_MILLIS: i64 = 2_000;

/// What Kafka held and what became of it.
#[derive(Debug)]
pub struct Model {
    /// Every life of every topic.
    pub lives: Vec<Life>,
    /// The log as it stood after each of its manifests.
    pub states: Vec<State>,
    /// What the backup holds of each partition.
    pub captured: BTreeMap<PartitionKey, BTreeMap<i64, Record>>,
    /// What happened.
    pub seen: BTreeSet<&'static str>,
}

/// The records that a restore may bring, by the conditions that all must hold.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// The first timestamp.
    pub start: Option<TimestampMs>,
    /// The last timestamp.
    pub until: Option<TimestampMs>,
}

impl Window {
    fn holds(self, timestamp: TimestampMs) -> bool {
        self.start.is_none_or(|start| start <= timestamp) && self.began(timestamp)
    }

    fn began(self, at: TimestampMs) -> bool {
        self.until.is_none_or(|until| at <= until)
    }
}

/// What is to be restored of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Nothing.
    Absent(Absence),
    /// These lives of its partitions.
    Lineages(BTreeMap<PartitionId, Lineage>),
}

fn index(lineage: Lineage) -> usize {
    usize::try_from(lineage.get()).unwrap_or(usize::MAX)
}

impl Model {
    /// The log as it stood in the end.
    pub fn last(&self) -> &State {
        self.states.last().expect("a history has manifests")
    }

    fn life(&self, held: &HeldLife) -> Result<&Life> {
        self.lives.iter().find(|life| life.id == held.topic_id).context("Kafka never had a topic of that id")
    }

    /// What must be chosen of a topic of the log that stood at `held`. Its first life began with the first of its records that
    /// stand at `first`, if that is before it was seen.
    pub fn choice(&mut self, held: &State, name: &TopicName, window: Window, first: &State) -> Result<Choice> {
        let topic = held.topics.get(name).context("no such topic")?;
        let of_topic = |key: &&PartitionKey| key.topic == *name;
        let keys: Vec<&PartitionKey> = held.positions.keys().filter(of_topic).collect();
        let lowest = |key: &&PartitionKey| {
            let next = first.position(key)?.next_offset.get();
            self.captured.get(key)?.range(..next).map(|(_, record)| record.timestamp).min()
        };
        let early =
            keys.iter().filter(|key| key.lineage == Lineage::FIRST).filter_map(lowest).any(|at| window.began(at));
        let began = |at: usize, life: &HeldLife| window.began(life.since) || (at == 0 && early);
        let Some((newest, then)) = topic.lives.iter().enumerate().rev().find(|(at, life)| began(*at, life)) else {
            self.seen.insert("NotYet");
            return Ok(Choice::Absent(Absence::NotYet));
        };
        if let Some(deleted) = then.deleted.filter(|deleted| window.began(*deleted)) {
            ensure!(self.life(then)?.deleted_at.is_some_and(|really| really <= deleted), "{name} was never deleted");
            self.seen.insert("Deleted");
            return Ok(Choice::Absent(Absence::Deleted));
        }
        let selected = topic.selected.iter().rev().find(|interval| window.began(interval.from));
        if selected.and_then(|interval| interval.until).is_some_and(|excluded| window.began(excluded)) {
            self.seen.insert("Excluded");
            return Ok(Choice::Absent(Absence::Excluded));
        }
        let mut lineages = BTreeMap::new();
        let current = topic.current.iter().map(|(partition, lineage)| (*partition, *lineage));
        for (partition, lineage) in keys.iter().map(|key| (key.partition, key.lineage)).chain(current) {
            let life = &topic.lives[index(lineage)];
            if life.topic_id == then.topic_id && (window.began(life.since) || lineage == Lineage::FIRST) {
                let newest = lineages.entry(partition).or_insert(lineage);
                *newest = lineage.max(*newest);
            }
        }
        self.check_life(name, &topic.clone(), newest, &lineages, window)?;
        Ok(Choice::Lineages(lineages))
    }

    /// Whether the chosen life is the one that Kafka had at the moment, as far as anyone had seen it by then.
    fn check_life(
        &mut self,
        name: &TopicName,
        topic: &TopicState,
        newest: usize,
        lineages: &BTreeMap<PartitionId, Lineage>,
        window: Window,
    ) -> Result<()> {
        let then = topic.lives.get(newest).context("no such life")?;
        let life = self.life(then)?;
        ensure!(life.topic == *name, "{name} has the id of {}", life.topic);
        ensure!(newest == 0 || window.began(life.created_at), "{name} {:?} was not created yet", life.id);
        let known = |partition: &PartitionId| (partition.get().unsigned_abs() as usize) < life.partitions.len();
        ensure!(lineages.keys().all(known), "{name} never had all of {lineages:?}");
        let later = |other: &&Life| other.topic == *name && other.created_at > life.created_at;
        let mut seen = BTreeSet::new();
        for other in self.lives.iter().filter(later).filter(|other| window.began(other.created_at)) {
            let held = topic.lives.iter().find(|held| held.topic_id == other.id);
            ensure!(held.is_none_or(|held| !window.began(held.since)), "{name} {:?} was seen by then", other.id);
            seen.insert("SeenLater");
        }
        if life.deleted_at.is_some() {
            seen.insert("OldLife");
        }
        if topic.lives.iter().skip(newest + 1).any(|other| other.topic_id == then.topic_id) {
            seen.insert("BeforeTruncation");
        }
        if lineages.values().any(|lineage| *lineage != topic.current.values().copied().min().unwrap_or(*lineage)) {
            seen.insert("SeveralLineages");
        }
        self.seen.extend(seen);
        Ok(())
    }

    /// The logs that a lineage may be of: those that have all that is captured of it.
    fn logs(&self, key: &PartitionKey) -> Result<Vec<&Log>> {
        let topic = self.last().topics.get(&key.topic).context("no such topic")?;
        let life = self.life(topic.lives.get(index(key.lineage)).context("no such life")?)?;
        let partition = usize::try_from(key.partition.get()).ok().and_then(|number| life.partitions.get(number));
        let captured = self.captured.get(key);
        let fits = |log: &&Log| {
            captured.into_iter().flatten().all(|(offset, held)| {
                log.at(*offset).and_then(|entry| entry.record.as_deref()).is_some_and(|record| record == held)
            })
        };
        Ok(partition.context("no such partition")?.logs().filter(fits).collect())
    }

    fn gaps<'a>(&'a self, key: &'a PartitionKey) -> impl Iterator<Item = &'a Gap> {
        self.last().gaps.iter().filter(move |gap| gap.key() == *key)
    }

    /// What a restore brings of one of the logs of a partition, below an end.
    fn expected<'a>(&'a self, log: &'a Log, key: &PartitionKey, end: i64, window: Window) -> Vec<&'a Arc<Record>> {
        let Some(position) = self.last().position(key) else { return Vec::new() };
        let lost =
            |offset: i64| self.gaps(key).any(|gap| gap.range.contains(strimzi_backup_format::ids::Offset::new(offset)));
        let captured = |offset: i64| self.captured.get(key).is_some_and(|held| held.contains_key(&offset));
        let wanted = |offset: i64| {
            let entry = log.at(offset).filter(|entry| entry.fate == Fate::Committed && !lost(offset))?;
            // What compaction removed was captured before, or never.
            let held = !entry.compacted || captured(offset);
            entry.record.as_ref().filter(|record| held && window.holds(record.timestamp))
        };
        (position.first_offset.get()..end).filter_map(wanted).collect()
    }

    /// Compares what was restored of a partition with what must be.
    pub fn compare(&mut self, key: &PartitionKey, end: i64, window: Window, found: &[Record]) -> Result<()> {
        let logs = self.logs(key)?;
        let is_found = |expected: &[&Arc<Record>]| {
            expected.len() == found.len() && expected.iter().zip(found).all(|(expected, found)| ***expected == *found)
        };
        let same = logs.iter().find(|log| is_found(&self.expected(log, key, end, window)));
        let Some(log) = same else {
            let of_log = |log: &&Log| differ(&self.expected(log, key, end, window), found);
            let differences: Vec<String> = logs.iter().map(of_log).collect();
            anyhow::bail!("{key} below {end}, {window:?}, differs from its {} logs: {differences:?}", logs.len());
        };
        let mut seen = BTreeSet::new();
        let below = &log.entries[..usize::try_from(end).unwrap_or(0).min(log.entries.len())];
        tell(below, window, &mut seen);
        seen.extend((log.gone_at.is_some() && !found.is_empty()).then_some("GoneLog"));
        seen.extend(self.gaps(key).any(|gap| gap.range.base().get() < end).then_some("Lost"));
        self.seen.extend(seen);
        Ok(())
    }

    /// Whether everything that Kafka held at the moment lies below the ends, in every partition that some manifest up to
    /// `manifest` says so of. What was lost with a topic before anybody could know of it, no manifest does.
    pub fn check_reach(&mut self, point: &Point, manifest: usize, until: TimestampMs) -> Result<()> {
        let mut checked = false;
        for (key, end) in &point.ends {
            if !self.states[..=manifest].iter().any(|state| is_claimed(state, key, until)) {
                continue;
            }
            let topic = self.last().topics.get(&key.topic).context("no such topic")?;
            let life = self.life(&topic.lives[index(key.lineage)])?;
            let number = usize::try_from(key.partition.get()).unwrap_or(usize::MAX);
            let Some(partition) = life.partitions.get(number) else { continue };
            let reaches = |log: &Log| {
                let beyond = usize::try_from(end.get()).unwrap_or(0).min(log.entries.len());
                let gone = log.gone_at.is_some_and(|gone| gone <= until);
                gone || log.entries[beyond..].iter().all(|entry| entry.appended_at >= until)
            };
            let reached = partition.since(until).any(reaches);
            ensure!(reached, "{key} ends at {end}, and Kafka had more of it at {until}");
            checked = true;
        }
        self.seen.extend(checked.then_some("Reach"));
        Ok(())
    }

    /// Whether every loss that a restore without a word of it would leave is told. A moment below what was captured before a
    /// loss misses nothing as long as clocks go up, unless one of them was ahead of when the loss was found.
    pub fn check_losses(&mut self, point: &Point, window: Window) -> Result<()> {
        for (key, end) in &point.ends {
            for gap in self.gaps(key).filter(|gap| gap.range.base() < *end && !point.gaps.contains(gap)) {
                let before = gap.after.filter(|after| *after <= gap.observed_at);
                let logs = self.logs(key)?;
                let lost = (gap.range.base().get()..gap.range.next_offset().get().min(end.get())).find(|offset| {
                    let all = logs.iter().all(|log| log.at(*offset).is_some_and(|entry| missed(entry, before, window)));
                    all && !logs.is_empty()
                });
                ensure!(lost.is_none(), "{key}: {lost:?} is lost, in {window:?}, and {gap:?} is not told");
            }
        }
        Ok(())
    }

    /// The window that a moment may be chosen from, once there is one.
    pub fn recoverable(held: &State) -> Option<(TimestampMs, TimestampMs)> {
        held.complete_since.zip(coverage::recoverable_until(held))
    }
}

/// Whether a manifest says that a partition is captured up to that instant.
fn is_claimed(state: &State, key: &PartitionKey, until: TimestampMs) -> bool {
    let current = state.topics.get(&key.topic).filter(|topic| topic.is_live()).map(|topic| &topic.current);
    let behind = state.frontier.behind.iter().find(|behind| behind.key() == *key);
    let claimed = behind.map_or(state.frontier.until, |behind| behind.until);
    current.is_some_and(|current| current.get(&key.partition) == Some(&key.lineage)) && claimed >= Some(until)
}

/// Whether an entry is a record that a restore must not miss in silence. Whose clock is wrong, and who is older than what was
/// captured before, may be missing.
fn missed(entry: &Entry, before: Option<TimestampMs>, window: Window) -> bool {
    let Some(record) = entry.record.as_ref().filter(|_| entry.fate == Fate::Committed) else { return false };
    let late = entry.appended_at.get() - record.timestamp.get();
    let in_order = before.is_none_or(|before| window.until.is_none_or(|until| until >= before));
    (0..=DISORDER_MILLIS).contains(&late) && in_order && window.holds(record.timestamp)
}

/// What is special about the entries that a restore went over.
fn tell(below: &[Entry], window: Window, seen: &mut BTreeSet<&'static str>) {
    let mut highest = TimestampMs::new(i64::MIN);
    let (mut at_moment, mut at_start) = (0, 0);
    for entry in below {
        seen.extend((entry.fate == Fate::Aborted).then_some("Aborted"));
        seen.extend(entry.record.is_none().then_some("Marker"));
        seen.extend(entry.compacted.then_some("Compacted"));
        let Some(record) = entry.readable() else { continue };
        seen.extend((record.timestamp.get() < 0).then_some("Negative"));
        seen.extend((record.timestamp.get() > i64::MAX / 2).then_some("FarFuture"));
        seen.extend(
            (record.timestamp < highest && !window.holds(highest) && window.holds(record.timestamp))
                .then_some("Disorder"),
        );
        highest = highest.max(record.timestamp);
        at_moment += usize::from(window.until == Some(record.timestamp));
        at_start += usize::from(window.start == Some(record.timestamp));
    }
    seen.extend((at_moment > 0).then_some("AtMoment"));
    seen.extend((at_moment > 1).then_some("EqualAtMoment"));
    seen.extend((at_start > 0).then_some("AtStart"));
}

fn differ(expected: &[&Arc<Record>], found: &[Record]) -> String {
    let offsets = |records: &mut dyn Iterator<Item = &Record>| {
        records.map(|record| (record.offset.get(), record.timestamp.get())).collect::<Vec<_>>()
    };
    let (wanted, got) = (offsets(&mut expected.iter().map(|record| &***record)), offsets(&mut found.iter()));
    match wanted == got {
        true => "bytes".to_owned(),
        false => format!("wanted (offset, timestamp) {wanted:?}, got {got:?}"),
    }
}
