//! Whatever records there may be, they come back as they were.

use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;

#[test]
fn a51_nulls_between_values_over_many_pages_come_back() {
    let nothing = |at: i64| Record { key: None, value: Some(Bytes::new()), ..record(at) };
    let records: Vec<Record> = (0..50_000).map(|at| if at % 2 == 0 { nothing(at) } else { record(at) }).collect();
    for codec in CODECS {
        let segment = encode(codec, vec![vec![run(key("t", 0, 0), &records, 7000)]]);
        let read = read_all(whole(&segment)).expect("read");
        assert!(read.iter().map(|(_, record)| record).eq(&records), "{codec}");
    }
}

fn any_bytes() -> impl Strategy<Value = Option<Bytes>> {
    option::weighted(0.85, vec(any::<u8>(), 0..40).prop_map(Bytes::from))
}

fn any_header() -> impl Strategy<Value = Header> {
    let text = "[a-c]{0,2}".prop_map(Bytes::from);
    let key = prop_oneof![8 => text, 1 => vec(any::<u8>(), 0..4).prop_map(Bytes::from)];
    (key, any_bytes()).prop_map(|(key, value)| Header { key, value })
}

fn any_time() -> impl Strategy<Value = i64> {
    prop_oneof![6 => 1_700_000_000_000..1_800_000_000_000i64, 1 => any::<i64>(), 1 => Just(i64::MIN), 1 => Just(i64::MAX)]
}

fn any_records() -> impl Strategy<Value = Vec<Record>> {
    let kind =
        prop_oneof![Just(TimestampType::CreateTime), Just(TimestampType::LogAppendTime), Just(TimestampType::None)];
    let record = (1..5i64, any_time(), kind, any_bytes(), any_bytes(), vec(any_header(), 0..4));
    vec(record, 1..40).prop_map(|records| {
        let mut offset = -1;
        let record = |(step, time, timestamp_type, key, value, headers)| {
            offset += step;
            let timestamp = TimestampMs::new(time);
            Record { offset: Offset::new(offset), timestamp, timestamp_type, key, value, headers }
        };
        records.into_iter().map(record).collect()
    })
}

proptest! {
    #[test]
    fn a51_records_come_back_byte_for_byte(
        partitions in vec(any_records(), 1..6), rows in 1..20usize, codec in 0..CODECS.len(), per_group in 1..4usize,
    ) {
        let keys: Vec<PartitionKey> = (0..).zip(&partitions).map(|(at, _)| key("topic", at / 3, at % 3)).collect();
        let inputs: Vec<(&PartitionKey, &Vec<Record>)> = keys.iter().zip(&partitions).collect();
        let groups = inputs.chunks(per_group).map(|group| group.iter().map(|(key, records)| run((*key).clone(), records, rows)).collect()).collect();
        let segment = encode(CODECS[codec], groups);
        let expected: Vec<_> = inputs.iter().flat_map(|(key, records)| records.iter().map(|record| ((*key).clone(), record.clone()))).collect();
        prop_assert_eq!(segment.rows, expected.len() as u64);
        let reader = SegmentReader::open(whole(&segment), None).expect("open");
        prop_assert_eq!(reader.rows().collect::<Result<Vec<_>, _>>().expect("rows"), expected);
        for (at, run) in reader.runs().iter().enumerate() {
            let records: Vec<Record> = reader.records(run).expect("run").map(|row| row.expect("row").1).collect();
            prop_assert_eq!(&records, &partitions[at]);
        }
    }
}
