use std::num::NonZeroU32;

use super::*;
use crate::layout::{SegmentName, SegmentPlace};
use crate::manifest::{Segment, TopicDescription};
use crate::sample::{at, description, empty_state, key, position, run, segment, topic};
use crate::state::{Interval, Life, Position, Retirement, TopicState};

const HOUR: i64 = 3600;

fn policy(max_age_seconds: Option<u64>, max_backups: Option<u32>) -> Retention {
    Retention {
        max_age: max_age_seconds.map(Duration::from_secs),
        max_backups: max_backups.and_then(NonZeroU32::new),
        acknowledged: None,
        grace: Duration::ZERO,
    }
}

fn boundary(seconds: i64) -> Boundary {
    Boundary { observed_at: at(seconds), keep_forever: false }
}

#[test]
fn a80_what_either_limit_keeps_is_kept_and_keep_forever_wins() {
    let snapshots = [boundary(100), boundary(300), boundary(200)];
    let since = |policy: &Retention, snapshots: &[Boundary]| window(policy, snapshots, at(1000));
    assert_eq!(since(&policy(None, None), &snapshots), None);
    assert_eq!(since(&policy(Some(600), None), &snapshots), Some(at(400)));
    assert_eq!(since(&policy(None, Some(2)), &snapshots), Some(at(200)));
    assert_eq!(since(&policy(None, Some(4)), &snapshots), None, "fewer than that limit nothing");
    assert_eq!(since(&policy(Some(600), Some(2)), &snapshots), Some(at(200)), "the snapshots reach further back");
    assert_eq!(since(&policy(Some(900), Some(1)), &snapshots), Some(at(100)), "the age reaches further back");
    assert_eq!(since(&policy(Some(600), Some(2)), &[]), Some(at(400)));
    let forever = Boundary { keep_forever: true, ..boundary(50) };
    assert_eq!(since(&policy(Some(600), Some(2)), &[forever, boundary(300)]), Some(at(50)));
}

#[test]
fn a76_a_window_that_would_lose_more_than_half_waits_to_be_acknowledged() {
    let mut state = empty_state();
    state.complete_since = Some(at(0));
    state.retired = Some(Retirement { before: at(0), observed_at: at(30 * 24 * HOUR) });
    let now = at(31 * 24 * HOUR);
    let judged = |policy: &Retention| judge(policy, &state, window(policy, &[], now).expect("limited"), now);
    let hour = policy(Some(3600), None);
    let (from_millis, to_millis) = (30 * 24 * 3_600_000, 3_600_000);
    assert_eq!(judged(&hour), Verdict::Held { wanted: now.plus_millis(-3_600_000), from_millis, to_millis });
    let acknowledged = |seconds| Retention { acknowledged: Some(Duration::from_secs(seconds)), ..hour.clone() };
    assert_eq!(judged(&acknowledged(3600)), Verdict::Move(now.plus_millis(-3_600_000)));
    assert!(matches!(judged(&acknowledged(7200)), Verdict::Held { .. }), "less was acknowledged");
    let days = |days: u64| policy(Some(days * 86_400), None);
    assert_eq!(judged(&days(30)), Verdict::Move(at(24 * HOUR)));
    assert_eq!(judged(&days(15)), Verdict::Move(at(16 * 24 * HOUR)));
    assert_eq!(judged(&days(60)), Verdict::Unmoved, "it never goes back");
}

#[test]
fn nothing_goes_while_the_first_copy_lasts() {
    let limit = policy(Some(3600), None);
    assert_eq!(judge(&limit, &empty_state(), at(0), at(HOUR)), Verdict::Unmoved);
}

fn described(config: &[(&str, &str)], inherited: &[(&str, &str)]) -> TopicDescription {
    let map = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    TopicDescription { config: map(config), inherited: map(inherited), ..description(2) }
}

/// A topic of one life and one partition of 100 records, one in each minute.
fn with_topic(state: &mut State, name: &str, description: TopicDescription) {
    let life =
        Life { topic_id: crate::ids::TopicId::new(name), began: TopicEventKind::Added, since: at(0), deleted: None };
    let topic_state = TopicState {
        lives: vec![life],
        current: BTreeMap::from([(crate::ids::PartitionId::new(0), Lineage::FIRST)]),
        description,
        earlier: Vec::new(),
        selected: vec![Interval { from: at(0), until: None }],
    };
    state.topics.insert(topic(name), topic_state);
    let held = position(&key(name, 0, 0), 100);
    let held = Position {
        first_offset: Offset::new(0),
        base: None,
        next_offset: held.next_offset,
        last_record: held.last_record,
        highest_timestamp: Some(at(99 * 60)),
        filed: None,
        lowest_timestamp: Some(at(0)),
        rows: 100,
    };
    state.positions.insert(key(name, 0, 0), held);
}

const DELETE: (&str, &str) = ("cleanup.policy", "delete");

#[test]
fn a_topic_is_kept_for_as_long_as_kafka_keeps_it_besides() {
    let mut state = empty_state();
    let hours = |hours: i64| (hours * 3_600_000).to_string();
    with_topic(&mut state, "own", described(&[("retention.ms", &hours(2))], &[DELETE]));
    with_topic(&mut state, "inherited", described(&[], &[DELETE, ("retention.ms", &hours(5))]));
    with_topic(&mut state, "unknown", described(&[], &[]));
    with_topic(&mut state, "forever", described(&[("retention.ms", "-1")], &[DELETE]));
    let window = at(10 * HOUR);
    let of = |name: &str| kept(&state, &key(name, 0, 0), window);
    assert_eq!(of("own"), Kept::From(Bucket::of(at(8 * HOUR))));
    assert_eq!(of("inherited"), Kept::From(Bucket::of(at(5 * HOUR))));
    assert_eq!((of("unknown"), of("forever"), of("never-was")), (Kept::All, Kept::All, Kept::All));
}

#[test]
fn a_topic_that_kept_longer_at_a_kept_instant_is_kept_for_that() {
    let mut state = empty_state();
    with_topic(&mut state, "orders", described(&[("retention.ms", "3600000")], &[DELETE]));
    let longer = described(&[("retention.ms", "18000000")], &[DELETE]);
    let earlier = crate::state::Earlier { until: at(11 * HOUR), description: longer };
    state.topics.get_mut(&topic("orders")).expect("there").earlier.push(earlier);
    let of = |window| kept(&state, &key("orders", 0, 0), window);
    assert_eq!(of(at(10 * HOUR)), Kept::From(Bucket::of(at(5 * HOUR))));
    assert_eq!(of(at(12 * HOUR)), Kept::From(Bucket::of(at(11 * HOUR))), "no kept instant saw it");
}

#[test]
fn a_topic_that_changed_too_often_for_all_to_be_remembered_is_kept_whole() {
    let mut state = empty_state();
    with_topic(&mut state, "orders", described(&[("retention.ms", "3600000")], &[DELETE]));
    let changes = (0..).zip(0..crate::state::DESCRIPTIONS_KEPT).map(|(minute, _)| crate::state::Earlier {
        until: at(10 * HOUR + minute * 60),
        description: described(&[("retention.ms", "7200000")], &[DELETE]),
    });
    let changes: Vec<_> = changes.collect();
    let of = |changes: &[crate::state::Earlier], window| {
        let mut state = state.clone();
        state.topics.get_mut(&topic("orders")).expect("there").earlier = changes.to_vec();
        kept(&state, &key("orders", 0, 0), window)
    };
    let (oldest, two_hours) = (at(10 * HOUR), |window: i64| Kept::From(Bucket::of(at(window - 2 * HOUR))));
    assert_eq!(of(&changes, oldest.plus_millis(-1)), Kept::All, "one before may have been forgotten");
    assert_eq!(of(&changes, oldest), two_hours(10 * HOUR));
    assert_eq!(of(&changes[1..], oldest.plus_millis(-1)), two_hours(10 * HOUR - 1), "nothing was forgotten");
}

fn limits<'a>(cuts: &'a Ends, refined: u64) -> Limits<'a> {
    Limits { refined: Sequence::new(refined), sealed: Sequence::new(refined), cuts }
}

#[test]
fn a78_of_a_compacted_topic_the_newest_of_each_key_is_kept() {
    let mut state = empty_state();
    let millis = 3 * HOUR * 1000;
    let retention = [("retention.ms", millis.to_string())];
    let retention = retention.each_ref().map(|(name, millis)| (*name, millis.as_str()));
    with_topic(&mut state, "compacted", described(&[("cleanup.policy", "compact")], &retention));
    with_topic(&mut state, "both", described(&[("cleanup.policy", "compact,delete")], &retention));
    with_topic(&mut state, "changed", described(&[("cleanup.policy", "compact")], &retention));
    let earlier = crate::state::Earlier { until: at(11 * HOUR), description: described(&[DELETE], &retention) };
    state.topics.get_mut(&topic("changed")).expect("there").earlier.push(earlier);
    let of = |name: &str, window| kept(&state, &key(name, 0, 0), window);
    let (before, since) = (Bucket::of(at(10 * HOUR)), Some(Bucket::of(at(7 * HOUR))));
    assert_eq!(of("compacted", at(10 * HOUR)), Kept::Newest { before, since: None });
    assert_eq!(of("both", at(10 * HOUR)), Kept::Newest { before, since });
    assert_eq!(of("changed", at(10 * HOUR)), Kept::All, "it was whole at the first kept instant");
    assert_eq!(of("changed", at(11 * HOUR)), Kept::Newest { before: Bucket::of(at(11 * HOUR)), since: None });
}

/// What a base is made of.
fn base(name: &str, sequence: u64, rows: u64) -> Segment {
    let run = Run { bucket: Bucket::of(at(0)), ..run(&key(name, 0, 0), 0..60, rows) };
    let place = SegmentPlace::Base(run.topic.clone().into(), run.bucket);
    let name = SegmentName { sequence: Sequence::new(sequence), ..hour_of(name, 0).1 };
    Segment { object: crate::layout::segment(&place, name), ..segment(vec![run]) }
}

#[test]
fn a78_what_has_aged_gives_way_to_a_base_of_it() {
    let mut state = empty_state();
    with_topic(&mut state, "accounts", described(&[("cleanup.policy", "compact")], &[]));
    let cuts = Ends::new();
    let mut gleaner = Gleaner::new(&state, at(HOUR + 60), limits(&cuts, 2));
    assert_eq!(gleaner.end(), Bucket::of(at(HOUR)));
    let (first, _) = hour_of("accounts", 0);
    assert!(gleaner.take(&first) && gleaner.take(&hour_of("accounts", 1).0), "nothing goes before the base is made");
    let due = gleaner.aged();
    let aged: Vec<&Segment> = due.iter().flat_map(|aged| &aged.segments).map(|aged| &aged.segment).collect();
    assert_eq!(aged, [&first]);
    let made = due.into_iter().map(|aged| (aged, Some(vec![base("accounts", 2, 5)]))).collect();
    let retired = gleaner.finish(at(5 * HOUR), made);
    let start = &retired.starts[0];
    assert_eq!((start.first_offset, start.rows, start.lowest_timestamp), (Offset::new(60), 60, at(0)));
    assert_eq!(retired.bases(), BTreeMap::from([(start.key(), (Sequence::new(2), 5))]));
    assert_eq!(retired.freed, Totals { segments: 1, bytes: 1000, rows: 60, raw_bytes: 3000 });
}

#[test]
fn a78_without_a_base_what_has_aged_stays_whole() {
    let mut state = empty_state();
    with_topic(&mut state, "accounts", described(&[("cleanup.policy", "compact")], &[]));
    let cuts = Ends::new();
    let mut gleaner = Gleaner::new(&state, at(HOUR + 60), limits(&cuts, 2));
    assert!(gleaner.take(&hour_of("accounts", 0).0));
    assert_eq!(gleaner.aged().len(), 1);
    let retired = gleaner.finish(at(0), Vec::new());
    assert_eq!((retired.starts, retired.base, retired.freed), (Vec::new(), Vec::new(), Totals::default()));
}

#[test]
fn a78_what_came_after_a_kept_snapshot_ended_takes_the_place_of_nothing_in_it() {
    let mut state = empty_state();
    with_topic(&mut state, "accounts", described(&[("cleanup.policy", "compact")], &[]));
    let cuts = Ends::from([(key("accounts", 0, 0), Offset::new(59))]);
    let mut gleaner = Gleaner::new(&state, at(HOUR + 60), limits(&cuts, 2));
    assert!(gleaner.take(&hour_of("accounts", 0).0));
    assert_eq!(gleaner.aged(), []);
}

#[test]
fn a78_hours_age_up_to_where_the_lowest_kept_snapshot_ends() {
    let mut state = empty_state();
    with_topic(&mut state, "accounts", described(&[("cleanup.policy", "compact")], &[]));
    let aged_below = |cut: i64| {
        let cuts = Ends::from([(key("accounts", 0, 0), Offset::new(cut)), (key("accounts", 0, 1), Offset::new(0))]);
        let mut gleaner = Gleaner::new(&state, at(3 * HOUR), limits(&cuts, 2));
        assert!(gleaner.take(&hour_of("accounts", 0).0) && gleaner.take(&hour_of("accounts", 1).0));
        gleaner.aged().iter().map(|aged| aged.segments.len()).sum::<usize>()
    };
    assert_eq!([59, 60, 99, 100].map(aged_below), [0, 1, 1, 2]);
}

/// A topic whose records Kafka compacts, and deletes after two hours.
fn compacted_and_deleted() -> State {
    let mut state = empty_state();
    let config = [("cleanup.policy", "compact,delete"), ("retention.ms", "7200000")];
    with_topic(&mut state, "accounts", described(&config, &[]));
    state
}

#[test]
fn a78_of_what_is_compacted_and_deleted_old_hours_go_whole_and_the_others_age() {
    let (state, cuts) = (compacted_and_deleted(), Ends::new());
    let retired = |is_made: bool| {
        let mut gleaner = Gleaner::new(&state, at(3 * HOUR), limits(&cuts, 2));
        assert!(gleaner.take(&hour_of("accounts", 0).0) && gleaner.take(&hour_of("accounts", 1).0));
        let base = is_made.then(|| vec![base("accounts", 2, 5)]);
        let made = gleaner.aged().into_iter().map(|aged| (aged, base.clone())).collect();
        let retired = gleaner.finish(at(5 * HOUR), made);
        let start = retired.starts[0].clone();
        (start.first_offset.get(), start.rows, start.lowest_timestamp, retired.freed.segments)
    };
    assert_eq!(retired(true), (100, 100, at(0), 2));
    // Memory has no room to decide about the second hour: it is held still, whatever comes later.
    assert_eq!(retired(false), (60, 60, at(HOUR), 1));
}

#[test]
fn a78_a_base_is_made_anew_once_half_of_it_has_come_since_and_all_of_it_was_seen() {
    let mut state = empty_state();
    with_topic(&mut state, "accounts", described(&[("cleanup.policy", "compact")], &[]));
    state.retired = Some(crate::state::Retirement { before: at(HOUR), observed_at: at(HOUR) });
    let held = state.positions.get_mut(&key("accounts", 0, 0)).expect("there");
    (held.first_offset, held.rows) = (Offset::new(60), 45);
    held.base = Some(crate::state::Base { sequence: Sequence::new(2), added: Sequence::new(3) });
    let (cuts, old) = (Ends::new(), base("accounts", 2, 5));
    assert!(state.holds(&old) && !state.holds(&base("accounts", 1, 5)) && !state.holds(&hour_of("accounts", 0).0));
    let due = |sealed: u64, bytes: u64| {
        let mut gleaner = Gleaner::new(&state, at(3 * HOUR), limits(&cuts, sealed));
        let old = Segment { bytes, ..old.clone() };
        assert!(gleaner.take(&old) && gleaner.take(&hour_of("accounts", 1).0));
        let due = gleaner.aged();
        let made = due.iter().map(|aged| (aged.clone(), Some(Vec::new()))).collect();
        (due.len(), gleaner.finish(at(0), made).starts.first().map(|start| (start.first_offset, start.rows)))
    };
    assert_eq!(due(2, 1000), (0, None), "the base is not sealed yet");
    assert_eq!(due(3, 2000), (1, Some((Offset::new(100), 45))));
    assert_eq!(due(3, 2002), (0, None), "less than half has come");
}

#[test]
fn a78_where_records_go_beside_a_base_it_is_made_anew_or_all_stays() {
    let mut state = empty_state();
    let retention = [("retention.ms", "3600000")];
    with_topic(&mut state, "both", described(&[("cleanup.policy", "compact,delete")], &retention));
    state.retired = Some(crate::state::Retirement { before: at(HOUR), observed_at: at(HOUR) });
    let held = state.positions.get_mut(&key("both", 0, 0)).expect("there");
    // The base is filed under the second hour. A record that was late is filed under the first.
    (held.first_offset, held.rows) = (Offset::new(60), 45);
    held.base = Some(crate::state::Base { sequence: Sequence::new(2), added: Sequence::new(2) });
    let mut old = Segment { bytes: 1 << 20, ..base("both", 2, 5) };
    old.runs[0].bucket = Bucket::of(at(HOUR));
    let (late, _) = hour_of("both", 1);
    let late = Segment { runs: vec![Run { bucket: Bucket::of(at(0)), ..late.runs[0].clone() }], ..late };
    let cuts = Ends::new();
    let gleaned = |made: Option<Vec<Segment>>| {
        let mut gleaner = Gleaner::new(&state, at(2 * HOUR), limits(&cuts, 2));
        assert!(gleaner.take(&old) && gleaner.take(&late));
        let due = gleaner.aged();
        assert_eq!(due.len(), 1, "however little has come since");
        gleaner.finish(at(9 * HOUR), due.into_iter().map(|aged| (aged, made.clone())).collect())
    };
    let renewed = base("both", 3, 5);
    let retired = gleaned(Some(vec![renewed]));
    assert_eq!(
        retired.starts.iter().map(|start| (start.first_offset, start.rows)).collect::<Vec<_>>(),
        [(Offset::new(100), 45)]
    );
    assert_eq!((retired.base.len(), retired.freed.segments), (1, 2));
    let kept = gleaned(None);
    assert_eq!((kept.starts, kept.base, kept.freed), (Vec::new(), Vec::new(), Totals::default()));
}

#[test]
fn a78_what_stays_beside_what_goes_counts_for_the_lowest_timestamp() {
    let mut state = empty_state();
    let retention = [("retention.ms", "3600000")];
    with_topic(&mut state, "both", described(&[("cleanup.policy", "compact,delete")], &retention));
    let cuts = Ends::new();
    let (old, aging) = (hour_of("both", 0).0, hour_of("both", 1).0);
    let small = Segment { bytes: 0, raw_bytes: 0, ..aging };
    let mut gleaner = Gleaner::new(&state, at(2 * HOUR), limits(&cuts, 2));
    assert!(gleaner.take(&old) && gleaner.take(&small), "nothing goes before it is clear what of the topic does");
    assert_eq!(gleaner.aged(), [], "nothing that is worth a base");
    let retired = gleaner.finish(at(9 * HOUR), Vec::new());
    let start = &retired.starts[0];
    assert_eq!((start.first_offset, start.rows, start.lowest_timestamp), (Offset::new(60), 60, at(HOUR)));
    assert_eq!(retired.freed.segments, 1);
}

#[test]
fn a41_a_life_that_was_over_before_the_window_is_of_no_kept_instant() {
    let mut state = empty_state();
    with_topic(&mut state, "gone", described(&[("retention.ms", "-1")], &[DELETE]));
    let topic_state = state.topics.get_mut(&topic("gone")).expect("there");
    topic_state.lives[0].deleted = Some(at(5 * HOUR));
    assert_eq!(kept(&state, &key("gone", 0, 0), at(4 * HOUR)), Kept::All);
    assert_eq!(kept(&state, &key("gone", 0, 0), at(5 * HOUR)), Kept::Nothing);
    let cuts = Ends::new();
    let end = |state: &State| Gleaner::new(state, at(5 * HOUR), limits(&cuts, 2)).end();
    assert_eq!(end(&state), Bucket::of(TimestampMs::new(i64::MAX)), "it may be filed under any hour");
    // All its records were retired. The marker of a transaction came after them.
    let held = state.positions.get_mut(&key("gone", 0, 0)).expect("there");
    (held.first_offset, held.next_offset, held.rows) = (Offset::new(100), Offset::new(101), 0);
    assert_eq!(end(&state), Bucket::of(TimestampMs::new(0)), "nothing is looked for any more");
}

/// The sealed segment of the records of one hour, and its name.
fn hour_of(name: &str, hour: i64) -> (Segment, SegmentName) {
    let (first, end) = (hour * 60, ((hour + 1) * 60).min(100));
    let rows = u64::try_from(end - first).expect("few");
    let run = crate::manifest::Run {
        min_timestamp: at(first * 60),
        max_timestamp: at((end - 1) * 60),
        bucket: Bucket::of(at(first * 60)),
        ..run(&key(name, 0, 0), first..end, rows)
    };
    let place = SegmentPlace::Topic(run.topic.clone().into(), run.bucket);
    let name = SegmentName {
        shard: crate::ids::Shard::ONLY,
        epoch: crate::ids::Epoch::new(1),
        sequence: Sequence::new(2),
        number: usize::try_from(hour).expect("few"),
        origin: crate::layout::Origin::Refined,
    };
    (Segment { object: crate::layout::segment(&place, name), ..segment(vec![run]) }, name)
}

#[test]
fn whole_hours_go_from_the_beginning_of_a_partition() {
    let mut state = empty_state();
    with_topic(&mut state, "orders", described(&[("retention.ms", "0")], &[DELETE]));
    state.totals = Totals { segments: 2, bytes: 2000, rows: 100, raw_bytes: 6000 };
    let cuts = Ends::new();
    let mut gleaner = Gleaner::new(&state, at(HOUR + 60), limits(&cuts, 2));
    assert_eq!(gleaner.end(), Bucket::of(at(HOUR)));
    assert!(!gleaner.take(&hour_of("orders", 0).0) && gleaner.take(&hour_of("orders", 1).0));
    let retired = gleaner.finish(at(5 * HOUR), Vec::new());
    let start = &retired.starts[0];
    assert_eq!((start.first_offset, start.rows, start.lowest_timestamp), (Offset::new(60), 60, at(HOUR)));
    assert_eq!(retired.freed, Totals { segments: 1, bytes: 1000, rows: 60, raw_bytes: 3000 });
}

#[test]
fn what_is_not_sealed_through_stays() {
    let mut state = empty_state();
    with_topic(&mut state, "orders", described(&[("retention.ms", "0")], &[DELETE]));
    let cuts = Ends::new();
    let mut gleaner = Gleaner::new(&state, at(50 * HOUR), limits(&cuts, 1));
    assert!(gleaner.take(&hour_of("orders", 0).0));
    assert_eq!(gleaner.finish(at(0), Vec::new()).starts, []);
}

#[test]
fn of_images_the_newest_one_stays_that_was_whole_before_the_window() {
    let mut state = empty_state();
    let image = |number: u64, until: i64, newest: i64| crate::state::GroupImageAt {
        sequence: Sequence::new(number),
        observed_at: at(until + 1),
        until: Some(at(until)),
        image: crate::manifest::GroupImage {
            object: crate::sample::intake(Sequence::new(number), 0),
            bytes: 100,
            sha256: crate::checksum::Sha256::of(b"an image"),
            rows: 1,
            newest: Some(at(newest)),
            unreadable: 0,
        },
    };
    // What the third holds was committed after the window begins, in part.
    state.group_images = vec![image(1, 0, 0), image(2, HOUR, HOUR), image(3, 2 * HOUR, 2 * HOUR + 5)];
    let cuts = Ends::new();
    let retired = Gleaner::new(&state, at(2 * HOUR + 1), limits(&cuts, 9)).finish(at(0), Vec::new());
    assert_eq!(retired.group_images_before, Some(Sequence::new(2)));
    assert_eq!((retired.freed.segments, retired.freed.bytes), (1, 100));
    let nothing = Gleaner::new(&state, at(HOUR - 1), limits(&cuts, 9)).finish(at(0), Vec::new());
    assert_eq!((nothing.group_images_before, nothing.freed.segments), (None, 0));
    // Groups were an hour behind when it was made, and a snapshot of before is kept.
    let late = crate::state::GroupImageAt { observed_at: at(2 * HOUR), ..image(2, HOUR, HOUR) };
    state.group_images = vec![image(1, 0, 0), late];
    let nothing = Gleaner::new(&state, at(2 * HOUR - 1), limits(&cuts, 9)).finish(at(0), Vec::new());
    assert_eq!((nothing.group_images_before, nothing.freed.segments), (None, 0));
}
