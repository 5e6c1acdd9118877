//! What can go wrong between this process and the brokers, sorted by what the caller does next.
//!
//! Owns: the error types of [`crate::kafka`] and the table from librdkafka's codes to them. Does not own: retries.
//!
//! Invariants: decisions rest on codes, never on message text; no variant holds a secret or a byte of a record (the
//! `detail` texts are librdkafka's own about connections, not about records).

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use strimzi_backup_format::ids::Offset;

/// A code of librdkafka (negative) or of the Kafka protocol (positive). Brokers may send codes newer than the client.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Code(i32);

/// Codes that decisions rest on; numbers as in librdkafka's `rd_kafka_resp_err_t`.
#[allow(missing_docs, reason = "the names are Kafka's own")]
impl Code {
    pub const BAD_MSG: Self = Self(-199);
    pub const BAD_COMPRESSION: Self = Self(-198);
    pub const TRANSPORT: Self = Self(-195);
    pub const RESOLVE: Self = Self(-193);
    pub const MSG_TIMED_OUT: Self = Self(-192);
    pub const PARTITION_EOF: Self = Self(-191);
    pub const UNKNOWN_PARTITION: Self = Self(-190);
    pub const UNKNOWN_TOPIC: Self = Self(-188);
    pub const ALL_BROKERS_DOWN: Self = Self(-187);
    pub const INVALID_ARG: Self = Self(-186);
    pub const TIMED_OUT: Self = Self(-185);
    pub const SSL: Self = Self(-181);
    pub const PREVIOUS_IN_PROGRESS: Self = Self(-177);
    pub const QUEUE_FULL: Self = Self(-184);
    pub const STATE: Self = Self(-172);
    pub const NO_ERROR: Self = Self(0);
    pub const WAIT_COORDINATOR: Self = Self(-180);
    pub const NOT_IMPLEMENTED: Self = Self(-170);
    pub const AUTHENTICATION: Self = Self(-169);
    pub const TIMED_OUT_QUEUE: Self = Self(-166);
    pub const NOENT: Self = Self(-156);
    pub const PURGE_QUEUE: Self = Self(-152);
    pub const PURGE_INFLIGHT: Self = Self(-151);
    pub const FATAL: Self = Self(-150);
    pub const FENCED: Self = Self(-144);
    pub const AUTO_OFFSET_RESET: Self = Self(-140);
    pub const INVALID_DIFFERENT_RECORD: Self = Self(-138);
    pub const OFFSET_OUT_OF_RANGE: Self = Self(1);
    pub const CORRUPT_MESSAGE: Self = Self(2);
    pub const UNKNOWN_TOPIC_OR_PARTITION: Self = Self(3);
    pub const LEADER_NOT_AVAILABLE: Self = Self(5);
    pub const NOT_LEADER: Self = Self(6);
    pub const REQUEST_TIMED_OUT: Self = Self(7);
    pub const BROKER_NOT_AVAILABLE: Self = Self(8);
    pub const MSG_SIZE_TOO_LARGE: Self = Self(10);
    pub const OFFSET_METADATA_TOO_LARGE: Self = Self(12);
    pub const NETWORK_EXCEPTION: Self = Self(13);
    pub const COORDINATOR_LOAD_IN_PROGRESS: Self = Self(14);
    pub const COORDINATOR_NOT_AVAILABLE: Self = Self(15);
    pub const NOT_COORDINATOR: Self = Self(16);
    pub const ILLEGAL_GENERATION: Self = Self(22);
    pub const UNKNOWN_MEMBER_ID: Self = Self(25);
    pub const REBALANCE_IN_PROGRESS: Self = Self(27);
    pub const RECORD_LIST_TOO_LARGE: Self = Self(18);
    pub const TOPIC_AUTHORIZATION_FAILED: Self = Self(29);
    pub const GROUP_AUTHORIZATION_FAILED: Self = Self(30);
    pub const CLUSTER_AUTHORIZATION_FAILED: Self = Self(31);
    pub const INVALID_TIMESTAMP: Self = Self(32);
    pub const UNSUPPORTED_SASL_MECHANISM: Self = Self(33);
    pub const ILLEGAL_SASL_STATE: Self = Self(34);
    pub const TOPIC_ALREADY_EXISTS: Self = Self(36);
    pub const INVALID_CONFIG: Self = Self(40);
    pub const NOT_CONTROLLER: Self = Self(41);
    pub const POLICY_VIOLATION: Self = Self(44);
    pub const INVALID_PRODUCER_EPOCH: Self = Self(47);
    pub const CONCURRENT_TRANSACTIONS: Self = Self(51);
    pub const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: Self = Self(53);
    pub const SASL_AUTHENTICATION_FAILED: Self = Self(58);
    pub const DELEGATION_TOKEN_AUTHORIZATION_FAILED: Self = Self(65);
    pub const NON_EMPTY_GROUP: Self = Self(68);
    pub const GROUP_ID_NOT_FOUND: Self = Self(69);
    pub const INVALID_RECORD: Self = Self(87);
    pub const PRODUCER_FENCED: Self = Self(90);
}

impl Code {
    /// Wraps the bare number.
    pub const fn new(code: i32) -> Self {
        Self(code)
    }

    /// The bare number.
    pub const fn get(self) -> i32 {
        self.0
    }

    /// Whether the topic or partition is not there (any more, or yet).
    pub const fn is_unknown(self) -> bool {
        matches!(self, Self::UNKNOWN_PARTITION | Self::UNKNOWN_TOPIC | Self::UNKNOWN_TOPIC_OR_PARTITION)
    }

    const fn is_authentication(self) -> bool {
        matches!(
            self,
            Self::AUTHENTICATION
                | Self::SASL_AUTHENTICATION_FAILED
                | Self::UNSUPPORTED_SASL_MECHANISM
                | Self::ILLEGAL_SASL_STATE
        )
    }

    pub(super) const fn is_denied(self) -> bool {
        matches!(
            self,
            Self::TOPIC_AUTHORIZATION_FAILED
                | Self::TRANSACTIONAL_ID_AUTHORIZATION_FAILED
                | Self::GROUP_AUTHORIZATION_FAILED
                | Self::CLUSTER_AUTHORIZATION_FAILED
                | Self::DELEGATION_TOKEN_AUTHORIZATION_FAILED
        )
    }

    /// Whether a newer producer has the transactional id, or the transaction is over its time.
    pub(super) const fn is_fenced(self) -> bool {
        matches!(self, Self::FENCED | Self::INVALID_PRODUCER_EPOCH | Self::PRODUCER_FENCED)
    }

    const fn is_unreachable(self) -> bool {
        matches!(
            self,
            Self::TRANSPORT
                | Self::RESOLVE
                | Self::MSG_TIMED_OUT
                | Self::ALL_BROKERS_DOWN
                | Self::TIMED_OUT
                | Self::TIMED_OUT_QUEUE
                | Self::REQUEST_TIMED_OUT
                | Self::BROKER_NOT_AVAILABLE
                | Self::NETWORK_EXCEPTION
                | Self::NOT_CONTROLLER
        )
    }

    /// Whether this is about the group coordinator. The consumer looks for one because it has a `group.id`, which
    /// assignment needs; nothing here depends on the answer, and the user need not be allowed to use any group.
    pub(super) const fn is_about_groups(self) -> bool {
        matches!(
            self,
            Self::WAIT_COORDINATOR
                | Self::COORDINATOR_LOAD_IN_PROGRESS
                | Self::COORDINATOR_NOT_AVAILABLE
                | Self::NOT_COORDINATOR
                | Self::GROUP_AUTHORIZATION_FAILED
        )
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match super::ffi::code_name(self.0) {
            Some(name) => write!(f, "{name} ({})", self.0),
            None => write!(f, "code {}", self.0),
        }
    }
}

/// A request, the connection or the client itself failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The job cannot be carried out as it is written: exit, do not retry.
    #[error("configure the Kafka client: {0}")]
    Configuration(ConfigurationFault),
    /// The brokers did not accept who we say we are. Another password may help, so watch the credential files.
    #[error("authenticate with the Kafka cluster: {code}{}", Detail(detail))]
    Authentication {
        /// librdkafka's code.
        code: Code,
        /// librdkafka's words on the connection.
        detail: String,
    },
    /// The user is known and may not do this.
    #[error("{doing}: not allowed: {code}")]
    Authorization {
        /// What was being done.
        doing: &'static str,
        /// The broker's code.
        code: Code,
    },
    /// TLS could not be agreed on: an unknown CA, an expired certificate, a wrong host name.
    #[error("speak TLS with the Kafka cluster: {code}{}", Detail(detail))]
    Tls {
        /// librdkafka's code.
        code: Code,
        /// librdkafka's words on the connection.
        detail: String,
    },
    /// No answer in time, or no connection: retry. The client reconnects by itself.
    #[error("{doing}: no answer: {code}{}", Detail(detail))]
    Unreachable {
        /// What was being done.
        doing: &'static str,
        /// librdkafka's code; [`Code::ALL_BROKERS_DOWN`] if none of the brokers can be reached.
        code: Code,
        /// librdkafka's words on the connection; empty for a request.
        detail: String,
    },
    /// The request was answered with a refusal that none of the above explains.
    #[error("{doing}: refused: {code}")]
    Refused {
        /// What was being done.
        doing: &'static str,
        /// The code of the answer.
        code: Code,
    },
    /// The client is unusable: drop it and connect anew.
    #[error("the Kafka client stopped: {code}{}", Detail(detail))]
    Fatal {
        /// librdkafka's code.
        code: Code,
        /// librdkafka's words.
        detail: String,
    },
}

/// `: text`, or nothing.
struct Detail<'a>(&'a str);

impl fmt::Display for Detail<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() { Ok(()) } else { write!(f, ": {}", self.0) }
    }
}

/// Why no client could be made of the job.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ConfigurationFault {
    /// A file that the job names cannot be read.
    #[error("read {}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        error: Arc<io::Error>,
    },
    /// A credential file is not text where text is needed.
    #[error("read {}: it is empty, not UTF-8 or holds a NUL", path.display())]
    NotText {
        /// The file.
        path: PathBuf,
    },
    /// Several files at once.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Files(Vec<ConfigurationFault>),
    /// librdkafka does not know the property. Its value may be a secret and is not told.
    #[error("there is no librdkafka property {name:?}")]
    UnknownProperty {
        /// The property.
        name: String,
    },
    /// librdkafka refuses the property's value. The value may be a secret and is not told.
    #[error("librdkafka refuses the value of property {name:?}")]
    BadProperty {
        /// The property.
        name: String,
    },
    /// The properties are each legal and no client comes of them, such as a key that does not fit its certificate.
    #[error("{0}")]
    Refused(String),
}

impl Error {
    /// Whether the same call may succeed later without anybody changing anything.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. })
    }

    /// The error of a request.
    pub(super) fn of_request(doing: &'static str, code: Code) -> Self {
        Self::sorted(doing, code, String::new())
    }

    /// The error of a connection or of the whole client.
    pub(super) fn of_client(code: Code, detail: String) -> Self {
        Self::sorted("reach the Kafka cluster", code, detail)
    }

    fn sorted(doing: &'static str, code: Code, detail: String) -> Self {
        match code {
            Code::SSL => Self::Tls { code, detail },
            Code::FATAL => Self::Fatal { code, detail },
            code if code.is_authentication() => Self::Authentication { code, detail },
            code if code.is_denied() => Self::Authorization { doing, code },
            code if code.is_unreachable() => Self::Unreachable { doing, code, detail },
            code => Self::Refused { doing, code },
        }
    }
}

/// A broker refused one topic or partition of a request; the others were answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BrokerError(pub Code);

impl BrokerError {
    /// The code of the refusal.
    pub const fn code(self) -> Code {
        self.0
    }

    /// Whether the topic or partition does not exist.
    pub const fn is_unknown(self) -> bool {
        self.0.is_unknown()
    }

    /// Whether the user may not look at it.
    pub const fn is_denied(self) -> bool {
        self.0.is_denied()
    }
}

/// Fetching one partition failed. After `OutOfRange` and `Corrupt` nothing more of it comes until it is assigned again;
/// the others may pass by themselves. Assigning it again is always allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PartitionFault {
    /// The position is not in the log, or the log was truncated below it: find out the log's start and end, and whether
    /// it is still the same topic. May come once more for an assignment that was just replaced.
    #[error("the position is outside the log, or the log was truncated")]
    OutOfRange {
        /// The offset that was asked for, where librdkafka tells.
        requested: Option<Offset>,
    },
    /// The topic or partition does not exist.
    #[error("unknown topic or partition")]
    UnknownPartition,
    /// The user may see the topic and not read it; told once, fetching goes on when allowed. Of a topic that the user may
    /// not even see nothing comes at all: `describe_topics` tells.
    #[error("not allowed to read the topic")]
    Denied,
    /// What the broker sent is not what was produced, or cannot be read: a bad checksum, compression, header or record
    /// format. librdkafka would skip the batch and go on behind it; the partition stands still instead (A49, A50).
    #[error("unreadable data at offset {at}: {code}")]
    Corrupt {
        /// Where, as far as librdkafka tells.
        at: Offset,
        /// What kind.
        code: Code,
    },
    /// Any other answer of the broker.
    #[error("fetch failed: {0}")]
    Other(Code),
}

impl PartitionFault {
    /// The fault that an error event of a partition stands for.
    pub(super) fn of(code: Code, offset: i64) -> Self {
        match code {
            Code::AUTO_OFFSET_RESET | Code::OFFSET_OUT_OF_RANGE => {
                Self::OutOfRange { requested: (offset >= 0).then_some(Offset::new(offset)) }
            }
            Code::BAD_MSG | Code::BAD_COMPRESSION | Code::CORRUPT_MESSAGE | Code::NOT_IMPLEMENTED => {
                Self::Corrupt { at: Offset::new(offset), code }
            }
            code if code.is_unknown() => Self::UnknownPartition,
            code if code.is_denied() => Self::Denied,
            code => Self::Other(code),
        }
    }

    /// Whether librdkafka would go on behind the fault, so that what follows must be dropped until the partition is
    /// assigned again. (Out of range, it stops by itself.)
    pub(super) const fn halts(self) -> bool {
        matches!(self, Self::Corrupt { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_what_the_caller_does_next() {
        let sorted = |code: Code| Error::of_request("test", code);
        assert!(matches!(sorted(Code::SASL_AUTHENTICATION_FAILED), Error::Authentication { .. }));
        assert!(matches!(sorted(Code::SSL), Error::Tls { .. }));
        assert!(matches!(sorted(Code::TOPIC_AUTHORIZATION_FAILED), Error::Authorization { .. }));
        assert!(sorted(Code::ALL_BROKERS_DOWN).is_retryable());
        assert!(!sorted(Code::new(9999)).is_retryable());
    }

    #[test]
    fn a_code_newer_than_the_client_has_a_number() {
        assert_eq!(Code::new(9999).to_string(), "code 9999");
        assert_eq!(Code::AUTO_OFFSET_RESET.to_string(), "_AUTO_OFFSET_RESET (-140)");
    }

    #[test]
    fn a49_data_that_fails_its_checksum_halts_the_partition() {
        assert!(PartitionFault::of(Code::BAD_MSG, 7).halts());
        assert!(PartitionFault::of(Code::NOT_IMPLEMENTED, 7).halts());
        assert!(!PartitionFault::of(Code::UNKNOWN_TOPIC_OR_PARTITION, 7).halts());
        assert_eq!(PartitionFault::of(Code::AUTO_OFFSET_RESET, -1001), PartitionFault::OutOfRange { requested: None });
    }
}
