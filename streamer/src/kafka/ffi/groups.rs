//! Admin requests about consumer groups: what they are, what they have committed, and other offsets for them.

use std::ffi::{CString, c_char};

use rdkafka::bindings as rd;

use super::admin::{Options, Queue, TIMED_OUT};
use super::partitions::{self, Committed};
use super::{PartitionList, c_string, error_code, rights, text};

/// What a broker says of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupDescription {
    /// Members that it has now.
    pub(crate) members: usize,
    /// Its state, such as `Empty`, `Stable` or `Dead`, which is also told of one that does not exist.
    pub(crate) state: String,
    /// The operations that are allowed, as in [`super::rights`].
    pub(crate) rights: Option<u32>,
}

/// One answer: the group's id, and what it is or the broker's code.
pub(crate) type DescribedGroup = (String, Result<GroupDescription, i32>);

impl Queue<'_> {
    /// What groups are, of the classic and the consumer protocol, and what the user may do with them. No group may be
    /// named twice.
    ///
    /// # Errors
    /// librdkafka's code, if the request as a whole failed.
    pub(crate) fn describe_groups(self, groups: &[&str]) -> Result<Vec<DescribedGroup>, i32> {
        let names: Vec<CString> = groups.iter().map(|name| c_string(name)).collect();
        let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let request = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS;
        let options = Options::with_rights(self.client, request, self.timeout);
        // SAFETY: names, client, options and queue are alive; names and options are copied.
        unsafe {
            rd::rd_kafka_DescribeConsumerGroups(
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
            let result = rd::rd_kafka_event_DescribeConsumerGroups_result(event.as_ptr());
            if result.is_null() {
                return Err(TIMED_OUT);
            }
            let mut count = 0;
            let found = rd::rd_kafka_DescribeConsumerGroups_result_groups(result, &raw mut count);
            Ok((0..count).map(|index| described(*found.add(index))).collect())
        }
    }

    /// What a group has committed, for all partitions. What an open transaction is about to commit is not told.
    ///
    /// # Errors
    /// librdkafka's code, if the request as a whole or the group's answer failed.
    pub(crate) fn group_offsets(self, group: &str) -> Result<Vec<Committed>, i32> {
        let name = c_string(group);
        let request = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS;
        let options = Options::new(self.client, request, self.timeout);
        // SAFETY: name, client, options and queue are alive; the request, of which no partitions mean all, is copied, and
        // what was made for it released once.
        unsafe {
            let mut request = rd::rd_kafka_ListConsumerGroupOffsets_new(name.as_ptr(), std::ptr::null());
            rd::rd_kafka_ListConsumerGroupOffsets(
                self.client.as_ptr(),
                &raw mut request,
                1,
                options.as_ptr(),
                self.queue.as_ptr(),
            );
            rd::rd_kafka_ListConsumerGroupOffsets_destroy(request);
        }
        let event = self.answer()?;
        // SAFETY: the event is alive; what is reached through it belongs to it and is read within its bounds.
        unsafe {
            let result = rd::rd_kafka_event_ListConsumerGroupOffsets_result(event.as_ptr());
            if result.is_null() {
                return Err(TIMED_OUT);
            }
            let mut count = 0;
            let found = rd::rd_kafka_ListConsumerGroupOffsets_result_groups(result, &raw mut count);
            of_first(found, count)
        }
    }

    /// Commits offsets for a group without members. Each partition has its own answer: one of a group that has members is
    /// refused partition by partition.
    ///
    /// # Errors
    /// librdkafka's code, if the request as a whole or the group's answer failed.
    pub(crate) fn alter_group_offsets(self, group: &str, offsets: &PartitionList<'_>) -> Result<Vec<Committed>, i32> {
        let name = c_string(group);
        let request = rd::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_ALTERCONSUMERGROUPOFFSETS;
        let options = Options::new(self.client, request, self.timeout);
        // SAFETY: name, list, client, options and queue are alive; the request is copied, and what was made for it released
        // once.
        unsafe {
            let mut request = rd::rd_kafka_AlterConsumerGroupOffsets_new(name.as_ptr(), offsets.as_ptr());
            rd::rd_kafka_AlterConsumerGroupOffsets(
                self.client.as_ptr(),
                &raw mut request,
                1,
                options.as_ptr(),
                self.queue.as_ptr(),
            );
            rd::rd_kafka_AlterConsumerGroupOffsets_destroy(request);
        }
        let event = self.answer()?;
        // SAFETY: the event is alive; what is reached through it belongs to it and is read within its bounds.
        unsafe {
            let result = rd::rd_kafka_event_AlterConsumerGroupOffsets_result(event.as_ptr());
            if result.is_null() {
                return Err(TIMED_OUT);
            }
            let mut count = 0;
            let found = rd::rd_kafka_AlterConsumerGroupOffsets_result_groups(result, &raw mut count);
            of_first(found, count)
        }
    }
}

/// # Safety
/// `group` belongs to a result that lives through the call.
unsafe fn described(group: *const rd::rd_kafka_ConsumerGroupDescription_t) -> DescribedGroup {
    // SAFETY: by the contract above. The state is read as the integer that it is, since a broker may send one the enum
    // lacks, and its name is static.
    unsafe {
        let name = text(rd::rd_kafka_ConsumerGroupDescription_group_id(group));
        let code = error_code(rd::rd_kafka_ConsumerGroupDescription_error(group));
        if code != 0 {
            return (name, Err(code));
        }
        let state: unsafe extern "C" fn(*const rd::rd_kafka_ConsumerGroupDescription_t) -> u32 = std::mem::transmute(
            rd::rd_kafka_ConsumerGroupDescription_state
                as unsafe extern "C" fn(
                    *const rd::rd_kafka_ConsumerGroupDescription_t,
                ) -> rd::rd_kafka_consumer_group_state_t,
        );
        let name_of: unsafe extern "C" fn(u32) -> *const c_char = std::mem::transmute(
            rd::rd_kafka_consumer_group_state_name
                as unsafe extern "C" fn(rd::rd_kafka_consumer_group_state_t) -> *const c_char,
        );
        let members = rd::rd_kafka_ConsumerGroupDescription_member_count(group);
        let mut count = 0;
        let operations = rd::rd_kafka_ConsumerGroupDescription_authorized_operations(group, &raw mut count);
        let rights = rights::bits(operations, count);
        (name, Ok(GroupDescription { members, state: text(name_of(state(group))), rights }))
    }
}

/// The partitions of the only group that was asked for.
///
/// # Safety
/// `groups` has `count` elements and belongs to a result that lives through the call.
unsafe fn of_first(groups: *const *const rd::rd_kafka_group_result_t, count: usize) -> Result<Vec<Committed>, i32> {
    if count == 0 {
        return Err(TIMED_OUT);
    }
    // SAFETY: by the contract above; the list belongs to the result.
    unsafe {
        let group = *groups;
        let code = error_code(rd::rd_kafka_group_result_error(group));
        if code != 0 {
            return Err(code);
        }
        let list = rd::rd_kafka_group_result_partitions(group);
        Ok(if list.is_null() { Vec::new() } else { partitions::read_committed(list) })
    }
}
