//! Writing records to the target: all of a transaction, or nothing of it.
//!
//! Owns: one transactional producer, the account of what became of each record, and reading what a restore committed
//! before. Does not own: what is written where, how large a transaction is, and retries.
//!
//! ```text
//! connect ──▶ Unready ──init──▶ TransactionalProducer: begin ─▶ send … send_offsets ─▶ commit | abort
//!                                  Ledger ◀── delivery reports, on the thread that calls
//! ```
//!
//! Every call blocks: it is for a thread of its own, never for a worker of the runtime. All but commit and abort end soon
//! after the token that `connect` was given is cancelled; those end with the transaction's time at the latest.
//!
//! Invariants:
//! * A transaction is committed only if every record of it was acknowledged. librdkafka would commit without one that it
//!   refused itself.
//! * Records come byte for byte and in order: null is not empty, headers repeat, times stay as they were, also 0.
//! * What was committed is read only once no older producer can commit any more, that is, after `init`.
//! * What is queued is bounded, keys and headers included; who sends more waits.
//! * No message of a delivery report is told: librdkafka puts bytes of the record in it.

mod fault;
mod ledger;
mod progress;
mod verdict;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use strimzi_backup_format::ids::{PartitionId, TopicName};
use strimzi_backup_format::job::Cluster;
use strimzi_backup_format::record::{Record, RecordRef};
use tokio_util::sync::CancellationToken;

pub use fault::{ProducerError, Refusal};
pub use ledger::Written;
pub use progress::{CommittedOffset, GroupOffset};

use super::client_config::{self, ProducerTuning};
use super::credentials::CredentialFiles;
use super::error::{Code, ConfigurationFault, Error};
use super::ffi::{self, Outgoing, PartitionList};
use ledger::{Admission, Failure, Ledger};

/// How long one wait inside librdkafka lasts before it is looked whether the work was told to stop.
const SLICE: Duration = Duration::from_millis(200);

/// Longer than anybody waits.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 3600);

/// Records sent between two looks at what was delivered.
const SENDS_PER_POLL: u32 = 256;

/// What a record costs beside its bytes while librdkafka holds it, and what a header does.
const RECORD_OVERHEAD_BYTES: usize = 256;
const HEADER_OVERHEAD_BYTES: usize = 64;

const INIT: &str = "take over the transactional id at the target";
const BEGIN: &str = "begin a transaction at the target";
const SEND: &str = "write to the target";
const OFFSETS: &str = "write the progress of the restore to the target";
const COMMIT: &str = "commit a transaction at the target";
const ABORT: &str = "abort a transaction at the target";

/// Where the records of a committed transaction stand in their partitions.
pub type WrittenByPartition = BTreeMap<(TopicName, PartitionId), Written>;

/// A producer that has not yet taken its transactional id over.
pub struct Unready(TransactionalProducer);

impl Unready {
    /// Takes the transactional id over: what an older producer left open is aborted, and from then on it cannot commit.
    /// Waits at most `within`.
    ///
    /// # Errors
    /// [`ProducerError::Client`]: [`Error::Authorization`] where the user may not use the id, [`Error::Unreachable`]
    /// at the end of the time, [`Error::Authentication`] or [`Error::Tls`] as soon as a broker refuses the connection.
    /// [`ProducerError::Fenced`] where another took the id over meanwhile.
    pub fn init(self, within: Duration) -> Result<TransactionalProducer, ProducerError> {
        let deadline = after(within);
        let Self(producer) = self;
        producer.insist(INIT, deadline, |inner| inner.init_transactions(SLICE))?;
        producer.ledger.forget_trouble();
        Ok(producer)
    }
}

/// A producer that writes in transactions. Dropping it leaves an open transaction to the brokers, which abort it after its
/// time, or as soon as another takes the id over.
pub struct TransactionalProducer {
    inner: ffi::Producer,
    ledger: Arc<Ledger>,
    /// By name: the handle's index, and what deliveries call it.
    topics: HashMap<TopicName, (usize, usize)>,
    /// The topic sent to last. Records come in runs of one partition.
    last_topic: Option<(TopicName, (usize, usize))>,
    sends_until_poll: u32,
    /// A transaction was begun, and neither committed nor aborted.
    is_open: bool,
    queue_bytes: usize,
    transaction_timeout: Duration,
    cluster: Cluster,
    stop: CancellationToken,
}

impl TransactionalProducer {
    /// Makes the client and starts connecting; waits for no broker. Reads the credential files.
    ///
    /// # Errors
    /// [`Error::Configuration`].
    pub fn connect(
        cluster: &Cluster,
        transactional_id: &str,
        tuning: &ProducerTuning,
        stop: CancellationToken,
    ) -> Result<Unready, Error> {
        let ledger = Arc::new(Ledger::default());
        let inner = make(cluster, transactional_id, tuning, &ledger).map_err(Error::Configuration)?;
        Ok(Unready(Self {
            inner,
            ledger,
            topics: HashMap::new(),
            last_topic: None,
            sends_until_poll: SENDS_PER_POLL,
            is_open: false,
            queue_bytes: usize::try_from(tuning.queue_bytes).unwrap_or(usize::MAX),
            transaction_timeout: tuning.transaction_timeout,
            cluster: cluster.clone(),
            stop,
        }))
    }

    /// Begins a transaction. Its time begins with the first record or offset.
    ///
    /// # Errors
    /// [`ProducerError::Client`], also where one is open already; [`ProducerError::Fenced`].
    pub fn begin(&mut self) -> Result<(), ProducerError> {
        self.inner.begin_transaction().map_err(|fault| self.sorted(BEGIN, fault))?;
        self.ledger.begin();
        self.is_open = true;
        Ok(())
    }

    /// Queues a record, byte for byte. Its offset, leader epoch and kind of timestamp are the target's to give. Waits while
    /// the queue is full. That it was queued says nothing yet: commit does.
    ///
    /// # Errors
    /// The transaction can only be aborted: [`ProducerError::Refused`] also for a record sent before,
    /// [`ProducerError::Abortable`], [`ProducerError::Fenced`], [`ProducerError::Stopped`] or
    /// [`ProducerError::Client`].
    pub fn send(
        &mut self,
        topic: &TopicName,
        partition: PartitionId,
        record: &RecordRef<'_>,
    ) -> Result<(), ProducerError> {
        let outgoing = Outgoing {
            partition: partition.get(),
            timestamp: record.timestamp.get(),
            key: record.key,
            value: record.value,
            headers: record.headers.iter().map(|header| (header.key, header.value)),
            cost: 0,
        };
        self.send_outgoing(topic, outgoing)
    }

    /// [`Self::send`] for a record as a segment gives it.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_owned(
        &mut self,
        topic: &TopicName,
        partition: PartitionId,
        record: &Record,
    ) -> Result<(), ProducerError> {
        let outgoing = Outgoing {
            partition: partition.get(),
            timestamp: record.timestamp.get(),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: record.headers.iter().map(|header| (header.key.as_ref(), header.value.as_deref())),
            cost: 0,
        };
        self.send_outgoing(topic, outgoing)
    }

    fn send_outgoing<'a, H>(&mut self, topic: &TopicName, record: Outgoing<'a, H>) -> Result<(), ProducerError>
    where
        H: ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
    {
        if !self.is_open {
            return Err(Error::of_request(SEND, Code::STATE).into());
        }
        let (index, handle) = self.topic(topic)?;
        let (cost, partition) = (cost(&record), record.partition);
        let record = Outgoing { cost, ..record };
        self.poll_now_and_then();
        loop {
            self.wait_for_room(cost)?;
            let Err(code) = self.inner.produce(index, record.clone()) else { return Ok(()) };
            let code = Code::new(code);
            if code == Code::QUEUE_FULL {
                self.ledger.take_back(cost);
                self.wait(SEND)?;
                continue;
            }
            let failure = Failure { topic: handle, partition, code };
            self.ledger.fail(cost, failure);
            return Err(self.explain(SEND, failure));
        }
    }

    /// Makes offsets of a group part of the transaction; the last one for a partition counts. The group may have no
    /// members: they would not be asked.
    ///
    /// # Errors
    /// [`ProducerError::Abortable`] for a partition that the target does not have
    /// ([`Code::UNKNOWN_TOPIC_OR_PARTITION`]) and for a text that is too long ([`Code::OFFSET_METADATA_TOO_LARGE`]): these
    /// come again however often it is tried. An offset below 0, which a broker would take, is [`Error::Refused`] with
    /// [`Code::INVALID_ARG`]. Else as [`Self::send`].
    pub fn send_offsets(&mut self, group: &str, offsets: &[GroupOffset]) -> Result<(), ProducerError> {
        if offsets.iter().any(|one| one.offset.get() < 0) {
            return Err(Error::of_request(OFFSETS, Code::INVALID_ARG).into());
        }
        if offsets.is_empty() {
            return Ok(());
        }
        let mut list = PartitionList::new(self.inner.client(), offsets.len());
        for one in offsets {
            let metadata = one.metadata.as_deref().map(str::as_bytes);
            list.add_offset(one.topic.as_str(), one.partition.get(), one.offset.get(), metadata);
        }
        let deadline = after(self.transaction_timeout);
        self.insist(OFFSETS, deadline, |inner| inner.send_offsets(group, &list, SLICE * 25))
    }

    /// Waits until every record was acknowledged, and tells where they are. The transaction stays open.
    ///
    /// # Errors
    /// As [`Self::commit`] where the transaction can only be aborted.
    pub fn settle(&mut self) -> Result<WrittenByPartition, ProducerError> {
        self.acknowledged()?;
        Ok(self.named(self.ledger.written()))
    }

    /// Waits until every record was acknowledged, and commits them with the offsets. Tells where the records are. Readers of
    /// committed records see them a moment later: the brokers answer before they have told every partition.
    ///
    /// # Errors
    /// Nothing is visible, and the transaction can only be aborted, after [`ProducerError::Refused`],
    /// [`ProducerError::Abortable`], [`ProducerError::Unaccounted`] and [`ProducerError::Stopped`]. After
    /// [`ProducerError::Client`] and [`ProducerError::Fenced`] it is not known whether it was committed: after a
    /// retryable one call again; after another, or to give up, connect anew and ask [`Self::committed`].
    pub fn commit(&mut self) -> Result<WrittenByPartition, ProducerError> {
        self.acknowledged()?;
        self.inner.commit_transaction().map_err(|fault| self.sorted(COMMIT, fault))?;
        self.is_open = false;
        self.ledger.forget_trouble();
        let written = self.ledger.take_written();
        Ok(self.named(written))
    }

    fn named(&self, written: HashMap<(usize, i32), Written>) -> WrittenByPartition {
        let names: HashMap<usize, &TopicName> = self.topics.iter().map(|(name, (_, handle))| (*handle, name)).collect();
        let named = |((handle, partition), found): ((usize, i32), Written)| {
            let name = names.get(&handle).copied()?.clone();
            Some(((name, PartitionId::new(partition)), found))
        };
        written.into_iter().filter_map(named).collect()
    }

    /// Throws the transaction away: nothing of it becomes visible.
    ///
    /// # Errors
    /// [`ProducerError::Client`]: after a retryable one call again; it is [`Error::Fatal`] where the broker has nothing to
    /// abort, as after a right that was missing for the first record. [`ProducerError::Fenced`]. In either case the brokers
    /// abort it by themselves, after its time or when another producer takes the id over.
    pub fn abort(&mut self) -> Result<(), ProducerError> {
        self.inner.abort_transaction().map_err(|fault| self.sorted(ABORT, fault))?;
        self.ledger.begin();
        self.is_open = false;
        Ok(())
    }

    /// Waits until every record was acknowledged.
    fn acknowledged(&self) -> Result<(), ProducerError> {
        self.flush()?;
        let (sent, acknowledged) = self.ledger.balance();
        if sent == acknowledged { Ok(()) } else { Err(ProducerError::Unaccounted { sent, acknowledged }) }
    }

    /// Waits until no record is under way.
    fn flush(&self) -> Result<(), ProducerError> {
        while self.ledger.under_way() > 0 {
            if let Some(failure) = self.ledger.failure() {
                return Err(self.explain(COMMIT, failure));
            }
            self.check(COMMIT)?;
            self.inner.flush(SLICE);
        }
        match self.ledger.failure() {
            Some(failure) => Err(self.explain(COMMIT, failure)),
            None => Ok(()),
        }
    }

    fn wait_for_room(&self, cost: usize) -> Result<(), ProducerError> {
        loop {
            match self.ledger.admit(cost, self.queue_bytes) {
                Admission::Go => return Ok(()),
                Admission::Failed(failure) => return Err(self.explain(SEND, failure)),
                Admission::Full => self.wait(SEND)?,
            }
        }
    }

    /// Waits a moment for deliveries.
    fn wait(&self, doing: &'static str) -> Result<(), ProducerError> {
        self.inner.poll(SLICE);
        self.check(doing)
    }

    fn poll_now_and_then(&mut self) {
        self.sends_until_poll = self.sends_until_poll.saturating_sub(1);
        if self.sends_until_poll == 0 {
            self.sends_until_poll = SENDS_PER_POLL;
            self.inner.poll(Duration::ZERO);
        }
    }

    fn topic(&mut self, name: &TopicName) -> Result<(usize, usize), ProducerError> {
        if let Some((last, handle)) = &self.last_topic
            && last == name
        {
            return Ok(*handle);
        }
        let handle = match self.topics.get(name) {
            Some(handle) => *handle,
            None => {
                let made = self.inner.topic(name.as_str());
                let handle = made.map_err(|code| Error::of_request(SEND, Code::new(code)))?;
                self.topics.insert(name.clone(), handle);
                handle
            }
        };
        self.last_topic = Some((name.clone(), handle));
        Ok(handle)
    }
}

/// What a record takes of the queue, in bytes.
fn cost<'a, H>(record: &Outgoing<'a, H>) -> usize
where
    H: Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone,
{
    let size = |bytes: Option<&[u8]>| bytes.map_or(0, <[u8]>::len);
    let of_header = |(key, value): (&[u8], Option<&[u8]>)| key.len() + size(value) + HEADER_OVERHEAD_BYTES;
    let headers: usize = record.headers.clone().map(of_header).sum();
    size(record.key) + size(record.value) + headers + RECORD_OVERHEAD_BYTES
}

fn make(
    cluster: &Cluster,
    transactional_id: &str,
    tuning: &ProducerTuning,
    ledger: &Arc<Ledger>,
) -> Result<ffi::Producer, ConfigurationFault> {
    let (_, credentials) = CredentialFiles::read(cluster)?;
    let properties = client_config::producer_properties(cluster, &credentials, transactional_id, tuning);
    let conf = super::conf_of(properties)?;
    ffi::Producer::new(conf, super::refresh_token(cluster), ledger.clone()).map_err(ConfigurationFault::Refused)
}

/// The moment when a time is over; no time is so long that the clock ends before it.
fn after(within: Duration) -> Instant {
    Instant::now() + within.min(FOR_EVER)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_producer_may_be_handed_to_a_thread_of_its_own() {
        fn is_send<T: Send>() {}
        is_send::<TransactionalProducer>();
        is_send::<Unready>();
    }

    #[test]
    fn librdkafka_takes_every_property_at_the_edges_of_tuning() {
        let cluster = Cluster {
            bootstrap_servers: "localhost:1".to_owned(),
            tls: None,
            authentication: None,
            properties: BTreeMap::new(),
        };
        let all = |bytes, time| ProducerTuning {
            queue_bytes: bytes,
            batch_bytes: bytes,
            record_bytes: bytes,
            linger: time,
            transaction_timeout: time,
        };
        for tuning in [ProducerTuning::default(), all(0, Duration::ZERO), all(u64::MAX, Duration::MAX)] {
            let made = TransactionalProducer::connect(&cluster, "id", &tuning, CancellationToken::new());
            assert!(made.is_ok(), "{:?}", made.err());
        }
    }
}
