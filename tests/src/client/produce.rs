//! Producing records, plain or in transactions.

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use rdkafka::ClientContext;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, Producer as _, ProducerContext};

use super::{Header, KafkaClient, raw};

const TIMEOUT: Duration = Duration::from_secs(60);

/// A record to produce. Null and empty are different; without a partition the key decides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Record {
    /// The partition, or `None` to let the producer choose.
    pub partition: Option<i32>,
    /// Milliseconds since 1970, or `None` for now. librdkafka cannot produce 0: it takes that for now.
    pub timestamp: Option<i64>,
    /// The key; `None` is null.
    pub key: Option<Vec<u8>>,
    /// The value; `None` is null.
    pub value: Option<Vec<u8>>,
    /// The headers in order; keys may repeat and need not be UTF-8.
    pub headers: Vec<Header>,
}

impl Record {
    /// A record with a key and a value.
    pub fn new(key: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Record {
        Record { key: Some(key.into()), value: Some(value.into()), ..Record::default() }
    }

    /// A record with a value and a null key.
    pub fn value(value: impl Into<Vec<u8>>) -> Record {
        Record { value: Some(value.into()), ..Record::default() }
    }

    /// A record with a key and a null value.
    pub fn tombstone(key: impl Into<Vec<u8>>) -> Record {
        Record { key: Some(key.into()), ..Record::default() }
    }

    /// Sets the partition.
    #[must_use]
    pub fn partition(mut self, partition: i32) -> Record {
        self.partition = Some(partition);
        self
    }

    /// Sets the timestamp.
    #[must_use]
    pub fn timestamp(mut self, timestamp: i64) -> Record {
        self.timestamp = Some(timestamp);
        self
    }

    /// Appends a header.
    #[must_use]
    pub fn header(mut self, key: impl Into<Vec<u8>>, value: Option<&[u8]>) -> Record {
        self.headers.push((key.into(), value.map(<[u8]>::to_vec)));
        self
    }
}

/// Collects what became of each record.
#[derive(Debug, Default)]
pub(super) struct Deliveries {
    done: Mutex<Vec<Result<(i32, i64), String>>>,
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let result = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.to_string()),
        };
        if let Ok(mut done) = self.done.lock() {
            done.push(result);
        }
    }
}

/// A producer.
pub struct Producer {
    inner: BaseProducer<Deliveries>,
}

impl Producer {
    /// Queues a record; waits for room when the queue is full.
    pub fn send(&self, topic: &str, record: &Record) -> Result<()> {
        while !raw::produce(&self.inner, topic, record)? {
            self.inner.poll(Duration::from_millis(50));
        }
        self.inner.poll(Duration::ZERO);
        Ok(())
    }

    /// Waits for all queued records. Returns partition and offset of each record delivered since the last call, in
    /// the order of delivery (within a partition that of sending); fails if one was not delivered.
    pub fn flush(&self) -> Result<Vec<(i32, i64)>> {
        self.inner.flush(TIMEOUT).context("flush a producer")?;
        let done = self.inner.context().done.lock().map(|mut done| std::mem::take(&mut *done));
        let done = done.map_err(|_| anyhow!("a delivery callback panicked"))?;
        done.into_iter().map(|result| result.map_err(|error| anyhow!("a record was not delivered: {error}"))).collect()
    }

    /// Begins a transaction.
    pub fn begin(&self) -> Result<()> {
        self.inner.begin_transaction().context("begin a transaction")
    }

    /// Commits the transaction.
    pub fn commit(&self) -> Result<()> {
        self.flush()?;
        self.inner.commit_transaction(TIMEOUT).context("commit a transaction")
    }

    /// Aborts the transaction. Its records are on the broker: they are sent before.
    pub fn abort(&self) -> Result<()> {
        self.flush()?;
        self.inner.abort_transaction(TIMEOUT).context("abort a transaction")
    }
}

impl KafkaClient {
    /// An idempotent producer, so that order survives retries.
    pub fn producer(&self) -> Result<Producer> {
        let inner = self
            .config()
            .set("enable.idempotence", "true")
            .set("linger.ms", "1")
            .create_with_context(Deliveries::default())
            .context("make a producer")?;
        Ok(Producer { inner })
    }

    /// A transactional producer, initialised.
    pub fn transactional_producer(&self, transactional_id: &str) -> Result<Producer> {
        let client = self.clone().property("transactional.id", transactional_id);
        // The default of 100 ms makes each small transaction that long.
        let producer = client.property("retry.backoff.ms", "5").producer()?;
        producer.inner.init_transactions(TIMEOUT).context("initialise transactions")?;
        Ok(producer)
    }

    /// Produces records and returns partition and offset of each, in the order of delivery.
    pub fn produce(&self, topic: &str, records: &[Record]) -> Result<Vec<(i32, i64)>> {
        let producer = self.producer()?;
        for record in records {
            producer.send(topic, record)?;
        }
        let delivered = producer.flush()?;
        if delivered.len() != records.len() {
            bail!("{} of {} records were delivered", delivered.len(), records.len());
        }
        Ok(delivered)
    }
}
