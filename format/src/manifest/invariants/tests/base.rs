//! What a base may be: of what goes, each offset once, and newer than the one before.

use super::*;
use crate::manifest::{PartitionStart, Retired, Run};
use crate::sample::topic;

/// A base segment of these runs of `orders`, of a base that was begun after that manifest.
fn base(begun_after: u64, number: usize, runs: Vec<Run>) -> Segment {
    let place = SegmentPlace::Base(topic("orders").into(), Bucket::of(at(0)));
    let (epoch, sequence) = (Epoch::new(3), Sequence::new(begun_after));
    let name = SegmentName { shard: Shard::ONLY, epoch, sequence, number, origin: Origin::Refined };
    Segment { object: layout::segment(&place, name), ..segment(runs) }
}

/// `rows` records of `orders-0` below 6.
fn below_six(rows: u64) -> Run {
    run(&key("orders", 0, 0), 0..6, rows)
}

fn start(rows: u64) -> PartitionStart {
    let PartitionKey { topic, lineage, partition } = key("orders", 0, 0);
    PartitionStart { topic, lineage, partition, first_offset: Offset::new(6), rows, lowest_timestamp: at(0) }
}

/// What `orders-0` held before 6 goes, but for a base.
fn retired(base: Vec<Segment>) -> Retired {
    let (starts, freed) = (vec![start(6)], Totals::default());
    Retired { before: at(0), starts, base, group_images_before: None, freed }
}

fn retiring(retired: Retired) -> Draft {
    Draft { retired: Some(retired), ..Draft::default() }
}

/// Why it is refused.
fn why(result: Result<(), Violation>) -> String {
    match result {
        Err(Violation::Retired { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a78_a_base_of_what_goes_is_legal_and_so_is_none() {
    assert_eq!(of(retiring(retired(Vec::new()))), Ok(()), "a table of which everything was deleted");
    let (orders, runs) = (key("orders", 0, 0), |offsets, rows| vec![run(&key("orders", 0, 0), offsets, rows)]);
    let halves = vec![base(2, 0, runs(0..3, 1)), base(2, 1, runs(3..6, 2))];
    let mut state = state();
    let manifest = next(&state, retiring(retired(halves)));
    state.fold(&manifest, Sha256::of(b"retired")).expect("legal");
    let held = state.position(&orders).expect("held");
    let base = crate::state::Base { sequence: Sequence::new(2), added: manifest.sequence };
    assert_eq!((held.first_offset, held.base, held.rows), (Offset::new(6), Some(base), 10 - 6 + 3));
}

#[test]
fn a78_all_of_a_base_was_begun_at_once_and_before_its_manifest() {
    let of_base = |segments| why(of(retiring(retired(segments))));
    let foreign = Segment { object: filed_under("topics"), ..base(2, 0, vec![below_six(1)]) };
    assert_eq!(of_base(vec![foreign.clone()]), format!("{} is not of one base with the others", foreign.object));
    let half = |offsets| vec![run(&key("orders", 0, 0), offsets, 1)];
    let (new, old) = (base(2, 0, half(3..6)), base(1, 0, half(0..3)));
    let refused = format!("{} is not of one base with the others", old.object);
    assert_eq!(of_base(vec![new, old]), refused);
    // The next manifest is number 3.
    assert_eq!(of_base(vec![base(3, 0, vec![below_six(1)])]), "its base was begun after it");
    let error = of(retiring(retired(vec![base(3, 0, vec![below_six(1)])]))).expect_err("begun after it");
    let told = "what it retires before 2026-02-13T07:00:00.000Z cannot be: its base was begun after it";
    assert_eq!(error.to_string(), told);
}

/// The key of a segment of `orders` in another folder than that of bases.
fn filed_under(folder: &str) -> layout::ObjectKey {
    let of_base = base(2, 0, Vec::new()).object.to_string();
    layout::ObjectKey::try_from(of_base.replacen("base", folder, 1)).expect("a segment's key")
}

#[test]
fn a78_a_base_holds_each_offset_once() {
    let orders = key("orders", 0, 0);
    let twice = "its base holds offsets of orders-0 twice";
    let in_one = base(2, 0, vec![run(&orders, 3..6, 1), run(&orders, 0..4, 1)]);
    assert_eq!(why(of(retiring(retired(vec![in_one])))), twice);
    let in_two = vec![base(2, 0, vec![below_six(2)]), base(2, 1, vec![below_six(2)])];
    assert_eq!(why(of(retiring(retired(in_two)))), twice);
}

#[test]
fn a78_a_base_is_of_partitions_that_begin_later_of_what_was_before_and_no_more_of_it() {
    let refused = |key: &str| format!("its base of {key} is not of what goes");
    let with_rows = |rows, kept| of(retiring(Retired { starts: vec![start(rows)], ..retired(vec![kept]) }));
    assert_eq!(with_rows(3, base(2, 0, vec![below_six(3)])), Ok(()), "of some tables no key is written twice");
    assert_eq!(why(with_rows(2, base(2, 0, vec![below_six(3)]))), refused("orders-0"));
    let beyond = base(2, 0, vec![run(&key("orders", 0, 0), 0..7, 3)]);
    assert_eq!(why(with_rows(6, beyond)), refused("orders-0"));
    let other = base(2, 0, vec![below_six(3), run(&key("orders", 0, 1), 0..6, 3)]);
    assert_eq!(why(with_rows(6, other)), refused("orders-1"));
    let none = Retired { starts: Vec::new(), ..retired(vec![base(2, 0, vec![below_six(3)])]) };
    assert_eq!(why(of(retiring(none))), refused("orders-0"));
}

#[test]
fn a78_a_base_takes_the_place_of_an_older_one_alone() {
    let mut state = state();
    let first = next(&state, retiring(retired(vec![base(2, 0, vec![below_six(3)])])));
    state.fold(&first, Sha256::of(b"retired")).expect("legal");
    // Three records of the base before go, and none of after it: the partition begins where it did.
    let again = |base: Vec<Segment>| {
        let retired = Retired { before: at(1), starts: vec![start(3)], ..retired(base) };
        check(&state, &next(&state, retiring(retired)))
    };
    assert_eq!(again(vec![base(3, 0, vec![below_six(2)])]), Ok(()));
    let refused = "its base of orders-0 is not of what goes";
    assert_eq!(why(again(vec![base(2, 1, vec![below_six(2)])])), refused, "the same base");
    assert_eq!(why(again(vec![base(1, 0, vec![below_six(2)])])), refused, "one before");
    assert_eq!(why(again(vec![base(3, 0, vec![below_six(4)])])), refused, "more than there was");
}

#[test]
fn a78_only_what_retires_something_adds_a_base() {
    let segment = base(2, 0, vec![run(&key("orders", 0, 0), 10..15, 5)]);
    let object = segment.object.to_string();
    let positions = vec![position(&key("orders", 0, 0), 15)];
    let added = of(Draft { segments: vec![segment], positions, ..Draft::default() });
    assert_eq!(added, Err(Violation::Segment { object }));
}
