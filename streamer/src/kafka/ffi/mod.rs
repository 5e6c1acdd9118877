//! The only place of the streamer that calls librdkafka's C interface, behind types that cannot be misused.
//!
//! Owns: every pointer librdkafka hands out, and its release. Does not own: what to ask for and what to make of it
//! ([`super::consumer`], [`super::admin`], [`super::producer`], [`super::rights`], [`super::target`], [`super::groups`]).
//!
//! ```text
//! Conf ──▶ Client ◀──borrowed by── PartitionList, Queue, Reply, Event ◀──borrowed by── Message, HeaderRef
//!            └──owned by── Producer ──▶ Reports (deliveries, trouble)
//! ```
//!
//! Invariants:
//! * Lists, queues, events and messages borrow the client, so the compiler drops them first: `rd_kafka_destroy` hangs for
//!   ever while one of them is alive.
//! * Error codes are read as bare integers. The bindings declare a Rust `enum`, and a broker newer than the client may
//!   send a code the enum does not have, which would be undefined behaviour.
//! * Bytes from the wire (keys, values, header keys) are slices, never `str`.
//!
//! Why not rdkafka's own consumer: it hides topic and offset of an out-of-range error, panics on a header key that is
//! not UTF-8, and allocates for every message.
#![allow(unsafe_code, reason = "the C interface of librdkafka; every block states why it is sound")]

mod admin;
mod client;
mod epoch;
mod event;
mod groups;
mod partitions;
mod producer;
mod rights;
mod target;

use std::ffi::{CStr, CString, c_char};

use rdkafka::bindings as rd;

pub(super) use admin::{OffsetQuery, Queue};
pub(super) use client::{Client, Conf, Delivery, PropertyFault, RefreshToken, Reports, Token};
pub(super) use event::{Event, EventKind, Headers, Message};
pub(super) use groups::GroupDescription;
pub(super) use partitions::{Committed, PartitionList};
pub(super) use producer::{Outgoing, Producer, TransactionFault};
pub(super) use target::{NewTopic, Outcome};

/// Room for librdkafka's explanations.
const EXPLANATION_BYTES: usize = 512;

/// librdkafka's name of an error code.
pub(super) fn code_name(code: i32) -> Option<String> {
    let mut descriptions = std::ptr::null();
    let mut count = 0;
    // SAFETY: both are out-parameters; the table that comes back is static.
    unsafe { rd::rd_kafka_get_err_descs(&raw mut descriptions, &raw mut count) };
    (0..count).find_map(|index| {
        // SAFETY: `index` is below the table's length. Fields are read through raw pointers, since entries of unused
        // codes hold code 0 and a null name; the code is read as the `i32` that it is in C.
        unsafe {
            let entry: *const rd::rd_kafka_err_desc = descriptions.add(index);
            let name = (&raw const (*entry).name).read();
            let this = (&raw const (*entry).code).cast::<i32>().read();
            (this == code && !name.is_null()).then(|| text(name))
        }
    })
}

/// Copies a C string; bytes that are not UTF-8 are replaced. Null is empty.
///
/// # Safety
/// `pointer` is null or a NUL-terminated string that lives through the call.
unsafe fn text(pointer: *const c_char) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: by the contract above.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// A C string of `value`, cut at its first NUL: callers pass property names and topic names, which have none.
fn c_string(value: &str) -> CString {
    let end = value.bytes().position(|byte| byte == 0).unwrap_or(value.len());
    CString::new(&value.as_bytes()[..end]).unwrap_or_default()
}

/// The explanation that librdkafka wrote into `buffer`.
fn explanation(buffer: &[u8; EXPLANATION_BYTES]) -> String {
    CStr::from_bytes_until_nul(buffer).map(|text| text.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The code of an `rd_kafka_error_t`, which is released; 0 for null.
///
/// # Safety
/// `error` is null or an error object that the caller owns.
unsafe fn take_error(error: *mut rd::rd_kafka_error_t) -> i32 {
    if error.is_null() {
        return 0;
    }
    // SAFETY: the object is ours and is used for the last time here.
    unsafe {
        let code = error_code(error);
        rd::rd_kafka_error_destroy(error);
        code
    }
}

/// The code of an `rd_kafka_error_t`; 0 for null.
///
/// # Safety
/// `error` is null or an error object that lives through the call.
unsafe fn error_code(error: *const rd::rd_kafka_error_t) -> i32 {
    if error.is_null() {
        return 0;
    }
    // SAFETY: the C function returns a plain C enum, an `int` in this ABI; see `as_integer`.
    unsafe {
        let code: unsafe extern "C" fn(*const rd::rd_kafka_error_t) -> i32 = as_integer(rd::rd_kafka_error_code);
        code(error)
    }
}

/// A function that returns `rd_kafka_resp_err_t`, seen as returning the `int` that it is in C.
///
/// # Safety
/// Sound for functions that librdkafka defines: the enum is `repr(i32)`, so the calling convention is the same, and an
/// integer has no invalid values.
unsafe fn as_integer<A>(
    function: unsafe extern "C" fn(A) -> rd::rd_kafka_resp_err_t,
) -> unsafe extern "C" fn(A) -> i32 {
    // SAFETY: by the contract above.
    unsafe { std::mem::transmute(function) }
}

/// A timeout as librdkafka counts it: whole milliseconds, rounded up, never the −1 that means for ever.
fn millis(timeout: std::time::Duration) -> i32 {
    i32::try_from(timeout.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
}
