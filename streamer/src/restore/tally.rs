//! What a restore has done so far, for whoever watches it.

use std::sync::atomic::AtomicU64;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use strimzi_backup_format::segment::slice::Fetched;

use super::plan::Reads;
use super::progress::Progress;
use crate::clock::{Clock as _, SystemClock};
use crate::metrics::{KindLabel, unix_seconds};

/// What a restore is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Nothing is written yet.
    Planning,
    /// Topics and records.
    Writing,
    /// All records are written; settings are set back, and the report is kept.
    Finishing,
}

impl Phase {
    const ALL: [Self; 3] = [Self::Planning, Self::Writing, Self::Finishing];

    /// The name as shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Planning => "Planning",
            Self::Writing => "Writing",
            Self::Finishing => "Finishing",
        }
    }
}

/// Counters of this run of a restore.
#[derive(Debug, Default)]
pub struct Tally {
    /// 1 for what it is at, 0 for the others.
    pub phase: Family<KindLabel, Gauge>,
    /// Records that the plan reads, at most.
    pub planned_records: Gauge,
    /// Their bytes of keys, values and headers, about.
    pub planned_bytes: Gauge,
    /// Segments that the plan reads.
    pub planned_segments: Gauge,
    /// Records at the target, over all starts of the restore.
    pub restored_records: Gauge,
    /// Records committed by this start.
    pub records: Counter,
    /// Their bytes of keys, values and headers.
    pub bytes: Counter,
    /// Transactions committed.
    pub transactions: Counter,
    /// Unix time of the last commit.
    pub last_commit: Gauge<f64, AtomicU64>,
    /// Segments read.
    pub segments: Counter,
    /// Requests for them.
    pub requests: Counter,
    /// Bytes of them.
    pub fetched_bytes: Counter,
    /// Passes over the records that were begun anew after a failure.
    pub repeats: Counter,
    /// Offsets that others took in partitions of the target, as far as the present pass has seen.
    pub foreign_offsets: Gauge,
}

/// The counters at one instant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tallied {
    /// Records committed at the target.
    pub records: u64,
    /// Their bytes of keys, values and headers.
    pub bytes: u64,
    /// Transactions committed.
    pub transactions: u64,
    /// Requests for segments.
    pub requests: u64,
    /// Bytes of segments read.
    pub fetched_bytes: u64,
}

impl Tally {
    /// The restore has come to a phase.
    pub fn enter(&self, phase: Phase) {
        for one in Phase::ALL {
            self.phase.get_or_create(&KindLabel::new(one.as_str())).set(i64::from(one == phase));
        }
    }

    /// What it is at.
    pub fn phase(&self) -> Phase {
        let is_at = |phase: &Phase| self.phase.get_or_create(&KindLabel::new(phase.as_str())).get() == 1;
        Phase::ALL.into_iter().find(is_at).unwrap_or(Phase::Planning)
    }

    /// What it is to read is known.
    pub fn planned(&self, reads: &Reads) {
        self.planned_records.set(gauge(reads.records));
        self.planned_bytes.set(gauge(reads.raw_bytes));
        self.planned_segments.set(gauge(reads.segments));
    }

    /// A pass over the records begins where the target says that the restore is.
    pub fn begins(&self, progress: &Progress) {
        self.restored_records.set(gauge(progress.values().map(|done| done.records).sum()));
    }

    /// A pass failed, and another comes.
    pub fn repeats(&self) {
        self.repeats.inc();
    }

    /// A transaction was committed.
    pub fn committed(&self, records: u64, bytes: u64) {
        self.records.inc_by(records);
        self.bytes.inc_by(bytes);
        self.transactions.inc();
        self.restored_records.inc_by(gauge(records));
        self.last_commit.set(unix_seconds(SystemClock.now()));
    }

    /// Others took so many offsets, since the pass began.
    pub fn saw_foreign(&self, offsets: u64) {
        self.foreign_offsets.set(gauge(offsets));
    }

    /// A segment was read.
    pub fn fetched(&self, fetched: Fetched) {
        self.segments.inc();
        self.requests.inc_by(fetched.requests);
        self.fetched_bytes.inc_by(fetched.bytes);
    }

    /// The counters now.
    pub fn read(&self) -> Tallied {
        Tallied {
            records: self.records.get(),
            bytes: self.bytes.get(),
            transactions: self.transactions.get(),
            requests: self.requests.get(),
            fetched_bytes: self.fetched_bytes.get(),
        }
    }
}

fn gauge(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
