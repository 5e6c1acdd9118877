//! Admin requests: build the C arguments, wait for the one answer, copy it out.
//!
//! Each call blocks its thread until the answer is there or its time is over.

use std::collections::BTreeMap;
use std::ffi::{CString, c_char};
use std::marker::PhantomData;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as rd;

use super::{
    Client, EXPLANATION_BYTES, Event, PartitionList, as_integer, c_string, error_code, millis, take_error, text,
};

/// How much longer than the broker's time limit the answer is waited for, so that librdkafka's own verdict arrives.
const GRACE: Duration = Duration::from_secs(2);

/// librdkafka's code for "no answer in time".
pub(super) const TIMED_OUT: i32 = -185;

/// Which end of a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OffsetQuery {
    /// Its first offset.
    Earliest,
    /// Its end as all see it, or as readers of committed records do.
    Latest {
        /// Stop at the first open transaction.
        committed: bool,
    },
}

/// One partition's answer: topic, partition, and the offset or the broker's code.
pub(crate) type ListedOffset = (String, i32, Result<i64, i32>);

/// One topic's answer: its name, and its id with its partitions (number, replicas) or the broker's code.
pub(crate) type Description = (String, Result<(String, Vec<(i32, usize)>), i32>);

/// One setting: its value, and whether it was made on a topic itself.
pub(crate) type Setting = (String, bool);

/// One topic's or broker's answer: its name, and its settings by name or the broker's code.
pub(crate) type Settings = (String, Result<BTreeMap<String, Setting>, i32>);

/// A queue for the answer of one request.
pub(crate) struct Queue<'c> {
    pub(super) queue: NonNull<rd::rd_kafka_queue_t>,
    pub(super) client: &'c Client,
    pub(super) timeout: Duration,
}

impl<'c> Queue<'c> {
    /// A queue whose request may take `timeout`.
    pub(crate) fn new(client: &'c Client, timeout: Duration) -> Self {
        // SAFETY: the client is alive; librdkafka aborts the process when memory is gone.
        let queue = unsafe { rd::rd_kafka_queue_new(client.as_ptr()) };
        let queue = NonNull::new(queue).expect("librdkafka aborts rather than return null when memory is gone");
        Self { queue, client, timeout }
    }

    /// One end of each partition's log. No partition may be named twice.
    ///
    /// # Errors
    /// librdkafka's code, if the request as a whole failed.
    pub(crate) fn list_offsets(self, partitions: &[(&str, i32)], at: OffsetQuery) -> Result<Vec<ListedOffset>, i32> {
        let spec = match at {
            OffsetQuery::Earliest => rd::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_EARLIEST,
            OffsetQuery::Latest { .. } => rd::rd_kafka_OffsetSpec_t::RD_KAFKA_OFFSET_SPEC_LATEST,
        };
        let mut list = PartitionList::new(self.client, partitions.len());
        for (topic, partition) in partitions {
            list.add(topic, *partition, spec as i64, None);
        }
        let options = Options::new(self.client, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTOFFSETS, self.timeout);
        options.isolation(matches!(at, OffsetQuery::Latest { committed: true }));
        // SAFETY: client, list, options and queue are alive; list and options are copied.
        unsafe {
            rd::rd_kafka_ListOffsets(self.client.as_ptr(), list.as_ptr(), options.as_ptr(), self.queue.as_ptr());
        }
        let event = self.answer()?;
        // SAFETY: the event is alive; what is reached through it belongs to it and is read within its bounds.
        unsafe {
            let result = rd::rd_kafka_event_ListOffsets_result(event.as_ptr());
            if result.is_null() {
                return Err(TIMED_OUT);
            }
            let mut count = 0;
            let infos = rd::rd_kafka_ListOffsets_result_infos(result, &raw mut count);
            Ok((0..count).map(|index| listed_offset(*infos.add(index))).collect())
        }
    }

    /// Ids and partitions of topics.
    ///
    /// # Errors
    /// librdkafka's code, if the request as a whole failed.
    pub(crate) fn describe_topics(self, topics: &[&str]) -> Result<Vec<Description>, i32> {
        let names: Vec<CString> = topics.iter().map(|name| c_string(name)).collect();
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let options =
            Options::new(self.client, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, self.timeout);
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
            Ok((0..count).map(|index| description(*found.add(index))).collect())
        }
    }

    /// All settings of topics, whether made on them or come from the brokers.
    ///
    /// # Errors
    /// librdkafka's code, if the request as a whole failed.
    pub(crate) fn topic_settings(self, topics: &[&str]) -> Result<Vec<Settings>, i32> {
        self.settings_of(rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC, topics)
    }

    /// All settings of a broker, as it tells them itself.
    ///
    /// # Errors
    /// librdkafka's code, if the request as a whole failed.
    pub(crate) fn broker_settings(self, broker: i32) -> Result<Vec<Settings>, i32> {
        self.settings_of(rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_BROKER, &[&broker.to_string()])
    }

    fn settings_of(self, kind: rd::rd_kafka_ResourceType_t, names: &[&str]) -> Result<Vec<Settings>, i32> {
        let options =
            Options::new(self.client, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, self.timeout);
        // SAFETY: client, resources, options and queue are alive; names, resources and options are copied; the
        // resources are released once.
        unsafe {
            let mut resources: Vec<*mut rd::rd_kafka_ConfigResource_t> =
                names.iter().map(|name| rd::rd_kafka_ConfigResource_new(kind, c_string(name).as_ptr())).collect();
            rd::rd_kafka_DescribeConfigs(
                self.client.as_ptr(),
                resources.as_mut_ptr(),
                resources.len(),
                options.as_ptr(),
                self.queue.as_ptr(),
            );
            rd::rd_kafka_ConfigResource_destroy_array(resources.as_mut_ptr(), resources.len());
        }
        let event = self.answer()?;
        // SAFETY: the event is alive; what is reached through it belongs to it and is read within its bounds.
        unsafe {
            let result = rd::rd_kafka_event_DescribeConfigs_result(event.as_ptr());
            if result.is_null() {
                return Err(TIMED_OUT);
            }
            let mut count = 0;
            let found = rd::rd_kafka_DescribeConfigs_result_resources(result, &raw mut count);
            Ok((0..count).map(|index| settings(*found.add(index))).collect())
        }
    }

    /// Waits for the answer.
    pub(super) fn answer(&self) -> Result<Event<'_>, i32> {
        let wait = millis(self.timeout.saturating_add(GRACE));
        // SAFETY: the queue is alive; the event is ours.
        let event = unsafe { rd::rd_kafka_queue_poll(self.queue.as_ptr(), wait) };
        let event = Event::new(NonNull::new(event).ok_or(TIMED_OUT)?);
        match event.error() {
            0 => Ok(event),
            code => Err(code),
        }
    }
}

impl Drop for Queue<'_> {
    fn drop(&mut self) {
        // SAFETY: ours, released once; a late answer is thrown away by librdkafka.
        unsafe { rd::rd_kafka_queue_destroy(self.queue.as_ptr()) };
    }
}

/// # Safety
/// `info` belongs to a result that lives through the call.
unsafe fn listed_offset(info: *const rd::rd_kafka_ListOffsetsResultInfo_t) -> ListedOffset {
    // SAFETY: by the contract above; read field by field, since `err` may be a code the enum lacks.
    unsafe {
        let found = rd::rd_kafka_ListOffsetsResultInfo_topic_partition(info);
        let topic = text((&raw const (*found).topic).read());
        let partition = (&raw const (*found).partition).read();
        let code = (&raw const (*found).err).cast::<i32>().read();
        let offset = (&raw const (*found).offset).read();
        (topic, partition, if code == 0 { Ok(offset) } else { Err(code) })
    }
}

/// # Safety
/// `topic` belongs to a result that lives through the call.
unsafe fn description(topic: *const rd::rd_kafka_TopicDescription_t) -> Description {
    // SAFETY: by the contract above; arrays are read within their bounds.
    unsafe {
        let name = text(rd::rd_kafka_TopicDescription_name(topic));
        let code = error_code(rd::rd_kafka_TopicDescription_error(topic));
        if code != 0 {
            return (name, Err(code));
        }
        // librdkafka prints the id in plain base64; brokers and their tools use the URL-safe alphabet.
        let id = text(rd::rd_kafka_Uuid_base64str(rd::rd_kafka_TopicDescription_topic_id(topic)));
        let id = id.replace('+', "-").replace('/', "_");
        let mut count = 0;
        let partitions = rd::rd_kafka_TopicDescription_partitions(topic, &raw mut count);
        (name, Ok((id, (0..count).map(|index| partition(*partitions.add(index))).collect())))
    }
}

/// # Safety
/// `info` belongs to a result that lives through the call.
unsafe fn partition(info: *const rd::rd_kafka_TopicPartitionInfo_t) -> (i32, usize) {
    // SAFETY: by the contract above.
    unsafe {
        let mut replicas = 0;
        rd::rd_kafka_TopicPartitionInfo_replicas(info, &raw mut replicas);
        (rd::rd_kafka_TopicPartitionInfo_partition(info), replicas)
    }
}

/// # Safety
/// `resource` belongs to a result that lives through the call.
unsafe fn settings(resource: *const rd::rd_kafka_ConfigResource_t) -> Settings {
    // SAFETY: by the contract above; arrays are read within their bounds. The source is read as the integer that it is,
    // since a broker may send one the enum lacks.
    unsafe {
        let name = text(rd::rd_kafka_ConfigResource_name(resource));
        let error: unsafe extern "C" fn(*const rd::rd_kafka_ConfigResource_t) -> i32 =
            as_integer(rd::rd_kafka_ConfigResource_error);
        let code = error(resource);
        if code != 0 {
            return (name, Err(code));
        }
        let source: unsafe extern "C" fn(*const rd::rd_kafka_ConfigEntry_t) -> u32 = std::mem::transmute(
            rd::rd_kafka_ConfigEntry_source
                as unsafe extern "C" fn(*const rd::rd_kafka_ConfigEntry_t) -> rd::rd_kafka_ConfigSource_t,
        );
        let mut count = 0;
        let entries = rd::rd_kafka_ConfigResource_configs(resource, &raw mut count);
        let overridden = |entry: *const rd::rd_kafka_ConfigEntry_t| {
            source(entry) == rd::rd_kafka_ConfigSource_t::RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG as u32
        };
        let settings = (0..count)
            .map(|index| *entries.add(index))
            // A sensitive value comes as null; it cannot be restored, so it is left out rather than made empty.
            .filter(|entry| !rd::rd_kafka_ConfigEntry_value(*entry).is_null())
            .map(|entry| {
                let value = text(rd::rd_kafka_ConfigEntry_value(entry));
                (text(rd::rd_kafka_ConfigEntry_name(entry)), (value, overridden(entry)))
            })
            .collect();
        (name, Ok(settings))
    }
}

/// The options of one request.
pub(super) struct Options<'c> {
    options: NonNull<rd::rd_kafka_AdminOptions_t>,
    client: PhantomData<&'c Client>,
}

impl<'c> Options<'c> {
    pub(super) fn new(client: &'c Client, request: rd::rd_kafka_admin_op_t, timeout: Duration) -> Self {
        let mut ignored = [0_u8; EXPLANATION_BYTES];
        // SAFETY: the client is alive; the buffer has the length that is told. The time limit is cut to what librdkafka
        // takes (an hour), so it is not refused.
        let options = unsafe {
            let options = rd::rd_kafka_AdminOptions_new(client.as_ptr(), request);
            rd::rd_kafka_AdminOptions_set_request_timeout(
                options,
                millis(timeout).clamp(1, 3_600_000),
                ignored.as_mut_ptr().cast(),
                ignored.len(),
            );
            options
        };
        let options = NonNull::new(options).expect("null comes back only for a request librdkafka does not know");
        Self { options, client: PhantomData }
    }

    /// Whose end of the log is asked for.
    fn isolation(&self, committed: bool) {
        let level = if committed {
            rd::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_COMMITTED
        } else {
            rd::rd_kafka_IsolationLevel_t::RD_KAFKA_ISOLATION_LEVEL_READ_UNCOMMITTED
        };
        // SAFETY: the options are alive. Both levels are legal for this request, so there is no error to act on.
        unsafe { take_error(rd::rd_kafka_AdminOptions_set_isolation_level(self.options.as_ptr(), level)) };
    }

    pub(super) fn as_ptr(&self) -> *mut rd::rd_kafka_AdminOptions_t {
        self.options.as_ptr()
    }
}

impl Drop for Options<'_> {
    fn drop(&mut self) {
        // SAFETY: ours, released once.
        unsafe { rd::rd_kafka_AdminOptions_destroy(self.options.as_ptr()) };
    }
}
