//! The second book of offsets: what manifests say and what segments hold, posted apart and compared at the end (P5).
//!
//! Owns: per partition, one account. Manifests post their runs, gaps and holes, which must tile the offsets; decoded
//! segments post the records that were really there. Does not share code with the checks that writer and reader run
//! ([`strimzi_backup_format::manifest::invariants`]), so that a fault in those does not hide itself.
//!
//! Memory: one account for each partition.

use std::collections::BTreeMap;

use strimzi_backup_format::ids::{Offset, PartitionKey};
use strimzi_backup_format::manifest::{Manifest, Run};
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
        imbalances
    }

    /// Posts the records of a run: they were decoded, or are reported as harmed or not looked at.
    pub(super) fn settle(&mut self, run: &Run) {
        if let Some(account) = self.accounts.get_mut(&run.key()) {
            account.settled = account.settled.saturating_add(run.rows);
        }
    }

    /// Compares the accounts with the state of the log at its end.
    pub(super) fn close(&self, state: &State) -> Vec<Imbalance> {
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
            let Account { first, next, named, settled } = *account;
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
            }
        }
        for (key, account) in self.accounts.iter().filter(|(key, _)| !state.positions.contains_key(*key)) {
            let range = OffsetRange::new(account.first, account.next).ok();
            unbalanced(key, range, format!("{key} has offsets, and no position"));
        }
        imbalances
    }
}
