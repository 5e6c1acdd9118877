//! Laws of the fold, for whatever legal log there may be.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::super::log::{Draft, LogWriter, Prepared};
use super::super::*;
use crate::document;
use crate::manifest::invariants::{self, Violation};
use crate::sample::{
    at, behind, claimed, description, empty_state, event, gap, hole, key, position, prepare, run, segment, topic,
};
use crate::state::State;
use crate::store::Store;

/// What became of the next offsets of a partition.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Captured { rows: i64 },
    Lost(GapReason),
    Skipped,
}

/// The next so many offsets of a partition of `orders`.
#[derive(Clone, Copy, Debug)]
struct Tile {
    partition: i32,
    offsets: i64,
    fate: Fate,
}

/// What one manifest adds.
#[derive(Clone, Debug)]
struct Cut {
    tiles: Vec<Tile>,
    event: TopicEventKind,
    until: Option<i64>,
    copying: bool,
    checkpoint: bool,
}

const PARTITIONS: i32 = 3;

fn any_tile() -> impl Strategy<Value = Tile> {
    use GapReason::{DeletedByUser, Excluded, RetentionOverrun, TopicDeleted};
    let reason = select(vec![RetentionOverrun, DeletedByUser, Excluded, TopicDeleted]);
    let fate = prop_oneof![
        4 => (1..10i64).prop_map(|rows| Fate::Captured { rows }),
        1 => reason.prop_map(Fate::Lost),
        1 => Just(Fate::Skipped),
    ];
    (0..PARTITIONS, 1..30i64, fate).prop_map(|(partition, offsets, fate)| Tile { partition, offsets, fate })
}

fn any_cut() -> impl Strategy<Value = Cut> {
    use TopicEventKind::{Changed, Deleted, Excluded, Included, Recreated, Truncated};
    let event = select(vec![Changed, Deleted, Excluded, Included, Recreated, Truncated]);
    let until = proptest::option::weighted(0.8, 0..1000i64);
    (vec(any_tile(), 0..8), event, until, any::<bool>(), proptest::bool::weighted(0.2))
        .prop_map(|(tiles, event, until, copying, checkpoint)| Cut { tiles, event, until, copying, checkpoint })
}

/// The event as it fits what the state knows of `orders`; the first thing that becomes of a topic is that it is added.
fn fitting(state: &State, kind: TopicEventKind) -> TopicEvent {
    let lives = state.topics.get(&topic("orders")).map_or(0, |topic| topic.next_lineage().get());
    let partitions = PARTITIONS.unsigned_abs();
    let (lineage, kind) = match kind {
        _ if lives == 0 => (0, TopicEventKind::Added),
        TopicEventKind::Recreated | TopicEventKind::Truncated => (lives, kind),
        _ => (lives - 1, kind),
    };
    let fitting = event("orders", lineage, kind);
    TopicEvent { description: fitting.description.as_ref().map(|_| description(partitions)), ..fitting }
}

/// The life that a partition is in: offsets go on where it stands, or at 5 where it begins.
fn stands(state: &State, partition: i32) -> (PartitionKey, i64) {
    let topic = state.topics.get(&topic("orders"));
    let lineage = topic.and_then(|topic| topic.current.get(&PartitionId::new(partition)));
    let key = key("orders", lineage.map_or(0, |lineage| lineage.get()), partition);
    let next = state.position(&key).map_or(5, |position| position.next_offset.get());
    (key, next)
}

fn draft(state: &State, cut: &Cut) -> Draft {
    let mut next: BTreeMap<i32, i64> = (0..PARTITIONS).map(|number| (number, stands(state, number).1)).collect();
    let (mut runs, mut draft) = (Vec::new(), Draft::default());
    for Tile { partition, offsets, fate } in cut.tiles.iter().copied() {
        let (key, next) = (stands(state, partition).0, next.entry(partition).or_default());
        let range = *next..*next + offsets;
        *next = range.end;
        match fate {
            Fate::Captured { rows } => runs.push(run(&key, range, rows.min(offsets).unsigned_abs())),
            Fate::Lost(reason) => draft.gaps.push(gap(&key, range, reason)),
            Fate::Skipped => draft.holes.push(hole(&key, range)),
        }
    }
    // Two segments, so that the tiles of one partition are scattered.
    let second = runs.split_off(runs.len() / 2);
    draft.segments = [runs, second].into_iter().filter(|runs| !runs.is_empty()).map(segment).collect();
    for (partition, next) in next {
        let (key, stood) = stands(state, partition);
        if next > stood {
            draft.positions.push(position(&key, next));
        }
    }
    draft.topics = vec![fitting(state, cut.event)];
    let copying = cut.copying.then(|| behind(&stands(state, 0).0, None, BehindReason::Backlog));
    draft.frontier = Frontier { until: cut.until.map(at), behind: copying.into_iter().collect(), groups: None };
    draft
}

async fn write(store: &Store, cuts: &[Cut]) -> (LogWriter, Vec<Prepared>) {
    let mut writer = claimed(store).await;
    let mut written = Vec::new();
    for cut in cuts {
        let prepared = prepare(&writer, draft(writer.state(), cut));
        writer.commit(&prepared).await.expect("committed");
        written.push(prepared);
        if cut.checkpoint {
            writer.checkpoint().await.expect("checkpoint");
        }
    }
    (writer, written)
}

/// All manifests of the log, read one by one and folded in their order.
async fn folded(store: &Store, writer: &LogWriter) -> State {
    let mut state = State { identity: writer.state().identity, ..empty_state() };
    while let Some((manifest, digest)) =
        reader::manifest(store, Shard::ONLY, state.next_sequence()).await.expect("readable")
    {
        state.fold(&manifest, digest).expect("legal");
    }
    state
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    futures::executor::block_on(future)
}

proptest! {
    #[test]
    fn the_newest_checkpoint_and_its_tail_say_what_all_manifests_say(cuts in vec(any_cut(), 1..12)) {
        let store = Store::memory();
        let (writer, written) = block_on(write(&store, &cuts));
        let log = block_on(reader::open(&store, Shard::ONLY)).expect("readable").expect("a backup");
        prop_assert_eq!(&log.state, writer.state());
        prop_assert_eq!(&log.state, &block_on(folded(&store, &writer)));
        let tail = cuts.iter().rev().take_while(|cut| !cut.checkpoint).count();
        prop_assert_eq!(log.tail.len(), if tail == cuts.len() { tail + 1 } else { tail });
        let segments = written.iter().flat_map(|prepared| prepared.manifest().segments.clone()).collect::<Vec<_>>();
        prop_assert_eq!(block_on(log.segments(&store, None, None)).expect("readable"), segments);
    }

    #[test]
    fn a_slice_of_time_has_the_segments_that_overlap_it_whatever_the_checkpoints(
        cuts in vec(any_cut(), 1..12), from in proptest::option::of(0..300i64), length in 0..100i64,
    ) {
        let store = Store::memory();
        let (_, written) = block_on(write(&store, &cuts));
        let log = block_on(reader::open(&store, Shard::ONLY)).expect("readable").expect("a backup");
        let to = from.map(|from| at(from + length));
        let from = from.map(at);
        let inside = |run: &Run| from.is_none_or(|from| from <= run.max_timestamp) && to.is_none_or(|to| run.min_timestamp < to);
        let segments = written.iter().flat_map(|prepared| prepared.manifest().segments.clone());
        let expected: Vec<Segment> = segments.filter(|segment| segment.runs.iter().any(inside)).collect();
        prop_assert_eq!(block_on(log.segments(&store, from, to)).expect("readable"), expected);
    }

    #[test]
    fn every_offset_from_the_first_to_the_next_is_in_one_run_gap_or_hole(cuts in vec(any_cut(), 1..12)) {
        let store = Store::memory();
        let (writer, written) = block_on(write(&store, &cuts));
        let mut accounted: BTreeMap<(PartitionKey, i64), u32> = BTreeMap::new();
        for (key, range) in written.iter().flat_map(tiles) {
            for offset in range.base().get()..range.next_offset().get() {
                *accounted.entry((key.clone(), offset)).or_default() += 1;
            }
        }
        let held = writer.state().positions.iter().flat_map(|(key, position)| {
            (position.first_offset.get()..position.next_offset.get()).map(|offset| ((key.clone(), offset), 1))
        });
        prop_assert_eq!(accounted, held.collect());
    }

    #[test]
    fn documents_come_back_whatever_they_say(cuts in vec(any_cut(), 1..4)) {
        let (_, written) = block_on(write(&Store::memory(), &cuts));
        for prepared in &written {
            let packed = document::pack(prepared.manifest()).expect("packed");
            prop_assert_eq!(&document::unpack::<Manifest>(&packed).expect("unpacked"), prepared.manifest());
        }
    }

    #[test]
    fn whatever_is_changed_of_what_accounts_for_the_offsets_is_refused(
        cuts in vec(any_cut(), 0..4), tiles in vec(any_tile(), 1..8), at in any::<Index>(), change in any_change(),
    ) {
        let first = Cut { tiles: (0..PARTITIONS).map(first_tile).collect(), ..quiet(Vec::new()) };
        let cuts: Vec<Cut> = [vec![first], cuts.into_iter().map(|cut| quiet(cut.tiles)).collect()].concat();
        let (writer, _) = block_on(write(&Store::memory(), &cuts));
        let legal = prepare(&writer, draft(writer.state(), &quiet(tiles))).manifest().clone();
        prop_assert_eq!(invariants::check(writer.state(), &legal), Ok(()));
        let mut changed = legal.clone();
        prop_assume!(perturb(&mut changed, at, change));
        let mut state = writer.state().clone();
        let violation = state.fold(&changed, Sha256::of(b"changed")).expect_err("refused");
        let named = matches!(
            violation,
            Violation::NotContiguous { .. } | Violation::Position { .. } | Violation::NoPosition { .. } | Violation::Run { .. }
        );
        prop_assert!(named, "{}", violation);
        prop_assert_eq!(&state, writer.state());
    }
}

/// Every run, gap and hole: the partition, and its offsets.
fn tiles(prepared: &Prepared) -> Vec<(PartitionKey, OffsetRange)> {
    let mut manifest = prepared.manifest().clone();
    places(&mut manifest).into_iter().map(|(key, _, range)| (key, *range)).collect()
}

/// A cut in which nothing becomes of the topic but that it is described anew.
fn quiet(tiles: Vec<Tile>) -> Cut {
    Cut { tiles, event: TopicEventKind::Changed, until: None, copying: false, checkpoint: false }
}

/// Where a partition stands nowhere yet it may begin anywhere; after this one it may not.
fn first_tile(partition: i32) -> Tile {
    Tile { partition, offsets: 10, fate: Fate::Captured { rows: 10 } }
}

/// The place of every run, gap and hole.
fn places(manifest: &mut Manifest) -> Vec<(PartitionKey, &mut PartitionId, &mut OffsetRange)> {
    let Manifest { segments, gaps, holes, .. } = manifest;
    let runs = segments.iter_mut().flat_map(|segment| &mut segment.runs);
    let runs = runs.map(|run| (run.key(), &mut run.partition, &mut run.range));
    let gaps = gaps.iter_mut().map(|gap| (gap.key(), &mut gap.partition, &mut gap.range));
    let holes = holes.iter_mut().map(|hole| (hole.key(), &mut hole.partition, &mut hole.range));
    runs.chain(gaps).chain(holes).collect()
}

/// How one tile, or the position after it, is made wrong.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// The tile begins elsewhere: a hole before it, or an overlap.
    Base(i64),
    /// The tile ends elsewhere.
    Next(i64),
    /// All of the tile lies elsewhere.
    Shift(i64),
    /// The tile is not there.
    Drop,
    /// The tile is there twice.
    Twice,
    /// The tile is of another partition.
    Partition,
    /// The position is another.
    Position(i64),
    /// No position is given.
    NoPosition,
}

fn any_change() -> impl Strategy<Value = Change> {
    let by = || prop_oneof![-40..0i64, 1..40i64];
    prop_oneof![
        by().prop_map(Change::Base),
        by().prop_map(Change::Next),
        by().prop_map(Change::Shift),
        Just(Change::Drop),
        Just(Change::Twice),
        Just(Change::Partition),
        by().prop_map(Change::Position),
        Just(Change::NoPosition),
    ]
}

/// Makes wrong what `at` chooses; `false` where no range is like that.
fn perturb(manifest: &mut Manifest, at: Index, change: Change) -> bool {
    let mut places = places(manifest);
    let chosen = at.index(places.len());
    let (key, partition, place) = places.swap_remove(chosen);
    let range = *place;
    let mut moved = |base: i64, next: i64| {
        let (base, next) = (range.base().get() + base, range.next_offset().get() + next);
        OffsetRange::new(Offset::new(base), Offset::new(next)).map(|range| *place = range).is_ok()
    };
    match change {
        Change::Base(by) => return moved(by, 0),
        Change::Next(by) => return moved(0, by),
        Change::Shift(by) => return moved(by, by),
        Change::Partition => *partition = PartitionId::new((key.partition.get() + 1) % PARTITIONS),
        Change::Twice => manifest.holes.push(hole(&key, range.base().get()..range.next_offset().get())),
        Change::Drop => drop_tile(manifest, &key, range),
        Change::NoPosition => manifest.positions.retain(|position| position.key() != key),
        Change::Position(by) => {
            for position in manifest.positions.iter_mut().filter(|position| position.key() == key) {
                position.next_offset = Offset::new(position.next_offset.get() + by);
            }
        }
    }
    true
}

fn drop_tile(manifest: &mut Manifest, key: &PartitionKey, range: OffsetRange) {
    manifest.gaps.retain(|gap| (&gap.key(), gap.range) != (key, range));
    manifest.holes.retain(|hole| (&hole.key(), hole.range) != (key, range));
    for segment in &mut manifest.segments {
        segment.runs.retain(|run| (&run.key(), run.range) != (key, range));
        segment.rows = segment.runs.iter().map(|run| run.rows).sum();
    }
}
