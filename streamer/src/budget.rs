//! The byte budget of the process: what is buffered, being encoded, or encoded and not yet durable (P7).
//!
//! The polling thread waits here while the budget is spent, so fetching stops and Kafka keeps the records. One record
//! may overdraw it: a record bigger than the whole budget must still pass.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Bytes in use against a limit.
#[derive(Debug)]
pub struct Budget {
    used: Mutex<usize>,
    freed: Condvar,
    limit: usize,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { used: Mutex::new(0), freed: Condvar::new(), limit }
    }

    /// Takes bytes; never waits.
    pub fn charge(&self, bytes: usize) {
        *self.used.lock() += bytes;
    }

    /// Takes bytes if there is room for them; says whether.
    pub fn try_charge(&self, bytes: usize) -> bool {
        let mut used = self.used.lock();
        let fits = used.saturating_add(bytes) <= self.limit;
        if fits {
            *used += bytes;
        }
        fits
    }

    /// Gives bytes back.
    pub fn release(&self, bytes: usize) {
        let mut used = self.used.lock();
        *used = used.saturating_sub(bytes);
        drop(used);
        self.freed.notify_all();
    }

    /// Whether nothing more should be taken.
    pub fn is_spent(&self) -> bool {
        *self.used.lock() >= self.limit
    }

    /// Waits, at most `patience`, until something may be taken. Says whether it may.
    pub fn wait(&self, patience: Duration) -> bool {
        let mut used = self.used.lock();
        if *used >= self.limit {
            self.freed.wait_for(&mut used, patience);
        }
        *used < self.limit
    }

    /// Bytes in use.
    pub fn used(&self) -> usize {
        *self.used.lock()
    }

    /// The limit.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

/// Bytes taken from a [`Budget`] that are given back when this is dropped, wherever that happens.
#[derive(Debug)]
pub struct Charge {
    budget: std::sync::Arc<Budget>,
    bytes: usize,
}

impl Charge {
    /// Takes over bytes that are charged already.
    pub fn adopt(budget: std::sync::Arc<Budget>, bytes: usize) -> Self {
        Self { budget, bytes }
    }

    /// Gives back what is beyond `bytes`: a segment is smaller than its records.
    pub fn shrink_to(&mut self, bytes: usize) {
        if bytes < self.bytes {
            self.budget.release(self.bytes - bytes);
            self.bytes = bytes;
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.release(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn charges_come_back_when_dropped_and_waiters_wake() {
        let budget = Arc::new(Budget::new(100));
        budget.charge(150);
        assert!(budget.is_spent());
        assert!(!budget.wait(Duration::ZERO));
        let mut charge = Charge::adopt(Arc::clone(&budget), 150);
        charge.shrink_to(60);
        assert_eq!(budget.used(), 60);
        let waiter = Arc::clone(&budget);
        assert!(waiter.wait(Duration::from_secs(5)));
        drop(charge);
        assert_eq!(budget.used(), 0);
    }
}
