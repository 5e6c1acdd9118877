//! The few calls that rdkafka has no safe form of: headers whose keys are not UTF-8, and changing one configuration
//! of a topic (the safe call resets all others).
#![allow(unsafe_code, reason = "librdkafka's C API; each block says why it is sound")]

use std::ffi::{CStr, CString, c_void};
use std::ptr;

use anyhow::{Context, Result, bail};
use rdkafka::ClientConfig;
use rdkafka::admin::AdminClient;
use rdkafka::bindings::*;
use rdkafka::client::DefaultClientContext;
use rdkafka::message::BorrowedMessage;
use rdkafka::producer::{BaseProducer, PARTITION_UA, Producer};
use rdkafka::types::RDKafkaErrorCode;

use super::Header;
use super::produce::{Deliveries, Record};

/// Longest wait for a broker's answer.
const TIMEOUT_MS: i32 = 30_000;

/// Queues a record; `false` when the queue is full.
pub(super) fn produce(producer: &BaseProducer<Deliveries>, topic: &str, record: &Record) -> Result<bool> {
    let topic = CString::new(topic)?;
    let headers = new_headers(&record.headers)?;
    let mut arguments = vec![
        argument(rd_kafka_vtype_t::RD_KAFKA_VTYPE_TOPIC, rd_kafka_vu_s__bindgen_ty_1 { cstr: topic.as_ptr() }),
        argument(
            rd_kafka_vtype_t::RD_KAFKA_VTYPE_PARTITION,
            rd_kafka_vu_s__bindgen_ty_1 { i32_: record.partition.unwrap_or(PARTITION_UA) },
        ),
        argument(rd_kafka_vtype_t::RD_KAFKA_VTYPE_MSGFLAGS, rd_kafka_vu_s__bindgen_ty_1 { i: RD_KAFKA_MSG_F_COPY }),
        argument(rd_kafka_vtype_t::RD_KAFKA_VTYPE_KEY, bytes(record.key.as_deref())),
        argument(rd_kafka_vtype_t::RD_KAFKA_VTYPE_VALUE, bytes(record.value.as_deref())),
        argument(rd_kafka_vtype_t::RD_KAFKA_VTYPE_HEADERS, rd_kafka_vu_s__bindgen_ty_1 { headers }),
    ];
    if let Some(timestamp) = record.timestamp {
        let timestamp = rd_kafka_vu_s__bindgen_ty_1 { i64_: timestamp };
        arguments.push(argument(rd_kafka_vtype_t::RD_KAFKA_VTYPE_TIMESTAMP, timestamp));
    }
    // SAFETY: the producer outlives the call; each argument's union field is the one its type asks for; the bytes
    // live until the call returns and are copied by it (MSG_F_COPY); it takes the headers unless it fails.
    let error = unsafe { rd_kafka_produceva(producer.client().native_ptr(), arguments.as_ptr(), arguments.len()) };
    match take_error(error) {
        Ok(()) => Ok(true),
        Err((code, message)) => {
            // SAFETY: a failed call leaves the headers to the caller; nothing else refers to them.
            unsafe { rd_kafka_headers_destroy(headers) };
            if code == RDKafkaErrorCode::QueueFull {
                return Ok(false);
            }
            bail!("produce: {message}");
        }
    }
}

/// The timestamp of a message and its type. The safe call takes the time -1 for none, whatever its type.
pub(super) fn timestamp(message: &BorrowedMessage<'_>) -> (i64, &'static str) {
    let mut kind = rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    // SAFETY: the message is alive; the type is written before the call returns.
    let timestamp = unsafe { rd_kafka_message_timestamp(message.ptr(), &raw mut kind) };
    let kind = match kind {
        rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_CREATE_TIME => "CreateTime",
        rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME => "LogAppendTime",
        rd_kafka_timestamp_type_t::RD_KAFKA_TIMESTAMP_NOT_AVAILABLE => "NoTimestampType",
    };
    (timestamp, kind)
}

/// The headers of a message, as bytes.
pub(super) fn headers(message: &BorrowedMessage<'_>) -> Vec<Header> {
    let mut list = ptr::null_mut();
    // SAFETY: the message is alive and owned by this thread; the list it returns belongs to the message.
    let found = unsafe { rd_kafka_message_headers(message.ptr(), &raw mut list) };
    if found != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
        return Vec::new();
    }
    let mut headers = Vec::new();
    loop {
        let (mut name, mut value, mut size) = (ptr::null(), ptr::null(), 0);
        // SAFETY: the list lives as long as the message; an index past its end is answered with an error.
        let found =
            unsafe { rd_kafka_header_get_all(list, headers.len(), &raw mut name, &raw mut value, &raw mut size) };
        if found != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return headers;
        }
        // SAFETY: librdkafka ends names with NUL; value is null or points to `size` bytes of the message.
        let header = unsafe {
            let name = CStr::from_ptr(name).to_bytes().to_vec();
            let value = (!value.is_null()).then(|| std::slice::from_raw_parts(value.cast::<u8>(), size).to_vec());
            (name, value)
        };
        headers.push(header);
    }
}

/// Sets one configuration of a topic by IncrementalAlterConfigs, which leaves the others alone.
pub fn set_topic_config(config: &ClientConfig, topic: &str, key: &str, value: &str) -> Result<()> {
    let admin: AdminClient<DefaultClientContext> = config.create().context("make an admin client")?;
    let (topic, key, value) = (CString::new(topic)?, CString::new(key)?, CString::new(value)?);
    let client = admin.inner().native_ptr();
    // SAFETY: the client outlives the block; every object made here is destroyed here, once; the strings live until
    // its end and are copied by librdkafka.
    let result = unsafe {
        let resource = rd_kafka_ConfigResource_new(rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, topic.as_ptr());
        let set = rd_kafka_AlterConfigOpType_t::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET;
        let added = rd_kafka_ConfigResource_add_incremental_config(resource, key.as_ptr(), set, value.as_ptr());
        let result = take_error(added).map_err(|(_, message)| message).and_then(|()| {
            let queue = rd_kafka_queue_new(client);
            rd_kafka_IncrementalAlterConfigs(client, &mut { resource }, 1, ptr::null(), queue);
            let event = rd_kafka_queue_poll(queue, TIMEOUT_MS);
            let result = alter_result(event);
            if !event.is_null() {
                rd_kafka_event_destroy(event);
            }
            rd_kafka_queue_destroy(queue);
            result
        });
        rd_kafka_ConfigResource_destroy(resource);
        result
    };
    result.map_err(|message| anyhow::anyhow!("alter a configuration: {message}"))
}

/// Reads the outcome of IncrementalAlterConfigs of one resource.
///
/// # Safety
///
/// `event` is null or a living event.
unsafe fn alter_result(event: *mut rd_kafka_event_t) -> Result<(), String> {
    if event.is_null() {
        return Err("no answer".to_owned());
    }
    // SAFETY: the event lives; the strings and resources it gives out live as long as the event.
    unsafe {
        if rd_kafka_event_error(event) != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
            return Err(text(rd_kafka_event_error_string(event)));
        }
        let result = rd_kafka_event_IncrementalAlterConfigs_result(event);
        let mut count = 0;
        let resources = rd_kafka_IncrementalAlterConfigs_result_resources(result, &raw mut count);
        for resource in std::slice::from_raw_parts(resources, count) {
            if rd_kafka_ConfigResource_error(*resource) != rd_kafka_resp_err_t::RD_KAFKA_RESP_ERR_NO_ERROR {
                return Err(text(rd_kafka_ConfigResource_error_string(*resource)));
            }
        }
    }
    Ok(())
}

fn argument(vtype: rd_kafka_vtype_t, u: rd_kafka_vu_s__bindgen_ty_1) -> rd_kafka_vu_t {
    rd_kafka_vu_t { vtype, u }
}

/// Bytes as librdkafka wants them: null is a null pointer, empty is not (a Rust slice never has a null pointer).
fn bytes(value: Option<&[u8]>) -> rd_kafka_vu_s__bindgen_ty_1 {
    let ptr = value.map_or(ptr::null(), <[u8]>::as_ptr);
    let mem = rd_kafka_vu_s__bindgen_ty_1__bindgen_ty_1 {
        ptr: ptr.cast_mut().cast::<c_void>(),
        size: value.map_or(0, <[u8]>::len),
    };
    rd_kafka_vu_s__bindgen_ty_1 { mem }
}

fn new_headers(headers: &[Header]) -> Result<*mut rd_kafka_headers_t> {
    // SAFETY: plain allocation; each name and value is copied with its length.
    unsafe {
        let list = rd_kafka_headers_new(headers.len());
        for (name, value) in headers {
            let pointer = value.as_deref().map_or(ptr::null(), <[u8]>::as_ptr);
            let size = value.as_deref().map_or(0, <[u8]>::len);
            rd_kafka_header_add(
                list,
                name.as_ptr().cast(),
                isize::try_from(name.len())?,
                pointer.cast(),
                isize::try_from(size)?,
            );
        }
        Ok(list)
    }
}

/// Turns librdkafka's error object, null for success, into code and text.
fn take_error(error: *mut rd_kafka_error_t) -> Result<(), (RDKafkaErrorCode, String)> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: not null, hence an error object that is ours to destroy; its text is copied first.
    unsafe {
        let code = RDKafkaErrorCode::from(rd_kafka_error_code(error));
        let message = text(rd_kafka_error_string(error));
        rd_kafka_error_destroy(error);
        Err((code, message))
    }
}

/// # Safety
///
/// `string` is null or ends with NUL.
unsafe fn text(string: *const std::ffi::c_char) -> String {
    if string.is_null() {
        return String::new();
    }
    // SAFETY: the caller's promise.
    unsafe { CStr::from_ptr(string) }.to_string_lossy().into_owned()
}
