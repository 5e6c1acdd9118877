//! `rd_kafka_topic_partition_list_t`: partitions that go to librdkafka, with an offset and a leader epoch each.

use std::ffi::CString;
use std::marker::PhantomData;
use std::ptr::NonNull;

use rdkafka::bindings as rd;

use super::{Client, c_string, text};

/// What a group has committed for one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Committed {
    /// The topic.
    pub(crate) topic: String,
    /// The partition.
    pub(crate) partition: i32,
    /// The broker's code; 0 for an answer.
    pub(crate) code: i32,
    /// The offset; negative for none.
    pub(crate) offset: i64,
    /// What was committed with it.
    pub(crate) metadata: Option<Vec<u8>>,
}

/// A list of partitions. It borrows the client, and so is gone before it.
pub(crate) struct PartitionList<'c> {
    list: NonNull<rd::rd_kafka_topic_partition_list_t>,
    last_topic: Option<(String, CString)>,
    client: PhantomData<&'c Client>,
}

impl<'c> PartitionList<'c> {
    /// An empty list with room for `capacity` partitions.
    pub(crate) fn new(_client: &'c Client, capacity: usize) -> Self {
        let capacity = i32::try_from(capacity).unwrap_or(i32::MAX);
        // SAFETY: allocates; librdkafka aborts the process when memory is gone, so null does not come back.
        let list = unsafe { rd::rd_kafka_topic_partition_list_new(capacity) };
        let list = NonNull::new(list).expect("librdkafka aborts rather than return null when memory is gone");
        Self { list, last_topic: None, client: PhantomData }
    }

    /// Adds a partition; `offset` may be one of librdkafka's negative constants.
    pub(crate) fn add(&mut self, topic: &str, partition: i32, offset: i64, leader_epoch: Option<i32>) {
        if self.last_topic.as_ref().is_none_or(|(name, _)| name != topic) {
            self.last_topic = Some((topic.to_owned(), c_string(topic)));
        }
        let Some((_, name)) = &self.last_topic else { return };
        // SAFETY: list and name are alive; the element that comes back belongs to the list and is filled before the next
        // `add` may move it.
        unsafe {
            let element = rd::rd_kafka_topic_partition_list_add(self.list.as_ptr(), name.as_ptr(), partition);
            (&raw mut (*element).offset).write(offset);
            if let Some(epoch) = leader_epoch {
                rd::rd_kafka_topic_partition_set_leader_epoch(element, epoch);
            }
        }
    }

    /// Adds a partition with an offset to commit and a text that is kept with it; none is not empty.
    pub(crate) fn add_offset(&mut self, topic: &str, partition: i32, offset: i64, metadata: Option<&[u8]>) {
        self.add(topic, partition, offset, None);
        let Some(metadata) = metadata else { return };
        // SAFETY: `add` appended one element, the last; its metadata is null. The memory is librdkafka's own, since the
        // list releases it, and has room for what is copied (at least 1 byte, as 0 may give null).
        unsafe {
            let list = self.list.as_ptr();
            let count = usize::try_from((&raw const (*list).cnt).read()).unwrap_or(0);
            let Some(last) = count.checked_sub(1) else { return };
            let element = (&raw const (*list).elems).read().add(last);
            let copy = rd::rd_kafka_mem_malloc(std::ptr::null_mut(), metadata.len().max(1));
            std::ptr::copy_nonoverlapping(metadata.as_ptr(), copy.cast(), metadata.len());
            (&raw mut (*element).metadata).write(copy);
            (&raw mut (*element).metadata_size).write(metadata.len());
        }
    }

    /// What librdkafka wrote into the list about committed offsets, in its order.
    pub(super) fn committed(&self) -> Vec<Committed> {
        // SAFETY: the list is alive.
        unsafe { read_committed(self.list.as_ptr()) }
    }

    /// The error codes that librdkafka wrote into the list, in its order; 0 for none.
    pub(super) fn codes(&self) -> Vec<i32> {
        // SAFETY: the list is alive and read within its bounds, field by field, since `err` may be a code the enum lacks.
        unsafe {
            let list = self.list.as_ptr();
            let count = usize::try_from((&raw const (*list).cnt).read()).unwrap_or(0);
            let elements = (&raw const (*list).elems).read();
            (0..count).map(|index| (&raw const (*elements.add(index)).err).cast::<i32>().read()).collect()
        }
    }

    /// For librdkafka.
    pub(super) fn as_ptr(&self) -> *mut rd::rd_kafka_topic_partition_list_t {
        self.list.as_ptr()
    }
}

/// What stands in a list about committed offsets, in its order.
///
/// # Safety
/// `list` lives through the call.
pub(super) unsafe fn read_committed(list: *const rd::rd_kafka_topic_partition_list_t) -> Vec<Committed> {
    // SAFETY: by the contract above; read within its bounds, field by field, since `err` may be a code the enum lacks;
    // metadata is null or has the size that is told.
    unsafe {
        let count = usize::try_from((&raw const (*list).cnt).read()).unwrap_or(0);
        let elements = (&raw const (*list).elems).read();
        let read = |index: usize| {
            let element = elements.add(index);
            let (metadata, size) = ((*element).metadata, (*element).metadata_size);
            let metadata = (!metadata.is_null()).then(|| std::slice::from_raw_parts(metadata.cast(), size).to_vec());
            Committed {
                topic: text((&raw const (*element).topic).read()),
                partition: (&raw const (*element).partition).read(),
                code: (&raw const (*element).err).cast::<i32>().read(),
                offset: (&raw const (*element).offset).read(),
                metadata,
            }
        };
        (0..count).map(read).collect()
    }
}

impl Drop for PartitionList<'_> {
    fn drop(&mut self) {
        // SAFETY: made by `new`, released once.
        unsafe { rd::rd_kafka_topic_partition_list_destroy(self.list.as_ptr()) };
    }
}
