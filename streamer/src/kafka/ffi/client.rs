//! The client object: made of properties, asked for events, told what to fetch.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings as rd;

use super::{EXPLANATION_BYTES, Event, PartitionList, c_string, explanation, millis, take_error, text};

/// The code of a record whose timestamp is not the one that was to be written.
const INVALID_TIMESTAMP: i32 = 32;

/// An OAUTHBEARER token.
pub(crate) struct Token {
    /// The token itself. Never logged.
    pub(crate) value: String,
    /// When it ends, in milliseconds since 1970.
    pub(crate) expires_ms: i64,
    /// Whom it is about.
    pub(crate) principal: String,
}

/// Gives a fresh token, or says (without secrets) why there is none. Called on a thread of librdkafka.
pub(crate) type RefreshToken = Box<dyn Fn() -> Result<Token, String> + Send + Sync>;

/// Takes what a producer's callbacks tell. Called on the thread that polls, flushes, commits or aborts.
pub(crate) trait Reports: Send + Sync {
    /// What became of one record.
    fn delivery(&self, delivery: Delivery);
    /// A connection, or the client, has trouble; librdkafka's words on it.
    fn trouble(&self, code: i32, detail: String);
}

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// The topic, as [`super::Producer::topic`] named it.
    pub(crate) topic: usize,
    /// The partition.
    pub(crate) partition: i32,
    /// Its offset; negative where the broker did not tell.
    pub(crate) offset: i64,
    /// 0 for a record that is in the log.
    pub(crate) code: i32,
    /// What was given with the record.
    pub(crate) cost: usize,
}

/// What callbacks reach through librdkafka's opaque pointer.
struct Callbacks {
    refresh_token: Option<RefreshToken>,
    reports: Option<Arc<dyn Reports>>,
}

/// Why a property was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PropertyFault {
    /// librdkafka has none of that name.
    Unknown,
    /// It has, and not with that value.
    Invalid,
}

/// Properties on their way into a client.
pub(crate) struct Conf(NonNull<rd::rd_kafka_conf_t>);

impl Conf {
    /// librdkafka's defaults.
    pub(crate) fn new() -> Self {
        // SAFETY: allocates; librdkafka aborts the process when memory is gone.
        let conf = unsafe { rd::rd_kafka_conf_new() };
        Self(NonNull::new(conf).expect("librdkafka aborts rather than return null when memory is gone"))
    }

    /// Sets one property. librdkafka's explanation is thrown away: it repeats the value, which may be a secret.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), PropertyFault> {
        if name.contains('\0') || value.contains('\0') {
            return Err(PropertyFault::Invalid);
        }
        let (name, value) = (c_string(name), c_string(value));
        let mut ignored = [0_u8; EXPLANATION_BYTES];
        // SAFETY: the strings live through the call and are copied; the buffer has the length that is told.
        let result = unsafe {
            rd::rd_kafka_conf_set(
                self.0.as_ptr(),
                name.as_ptr(),
                value.as_ptr(),
                ignored.as_mut_ptr().cast(),
                ignored.len(),
            )
        };
        match result {
            rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_OK => Ok(()),
            rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_UNKNOWN => Err(PropertyFault::Unknown),
            rd::rd_kafka_conf_res_t::RD_KAFKA_CONF_INVALID => Err(PropertyFault::Invalid),
        }
    }

    /// Makes a consumer of the properties and starts its threads. Waits for no broker.
    ///
    /// # Errors
    /// librdkafka's explanation of what does not fit together.
    pub(crate) fn into_client(self, refresh_token: Option<RefreshToken>) -> Result<Client, String> {
        // SAFETY: the configuration is alive.
        unsafe { rd::rd_kafka_conf_set_events(self.0.as_ptr(), rd::RD_KAFKA_EVENT_ERROR) };
        let callbacks = Callbacks { refresh_token, reports: None };
        self.make(rd::rd_kafka_type_t::RD_KAFKA_CONSUMER, callbacks)
    }

    /// Makes a producer of the properties and starts its threads. Waits for no broker.
    ///
    /// # Errors
    /// As [`Self::into_client`].
    pub(super) fn into_producer(
        self,
        refresh_token: Option<RefreshToken>,
        reports: Arc<dyn Reports>,
    ) -> Result<Client, String> {
        // SAFETY: the configuration is alive. The callbacks are told the opaque pointer that `make` sets.
        unsafe {
            rd::rd_kafka_conf_set_dr_msg_cb(self.0.as_ptr(), Some(on_delivery));
            rd::rd_kafka_conf_set_error_cb(self.0.as_ptr(), Some(on_error));
        }
        super::epoch::intercept(self.0.as_ptr())?;
        let callbacks = Callbacks { refresh_token, reports: Some(reports) };
        self.make(rd::rd_kafka_type_t::RD_KAFKA_PRODUCER, callbacks)
    }

    fn make(self, kind: rd::rd_kafka_type_t, callbacks: Callbacks) -> Result<Client, String> {
        let callbacks = Box::new(callbacks);
        let conf = self.0.as_ptr();
        let mut reason = [0_u8; EXPLANATION_BYTES];
        // SAFETY: the configuration is ours until `rd_kafka_new` succeeds and librdkafka's from then on, so it is
        // forgotten then and released by `drop` otherwise. The callback's opaque pointer leads into a box that `Client`
        // keeps until after `rd_kafka_destroy` has joined every thread that could call.
        let client = unsafe {
            rd::rd_kafka_conf_set_log_cb(conf, Some(on_log));
            let opaque: *const Callbacks = &raw const *callbacks;
            rd::rd_kafka_conf_set_opaque(conf, opaque.cast_mut().cast());
            if callbacks.refresh_token.is_some() {
                rd::rd_kafka_conf_set_oauthbearer_token_refresh_cb(conf, Some(on_refresh_token));
                rd::rd_kafka_conf_enable_sasl_queue(conf, 1);
            }
            rd::rd_kafka_new(kind, conf, reason.as_mut_ptr().cast(), reason.len())
        };
        let Some(handle) = NonNull::new(client) else {
            return Err(explanation(&reason));
        };
        std::mem::forget(self);
        let mut client = Client { handle, consumer_queue: None, callbacks };
        if client.callbacks.reports.is_none() {
            client.start_consumer()?;
        }
        client.start_tokens()?;
        Ok(client)
    }
}

impl Drop for Conf {
    fn drop(&mut self) {
        // SAFETY: still ours, see `into_client`.
        unsafe { rd::rd_kafka_conf_destroy(self.0.as_ptr()) };
    }
}

/// A running consumer or producer. Dropping it joins librdkafka's threads.
pub(crate) struct Client {
    handle: NonNull<rd::rd_kafka_t>,
    /// A consumer's, set by `start_consumer`, released before the handle.
    consumer_queue: Option<NonNull<rd::rd_kafka_queue_t>>,
    /// librdkafka holds a pointer to it.
    callbacks: Box<Callbacks>,
}

// SAFETY: librdkafka's functions may be called from any thread at once; the queue handle is only read after `start_consumer`.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

impl Client {
    /// Lets one queue carry everything: records, end-of-partition and errors.
    fn start_consumer(&mut self) -> Result<(), String> {
        // SAFETY: the handle is alive and the queue belongs to it; released in `drop`.
        unsafe {
            rd::rd_kafka_poll_set_consumer(self.handle.as_ptr());
            self.consumer_queue = NonNull::new(rd::rd_kafka_queue_get_consumer(self.handle.as_ptr()));
        }
        if self.consumer_queue.is_none() {
            return Err("librdkafka made a consumer without a queue".to_owned());
        }
        Ok(())
    }

    /// Lets librdkafka's own background thread refresh tokens, so that it is done also while nobody polls.
    fn start_tokens(&self) -> Result<(), String> {
        if self.callbacks.refresh_token.is_none() {
            return Ok(());
        }
        // SAFETY: the handle is alive.
        let code = unsafe { take_error(rd::rd_kafka_sasl_background_callbacks_enable(self.handle.as_ptr())) };
        if code == 0 {
            return Ok(());
        }
        Err(format!("librdkafka cannot refresh tokens in the background: code {code}"))
    }

    /// The next event, waiting at most `timeout`. Also `None` after [`Self::wake_poll`].
    pub(crate) fn poll(&self, timeout: Duration) -> Option<Event<'_>> {
        let queue = self.consumer_queue?;
        // SAFETY: the queue is alive as long as the client; the event is ours.
        NonNull::new(unsafe { rd::rd_kafka_queue_poll(queue.as_ptr(), millis(timeout)) }).map(Event::new)
    }

    /// Ends a running [`Self::poll`], or else the next one.
    pub(crate) fn wake_poll(&self) {
        if let Some(queue) = self.consumer_queue {
            // SAFETY: the queue is alive as long as the client.
            unsafe { rd::rd_kafka_queue_yield(queue.as_ptr()) };
        }
    }

    /// Begins to fetch the partitions at their offsets. Waits for librdkafka's main thread, not for a broker.
    ///
    /// # Errors
    /// librdkafka's code; then nothing was changed.
    pub(crate) fn incremental_assign(&self, partitions: &PartitionList<'_>) -> Result<(), i32> {
        // SAFETY: both are alive; the list is copied.
        let code = unsafe { take_error(rd::rd_kafka_incremental_assign(self.handle.as_ptr(), partitions.as_ptr())) };
        if code == 0 { Ok(()) } else { Err(code) }
    }

    /// Ends fetching the partitions. When it returns, their version barrier is raised: records and errors of theirs that
    /// are queued or in flight never reach [`Self::poll`].
    ///
    /// # Errors
    /// librdkafka's code; then nothing was changed.
    pub(crate) fn incremental_unassign(&self, partitions: &PartitionList<'_>) -> Result<(), i32> {
        // SAFETY: both are alive; the list is copied.
        let code = unsafe { take_error(rd::rd_kafka_incremental_unassign(self.handle.as_ptr(), partitions.as_ptr())) };
        if code == 0 { Ok(()) } else { Err(code) }
    }

    /// Fetches assigned partitions from other offsets, and asks their leaders about leader epochs that the list has.
    /// Waits for librdkafka's main thread. Each partition has its own answer, in the order of the list; 0 is none.
    ///
    /// # Errors
    /// librdkafka's code, if there were no answers.
    pub(crate) fn seek(&self, partitions: &mut PartitionList<'_>, timeout: Duration) -> Result<Vec<i32>, i32> {
        // SAFETY: both are alive; the list is ours alone while librdkafka writes the answers into it.
        let code = unsafe {
            take_error(rd::rd_kafka_seek_partitions(self.handle.as_ptr(), partitions.as_ptr(), millis(timeout)))
        };
        if code == 0 { Ok(partitions.codes()) } else { Err(code) }
    }

    /// The cluster's id, from metadata already seen or waiting for it at most `timeout`.
    pub(crate) fn cluster_id(&self, timeout: Duration) -> Option<String> {
        // SAFETY: the string that comes back is ours and released once.
        unsafe {
            let id = rd::rd_kafka_clusterid(self.handle.as_ptr(), millis(timeout));
            if id.is_null() {
                return None;
            }
            let copy = text(id);
            rd::rd_kafka_mem_free(self.handle.as_ptr(), id.cast());
            Some(copy)
        }
    }

    /// The names of all topics that the user may see.
    ///
    /// # Errors
    /// librdkafka's code.
    pub(crate) fn topic_names(&self, timeout: Duration) -> Result<Vec<String>, i32> {
        self.metadata(true, timeout, |metadata| {
            let count = usize::try_from(metadata.topic_cnt).unwrap_or(0);
            // SAFETY: there are so many topics, and each has its name.
            let name = |index| unsafe { text((&raw const (*metadata.topics.add(index)).topic).read()) };
            (0..count).map(name).collect()
        })
    }

    /// How many brokers the cluster has.
    ///
    /// # Errors
    /// librdkafka's code.
    pub(crate) fn broker_count(&self, timeout: Duration) -> Result<usize, i32> {
        self.metadata(false, timeout, |metadata| usize::try_from(metadata.broker_cnt).unwrap_or(0))
    }

    /// The id of one broker; `None` where none is known.
    ///
    /// # Errors
    /// As [`Self::broker_count`].
    pub(crate) fn any_broker(&self, timeout: Duration) -> Result<Option<i32>, i32> {
        self.metadata(false, timeout, |metadata| {
            // SAFETY: the array has as many brokers as the answer says, and lives as long.
            (metadata.broker_cnt > 0).then(|| unsafe { (*metadata.brokers).id })
        })
    }

    /// Asks for all topics, or, since the client has none of its own, for the brokers alone; reads the answer.
    fn metadata<T>(
        &self,
        of_topics: bool,
        timeout: Duration,
        read: impl FnOnce(&rd::rd_kafka_metadata_t) -> T,
    ) -> Result<T, i32> {
        let mut metadata = std::ptr::null();
        let (handle, wait) = (self.handle.as_ptr(), millis(timeout));
        // SAFETY: the answer is ours if the code is 0, outlives the reading, and is released once.
        unsafe {
            let code =
                rd::rd_kafka_metadata(handle, of_topics.into(), std::ptr::null_mut(), &raw mut metadata, wait) as i32;
            if code != 0 {
                return Err(code);
            }
            let told = read(&*metadata);
            rd::rd_kafka_metadata_destroy(metadata);
            Ok(told)
        }
    }

    /// What the client's group has committed for the partitions of the list, in its order. Waits while a transaction is
    /// open on one of them.
    ///
    /// # Errors
    /// librdkafka's code, if there were no answers.
    pub(crate) fn committed(
        &self,
        partitions: &mut PartitionList<'_>,
        timeout: Duration,
    ) -> Result<Vec<super::Committed>, i32> {
        // SAFETY: both are alive; the list is ours alone while librdkafka writes the answers into it. See `as_integer`.
        let code = unsafe { rd::rd_kafka_committed(self.handle.as_ptr(), partitions.as_ptr(), millis(timeout)) as i32 };
        if code == 0 { Ok(partitions.committed()) } else { Err(code) }
    }

    /// The fatal error that stopped the client, if one did.
    pub(crate) fn fatal_error(&self) -> Option<(i32, String)> {
        let mut reason = [0_u8; EXPLANATION_BYTES];
        // SAFETY: the buffer has the length that is told. The code is one of the client's own, so the enum has it.
        let code =
            unsafe { rd::rd_kafka_fatal_error(self.handle.as_ptr(), reason.as_mut_ptr().cast(), reason.len()) as i32 };
        (code != 0).then(|| (code, explanation(&reason)))
    }

    /// Stops the client as a fatal error would.
    #[cfg(test)]
    pub(crate) fn fail_for_good(&self) {
        let code = rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_UNKNOWN;
        // SAFETY: the handle is alive, and the reason is a string that librdkafka copies.
        unsafe { rd::rd_kafka_test_fatal_error(self.handle.as_ptr(), code, c"for a test".as_ptr()) };
    }

    /// For librdkafka.
    pub(super) fn as_ptr(&self) -> *mut rd::rd_kafka_t {
        self.handle.as_ptr()
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        // SAFETY: nothing borrows the client any more, so all lists, queues, events and messages are released; the
        // consumer queue goes first for the same reason. There is no group to leave and no offset to commit, so closing
        // the consumer, which waits for brokers, is skipped.
        unsafe {
            if let Some(queue) = self.consumer_queue.take() {
                rd::rd_kafka_queue_destroy(queue.as_ptr());
            }
            rd::rd_kafka_destroy_flags(self.handle.as_ptr(), rd::RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
        }
    }
}

/// Called by librdkafka's threads for every line of its log.
unsafe extern "C" fn on_log(_: *const rd::rd_kafka_t, level: c_int, facility: *const c_char, line: *const c_char) {
    // SAFETY: librdkafka passes strings that live through the call.
    let (facility, line) = unsafe { (text(facility), text(line)) };
    crate::kafka::context::log(level, &facility, &line);
}

/// Called for every record that was produced, once it is in the log or never will be.
unsafe extern "C" fn on_delivery(_: *mut rd::rd_kafka_t, message: *const rd::rd_kafka_message_t, opaque: *mut c_void) {
    // SAFETY: `opaque` is the box set in `Conf::make`, alive as long as the client; the message is alive during the call
    // and read field by field, since its `err` may be a code the enum lacks.
    unsafe {
        let callbacks = &*opaque.cast::<Callbacks>();
        let Some(reports) = &callbacks.reports else { return };
        let code = (&raw const (*message).err).cast::<i32>().read();
        let wrong = code == 0 && super::epoch::is_wrong(message);
        let delivery = Delivery {
            topic: (&raw const (*message).rkt).read() as usize,
            partition: (&raw const (*message).partition).read(),
            offset: (&raw const (*message).offset).read(),
            code: if wrong { INVALID_TIMESTAMP } else { code },
            cost: super::epoch::cost((&raw const (*message)._private).read()),
        };
        reports.delivery(delivery);
    }
}

/// Called when a connection of a producer, or the producer, has trouble.
unsafe extern "C" fn on_error(_: *mut rd::rd_kafka_t, code: c_int, reason: *const c_char, opaque: *mut c_void) {
    // SAFETY: `opaque` is the box set in `Conf::make`, alive as long as the client; the string lives through the call.
    unsafe {
        let callbacks = &*opaque.cast::<Callbacks>();
        if let Some(reports) = &callbacks.reports {
            reports.trouble(code, text(reason));
        }
    }
}

/// Called by librdkafka's background thread when a token is needed or about to expire.
unsafe extern "C" fn on_refresh_token(client: *mut rd::rd_kafka_t, _: *const c_char, opaque: *mut c_void) {
    // SAFETY: `opaque` is the box set in `Conf::make`, alive as long as the client.
    let callbacks = unsafe { &*opaque.cast::<Callbacks>() };
    let refused = match callbacks.refresh_token.as_ref().map(|refresh| refresh()) {
        Some(Ok(token)) => set_token(client, &token).err(),
        Some(Err(reason)) => Some(reason),
        None => None,
    };
    if let Some(reason) = refused {
        let reason = c_string(&reason);
        // SAFETY: the client is alive during its own callback; the string is copied. librdkafka reports the failure as an
        // authentication error event and asks again after 10 s.
        unsafe { rd::rd_kafka_oauthbearer_set_token_failure(client, reason.as_ptr()) };
    }
}

fn set_token(client: *mut rd::rd_kafka_t, token: &Token) -> Result<(), String> {
    let (value, principal) = (c_string(&token.value), c_string(&token.principal));
    let mut reason = [0_u8; EXPLANATION_BYTES];
    // SAFETY: the strings live through the call and are copied; no extensions; the buffer has the length that is told.
    let code = unsafe {
        rd::rd_kafka_oauthbearer_set_token(
            client,
            value.as_ptr(),
            token.expires_ms,
            principal.as_ptr(),
            std::ptr::null_mut(),
            0,
            reason.as_mut_ptr().cast(),
            reason.len(),
        ) as i32
    };
    // librdkafka's explanation may quote the token's characters, so only the code is told.
    if code == 0 { Ok(()) } else { Err(format!("librdkafka refuses the token: code {code}")) }
}

/// The version of librdkafka that this program runs with.
pub(super) fn version() -> i32 {
    // SAFETY: takes nothing, returns a constant.
    unsafe { rd::rd_kafka_version() }
}

/// A C string borrowed as bytes.
///
/// # Safety
/// `pointer` is a NUL-terminated string that lives for `'a`.
pub(super) unsafe fn c_bytes<'a>(pointer: *const c_char) -> &'a [u8] {
    // SAFETY: by the contract above.
    unsafe { CStr::from_ptr(pointer) }.to_bytes()
}
