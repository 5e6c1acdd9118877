//! A Kafka cluster as the streamer sees it: partitions to fetch, records that come, questions about topics and offsets;
//! and as a restore does: records to write, topics to make and change.
//!
//! Owns: librdkafka's clients, their configuration, their secrets' files, and the types of what comes and what fails. It
//! is the streamer's only user of rdkafka. Does not own: which topics, from where, and what a fault means to a backup.
//!
//! ```text
//! job::Cluster ──credentials──▶ client_config ──▶ ffi::Client ──▶ consumer (assign, poll)   one polling thread
//!                                   │                 │     ├───▶ admin (questions)         tokio's blocking pool
//!                                   │                 │     └───▶ target, groups (changes), rights  tokio's blocking pool
//!                                   └──▶ producer (transactions)   a thread of its own
//!                                 context ◀── logs, tokens, on librdkafka's own threads
//! ```
//!
//! Invariants: no group is joined, and nothing is written to a cluster but by `target`, `groups` and `producer`, which backups do
//! not use; only committed records are delivered; no log line or error holds a secret or a byte of a record; nothing
//! depends on being polled in time, so the caller applies back-pressure by not polling.

mod admin;
mod client_config;
mod consumer;
mod context;
mod credentials;
mod error;
mod ffi;
mod groups;
mod producer;
mod rights;
mod target;

use std::sync::Arc;
use std::time::Duration;

use strimzi_backup_format::ids::{PartitionId, TopicName};
use strimzi_backup_format::job::{Authentication, Cluster};

pub use admin::{OffsetSpec, PartitionDescription, TopicDescription, TopicSettings};
pub use client_config::{ProducerTuning, Tuning};
pub use consumer::{Assignment, Sink};
pub use error::{BrokerError, Code, ConfigurationFault, Error, PartitionFault};
pub use groups::{Group, Offsets};
pub use producer::{
    CommittedOffset, GroupOffset, ProducerError, Refusal, TransactionalProducer, Unready, Written, WrittenByPartition,
};
pub use rights::{Operation, Rights};
pub use target::{NewTopic, TargetError, TargetPartition, TargetTopic};

use consumer::Consumer;
use credentials::CredentialFiles;
use ffi::{Client, Conf, PropertyFault};

/// A connection to a cluster. Clones share it; the last one to go ends it.
#[derive(Clone)]
pub struct Kafka {
    inner: Arc<Inner>,
}

struct Inner {
    client: Client,
    consumer: Consumer,
    credential_files: CredentialFiles,
}

impl Kafka {
    /// Makes the client and starts connecting; waits for no broker. Reads the credential files.
    ///
    /// # Errors
    /// [`Error::Configuration`] if files cannot be read, all of them at once, or librdkafka does not take the job's
    /// properties.
    pub fn connect(cluster: &Cluster, tuning: &Tuning) -> Result<Self, Error> {
        Self::make(cluster, tuning).map_err(Error::Configuration)
    }

    fn make(cluster: &Cluster, tuning: &Tuning) -> Result<Self, ConfigurationFault> {
        let (credential_files, credentials) = CredentialFiles::read(cluster)?;
        let conf = conf_of(client_config::properties(cluster, &credentials, tuning))?;
        let client = conf.into_client(refresh_token(cluster)).map_err(ConfigurationFault::Refused)?;
        Ok(Self { inner: Arc::new(Inner { client, consumer: Consumer::default(), credential_files }) })
    }

    /// Whether the files with passwords, keys and certificates hold something else than when this connection was made:
    /// then connect anew and assign at the positions reached. Bearer tokens are not among them; they are read again by
    /// themselves. Reads the files.
    pub fn credentials_changed(&self) -> bool {
        self.inner.credential_files.changed()
    }

    /// [`Error::Fatal`], where the client stopped for good: then connect anew.
    pub fn fatal_error(&self) -> Option<Error> {
        let (code, detail) = self.inner.client.fatal_error()?;
        Some(Error::Fatal { code: Code::new(code), detail })
    }

    /// Fetches the partitions from their offsets. One that is assigned already starts anew, and nothing of its earlier
    /// assignment is delivered any more; others are not disturbed. Waits for a running sink call, not for brokers. That a
    /// partition does not exist is told later, as [`PartitionFault::UnknownPartition`].
    ///
    /// # Errors
    /// [`Error::Fatal`], or [`Error::Refused`] for an offset below 0 or a partition named twice. The partitions are then
    /// not assigned.
    pub fn assign(&self, partitions: &[Assignment]) -> Result<(), Error> {
        self.inner.consumer.assign(&self.inner.client, partitions)
    }

    /// Stops fetching the partitions; nothing of them is delivered any more. Those not assigned are passed over.
    ///
    /// # Errors
    /// [`Error::Fatal`]; [`Error::Refused`] for a partition named twice.
    pub fn unassign(&self, partitions: &[(TopicName, PartitionId)]) -> Result<(), Error> {
        self.inner.consumer.unassign(&self.inner.client, partitions)
    }

    /// Gives up to `max_events` events to the sink, waiting at most `timeout` for the first; returns how many there
    /// were. To be called from one thread, in a loop. Returns early, also with 0, when an assignment waits.
    pub fn poll(&self, timeout: Duration, max_events: usize, sink: &mut impl Sink) -> usize {
        self.inner.consumer.poll(&self.inner.client, timeout, max_events, sink)
    }
}

/// The properties as librdkafka takes them.
fn conf_of(properties: Vec<client_config::Property>) -> Result<Conf, ConfigurationFault> {
    let mut conf = Conf::new();
    for (name, value) in properties {
        conf.set(&name, &value).map_err(|fault| match fault {
            PropertyFault::Unknown => ConfigurationFault::UnknownProperty { name },
            PropertyFault::Invalid => ConfigurationFault::BadProperty { name },
        })?;
    }
    Ok(conf)
}

/// Where fresh tokens come from, if the cluster wants some.
fn refresh_token(cluster: &Cluster) -> Option<ffi::RefreshToken> {
    match &cluster.authentication {
        Some(Authentication::OauthBearer { token_file }) => Some(context::token_from_file(token_file.clone())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_that_stopped_for_good_says_so() {
        let cluster = Cluster {
            bootstrap_servers: "localhost:1".to_owned(),
            tls: None,
            authentication: None,
            properties: std::collections::BTreeMap::new(),
        };
        let tuning = Tuning {
            queue_bytes: 1 << 20,
            fetch_wait: Duration::from_millis(100),
            fetch_min_bytes: 1,
            metadata_interval: Duration::from_secs(1),
        };
        let kafka = Kafka::connect(&cluster, &tuning).expect("a client");
        assert!(kafka.fatal_error().is_none());
        kafka.inner.client.fail_for_good();
        assert!(matches!(kafka.fatal_error(), Some(Error::Fatal { .. })));
    }
}
