use strimzi_backup_format::record::TimestampType;
use strimzi_backup_format::sample::{at, backup, key};
use strimzi_backup_format::segment::encode::{Codec, EncodeOptions};

use super::*;

/// A partition that was read up to offset 5.
fn start(highest_timestamp: Option<TimestampMs>, filed: Option<Bucket>) -> Start {
    let (key, offset) = (key("orders", 0, 0), Offset::new(5));
    Start { key, offset, last_record: None, highest_timestamp, filed, until: None }
}

/// A record with a timestamp and nothing else.
fn record(offset: i64, timestamp: TimestampMs) -> RecordRef<'static> {
    RecordRef {
        offset: Offset::new(offset),
        timestamp,
        timestamp_type: TimestampType::CreateTime,
        leader_epoch: LeaderEpoch::new(1),
        key: None,
        value: None,
        headers: &[],
    }
}

/// What is cut after records that came so many seconds after the start, each with its timestamp.
fn cut_of(start: Start, records: &[(i64, TimestampMs)]) -> PartitionCut {
    let mut buffers = Buffers::default();
    buffers.set_now(at(records[0].0));
    let slot = buffers.open(start);
    for (offset, (seconds, timestamp)) in (5..).zip(records) {
        buffers.set_now(at(*seconds));
        buffers.record(slot, &record(offset, *timestamp));
    }
    buffers.cut().remove(0)
}

fn filed(part: &PartitionCut) -> Vec<Bucket> {
    part.batches.iter().map(|(bucket, _)| *bucket).collect()
}

fn hour(number: i64) -> Bucket {
    Bucket::of(at(number * 3600))
}

#[test]
fn a52_after_a_record_of_the_far_future_a_partition_goes_on_under_the_present() {
    let start = start(Some(TimestampMs::new(i64::MAX)), Some(hour(0)));
    let part = cut_of(start, &[(0, at(0)), (7_200, at(7_200))]);
    assert_eq!((filed(&part), part.filed), (vec![hour(0), hour(2)], Some(hour(2))));
}

#[test]
fn a52_records_without_a_timestamp_are_filed_under_the_hour_of_their_arrival() {
    let none = TimestampMs::new(-1);
    let part = cut_of(start(None, None), &[(0, none), (60, none), (7_200, none), (7_260, at(-86_400))]);
    let (first, second) = (&part.batches[0].1, &part.batches[1].1);
    assert_eq!((filed(&part), first.rows(), second.rows()), (vec![hour(0), hour(2)], 2, 2));
    assert_eq!((part.highest_timestamp, part.filed), (Some(at(-86_400)), Some(hour(2))));
    // Whoever reads on goes on from there, and tells it in turn, until the timestamps have gone by it.
    let on = start(part.highest_timestamp, part.filed);
    let part = cut_of(on.clone(), &[(10_800, at(-80_000))]);
    assert_eq!((filed(&part), part.filed), (vec![hour(2)], Some(hour(2))));
    let part = cut_of(on, &[(10_800, at(10_800))]);
    assert_eq!((filed(&part), part.filed), (vec![hour(3)], None));
}

#[test]
fn full_pages_are_compressed_as_they_come_only_while_that_is_asked_for() {
    let options = EncodeOptions::new(backup(), Codec::Zstd(1)).expect("a codec");
    let mut buffers = Buffers::default();
    buffers.set_packer(Packer::new(&options).expect("a packer"));
    let slot = buffers.open(start(None, None));
    let value = vec![7; 1 << 20];
    for (offset, packs) in (5..).zip([false, true, false]) {
        buffers.set_packs(packs);
        buffers.set_now(at(offset));
        buffers.record(slot, &RecordRef { value: Some(&value), ..record(offset, at(offset)) });
    }
    let part = buffers.cut().remove(0);
    let compressed: Vec<_> = part.batches.iter().map(|(_, batch)| batch.memory() < value.len()).collect();
    assert_eq!(compressed, [false, true, false]);
}
