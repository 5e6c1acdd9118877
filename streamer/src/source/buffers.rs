//! What was fetched and not yet cut: a slot per assigned partition, against one byte budget for the process.
//!
//! Filled by the one thread that polls the client, emptied by [`Buffers::cut`]. Every assignment gets a slot of its own, so
//! that an event of an earlier assignment of the same partition cannot be taken for one of the present.

use strimzi_backup_format::bucket::{self, Bucket, FUTURE_TOLERANCE_MILLIS};
use strimzi_backup_format::groups::{self, OffsetRow};
use strimzi_backup_format::ids::{LeaderEpoch, Offset, PartitionKey, TimestampMs};
use strimzi_backup_format::manifest::{BehindReason, LastRecord};
use strimzi_backup_format::record::RecordRef;
use strimzi_backup_format::segment::batch::{Batch, BatchBuilder, Packer};

use super::slots::Slots;

/// What a record costs beside its bytes while it is buffered: offsets, timestamp, lengths, null bits.
const RECORD_OVERHEAD_BYTES: usize = 48;

/// What a header costs beside its bytes: where its key and its value end, null bits.
const HEADER_OVERHEAD_BYTES: usize = 24;

/// What the client found wrong with one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The position is not in the log, or the log there is not the one that was read: find out.
    OutOfRange,
    /// The partition is gone.
    Unknown,
    /// Not allowed to read it.
    Denied,
    /// A batch failed its checksum; the client goes on trying.
    Corrupt,
    /// Anything else; the client goes on trying.
    Other,
}

impl Fault {
    /// The name as counted and logged.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OutOfRange => "OutOfRange",
            Self::Unknown => "Unknown",
            Self::Denied => "Denied",
            Self::Corrupt => "Corrupt",
            Self::Other => "Other",
        }
    }
}

/// Everything fetched of one partition since the last cut.
#[derive(Debug)]
pub struct PartitionCut {
    /// The slot it came from.
    pub slot: u32,
    /// The partition.
    pub key: PartitionKey,
    /// The position of the last cut.
    pub base: Offset,
    /// The position now: past the last record, and past what the broker skipped at the end.
    pub next: Offset,
    /// The last record before the position.
    pub last_record: Option<LastRecord>,
    /// The highest timestamp seen.
    pub highest_timestamp: Option<TimestampMs>,
    /// The bucket it has come to, where that is not what the highest timestamp says.
    pub filed: Option<Bucket>,
    /// The records in order, with the bucket each batch is filed under; none of `__consumer_offsets`.
    pub batches: Vec<(Bucket, Batch)>,
    /// What consumer groups have committed, in order; of `__consumer_offsets` alone.
    pub offsets: Vec<OffsetRow>,
    /// Bytes charged to the budget, to be given back when its segment is durable.
    pub charged: usize,
}

/// How far a partition is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it is captured up to; `None` while its first copy is not complete.
    pub until: Option<TimestampMs>,
    /// Why it is not captured up to the newest look at the broker; `None` where it is.
    pub behind: Option<BehindReason>,
    /// Whether the client told that nothing readable lies behind the position.
    pub at_end: bool,
}

#[derive(Debug)]
struct Slot {
    key: PartitionKey,
    /// Whether it is of `__consumer_offsets`: asked for every record, so a word and not a name.
    holds_groups: bool,
    base: Offset,
    next: Offset,
    last_record: Option<LastRecord>,
    highest: Option<TimestampMs>,
    bucket: Bucket,
    /// The first timestamp that would move the partition to another bucket, once it is not beyond the present.
    bucket_end: TimestampMs,
    open: BatchBuilder,
    fills_batches: bool,
    closed: Vec<(Bucket, Batch)>,
    offsets: Vec<OffsetRow>,
    charged: usize,
    /// The last end-of-partition offset: the last stable offset at that moment.
    end_seen: Option<Offset>,
    fault: Option<Fault>,
    /// The log is not the one that was read so far: nothing of it is taken any more.
    diverged: bool,
    frontier: Sightings,
}

/// Looks at a partition's high watermark, and what they prove.
///
/// Everything that was visible when the high watermark was `hw` is captured once the position is at `hw` or beyond.
/// Two sightings suffice: the oldest one not reached, and the newest.
#[derive(Clone, Copy, Debug, Default)]
struct Sightings {
    reached: Option<TimestampMs>,
    wanted: Option<(TimestampMs, Offset)>,
    newest: Option<(TimestampMs, Offset)>,
    refused: bool,
}

impl Sightings {
    fn end(&self) -> Option<Offset> {
        self.newest.map(|(_, end)| end)
    }

    fn see(&mut self, at: TimestampMs, position: Offset, high_watermark: Offset) {
        // What was read lay below the high watermark. That it is lower now means another log, or a leader that does not
        // know yet: either way it proves nothing.
        self.refused = high_watermark < position;
        if self.refused {
            return;
        }
        self.newest = Some((at, high_watermark));
        if self.wanted.is_none() {
            self.wanted = self.newest;
        }
    }

    fn reach(&mut self, position: Offset) {
        for sighting in [self.wanted, self.newest].into_iter().flatten() {
            if sighting.1 <= position {
                self.reached = self.reached.max(Some(sighting.0));
                self.wanted = None;
            }
        }
        if self.wanted.is_none() {
            self.wanted = self.newest.filter(|newest| newest.1 > position);
        }
    }
}

/// Where a new slot starts.
#[derive(Clone, Debug)]
pub struct Start {
    /// The partition.
    pub key: PartitionKey,
    /// The first offset to read.
    pub offset: Offset,
    /// The last record before it, where there was one.
    pub last_record: Option<LastRecord>,
    /// The highest timestamp seen before.
    pub highest_timestamp: Option<TimestampMs>,
    /// The bucket it had come to, where that is not what the highest timestamp says.
    pub filed: Option<Bucket>,
    /// What it is known to be captured up to.
    pub until: Option<TimestampMs>,
}

/// What a slot was when it was closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// The newest high watermark that the broker told.
    pub high_watermark: Option<Offset>,
    /// Bytes dropped, to be given back to the budget.
    pub charged: usize,
}

/// What was fetched and not yet cut.
#[derive(Debug, Default)]
pub struct Buffers {
    slots: Slots<Box<Slot>>,
    now: Option<TimestampMs>,
    charged: usize,
    /// Everything fetched since the start, for metrics.
    fetched: Fetched,
    packer: Option<Packer>,
    /// Whether it is used.
    packs: bool,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Records.
    pub records: u64,
    /// Bytes of keys, values and headers.
    pub bytes: u64,
    /// Events of the client, records or not: proof that it answers.
    pub events: u64,
}

impl Buffers {
    /// Opens a slot.
    pub fn open(&mut self, start: Start) -> u32 {
        let highest = start.highest_timestamp.unwrap_or(TimestampMs::new(0));
        // Not simply that of the highest: one record of the far future would file all that come after under its hour.
        let bucket = Bucket::going_on(highest, start.filed, self.now.unwrap_or(highest));
        self.slots.insert(Box::new(Slot {
            holds_groups: start.key.topic.is_consumer_offsets(),
            key: start.key,
            base: start.offset,
            next: start.offset,
            last_record: start.last_record,
            highest: start.highest_timestamp,
            bucket,
            bucket_end: bucket.end(),
            open: BatchBuilder::new(false),
            fills_batches: false,
            closed: Vec::new(),
            offsets: Vec::new(),
            charged: 0,
            end_seen: None,
            fault: None,
            diverged: false,
            frontier: Sightings { reached: start.until, ..Sightings::default() },
        }))
    }

    fn slot(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(slot).map(Box::as_mut)
    }

    fn slots(&mut self) -> impl Iterator<Item = (u32, &mut Slot)> {
        self.slots.iter_mut().map(|(number, slot)| (number, slot.as_mut()))
    }

    /// Closes a slot and drops what it holds.
    pub fn close(&mut self, slot: u32) -> Option<Closed> {
        let slot = self.slots.remove(slot)?;
        self.charged = self.charged.saturating_sub(slot.charged);
        let high_watermark = slot.frontier.newest.map(|(_, offset)| offset);
        Some(Closed { high_watermark, charged: slot.charged })
    }

    /// Tells the time to file records by; called before slots are opened, and before each batch of events.
    pub fn set_now(&mut self, now: TimestampMs) {
        self.now = Some(now);
    }

    /// Gives what compresses pages where [`Buffers::set_packs`] says so, for segments of one codec.
    pub fn set_packer(&mut self, packer: Packer) {
        self.packer = Some(packer);
    }

    /// Says whether full pages are to be compressed as they come, if there is something that does it. Else encoders do.
    pub fn set_packs(&mut self, packs: bool) {
        self.packs = packs;
    }

    /// Takes a record in. Gives back the bytes it costs; 0 for a record that is not wanted any more.
    pub fn record(&mut self, slot: u32, record: &RecordRef<'_>) -> usize {
        self.fetched.events += 1;
        let now = self.now;
        let Some(slot) = self.slots.get_mut(slot) else { return 0 };
        if slot.diverged {
            return 0;
        }
        // Behind the last record and below the position nothing could be read: that there is a record now means another
        // log. Any other record below the position was fetched before a seek: the client promises not to deliver it, and
        // if it did, it would be stored twice.
        if record.offset < slot.next {
            slot.diverged = slot.last_record.is_some_and(|last| record.offset > last.offset);
        } else {
            // Epochs never go down in one life of a log: this one was re-created, and its records must not pass for the old.
            let epoch_before = slot.last_record.map_or(LeaderEpoch::UNKNOWN, |last| last.leader_epoch);
            slot.diverged = record.leader_epoch < epoch_before && record.leader_epoch != LeaderEpoch::UNKNOWN;
        }
        if slot.diverged {
            slot.fault = Some(Fault::OutOfRange);
        }
        if slot.diverged || record.offset < slot.next {
            return 0;
        }
        let highest = slot.highest.map_or(record.timestamp, |highest| highest.max(record.timestamp));
        slot.highest = Some(highest);
        // What has no timestamp is of the present. What is dated into the future is filed under it, and it moves on, also while
        // nothing is cut.
        let by = now.map_or(highest, |now| {
            highest.max(bucket::filed_by(record.timestamp, now)).min(now.plus_millis(FUTURE_TOLERANCE_MILLIS))
        });
        if by >= slot.bucket_end {
            slot.roll(Bucket::of(by));
        }
        let packer = self.packer.as_mut().filter(|_| self.packs);
        let raw = if slot.holds_groups { slot.decode(record) } else { slot.append(record, packer) };
        slot.next = record.offset.next();
        slot.last_record = Some(LastRecord { offset: record.offset, leader_epoch: record.leader_epoch });
        let cost = raw + RECORD_OVERHEAD_BYTES + record.headers.len() * HEADER_OVERHEAD_BYTES;
        slot.charged += cost;
        self.charged += cost;
        self.fetched.records += 1;
        self.fetched.bytes += raw as u64;
        cost
    }

    /// The client read up to `offset`, and nothing readable is before it.
    pub fn end_of_partition(&mut self, slot: u32, offset: Offset) {
        self.fetched.events += 1;
        let Some(slot) = self.slot(slot).filter(|slot| !slot.diverged) else { return };
        // What could be read once was before the end, and in one log that end never goes back.
        if offset < slot.next {
            slot.diverged = true;
            slot.fault = Some(Fault::OutOfRange);
            return;
        }
        slot.next = offset;
        slot.end_seen = Some(offset);
    }

    /// The client found something wrong with a partition.
    pub fn fault(&mut self, slot: u32, fault: Fault) {
        if let Some(slot) = self.slot(slot) {
            // Out of range is told once: nothing that comes after it may take its place.
            slot.fault = if slot.fault == Some(Fault::OutOfRange) { slot.fault } else { Some(fault) };
        }
    }

    /// Whether a slot holds what was not cut yet.
    pub fn holds_records(&mut self, slot: u32) -> bool {
        self.slot(slot).is_some_and(|slot| slot.next > slot.base)
    }

    /// The partitions whose newest known end is not read yet.
    pub fn lagging(&mut self) -> Vec<(u32, PartitionKey)> {
        let lagging = self.slots().filter(|(_, slot)| slot.frontier.end().is_some_and(|end| end > slot.next));
        lagging.map(|(number, slot)| (number, slot.key.clone())).collect()
    }

    /// Whether retention is close behind a lagging partition: it has begun to delete, and the position is within the
    /// oldest tenth of what is left.
    pub fn headroom_is_low(&mut self, slot: u32, log_start: Offset) -> bool {
        let Some(slot) = self.slot(slot) else { return false };
        let Some(end) = slot.frontier.end() else { return false };
        let (left, span) = (slot.next.get() - log_start.get(), end.get() - log_start.get());
        log_start.get() > 0 && slot.next < end && left.saturating_mul(10) < span
    }

    /// The faults found since the last call.
    pub fn take_faults(&mut self) -> Vec<(u32, PartitionKey, Offset, Fault)> {
        let faulty = self
            .slots()
            .filter_map(|(number, slot)| slot.fault.take().map(|fault| (number, slot.key.clone(), slot.next, fault)));
        faulty.collect()
    }

    /// Bytes buffered and not yet cut.
    pub fn charged(&self) -> usize {
        self.charged
    }

    /// Counters since the start.
    pub fn fetched(&self) -> Fetched {
        self.fetched
    }

    /// The slots in use.
    pub fn assigned(&self) -> impl Iterator<Item = (u32, &PartitionKey)> {
        self.slots.iter().map(|(number, slot)| (number, &slot.key))
    }

    /// How far each slot is filled.
    pub fn positions(&self) -> impl Iterator<Item = (u32, &PartitionKey, Offset)> {
        self.slots.iter().map(|(number, slot)| (number, &slot.key, slot.next))
    }

    /// Whether the client told that nothing readable lies behind the position of the last cut of a partition.
    pub fn is_at_end(&self, key: &PartitionKey) -> bool {
        self.slots.iter().any(|(_, slot)| slot.key == *key && slot.end_seen == Some(slot.base))
    }

    /// Notes the high watermark that the broker told for a question asked at `asked_at`, when the slot was filled up to
    /// `position`; `None`: it refused.
    pub fn sighted(&mut self, slot: u32, asked_at: TimestampMs, position: Offset, high_watermark: Option<Offset>) {
        if let Some(slot) = self.slot(slot) {
            match high_watermark {
                Some(offset) => slot.frontier.see(asked_at, position, offset),
                None => slot.frontier.refused = true,
            }
        }
    }

    /// Takes everything fetched since the last cut, sorted by partition.
    pub fn cut(&mut self) -> Vec<PartitionCut> {
        self.charged = 0;
        let mut parts = Vec::new();
        for (number, slot) in self.slots() {
            if slot.next > slot.base {
                parts.push(slot.cut(number));
            }
        }
        parts.sort_by(|a, b| a.key.cmp(&b.key));
        parts
    }

    /// How far each partition is behind, as of the positions of the last [`Buffers::cut`].
    pub fn standings(&mut self) -> Vec<(PartitionKey, Standing)> {
        self.slots().map(|(_, slot)| (slot.key.clone(), slot.standing())).collect()
    }
}

impl Slot {
    fn roll(&mut self, bucket: Bucket) {
        self.bucket_end = bucket.end();
        if bucket != self.bucket {
            self.close_batch();
            self.bucket = bucket;
        }
    }

    /// Takes a record in. Gives back its bytes.
    fn append(&mut self, record: &RecordRef<'_>, packer: Option<&mut Packer>) -> usize {
        let before = self.open.raw_bytes();
        self.open.append_and_pack(record, packer);
        let raw = self.open.raw_bytes() - before;
        if self.open.is_full() {
            self.close_batch();
        }
        raw
    }

    /// Takes in what a record of `__consumer_offsets` says of a group's offsets. Gives back what that costs, about.
    fn decode(&mut self, record: &RecordRef<'_>) -> usize {
        let Some(row) = groups::of_record(self.key.lineage, self.key.partition, record) else { return 0 };
        self.offsets.push(row);
        size_of::<OffsetRow>() + record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len)
    }

    fn close_batch(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let filled = self.open.is_full();
        self.closed.push((self.bucket, self.open.finish()));
        // Who fills batches gets the next one's memory at once; who does not, only what it needs.
        if filled != self.fills_batches {
            self.fills_batches = filled;
            self.open = BatchBuilder::new(filled);
        }
    }

    fn cut(&mut self, slot: u32) -> PartitionCut {
        self.close_batch();
        let part = PartitionCut {
            slot,
            key: self.key.clone(),
            base: self.base,
            next: self.next,
            last_record: self.last_record,
            highest_timestamp: self.highest,
            filed: self.bucket.told_beside(self.highest),
            batches: std::mem::take(&mut self.closed),
            offsets: std::mem::take(&mut self.offsets),
            charged: std::mem::take(&mut self.charged),
        };
        self.base = self.next;
        part
    }

    fn standing(&mut self) -> Standing {
        self.frontier.reach(self.base);
        let until = self.frontier.reached;
        let at_end = self.end_seen == Some(self.base);
        let behind = match self.frontier.wanted {
            _ if self.frontier.refused => Some(BehindReason::Unreachable),
            Some(_) if at_end => Some(BehindReason::OpenTransaction),
            Some(_) => Some(BehindReason::Backlog),
            None if until.is_none() => Some(BehindReason::Backlog),
            None => None,
        };
        Standing { until, behind, at_end }
    }
}

#[cfg(test)]
mod tests;
