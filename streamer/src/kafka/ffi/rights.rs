//! What the user may do: brokers tell it with a description, where they are asked to.

use std::ffi::{CString, c_char};
use std::time::Duration;

use rdkafka::bindings as rd;

use super::admin::{Options, Queue, TIMED_OUT};
use super::{Client, c_string, error_code, take_error, text};

/// One answer: the topic's name, and the operations that are allowed, a bit for each by its number in Kafka's
/// protocol, or the broker's code. `None` where the broker does not tell.
pub(crate) type Rights = (String, Result<Option<u32>, i32>);

impl Queue<'_> {
    /// What the user may do with topics that exist.
    ///
    /// # Errors
    /// librdkafka's code, if the request as a whole failed.
    pub(crate) fn topic_rights(self, topics: &[&str]) -> Result<Vec<Rights>, i32> {
        let names: Vec<CString> = topics.iter().map(|name| c_string(name)).collect();
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let request = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
        let options = Options::with_rights(self.client, request, self.timeout);
        // SAFETY: names, client, options and queue are alive; names and options are copied; the collection is released
        // once.
        unsafe {
            let collection = rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
            rd::rd_kafka_DescribeTopics(self.client.as_ptr(), collection, options.as_ptr(), self.queue.as_ptr());
            rd::rd_kafka_TopicCollection_destroy(collection);
        }
        let event = self.answer()?;
        // SAFETY: the event is alive; what is reached through it belongs to it and is read within its bounds.
        unsafe {
            let result = rd::rd_kafka_event_DescribeTopics_result(event.as_ptr());
            if result.is_null() {
                return Err(TIMED_OUT);
            }
            let mut count = 0;
            let found = rd::rd_kafka_DescribeTopics_result_topics(result, &raw mut count);
            Ok((0..count).map(|index| rights_of_topic(*found.add(index))).collect())
        }
    }
}

impl<'c> Options<'c> {
    pub(super) fn with_rights(client: &'c Client, request: rd::rd_kafka_admin_op_t, timeout: Duration) -> Self {
        let options = Self::new(client, request, timeout);
        // SAFETY: the options are alive. The requests that ask for this have the option, so there is no error to act on.
        unsafe { take_error(rd::rd_kafka_AdminOptions_set_include_authorized_operations(options.as_ptr(), 1)) };
        options
    }
}

/// # Safety
/// `topic` belongs to a result that lives through the call.
unsafe fn rights_of_topic(topic: *const rd::rd_kafka_TopicDescription_t) -> Rights {
    // SAFETY: by the contract above.
    unsafe {
        let name = text(rd::rd_kafka_TopicDescription_name(topic));
        let code = error_code(rd::rd_kafka_TopicDescription_error(topic));
        if code != 0 {
            return (name, Err(code));
        }
        let mut count = 0;
        let operations = rd::rd_kafka_TopicDescription_authorized_operations(topic, &raw mut count);
        (name, Ok(bits(operations, count)))
    }
}

/// # Safety
/// `operations` is null or an array of `count` elements that lives through the call.
pub(super) unsafe fn bits(operations: *const rd::rd_kafka_AclOperation_t, count: usize) -> Option<u32> {
    if operations.is_null() {
        return None;
    }
    // SAFETY: by the contract above. Read as the integers that they are in C.
    let numbers = (0..count).map(|index| unsafe { operations.cast::<u32>().add(index).read() });
    Some(numbers.fold(0, |bits, number| bits | 1_u32.checked_shl(number).unwrap_or(0)))
}
