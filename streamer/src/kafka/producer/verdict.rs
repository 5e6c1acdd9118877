//! What a fault means to who writes: go on, abort, connect anew, or never mind trying.
//!
//! Owns: reading librdkafka's codes in the light of the transaction. Does not own: the types that say so
//! ([`super::fault`]), or what became of each record ([`super::ledger`]).

use std::time::{Duration, Instant};

use strimzi_backup_format::ids::PartitionId;

use super::fault::{ProducerError, Refusal};
use super::ledger::Failure;
use super::{INIT, SLICE, TransactionalProducer};
use crate::kafka::error::{Code, Error};
use crate::kafka::ffi::{self, TransactionFault};

impl TransactionalProducer {
    /// Whether it makes sense to wait on.
    pub(super) fn check(&self, doing: &'static str) -> Result<(), ProducerError> {
        if self.stop.is_cancelled() {
            return Err(ProducerError::Stopped);
        }
        match self.inner.client().fatal_error() {
            Some((code, detail)) => Err(fatal(Code::new(code), detail)),
            None => self.ask_why(doing).map_or(Ok(()), Err),
        }
    }

    /// Why the open transaction cannot be committed, if so. librdkafka is asked to begin another, which it refuses, and
    /// says how the open one stands; nothing else tells.
    fn ask_why(&self, doing: &'static str) -> Option<ProducerError> {
        if !self.is_open {
            return None;
        }
        let fault = self.inner.begin_transaction().err()?;
        (fault.is_fatal || fault.requires_abort).then(|| self.sorted(doing, fault))
    }

    /// Repeats a call while it is worth it.
    pub(super) fn insist(
        &self,
        doing: &'static str,
        deadline: Instant,
        call: impl Fn(&ffi::Producer) -> Result<(), TransactionFault>,
    ) -> Result<(), ProducerError> {
        loop {
            let Err(fault) = call(&self.inner) else { return Ok(()) };
            self.inner.poll(Duration::ZERO);
            let error = self.sorted(doing, fault);
            if !error.is_retryable() || Instant::now() >= deadline {
                return Err(error);
            }
            if self.stop.is_cancelled() {
                return Err(ProducerError::Stopped);
            }
            // Some answers come at once.
            self.inner.poll(SLICE / 4);
        }
    }

    /// What a fault of a call means to the caller.
    pub(super) fn sorted(&self, doing: &'static str, fault: TransactionFault) -> ProducerError {
        let code = Code::new(fault.code);
        let fatal_error = self.inner.client().fatal_error().map(|(code, detail)| (Code::new(code), detail));
        if fault.is_fatal || fatal_error.is_some() {
            let (code, detail) = fatal_error.unwrap_or((code, String::new()));
            return fatal(code, detail);
        }
        if fault.requires_abort {
            return self.abortable(doing, code);
        }
        if fault.is_retriable {
            let passing = Error::Unreachable { doing, code, detail: String::new() };
            return self.ledger.trouble().filter(|trouble| !trouble.is_retryable()).unwrap_or(passing).into();
        }
        Error::of_request(doing, code).into()
    }

    fn abortable(&self, doing: &'static str, code: Code) -> ProducerError {
        if let Some(refused) = self.ledger.failure().and_then(|failure| self.refused(failure)) {
            return refused;
        }
        if code.is_fenced() {
            return ProducerError::Fenced;
        }
        // Begun again, it would be denied again.
        if code.is_denied() {
            return Error::Authorization { doing, code }.into();
        }
        ProducerError::Abortable { doing, code }
    }

    /// What the failure of a record means to the caller. One that librdkafka threw away was not the cause.
    pub(super) fn explain(&self, doing: &'static str, failure: Failure) -> ProducerError {
        let known = self.refused(failure).or_else(|| self.ask_why(doing));
        known.unwrap_or(ProducerError::Abortable { doing, code: failure.code })
    }

    fn refused(&self, failure: Failure) -> Option<ProducerError> {
        let what = Refusal::of(failure.code)?;
        let (topic, _) = self.topics.iter().find(|(_, (_, handle))| *handle == failure.topic)?;
        Some(ProducerError::Refused { topic: topic.clone(), partition: PartitionId::new(failure.partition), what })
    }
}

/// The error of a producer that is of no use any more.
fn fatal(code: Code, detail: String) -> ProducerError {
    match code {
        code if code.is_fenced() => ProducerError::Fenced,
        code if code.is_denied() => Error::Authorization { doing: INIT, code }.into(),
        code => Error::Fatal { code, detail }.into(),
    }
}
