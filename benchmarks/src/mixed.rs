//! Mixed traffic, cut by cut: one busy topic among a thousand quiet ones, as a streamer holds it when it cuts.

use std::collections::BTreeMap;
use std::ops::Range;

use anyhow::Result;
use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::ids::{LeaderEpoch, Offset, PartitionKey, TimestampMs, TopicId};
use strimzi_backup_format::manifest::{LastRecord, TopicDescription, TopicEvent, TopicEventKind};
use strimzi_backup_format::record::{RecordRef, TimestampType};
use strimzi_backup_format::segment::batch::BatchBuilder;
use strimzi_backup_streamer::source::buffers::PartitionCut;

use crate::payload::Payload;
use crate::writer::key;

/// The busy topic. It has one partition, as each of the quiet ones has.
pub const BUSY: &str = "busy";

/// Time between two cuts, in milliseconds: the default `commitInterval`.
pub const CUT_MS: i64 = 5000;

/// Records of the busy topic in each cut, and bytes of their values: 127 MiB an hour, nearly 40 as they are stored.
const BUSY_ROWS: i64 = 180;
const BUSY_BYTES: usize = 1024;

/// Quiet topics, of which each has so many records in one of so many cuts: two a minute.
const QUIET_TOPICS: i64 = 1000;
const QUIET_ROWS: i64 = 2;
const QUIET_CUTS: i64 = 12;
const QUIET_BYTES: usize = 200;

const LEADER_EPOCH: LeaderEpoch = LeaderEpoch::new(0);

/// The traffic, the same each time.
#[derive(Debug)]
pub struct Mixed {
    begin: TimestampMs,
    busy: PartitionKey,
    busy_values: Payload,
    quiet: Vec<PartitionKey>,
    quiet_values: Payload,
}

impl Mixed {
    /// The traffic from an instant on.
    ///
    /// # Errors
    /// Where the name of a topic is not legal, and all of them are.
    pub fn new(begin: TimestampMs) -> Result<Self> {
        let quiet = (0..QUIET_TOPICS).map(|topic| key(&format!("quiet-{topic:04}"), 0)).collect::<Result<_>>()?;
        let (busy_values, quiet_values) = (Payload::new(BUSY_BYTES, 7), Payload::new(QUIET_BYTES, 8));
        Ok(Self { begin, busy: key(BUSY, 0)?, busy_values, quiet, quiet_values })
    }

    /// What a writer says of its topics when it sees them first.
    pub fn topics(&self) -> Vec<TopicEvent> {
        std::iter::once(&self.busy).chain(&self.quiet).map(added).collect()
    }

    /// When cut `number` is made, counted from 0: it holds what came in the [`CUT_MS`] before.
    pub fn cut_at(&self, number: i64) -> TimestampMs {
        self.begin.plus_millis((number + 1) * CUT_MS)
    }

    /// What cut `number` holds, by partition; `noted` sees the records of the busy topic. Every number once, in order, or the
    /// offsets do not follow on.
    pub fn cut(&mut self, number: i64, noted: &mut Noted) -> Vec<PartitionCut> {
        let since = self.begin.plus_millis(number * CUT_MS);
        let base = number * BUSY_ROWS;
        let busy = part(&self.busy, &mut self.busy_values, base..base + BUSY_ROWS, since, |record| noted.take(record));
        let base = number / QUIET_CUTS * QUIET_ROWS;
        let of_cut = (0_i64..).zip(&self.quiet).filter(|(topic, _)| topic % QUIET_CUTS == number % QUIET_CUTS);
        let quiet = of_cut.map(|(_, key)| part(key, &mut self.quiet_values, base..base + QUIET_ROWS, since, |_| {}));
        std::iter::once(busy).chain(quiet).collect()
    }
}

/// Records of a partition, spread evenly over the time of a cut: fewer than fill a batch.
fn part(
    key: &PartitionKey,
    values: &mut Payload,
    offsets: Range<i64>,
    since: TimestampMs,
    mut each: impl FnMut(&RecordRef<'_>),
) -> PartitionCut {
    let Range { start, end } = offsets;
    let mut builder = BatchBuilder::new(false);
    for offset in start..end {
        let key = format!("key-{offset:09}");
        let record = RecordRef {
            offset: Offset::new(offset),
            timestamp: since.plus_millis((offset - start) * CUT_MS / (end - start)),
            timestamp_type: TimestampType::CreateTime,
            leader_epoch: LEADER_EPOCH,
            key: Some(key.as_bytes()),
            value: Some(values.value().as_bytes()),
            headers: &[],
        };
        builder.append(&record);
        each(&record);
    }
    let batch = builder.finish();
    PartitionCut {
        slot: 0,
        key: key.clone(),
        base: Offset::new(start),
        next: Offset::new(end),
        last_record: Some(LastRecord { offset: Offset::new(end - 1), leader_epoch: LEADER_EPOCH }),
        highest_timestamp: batch.max_timestamp(),
        filed: None,
        charged: batch.memory(),
        batches: vec![(Bucket::of(since), batch)],
        offsets: Vec::new(),
    }
}

fn added(key: &PartitionKey) -> TopicEvent {
    let (config, inherited) = (BTreeMap::new(), BTreeMap::new());
    TopicEvent {
        topic: key.topic.clone(),
        lineage: key.lineage,
        event: TopicEventKind::Added,
        topic_id: TopicId::new(format!("id-of-{}", key.topic)),
        partition: None,
        description: Some(TopicDescription { partitions: 1, replication_factor: 3, config, inherited }),
    }
}

/// What DuckDB makes of a row, as [`Noted`] makes a line of a record.
pub const NOTED_LINE: &str =
    "concat_ws(' ', \"offset\", epoch_ms(\"timestamp\"), decode(\"key\"), sha256(\"value\")) || chr(10)";

/// Records with a timestamp in an interval, as a second reader has to find them.
#[derive(Debug)]
pub struct Noted {
    interval: Range<TimestampMs>,
    rows: u64,
    lines: String,
}

impl Noted {
    /// Notes records with a timestamp in this interval.
    pub fn new(interval: Range<TimestampMs>) -> Self {
        Self { interval, rows: 0, lines: String::new() }
    }

    /// Notes a record where it is one of them.
    pub fn take(&mut self, record: &RecordRef<'_>) {
        if !self.interval.contains(&record.timestamp) {
            return;
        }
        self.rows += 1;
        let (offset, timestamp) = (record.offset, record.timestamp);
        let key = String::from_utf8_lossy(record.key.unwrap_or_default());
        let value = Sha256::of(record.value.unwrap_or_default());
        self.lines += &format!("{offset} {timestamp} {key} {value}\n");
    }

    /// The interval.
    pub fn interval(&self) -> &Range<TimestampMs> {
        &self.interval
    }

    /// How many there were.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// SHA-256 of their lines, in order.
    pub fn digest(&self) -> String {
        Sha256::of(self.lines.as_bytes()).to_string()
    }
}
