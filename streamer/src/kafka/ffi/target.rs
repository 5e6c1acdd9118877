//! Admin requests that change the cluster: topics, their settings, groups.

use std::ffi::c_char;
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings as rd;

use super::admin::{Options, Queue, TIMED_OUT};
use super::{EXPLANATION_BYTES, as_integer, c_string, error_code, explanation, millis, take_error, text};

/// One answer: the topic's or group's name, and the broker's code (0 for done) with its words, which may be empty.
pub(crate) type Outcome = (String, i32, String);

/// A topic to be created.
pub(crate) struct NewTopic<'a> {
    pub(crate) name: &'a str,
    pub(crate) partitions: i32,
    /// −1 is the brokers' default.
    pub(crate) replicas: i32,
    pub(crate) settings: Vec<(&'a str, &'a str)>,
}

impl Queue<'_> {
    /// Creates topics, or only says whether that would be possible.
    ///
    /// # Errors
    /// librdkafka's code, if the request as a whole failed.
    pub(crate) fn create_topics(self, topics: &[NewTopic<'_>], validate_only: bool) -> Result<Vec<Outcome>, i32> {
        let topics = topics.iter().map(OwnedNewTopic::of).collect::<Result<Vec<_>, _>>()?;
        let mut pointers: Vec<*mut rd::rd_kafka_NewTopic_t> = topics.iter().map(|topic| topic.0.as_ptr()).collect();
        let options = Options::new(self.client, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_CREATETOPICS, self.timeout);
        options.wait_for_the_controller(self.timeout);
        options.validate_only(validate_only);
        // SAFETY: client, topics, options and queue are alive; topics and options are copied.
        unsafe {
            rd::rd_kafka_CreateTopics(
                self.client.as_ptr(),
                pointers.as_mut_ptr(),
                pointers.len(),
                options.as_ptr(),
                self.queue.as_ptr(),
            );
        }
        let event = self.answer()?;
        // SAFETY: the event is alive; what is reached through it belongs to it and is read within its bounds.
        unsafe {
            let result = rd::rd_kafka_event_CreateTopics_result(event.as_ptr());
            if result.is_null() {
                return Err(TIMED_OUT);
            }
            let mut count = 0;
            let found = rd::rd_kafka_CreateTopics_result_topics(result, &raw mut count);
            Ok((0..count).map(|index| topic_outcome(*found.add(index))).collect())
        }
    }

    /// Deletes a topic. The brokers forget it a little later.
    ///
    /// # Errors
    /// librdkafka's code, if the request as a whole failed.
    pub(crate) fn delete_topic(self, topic: &str) -> Result<Vec<Outcome>, i32> {
        let name = c_string(topic);
        let options = Options::new(self.client, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETETOPICS, self.timeout);
        options.wait_for_the_controller(self.timeout);
        // SAFETY: client, options and queue are alive; the request is copied, and what was made for it released once.
        unsafe {
            let mut request = rd::rd_kafka_DeleteTopic_new(name.as_ptr());
            rd::rd_kafka_DeleteTopics(self.client.as_ptr(), &raw mut request, 1, options.as_ptr(), self.queue.as_ptr());
            rd::rd_kafka_DeleteTopic_destroy(request);
        }
        let event = self.answer()?;
        // SAFETY: the event is alive; what is reached through it belongs to it and is read within its bounds.
        unsafe {
            let result = rd::rd_kafka_event_DeleteTopics_result(event.as_ptr());
            if result.is_null() {
                return Err(TIMED_OUT);
            }
            let mut count = 0;
            let found = rd::rd_kafka_DeleteTopics_result_topics(result, &raw mut count);
            Ok((0..count).map(|index| topic_outcome(*found.add(index))).collect())
        }
    }

    /// Sets settings of topics (`None` takes one back to the brokers' default), or only says whether that would be possible;
    /// the others stay as they are.
    ///
    /// # Errors
    /// librdkafka's code, if the request as a whole failed.
    pub(crate) fn alter_topics(
        self,
        topics: &[&str],
        changes: &[(&str, Option<&str>)],
        validate_only: bool,
    ) -> Result<Vec<Outcome>, i32> {
        let request = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_INCREMENTALALTERCONFIGS;
        let options = Options::new(self.client, request, self.timeout);
        options.validate_only(validate_only);
        let resources = topics.iter().map(|topic| Resource::of_topic(topic)).collect::<Result<Vec<_>, _>>()?;
        for (resource, (name, value)) in
            resources.iter().flat_map(|one| changes.iter().map(move |change| (one, change)))
        {
            resource.change(name, *value)?;
        }
        let mut pointers: Vec<*mut rd::rd_kafka_ConfigResource_t> =
            resources.iter().map(|one| one.0.as_ptr()).collect();
        // SAFETY: client, resources, options and queue are alive; resources and options are copied.
        unsafe {
            rd::rd_kafka_IncrementalAlterConfigs(
                self.client.as_ptr(),
                pointers.as_mut_ptr(),
                pointers.len(),
                options.as_ptr(),
                self.queue.as_ptr(),
            );
        }
        let event = self.answer()?;
        // SAFETY: the event is alive; what is reached through it belongs to it and is read within its bounds.
        unsafe {
            let result = rd::rd_kafka_event_IncrementalAlterConfigs_result(event.as_ptr());
            if result.is_null() {
                return Err(TIMED_OUT);
            }
            let mut count = 0;
            let found = rd::rd_kafka_IncrementalAlterConfigs_result_resources(result, &raw mut count);
            Ok((0..count).map(|index| resource_outcome(*found.add(index))).collect())
        }
    }

    /// Deletes a group with its offsets.
    ///
    /// # Errors
    /// librdkafka's code, if the request as a whole failed.
    pub(crate) fn delete_group(self, group: &str) -> Result<Vec<Outcome>, i32> {
        let name = c_string(group);
        let options = Options::new(self.client, rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DELETEGROUPS, self.timeout);
        // SAFETY: client, options and queue are alive; the request is copied, and what was made for it released once.
        unsafe {
            let mut request = rd::rd_kafka_DeleteGroup_new(name.as_ptr());
            rd::rd_kafka_DeleteGroups(self.client.as_ptr(), &raw mut request, 1, options.as_ptr(), self.queue.as_ptr());
            rd::rd_kafka_DeleteGroup_destroy(request);
        }
        let event = self.answer()?;
        // SAFETY: the event is alive; what is reached through it belongs to it and is read within its bounds.
        unsafe {
            let result = rd::rd_kafka_event_DeleteGroups_result(event.as_ptr());
            if result.is_null() {
                return Err(TIMED_OUT);
            }
            let mut count = 0;
            let found = rd::rd_kafka_DeleteGroups_result_groups(result, &raw mut count);
            Ok((0..count).map(|index| group_outcome(*found.add(index))).collect())
        }
    }
}

impl Options<'_> {
    /// Lets the broker answer once the controller has done it, not once it has taken note.
    fn wait_for_the_controller(&self, timeout: Duration) {
        let mut ignored = [0_u8; EXPLANATION_BYTES];
        // SAFETY: the options are alive; the buffer has the length that is told. The time is within what is taken, and
        // the requests that ask for this have the option, so there is no error to act on.
        unsafe {
            rd::rd_kafka_AdminOptions_set_operation_timeout(
                self.as_ptr(),
                millis(timeout).clamp(1, 3_600_000),
                ignored.as_mut_ptr().cast(),
                ignored.len(),
            );
        }
    }

    fn validate_only(&self, only: bool) {
        let mut ignored = [0_u8; EXPLANATION_BYTES];
        // SAFETY: as above.
        unsafe {
            rd::rd_kafka_AdminOptions_set_validate_only(
                self.as_ptr(),
                i32::from(only),
                ignored.as_mut_ptr().cast(),
                ignored.len(),
            );
        }
    }
}

/// librdkafka's code for an argument that makes no sense.
const INVALID_ARG: i32 = -186;

/// A topic to be created, as librdkafka wants it.
struct OwnedNewTopic(NonNull<rd::rd_kafka_NewTopic_t>);

impl OwnedNewTopic {
    fn of(topic: &NewTopic<'_>) -> Result<Self, i32> {
        let name = c_string(topic.name);
        let mut reason = [0_u8; EXPLANATION_BYTES];
        // SAFETY: the name is copied; the buffer has the length that is told.
        let made = unsafe {
            rd::rd_kafka_NewTopic_new(
                name.as_ptr(),
                topic.partitions,
                topic.replicas,
                reason.as_mut_ptr().cast::<c_char>(),
                reason.len(),
            )
        };
        let Some(made) = NonNull::new(made) else {
            tracing::debug!(topic = topic.name, reason = explanation(&reason), "not a topic to be created");
            return Err(INVALID_ARG);
        };
        let made = Self(made);
        for (name, value) in &topic.settings {
            let (name, value) = (c_string(name), c_string(value));
            // SAFETY: the topic is alive; name and value are copied. Any name and value is taken.
            unsafe { rd::rd_kafka_NewTopic_set_config(made.0.as_ptr(), name.as_ptr(), value.as_ptr()) };
        }
        Ok(made)
    }
}

impl Drop for OwnedNewTopic {
    fn drop(&mut self) {
        // SAFETY: ours, released once.
        unsafe { rd::rd_kafka_NewTopic_destroy(self.0.as_ptr()) };
    }
}

/// A topic whose settings are to be changed.
struct Resource(NonNull<rd::rd_kafka_ConfigResource_t>);

impl Resource {
    fn of_topic(topic: &str) -> Result<Self, i32> {
        let name = c_string(topic);
        let kind = rd::rd_kafka_ResourceType_t::RD_KAFKA_RESOURCE_TOPIC;
        // SAFETY: the name is copied.
        let made = unsafe { rd::rd_kafka_ConfigResource_new(kind, name.as_ptr()) };
        NonNull::new(made).map(Self).ok_or(INVALID_ARG)
    }

    fn change(&self, name: &str, value: Option<&str>) -> Result<(), i32> {
        use rd::rd_kafka_AlterConfigOpType_t as operation;
        let (name, value) = (c_string(name), value.map(c_string));
        let (operation, value) = match &value {
            Some(value) => (operation::RD_KAFKA_ALTER_CONFIG_OP_TYPE_SET, value.as_ptr()),
            None => (operation::RD_KAFKA_ALTER_CONFIG_OP_TYPE_DELETE, std::ptr::null()),
        };
        // SAFETY: the resource is alive; name and value are copied; the error is ours.
        let code = unsafe {
            take_error(rd::rd_kafka_ConfigResource_add_incremental_config(
                self.0.as_ptr(),
                name.as_ptr(),
                operation,
                value,
            ))
        };
        if code == 0 { Ok(()) } else { Err(code) }
    }
}

impl Drop for Resource {
    fn drop(&mut self) {
        // SAFETY: ours, released once.
        unsafe { rd::rd_kafka_ConfigResource_destroy(self.0.as_ptr()) };
    }
}

/// # Safety
/// `result` belongs to an answer that lives through the call.
unsafe fn topic_outcome(result: *const rd::rd_kafka_topic_result_t) -> Outcome {
    // SAFETY: by the contract above; see `as_integer`.
    unsafe {
        let error: unsafe extern "C" fn(*const rd::rd_kafka_topic_result_t) -> i32 =
            as_integer(rd::rd_kafka_topic_result_error);
        let name = text(rd::rd_kafka_topic_result_name(result));
        (name, error(result), text(rd::rd_kafka_topic_result_error_string(result)))
    }
}

/// # Safety
/// `resource` belongs to an answer that lives through the call.
unsafe fn resource_outcome(resource: *const rd::rd_kafka_ConfigResource_t) -> Outcome {
    // SAFETY: by the contract above; see `as_integer`.
    unsafe {
        let error: unsafe extern "C" fn(*const rd::rd_kafka_ConfigResource_t) -> i32 =
            as_integer(rd::rd_kafka_ConfigResource_error);
        let name = text(rd::rd_kafka_ConfigResource_name(resource));
        (name, error(resource), text(rd::rd_kafka_ConfigResource_error_string(resource)))
    }
}

/// # Safety
/// `result` belongs to an answer that lives through the call.
unsafe fn group_outcome(result: *const rd::rd_kafka_group_result_t) -> Outcome {
    // SAFETY: by the contract above.
    unsafe {
        let name = text(rd::rd_kafka_group_result_name(result));
        (name, error_code(rd::rd_kafka_group_result_error(result)), String::new())
    }
}
