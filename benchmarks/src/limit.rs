//! The limit: librdkafka consuming a topic, and raw zstd over the bytes, block by block. Nothing that stores these records
//! compressed in such blocks can be cheaper.

use std::time::Duration;

use anyhow::{Context as _, Result};
use strimzi_backup_format::ids::{Offset, PartitionId, TopicName};
use strimzi_backup_format::job::Job;
use strimzi_backup_format::record::RecordRef;
use strimzi_backup_streamer::kafka::{Assignment, Error, Kafka, OffsetSpec, PartitionFault, Sink, Tuning};

/// Blocks just below 256 KiB, above which zstd has other parameters.
pub const BLOCKS: usize = 245_760;

/// Blocks as large as the pages of the streamer.
pub const PAGES: usize = 1_032_192;

struct Compressing {
    block_bytes: usize,
    block: Vec<u8>,
    out: Vec<u8>,
    zstd: zstd::bulk::Compressor<'static>,
    compressed: u64,
    open: usize,
    ends: Vec<i64>,
    failed: Option<String>,
}

impl Compressing {
    fn put(&mut self, bytes: Option<&[u8]>) {
        let bytes = bytes.unwrap_or_default();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.block.extend_from_slice(&length.to_le_bytes());
        self.block.extend_from_slice(bytes);
        if self.block.len() >= self.block_bytes {
            self.flush();
        }
    }

    fn flush(&mut self) {
        self.out.clear();
        self.out.reserve(zstd::zstd_safe::compress_bound(self.block.len()));
        match self.zstd.compress_to_buffer(&self.block, &mut self.out) {
            Ok(bytes) => self.compressed += bytes as u64,
            Err(error) => self.failed = Some(error.to_string()),
        }
        self.block.clear();
    }

    fn reach(&mut self, slot: u32, next: i64) {
        let end = &mut self.ends[slot as usize];
        if next >= *end {
            *end = i64::MAX;
            self.open -= 1;
        }
    }
}

impl Sink for Compressing {
    fn record(&mut self, slot: u32, record: RecordRef<'_>) {
        self.put(record.key);
        self.put(record.value);
        self.reach(slot, record.offset.next().get());
    }

    fn end_of_partition(&mut self, slot: u32, offset: Offset) {
        self.reach(slot, offset.get());
    }

    fn partition_fault(&mut self, _: u32, fault: PartitionFault) {
        self.failed = Some(fault.to_string());
    }

    fn client_fault(&mut self, fault: Error) {
        self.failed = Some(fault.to_string());
    }
}

/// Consumes one topic to its end and compresses it; gives the compressed bytes. A block ends with the value that reaches
/// `block_bytes`.
///
/// # Errors
/// Where the broker fails.
pub async fn consume_and_compress(job: &Job, topic: &str, level: i32, block_bytes: usize) -> Result<u64> {
    let kafka = Kafka::connect(&job.cluster, &Tuning::default())?;
    let topic = TopicName::new(topic)?;
    let described = kafka.describe_topics(std::slice::from_ref(&topic)).await?;
    let partitions = described.into_iter().next().context("the topic")?.1?.partitions;
    let keys: Vec<(TopicName, PartitionId)> = partitions.iter().map(|p| (topic.clone(), p.partition)).collect();
    let ends = kafka.list_offsets(&keys, OffsetSpec::HighWatermark).await?;
    let mut sink = Compressing {
        block_bytes,
        block: Vec::with_capacity(2 * block_bytes),
        out: Vec::new(),
        zstd: zstd::bulk::Compressor::new(level)?,
        compressed: 0,
        open: keys.len(),
        ends: vec![i64::MAX; keys.len()],
        failed: None,
    };
    let mut assignments = Vec::new();
    for (slot, ((topic, partition), end)) in ends.into_iter().enumerate() {
        sink.ends[slot] = end?.get();
        let (slot, offset) = (u32::try_from(slot)?, Offset::new(0));
        assignments.push(Assignment { slot, topic, partition, offset, leader_epoch: None });
    }
    kafka.assign(&assignments)?;
    while sink.open > 0 && sink.failed.is_none() {
        kafka.poll(Duration::from_millis(100), 1000, &mut sink);
    }
    sink.flush();
    match sink.failed {
        Some(error) => anyhow::bail!("{error}"),
        None => Ok(sink.compressed),
    }
}
