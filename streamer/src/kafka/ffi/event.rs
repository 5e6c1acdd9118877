//! What the consumer queue delivers: events, the messages in them, and the headers in those.

use std::ffi::{c_char, c_void};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::sync::LazyLock;

use rdkafka::bindings as rd;
use strimzi_backup_format::record::{HeaderRef, TimestampType};

use super::client::{c_bytes, version};
use super::{Client, as_integer, text};

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum EventKind {
    /// It carries messages.
    Fetch,
    /// It carries an error, or says that a partition's end was reached.
    Error,
    /// Anything else; nothing else is asked for.
    Other,
}

/// One event. Its messages borrow it: a message that outlives its event pins a whole fetch buffer.
pub(crate) struct Event<'c> {
    event: NonNull<rd::rd_kafka_event_t>,
    client: PhantomData<&'c Client>,
}

impl Event<'_> {
    pub(super) fn new(event: NonNull<rd::rd_kafka_event_t>) -> Self {
        Self { event, client: PhantomData }
    }

    pub(super) fn as_ptr(&self) -> *mut rd::rd_kafka_event_t {
        self.event.as_ptr()
    }

    /// What it is about.
    pub(crate) fn kind(&self) -> EventKind {
        // SAFETY: the event is alive.
        match unsafe { rd::rd_kafka_event_type(self.event.as_ptr()) } {
            rd::RD_KAFKA_EVENT_FETCH => EventKind::Fetch,
            rd::RD_KAFKA_EVENT_ERROR => EventKind::Error,
            _ => EventKind::Other,
        }
    }

    /// Takes the next message out of the event.
    pub(crate) fn next_message(&mut self) -> Option<Message<'_>> {
        // SAFETY: the event is alive, and the message belongs to it; the borrow keeps it so.
        let message = unsafe { rd::rd_kafka_event_message_next(self.event.as_ptr()) };
        NonNull::new(message.cast_mut()).map(|message| Message { message, event: PhantomData })
    }

    /// The error code; 0 for none.
    pub(crate) fn error(&self) -> i32 {
        // SAFETY: the event is alive; see `as_integer`.
        unsafe {
            let code: unsafe extern "C" fn(*mut rd::rd_kafka_event_t) -> i32 = as_integer(rd::rd_kafka_event_error);
            code(self.event.as_ptr())
        }
    }

    /// librdkafka's words on the error. Only for errors of connections: those of records may quote them.
    pub(crate) fn error_text(&self) -> String {
        // SAFETY: the string belongs to the event, which is alive.
        unsafe { text(rd::rd_kafka_event_error_string(self.event.as_ptr())) }
    }

    /// Topic, partition and offset of an error that is about one partition.
    pub(crate) fn topic_partition(&self) -> Option<(String, i32, i64)> {
        // SAFETY: the object that comes back is ours, read field by field (its `err` may be a code the enum lacks), and
        // released once.
        unsafe {
            let found = rd::rd_kafka_event_topic_partition(self.event.as_ptr());
            if found.is_null() {
                return None;
            }
            let topic = text((&raw const (*found).topic).read());
            let partition = (&raw const (*found).partition).read();
            let offset = (&raw const (*found).offset).read();
            rd::rd_kafka_topic_partition_destroy(found);
            Some((topic, partition, offset))
        }
    }
}

impl Drop for Event<'_> {
    fn drop(&mut self) {
        // SAFETY: ours, released once; its messages are borrowed from it and so out of use.
        unsafe { rd::rd_kafka_event_destroy(self.event.as_ptr()) };
    }
}

/// One message of a fetch event.
#[derive(Clone, Copy)]
pub(crate) struct Message<'e> {
    message: NonNull<rd::rd_kafka_message_t>,
    event: PhantomData<&'e ()>,
}

/// The headers of a message.
pub(crate) enum Headers {
    /// They are in the vector.
    Read,
    /// librdkafka cannot parse them: more than 100,000 of them, or bytes that are no headers.
    Unreadable,
}

macro_rules! field {
    ($message:expr, $field:ident) => {
        // SAFETY: the message is alive and initialised by librdkafka; read through a raw pointer, without a reference to
        // the struct, whose `err` may be a code the enum lacks.
        unsafe { (&raw const (*$message.message.as_ptr()).$field).read() }
    };
}

impl<'e> Message<'e> {
    /// The error that takes the message's place; 0 for a record.
    pub(crate) fn error(&self) -> i32 {
        // SAFETY: as in `field!`; the enum is `repr(i32)`.
        unsafe { (&raw const (*self.message.as_ptr()).err).cast::<i32>().read() }
    }

    /// Identifies the topic as long as it is assigned; never followed.
    pub(crate) fn topic_address(&self) -> usize {
        field!(self, rkt) as usize
    }

    /// The topic's name.
    pub(crate) fn topic(&self) -> String {
        let topic = field!(self, rkt);
        // SAFETY: the message keeps its topic alive.
        unsafe { text(rd::rd_kafka_topic_name(topic)) }
    }

    /// The partition.
    pub(crate) fn partition(&self) -> i32 {
        field!(self, partition)
    }

    /// The offset.
    pub(crate) fn offset(&self) -> i64 {
        field!(self, offset)
    }

    /// The key; null is not empty.
    pub(crate) fn key(&self) -> Option<&'e [u8]> {
        let (key, size) = (field!(self, key), field!(self, key_len));
        // SAFETY: key and length are the message's, alive for `'e`.
        unsafe { slice(key, size) }
    }

    /// The value; null is not empty.
    pub(crate) fn value(&self) -> Option<&'e [u8]> {
        let (payload, size) = (field!(self, payload), field!(self, len));
        // SAFETY: payload and length are the message's, alive for `'e`.
        unsafe { slice(payload, size) }
    }

    /// The timestamp in milliseconds, −1 if there is none, and who set it.
    pub(crate) fn timestamp(&self) -> (i64, TimestampType) {
        let mut kind = rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
        // SAFETY: the message is alive; librdkafka knows the three kinds that the enum has.
        let millis = unsafe { rd::rd_kafka_message_timestamp(self.message.as_ptr(), &raw mut kind) };
        let kind = match kind {
            rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => TimestampType::None,
            rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => TimestampType::CreateTime,
            rd::rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => TimestampType::LogAppendTime,
        };
        (millis, kind)
    }

    /// The leader epoch of the record's batch, −1 if unknown.
    pub(crate) fn leader_epoch(&self) -> i32 {
        // SAFETY: the message is alive.
        unsafe { rd::rd_kafka_message_leader_epoch(self.message.as_ptr()) }
    }

    /// Puts the headers into `out`, in their order.
    pub(crate) fn headers(&self, out: &mut Vec<HeaderRef<'e>>) -> Headers {
        out.clear();
        let mut headers = std::ptr::null_mut();
        // SAFETY: the message is alive; the parsed headers belong to it. The casts see a C enum as the `int` that it is.
        let code = unsafe {
            let parse: unsafe extern "C" fn(*const rd::rd_kafka_message_t, *mut *mut rd::rd_kafka_headers_t) -> i32 =
                std::mem::transmute(
                    rd::rd_kafka_message_headers
                        as unsafe extern "C" fn(
                            *const rd::rd_kafka_message_t,
                            *mut *mut rd::rd_kafka_headers_t,
                        ) -> rd::rd_kafka_resp_err_t,
                );
            parse(self.message.as_ptr(), &raw mut headers)
        };
        if code == rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR__NOENT as i32 {
            return Headers::Read;
        }
        if code != 0 || headers.is_null() {
            return Headers::Unreadable;
        }
        // SAFETY: the headers belong to the message, which is alive for `'e`.
        while let Some(header) = unsafe { header(headers, out.len()) } {
            out.push(header);
        }
        Headers::Read
    }
}

/// The header at `index`.
///
/// # Safety
/// `headers` lives, unchanged, for `'a`.
unsafe fn header<'a>(headers: *const rd::rd_kafka_headers_t, index: usize) -> Option<HeaderRef<'a>> {
    let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
    // SAFETY: by the contract above; an index past the end is answered with an error.
    unsafe {
        let found = rd::rd_kafka_header_get_all(headers, index, &raw mut name, &raw mut value, &raw mut size) as i32;
        if found != 0 || name.is_null() {
            return None;
        }
        let key = if *NAMES_HAVE_SIZES { sized_name(name) } else { c_bytes(name) };
        Some(HeaderRef { key, value: slice(value, size) })
    }
}

/// The version whose layout [`sized_name`] and the timestamp 0 of a producer rest on.
pub(super) const KNOWN_VERSION: i32 = 0x020c_01ff;

/// Whether [`sized_name`] may be used: the version is the known one, and a trial finds a NUL inside a name.
static NAMES_HAVE_SIZES: LazyLock<bool> = LazyLock::new(|| {
    let trial: &[u8] = b"a\0b";
    // SAFETY: the list is ours and released once; name and value are copied into it. The layout is read only if the
    // version is the known one.
    version() == KNOWN_VERSION
        && unsafe {
            let headers = rd::rd_kafka_headers_new(1);
            rd::rd_kafka_header_add(headers, trial.as_ptr().cast(), 3, std::ptr::null(), 0);
            let (mut name, mut value, mut size) = (std::ptr::null(), std::ptr::null(), 0);
            let found = rd::rd_kafka_header_get_all(headers, 0, &raw mut name, &raw mut value, &raw mut size) as i32;
            let whole = found == 0 && sized_name(name) == trial;
            rd::rd_kafka_headers_destroy(headers);
            whole
        }
});

/// A header's whole name. librdkafka's interface gives a C string, which ends at the first NUL, though the header it
/// keeps has the size: `{ size_t ser_size, value_size, name_size; char *value; char name[] }` (`rdkafka_header.h`).
///
/// # Safety
/// `name` comes from `rd_kafka_header_get_all` of the known version, and lives for `'a`.
unsafe fn sized_name<'a>(name: *const c_char) -> &'a [u8] {
    // SAFETY: by the layout above, the size stands one `size_t` and one pointer before the name, aligned as they are.
    unsafe {
        let size = name.cast::<u8>().sub(2 * size_of::<usize>()).cast::<usize>().read();
        std::slice::from_raw_parts(name.cast(), size)
    }
}

/// Bytes of a message; null is none, and not empty.
///
/// # Safety
/// `pointer` is null or leads to `size` bytes that live for `'a`.
unsafe fn slice<'a>(pointer: *const c_void, size: usize) -> Option<&'a [u8]> {
    // SAFETY: by the contract above.
    (!pointer.is_null()).then(|| unsafe { std::slice::from_raw_parts(pointer.cast(), size) })
}
