//! Where wall-clock time, ids and pauses come from, so that a seed replays a run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::Rng as _;
use strimzi_backup_format::ids::TimestampMs;

/// The world's clock and dice.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock.
    fn now(&self) -> TimestampMs;

    /// A random UUID.
    fn uuid(&self) -> uuid::Uuid;

    /// A random number below `bound`, for jitter.
    fn below(&self, bound: u64) -> u64;
}

/// The machine's own.
#[derive(Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> TimestampMs {
        let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        TimestampMs::new(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }

    fn uuid(&self) -> uuid::Uuid {
        uuid::Uuid::new_v4()
    }

    fn below(&self, bound: u64) -> u64 {
        rand::rng().random_range(0..bound.max(1))
    }
}

/// Exponential back-off with jitter: half to one and a half of a delay that doubles up to a ceiling.
#[derive(Debug)]
pub struct Backoff {
    attempt: AtomicU64,
    first: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// For calls to a store or a broker: 100 ms doubling to 15 s.
    pub fn new() -> Self {
        Self { attempt: AtomicU64::new(0), first: Duration::from_millis(100), ceiling: Duration::from_secs(15) }
    }

    /// The next delay.
    pub fn next(&self, clock: &impl Clock) -> Duration {
        let doublings = self.attempt.fetch_add(1, Ordering::Relaxed).min(20);
        let delay = self.first.saturating_mul(1 << doublings.min(16)).min(self.ceiling);
        let millis = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(millis / 2 + clock.below(millis))
    }

    /// How many delays it gave.
    pub fn attempts(&self) -> u64 {
        self.attempt.load(Ordering::Relaxed)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::new()
    }
}
