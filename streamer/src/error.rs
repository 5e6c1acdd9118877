//! How a command ends when it does not end well, and with which exit code.

pub use strimzi_backup_format::errors::chain;
use strimzi_backup_format::identity::Mismatch;
use strimzi_backup_format::ids::{Sequence, TimestampMs, TopicName};
use strimzi_backup_format::job::{Cluster, JobFaults};
use strimzi_backup_format::manifest::{log, reader};
use strimzi_backup_format::snapshot::catalog;
use strimzi_backup_format::store::probe::ProbeError;
use strimzi_backup_format::store::{OpenError, Store};

use crate::restore::DocumentError;

/// The exit codes, as `--help` and the README document them.
pub mod exit {
    /// Done.
    pub const DONE: u8 = 0;
    /// Failed.
    pub const FAILED: u8 = 1;
    /// Bad configuration or usage, a master key that does not open the backup, or a store that a backup must not be kept in; no
    /// backup was touched.
    pub const USAGE: u8 = 2;
    /// Another writer has taken the backup over.
    pub const FENCED: u8 = 3;
    /// The backup is damaged, is not this job's, or was written by a newer release.
    pub const DAMAGED: u8 = 4;
}

/// Why a command ended.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The job document has faults.
    #[error(transparent)]
    Job(#[from] JobFaults),
    /// A document cannot be read.
    #[error("read the {document} {path}")]
    ReadDocument {
        /// Which one.
        document: &'static str,
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
    Open(OpenError),
    /// The store does not give or take what a command needs.
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
    /// An encrypted backup is not opened, or one in the clear must not be.
    #[error(transparent)]
    Keys(#[from] crate::keys::KeysError),
    /// There is no backup.
    #[error("there is no backup under {0}; check storage in the job document, or start `strimzi-backup stream` first")]
    NoBackup(String),
    /// A snapshot cannot be made or read.
    #[error(transparent)]
    Snapshot(#[from] catalog::Error),
    /// What was stored of consumer groups cannot be read.
    #[error(transparent)]
    Groups(#[from] strimzi_backup_format::groups::at::Error),
    /// What consumer groups had committed at a moment is not held.
    #[error(transparent)]
    NoGroups(#[from] strimzi_backup_format::groups::at::Incomplete),
    /// Nobody commits what a snapshot could name.
    #[error(
        "no commit came within {} after {}, when the snapshot was asked for; {newest}; {}", humantime::format_duration(*timeout),
        asked.to_rfc3339(), no_commit_way_out(*came)
    )]
    NoCommit {
        /// When it was asked for.
        asked: TimestampMs,
        /// How long it was waited for.
        timeout: std::time::Duration,
        /// The newest manifest, for people.
        newest: String,
        /// How many manifests came that say that they are older.
        came: usize,
    },
    /// A snapshot was held up so long between its boundary and its creation that it may lack something.
    #[error(
        "{object} was created too late: what came behind its boundary, manifest {boundary}, was refined by manifest {refined} before \
         it was there; in compacted topics newer records may have taken the place of some that it ends with, and a restore to it \
         would lack their keys; delete that object and take another snapshot"
    )]
    LateSnapshot {
        /// The snapshot's object.
        object: String,
        /// The manifest that it is.
        boundary: Sequence,
        /// The manifest that came before its creation.
        refined: Sequence,
    },
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
    /// The brokers do not tell topics' lives apart.
    #[error(
        "the brokers give topic {0} no id, so that a topic that is created anew cannot be told from the one before; use \
         brokers with topic ids (KIP-516: Kafka 2.8, with ZooKeeper also inter.broker.protocol.version 2.8)"
    )]
    NoTopicId(TopicName),
    /// Records could not be encoded.
    #[error("encode a segment")]
    Encode(#[from] strimzi_backup_format::segment::Error),
    /// Told to stop, and the store did not take the last records in time.
    #[error("stopped before the store took what was fetched last; nothing is lost, the next start fetches it again")]
    StoppedEarly,
    /// A topic that must be read may not be.
    #[error("the broker does not let this user read the topic {topic}; allow it, or exclude the topic")]
    Denied {
        /// The topic.
        topic: TopicName,
    },
    /// A thread that must run as long as the process is gone.
    #[error("the thread {name} ended by itself: {why}")]
    ThreadEnded {
        /// Its name.
        name: &'static str,
        /// What it said last.
        why: String,
    },
    /// Several things at once, each of which must be put right.
    #[error("{} faults: {}", .0.len(), .0.iter().map(|error| chain(error)).collect::<Vec<_>>().join("; "))]
    Several(Vec<Error>),
    /// A port or a file of this machine.
    #[error("{what}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A restore did not end well.
    #[error(transparent)]
    Restore(#[from] crate::restore::RestoreError),
    /// What a restore keeps in the store cannot be kept or read.
    #[error(transparent)]
    RestoreDocument(#[from] DocumentError),
    /// `restores` lists some that it cannot read.
    #[error(
        "what {0} restore(s) kept cannot be read: damaged, or of a newer release; the list says of each what to do"
    )]
    UnreadableRestores(usize),
    /// The store does not give an object.
    #[error("read {object}")]
    Store {
        /// The object.
        object: String,
        /// What the store said.
        source: object_store::Error,
    },
    /// A segment is not what was written.
    #[error("{object} is damaged")]
    Segment {
        /// The object.
        object: String,
        /// How.
        source: strimzi_backup_format::segment::Error,
    },
    /// The store does not list what lies in it.
    #[error(transparent)]
    NoListing(strimzi_backup_format::store::StoreError),
    /// Nothing was pruned.
    #[error(transparent)]
    Prune(#[from] crate::prune::PruneError),
    /// A backup was not deleted, or not whole.
    #[error(transparent)]
    Destroy(#[from] crate::destroy::DestroyError),
    /// `verify` has findings.
    #[error("{0} findings: the backup is damaged")]
    Findings(usize),
}

impl Error {
    /// Faults as one; of a single one, that.
    pub fn together(mut faults: Vec<Self>) -> Self {
        if faults.len() == 1 { faults.remove(0) } else { Self::Several(faults) }
    }

    /// Names the cluster where no more is said than that it does not answer.
    #[must_use]
    pub fn of_cluster(self, cluster: &Cluster) -> Self {
        match self {
            Self::Kafka(source @ crate::kafka::Error::Unreachable { .. }) => {
                Self::NoBroker { servers: cluster.bootstrap_servers.clone(), source }
            }
            other => other,
        }
    }

    /// Names the store, and what to check, where no more is said than that it does not give or take an object.
    #[must_use]
    pub fn of_store(self, store: &Store) -> Self {
        let is_of_store = match &self {
            Self::Read(error) => error.is_retryable(),
            Self::Log(error) => error.is_retryable(),
            Self::Groups(error) => error.is_retryable(),
            Self::Snapshot(error) => error.is_retryable(),
            Self::Keys(error) => error.store_kind().is_some(),
            Self::NoListing(_) | Self::Store { .. } | Self::RestoreDocument(DocumentError::Store { .. }) => true,
            _ => false,
        };
        if is_of_store { Self::NoStore { store: store.description.clone(), source: Box::new(self) } } else { self }
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Job(_) | Self::ReadDocument { .. } | Self::Usage(_) | Self::Open(_) => exit::USAGE,
            Self::Kafka(crate::kafka::Error::Configuration(_)) | Self::Several(_) => exit::USAGE,
            // Another store is needed: trying again would end the same.
            Self::Probe(ProbeError::IgnoresCreate { .. } | ProbeError::Unsupported { .. }) => exit::USAGE,
            Self::Log(log::Error::Fenced { .. } | log::Error::Rotated { .. }) => exit::FENCED,
            Self::Log(log::Error::Corrupt { .. }) | Self::Foreign(_) => exit::DAMAGED,
            Self::Keys(error) => error.exit_code(),
            Self::Segment { .. } => exit::DAMAGED,
            Self::Vanished { .. } | Self::Findings(_) | Self::UnreadableRestores(_) => exit::DAMAGED,
            Self::Snapshot(catalog::Error::Unknown { .. } | catalog::Error::Exists { .. }) => exit::USAGE,
            Self::Snapshot(error) if error.is_damage() => exit::DAMAGED,
            Self::Read(error) if error.is_damage() => exit::DAMAGED,
            Self::Groups(error) if error.is_damage() => exit::DAMAGED,
            Self::Prune(error) if error.is_damage() => exit::DAMAGED,
            Self::Destroy(crate::destroy::DestroyError::Another { .. }) => exit::DAMAGED,
            Self::Restore(error) => error.exit_code(),
            Self::RestoreDocument(DocumentError::Unreadable { .. }) => exit::DAMAGED,
            _ => exit::FAILED,
        }
    }
}

/// What to look at where no commit came that is late enough.
fn no_commit_way_out(came: usize) -> String {
    if came == 0 {
        return "is the streamer running? Look at its log, its /readyz and `strimzi-backup inspect`; if it is, and slow, raise \
                --timeout"
            .to_owned();
    }
    format!(
        "{came} came meanwhile and say that they are older, so the streamer's clock is behind this one: set them right, or \
         raise --timeout"
    )
}

impl From<OpenError> for Error {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Missing { path } => Self::NoBackup(format!("file://{}", path.display())),
            other => Self::Open(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use strimzi_backup_format::manifest::invariants::Violation;

    use super::*;

    #[test]
    fn a_fault_of_the_program_is_no_damage_to_the_backup() {
        let violation = Violation::Sequence { found: Sequence::FIRST, wanted: Sequence::FIRST };
        let error = Error::Log(log::Error::Violation(violation));
        assert_eq!(error.exit_code(), exit::FAILED);
        assert!(chain(&error).starts_with("a fault of this program"), "{}", chain(&error));
    }

    #[test]
    fn a34_a_backup_key_that_was_made_meanwhile_is_no_damage_and_worth_another_start() {
        let rotated = || reader::Error::Rotated { object: "manifests/0000/7.json.zst".to_owned(), number: 1 };
        let unread = || crate::retire::Error::Log(rotated());
        for error in [
            Error::from(rotated()),
            catalog::Error::from(rotated()).into(),
            strimzi_backup_format::groups::at::Error::from(rotated()).into(),
            crate::prune::PruneError::from(unread()).into(),
        ] {
            let told = chain(&error);
            assert_eq!(error.exit_code(), exit::FAILED, "{told}");
            assert!(told.contains("sealed by backup key 1") && told.contains("start again"), "{told}");
        }
    }

    #[test]
    fn a_cluster_that_does_not_answer_is_told_with_its_address_and_the_way_out() {
        use crate::kafka::{Code, Error as KafkaError};
        let cluster = Cluster {
            bootstrap_servers: "nobody:9092".to_owned(),
            tls: None,
            authentication: None,
            properties: std::collections::BTreeMap::new(),
        };
        let (doing, detail) = ("read the cluster id", String::new());
        let error = Error::from(KafkaError::Unreachable { doing, code: Code::TIMED_OUT, detail }).of_cluster(&cluster);
        assert_eq!(error.exit_code(), exit::FAILED);
        let told = chain(&error);
        assert!(
            told.contains("nobody:9092 does not answer; check the address") && told.contains("TIMED_OUT"),
            "{told}"
        );
        let refused = Error::from(KafkaError::Refused { doing, code: Code::TIMED_OUT }).of_cluster(&cluster);
        assert!(matches!(refused, Error::Kafka(_)), "what is answered says itself what it is: {refused}");
    }

    #[test]
    fn a_store_that_does_not_answer_is_told_with_its_name_and_the_way_out() {
        let store = Store { description: "s3://backup/x".to_owned(), ..Store::memory() };
        let object = "backup.json".to_owned();
        let source = object_store::Error::Generic { store: "S3", source: "connection refused".into() };
        let error = Error::from(reader::Error::Store { object: object.clone(), source }).of_store(&store);
        assert_eq!(error.exit_code(), exit::FAILED);
        let told = chain(&error);
        for words in ["s3://backup/x cannot be used; check", "credentials", "read backup.json", "connection refused"] {
            assert!(told.contains(words), "{words:?} is not in {told}");
        }
        let missing = reader::Error::Missing { object, witness: "a manifest".to_owned() };
        let error = Error::from(missing).of_store(&store);
        assert!(matches!(error, Error::Read(_)) && error.exit_code() == exit::DAMAGED, "{error}");
    }

    #[test]
    fn a_directory_that_is_not_there_holds_no_backup() {
        let error = Error::from(OpenError::Missing { path: "/no/where".into() });
        assert!(matches!(&error, Error::NoBackup(place) if place == "file:///no/where"), "{error}");
    }
}
