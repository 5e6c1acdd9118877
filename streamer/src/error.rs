//! How a command ends when it does not end well, and with which exit code.

use strimzi_backup_format::identity::Mismatch;
use strimzi_backup_format::job::JobFaults;
use strimzi_backup_format::ids::TopicName;
use strimzi_backup_format::manifest::{log, reader};
use strimzi_backup_format::store::OpenError;
use strimzi_backup_format::store::probe::ProbeError;

/// The exit codes, as `--help` and the README document them.
pub mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// Failed.
    pub const FAILED: u8 = 1;
    /// Bad configuration or usage; nothing was touched.
    pub const USAGE: u8 = 2;
    /// Another writer has taken the backup over.
    pub const FENCED: u8 = 3;
    /// The backup is damaged, or is not this job's.
    pub const DAMAGED: u8 = 4;
}

/// Why a command ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The job document has faults.
    #[error(transparent)]
    Job(#[from] JobFaults),
    /// The job document cannot be read.
    #[error("read the job document {path}")]
    ReadJob {
        /// Its path.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// An argument is not usable.
    #[error("{0}")]
    Usage(String),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The store does not let the start through.
    #[error("the store {store} cannot be used; check its name, its endpoint, and what its credentials allow")]
    NoStore {
        /// The store.
        store: String,
        /// What it said.
        source: Box<Error>,
    },
    /// The store does not do what a backup needs.
    #[error(transparent)]
    Probe(#[from] ProbeError),
    /// The Kafka client cannot be set up, or the broker refuses it.
    #[error(transparent)]
    Kafka(#[from] crate::kafka::Error),
    /// The broker does not answer.
    #[error(
        "the Kafka cluster at {servers} does not answer; check the address, the network and the listener's security"
    )]
    NoBroker {
        /// The bootstrap servers.
        servers: String,
        /// What the client said.
        source: crate::kafka::Error,
    },
    /// The backup's log cannot be read.
    #[error(transparent)]
    Read(#[from] reader::Error),
    /// The backup's log cannot be written.
    #[error(transparent)]
    Log(#[from] log::Error),
    /// The prefix holds another backup.
    #[error(transparent)]
    Foreign(#[from] Mismatch),
    /// There is no backup.
    #[error("there is no backup under {0}; check storage in the job document, or start `strimzi-backup stream` first")]
    NoBackup(String),
    /// The prefix was emptied or exchanged while streaming.
    #[error(
        "{object} is gone or changed while streaming; the bucket was deleted, emptied or exchanged: nothing more is written"
    )]
    Vanished {
        /// The object that must be there.
        object: String,
    },
    /// Another writer claimed the log at the same moment.
    #[error("another writer claimed the log at the same moment")]
    Raced,
    /// Records could not be encoded.
    /// The brokers do not tell topics' lives apart.
    #[error(
        "the brokers give topic {0} no id, so that a topic that is created anew cannot be told from the one before; use \
         brokers with topic ids (KIP-516: Kafka 2.8, with ZooKeeper also inter.broker.protocol.version 2.8)"
    )]
    NoTopicId(TopicName),
    #[error("encode a segment")]
    Encode(#[from] strimzi_backup_format::segment::Error),
    /// Told to stop, and the store did not take the last records in time.
    #[error("stopped before the store took what was fetched last; nothing is lost, the next start fetches it again")]
    StoppedEarly,
    /// A port or a file of this machine.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// `verify` has findings.
    #[error("{0} findings: the backup is damaged")]
    Findings(usize),
}

impl Error {
    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Job(_) | Self::ReadJob { .. } | Self::Usage(_) | Self::Open(_) => exit::USAGE,
            Self::Kafka(crate::kafka::Error::Configuration(_)) => exit::USAGE,
            Self::Log(log::Error::Fenced { .. }) => exit::FENCED,
            Self::Log(log::Error::Corrupt { .. } | log::Error::Violation(_)) | Self::Foreign(_) => exit::DAMAGED,
            Self::Vanished { .. } | Self::Findings(_) => exit::DAMAGED,
            Self::Read(error) if !error.is_retryable() => exit::DAMAGED,
            _ => exit::FAILED,
        }
    }
}

/// An error with its causes, on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(source) = cause {
        let next = source.to_string();
        if !text.ends_with(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = source.source();
    }
    text
}
