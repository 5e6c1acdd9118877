//! Each violation by the change that makes it, and what is legal beside it.

mod base;

use super::*;
use crate::bucket::Bucket;
use crate::ids::{PartitionId, TopicDigest};
use crate::layout::{self, Origin, SegmentName, SegmentPlace, TopicDir};
use crate::manifest::log::Draft;
use crate::manifest::{Claim, Frontier, GapReason, Segment};
use crate::sample::{
    at, captured, description, empty_state, event, gap, hole, key, nonce, position, range, run, segment,
};

fn next(state: &State, draft: Draft) -> Manifest {
    let Draft { mut segments, group_image, gaps, holes, topics, positions, refined, retired, frontier } = draft;
    for (number, segment) in segments.iter_mut().enumerate().filter(|(_, segment)| segment.is_intake()) {
        segment.object = crate::sample::intake(state.next_sequence(), number);
    }
    Manifest {
        format_version: crate::document::FORMAT_VERSION,
        kind: crate::document::Kind::Manifest,
        backup: state.backup,
        shard: state.shard,
        sequence: state.next_sequence(),
        epoch: state.epoch(),
        nonce: nonce(1),
        previous: state.next_previous(),
        observed_at: at(0),
        claim: None,
        segments,
        group_image,
        gaps,
        holes,
        topics,
        positions,
        refined,
        retired,
        frontier,
    }
}

fn claim() -> Option<Claim> {
    Some(Claim { writer: "pod-0".to_owned(), software: "0.1.0".to_owned() })
}

/// A log of two manifests of epoch 3: `orders` is known, and `orders-0` stands at 10.
fn state() -> State {
    let mut state = empty_state();
    let claimed = Manifest { epoch: Epoch::new(3), claim: claim(), ..next(&state, Draft::default()) };
    state.fold(&claimed, Sha256::of(b"claim")).expect("legal");
    let topics = vec![event("orders", 0, TopicEventKind::Added)];
    let first = next(&state, Draft { topics, ..captured(&key("orders", 0, 0), 0..10) });
    state.fold(&first, Sha256::of(b"first")).expect("legal");
    state
}

fn of(draft: Draft) -> Result<(), Violation> {
    check(&state(), &next(&state(), draft))
}

fn linked(change: impl FnOnce(&mut Manifest)) -> Result<(), Violation> {
    let mut manifest = next(&state(), Draft::default());
    change(&mut manifest);
    check(&state(), &manifest)
}

#[test]
fn a58_a_link_belongs_to_its_backup_its_slot_and_the_manifest_before() {
    assert_eq!(linked(|_| {}), Ok(()));
    let foreign = BackupId::new(uuid::Uuid::nil());
    let (found, shard, wanted) = (foreign, Shard::ONLY, state().backup);
    assert_eq!(linked(|next| next.backup = foreign), Err(Violation::Foreign { found, shard, wanted }));
    let (found, shard) = (wanted, Shard::new(1));
    assert_eq!(linked(|next| next.shard = shard), Err(Violation::Foreign { found, shard, wanted }));
    for found in [Sequence::new(2), Sequence::new(4)] {
        let wanted = Sequence::new(3);
        assert_eq!(linked(|next| next.sequence = found), Err(Violation::Sequence { found, wanted }));
    }
    let (found, wanted) = (Sha256::of(b"other"), Sha256::of(b"first"));
    assert_eq!(linked(|next| next.previous = found), Err(Violation::Chain { found, wanted }));
}

#[test]
fn a06_epochs_go_up_with_a_claim_only() {
    let with = |epoch: u64, claim: Option<Claim>| {
        let result = linked(|next| (next.epoch, next.claim) = (Epoch::new(epoch), claim));
        result.is_ok().then_some(()).ok_or(())
    };
    assert_eq!([2, 3, 4].map(|epoch| with(epoch, None)), [Err(()), Ok(()), Err(())]);
    assert_eq!([2, 3, 4, 9].map(|epoch| with(epoch, claim())), [Err(()), Err(()), Ok(()), Ok(())]);
    let error = linked(|next| next.epoch = Epoch::new(4)).expect_err("no claim");
    assert_eq!(error.to_string(), "its epoch 4 may not follow epoch 3 without a claim");
}

#[test]
fn runs_gaps_and_holes_tile_the_offsets_from_the_position_before_to_the_new_one() {
    let orders = key("orders", 0, 0);
    let tiled = |ranges: [std::ops::Range<i64>; 3], to: i64| {
        let [captured, lost, skipped] = ranges;
        of(Draft {
            segments: vec![segment(vec![run(&orders, captured, 1)])],
            gaps: vec![gap(&orders, lost, GapReason::RetentionOverrun)],
            holes: vec![hole(&orders, skipped)],
            positions: vec![position(&orders, to)],
            ..Draft::default()
        })
    };
    assert_eq!(tiled([10..15, 15..18, 18..20], 20), Ok(()));
    assert_eq!(tiled([18..20, 10..15, 15..18], 20), Ok(()), "their order in the document says nothing");
    let not_contiguous = |offsets, wanted| {
        let (key, range, wanted) = (orders.clone(), range(offsets), Offset::new(wanted));
        Err(Violation::NotContiguous { key, range, wanted })
    };
    assert_eq!(tiled([11..15, 15..18, 18..20], 20), not_contiguous(11..15, 10), "a hole before");
    assert_eq!(tiled([9..15, 15..18, 18..20], 20), not_contiguous(9..15, 10), "captured twice");
    assert_eq!(tiled([10..15, 16..18, 18..20], 20), not_contiguous(16..18, 15), "a hole between");
    assert_eq!(tiled([10..15, 14..18, 18..20], 20), not_contiguous(14..18, 15), "an overlap");
    assert_eq!(tiled([10..15, 10..15, 15..20], 20), not_contiguous(10..15, 15), "the same twice");
    for found in [19, 21] {
        let (key, found, wanted) = (orders.clone(), Offset::new(found), Offset::new(20));
        let position = Err(Violation::Position { key, found, wanted });
        assert_eq!(tiled([10..15, 15..18, 18..20], found.get()), position);
    }
}

#[test]
fn a_partition_begins_anywhere_and_moves_with_a_position_only() {
    let fresh = key("orders", 0, 1);
    assert_eq!(of(captured(&fresh, 700..710)), Ok(()));
    assert_eq!(of(Draft { positions: vec![position(&fresh, 700)], ..Draft::default() }), Ok(()));
    assert_eq!(of(Draft { positions: vec![position(&key("orders", 0, 0), 10)], ..Draft::default() }), Ok(()));
    let no_position = |key: &PartitionKey| Err(Violation::NoPosition { key: key.clone() });
    assert_eq!(of(Draft { positions: Vec::new(), ..captured(&fresh, 0..1) }), no_position(&fresh));
    let gaps = vec![gap(&fresh, 0..1, GapReason::TopicDeleted)];
    assert_eq!(of(Draft { gaps, ..Draft::default() }), no_position(&fresh));
    let holes = vec![hole(&fresh, 0..1)];
    assert_eq!(of(Draft { holes, ..Draft::default() }), no_position(&fresh));
    // Another life of the partition has offsets of its own.
    assert_eq!(of(captured(&key("orders", 1, 0), 0..5)), Ok(()));
    assert!(of(captured(&key("orders", 0, 0), 0..5)).is_err());
}

#[test]
fn bases_are_the_lowest_offset_of_each_partition() {
    let (one, two) = (key("orders", 0, 0), key("orders", 0, 1));
    let manifest = next(
        &state(),
        Draft {
            segments: vec![segment(vec![run(&one, 12..15, 1)])],
            gaps: vec![gap(&one, 10..12, GapReason::Excluded), gap(&two, 5..7, GapReason::Excluded)],
            holes: vec![hole(&one, 15..16)],
            positions: vec![position(&one, 16), position(&two, 7), position(&key("orders", 0, 2), 3)],
            ..Draft::default()
        },
    );
    assert_eq!(bases(&manifest), [(one, Offset::new(10)), (two, Offset::new(5))].into());
}

#[test]
fn a_run_has_rows_no_more_of_them_than_offsets_and_its_times_in_order() {
    let orders = key("orders", 0, 0);
    let with = |change: fn(&mut crate::manifest::Run)| {
        let mut run = run(&orders, 10..15, 5);
        change(&mut run);
        let segments = vec![segment(vec![run])];
        of(Draft { segments, positions: vec![position(&orders, 15)], ..Draft::default() })
    };
    let contradicts = |rows| {
        let (key, range) = (orders.clone(), range(10..15));
        Err(Violation::Run { key, range, rows })
    };
    assert_eq!(with(|_| {}), Ok(()));
    assert_eq!(with(|run| run.rows = 1), Ok(()), "the other four are legal holes");
    assert_eq!(with(|run| run.rows = 6), contradicts(6));
    assert_eq!(with(|run| run.rows = 0), contradicts(0));
    assert_eq!(with(|run| run.min_timestamp = run.max_timestamp.plus_millis(1)), contradicts(5));
}

#[test]
fn a_segment_sums_its_runs_and_lies_where_they_belong() {
    let orders = key("orders", 0, 0);
    let with = |change: fn(&mut Segment)| {
        let mut segment = segment(vec![run(&orders, 10..15, 5)]);
        change(&mut segment);
        let result = of(Draft { segments: vec![segment], positions: vec![position(&orders, 15)], ..Draft::default() });
        result.map_err(|violation| matches!(violation, Violation::Segment { .. }))
    };
    fn filed(topic: &str, millis: i64) -> layout::ObjectKey {
        below(TopicName::new(topic).expect("topic").into(), millis)
    }
    assert_eq!(with(|segment| segment.object = filed("orders", 0)), Ok(()));
    assert_eq!(with(|segment| segment.object = filed("payments", 0)), Err(true));
    assert_eq!(with(|segment| segment.object = filed("orders", 3_600_000)), Err(true));
    assert_eq!(with(|segment| segment.object = layout::identity()), Err(true));
    assert_eq!(with(|segment| segment.rows = 4), Err(true));
    assert_eq!(with(|segment| segment.bytes = u64::MAX), Err(true));
}

/// The key of a segment in the directory of a topic.
fn below(dir: TopicDir, millis: i64) -> layout::ObjectKey {
    let place = SegmentPlace::Topic(dir, Bucket::of(at(0).plus_millis(millis)));
    let (epoch, sequence) = (Epoch::new(3), Sequence::new(3));
    layout::segment(&place, SegmentName { shard: Shard::ONLY, epoch, sequence, number: 0, origin: Origin::Cut })
}

#[test]
fn a33_a_segment_below_a_digest_is_of_one_topic_and_its_bucket() {
    let judge = |millis, runs: Vec<Run>| {
        let object = below(TopicDir::Digest(TopicDigest::new([7; 16])), millis);
        let positions = runs.iter().map(|run| position(&run.key(), run.range.next_offset().get())).collect();
        let segments = vec![Segment { object, ..segment(runs) }];
        let topics = vec![event("payments", 0, TopicEventKind::Added)];
        let judged = of(Draft { segments, positions, topics, ..Draft::default() });
        judged.map_err(|violation| matches!(violation, Violation::Segment { .. }))
    };
    let (orders, payments) = (run(&key("orders", 0, 0), 10..15, 5), run(&key("payments", 0, 0), 10..15, 5));
    let more = run(&key("orders", 0, 1), 10..15, 5);
    assert_eq!(judge(0, vec![orders.clone(), more]), Ok(()));
    assert_eq!(judge(0, vec![payments.clone()]), Ok(()), "which topic it is, the digest does not tell");
    assert_eq!(judge(0, vec![orders.clone(), payments]), Err(true));
    assert_eq!(judge(3_600_000, vec![orders]), Err(true));
    assert_eq!(judge(0, vec![run(&key("__consumer_offsets", 0, 0), 10..15, 5)]), Err(true));
}

#[test]
fn a60_rows_beyond_all_sums_are_a_contradiction() {
    let runs = vec![run(&key("orders", 0, 0), 10..15, u64::MAX), run(&key("orders", 0, 1), 0..5, 2)];
    let segments = vec![Segment { rows: 1, ..segment(vec![]) }];
    let segments = segments.into_iter().map(|segment| Segment { runs: runs.clone(), ..segment }).collect();
    assert!(matches!(of(Draft { segments, ..Draft::default() }), Err(Violation::Segment { .. })));
}

#[test]
fn topic_events_fit_the_lives_that_the_topic_has() {
    use TopicEventKind::{Added, Changed, Deleted, Excluded, Included, Recreated, Truncated};
    let fits = |name: &str, lineage: i32, kind: TopicEventKind| {
        of(Draft { topics: vec![event(name, lineage, kind)], ..Draft::default() }).is_ok()
    };
    // `orders` has one life, `new` none.
    let legal = [
        ("new", 0, Added),
        ("orders", 1, Recreated),
        ("orders", 1, Truncated),
        ("orders", 0, Changed),
        ("orders", 0, Deleted),
        ("orders", 0, Excluded),
        ("orders", 0, Included),
    ];
    for (name, lineage, kind) in legal {
        assert!(fits(name, lineage, kind), "{name} {lineage} {kind:?}");
        let other = if name == "new" { "orders" } else { "new" };
        assert!(!fits(other, lineage, kind), "{other} {lineage} {kind:?}");
        assert!(!fits(name, lineage + 1, kind), "{name} {} {kind:?}", lineage + 1);
        assert!(!fits(name, -1, kind), "{name} -1 {kind:?}");
    }
    assert!(!fits("orders", 0, Recreated) && !fits("orders", 0, Truncated), "a life that began already");
}

#[test]
fn topic_events_tell_what_they_must_and_follow_each_other_within_a_manifest() {
    use TopicEventKind::{Added, Changed, Deleted, Recreated, Truncated};
    let events = |topics: Vec<super::super::TopicEvent>| of(Draft { topics, ..Draft::default() });
    for (lineage, kind) in [(1, Recreated), (0, Changed)] {
        let mut undescribed = event("orders", lineage, kind);
        undescribed.description = None;
        let (topic, event) = (undescribed.topic.clone(), kind);
        let lineage = Lineage::new(lineage);
        assert_eq!(events(vec![undescribed]), Err(Violation::Topic { topic, event, lineage }));
    }
    let mut of_none = event("orders", 1, Truncated);
    of_none.partition = None;
    assert!(events(vec![of_none.clone()]).is_err(), "which partition was truncated?");
    of_none.partition = Some(PartitionId::new(1));
    of_none.description = Some(description(2));
    assert_eq!(events(vec![of_none]), Ok(()));
    let life = |lineage, kind| event("new", lineage, kind);
    let whole = [(0, Added), (0, Deleted), (1, Recreated), (2, Truncated), (2, Changed)];
    assert_eq!(events(whole.map(|(lineage, kind)| life(lineage, kind)).into()), Ok(()));
    assert!(events(vec![life(0, Added), life(0, Added)]).is_err());
    assert!(events(vec![life(0, Deleted), life(0, Added)]).is_err());
}

#[test]
fn what_is_refused_says_which_partition_and_which_offsets() {
    let error = of(captured(&key("orders", 0, 0), 12..15)).expect_err("a hole");
    assert_eq!(error.to_string(), "orders-0: [12, 15) does not follow the position 10");
    let frontier = Frontier { until: Some(at(0)), ..Frontier::default() };
    assert_eq!(of(Draft { frontier, ..Draft::default() }), Ok(()), "a heartbeat");
}
