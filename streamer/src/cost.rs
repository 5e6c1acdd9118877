//! What a store is asked for, and what that costs in a month. Pure: numbers in, numbers out, for `inspect` and the metrics alike.
//!
//! ```text
//! newest manifests ─▶ Requests ─┐
//!                               ├─▶ Usage of an hour ─┐
//! counters of a process ─▶ Pace ┘                     ├─▶ Cost of a month
//!                         bytes stored · price list ──┘
//! ```
//! Owns: rates, and the sums of money. Does not own: where manifests and counters come from, or how it is told.

use std::collections::VecDeque;
use std::time::Duration;

use serde::Serialize;
use strimzi_backup_format::checkpoint::{MANIFESTS_PER_BLOCK, RUNS_PER_BLOCK};
use strimzi_backup_format::ids::TimestampMs;
pub use strimzi_backup_format::job::Prices;
use strimzi_backup_format::manifest::{Manifest, Segment};
use strimzi_backup_format::store::PART_BYTES;

/// Less time than this between the first manifest and the last says nothing of an hour.
const LEAST_MILLIS: u64 = 1_000;

/// Less time than this after its start says nothing of a process that is meant to run for months.
const LEAST_PACE_MILLIS: u64 = 10_000;

/// So far back reach the counters that a process's pace is taken from, if it runs for so long.
const PACE_MILLIS: u64 = 3_600_000;

/// They are remembered so often.
const STEP_MILLIS: u64 = 60_000;

/// What one look at the log reads: the identity and the newest manifest.
const GETS_PER_LOOK: f64 = 2.0;

const SECONDS_PER_HOUR: f64 = 3_600.0;

const MILLIS_PER_HOUR: f64 = 3_600_000.0;

/// Hours in a month, as the price lists of object stores count them.
const HOURS_PER_MONTH: f64 = 730.0;

/// Bytes of the GB that object stores charge for.
const BYTES_PER_GB: f64 = (1_u64 << 30) as f64;

/// What is charged for in an hour.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Usage {
    /// Requests that write or list.
    pub puts: f64,
    /// Requests that read, also size and time alone.
    pub gets: f64,
    /// Bytes read.
    pub received_bytes: f64,
}

/// What a month costs, if it goes on like the hour that it is reckoned from and nothing more were added to what is stored; in the
/// currency of the price list.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// For requests that write or list.
    pub puts: f64,
    /// For requests that read.
    pub gets: f64,
    /// For the segments stored now.
    pub storage: f64,
    /// For the bytes read.
    pub received: f64,
}

impl Cost {
    /// Of a month with that much asked for in each hour, and so many bytes stored.
    pub fn of_month(prices: &Prices, hourly: Usage, stored_bytes: u64) -> Self {
        let thousands = |per_hour: f64| per_hour * HOURS_PER_MONTH / 1000.0;
        Self {
            puts: thousands(hourly.puts) * prices.put,
            gets: thousands(hourly.gets) * prices.get,
            storage: real(stored_bytes) / BYTES_PER_GB * prices.storage,
            received: hourly.received_bytes * HOURS_PER_MONTH / BYTES_PER_GB * prices.received,
        }
    }

    /// All of it.
    pub fn total(&self) -> f64 {
        self.puts + self.gets + self.storage + self.received
    }
}

/// What the writer asks of its store, from its newest manifests and its job. What a start reads, and a failure's
/// retries, are not in the log.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Requests {
    /// How many manifests the rates are taken from.
    pub sampled_manifests: usize,
    /// How many of them begin a run of the streamer: the more, the less the rates say of one that runs through.
    pub sampled_starts: usize,
    /// The time they span, in seconds; what is said of an hour or a month is extrapolated from it.
    pub sampled_seconds: u64,
    /// Manifests an hour.
    pub manifests_per_hour: f64,
    /// Segments an hour.
    pub segments_per_hour: f64,
    /// Checkpoints an hour.
    pub checkpoints_per_hour: f64,
    /// How often an hour the writer looks whether its log still stands, by `backup.metadataInterval`.
    pub looks_per_hour: f64,
    /// PUT requests an hour. Streaming lists nothing.
    pub puts_per_hour: f64,
    /// GET requests an hour: each look reads two documents, and refining each intake segment.
    pub gets_per_hour: f64,
    /// HEAD requests an hour, charged as GET: each upload is confirmed by one.
    pub heads_per_hour: f64,
    /// Bytes of segments that go to the store in an hour: each cut, and what of it was intake once more when it is refined.
    pub sent_bytes_per_hour: f64,
    /// Bytes of segments that come from the store in an hour: intake, which refining reads once.
    pub received_bytes_per_hour: f64,
}

impl Requests {
    /// Rates over the time from the first manifest of the sample, which only marks its start, to the last; `None` where they say nothing.
    /// `looks` is the writer's `backup.metadataInterval`.
    pub fn of(sample: &[Manifest], looks: Duration) -> Option<Self> {
        let (first, rest) = sample.split_first()?;
        let millis = rest.last()?.observed_at.millis_since(first.observed_at);
        if millis < LEAST_MILLIS {
            return None;
        }
        let per_hour = |count: u64| real(count) * MILLIS_PER_HOUR / real(millis);
        let segments = || rest.iter().flat_map(|manifest| manifest.named_segments());
        let cut = || rest.iter().flat_map(|manifest| &manifest.segments);
        let intake = || cut().filter(|segment| segment.is_intake());
        let runs: usize = segments().map(|segment| segment.runs.len()).sum();
        let manifests_per_hour = per_hour(rest.len() as u64);
        let checkpoints_per_hour =
            (manifests_per_hour / real(MANIFESTS_PER_BLOCK)).max(per_hour(runs as u64) / real(RUNS_PER_BLOCK as u64));
        let segments_per_hour = per_hour(segments().count() as u64);
        let uploads_per_hour = per_hour(segments().map(|segment| puts(segment.bytes)).sum());
        let looks_per_hour = SECONDS_PER_HOUR / looks.as_secs_f64();
        let received_bytes_per_hour = per_hour(bytes(intake()));
        Some(Self {
            sampled_manifests: sample.len(),
            sampled_starts: rest.iter().filter(|manifest| manifest.claim.is_some()).count(),
            sampled_seconds: millis / 1000,
            manifests_per_hour,
            segments_per_hour,
            checkpoints_per_hour,
            looks_per_hour,
            puts_per_hour: manifests_per_hour + uploads_per_hour + checkpoints_per_hour,
            // A checkpoint is preceded by a look of its own.
            gets_per_hour: per_hour(intake().count() as u64) + GETS_PER_LOOK * (looks_per_hour + checkpoints_per_hour),
            heads_per_hour: segments_per_hour,
            sent_bytes_per_hour: per_hour(bytes(cut())) + received_bytes_per_hour,
            received_bytes_per_hour,
        })
    }

    /// What of it is charged for.
    pub fn usage(&self) -> Usage {
        Usage {
            puts: self.puts_per_hour,
            gets: self.gets_per_hour + self.heads_per_hour,
            received_bytes: self.received_bytes_per_hour,
        }
    }
}

/// What a process has asked of its store since its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// When it was counted.
    pub at: TimestampMs,
    /// Requests that write or list.
    pub puts: u64,
    /// Requests that read, also size and time alone.
    pub gets: u64,
    /// Bytes read.
    pub received_bytes: u64,
}

/// How much a process asks of its store, by its counters of the last hour.
#[derive(Debug, Default)]
pub struct Pace {
    /// Oldest first, some 60 of them; the oldest is what later ones are compared with.
    counted: VecDeque<Counted>,
}

impl Pace {
    /// Takes note of the counters, and says what an hour comes to; `None` so soon after the first time that it would say nothing.
    pub fn take(&mut self, now: Counted) -> Option<Usage> {
        if self.counted.back().is_some_and(|last| now.at < last.at) {
            // The clock was set back: no time is known between what was and what is.
            self.counted.clear();
        }
        if self.counted.back().is_none_or(|last| now.at.millis_since(last.at) >= STEP_MILLIS) {
            self.counted.push_back(now);
        }
        while self.counted.get(1).is_some_and(|second| now.at.millis_since(second.at) >= PACE_MILLIS) {
            self.counted.pop_front();
        }
        let first = self.counted.front()?;
        let millis = now.at.millis_since(first.at);
        if millis < LEAST_PACE_MILLIS {
            return None;
        }
        let per_hour = |now: u64, then: u64| real(now.saturating_sub(then)) * MILLIS_PER_HOUR / real(millis);
        Some(Usage {
            puts: per_hour(now.puts, first.puts),
            gets: per_hour(now.gets, first.gets),
            received_bytes: per_hour(now.received_bytes, first.received_bytes),
        })
    }
}

fn bytes<'a>(segments: impl Iterator<Item = &'a Segment>) -> u64 {
    segments.map(|segment| segment.bytes).sum()
}

/// The requests that an upload of so many bytes is: one, or its parts with their start and their end.
fn puts(bytes: u64) -> u64 {
    let part = PART_BYTES as u64;
    if bytes <= part { 1 } else { bytes.div_ceil(part) + 2 }
}

/// A count as a real number; what a rate or a price loses by rounding beyond 2^53 nobody sees.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn real(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRICES: Prices = Prices { put: 0.01, get: 0.001, storage: 0.5, received: 0.1 };

    #[test]
    fn a_month_has_730_hours_and_prices_are_the_users() {
        let hourly = Usage { puts: 1000.0, gets: 2000.0, received_bytes: BYTES_PER_GB };
        let cost = Cost::of_month(&PRICES, hourly, 2 << 30);
        assert_eq!(cost, Cost { puts: 7.3, gets: 1.46, storage: 1.0, received: 73.0 });
        assert_eq!(Cost::of_month(&PRICES, Usage::default(), 0).total(), 0.0);
    }

    fn counted(seconds: i64, puts: u64) -> Counted {
        Counted { at: TimestampMs::new(seconds * 1000), puts, gets: 2 * puts, received_bytes: 100 * puts }
    }

    fn hourly(puts: f64) -> Option<Usage> {
        Some(Usage { puts, gets: 2.0 * puts, received_bytes: 100.0 * puts })
    }

    #[test]
    fn a_pace_is_that_of_the_last_hour_and_of_less_after_a_start() {
        let mut pace = Pace::default();
        assert_eq!(pace.take(counted(0, 50)), None, "one look says nothing");
        assert_eq!(pace.take(counted(9, 59)), None, "nor do nine seconds");
        assert_eq!(pace.take(counted(10, 60)), hourly(3600.0), "one a second");
        // For two hours one a second, then nothing for one.
        for second in 11..7_200 {
            pace.take(counted(second, 50 + second.unsigned_abs()));
        }
        assert_eq!(pace.take(counted(7_200, 7_250)), hourly(3600.0));
        assert!(pace.counted.len() <= 62, "{} are remembered", pace.counted.len());
        for second in (7_260..10_800).step_by(60) {
            pace.take(counted(second, 7_250));
        }
        assert_eq!(pace.take(counted(10_800, 7_250)), hourly(0.0));
    }

    #[test]
    fn a_clock_that_is_set_back_begins_a_pace_anew() {
        let mut pace = Pace::default();
        pace.take(counted(100_000, 10));
        assert_eq!(pace.take(counted(500, 20)), None);
        assert_eq!(pace.take(counted(510, 30)), hourly(3600.0));
    }
}
