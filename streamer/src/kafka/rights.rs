//! What the user may do at the target, asked before it is done.
//!
//! Owns: the questions about rights, and the type of the answer. Does not own: which rights a restore needs. Runs as the
//! questions of [`super::admin`] do.

use std::collections::BTreeMap;
use std::fmt;

use strimzi_backup_format::ids::TopicName;

use super::Kafka;
use super::error::{BrokerError, Error};

/// An operation that ACLs allow; numbers as in Kafka's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs, reason = "the names are Kafka's own")]
pub enum Operation {
    Read = 3,
    Write = 4,
    Create = 5,
    Delete = 6,
    Describe = 8,
    DescribeConfigs = 10,
    AlterConfigs = 11,
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What the user may do with a topic or group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rights(Option<u32>);

impl Rights {
    /// What a broker says that allows nothing else.
    #[cfg(test)]
    pub(crate) fn of(operations: &[Operation]) -> Self {
        Self(Some(operations.iter().fold(0, |bits, operation| bits | 1 << *operation as u32)))
    }

    /// As a broker tells them; `None` where it does not.
    pub(super) const fn told(bits: Option<u32>) -> Self {
        Self(bits)
    }

    /// Whether the broker says that the user may not. One that does not say (before Kafka 2.3) forbids nothing here.
    pub fn forbid(self, operation: Operation) -> bool {
        self.0.is_some_and(|bits| bits & (1 << operation as u32) == 0)
    }
}

impl Kafka {
    /// What the user may do with topics, each with its own answer; of one that does not exist brokers say no more than
    /// that ([`BrokerError::is_unknown`]), or that it may not be described.
    ///
    /// # Errors
    /// As [`Error`], if a request as a whole failed.
    pub async fn topic_rights(
        &self,
        names: &[TopicName],
    ) -> Result<BTreeMap<TopicName, Result<Rights, BrokerError>>, Error> {
        const DOING: &str = "ask for the rights to topics";
        let answers = self.ask_of_topics(DOING, names, |queue, asked| queue.topic_rights(asked)).await?;
        Ok(answers.into_iter().map(|(name, told)| (name, told.map(Rights))).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_that_does_not_tell_forbids_nothing() {
        assert!(!Rights(None).forbid(Operation::Write));
        assert!(Rights(Some(0)).forbid(Operation::Write));
        let some = Rights(Some(1 << 3 | 1 << 11));
        assert!(!some.forbid(Operation::Read) && !some.forbid(Operation::AlterConfigs));
        assert!(some.forbid(Operation::Describe) && some.forbid(Operation::DescribeConfigs));
    }
}
