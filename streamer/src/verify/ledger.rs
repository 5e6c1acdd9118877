//! The second book of offsets: what manifests say and what segments hold, posted apart and compared at the end (P5).
//!
//! Owns: per partition, one account. Manifests post their runs, gaps and holes, which must tile the offsets; decoded
//! segments post the records that were really there. Does not share code with the checks that writer and reader run
//! ([`strimzi_backup_format::manifest::invariants`]), so that a fault in those does not hide itself.
//!
//! Memory: one account for each partition, and some bytes for each run in intake.

use std::collections::BTreeMap;

use strimzi_backup_format::ids::{Offset, PartitionKey, Sequence};
use strimzi_backup_format::manifest::{Manifest, Refined, Retired, Run};
use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::state::State;

use super::report::Affected;

#[derive(Debug)]
struct Account {
    first: Offset,
    next: Offset,
    /// Records that manifests name.
    named: u64,
    /// Records that were decoded, or lie in segments that are reported already.
    settled: u64,
    /// Records that were retired.
    retired: u64,
    /// Records in segments that are live at the end of the log.
    live: u64,
    /// The runs in intake that are not refined yet: the manifest, the offsets, the records.
    intake: Vec<(Sequence, OffsetRange, u64)>,
}

/// An account that does not balance.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Imbalance {
    pub(super) problem: String,
    pub(super) affected: Affected,
}

/// One account for each partition.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    accounts: BTreeMap<PartitionKey, Account>,
}

impl Ledger {
    /// Posts what a manifest adds. What does not follow on is returned, and the account goes on after it.
    pub(super) fn post(&mut self, manifest: &Manifest) -> Vec<Imbalance> {
        let mut tiles: Vec<(PartitionKey, OffsetRange, u64)> = Vec::new();
        let runs = manifest.segments.iter().flat_map(|segment| &segment.runs);
        tiles.extend(runs.map(|run| (run.key(), run.range, run.rows)));
        tiles.extend(manifest.gaps.iter().map(|gap| (gap.key(), gap.range, 0)));
        tiles.extend(manifest.holes.iter().map(|hole| (hole.key(), hole.range, 0)));
        tiles.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
        let mut imbalances = Vec::new();
        for (key, range, rows) in tiles {
            let account = self.accounts.entry(key.clone()).or_insert(Account {
                first: range.base(),
                next: range.base(),
                named: 0,
                settled: 0,
                retired: 0,
                live: 0,
                intake: Vec::new(),
            });
            if range.base() != account.next {
                let what = if range.base() < account.next { "accounted for twice" } else { "not accounted for" };
                let (low, high) = (range.base().min(account.next), range.base().max(account.next));
                let between = OffsetRange::new(low, high).unwrap_or(range);
                imbalances.push(Imbalance {
                    problem: format!("the offsets {between} of {key} are {what}"),
                    affected: Affected::new(&key, between),
                });
            }
            account.next = account.next.max(range.next_offset());
            account.named = account.named.saturating_add(rows);
        }
        for run in manifest.segments.iter().filter(|segment| segment.is_intake()).flat_map(|segment| &segment.runs) {
            if let Some(account) = self.accounts.get_mut(&run.key()) {
                account.intake.push((manifest.sequence, run.range, run.rows));
            }
        }
        imbalances.extend(manifest.refined.iter().flat_map(|refined| self.refine(refined)));
        imbalances.extend(manifest.retired.iter().flat_map(|retired| self.retire(retired)));
        imbalances
    }

    /// Compares what was refined with what it replaces: the same offsets, and as many records.
    fn refine(&mut self, refined: &Refined) -> Vec<Imbalance> {
        let mut written: BTreeMap<PartitionKey, Vec<(OffsetRange, u64)>> = BTreeMap::new();
        for run in refined.segments.iter().flat_map(|segment| &segment.runs) {
            written.entry(run.key()).or_default().push((run.range, run.rows));
        }
        let mut imbalances = Vec::new();
        for (key, account) in &mut self.accounts {
            let replaced = account.intake.extract_if(.., |(sequence, ..)| *sequence <= refined.through);
            let live = replaced.filter(|(_, range, _)| account.first < range.next_offset());
            let replaced = joined(live.map(|(_, range, rows)| (range, rows)).collect());
            let written = joined(written.remove(key).unwrap_or_default());
            if replaced != written {
                let range = replaced.0.iter().chain(&written.0).copied().next();
                imbalances.extend(range.map(|range| Imbalance {
                    problem: format!("what was refined of {key} is not what it replaces"),
                    affected: Affected::new(key, range),
                }));
            }
        }
        imbalances
    }

    /// A run of a segment that is live at the end of the log, and that is not retired there.
    pub(super) fn hold(&mut self, run: &Run) {
        if let Some(account) = self.accounts.get_mut(&run.key()) {
            account.live = account.live.saturating_add(run.rows);
        }
    }

    /// Moves the starts of partitions. What is kept of before them, in a base, must be of before them, once, and no more than was.
    fn retire(&mut self, retired: &Retired) -> Vec<Imbalance> {
        let mut imbalances = kept_twice(retired);
        let mut kept: BTreeMap<PartitionKey, (OffsetRange, u64)> = BTreeMap::new();
        for run in retired.base.iter().flat_map(|segment| &segment.runs) {
            let (range, rows) = kept.entry(run.key()).or_insert((run.range, 0));
            let (base, next) = (range.base().min(run.range.base()), range.next_offset().max(run.range.next_offset()));
            *range = OffsetRange::new(base, next).unwrap_or(*range);
            *rows = rows.saturating_add(run.rows);
        }
        for start in &retired.starts {
            let Some(account) = self.accounts.get_mut(&start.key()) else { continue };
            account.first = start.first_offset;
            account.retired = account.retired.saturating_add(start.rows);
            if let Some((range, rows)) = kept.get(&start.key())
                && range.next_offset() <= start.first_offset
                && *rows <= start.rows
            {
                account.named = account.named.saturating_add(*rows);
                kept.remove(&start.key());
            }
        }
        imbalances.extend(kept.into_iter().map(|(key, (range, _))| Imbalance {
            problem: format!("the base of {key} is not of what is retired"),
            affected: Affected::new(&key, range),
        }));
        imbalances
    }

    /// Posts the records of a run: they were decoded, or are reported as harmed or not looked at.
    pub(super) fn settle(&mut self, run: &Run) {
        if let Some(account) = self.accounts.get_mut(&run.key()) {
            account.settled = account.settled.saturating_add(run.rows);
        }
    }

    /// Compares the accounts with the state of the log at its end; `knows_live` where it was known all along which segments
    /// are live there.
    pub(super) fn close(&self, state: &State, knows_live: bool) -> Vec<Imbalance> {
        let mut imbalances = Vec::new();
        let mut unbalanced = |key: &PartitionKey, range: Option<OffsetRange>, problem: String| {
            imbalances.extend(range.map(|range| Imbalance { problem, affected: Affected::new(key, range) }));
        };
        for (key, position) in &state.positions {
            let range = OffsetRange::new(position.first_offset, position.next_offset).ok();
            let Some(account) = self.accounts.get(key) else {
                if position.first_offset != position.next_offset {
                    unbalanced(key, range, format!("{key} has a position, and nothing says what lies before it"));
                }
                continue;
            };
            let Account { first, next, named, settled, retired, live, .. } = *account;
            let (named, settled) = (named.saturating_sub(retired), settled.saturating_sub(retired));
            if (first, next) != (position.first_offset, position.next_offset) {
                let problem = format!(
                    "the runs, gaps and holes of {key} cover [{first}, {next}), and not what its position says"
                );
                unbalanced(key, range, problem);
            }
            if named != position.rows || named != settled {
                let rows = position.rows;
                let problem = format!("{key} holds {settled} records, its manifests name {named}, its position {rows}");
                unbalanced(key, range, problem);
            } else if knows_live && live != position.rows {
                let rows = position.rows;
                let problem = format!("the live segments of {key} hold {live} records, its position says {rows}");
                unbalanced(key, range, problem);
            }
        }
        for (key, account) in self.accounts.iter().filter(|(key, _)| !state.positions.contains_key(*key)) {
            let range = OffsetRange::new(account.first, account.next).ok();
            unbalanced(key, range, format!("{key} has offsets, and no position"));
        }
        imbalances
    }
}

/// The runs of a base that hold offsets of another one.
fn kept_twice(retired: &Retired) -> Vec<Imbalance> {
    let mut runs: Vec<&Run> = retired.base.iter().flat_map(|segment| &segment.runs).collect();
    runs.sort_unstable_by_key(|run| (run.key(), run.range));
    let overlaps =
        |pair: &&[&Run]| pair[0].key() == pair[1].key() && pair[1].range.base() < pair[0].range.next_offset();
    let of_pair = |pair: &[&Run]| Imbalance {
        problem: format!("the base of {} holds offsets of {} twice", pair[1].key(), pair[1].range),
        affected: Affected::of(pair[1]),
    };
    runs.windows(2).filter(overlaps).map(of_pair).collect()
}

/// Ranges that follow on joined, and the records of all.
fn joined(mut ranges: Vec<(OffsetRange, u64)>) -> (Vec<OffsetRange>, u64) {
    ranges.sort_unstable();
    let mut joined: Vec<OffsetRange> = Vec::new();
    let mut rows = 0_u64;
    for (range, more) in ranges {
        rows = rows.saturating_add(more);
        match joined.last_mut().filter(|last| last.next_offset() == range.base()) {
            Some(last) => *last = OffsetRange::new(last.base(), range.next_offset()).unwrap_or(range),
            None => joined.push(range),
        }
    }
    (joined, rows)
}
