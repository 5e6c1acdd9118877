//! Wall-clock time that is tokio's paused time, and ids from a seed.

use parking_lot::Mutex;
use strimzi_backup_format::ids::TimestampMs;
use strimzi_backup_streamer::clock::Clock;
use tokio::time::Instant;

use super::dice::Dice;

/// Half a minute before a full hour, so that buckets change while the simulation runs.
const BASE_MILLIS: i64 = 1_770_969_570_000;

/// The clock of one writer; all writers of a world tell the same time.
#[derive(Debug)]
pub struct SimClock {
    began: Instant,
    dice: Mutex<Dice>,
}

impl SimClock {
    /// A clock in a world that began at `began`.
    pub fn new(began: Instant, dice: Dice) -> Self {
        Self { began, dice: Mutex::new(dice) }
    }
}

/// The wall clock of a world that began at `began`.
pub fn now(began: Instant) -> TimestampMs {
    let elapsed = i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX);
    TimestampMs::new(BASE_MILLIS.saturating_add(elapsed))
}

impl Clock for SimClock {
    fn now(&self) -> TimestampMs {
        now(self.began)
    }

    fn uuid(&self) -> uuid::Uuid {
        let mut dice = self.dice.lock();
        uuid::Uuid::from_u64_pair(dice.next(), dice.next())
    }

    fn below(&self, bound: u64) -> u64 {
        self.dice.lock().below(bound)
    }
}
