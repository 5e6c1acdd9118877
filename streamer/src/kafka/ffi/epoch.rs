//! The timestamp 0, which librdkafka takes for "now" when a record is produced.
//!
//! No argument of its interface means 0. But its interceptors see each record before it is queued, and there the
//! timestamp is put right: a field that the interface can read (`rd_kafka_message_timestamp`) and not write. So its place
//! is known for one version ([`super::event::KNOWN_VERSION`]), is checked on every record that it is used for, and a
//! record whose timestamp could not be put right keeps [`STAND_IN`], which the safe side must see and refuse.

use std::ffi::{c_char, c_int, c_void};

use rdkafka::bindings as rd;

use super::event::KNOWN_VERSION;

/// What is given in the place of 0 until the interceptor puts it right. Any value but 0 would do; this one cannot be
/// taken for a real one: no clock ever showed it.
const STAND_IN: i64 = i64::MIN + 0x5ba;

/// Where a record's timestamp stands (`rdkafka_msg.h`, `rd_kafka_msg_s`): behind the public part, the two pointers of a
/// list, the flags and the kind of the timestamp.
const TIMESTAMP_AT: usize =
    size_of::<rd::rd_kafka_message_t>() + 2 * size_of::<usize>() + size_of::<c_int>() + size_of::<c_int>();

/// Whether the timestamp 0 can be produced.
fn is_writable() -> bool {
    super::client::version() == KNOWN_VERSION && TIMESTAMP_AT.is_multiple_of(align_of::<i64>())
}

/// What librdkafka is told in the place of a timestamp.
pub(super) fn stand_in(timestamp: i64) -> i64 {
    if timestamp == 0 { STAND_IN } else { timestamp }
}

/// What goes with a record through librdkafka: what it costs in bytes, and whether its timestamp is 0.
pub(super) fn tag(cost: usize, timestamp: i64) -> *mut c_void {
    std::ptr::without_provenance_mut((cost << 1) | usize::from(timestamp == 0))
}

/// The cost in a tag.
pub(super) fn cost(tag: *mut c_void) -> usize {
    tag.addr() >> 1
}

/// Whether a record that came back has a timestamp that was not put right. (Where the topic's kind of timestamp is
/// `LogAppendTime` it has the broker's by now.)
///
/// # Safety
/// `message` is alive.
pub(super) unsafe fn is_wrong(message: *const rd::rd_kafka_message_t) -> bool {
    // SAFETY: by the contract above.
    unsafe { is_zero(message) && timestamp(message) == STAND_IN }
}

/// Lets a producer's records pass [`on_send`].
///
/// # Errors
/// librdkafka's refusal.
pub(super) fn intercept(conf: *mut rd::rd_kafka_conf_t) -> Result<(), String> {
    // SAFETY: the caller's configuration is alive; the name is copied; there is no opaque pointer.
    let code = unsafe {
        rd::rd_kafka_conf_interceptor_add_on_new(conf, NAME.as_ptr(), Some(on_new), std::ptr::null_mut()) as i32
    };
    if code == 0 { Ok(()) } else { Err(format!("librdkafka takes no interceptor: code {code}")) }
}

const NAME: &std::ffi::CStr = c"timestamp-0";

unsafe extern "C" fn on_new(
    client: *mut rd::rd_kafka_t,
    _: *const rd::rd_kafka_conf_t,
    _: *mut c_void,
    _: *mut c_char,
    _: usize,
) -> rd::rd_kafka_resp_err_t {
    // SAFETY: the client is being made; the name is copied.
    unsafe { rd::rd_kafka_interceptor_add_on_send(client, NAME.as_ptr(), Some(on_send), std::ptr::null_mut()) }
}

/// Called for each record as it is produced, on the thread that produces it.
unsafe extern "C" fn on_send(
    _: *mut rd::rd_kafka_t,
    message: *mut rd::rd_kafka_message_t,
    _: *mut c_void,
) -> rd::rd_kafka_resp_err_t {
    // SAFETY: the record is alive and not yet queued, so nobody else looks at it. Its private part is touched only in the
    // version whose layout is known, and only if what stands there is what the interface tells.
    unsafe {
        if is_zero(message) && is_writable() {
            let place = message.cast::<u8>().add(TIMESTAMP_AT).cast::<i64>();
            if place.read() == STAND_IN && timestamp(message) == STAND_IN {
                place.write(0);
            }
        }
    }
    rd::rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR
}

/// # Safety
/// `message` is alive.
unsafe fn is_zero(message: *const rd::rd_kafka_message_t) -> bool {
    // SAFETY: by the contract above; the tag is ours.
    unsafe { (&raw const (*message)._private).read().addr() & 1 == 1 }
}

/// # Safety
/// `message` is alive.
unsafe fn timestamp(message: *const rd::rd_kafka_message_t) -> i64 {
    // SAFETY: by the contract above.
    unsafe { rd::rd_kafka_message_timestamp(message, std::ptr::null_mut()) }
}
