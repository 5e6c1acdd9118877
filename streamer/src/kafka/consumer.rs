//! Which partitions are fetched, and what comes of them.
//!
//! Owns: the assignment, the way from a record to its slot, and the order "no record of an assignment after it ended".
//! Does not own: where a partition starts, what a fault means, and buffering.
//!
//! ```text
//! assign ─┐ waits its turn      poll (one thread) ──▶ queue ──▶ slot of the partition ──▶ Sink
//!         └────────────────────▶ Assigned (mutex) ◀──┘
//! ```
//!
//! Invariants:
//! * An event is taken from the queue and given to the sink under the same lock that an assignment takes. So between the
//!   two the assignment cannot change, and what comes after it is of the new assignment: librdkafka raises the
//!   partition's version barrier before `incremental_unassign` returns and drops older events when they are taken.
//! * A partition librdkafka would go on with behind unreadable data stands still until it is assigned again.
//! * Positions are the sink's (`record.offset.next()`, or the end's offset), never `rd_kafka_position`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use strimzi_backup_format::ids::{LeaderEpoch, Offset, PartitionId, TimestampMs, TopicName};
use strimzi_backup_format::record::{HeaderRef, RecordRef};

use super::error::{Code, Error, PartitionFault};
use super::ffi::{Client, Event, EventKind, Headers, Message, PartitionList};

/// What an error of [`check_epochs`] says was being done.
const CHECK: &str = "check leader epochs of assigned partitions";

/// Time for librdkafka's main thread to start partitions; no broker is waited for.
const SEEK_TIMEOUT: Duration = Duration::from_secs(10);

/// Partitions in one seek: librdkafka searches the list once for each.
const PARTITIONS_PER_SEEK: usize = 500;

/// A partition to fetch, and from where.
#[derive(Clone, Debug)]
pub struct Assignment {
    /// What [`Sink`] is told instead of topic and partition.
    pub slot: u32,
    /// The topic.
    pub topic: TopicName,
    /// The partition.
    pub partition: PartitionId,
    /// The first offset to fetch.
    pub offset: Offset,
    /// The leader epoch of the record right before `offset`, if known: its leader is then asked whether that record is
    /// still where it was, and if not, [`PartitionFault::OutOfRange`] comes. `offset` must be that record's next one:
    /// behind it may stand markers of a later epoch, which would look like a truncation.
    pub leader_epoch: Option<LeaderEpoch>,
}

/// Takes what [`super::Kafka::poll`] delivers. Called on the polling thread, under a lock that `assign` and `unassign`
/// take too: it must call neither.
pub trait Sink {
    /// A record. It borrows a fetch buffer: copy what is to be kept.
    fn record(&mut self, slot: u32, record: RecordRef<'_>);
    /// Everything below `offset` was delivered or is no data: the last stable offset at this moment.
    fn end_of_partition(&mut self, slot: u32, offset: Offset);
    /// A partition could not be fetched.
    fn partition_fault(&mut self, slot: u32, fault: PartitionFault);
    /// A connection or the client as a whole has trouble. librdkafka goes on trying after all but [`Error::Fatal`]:
    /// [`Error::Unreachable`] is one broker or a moment, and even one [`Error::Authentication`] comes of a bearer token
    /// that is renewed while another request is under way. Several brokers that tell the same, or no progress, mean it.
    fn client_fault(&mut self, fault: Error);
    /// Whether nothing more is to be given to it now; asked after every event.
    fn is_full(&self) -> bool {
        false
    }
}

/// One assigned partition.
struct Assigned {
    slot: u32,
    from: Offset,
    /// Data was unreadable; what follows is not delivered.
    halted: bool,
}

/// The way from a record to its slot.
#[derive(Default)]
struct Table {
    topics: HashMap<String, HashMap<i32, Assigned>>,
    /// Topic handle, partition and slot of the record before. Records come in batches of one partition, so this answers
    /// for nearly all of them. Emptied whenever an assignment ends, since librdkafka may then use the handle's address
    /// for another topic.
    last: Option<(usize, i32, u32)>,
}

impl Table {
    fn get(&mut self, topic: &str, partition: i32) -> Option<&mut Assigned> {
        self.topics.get_mut(topic)?.get_mut(&partition)
    }

    fn slot_of(&mut self, message: &Message<'_>) -> Option<u32> {
        let (address, partition) = (message.topic_address(), message.partition());
        if let Some((last_address, last_partition, slot)) = self.last
            && (last_address, last_partition) == (address, partition)
        {
            return Some(slot);
        }
        let assigned = self.get(&message.topic(), partition).filter(|assigned| !assigned.halted)?;
        let slot = assigned.slot;
        self.last = Some((address, partition, slot));
        Some(slot)
    }

    fn insert(&mut self, assignment: &Assignment) {
        let assigned = Assigned { slot: assignment.slot, from: assignment.offset, halted: false };
        let partitions = self.topics.entry(assignment.topic.as_str().to_owned()).or_default();
        partitions.insert(assignment.partition.get(), assigned);
    }

    fn remove(&mut self, topic: &str, partition: i32) {
        self.last = None;
        if let Some(partitions) = self.topics.get_mut(topic) {
            partitions.remove(&partition);
            if partitions.is_empty() {
                self.topics.remove(topic);
            }
        }
    }

    /// The slot of a fault, unless the fault is of an assignment that ended: out-of-range errors carry no version
    /// barrier in librdkafka, so one of an earlier assignment may still come.
    fn slot_of_fault(&mut self, topic: &str, partition: i32, fault: PartitionFault) -> Option<u32> {
        self.last = None;
        let assigned = self.get(topic, partition)?;
        let earlier = matches!(fault, PartitionFault::OutOfRange { requested: Some(offset) } if offset < assigned.from);
        if earlier || assigned.halted {
            return None;
        }
        assigned.halted = fault.halts();
        Some(assigned.slot)
    }
}

/// The consumer's side of a client.
#[derive(Default)]
pub(super) struct Consumer {
    table: Mutex<Table>,
    /// How many threads want the table, so that a poll that waits for records makes way.
    waiting: AtomicUsize,
    /// The last trouble of the connection, to explain a request that got no answer.
    trouble: Mutex<Option<Error>>,
}

impl Consumer {
    /// Fetches the partitions from their offsets; those assigned before start anew.
    pub(super) fn assign(&self, client: &Client, assignments: &[Assignment]) -> Result<(), Error> {
        let partitions: Vec<_> = assignments.iter().map(|one| (one.topic.clone(), one.partition)).collect();
        let mut table = self.make_way(client);
        Self::unassign_locked(&mut table, client, &partitions)?;
        if assignments.is_empty() {
            return Ok(());
        }
        let mut list = PartitionList::new(client, assignments.len());
        for one in assignments {
            list.add(one.topic.as_str(), one.partition.get(), one.offset.get(), epoch(one));
        }
        client.incremental_assign(&list).map_err(|code| Error::of_request("assign partitions", Code::new(code)))?;
        if let Err(error) = check_epochs(client, assignments) {
            // What could not be checked is not read. Fails only with the client itself, which is then of no use.
            let _ = client.incremental_unassign(&list);
            return Err(error);
        }
        for one in assignments {
            table.insert(one);
        }
        Ok(())
    }

    /// Stops fetching the partitions; those not assigned are passed over.
    pub(super) fn unassign(&self, client: &Client, partitions: &[(TopicName, PartitionId)]) -> Result<(), Error> {
        let mut table = self.make_way(client);
        Self::unassign_locked(&mut table, client, partitions)
    }

    fn unassign_locked(
        table: &mut Table,
        client: &Client,
        partitions: &[(TopicName, PartitionId)],
    ) -> Result<(), Error> {
        let assigned: Vec<_> = partitions
            .iter()
            .map(|(topic, partition)| (topic.as_str(), partition.get()))
            .filter(|(topic, partition)| table.get(topic, *partition).is_some())
            .collect();
        if assigned.is_empty() {
            return Ok(());
        }
        let mut list = PartitionList::new(client, assigned.len());
        for (topic, partition) in &assigned {
            list.add(topic, *partition, 0, None);
        }
        client.incremental_unassign(&list).map_err(|code| Error::of_request("unassign partitions", Code::new(code)))?;
        for (topic, partition) in assigned {
            table.remove(topic, partition);
        }
        Ok(())
    }

    /// Takes the table, ending a poll that waits for records.
    fn make_way(&self, client: &Client) -> MutexGuard<'_, Table> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        client.wake_poll();
        let table = self.table.lock();
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        table
    }

    /// Gives up to `max_events` events to the sink, waiting at most `timeout` for the first. Returns how many.
    pub(super) fn poll(&self, client: &Client, timeout: Duration, max_events: usize, sink: &mut impl Sink) -> usize {
        let mut table = self.table.lock();
        let mut headers = Vec::new();
        let mut events = 0;
        while events < max_events {
            let wanted = self.waiting.load(Ordering::SeqCst) > 0;
            let wait = if events == 0 && !wanted { timeout } else { Duration::ZERO };
            let Some(mut event) = client.poll(wait) else { break };
            events += 1;
            match event.kind() {
                EventKind::Fetch => {
                    while let Some(message) = event.next_message() {
                        headers = recycled(deliver(&mut table, message, recycled(headers), sink));
                    }
                }
                EventKind::Error => self.fault(client, &mut table, &event, sink),
                EventKind::Other => {}
            }
            if wanted || sink.is_full() {
                break;
            }
        }
        // Fair: a thread that waits for the table gets it before this one takes it again.
        MutexGuard::unlock_fair(table);
        events
    }

    fn fault(&self, client: &Client, table: &mut Table, event: &Event<'_>, sink: &mut impl Sink) {
        let code = Code::new(event.error());
        let Some((topic, partition, offset)) = event.topic_partition() else {
            if let Some(fault) = self.client_fault(client, code, event) {
                sink.client_fault(fault);
            }
            return;
        };
        if code == Code::PARTITION_EOF {
            if let Some(assigned) = table.get(&topic, partition).filter(|assigned| !assigned.halted) {
                sink.end_of_partition(assigned.slot, Offset::new(offset));
            }
            return;
        }
        let fault = PartitionFault::of(code, offset);
        match table.slot_of_fault(&topic, partition, fault) {
            Some(slot) => sink.partition_fault(slot, fault),
            None => tracing::debug!(topic, partition, %code, "fault of an ended assignment passed over"),
        }
    }

    fn client_fault(&self, client: &Client, code: Code, event: &Event<'_>) -> Option<Error> {
        if code.is_about_groups() {
            tracing::debug!(%code, "no group coordinator; none is needed");
            return None;
        }
        let fault = match client.fatal_error() {
            Some((code, detail)) if Code::FATAL.get() == event.error() => {
                Error::Fatal { code: Code::new(code), detail }
            }
            _ => Error::of_client(code, event.error_text()),
        };
        let mut trouble = self.trouble.lock();
        // A refused password is followed by "all brokers down"; the cause is kept.
        if !fault.is_retryable() || trouble.as_ref().is_none_or(Error::is_retryable) {
            *trouble = Some(fault.clone());
        }
        drop(trouble);
        Some(fault)
    }

    /// Forgets earlier trouble: the cluster has answered.
    pub(super) fn forget_trouble(&self) {
        *self.trouble.lock() = None;
    }

    /// The last trouble of the connection. While nothing is assigned nobody may be polling, so the queue is emptied
    /// here: it then holds no records.
    pub(super) fn trouble(&self, client: &Client) -> Option<Error> {
        if let Some(table) = self.table.try_lock()
            && table.topics.is_empty()
        {
            while let Some(event) = client.poll(Duration::ZERO) {
                if event.kind() == EventKind::Error && event.topic_partition().is_none() {
                    self.client_fault(client, Code::new(event.error()), &event);
                }
            }
        }
        self.trouble.lock().clone()
    }
}

/// Makes librdkafka ask the leaders whether the logs still hold what came before the offsets. An assignment alone asks
/// only if the topic's metadata was unknown before, and silently goes on if not; a seek always asks. The version barrier
/// that a seek raises drops what was fetched since the assignment, so nothing comes twice.
fn check_epochs(client: &Client, assignments: &[Assignment]) -> Result<(), Error> {
    let deadline = Instant::now() + SEEK_TIMEOUT;
    let known = assignments.iter().filter(|one| epoch(one).is_some() && one.offset.get() > 0);
    let mut left: Vec<&Assignment> = known.collect();
    while !left.is_empty() {
        let mut again = Vec::new();
        for chunk in left.chunks(PARTITIONS_PER_SEEK) {
            let mut list = PartitionList::new(client, chunk.len());
            for one in chunk {
                list.add(one.topic.as_str(), one.partition.get(), one.offset.get(), epoch(one));
            }
            let codes =
                client.seek(&mut list, SEEK_TIMEOUT).map_err(|code| Error::of_request(CHECK, Code::new(code)))?;
            for (one, code) in chunk.iter().zip(codes) {
                match Code::new(code) {
                    Code::NO_ERROR => {}
                    // The partition has not been started: earlier assignments are still being stopped.
                    Code::STATE | Code::PREVIOUS_IN_PROGRESS => again.push(*one),
                    code => return Err(Error::of_request(CHECK, code)),
                }
            }
        }
        left = again;
        if !left.is_empty() {
            if Instant::now() >= deadline {
                return Err(Error::of_request(CHECK, Code::TIMED_OUT));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    Ok(())
}

fn epoch(assignment: &Assignment) -> Option<i32> {
    assignment.leader_epoch.filter(|epoch| *epoch != LeaderEpoch::UNKNOWN).map(LeaderEpoch::get)
}

/// Gives one message to the sink, unless its partition is no longer assigned. Gives the vector back for the next one.
fn deliver<'e>(
    table: &mut Table,
    message: Message<'e>,
    mut headers: Vec<HeaderRef<'e>>,
    sink: &mut impl Sink,
) -> Vec<HeaderRef<'e>> {
    let Some(slot) = table.slot_of(&message) else {
        return headers;
    };
    let error = message.error();
    let unreadable = error == 0 && matches!(message.headers(&mut headers), Headers::Unreadable);
    if error != 0 || unreadable {
        let code = if unreadable { Code::BAD_MSG } else { Code::new(error) };
        let fault = PartitionFault::of(code, message.offset());
        if let Some(slot) = table.slot_of_fault(&message.topic(), message.partition(), fault) {
            sink.partition_fault(slot, fault);
        }
        return headers;
    }
    let (timestamp, timestamp_type) = message.timestamp();
    let record = RecordRef {
        offset: Offset::new(message.offset()),
        timestamp: TimestampMs::new(timestamp),
        timestamp_type,
        leader_epoch: LeaderEpoch::new(message.leader_epoch()),
        key: message.key(),
        value: message.value(),
        headers: &headers,
    };
    sink.record(slot, record);
    headers
}

/// The emptied vector for headers of another lifetime; the standard library keeps the allocation.
fn recycled<'b>(mut headers: Vec<HeaderRef<'_>>) -> Vec<HeaderRef<'b>> {
    headers.clear();
    #[allow(clippy::unnecessary_filter_map, reason = "the lifetime changes, which `filter` cannot do")]
    headers.into_iter().filter_map(|_| None).collect()
}
