//! Backups with a long history, written as a writer writes them but for the bytes of segments that nobody will read.

use std::ops::Range;

use anyhow::Result;
use object_store::{ObjectStoreExt as _, PutPayload};
use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::ids::{LeaderEpoch, Offset, Shard, TimestampMs};
use strimzi_backup_format::layout::{self, Origin, SegmentName, SegmentPlace};
use strimzi_backup_format::manifest::log::LogWriter;
use strimzi_backup_format::manifest::{Run, Segment};
use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::record::{RecordRef, TimestampType};
use strimzi_backup_format::segment::batch::BatchBuilder;
use strimzi_backup_format::segment::encode::{
    Codec, EncodeOptions, EncodedSegment, RunInput, SegmentWriter, encode_row_group,
};
use strimzi_backup_format::store::Store;

use crate::payload::Payload;
use crate::writer::{VirtualWriter, key};

/// Two topics of two partitions.
const PARTITIONS: [(&str, i32); 4] = [("customers", 0), ("customers", 1), ("orders", 0), ("orders", 1)];

/// When the first record was written.
pub const START: TimestampMs = TimestampMs::new(1_770_966_000_000);

/// Time between two commits, in milliseconds: one segment each.
pub const INTERVAL_MS: i64 = 5000;

/// Bytes of a value.
const VALUE_BYTES: usize = 1024;

/// A history: one segment every five seconds.
#[derive(Clone, Debug)]
pub struct History {
    /// How many segments.
    pub segments: usize,
    /// Records of each partition in each of them, spread evenly over its five seconds.
    pub rows: i64,
    /// The segments whose bytes are in the store. The others are named only, with the sizes of the first.
    pub legible: Range<usize>,
}

impl History {
    /// Writes it into an empty store.
    ///
    /// # Errors
    /// Where the store fails, or the format refuses it.
    pub async fn write(&self, store: &Store) -> Result<()> {
        let mut writer = VirtualWriter::claim(store, "history", START).await?;
        let options = EncodeOptions::new(writer.log().state().backup, Codec::Zstd(1))?;
        let first = self.encode(&options, 0)?;
        for number in 0..self.segments {
            let segment = self.segment(store, &options, writer.log(), &first, number).await?;
            writer.add(vec![segment], at(number + 1)?).await?;
        }
        Ok(())
    }

    async fn segment(
        &self,
        store: &Store,
        options: &EncodeOptions,
        writer: &LogWriter,
        first: &EncodedSegment,
        number: usize,
    ) -> Result<Segment> {
        let (epoch, sequence) = (writer.epoch(), writer.next_sequence());
        let name = SegmentName { shard: Shard::ONLY, epoch, sequence, number: 0, origin: Origin::Cut };
        let object = layout::segment(&SegmentPlace::Intake(Bucket::of(at(number)?)), name);
        if !self.legible.contains(&number) {
            let runs = first.runs.iter().map(|run| self.moved(run, number)).collect::<Result<_>>()?;
            return Ok(described(object, first, runs));
        }
        let encoded = self.encode(options, number)?;
        let payload: PutPayload = encoded.parts.iter().cloned().collect();
        store.inner.put(&object.below(&store.prefix), payload).await?;
        let runs = encoded.runs.clone();
        Ok(described(object, &encoded, runs))
    }

    /// A run of the first segment, as that of another.
    fn moved(&self, run: &Run, number: usize) -> Result<Run> {
        let later = i64::try_from(number)? * INTERVAL_MS;
        let (min_timestamp, max_timestamp) =
            (run.min_timestamp.plus_millis(later), run.max_timestamp.plus_millis(later));
        let bucket = Bucket::of(min_timestamp);
        Ok(Run { range: self.range(number)?, min_timestamp, max_timestamp, bucket, ..run.clone() })
    }

    fn range(&self, number: usize) -> Result<OffsetRange> {
        let base = i64::try_from(number)? * self.rows;
        Ok(OffsetRange::new(Offset::new(base), Offset::new(base + self.rows))?)
    }

    fn encode(&self, options: &EncodeOptions, number: usize) -> Result<EncodedSegment> {
        let mut payload = Payload::new(VALUE_BYTES, number as u64);
        let run = |(topic, partition): (&str, i32)| self.run(&mut payload, topic, partition, number);
        let runs = PARTITIONS.into_iter().map(run).collect::<Result<_>>()?;
        let mut writer = SegmentWriter::new(options, None)?;
        writer.append(encode_row_group(options, runs)?)?;
        Ok(writer.finish()?)
    }

    fn run(&self, payload: &mut Payload, topic: &str, partition: i32, number: usize) -> Result<RunInput> {
        let (mut builder, mut batches, range) = (BatchBuilder::new(true), Vec::new(), self.range(number)?);
        for row in 0..self.rows {
            let key = format!("key-{row:09}");
            builder.append(&RecordRef {
                offset: Offset::new(range.base().get() + row),
                timestamp: at(number)?.plus_millis(row * INTERVAL_MS / self.rows),
                timestamp_type: TimestampType::CreateTime,
                leader_epoch: LeaderEpoch::new(0),
                key: Some(key.as_bytes()),
                value: Some(payload.value().as_bytes()),
                headers: &[],
            });
            if builder.is_full() {
                batches.push(builder.finish());
            }
        }
        if !builder.is_empty() {
            batches.push(builder.finish());
        }
        let key = key(topic, partition)?;
        Ok(RunInput { key, range, bucket: Bucket::of(at(number)?), batches })
    }
}

/// When a segment begins.
fn at(number: usize) -> Result<TimestampMs> {
    Ok(START.plus_millis(i64::try_from(number)? * INTERVAL_MS))
}

fn described(object: layout::ObjectKey, encoded: &EncodedSegment, runs: Vec<Run>) -> Segment {
    let EncodedSegment { bytes, sha256, footer_bytes, footer_sha256, rows, raw_bytes, .. } = *encoded;
    Segment { object, bytes, sha256, footer_bytes, footer_sha256, rows, raw_bytes, runs }
}
