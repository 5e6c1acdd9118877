//! What a restore has done so far, for whoever watches it.

use std::sync::atomic::{AtomicU64, Ordering};

use strimzi_backup_format::segment::slice::Fetched;

/// Counters of this run of a restore.
#[derive(Debug, Default)]
pub struct Tally {
    records: AtomicU64,
    bytes: AtomicU64,
    transactions: AtomicU64,
    requests: AtomicU64,
    fetched_bytes: AtomicU64,
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
    /// A transaction was committed.
    pub fn committed(&self, records: u64, bytes: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.transactions.fetch_add(1, Ordering::Relaxed);
    }

    /// A segment was read.
    pub fn fetched(&self, fetched: Fetched) {
        self.requests.fetch_add(fetched.requests, Ordering::Relaxed);
        self.fetched_bytes.fetch_add(fetched.bytes, Ordering::Relaxed);
    }

    /// The counters now.
    pub fn read(&self) -> Tallied {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Tallied {
            records: read(&self.records),
            bytes: read(&self.bytes),
            transactions: read(&self.transactions),
            requests: read(&self.requests),
            fetched_bytes: read(&self.fetched_bytes),
        }
    }
}
