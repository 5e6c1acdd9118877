//! What encoding a segment costs, against what it cannot do without: zstd over the same bytes.
//!
//! An argument measures only the loads whose names contain it. Each round does every step once, one after the other, so that a noisy
//! machine disturbs all alike; times are CPU time of this thread, medians of the rounds. The ratio is the time of raw zstd over the time
//! of the whole encode with SHA-256; "sealed" is the same encode for an encrypted backup, and "more" what that takes beyond the other.

use std::collections::BTreeMap;
use std::hint::black_box;

use anyhow::Context as _;
use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, RngCore as _, SeedableRng as _};
use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::crypt::{FileSeal, KeyRing, SecretKey};
use strimzi_backup_format::ids::{
    BackupId, LeaderEpoch, Lineage, Offset, PartitionId, PartitionKey, TimestampMs, TopicName,
};
use strimzi_backup_format::layout::ObjectKey;
use strimzi_backup_format::offset_range::OffsetRange;
use strimzi_backup_format::record::{HeaderRef, RecordRef, TimestampType};
use strimzi_backup_format::segment::batch::{Batch, BatchBuilder};
use strimzi_backup_format::segment::encode::{
    Codec, EncodeOptions, EncodedSegment, RunInput, SegmentWriter, encode_row_group,
};

const ROUNDS: usize = 7;
const ROW_GROUP_BYTES: usize = 16 << 20;
const TOTAL_BYTES: usize = 64 << 20;
const BLOCK_BYTES: usize = 256 << 10;
const START: i64 = 1_770_966_000_000;

/// One kind of record.
struct Load {
    name: &'static str,
    value_bytes: usize,
    random: bool,
    headers: bool,
    /// How many partitions share a row group.
    partitions: usize,
}

const LOADS: [Load; 7] = [
    Load { name: "json 1 KiB", value_bytes: 1024, random: false, headers: false, partitions: 1 },
    Load { name: "json 200 B", value_bytes: 200, random: false, headers: false, partitions: 1 },
    Load { name: "json 10 KiB", value_bytes: 10 << 10, random: false, headers: false, partitions: 1 },
    Load { name: "random 1 KiB", value_bytes: 1024, random: true, headers: false, partitions: 1 },
    Load { name: "json 1 KiB, 2 headers", value_bytes: 1024, random: false, headers: true, partitions: 1 },
    Load { name: "json 1 KiB, 1000 partitions", value_bytes: 1024, random: false, headers: false, partitions: 1000 },
    Load { name: "json 200 B, 10000 partitions", value_bytes: 200, random: false, headers: false, partitions: 10_000 },
];

/// A record's bytes before it is taken in.
struct Input {
    key: Vec<u8>,
    value: Vec<u8>,
    trace: Vec<u8>,
}

fn main() -> anyhow::Result<()> {
    println!("CPU time of one thread, median of {ROUNDS} rounds; MB/s of key + value + headers");
    println!(
        "{:<30}{:>9}{:>9}{:>9}{:>9}{:>8}{:>9}{:>9}{:>8}",
        "load", "zstd", "append", "encode", "sha256", "ratio", "size", "sealed", "more"
    );
    let wanted = std::env::args().nth(1).unwrap_or_default();
    for load in LOADS.iter().filter(|load| load.name.contains(&wanted)) {
        measure(load)?;
    }
    Ok(())
}

fn measure(load: &Load) -> anyhow::Result<()> {
    let inputs = inputs(load);
    let plain = plain(&inputs, load);
    let options = EncodeOptions::new(BackupId::new(uuid::Uuid::nil()), Codec::Zstd(1))?;
    let mut zstd = zstd::bulk::Compressor::new(1)?;
    let mut block = vec![0; zstd::zstd_safe::compress_bound(BLOCK_BYTES)];
    let mut times: [Vec<f64>; 5] = Default::default();
    let (mut raw, mut size, mut more) = (0, 0, Vec::new());
    for _ in 0..ROUNDS {
        let started = cpu_seconds()?;
        for bytes in plain.chunks(BLOCK_BYTES) {
            black_box(zstd.compress_to_buffer(bytes, &mut block)?);
        }
        let compressed = cpu_seconds()?;
        let groups = append(&inputs, load);
        let appended = cpu_seconds()?;
        let segment = encode(&options, groups, load, None)?;
        let encoded = cpu_seconds()?;
        for part in &segment.parts {
            black_box(strimzi_backup_format::checksum::Sha256::of(part));
        }
        let hashed = cpu_seconds()?;
        (raw, size) = (segment.raw_bytes, segment.bytes);
        let groups = append(&inputs, load);
        let begun = cpu_seconds()?;
        encode(&options, groups, load, Some(seal()?))?;
        let sealed = cpu_seconds()? - begun;
        more.push((sealed / (encoded - appended) - 1.0) * 100.0);
        let spans = [compressed - started, appended - compressed, encoded - appended, hashed - encoded, sealed];
        times.iter_mut().zip(spans).for_each(|(times, span)| times.push(span));
    }
    let [zstd, append, encode, sha, sealed] = times.map(median);
    #[expect(clippy::cast_precision_loss, reason = "a table for people")]
    let (raw, size) = (raw as f64, size as f64);
    let rate = |seconds: f64| raw / 1e6 / seconds;
    println!(
        "{:<30}{:>9.0}{:>9.0}{:>9.0}{:>9.0}{:>8.3}{:>9.3}{:>9.0}{:>+7.1}%",
        load.name,
        rate(zstd),
        rate(append),
        rate(encode),
        rate(sha),
        zstd / encode,
        size / raw,
        rate(sealed),
        median(more),
    );
    Ok(())
}

/// All row groups of a segment, which is sealed where there is a seal.
fn encode(
    options: &EncodeOptions,
    groups: Vec<Vec<Vec<Batch>>>,
    load: &Load,
    seal: Option<FileSeal>,
) -> anyhow::Result<EncodedSegment> {
    let mut writer = SegmentWriter::new(options, seal)?;
    for group in groups {
        writer.append(encode_row_group(options, runs(group, load)?)?)?;
    }
    Ok(writer.finish()?)
}

/// A seal as a streamer of an encrypted backup makes one for each of its files.
fn seal() -> anyhow::Result<FileSeal> {
    let keys = BTreeMap::from([(0, SecretKey::generate()?)]);
    let object = "intake/2026-02-13/07/0000-0000000001-00000000000000000002-0000.parquet".to_owned();
    Ok(KeyRing::new(BackupId::new(uuid::Uuid::nil()), keys)?.seal_file(&ObjectKey::try_from(object)?)?)
}

fn inputs(load: &Load) -> Vec<Input> {
    let mut random = StdRng::seed_from_u64(7);
    let records = TOTAL_BYTES / load.value_bytes;
    (0..records)
        .map(|number| {
            let mut trace = vec![0; 16];
            random.fill_bytes(&mut trace);
            Input { key: format!("k{number:012}").into_bytes(), value: value(&mut random, load, number), trace }
        })
        .collect()
}

/// JSON that zstd packs about threefold, or noise.
fn value(random: &mut StdRng, load: &Load, number: usize) -> Vec<u8> {
    let mut value = Vec::with_capacity(load.value_bytes + 64);
    if load.random {
        value.resize(load.value_bytes, 0);
        random.fill_bytes(&mut value);
        return value;
    }
    value.extend_from_slice(format!("{{\"id\":{number},").as_bytes());
    while value.len() < load.value_bytes {
        let names = ["customer", "amount", "currency", "status", "warehouse", "reference", "description"];
        let name = names[random.random_range(0..names.len())];
        let text = match random.random_range(0..3) {
            0 => format!("\"{name}\":{},", random.random_range(0..1_000_000)),
            1 => format!("\"{name}\":\"{:08x}\",", random.random::<u32>()),
            _ => format!("\"{name}\":\"in progress {}\",", random.random_range(0..100)),
        };
        value.extend_from_slice(text.as_bytes());
    }
    value.truncate(load.value_bytes);
    value
}

/// The bytes that the large columns of the file hold before compression, in its order.
fn plain(inputs: &[Input], load: &Load) -> Bytes {
    let per_group = ROW_GROUP_BYTES / load.value_bytes;
    let mut plain = Vec::new();
    for group in inputs.chunks(per_group) {
        let mut column = |of: fn(&Input) -> &[u8]| {
            for input in group {
                let bytes = of(input);
                plain.extend_from_slice(&u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes());
                plain.extend_from_slice(bytes);
            }
        };
        column(|input| &input.key);
        column(|input| &input.value);
        if load.headers {
            column(|input| &input.trace);
            column(|_| b"checkout");
        }
    }
    plain.into()
}

/// Takes all records in, partition after partition, and cuts row groups.
fn append(inputs: &[Input], load: &Load) -> Vec<Vec<Vec<Batch>>> {
    let per_group = ROW_GROUP_BYTES / load.value_bytes;
    let groups = inputs.chunks(per_group).map(|group| {
        let partitions = group.chunks(group.len().div_ceil(load.partitions));
        partitions.map(|partition| batches(partition, load)).collect()
    });
    groups.collect()
}

fn batches(inputs: &[Input], load: &Load) -> Vec<Batch> {
    let mut builder = BatchBuilder::new(load.partitions == 1);
    let mut done = Vec::new();
    for (offset, input) in (0_i64..).zip(inputs) {
        let headers = [
            HeaderRef { key: b"trace-id", value: Some(&input.trace) },
            HeaderRef { key: b"service", value: Some(b"checkout") },
        ];
        builder.append(&RecordRef {
            offset: Offset::new(offset),
            timestamp: TimestampMs::new(START + offset * 3 + i64::from(input.trace[0] % 8)),
            timestamp_type: TimestampType::CreateTime,
            leader_epoch: LeaderEpoch::new(4),
            key: Some(&input.key),
            value: Some(&input.value),
            headers: if load.headers { &headers } else { &[] },
        });
        if builder.is_full() {
            done.push(builder.finish());
        }
    }
    if !builder.is_empty() {
        done.push(builder.finish());
    }
    done
}

fn runs(group: Vec<Vec<Batch>>, load: &Load) -> anyhow::Result<Vec<RunInput>> {
    // Row groups follow each other in the file, so each takes a topic of its own, in the order of its address.
    static GROUP: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let number = GROUP.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let topic = TopicName::new(format!("orders-{number:08}-{}", load.value_bytes))?;
    let run = |(partition, batches): (i32, Vec<Batch>)| {
        let rows: usize = batches.iter().map(Batch::rows).sum();
        let next = Offset::new(i64::try_from(rows)?);
        let partition = PartitionId::new(partition);
        Ok(RunInput {
            key: PartitionKey { topic: topic.clone(), lineage: Lineage::FIRST, partition },
            range: OffsetRange::new(Offset::new(0), next)?,
            bucket: Bucket::of(TimestampMs::new(START)),
            batches,
        })
    };
    (0_i32..).zip(group).map(run).collect()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// CPU time of this thread, as the kernel's scheduler counts it.
fn cpu_seconds() -> anyhow::Result<f64> {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").context("read the scheduler's statistics")?;
    let nanos = line.split_whitespace().next().context("find the CPU time")?;
    Ok(nanos.parse::<f64>().context("parse the CPU time")? / 1e9)
}
