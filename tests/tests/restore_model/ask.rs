//! What a restore may be asked for, as dice and a document have it.

use std::fmt::Write as _;

use anyhow::Result;
use strimzi_backup_format::ids::TimestampMs;
use strimzi_backup_format::job::RestoreSettings;
use strimzi_backup_format::state::State;

use crate::model::Model;
use crate::sim::dice::Dice;
use crate::sim::target::{self, DOOMSDAY};

/// Where a restore stops in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// At the newest that is held.
    Newest,
    /// At a timestamp.
    At(TimestampMs),
    /// So many milliseconds before the end of the window.
    FromEnd(i64),
}

/// What a restore is asked for.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The manifest that it sees as the newest, or that the snapshot is of.
    pub manifest: usize,
    /// Whether that is a snapshot.
    pub snapshot: bool,
    /// Where it stops.
    pub moment: Moment,
    /// The first timestamp.
    pub start: Option<TimestampMs>,
    /// The only topic; absent: all.
    pub topic: Option<String>,
    /// The number of partitions that a topic is spread over anew.
    pub spread: Option<(String, u64)>,
    /// Whether gaps are accepted.
    pub accept: bool,
}

impl Asked {
    /// The document that asks for it, as the restore reads it.
    pub fn settings(&self) -> Result<RestoreSettings> {
        let mut restore = format!("id: r, onGap: {}", if self.accept { "accept" } else { "fail" });
        match self.moment {
            Moment::Newest => {}
            Moment::At(at) => write!(restore, ", pointInTime: {{timestamp: '{}'}}", at.to_rfc3339())?,
            Moment::FromEnd(millis) => write!(restore, ", pointInTime: {{offsetFromEnd: {millis}ms}}")?,
        }
        if let Some(start) = self.start {
            write!(restore, ", startTimestamp: '{}'", start.to_rfc3339())?;
        }
        if let Some(topic) = &self.topic {
            write!(restore, ", topics: {{include: ['{topic}']}}")?;
        }
        if let Some((topic, partitions)) = &self.spread {
            write!(restore, ", topicMapping: [{{sourceTopic: {topic}, targetTopic: to, partitions: {partitions}}}]")?;
        }
        if self.snapshot {
            write!(restore, ", backupId: s")?;
        }
        target::settings(&restore)
    }

    /// The instants that matter: those of records, of manifests, of the lives of topics and of gaps.
    fn instants(model: &Model) -> Vec<TimestampMs> {
        let last = model.last();
        let records = model.captured.values().flat_map(|held| held.values()).map(|record| record.timestamp);
        let manifests = model.states.iter().filter_map(|state| Some(state.head?.observed_at));
        let lives = last.topics.values().flat_map(|topic| &topic.lives);
        let lives = lives.flat_map(|life| [Some(life.since), life.deleted]).flatten();
        let gaps = last.gaps.iter().flat_map(|gap| [gap.after, Some(gap.observed_at)]).flatten();
        records.chain(manifests).chain(lives.clone()).chain(lives).chain(gaps.clone()).chain(gaps).collect()
    }

    /// Questions about a history. Around some instants they are asked a millisecond before, at and after them.
    pub fn draw(model: &Model, many: usize, dice: &mut Dice) -> Vec<Self> {
        let instants = Self::instants(model);
        let mut asked = Vec::new();
        while asked.len() < many {
            let mut one = Self::one(model, &instants, dice);
            match one.moment {
                Moment::At(at) if dice.once_in(2) => {
                    for moment in [at.plus_millis(-1), at, at.plus_millis(1)] {
                        one.moment = Moment::At(moment);
                        one.start = one.start.filter(|start| *start <= moment);
                        asked.push(one.clone());
                    }
                }
                _ => asked.push(one),
            }
        }
        asked
    }

    fn one(model: &Model, instants: &[TimestampMs], dice: &mut Dice) -> Self {
        let latest = model.states.len() - 1;
        let (snapshot, manifest) = match dice.below(10) {
            0..=4 => (false, latest),
            5 => (false, dice.index(latest + 1)),
            _ => (true, dice.index(latest + 1)),
        };
        let moment = match dice.below(10) {
            0 | 1 => Moment::Newest,
            2 => Moment::FromEnd(1 + dice.between(0, 60_000)),
            _ => Moment::At(moment(&model.states[manifest], instants, dice)),
        };
        let before = |start: &TimestampMs| !matches!(moment, Moment::At(at) if *start > at);
        let start = dice.once_in(3).then(|| instant(instants, dice)).filter(before);
        let names: Vec<&str> = model.last().topics.keys().map(|topic| topic.as_str()).collect();
        let name = |dice: &mut Dice| names.get(dice.index(names.len())).map(|name| (*name).to_owned());
        let topic = if dice.once_in(5) { name(dice) } else { None };
        let spread = if dice.once_in(3) {
            topic.clone().or_else(|| name(dice)).map(|name| (name, 1 + dice.below(4)))
        } else {
            None
        };
        Self { manifest, snapshot, moment, start, topic, spread, accept: false }
    }
}

/// An instant that matters, or the next millisecond. Documents know only those of the calendar.
fn instant(instants: &[TimestampMs], dice: &mut Dice) -> TimestampMs {
    let at = instants.get(dice.index(instants.len())).map_or(0, |at| at.get());
    TimestampMs::new(at.saturating_add(dice.between(-1, 2)).clamp(-1, DOOMSDAY.get()))
}

/// A moment in the window, as a rule.
fn moment(held: &State, instants: &[TimestampMs], dice: &mut Dice) -> TimestampMs {
    let Some((from, until)) = Model::recoverable(held) else { return instant(instants, dice) };
    match dice.below(12) {
        0 => instant(instants, dice),
        1 => from.plus_millis(dice.between(-1, 2)),
        2 => until.plus_millis(dice.between(-1, 2)),
        3 => TimestampMs::new(dice.between(from.get(), until.get() + 1)),
        _ => {
            let inside: Vec<TimestampMs> =
                instants.iter().filter(|at| from <= **at && **at <= until).copied().collect();
            if inside.is_empty() { from } else { inside[dice.index(inside.len())] }
        }
    }
}
