//! The account of a transaction: what was sent, what became of it, and how much is under way.
//!
//! Fed by delivery reports on the producer's own thread. Invariant: a record is in exactly one of under way,
//! acknowledged and failed, so a transaction whose sent and acknowledged records are as many has lost none.

use std::collections::HashMap;

use parking_lot::Mutex;
use strimzi_backup_format::ids::Offset;

use super::fault::Refusal;
use crate::kafka::error::{Code, Error};
use crate::kafka::ffi::{Delivery, Reports};

/// Where the records of one transaction in one partition stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The lowest and the highest of their offsets; `None` where the broker did not tell every offset, which may be after
    /// a repeated request.
    pub offsets: Option<(Offset, Offset)>,
    /// How many they are.
    pub count: u64,
}

impl Written {
    /// Whether nothing else stands among them: the record sent as number n then has the first offset + n.
    pub fn is_contiguous(&self) -> bool {
        self.offsets.is_some_and(|(first, last)| u64::try_from(last.get() - first.get() + 1) == Ok(self.count))
    }

    /// With one more record.
    fn and(self, offset: i64) -> Self {
        let known = self.offsets.filter(|_| offset >= 0);
        let offset = Offset::new(offset);
        let offsets = known.map(|(first, last)| (first.min(offset), last.max(offset)));
        Self { offsets, count: self.count + 1 }
    }

    fn first(offset: i64) -> Self {
        let known = Offset::new(offset);
        Self { offsets: (offset >= 0).then_some((known, known)), count: 1 }
    }
}

/// A record that was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Failure {
    /// The topic, as librdkafka's handle.
    pub(super) topic: usize,
    pub(super) partition: i32,
    pub(super) code: Code,
}

/// What may be done with a record that is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Admission {
    /// It is counted as under way: send it.
    Go,
    /// Wait for deliveries.
    Full,
    /// The transaction has failed.
    Failed(Failure),
}

#[derive(Default)]
struct State {
    sent: u64,
    acknowledged: u64,
    /// Under way, of this transaction or an aborted one: the memory is the same.
    records: u64,
    bytes: usize,
    failure: Option<Failure>,
    written: HashMap<(usize, i32), Written>,
    trouble: Option<Error>,
}

/// The account of the present transaction.
#[derive(Default)]
pub(super) struct Ledger(Mutex<State>);

impl Ledger {
    /// Begins a new account. What is still under way stays counted as such.
    pub(super) fn begin(&self) {
        let mut state = self.0.lock();
        (state.sent, state.acknowledged, state.failure) = (0, 0, None);
        state.written.clear();
    }

    /// Asks for room for a record. One that is larger than all room goes alone.
    pub(super) fn admit(&self, cost: usize, room: usize) -> Admission {
        let mut state = self.0.lock();
        if let Some(failure) = state.failure {
            return Admission::Failed(failure);
        }
        if state.records > 0 && state.bytes.saturating_add(cost) > room {
            return Admission::Full;
        }
        state.sent += 1;
        state.records += 1;
        state.bytes += cost;
        Admission::Go
    }

    /// Takes back a record that librdkafka's own queue had no room for.
    pub(super) fn take_back(&self, cost: usize) {
        let mut state = self.0.lock();
        state.sent -= 1;
        state.release(cost);
    }

    /// A record that was admitted was not even queued.
    pub(super) fn fail(&self, cost: usize, failure: Failure) {
        let mut state = self.0.lock();
        state.release(cost);
        state.blame(failure);
    }

    /// How many records are under way.
    pub(super) fn under_way(&self) -> u64 {
        self.0.lock().records
    }

    /// Why the transaction cannot be committed: the record that will never be taken, or else the first to fail.
    pub(super) fn failure(&self) -> Option<Failure> {
        self.0.lock().failure
    }

    /// How many records were sent and how many acknowledged.
    pub(super) fn balance(&self) -> (u64, u64) {
        let state = self.0.lock();
        (state.sent, state.acknowledged)
    }

    /// Where the records are so far, by topic handle and partition.
    pub(super) fn written(&self) -> HashMap<(usize, i32), Written> {
        self.0.lock().written.clone()
    }

    /// Where the records are, by topic handle and partition; forgets it.
    pub(super) fn take_written(&self) -> HashMap<(usize, i32), Written> {
        std::mem::take(&mut self.0.lock().written)
    }

    /// The last trouble of a connection; one that does not pass by itself is kept over one that does.
    pub(super) fn trouble(&self) -> Option<Error> {
        self.0.lock().trouble.clone()
    }

    /// Forgets earlier trouble: the cluster has answered.
    pub(super) fn forget_trouble(&self) {
        self.0.lock().trouble = None;
    }
}

impl State {
    fn release(&mut self, cost: usize) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(cost);
    }

    fn blame(&mut self, failure: Failure) {
        let refused = |failure: Failure| Refusal::of(failure.code).is_some();
        // What will never be taken is the cause; librdkafka then throws away the rest, and may tell that first.
        if self.failure.is_none_or(|before| refused(failure) && !refused(before)) {
            self.failure = Some(failure);
        }
    }
}

impl Reports for Ledger {
    fn delivery(&self, delivery: Delivery) {
        let mut state = self.0.lock();
        state.release(delivery.cost);
        let place = (delivery.topic, delivery.partition);
        if delivery.code != 0 {
            state.blame(Failure { topic: place.0, partition: place.1, code: Code::new(delivery.code) });
            return;
        }
        state.acknowledged += 1;
        let written = state.written.get(&place).map(|written| written.and(delivery.offset));
        state.written.insert(place, written.unwrap_or_else(|| Written::first(delivery.offset)));
    }

    fn trouble(&self, code: i32, detail: String) {
        let trouble = Error::of_client(Code::new(code), detail);
        let mut state = self.0.lock();
        if !trouble.is_retryable() || state.trouble.as_ref().is_none_or(Error::is_retryable) {
            state.trouble = Some(trouble);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivered(offset: i64, code: Code) -> Delivery {
        Delivery { topic: 1, partition: 0, offset, code: code.get(), cost: 10 }
    }

    #[test]
    fn what_is_under_way_is_bounded_and_a_record_larger_than_the_bound_goes_alone() {
        let ledger = Ledger::default();
        assert_eq!(ledger.admit(100, 20), Admission::Go);
        assert_eq!(ledger.admit(1, 20), Admission::Full);
        ledger.delivery(Delivery { cost: 100, ..delivered(0, Code::NO_ERROR) });
        assert_eq!(ledger.admit(10, 20), Admission::Go);
        assert_eq!(ledger.admit(10, 20), Admission::Go);
        assert_eq!(ledger.admit(1, 20), Admission::Full);
        assert_eq!((ledger.under_way(), ledger.balance()), (2, (3, 1)));
    }

    #[test]
    fn the_record_that_is_refused_is_blamed_whatever_was_told_before() {
        let ledger = Ledger::default();
        for code in [Code::PURGE_QUEUE, Code::INVALID_TIMESTAMP, Code::MSG_SIZE_TOO_LARGE] {
            ledger.delivery(delivered(-1, code));
        }
        assert_eq!(ledger.failure().map(|failure| failure.code), Some(Code::INVALID_TIMESTAMP));
        assert!(matches!(ledger.admit(1, 20), Admission::Failed(_)));
        ledger.begin();
        assert_eq!(ledger.admit(1, 20), Admission::Go);
    }

    #[test]
    fn a_record_that_was_not_queued_is_missing_in_the_balance() {
        let ledger = Ledger::default();
        let failure = Failure { topic: 1, partition: 0, code: Code::MSG_SIZE_TOO_LARGE };
        assert_eq!(ledger.admit(10, 20), Admission::Go);
        ledger.fail(10, failure);
        assert_eq!((ledger.failure(), ledger.balance(), ledger.under_way()), (Some(failure), (1, 0), 0));
    }

    #[test]
    fn foreign_records_and_unknown_offsets_are_not_contiguous() {
        let written = Written::first(5).and(6).and(7);
        assert_eq!(written, Written { offsets: Some((Offset::new(5), Offset::new(7))), count: 3 });
        assert!(written.is_contiguous());
        assert!(!written.and(9).is_contiguous());
        assert_eq!(written.and(-1), Written { offsets: None, count: 4 });
        assert!(!written.and(-1).and(8).is_contiguous());
    }
}
