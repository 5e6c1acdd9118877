//! What can go wrong with a transaction, sorted by what the restore does next.

use strimzi_backup_format::ids::{PartitionId, TopicName};

use crate::kafka::error::{Code, Error};

/// A call of a transactional producer failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProducerError {
    /// Another producer took the transactional id over, or the transaction outlived its time; brokers and librdkafka do
    /// not tell which. Nothing of the transaction is visible. Drop the producer, connect anew and read what was
    /// committed.
    #[error(
        "write to the target: the producer was fenced: another restore with its name runs, or a transaction took too long"
    )]
    Fenced,
    /// The transaction cannot be committed any more: abort it and begin again.
    #[error("{doing}: the transaction must be aborted: {code}")]
    Abortable {
        /// What was being done.
        doing: &'static str,
        /// Why.
        code: Code,
    },
    /// The target will not take a record, however often it is sent. The transaction can only be aborted.
    #[error("write to partition {partition} of {topic} at the target: {what}")]
    Refused {
        /// The topic at the target.
        topic: TopicName,
        /// The partition at the target.
        partition: PartitionId,
        /// What is wrong with the record, or its topic.
        what: Refusal,
    },
    /// What was acknowledged is not what was sent, and librdkafka does not say why. The transaction can only be aborted.
    #[error("write to the target: {acknowledged} of {sent} records of a transaction were acknowledged")]
    Unaccounted {
        /// Records sent in the transaction.
        sent: u64,
        /// Records that the brokers acknowledged.
        acknowledged: u64,
    },
    /// The work was told to stop. The transaction is still open: abort it, or drop the producer.
    #[error("write to the target: stopped")]
    Stopped,
    /// The connection or the whole client failed. After a retryable one ([`Error::is_retryable`]) the same call may be
    /// made again; after any other the producer is of no use.
    #[error(transparent)]
    Client(#[from] Error),
}

impl ProducerError {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Client(error) if error.is_retryable())
    }
}

/// Why a record will never be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It, or the batch it stood in, is larger than allowed.
    #[error("a record is too large ({0}): raise max.message.bytes of the topic")]
    TooLarge(Code),
    /// Its time is too far from now.
    #[error(
        "the timestamp of a record is refused ({0}): raise message.timestamp.before.max.ms or \
         message.timestamp.after.max.ms of the topic while it is restored"
    )]
    Timestamp(Code),
    /// The topic does not take such records, as a compacted one none without a key.
    #[error("a record is refused ({0}): a compacted topic, for one, takes no record without a key")]
    Invalid(Code),
    /// The user may not write to the topic.
    #[error("not allowed to write to the topic ({0})")]
    Denied(Code),
    /// There is no such topic or partition.
    #[error("no such topic or partition ({0}): it was deleted, or has fewer partitions than planned")]
    Unknown(Code),
}

impl Refusal {
    /// The refusal that a record's code stands for; `None` for what may pass, or is no fault of the record.
    pub(super) fn of(code: Code) -> Option<Self> {
        match code {
            Code::MSG_SIZE_TOO_LARGE | Code::RECORD_LIST_TOO_LARGE => Some(Self::TooLarge(code)),
            Code::INVALID_TIMESTAMP => Some(Self::Timestamp(code)),
            Code::INVALID_RECORD | Code::POLICY_VIOLATION => Some(Self::Invalid(code)),
            Code::TOPIC_AUTHORIZATION_FAILED => Some(Self::Denied(code)),
            code if code.is_unknown() => Some(Self::Unknown(code)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_will_never_be_taken_is_a_refusal() {
        assert!(matches!(Refusal::of(Code::MSG_SIZE_TOO_LARGE), Some(Refusal::TooLarge(_))));
        assert!(matches!(Refusal::of(Code::UNKNOWN_PARTITION), Some(Refusal::Unknown(_))));
        for passing in [Code::PURGE_QUEUE, Code::PURGE_INFLIGHT, Code::INVALID_DIFFERENT_RECORD, Code::MSG_TIMED_OUT] {
            assert_eq!(Refusal::of(passing), None);
        }
    }
}
