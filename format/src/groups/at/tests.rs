use object_store::ObjectStoreExt as _;
use proptest::prelude::*;

use super::*;
use crate::bucket::Bucket;
use crate::groups::sample::{commit as committed, delete};
use crate::groups::{GroupRun, file};
use crate::ids::{LeaderEpoch, PartitionId, Shard};
use crate::layout::{self, Origin, SegmentName, SegmentPlace};
use crate::manifest::Segment;
use crate::manifest::log::{Draft, LogWriter};
use crate::offset_range::OffsetRange;
use crate::sample::{at, claimed, commit, key, position};
use crate::segment::encode::EncodedSegment;

/// The partitions of `__consumer_offsets`; each group is in one of them.
const PARTITIONS: i32 = 2;

/// One cut of a history.
#[derive(Clone, Debug)]
struct Cut {
    /// Group, partition that it reads, offset; `None` is a deletion.
    rows: Vec<(u8, i32, Option<i64>)>,
    /// Whether it brings an image.
    image: bool,
    /// Whether a checkpoint follows it.
    checkpoint: bool,
    /// Whether the writer is another one afterwards, which knows what the log says and no more.
    restart: bool,
}

fn cut() -> impl Strategy<Value = Cut> {
    let row = (0..4u8, 0..2, proptest::option::weighted(0.8, 0..1000i64));
    let often = proptest::bool::weighted;
    (proptest::collection::vec(row, 0..4), often(0.4), often(0.2), often(0.3))
        .prop_map(|(rows, image, checkpoint, restart)| Cut { rows, image, checkpoint, restart })
}

/// A log, and every row that was ever committed, in order.
struct History {
    store: Store,
    writer: LogWriter,
    table: Table,
    rows: Vec<OffsetRow>,
    next: [i64; PARTITIONS as usize],
}

impl History {
    async fn new() -> Self {
        let store = Store::memory();
        let writer = claimed(&store).await;
        Self { store, writer, table: Table::default(), rows: Vec::new(), next: [0; PARTITIONS as usize] }
    }

    async fn upload(&self, encoded: EncodedSegment, number: usize) -> Segment {
        let EncodedSegment { parts, bytes, sha256, footer_bytes, footer_sha256, rows, raw_bytes, runs } = encoded;
        let (epoch, sequence) = (self.writer.epoch(), self.writer.next_sequence());
        let name = SegmentName { shard: Shard::ONLY, epoch, sequence, number, origin: Origin::Cut };
        let object = layout::segment(&SegmentPlace::Groups(Bucket::of(at(0))), name);
        let path = object.below(&self.store.prefix);
        self.store.inner.put(&path, parts.concat().into()).await.expect("put");
        Segment { object, bytes, sha256, footer_bytes, footer_sha256, rows, raw_bytes, runs }
    }

    /// Each row is a second older than the next, whatever its partition.
    async fn take(&mut self, cut: &Cut) {
        let mut fresh: [Vec<OffsetRow>; PARTITIONS as usize] = Default::default();
        for (group, partition, offset) in &cut.rows {
            let number = i64::try_from(self.rows.len()).expect("few");
            let home = usize::from(*group) % fresh.len();
            let (id, log_offset) = (format!("group-{group}"), self.next[home]);
            let row = match offset {
                Some(offset) => committed(&id, "orders", *partition, *offset, log_offset),
                None => delete(&id, "orders", *partition, log_offset),
            };
            let row = OffsetRow { timestamp: at(number), log_partition: PartitionId::new(home_of(home)), ..row };
            self.next[home] += 1;
            self.table.take(row.clone());
            self.rows.push(row.clone());
            fresh[home].push(row);
        }
        self.commit(fresh, cut.image).await;
        if cut.checkpoint {
            self.writer.checkpoint().await.expect("checkpoint");
        }
        if cut.restart {
            let log = reader::open(&self.store, Shard::ONLY).await.expect("readable").expect("a log");
            let end = Moment::of_log(&log, None).expect("a head");
            self.table = table(&self.store, &log, end).await.expect("readable");
        }
    }

    async fn commit(&mut self, fresh: [Vec<OffsetRow>; PARTITIONS as usize], image: bool) {
        let log = |home: usize| key(TopicName::consumer_offsets().as_str(), 0, home_of(home));
        let mut runs = Vec::new();
        for (home, rows) in fresh.into_iter().enumerate().filter(|(_, rows)| !rows.is_empty()) {
            let (first, next) = (rows[0].log_offset, Offset::new(self.next[home]));
            let range = OffsetRange::new(first, next).expect("a range");
            runs.push(GroupRun { key: log(home), range, leader_epoch: LeaderEpoch::new(1), rows });
        }
        let moved: Vec<usize> =
            (0..self.next.len()).filter(|home| runs.iter().any(|run| run.key == log(*home))).collect();
        let mut segments = Vec::new();
        if !runs.is_empty() {
            segments.push(self.upload(file::encode(runs, Bucket::of(at(0)), None).expect("encoded"), 0).await);
        }
        let mut group_image = None;
        if image {
            let encoded = file::encode_image(&self.table.image(), None).expect("encoded");
            let Segment { object, bytes, sha256, rows, .. } = self.upload(encoded, 1).await;
            group_image = Some(GroupImage { object, bytes, sha256, rows, newest: self.table.newest(), unreadable: 0 });
        }
        // Everything so far is captured at the second before the next row's.
        let until = i64::try_from(self.rows.len()).ok().map(|next| at(next - 1));
        let frontier = Frontier { until, groups: Some(GroupStanding::Followed), ..Frontier::default() };
        let positions = moved.iter().map(|home| position(&log(*home), self.next[*home])).collect();
        commit(&mut self.writer, Draft { segments, group_image, positions, frontier, ..Draft::default() }).await;
    }

    /// The plain fold of what counts.
    fn expected(&self, until: Option<TimestampMs>) -> GroupOffsets {
        let mut table = Table::default();
        let counts = |row: &&OffsetRow| until.is_none_or(|until| row.timestamp <= until);
        self.rows.iter().filter(counts).for_each(|row| table.take(row.clone()));
        table.offsets()
    }
}

fn home_of(home: usize) -> i32 {
    i32::try_from(home).expect("small")
}

async fn every_moment_equals_the_fold(cuts: Vec<Cut>) {
    let mut history = History::new().await;
    for cut in &cuts {
        history.take(cut).await;
    }
    let log = reader::open(&history.store, Shard::ONLY).await.expect("readable").expect("a log");
    let first = log.state.group_images.first().and_then(|image| image.until);
    for second in -1..=i64::try_from(history.rows.len()).expect("few") {
        let moment = Moment::of_log(&log, Some(at(second))).expect("a head");
        let found = super::at(&history.store, &log, moment).await.expect("readable");
        assert_eq!(found.offsets, history.expected(Some(at(second))), "at second {second} of {cuts:?}");
        let before = first.is_none_or(|first| at(second) < first);
        let after = moment.frontier.until.is_some_and(|until| at(second) > until);
        assert_eq!(found.incomplete.is_some(), before || after, "{:?} at second {second}", found.incomplete);
    }
    let moment = Moment::of_log(&log, None).expect("a head");
    assert_eq!(super::at(&history.store, &log, moment).await.expect("readable").offsets, history.expected(None));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn a73_every_moment_of_any_history_equals_the_plain_fold(cuts in proptest::collection::vec(cut(), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(every_moment_equals_the_fold(cuts));
    }
}

/// Three cuts of one commit each, with an image after the first.
async fn short() -> (History, Log) {
    let mut history = History::new().await;
    for (offset, image) in [(10, true), (20, false), (30, false)] {
        history.take(&Cut { rows: vec![(0, 0, Some(offset))], image, checkpoint: false, restart: false }).await;
    }
    let log = reader::open(&history.store, Shard::ONLY).await.expect("readable").expect("a log");
    (history, log)
}

fn only(found: &GroupOffsets) -> i64 {
    let all: Vec<i64> = found.values().flat_map(|of| of.values()).map(|one| one.offset.get()).collect();
    assert_eq!(all.len(), 1, "{found:?}");
    all[0]
}

/// An image holds no row of what was deleted, and is not older for that: its writer may be one that never saw the deletion.
#[tokio::test]
async fn a73_a_moment_before_a_deletion_is_not_read_from_an_image_after_it_whoever_made_that() {
    let mut history = History::new().await;
    let cut = |rows: &[(u8, i32, Option<i64>)], image, restart| Cut {
        rows: rows.to_vec(),
        image,
        checkpoint: false,
        restart,
    };
    history.take(&cut(&[(0, 0, Some(10))], true, false)).await;
    history.take(&cut(&[(0, 0, None)], true, true)).await;
    history.take(&cut(&[], true, false)).await;
    let log = reader::open(&history.store, Shard::ONLY).await.expect("readable").expect("a log");
    let before = Moment::of_log(&log, Some(at(0))).expect("a head");
    assert_eq!(only(&super::at(&history.store, &log, before).await.expect("readable").offsets), 10);
}

#[tokio::test]
async fn a_snapshot_ends_where_its_positions_do() {
    let (history, log) = short().await;
    let second = log.tail.iter().rev().nth(1).expect("a manifest");
    let ends = crate::slice::ends(&second.positions);
    let moment = Moment { last: second.sequence, frontier: &second.frontier, ends: Some(&ends), until: None };
    let found = super::at(&history.store, &log, moment).await.expect("readable");
    assert_eq!((only(&found.offsets), found.incomplete), (20, None));
    let earlier = Moment { until: Some(at(0)), ..moment };
    assert_eq!(only(&super::at(&history.store, &log, earlier).await.expect("readable").offsets), 10);
}

#[tokio::test]
async fn a_file_that_is_gone_or_altered_is_named() {
    let (history, log) = short().await;
    let moment = Moment::of_log(&log, None).expect("a head");
    let image = &log.state.group_images[0].image.object;
    for (bytes, because) in [(Some(&b"PAR1 altered PAR1"[..]), "altered"), (None, "gone")] {
        let path = image.below(&history.store.prefix);
        match bytes {
            Some(bytes) => drop(history.store.inner.put(&path, bytes.into()).await.expect("put")),
            None => history.store.inner.delete(&path).await.expect("deleted"),
        }
        let error = super::at(&history.store, &log, moment).await.expect_err(because);
        assert!(!error.is_retryable() && error.to_string().contains(image.as_str()), "{because}: {error}");
    }
}

#[tokio::test]
async fn what_is_not_covered_says_why() {
    let (_, mut log) = short().await;
    let why = |log: &Log, until: Option<i64>| {
        let moment = Moment::of_log(log, until.map(at)).expect("a head");
        incomplete(&log.state, moment).map(|why| why.to_string())
    };
    assert_eq!(why(&log, None), None);
    assert_eq!(
        why(&log, Some(-1)).expect("before"),
        "the offsets of consumer groups are held from 2026-02-13T07:00:00.000Z on"
    );
    assert_eq!(
        why(&log, Some(9)).expect("after"),
        "the offsets of consumer groups are held until 2026-02-13T07:00:02.000Z only"
    );
    log.state.frontier.groups = Some(GroupStanding::Denied);
    assert!(why(&log, None).expect("interrupted").contains("not captured any more"));
    assert_eq!(why(&log, Some(0)), None, "an image covers it");
    log.state.group_images.clear();
    assert!(why(&log, None).expect("denied").contains("Describe, Read"));
    log.state.frontier.groups = None;
    assert!(why(&log, None).expect("none").contains("its job selects none"));
    log.state.frontier.groups = Some(GroupStanding::Absent);
    assert_eq!(why(&log, None), None, "no group ever committed");
}
