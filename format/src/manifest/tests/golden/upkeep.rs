//! What refining, sealing and retiring add to the golden documents.

use super::*;
use crate::state::{Base, Position, Totals};

/// What takes the place of intake segments of manifests 1 and 2.
pub(super) fn refined() -> Segment {
    let run = Run { row_group: 1, first_row: 7, ..run(&key("orders", 0, 1), 0..40, 40) };
    let name = SegmentName { sequence: Sequence::new(2), origin: Origin::Refined, ..place(12) };
    let object = layout::segment(&SegmentPlace::Topic(run.topic.clone().into(), run.bucket), name);
    Segment { object, bytes: 2500, raw_bytes: 8800, ..segment(vec![run]) }
}

pub(super) fn replacing() -> Refined {
    let replaced = Totals { segments: 2, bytes: 3000, rows: 41, raw_bytes: 9000 };
    Refined { through: Sequence::new(2), segments: vec![refined()], replaced }
}

/// What is kept of the records of a compacted topic before its start.
pub(super) fn base() -> Segment {
    let run = run(&key("customers", 0, 0), 0..50, 3);
    let name = SegmentName { sequence: Sequence::new(2), origin: Origin::Refined, ..place(13) };
    let object = layout::segment(&SegmentPlace::Base(run.topic.clone().into(), run.bucket), name);
    Segment { object, bytes: 700, raw_bytes: 300, ..segment(vec![run]) }
}

/// A position of which the base is held.
pub(super) fn with_base(position: Position) -> Position {
    let base = Some(Base { sequence: Sequence::new(2), added: Sequence::new(3) });
    Position { base, ..position }
}

pub(super) fn retiring() -> Retired {
    let PartitionKey { topic, lineage, partition } = key("customers", 0, 0);
    let (first_offset, lowest_timestamp) = (Offset::new(50), at(1));
    Retired {
        before: at(60),
        starts: vec![PartitionStart { topic, lineage, partition, first_offset, rows: 50, lowest_timestamp }],
        base: vec![base()],
        group_images_before: Some(Sequence::new(2)),
        freed: Totals { segments: 1, bytes: 1000, rows: 50, raw_bytes: 3000 },
    }
}

pub(super) fn sealed() -> Sealed {
    let (bucket, sha256) = (Bucket::of(at(-3600)), Sha256::of(b"bucket"));
    let bucket = SealedBucket {
        bucket,
        object: layout::bucket_manifest(bucket, Shard::ONLY, Sequence::new(2), &sha256),
        sha256,
        segments: 1,
        bytes: 1000,
        min_timestamp: Some(at(-3000)),
        max_timestamp: Some(at(-10)),
        groups: Some((Sequence::new(1), Sequence::new(2))),
    };
    let (through, before, refined) = (Sequence::new(2), Bucket::of(at(0)), Some(Sequence::new(1)));
    Sealed { through, before, refined, buckets: vec![bucket] }
}

/// What is filed under the hour of the manifests, once it is over.
pub(super) fn bucket_manifest() -> BucketManifest {
    BucketManifest {
        format_version: 1,
        kind: Kind::BucketManifest,
        backup: backup(),
        shard: Shard::ONLY,
        bucket: Bucket::of(at(0)),
        through: Sequence::new(3),
        segments: vec![groups(), refined(), base()],
    }
}
