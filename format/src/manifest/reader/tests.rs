//! What a reader believes, and what stops it.

mod end;

use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::tail::LOOK_BEYOND;
use super::*;
use crate::document::pack;
use crate::ids::{BackupId, Epoch};
use crate::manifest::log::LogWriter;
use crate::sample::{at, captured, claimed, commit, faulty, identity, key, unclaimed};
use crate::store::faulty::{Decision, Fault, Op};

async fn read(store: &Store) -> Log {
    open(store, Shard::ONLY).await.expect("readable").expect("a backup")
}

async fn refused(store: &Store) -> Error {
    open(store, Shard::ONLY).await.expect_err("refused")
}

/// What refuses who reads the log, and in the same words who goes on to write there.
async fn refused_to_all(store: &Store) -> Error {
    let to_writers = open_to_write(store, Shard::ONLY).await.expect_err("refused");
    let error = refused(store).await;
    assert_eq!(errors::chain(&error), errors::chain(&to_writers));
    error
}

async fn put(store: &Store, key: &ObjectKey, bytes: Bytes) {
    store.inner.put(&key.below(&store.prefix), bytes.into()).await.expect("put");
}

async fn remove(store: &Store, key: &ObjectKey) {
    store.inner.delete(&key.below(&store.prefix)).await.expect("deleted");
}

async fn stored(store: &Store, key: &ObjectKey) -> Bytes {
    get(store, key).await.expect("readable").expect("there")
}

fn nth(sequence: u64) -> ObjectKey {
    layout::manifest(Shard::ONLY, Sequence::new(sequence))
}

/// A log of the claim and `commits` manifests, each of 100 s of `orders-0`, with checkpoints after these manifests.
async fn history(store: &Store, commits: i64, checkpoints: &[u64]) -> LogWriter {
    let mut writer = claimed(store).await;
    for number in 0..commits {
        let prepared = commit(&mut writer, captured(&key("orders", 0, 0), number * 100..number * 100 + 100)).await;
        if checkpoints.contains(&prepared.manifest().sequence.get()) {
            writer.checkpoint().await.expect("checkpoint");
        }
    }
    writer
}

#[tokio::test]
async fn where_nothing_was_written_there_is_no_backup_and_before_the_claim_an_empty_one() {
    let store = Store::memory();
    assert!(open(&store, Shard::ONLY).await.expect("readable").is_none());
    let writer = unclaimed(&store).await;
    let log = read(&store).await;
    assert_eq!((log.identity, &log.state, log.tail.len()), (identity(), writer.state(), 0));
}

#[tokio::test]
async fn a12_a_document_of_a_newer_release_is_told_as_that_with_the_way_out() {
    let store = Store::memory();
    history(&store, 1, &[]).await;
    let manifest: Manifest = document::unpack(&stored(&store, &nth(2)).await).expect("a manifest");
    let manifest = pack(&Manifest { format_version: 2, ..manifest }).expect("packed");
    let identity = document::to_json(&Identity { format_version: 2, ..identity() }).expect("json");
    for (key, bytes) in [(nth(2), manifest), (layout::identity(), identity.into())] {
        put(&store, &key, bytes).await;
        let error = refused(&store).await;
        let told = errors::chain(&error);
        let wanted =
            format!("{key} was written by a newer release: format version 2 is newer than the 1 this release reads;");
        assert!(told.starts_with(&wanted) && told.ends_with("use a newer release"), "{told}");
        assert!(!error.is_retryable());
    }
}

#[tokio::test]
async fn a58_manifests_without_their_identity_are_named_as_its_witness() {
    let store = Store::memory();
    history(&store, 1, &[]).await;
    remove(&store, &layout::identity()).await;
    let error = refused(&store).await;
    assert!(
        matches!(&error, Error::Missing { object, witness } if object == "backup.json" && witness == nth(1).as_str()),
        "{error:?}"
    );
}

#[tokio::test]
async fn the_newest_checkpoint_and_the_manifests_after_it_say_what_all_manifests_say() {
    let (with, without) = (Store::memory(), Store::memory());
    let writer = history(&with, 6, &[3, 5]).await;
    history(&without, 6, &[]).await;
    let (short, whole) = (read(&with).await, read(&without).await);
    assert_eq!((&short.state, &whole.state), (writer.state(), writer.state()));
    let sequences = |log: &Log| log.tail.iter().map(|manifest| manifest.sequence.get()).collect::<Vec<_>>();
    assert_eq!((sequences(&short), sequences(&whole)), (vec![6, 7], (1..=7).collect()));
    assert_eq!(short.blocks.iter().map(|block| block.to.get()).collect::<Vec<_>>(), [3, 5]);
    assert!(short.ignored.is_empty() && whole.blocks.is_empty());
}

/// The window of one fetch holds 32: a log of that length, one less and one more ends where it ends.
#[tokio::test]
async fn a_log_is_read_to_its_end_whatever_its_length() {
    for commits in [30, 31, 32, 63, 64] {
        let store = Store::memory();
        let writer = history(&store, commits, &[]).await;
        assert_eq!(&read(&store).await.state, writer.state(), "{commits}");
        let to_write = open_to_write(&store, Shard::ONLY).await.expect("readable").expect("a backup");
        assert_eq!(&to_write.state, writer.state(), "{commits}, to write");
    }
}

#[tokio::test]
async fn a58_a_missing_manifest_is_told_from_the_end_by_one_beyond_it() {
    let store = Store::memory();
    history(&store, 5, &[]).await;
    remove(&store, &nth(3)).await;
    let error = refused_to_all(&store).await;
    assert!(
        matches!(&error, Error::Missing { object, witness } if object == nth(3).as_str() && witness == nth(4).as_str()),
        "{error:?}"
    );
    for beyond in LOOK_BEYOND {
        let store = Store::memory();
        history(&store, 1, &[]).await;
        put(&store, &nth(3 + beyond), Bytes::from_static(b"whatever")).await;
        let error = refused_to_all(&store).await;
        assert!(matches!(&error, Error::Missing { object, .. } if object == nth(3).as_str()), "{beyond}: {error:?}");
    }
}

#[tokio::test]
async fn a58_a_manifest_of_another_history_breaks_the_log_by_name() {
    let (store, other) = (Store::memory(), Store::memory());
    history(&store, 3, &[]).await;
    let mut fork = claimed(&other).await;
    commit(&mut fork, captured(&key("shipments", 0, 0), 0..1)).await;
    commit(&mut fork, captured(&key("shipments", 0, 0), 1..2)).await;
    put(&store, &nth(3), stored(&other, &nth(3)).await).await;
    let error = refused(&store).await;
    assert!(
        matches!(&error, Error::Broken { object, source: Violation::Chain { .. } } if object == nth(3).as_str()),
        "{error:?}"
    );
}

#[tokio::test]
async fn a21_damage_is_read_three_times_before_it_is_named_and_a_passing_fault_is_not_damage() {
    let (store, control) = faulty();
    let writer = history(&store, 3, &[]).await;
    let spoiled = nth(2).below(&store.prefix);
    let mut left = 2;
    let place = spoiled.clone();
    control.set_plan(move |call| {
        if call.op != Op::Get || call.path != place || left == 0 {
            return Decision::Pass;
        }
        left -= 1;
        Decision::FlipBit(9)
    });
    assert_eq!(&read(&store).await.state, writer.state());
    control.clear();

    let reads = |path: &Path| control.calls().iter().filter(|call| call.op == Op::Get && call.path == *path).count();
    put(&store, &nth(2), Bytes::from_static(b"no manifest")).await;
    let before = reads(&spoiled);
    let error = refused(&store).await;
    assert!(matches!(&error, Error::Document { object, .. } if object == nth(2).as_str()), "{error:?}");
    assert_eq!(reads(&spoiled) - before, 3);
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_store_that_does_not_answer_says_nothing_about_the_log() {
    let (store, control) = faulty();
    history(&store, 3, &[3]).await;
    let calls = control.calls().len();
    read(&store).await;
    let needed = control.calls().len() - calls;
    for failing in 0..needed {
        let mut count = 0;
        control.set_plan(move |_| {
            count += 1;
            if count == failing + 1 { Decision::FailBefore(Fault::Unavailable) } else { Decision::Pass }
        });
        let error = refused(&store).await;
        assert!(error.is_retryable(), "call {failing}: {error:?}");
    }
}

/// A checkpoint that is folded as far as the log, then changed.
fn forged(writer: &LogWriter, change: impl FnOnce(&mut Checkpoint)) -> (ObjectKey, Bytes) {
    let mut checkpoint = Checkpoint {
        format_version: document::FORMAT_VERSION,
        kind: document::Kind::Checkpoint,
        state: writer.state().clone(),
        sealed: None,
        blocks: Vec::new(),
        segments: Vec::new(),
    };
    change(&mut checkpoint);
    let bytes = pack(&checkpoint).expect("packed");
    let sequence = checkpoint.state.head.map_or(Sequence::FIRST, |head| head.sequence);
    (layout::checkpoint(Shard::ONLY, sequence, &Sha256::of(&bytes)), bytes)
}

fn head(checkpoint: &mut Checkpoint) -> &mut crate::state::Head {
    checkpoint.state.head.as_mut().expect("a head")
}

#[tokio::test]
async fn a59_a_checkpoint_that_the_log_does_not_confirm_is_ignored_with_the_reason() {
    let store = Store::memory();
    let writer = history(&store, 3, &[]).await;
    let foreign = BackupId::new(uuid::Uuid::nil());
    let honest = forged(&writer, |_| {});
    let under =
        |sequence: u64, digest: &[u8]| layout::checkpoint(Shard::ONLY, Sequence::new(sequence), &Sha256::of(digest));
    let cases = [
        ((honest.0.clone(), honest.1.slice(..honest.1.len() - 1)), "damaged document"),
        ((under(5, &honest.1), honest.1.clone()), "its name and its state differ"),
        ((under(4, b"other bytes"), honest.1.clone()), "its name and its digest differ"),
        (forged(&writer, |checkpoint| checkpoint.state.backup = foreign), "it is of another backup"),
        (forged(&writer, |checkpoint| checkpoint.state.identity = Sha256::of(b"")), "it is of another backup"),
        (forged(&writer, |checkpoint| head(checkpoint).sha256 = Sha256::of(b"")), "the log disagrees with it"),
        (
            forged(&writer, |checkpoint| head(checkpoint).sequence = Sequence::new(99)),
            "the log does not reach that far",
        ),
    ];
    for ((key, bytes), reason) in cases {
        put(&store, &key, bytes).await;
        let log = read(&store).await;
        assert_eq!((&log.state, log.tail.len()), (writer.state(), 4), "{reason}");
        let [(object, why)] = &log.ignored[..] else { unreachable!("{reason}: {:?}", log.ignored) };
        assert_eq!(object, key.as_str());
        assert!(why.contains(reason), "{why}");
        remove(&store, &key).await;
    }
    put(&store, &honest.0, honest.1).await;
    let log = read(&store).await;
    assert_eq!((&log.state, log.tail.len(), log.ignored.len()), (writer.state(), 0, 0));
}

#[tokio::test]
async fn a59_a_bad_checkpoint_gives_way_to_the_one_before_and_no_other_object_is_taken_for_one() {
    let store = Store::memory();
    let writer = history(&store, 4, &[3]).await;
    let (key, _) = forged(&writer, |_| {});
    put(&store, &key, Bytes::from_static(b"noise")).await;
    let folder = layout::checkpoints(Shard::ONLY).below(&store.prefix);
    for stranger in ["README.txt", "99-0badf00d.json.zst", "00000000000000000009.json.zst"] {
        let path = Path::from(format!("{folder}/{stranger}"));
        store.inner.put(&path, Bytes::from_static(b"noise").into()).await.expect("put");
    }
    let log = read(&store).await;
    assert_eq!((&log.state, log.tail.len(), log.ignored.len()), (writer.state(), 2, 1));
    assert_eq!(log.blocks.iter().map(|block| block.to.get()).collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn a24_an_anchor_is_held_by_its_manifest_and_its_digest_only() {
    let store = Store::memory();
    let writer = history(&store, 2, &[]).await;
    let head = writer.state().head.expect("a head");
    let backup = writer.state().backup;
    let open_with = async |backup, sequence, sha256| {
        open(&Store { anchor: Some(Anchor { backup, sequence, sha256 }), ..store.clone() }, Shard::ONLY).await
    };
    open_with(backup, head.sequence, head.sha256).await.expect("held");
    for (sequence, sha256) in [(head.sequence, Sha256::of(b"")), (head.sequence.next(), head.sha256)] {
        let error = open_with(backup, sequence, sha256).await.expect_err("not held");
        assert!(matches!(error, Error::Anchor { .. }), "{error:?}");
    }
    let another = BackupId::new(uuid::Uuid::from_u128(43));
    let error = open_with(another, head.sequence, head.sha256).await.expect_err("another backup");
    assert!(matches!(error, Error::AnotherBackup { .. }), "{error:?}");
}

fn bases(segments: &[Segment]) -> Vec<i64> {
    segments.iter().flat_map(|segment| &segment.runs).map(|run| run.range.base().get()).collect()
}

/// Manifests 2 to 8 hold 0, 100, … 600 s; blocks end with 3, 5 and 7.
#[tokio::test]
async fn a_slice_fetches_the_blocks_that_overlap_it_and_no_other() {
    let (store, control) = faulty();
    history(&store, 7, &[3, 5, 7]).await;
    let log = read(&store).await;
    let cases = [
        (None, None, vec![0, 100, 200, 300, 400, 500, 600], 2),
        (Some(0), Some(1), vec![0], 1),
        (Some(100), Some(201), vec![100, 200], 2),
        (Some(200), Some(300), vec![200], 1),
        (Some(400), None, vec![400, 500, 600], 0),
        (Some(601), None, vec![], 0),
        (None, Some(0), vec![], 0),
    ];
    for (from, to, expected, fetched) in cases {
        let before = control.count(Op::Get);
        let found = log.segments(&store, from.map(at), to.map(at)).await.expect("readable");
        assert_eq!((bases(&found), control.count(Op::Get) - before), (expected, fetched), "{from:?} to {to:?}");
    }
}

#[tokio::test]
async fn a59_a_block_whose_checkpoint_is_lost_or_damaged_is_read_from_its_manifests() {
    let store = Store::memory();
    history(&store, 5, &[3, 5]).await;
    let log = read(&store).await;
    let all = log.segments(&store, None, None).await.expect("readable");
    let block = &log.blocks[0].object;
    put(&store, block, Bytes::from_static(b"noise")).await;
    assert_eq!(log.segments(&store, None, None).await.expect("rebuilt"), all);
    remove(&store, block).await;
    assert_eq!(log.segments(&store, None, None).await.expect("rebuilt"), all);
    remove(&store, &nth(2)).await;
    let error = log.segments(&store, None, None).await.expect_err("gone");
    assert!(matches!(&error, Error::Missing { object, .. } if object == nth(2).as_str()), "{error:?}");
}

#[tokio::test]
async fn a_writer_that_takes_over_goes_on_with_the_blocks_and_the_open_block_of_the_log() {
    let store = Store::memory();
    history(&store, 4, &[3]).await;
    let mut next = LogWriter::new(store.clone(), Shard::ONLY, read(&store).await);
    assert_eq!(next.epoch(), Epoch::new(2));
    let claim = crate::sample::prepare_claim(&next);
    next.commit(&claim).await.expect("claimed");
    next.checkpoint().await.expect("checkpoint");
    let log = read(&store).await;
    assert_eq!((log.tail.len(), log.blocks.len(), &log.state), (0, 2, next.state()));
    assert_eq!(bases(&log.segments(&store, None, None).await.expect("readable")), [0, 100, 200, 300]);
}

/// The key at which the log is found broken while each of `gone` is missing.
async fn broken_at(store: &Store, gone: &[u64]) -> Option<String> {
    let mut kept = Vec::new();
    for sequence in gone {
        let path = layout::manifest(Shard::ONLY, Sequence::new(*sequence)).below(&store.prefix);
        kept.push((path.clone(), store.inner.get(&path).await.expect("there").bytes().await.expect("bytes")));
        store.inner.delete(&path).await.expect("delete");
    }
    let (read, to_write) = (open(store, Shard::ONLY).await, open_to_write(store, Shard::ONLY).await);
    for (path, bytes) in kept {
        store.inner.put(&path, bytes.into()).await.expect("put back");
    }
    let [read, to_write] = [read, to_write].map(|opened| match opened {
        Ok(_) => None,
        Err(Error::Missing { object, .. }) => Some(object),
        Err(other) => Some(other.to_string()),
    });
    assert_eq!(read, to_write, "who reads finds what who writes does");
    read
}

#[tokio::test]
async fn a58_a_hole_is_found_wherever_it_lies_and_the_end_is_none() {
    const LAST: u64 = 100;
    let store = Store::memory();
    history(&store, 99, &[]).await;
    assert_eq!(broken_at(&store, &[]).await, None);
    for hole in 1..LAST {
        let named = layout::manifest(Shard::ONLY, Sequence::new(hole)).to_string();
        assert_eq!(broken_at(&store, &[hole]).await, Some(named.clone()), "one is missing");
        let wide: Vec<u64> = (hole..LAST.min(hole + WINDOW - 1)).collect();
        assert_eq!(broken_at(&store, &wide).await, Some(named), "{} are missing", wide.len());
    }
    assert_eq!(broken_at(&store, &[LAST]).await, None, "nothing tells a log cut short from a shorter one");
}
