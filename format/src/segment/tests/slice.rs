//! Reading some records of a segment: exactly those, from no other bytes, all of them checked.

use std::ops::Range;

use object_store::ObjectStoreExt as _;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::super::copy::NotCopied;
use super::super::decode::Row;
use super::super::slice::{Cause, Fetched, SliceError, SliceReader, Wanted, estimated_bytes, planned};
use super::sealed::ring;
use super::*;
use crate::crypt::KeyRing;
use crate::manifest::Segment;
use crate::sample;
use crate::store::faulty::{Decision, FaultControl, Op};
use crate::store::{ErrorKind, Store};

/// What nobody wants, in a row group of its own: more than is fetched for nothing.
const BALLAST_BYTES: usize = 300 << 10;

/// Bytes that no codec makes fewer.
fn noise(len: usize, seed: u64) -> Bytes {
    let mut state = seed | 1;
    let next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

fn ballast() -> Vec<RunInput> {
    vec![run(key("ballast", 0, 0), &[Record { value: Some(noise(BALLAST_BYTES, 1)), ..record(0) }], 1)]
}

/// An object and its entry in a manifest.
struct Stored {
    store: Store,
    control: FaultControl,
    segment: Segment,
    bytes: Bytes,
}

impl Stored {
    async fn new(encoded: EncodedSegment) -> Self {
        Self::with(encoded, None).await
    }

    /// In a backup with these keys, for which it was sealed.
    async fn with(encoded: EncodedSegment, keys: Option<Arc<KeyRing>>) -> Self {
        let (store, control) = sample::faulty();
        let (store, bytes) = (Store { keys, ..store }, whole(&encoded));
        let EncodedSegment { sha256, footer_bytes, footer_sha256, rows, raw_bytes, runs, .. } = encoded;
        let object = sample::segment(Vec::new()).object;
        let size = bytes.len() as u64;
        let segment = Segment { object, bytes: size, sha256, footer_bytes, footer_sha256, rows, raw_bytes, runs };
        let this = Self { store, control, segment, bytes: bytes.clone() };
        this.put(bytes).await;
        this
    }

    async fn put(&self, bytes: Bytes) {
        self.store.inner.put(&self.segment.object.below(&self.store.prefix), bytes.into()).await.expect("put");
    }

    /// Changes one byte.
    async fn flip(&self, at: u64) {
        let mut bytes = self.bytes.to_vec();
        bytes[usize::try_from(at).expect("small")] ^= 1;
        self.put(bytes.into()).await;
    }

    async fn open(&self, wanted: Vec<Wanted>) -> Result<SliceReader, SliceError> {
        SliceReader::open(&self.store, self.segment.clone(), wanted).await
    }

    async fn read(&self, wanted: Vec<Wanted>) -> Result<(Vec<Row>, Fetched), SliceError> {
        let mut reader = self.open(wanted).await?;
        let mut rows = Vec::new();
        while let Some(group) = reader.next_group().await? {
            for row in group {
                rows.push(row?);
            }
        }
        Ok((rows, reader.fetched()))
    }

    /// How many bytes of the row group in which something is wanted are copied.
    async fn copied(&self, wanted: Vec<Wanted>) -> Result<u64, NotCopied> {
        let mut reader = self.open(wanted).await.expect("open");
        let pages = reader.next_pages().await.expect("read").expect("a row group");
        pages.copy(&options(Codec::Zstd(1))).map(|group| group.bytes())
    }

    /// All its rows that are wanted, found the slow way.
    fn expected(&self, wanted: &[Wanted]) -> Vec<Row> {
        let opener = self.store.opener(&self.segment.object);
        let reader = SegmentReader::open(self.bytes.clone(), opener.as_ref()).expect("open");
        let of = |wanted: &Wanted| {
            let rows: Vec<Row> = reader.records(&wanted.run).expect("run").collect::<Result<_, _>>().expect("rows");
            rows.into_iter()
                .filter(|(_, record)| {
                    let Record { offset, timestamp, .. } = *record;
                    let (base, next) = (wanted.offsets.base(), wanted.offsets.next_offset());
                    base <= offset
                        && offset < next
                        && wanted.from.is_none_or(|from| from <= timestamp)
                        && wanted.until.is_none_or(|until| timestamp <= until)
                })
                .collect::<Vec<_>>()
        };
        wanted.iter().flat_map(of).collect()
    }

    fn footer(&self) -> SegmentFooter {
        let opener = self.store.opener(&self.segment.object);
        SegmentFooter::parse(&self.bytes, self.segment.bytes, opener.as_ref()).expect("footer")
    }

    /// The bytes of the page that holds a row.
    fn page(&self, row_group: usize, leaf: usize, row: u64) -> Range<u64> {
        let footer = self.footer();
        let pages = &footer.pages.group(row_group)[leaf].data;
        pages.iter().find(|page| page.rows.contains(&row)).expect("page").bytes.clone()
    }

    fn wanted(&self, run: usize, offsets: Range<i64>) -> Wanted {
        Wanted { offsets: sample::range(offsets), ..Wanted::all(self.segment.runs[run].clone()) }
    }
}

/// Two partitions whose records go up in offset and time, two to each millisecond, behind the ballast.
async fn steady(rows: i64) -> Stored {
    steady_in(rows, None).await
}

/// The same in a backup with these keys.
async fn steady_in(rows: i64, keys: Option<Arc<KeyRing>>) -> Stored {
    let records: Vec<Record> =
        (0..rows).map(|at| Record { timestamp: TimestampMs::new(1000 + at / 2), ..record(at) }).collect();
    let runs = vec![run(key("orders", 0, 0), &records, 700), run(key("orders", 0, 1), &records, 700)];
    let encoded = encode_with(Codec::Zstd(1), vec![ballast(), runs], keys.as_ref().map(seal));
    Stored::with(encoded, keys).await
}

/// What the file of [`Stored`] is sealed with.
fn seal(ring: &Arc<KeyRing>) -> FileSeal {
    ring.seal_file(&sample::segment(Vec::new()).object).expect("a seal")
}

fn offsets(rows: &[Row]) -> Vec<i64> {
    rows.iter().map(|(_, record)| record.offset.get()).collect()
}

#[tokio::test]
async fn a70_offsets_and_instants_are_cut_exactly_at_both_ends() {
    let stored = steady(5000).await;
    for first in [0, 1, 1023, 1024, 1025, 4999] {
        for len in [1, 2, 1024] {
            let (rows, _) = stored.read(vec![stored.wanted(1, first..first + len)]).await.expect("read");
            assert_eq!(offsets(&rows), (first..(first + len).min(5000)).collect::<Vec<_>>());
        }
    }
    for (from, until, expected) in [
        (None, Some(999), 0..0),
        (None, Some(1000), 0..2),
        (Some(1001), Some(1001), 2..4),
        (Some(1512), Some(2023), 1024..2048),
        (Some(3499), None, 4998..5000),
        (Some(3500), None, 0..0),
        (Some(1002), Some(1001), 0..0),
    ] {
        let (from, until) = (from.map(TimestampMs::new), until.map(TimestampMs::new));
        let wanted = Wanted { from, until, ..stored.wanted(2, 0..5000) };
        let (rows, _) = stored.read(vec![wanted]).await.expect("read");
        assert_eq!(offsets(&rows), expected.collect::<Vec<_>>(), "{from:?} {until:?}");
    }
}

#[tokio::test]
async fn a70_extreme_instants_are_told_apart_though_their_column_is_clamped() {
    let times = [i64::MIN, i64::MIN + 1, -62_135_596_800_001, -62_135_596_800_000, -1, 0, 1, i64::MAX - 1, i64::MAX];
    let records: Vec<Record> =
        (0..).zip(times).map(|(at, time)| Record { timestamp: TimestampMs::new(time), ..record(at) }).collect();
    let stored = Stored::new(encode(Codec::None, vec![ballast(), vec![run(key("t", 0, 0), &records, 4)]])).await;
    let edges = || times.into_iter().flat_map(|time| [time.saturating_sub(1), time, time.saturating_add(1)]);
    for from in edges() {
        for until in edges() {
            let (from, until) = (Some(TimestampMs::new(from)), Some(TimestampMs::new(until)));
            let wanted = vec![Wanted { from, until, ..stored.wanted(1, 0..9) }];
            let (rows, _) = stored.read(wanted.clone()).await.expect("read");
            assert_eq!(rows, stored.expected(&wanted), "{from:?} {until:?}");
        }
    }
}

#[tokio::test]
async fn a_slice_costs_the_footer_and_its_own_pages() {
    let records: Vec<Record> = (0..20_000).map(|at| Record { value: Some(noise(300, 7)), ..record(at) }).collect();
    let stored = Stored::new(encode(Codec::None, vec![vec![run(key("t", 0, 0), &records, 700)]])).await;
    let wanted = vec![stored.wanted(0, 5000..15_000)];
    let (rows, fetched) = stored.read(wanted.clone()).await.expect("read");
    assert_eq!(offsets(&rows), (5000..15_000).collect::<Vec<_>>());
    // Half of the records, in whole pages of all columns with the holes between them.
    let half = stored.segment.bytes / 2;
    assert!(fetched.bytes < half + half / 5, "{fetched:?} of {}", stored.segment.bytes);
    assert!(fetched.requests <= 4, "{fetched:?}");
    assert_eq!(stored.control.count(Op::Get) as u64, fetched.requests);
    let planned: u64 = planned(&stored.footer(), wanted).iter().map(|range| range.end - range.start).sum();
    assert_eq!(fetched.bytes, planned + stored.segment.footer_bytes);
}

#[tokio::test]
async fn what_is_wanted_as_a_whole_is_one_request_and_what_is_not_wanted_is_none() {
    let stored = steady(50).await;
    let all: Vec<Wanted> = stored.segment.runs.iter().cloned().map(Wanted::all).collect();
    let (rows, fetched) = stored.read(all.clone()).await.expect("read");
    assert_eq!(rows, stored.expected(&all));
    assert_eq!(fetched, Fetched { requests: 1, bytes: stored.segment.bytes });
    let late = Wanted { from: Some(TimestampMs::new(5000)), ..stored.wanted(1, 0..50) };
    for none in [vec![], vec![late], vec![stored.wanted(1, 50..60)], vec![stored.wanted(1, 3..3)]] {
        let (rows, fetched) = stored.read(none).await.expect("read");
        assert_eq!((rows, fetched), (Vec::new(), Fetched::default()));
    }
    assert_eq!(estimated_bytes(&stored.segment, &stored.segment.runs[1]), stored.segment.bytes * 50 / 101);
}

#[tokio::test]
async fn a_row_group_is_copied_where_all_of_it_is_wanted_and_only_there() {
    let stored = steady(3000).await;
    let range = stored.footer().row_group_range(1).expect("row group");
    let all = || vec![stored.wanted(1, 0..3000), stored.wanted(2, 0..3000)];
    assert_eq!(stored.copied(all()).await.expect("copied"), range.end - range.start);
    let until = Some(TimestampMs::new(2000));
    let cut = vec![stored.wanted(1, 0..3000), Wanted { until, ..stored.wanted(2, 0..3000) }];
    for part in [all().split_off(1), vec![stored.wanted(1, 0..3000), stored.wanted(2, 1..3000)], cut] {
        assert!(matches!(stored.copied(part).await, Err(NotCopied::Partly)));
    }
}

#[tokio::test]
async fn runs_out_of_order_and_runs_of_another_segment_are_refused() {
    let stored = steady(50).await;
    let error = stored.open(vec![stored.wanted(2, 0..9), stored.wanted(1, 0..9)]).await.expect_err("refused");
    assert!(matches!(error.cause, Cause::Segment(Error::Unsorted { .. })), "{error:?}");
    let foreign = Run { rows: 49, ..stored.segment.runs[1].clone() };
    let error = stored.open(vec![Wanted { offsets: sample::range(0..9), ..Wanted::all(foreign) }]).await;
    assert!(matches!(error.expect_err("refused").cause, Cause::Segment(Error::Damaged(_))));
}

async fn lies_about_the_footer(mut stored: Stored) {
    let right = stored.segment.footer_bytes;
    for (lie, fetches) in [(0, false), (u64::MAX, false), (stored.segment.bytes + 1, false), (right - 1, true)] {
        stored.segment.footer_bytes = lie;
        let error = stored.open(vec![stored.wanted(1, 3..5)]).await.expect_err("refused");
        assert!(error.is_damage(), "{lie}: {error:?}");
        assert_eq!(stored.control.count(Op::Get) > 0, fetches, "{lie}");
    }
    // The digest is that of the bytes, and they are too few.
    let tail = usize::try_from(right - 1).expect("small");
    stored.segment.footer_sha256 = Sha256::of(&stored.bytes[stored.bytes.len() - tail..]);
    let error = stored.open(vec![stored.wanted(1, 3..5)]).await.expect_err("refused");
    assert!(matches!(error.cause, Cause::Segment(Error::TailTooShort { needed }) if needed == right), "{error:?}");
}

#[tokio::test(start_paused = true)]
async fn a60_a_manifest_that_lies_about_the_footer_is_refused() {
    lies_about_the_footer(steady(50).await).await;
}

#[tokio::test(start_paused = true)]
async fn a60_a_manifest_of_an_encrypted_backup_that_lies_about_the_footer_is_refused() {
    lies_about_the_footer(steady_in(50, Some(ring(1))).await).await;
}

/// Both run on any thread of the caller's runtime.
#[test]
fn reading_may_move_between_threads() {
    fn sendable(_: impl Send) {}
    let store = Store::memory();
    sendable(SliceReader::open(&store, sample::segment(Vec::new()), Vec::new()));
    let next = |mut reader: SliceReader| sendable(async move { reader.next_group().await });
    let _ = next;
}

async fn changed_byte(stored: Stored) {
    let wanted = || vec![stored.wanted(2, 2048..2050)];
    for leaf in [column::OFFSET, column::TIMESTAMP, column::KEY, column::VALUE] {
        let row = 5000 + 2048;
        let page = stored.page(1, leaf, row);
        for at in [page.start, (page.start + page.end) / 2, page.end - 1] {
            stored.flip(at).await;
            let error = stored.read(wanted()).await.expect_err("damaged");
            assert!(error.is_damage() && !error.is_retryable());
            let text = crate::errors::chain(&error);
            let object = stored.segment.object.as_str();
            for part in ["offsets [2048, 2050)", "orders", object, "crc32c", &format!("bytes {}", page.start)] {
                assert!(text.contains(part), "{part} in {text}");
            }
        }
    }
    let untouched = stored.page(1, column::OFFSET, 0);
    stored.flip(untouched.start).await;
    assert_eq!(offsets(&stored.read(wanted()).await.expect("read").0), [2048, 2049]);
}

#[tokio::test(start_paused = true)]
async fn a57_a_changed_byte_in_a_wanted_page_is_named_and_elsewhere_it_is_not_noticed() {
    changed_byte(steady(5000).await).await;
}

#[tokio::test(start_paused = true)]
async fn a57_a_changed_byte_in_a_wanted_page_of_an_encrypted_backup_is_named_and_elsewhere_it_is_not_noticed() {
    changed_byte(steady_in(5000, Some(ring(1))).await).await;
}

#[tokio::test(start_paused = true)]
async fn a21_what_arrives_changed_is_fetched_again() {
    let stored = steady(5000).await;
    let wanted = || vec![stored.wanted(2, 0..9)];
    let (expected, plain) = stored.read(wanted()).await.expect("read");
    // The footer first, then the first piece.
    let answers = [Decision::FlipBit(99), Decision::Pass, Decision::FlipBit(9), Decision::Truncate(9)];
    stored.control.script(answers.map(|answer| (Op::Get, answer)));
    let (rows, fetched) = stored.read(wanted()).await.expect("read");
    assert_eq!(rows, expected);
    assert_eq!(fetched.requests, plain.requests + 3);
    assert!(stored.control.unused().is_empty());
}

async fn store_error(stored: &Stored) -> (ErrorKind, String) {
    let error = stored.read(vec![stored.wanted(1, 3..5)]).await.expect_err("not to be read");
    assert!(error.is_damage(), "{error:?}");
    assert_eq!(error.missing, [(key("orders", 0, 0), sample::range(3..5))]);
    let text = crate::errors::chain(&error);
    match error.cause {
        Cause::Store(error) => (error.kind(), text),
        Cause::Segment(error) => unreachable!("{error}"),
    }
}

async fn missing_empty_cut_or_longer(stored: Stored) {
    let longer = [&stored.bytes[..], b"x"].concat().into();
    for bytes in [Bytes::new(), stored.bytes.slice(..stored.bytes.len() - 1), longer] {
        stored.put(bytes).await;
        let (kind, text) = store_error(&stored).await;
        assert_eq!(kind, ErrorKind::Corrupt, "{text}");
    }
    stored.store.inner.delete(&stored.segment.object.below(&stored.store.prefix)).await.expect("deleted");
    let (kind, text) = store_error(&stored).await;
    assert_eq!(kind, ErrorKind::NotFound);
    assert!(text.contains("offsets [3, 5) of") && text.contains(stored.segment.object.as_str()), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a57_a_missing_empty_cut_or_longer_segment_is_named_with_its_offsets() {
    missing_empty_cut_or_longer(steady(50).await).await;
}

#[tokio::test(start_paused = true)]
async fn a57_a_missing_empty_cut_or_longer_segment_of_an_encrypted_backup_is_named_with_its_offsets() {
    missing_empty_cut_or_longer(steady_in(50, Some(ring(1))).await).await;
}

#[tokio::test(start_paused = true)]
async fn a35_a_segment_exchanged_with_another_of_its_size_is_named_by_its_digest() {
    let stored = steady(50).await;
    let other: Vec<Record> =
        (0..50).map(|at| Record { timestamp: TimestampMs::new(1000 + at / 2), ..record(at) }).collect();
    let runs = vec![run(key("others", 0, 0), &other, 700), run(key("others", 0, 1), &other, 700)];
    let other = whole(&encode(Codec::Zstd(1), vec![ballast(), runs]));
    // Padded in the middle, where nobody looks, to the same size.
    let at = other.len() / 2;
    let (size, other_size) = (stored.bytes.len(), other.len());
    let other = if size >= other_size {
        [&other[..at], &vec![0; size - other_size], &other[at..]].concat()
    } else {
        [&other[..at], &other[at + other_size - size..]].concat()
    };
    stored.put(other.into()).await;
    let (kind, text) = store_error(&stored).await;
    assert!(kind == ErrorKind::Corrupt && text.contains("sha256"), "{text}");
}

/// One partition of a random segment: so many records, in steps of offset and time.
#[derive(Clone, Debug)]
struct Partition {
    rows: usize,
    step: i64,
    pace: i64,
    jitter: i64,
    extreme: bool,
}

impl Partition {
    fn records(&self) -> Vec<Record> {
        let time = |at: i64| match at % 97 {
            11 if self.extreme => i64::MIN,
            43 if self.extreme => i64::MAX,
            71 if self.extreme => -1,
            noise => 10_000 + at * self.pace - noise * 7919 % (self.jitter + 1),
        };
        let rows = i64::try_from(self.rows).expect("few rows");
        let headers = |at: i64| if at % 3 == 0 { vec![header("h", Some(b"v")), header("n", None)] } else { Vec::new() };
        let record = |at: i64| Record {
            timestamp: TimestampMs::new(time(at)),
            headers: headers(at),
            value: (at % 5 != 0).then(|| Bytes::from(vec![b'v'; usize::try_from(at % 200).expect("small")])),
            ..record(at * self.step)
        };
        (0..rows).map(record).collect()
    }
}

fn any_partition() -> impl Strategy<Value = Partition> {
    let rows = prop_oneof![2 => 1..40usize, 1 => 1000..2500usize];
    (rows, 1..4i64, 0..3i64, prop_oneof![Just(0), 0..500i64], any::<bool>())
        .prop_map(|(rows, step, pace, jitter, extreme)| Partition { rows, step, pace, jitter, extreme })
}

/// A choice of what is wanted of a run: two of its offsets, and two of its times, each moved by at most one.
type Choice = (Option<(Index, Index)>, Option<(Index, i64)>, Option<(Index, i64)>);

fn any_choice() -> impl Strategy<Value = Option<Choice>> {
    let time = || prop::option::of((any::<Index>(), -1..=1i64));
    prop::option::weighted(0.7, (prop::option::of((any::<Index>(), any::<Index>())), time(), time()))
}

fn chosen(run: &Run, records: &[Record], choice: &Choice) -> Wanted {
    let (offsets, from, until) = choice;
    let offset = |at: &Index| at.get(records).offset;
    let time = |(at, delta): &(Index, i64)| TimestampMs::new(at.get(records).timestamp.get().saturating_add(*delta));
    let range = |(a, b): &(Index, Index)| OffsetRange::new(offset(a).min(offset(b)), offset(a).max(offset(b)));
    Wanted {
        offsets: offsets.as_ref().map_or(run.range, |ends| range(ends).expect("sorted")),
        from: from.as_ref().map(time),
        until: until.as_ref().map(time),
        run: run.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a70_a_slice_is_what_the_filter_of_everything_is_and_no_other_byte_matters(
        partitions in vec((any_partition(), any_choice()), 1..6), per_group in 1..4usize, codec in 0..CODECS.len(),
        is_sealed in any::<bool>(),
    ) {
        let records: Vec<Vec<Record>> = partitions.iter().map(|(partition, _)| partition.records()).collect();
        let inputs: Vec<RunInput> = (0..).zip(&records).map(|(at, records)| run(key("topic", 0, at), records, 300)).collect();
        let mut groups = vec![ballast()];
        let mut inputs = inputs.into_iter().peekable();
        while inputs.peek().is_some() {
            groups.push(inputs.by_ref().take(per_group).collect());
        }
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().expect("runtime");
        runtime.block_on(async {
            let keys = is_sealed.then(|| ring(1));
            let stored = Stored::with(encode_with(CODECS[codec], groups, keys.as_ref().map(seal)), keys).await;
            let runs = stored.segment.runs.iter().skip(1).zip(&records).zip(&partitions);
            let wanted: Vec<Wanted> = runs.filter_map(|((run, records), (_, choice))| Some(chosen(run, records, choice.as_ref()?))).collect();
            let expected = stored.expected(&wanted);
            let (rows, fetched) = stored.read(wanted.clone()).await.expect("read");
            prop_assert_eq!(&rows, &expected);
            // What no plan names is destroyed, and nobody misses it.
            let plans = planned(&stored.footer(), wanted.clone());
            let mut bytes = vec![0xAA; stored.bytes.len()];
            let footer_at = stored.bytes.len() - usize::try_from(stored.segment.footer_bytes).expect("small");
            let mut bytes_planned = 0;
            for range in plans.into_iter().chain(std::iter::once(footer_at as u64..stored.segment.bytes)) {
                let range = usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small");
                bytes_planned += range.len() as u64;
                bytes[range.clone()].copy_from_slice(&stored.bytes[range]);
            }
            if fetched.requests > 0 {
                prop_assert_eq!(fetched.bytes, bytes_planned);
            }
            stored.put(bytes.into()).await;
            let (rows, _) = stored.read(wanted).await.expect("read");
            prop_assert_eq!(rows, expected);
            Ok(())
        })?;
    }
}
