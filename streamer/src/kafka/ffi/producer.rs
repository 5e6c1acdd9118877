//! A producer: topic handles, records on their way, the calls of a transaction.

use std::ffi::{c_int, c_void};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rd;

use super::{Client, Conf, PartitionList, RefreshToken, Reports, c_string, epoch, error_code, millis};

/// librdkafka's "as long as the transaction may still last", which it recommends for commit and abort: with any other
/// limit its state may part from the broker's.
const REST_OF_TRANSACTION: c_int = -1;

/// Why a call of a transaction failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TransactionFault {
    /// The code.
    pub(crate) code: i32,
    /// The producer is of no use any more.
    pub(crate) is_fatal: bool,
    /// The same call may succeed.
    pub(crate) is_retriable: bool,
    /// The transaction can only be aborted.
    pub(crate) requires_abort: bool,
}

/// A record to be produced. Null is not empty.
#[derive(Clone)]
pub(crate) struct Outgoing<'a, H> {
    pub(crate) partition: i32,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    /// Keys and values, in order.
    pub(crate) headers: H,
    /// Comes back with the delivery; below 2^62.
    pub(crate) cost: usize,
}

/// A running producer.
pub(crate) struct Producer {
    client: Client,
    /// Released before the client.
    topics: Vec<NonNull<rd::rd_kafka_topic_t>>,
}

// SAFETY: topic handles may be used by any thread, as the client; they are released once, by `drop`.
unsafe impl Send for Producer {}

impl Producer {
    /// Makes a producer of the properties and starts its threads. Waits for no broker.
    ///
    /// # Errors
    /// librdkafka's explanation of what does not fit together.
    pub(crate) fn new(
        conf: Conf,
        refresh_token: Option<RefreshToken>,
        reports: Arc<dyn Reports>,
    ) -> Result<Self, String> {
        Ok(Self { client: conf.into_producer(refresh_token, reports)?, topics: Vec::new() })
    }

    /// The client, for its fatal error.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// A handle on a topic: its index here, and what deliveries call it. To be asked for once per topic.
    ///
    /// # Errors
    /// librdkafka's code.
    pub(crate) fn topic(&mut self, name: &str) -> Result<(usize, usize), i32> {
        let name = c_string(name);
        // SAFETY: the client is alive and the name is copied; the handle is ours, released in `drop`.
        let topic = unsafe { rd::rd_kafka_topic_new(self.client.as_ptr(), name.as_ptr(), std::ptr::null_mut()) };
        let topic = NonNull::new(topic).ok_or_else(last_error)?;
        self.topics.push(topic);
        Ok((self.topics.len() - 1, topic.as_ptr() as usize))
    }

    /// Queues a record; copies it. Waits for nothing.
    ///
    /// # Errors
    /// librdkafka's code; the record is then not queued.
    pub(crate) fn produce<'a, H>(&self, topic: usize, record: Outgoing<'a, H>) -> Result<(), i32>
    where
        H: ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)>,
    {
        use rd::rd_kafka_vtype_t as kind;
        let Some(topic) = self.topics.get(topic) else { return Err(INVALID_ARG) };
        let headers = if record.headers.len() == 0 { None } else { Some(HeaderList::of(record.headers)) };
        let list = headers.as_ref().map_or(std::ptr::null_mut(), |headers| headers.0.as_ptr());
        let arguments = [
            argument(kind::RD_KAFKA_VTYPE_RKT, Value { rkt: topic.as_ptr() }),
            argument(kind::RD_KAFKA_VTYPE_PARTITION, Value { i32_: record.partition }),
            argument(kind::RD_KAFKA_VTYPE_MSGFLAGS, Value { i: rd::RD_KAFKA_MSG_F_COPY }),
            argument(kind::RD_KAFKA_VTYPE_KEY, bytes(record.key)),
            argument(kind::RD_KAFKA_VTYPE_VALUE, bytes(record.value)),
            argument(kind::RD_KAFKA_VTYPE_TIMESTAMP, Value { i64_: epoch::stand_in(record.timestamp) }),
            argument(kind::RD_KAFKA_VTYPE_OPAQUE, Value { ptr: epoch::tag(record.cost, record.timestamp) }),
            argument(kind::RD_KAFKA_VTYPE_HEADERS, Value { headers: list }),
        ];
        // SAFETY: client and topic are alive; each argument's union field is the one its type asks for; the bytes live
        // until the call returns and are copied by it. Headers go over to librdkafka unless the call fails.
        let code = unsafe {
            super::take_error(rd::rd_kafka_produceva(self.client.as_ptr(), arguments.as_ptr(), arguments.len()))
        };
        if code != 0 {
            return Err(code);
        }
        std::mem::forget(headers);
        Ok(())
    }

    /// Gives what was delivered to the reports, waiting at most `timeout` for the first.
    pub(crate) fn poll(&self, timeout: Duration) {
        // SAFETY: the client is alive.
        unsafe { rd::rd_kafka_poll(self.client.as_ptr(), millis(timeout)) };
    }

    /// Sends what is queued without lingering and gives deliveries to the reports, for at most `timeout`.
    pub(crate) fn flush(&self, timeout: Duration) {
        // SAFETY: the client is alive. The only error is that records are left, which the reports tell.
        unsafe { rd::rd_kafka_flush(self.client.as_ptr(), millis(timeout)) };
    }

    /// Takes the transactional id over, which ends what an older producer left open. May be called again after a fault
    /// that is retriable.
    pub(crate) fn init_transactions(&self, timeout: Duration) -> Result<(), TransactionFault> {
        // SAFETY: the client is alive; the error is ours.
        unsafe { outcome(rd::rd_kafka_init_transactions(self.client.as_ptr(), millis(timeout))) }
    }

    /// Begins a transaction; the broker learns of it with the first record.
    pub(crate) fn begin_transaction(&self) -> Result<(), TransactionFault> {
        // SAFETY: the client is alive; the error is ours.
        unsafe { outcome(rd::rd_kafka_begin_transaction(self.client.as_ptr())) }
    }

    /// Makes the offsets of the list part of the transaction, for a group without members.
    pub(crate) fn send_offsets(
        &self,
        group: &str,
        offsets: &PartitionList<'_>,
        timeout: Duration,
    ) -> Result<(), TransactionFault> {
        let group = c_string(group);
        // SAFETY: client, list and metadata are alive; the metadata is ours and released once; the error is ours.
        unsafe {
            let metadata = rd::rd_kafka_consumer_group_metadata_new(group.as_ptr());
            let error = rd::rd_kafka_send_offsets_to_transaction(
                self.client.as_ptr(),
                offsets.as_ptr(),
                metadata,
                millis(timeout),
            );
            rd::rd_kafka_consumer_group_metadata_destroy(metadata);
            outcome(error)
        }
    }

    /// Commits the transaction; waits as long as it may still last. May be called again after a fault that is retriable.
    pub(crate) fn commit_transaction(&self) -> Result<(), TransactionFault> {
        // SAFETY: the client is alive; the error is ours.
        unsafe { outcome(rd::rd_kafka_commit_transaction(self.client.as_ptr(), REST_OF_TRANSACTION)) }
    }

    /// Throws away what is queued and aborts the transaction; waits as long as it may still last.
    pub(crate) fn abort_transaction(&self) -> Result<(), TransactionFault> {
        // SAFETY: the client is alive; the error is ours.
        unsafe { outcome(rd::rd_kafka_abort_transaction(self.client.as_ptr(), REST_OF_TRANSACTION)) }
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        for topic in &self.topics {
            // SAFETY: made by `topic`, released once; the client is still alive.
            unsafe { rd::rd_kafka_topic_destroy(topic.as_ptr()) };
        }
    }
}

/// librdkafka's code for an argument that makes no sense.
const INVALID_ARG: i32 = -186;

type Value = rd::rd_kafka_vu_s__bindgen_ty_1;

fn argument(vtype: rd::rd_kafka_vtype_t, u: Value) -> rd::rd_kafka_vu_t {
    rd::rd_kafka_vu_t { vtype, u }
}

/// Bytes as librdkafka wants them: null is a null pointer, and empty is not, as no slice has one.
fn bytes(bytes: Option<&[u8]>) -> Value {
    let pointer = bytes.map_or(std::ptr::null(), <[u8]>::as_ptr);
    let mem = rd::rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
        ptr: pointer.cast_mut().cast::<c_void>(),
        size: bytes.map_or(0, <[u8]>::len),
    };
    Value { mem }
}

/// Headers, until a record takes them.
struct HeaderList(NonNull<rd::rd_kafka_headers_t>);

impl HeaderList {
    fn of<'a>(headers: impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)>) -> Self {
        // SAFETY: allocates; librdkafka aborts the process when memory is gone.
        let list = unsafe { rd::rd_kafka_headers_new(headers.len()) };
        let list = Self(NonNull::new(list).expect("librdkafka aborts rather than return null when memory is gone"));
        for (key, value) in headers {
            let pointer = value.map_or(std::ptr::null(), <[u8]>::as_ptr);
            // SAFETY: the list is alive; key and value are copied with the sizes that are told, which no slice has above
            // `isize::MAX`. The call has no error.
            unsafe {
                rd::rd_kafka_header_add(
                    list.0.as_ptr(),
                    key.as_ptr().cast(),
                    key.len().cast_signed(),
                    pointer.cast(),
                    value.map_or(0, <[u8]>::len).cast_signed(),
                );
            }
        }
        list
    }
}

impl Drop for HeaderList {
    fn drop(&mut self) {
        // SAFETY: ours, as long as no record took it; then it is forgotten.
        unsafe { rd::rd_kafka_headers_destroy(self.0.as_ptr()) };
    }
}

/// The code of the last failure on this thread.
fn last_error() -> i32 {
    // SAFETY: takes nothing. Seen as returning the integer that it is in C, see `as_integer`.
    unsafe {
        let last: unsafe extern "C" fn() -> i32 =
            std::mem::transmute(rd::rd_kafka_last_error as unsafe extern "C" fn() -> rd::rd_kafka_resp_err_t);
        last()
    }
}

/// What a call of a transaction came to; releases the error.
///
/// # Safety
/// `error` is null or an error object that the caller owns.
unsafe fn outcome(error: *mut rd::rd_kafka_error_t) -> Result<(), TransactionFault> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the object is ours and is used for the last time here.
    unsafe {
        let fault = TransactionFault {
            code: error_code(error),
            is_fatal: rd::rd_kafka_error_is_fatal(error) != 0,
            is_retriable: rd::rd_kafka_error_is_retriable(error) != 0,
            requires_abort: rd::rd_kafka_error_txn_requires_abort(error) != 0,
        };
        rd::rd_kafka_error_destroy(error);
        Err(fault)
    }
}
