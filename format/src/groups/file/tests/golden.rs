//! The stored files of each version, as bytes: read for ever.

use super::*;
use crate::ids::Lineage;
use crate::sample::golden;

const CHANGES: &str = "groups-v1.parquet";
const IMAGE: &str = "groups-image-v1.parquet";

/// A commit that says as little as one can, at times that no clock has.
fn bare(log_offset: i64) -> OffsetRow {
    let committed = CommittedOffset {
        offset: Offset::new(0),
        leader_epoch: LeaderEpoch::UNKNOWN,
        metadata: String::new(),
        committed_at: TimestampMs::new(i64::MAX),
        topic_id: None,
    };
    let row = delete("billing", "payments", 11, log_offset);
    let timestamp = TimestampMs::new(i64::MIN);
    OffsetRow { kind: RowKind::Commit, committed: Some(committed), timestamp, ..row }
}

fn in_life(lineage: i32, rows: Vec<OffsetRow>) -> Vec<OffsetRow> {
    rows.into_iter().map(|row| OffsetRow { lineage: Lineage::new(lineage), ..row }).collect()
}

/// Every kind of a row that changes something, each column with and without a value, two partitions and two lives of one.
fn changes() -> Vec<GroupRun> {
    let of_group = OffsetRow { group: GroupId::new("Gruppe ß").ok(), raw_value: None, ..raw(16) };
    let rows = vec![commit("shipping", "orders", 0, 40, 10), raw(12), delete("shipping", "orders", 1, 14), of_group];
    let second = in_partition(7, vec![bare(3), commit("billing", "payments", 11, 7, 4)]);
    vec![
        run(10..20, rows),
        GroupRun { key: key(LOG, 0, 7), ..run(0..9, second) },
        GroupRun { key: key(LOG, 1, 0), ..run(0..1, in_life(1, vec![commit("billing", "orders", 2, 41, 0)])) },
    ]
}

/// What is committed then, sorted as it is stored.
fn committed() -> Vec<OffsetRow> {
    let shipping = commit("shipping", "orders", 0, 40, 10);
    let mut rows = in_life(1, vec![commit("billing", "orders", 2, 41, 0)]);
    rows.extend(in_partition(7, vec![bare(5)]));
    rows.push(shipping);
    image(rows)
}

/// What one release wrote must be read for ever. Files are added here, never changed.
#[test]
fn a12_golden_files_of_consumer_groups_are_read_to_their_rows() {
    let rows: Vec<OffsetRow> = changes().into_iter().flat_map(|run| run.rows).collect();
    assert_eq!(decode(golden::read(CHANGES), None).expect("read"), rows);
    assert_eq!(decode(golden::read(IMAGE), None).expect("read"), committed());
}

/// Who wrote it, the footer says, so a later release does not write the same bytes; columns and runs stay.
#[test]
fn a12_files_of_consumer_groups_are_written_with_the_columns_and_row_groups_of_the_golden_ones() {
    let written = encode(changes(), Bucket::of(at(0)), None).expect("encoded");
    for (name, written) in [(CHANGES, written), (IMAGE, encode_image(&committed(), None).expect("encoded"))] {
        let [golden, written] = [golden::read(name), whole(&written)]
            .map(|bytes| ParquetMetaDataReader::new().parse_and_finish(&bytes).expect("metadata"));
        assert_eq!(golden.file_metadata().schema(), written.file_metadata().schema(), "{name}");
        assert_eq!(golden.file_metadata().key_value_metadata(), written.file_metadata().key_value_metadata(), "{name}");
        let rows = |of: &parquet::file::metadata::ParquetMetaData| {
            of.row_groups().iter().map(|group| group.num_rows()).collect::<Vec<_>>()
        };
        assert_eq!(rows(&golden), rows(&written), "{name}");
    }
}

#[test]
#[ignore = "writes the golden files of a new version, once"]
fn write_golden_groups() {
    let changes = encode(changes(), Bucket::of(at(0)), None).expect("encoded");
    for (name, file) in [(CHANGES, changes), (IMAGE, encode_image(&committed(), None).expect("encoded"))] {
        golden::create(name, &whole(&file));
    }
}
