//! What an attempt to write comes to, by what stands in its slot.

use object_store::ObjectStoreExt as _;
use object_store::path::Path;

use super::*;
use crate::ids::{BackupId, Offset, PartitionKey};
use crate::manifest::{PartitionStart, reader};
use crate::sample::{
    at, captured, claimed, commit, empty_log, empty_state, faulty, identity, key, nonce, prepare, prepare_claim, run,
    segment, unclaimed,
};
use crate::state::Totals;
use crate::store::faulty::{Decision, Fault, FaultControl, Op};

const ANY_ERROR: [Fault; 6] =
    [Fault::Timeout, Fault::Unavailable, Fault::AlreadyExists, Fault::Precondition, Fault::Denied, Fault::QuotaFull];

/// What stands in the slot of the next manifest when the answer to its create comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Standing {
    OurNonce,
    Another(Epoch),
    Nothing,
    Unreadable,
}

/// What the writer makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Committed,
    Fenced,
    Corrupt,
    NotWritten,
    Unknown,
}

fn verdict(result: &Result<(), Error>, slot: &str) -> Verdict {
    match result {
        Ok(()) => Verdict::Committed,
        Err(Error::Fenced { object, theirs, ours }) if object == slot && theirs > ours => Verdict::Fenced,
        Err(Error::Corrupt { object, .. }) if object == slot => Verdict::Corrupt,
        Err(Error::NotYet { object, source: CreateError::NotWritten { .. } }) if object == slot => Verdict::NotWritten,
        Err(Error::NotYet { object, source: CreateError::Unknown { .. } }) if object == slot => Verdict::Unknown,
        Err(error) => unreachable!("{error:?}"),
    }
}

fn slot(store: &Store, prepared: &Prepared) -> Path {
    layout::manifest(Shard::ONLY, prepared.manifest.sequence).below(&store.prefix)
}

async fn put(store: &Store, key: &Path, bytes: Bytes) {
    store.inner.put(key, bytes.into()).await.expect("put");
}

async fn stored(store: &Store, key: &Path) -> Option<Bytes> {
    Some(store.inner.get(key).await.ok()?.bytes().await.expect("body"))
}

/// Another writer's manifest for the slot of `ours`.
fn rival(ours: &Prepared, epoch: Epoch) -> Bytes {
    document::pack(&Manifest { epoch, nonce: nonce(u128::MAX), ..ours.manifest.clone() }).expect("packed")
}

/// A claimed log of epoch 5, and the draft that it takes next.
async fn of_epoch_5(store: &Store) -> (LogWriter, Prepared) {
    let mut writer = unclaimed(store).await;
    writer.epoch = Epoch::new(5);
    let claim = prepare_claim(&writer);
    writer.commit(&claim).await.expect("claimed");
    let prepared = prepare(&writer, captured(&key("orders", 0, 0), 0..10));
    (writer, prepared)
}

async fn arrange(store: &Store, control: &FaultControl, ours: &Prepared, standing: Standing, answer: Option<Fault>) {
    if let Standing::Another(epoch) = standing {
        put(store, &slot(store, ours), rival(ours, epoch)).await;
    }
    let create = match (answer, standing) {
        (None, _) => Decision::Pass,
        (Some(fault), Standing::OurNonce) => Decision::FailAfter(fault),
        (Some(fault), _) => Decision::FailBefore(fault),
    };
    control.script([(Op::Create, create)]);
    if standing == Standing::Unreadable {
        control.script([(Op::Get, Decision::FailBefore(Fault::Timeout))]);
    }
}

/// One attempt, and that it left log and writer as its verdict promises.
async fn attempt(answer: Option<Fault>, standing: Standing) -> Verdict {
    let (store, control) = faulty();
    let (mut writer, prepared) = of_epoch_5(&store).await;
    arrange(&store, &control, &prepared, standing, answer).await;
    let (slot, before) = (slot(&store, &prepared), writer.state.clone());
    let result = writer.commit(&prepared).await;
    let verdict = verdict(&result, slot.as_ref());
    assert_eq!(writer.state != before, verdict == Verdict::Committed, "{answer:?}, {standing:?}: {result:?}");
    let retryable = matches!(verdict, Verdict::NotWritten | Verdict::Unknown);
    assert_eq!(result.is_err_and(|error| error.is_retryable()), retryable, "{answer:?}, {standing:?}");
    if retryable {
        writer.commit(&prepared).await.expect("the same bytes, put again");
    }
    let expected = match standing {
        Standing::Another(epoch) => rival(&prepared, epoch),
        _ => prepared.bytes,
    };
    assert_eq!(stored(&store, &slot).await, Some(expected));
    assert_eq!(control.count(Op::Delete), 0);
    verdict
}

/// Answers to the create, what may stand in the slot then, and so.
type Row<'a> = (&'a [Option<Fault>], &'a [Standing], Verdict);

/// The six rows of the design's table: the store's answer to a create decides nothing, what is read back does.
#[tokio::test]
async fn a03_a04_a06_the_outcome_of_a_commit_is_decided_by_what_stands_in_its_slot() {
    let another = |epoch| Standing::Another(Epoch::new(epoch));
    let any_error = ANY_ERROR.map(Some);
    let table: [Row<'_>; 6] = [
        (&[None], &[Standing::OurNonce], Verdict::Committed),
        (&any_error, &[Standing::OurNonce], Verdict::Committed),
        (&any_error, &[another(6), another(99)], Verdict::Fenced),
        (&any_error, &[another(5), another(4)], Verdict::Corrupt),
        (&any_error, &[Standing::Nothing], Verdict::NotWritten),
        (&any_error, &[Standing::Unreadable], Verdict::Unknown),
    ];
    for (answers, standings, expected) in table {
        for answer in answers {
            for standing in standings {
                assert_eq!(attempt(*answer, *standing).await, expected, "{answer:?}, {standing:?}");
            }
        }
    }
}

/// Before the claim is in the log, whoever stands there was faster: also one who drew the same epoch.
#[tokio::test]
async fn a06_a_claim_that_comes_second_is_fenced_whatever_the_epoch_that_stands_there() {
    for epoch in [1, 4, 5, 6] {
        let store = Store::memory();
        let mut writer = claimed(&store).await;
        writer.epoch = Epoch::new(5);
        let claim = prepare_claim(&writer);
        put(&store, &slot(&store, &claim), rival(&claim, Epoch::new(epoch))).await;
        let error = writer.commit(&claim).await.expect_err("occupied");
        assert!(matches!(error, Error::Fenced { theirs, .. } if theirs.get() == epoch), "{epoch}: {error:?}");
    }
}

#[tokio::test]
async fn a09_the_manifest_of_another_backup_in_the_slot_is_corruption_also_of_a_higher_epoch() {
    let store = Store::memory();
    let (mut writer, prepared) = of_epoch_5(&store).await;
    let foreign = BackupId::new(uuid::Uuid::nil());
    let theirs = Manifest { backup: foreign, epoch: Epoch::new(9), ..prepared.manifest.clone() };
    put(&store, &slot(&store, &prepared), document::pack(&theirs).expect("packed")).await;
    let error = writer.commit(&prepared).await.expect_err("occupied");
    assert!(matches!(&error, Error::Corrupt { why, .. } if why.contains(&foreign.to_string())), "{error:?}");
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a21_what_is_no_manifest_counts_as_damage_when_it_comes_three_times() {
    let (store, control) = faulty();
    let (mut writer, prepared) = of_epoch_5(&store).await;
    put(&store, &slot(&store, &prepared), Bytes::from_static(b"no manifest")).await;
    let reads = control.count(Op::Get);
    let error = writer.commit(&prepared).await.expect_err("occupied");
    assert!(matches!(error, Error::Corrupt { .. }), "{error:?}");
    assert_eq!(control.count(Op::Get) - reads, READS as usize);
}

/// A bit that flips in transit now and then never adds up to damage.
#[tokio::test]
async fn a21_own_bytes_that_arrive_changed_are_read_again() {
    let (store, control) = faulty();
    let mut writer = claimed(&store).await;
    for turn in 0..3 {
        let prepared = prepare(&writer, captured(&key("orders", 0, 0), turn * 10..turn * 10 + 10));
        control.script([(Op::Create, Decision::FailAfter(Fault::Timeout))]);
        control.script([(Op::Get, Decision::FlipBit(7)), (Op::Get, Decision::FlipBit(8))]);
        writer.commit(&prepared).await.expect("own bytes");
    }
}

#[tokio::test]
async fn a_draft_that_breaks_the_log_is_refused_before_anything_is_written() {
    let (store, control) = faulty();
    let writer = claimed(&store).await;
    let creates = control.count(Op::Create);
    let draft = Draft { positions: Vec::new(), ..captured(&key("orders", 0, 0), 0..10) };
    let error = writer.prepare(draft, nonce(1), at(1)).expect_err("ranges without a position");
    assert!(matches!(error, Error::Violation(Violation::NoPosition { .. })), "{error:?}");
    assert_eq!(control.count(Op::Create), creates);
}

#[tokio::test]
async fn of_two_identities_the_first_stands_and_a_damaged_one_is_named() {
    let (store, control) = faulty();
    create_identity(&store, &identity()).await.expect("created");
    let second = Identity { name: "another".to_owned(), ..identity() };
    create_identity(&store, &second).await.expect("read");
    let log = reader::open(&store, Shard::ONLY).await.expect("log").expect("identity");
    assert_eq!(log.identity, identity());

    control.set_outage(true);
    let error = create_identity(&store, &second).await.expect_err("outage");
    assert!(error.is_retryable(), "{error:?}");
    control.set_outage(false);

    let (store, _) = faulty();
    put(&store, &Path::from("backup.json"), Bytes::from_static(b"{}")).await;
    create_identity(&store, &identity()).await.expect("something stands there");
    let error = reader::open(&store, Shard::ONLY).await.expect_err("damaged");
    assert!(error.to_string().contains("backup.json"), "{error:?}");
}

fn with_head(sequence: u64, runs: usize) -> LogWriter {
    let mut log = empty_log();
    let (epoch, sha256) = (Epoch::new(1), Sha256::of(b"head"));
    log.state.head = Some(crate::state::Head { sequence: Sequence::new(sequence), sha256, epoch, observed_at: at(0) });
    let mut writer = LogWriter::new(Store::memory(), Shard::ONLY, log);
    let run = run(&key("orders", 0, 0), 0..1, 1);
    writer.open_block = vec![segment(vec![run; runs])];
    LogWriter { open_runs: runs, ..writer }
}

#[test]
fn a_checkpoint_is_due_after_256_manifests_or_50_000_runs() {
    assert!(!with_head(255, 0).checkpoint_is_due());
    assert!(with_head(256, 0).checkpoint_is_due());
    assert!(!with_head(1, 49_999).checkpoint_is_due());
    assert!(with_head(1, 50_000).checkpoint_is_due());
    let mut writer = with_head(300, 0);
    let key = layout::checkpoint(Shard::ONLY, Sequence::new(256), &Sha256::of(b""));
    writer.blocks.push(Block::new(key, Sha256::of(b""), Sequence::FIRST, Sequence::new(256), &[]));
    assert!(!writer.checkpoint_is_due());
}

/// A checkpoint costs nothing but time where it fails: what it would have held goes into the next.
#[tokio::test]
async fn a_checkpoint_that_was_not_written_loses_no_segment_of_its_block() {
    let (store, control) = faulty();
    let mut writer = claimed(&store).await;
    let first = commit(&mut writer, captured(&key("orders", 0, 0), 0..10)).await;
    control.script([(Op::Create, Decision::FailBefore(Fault::Unavailable))]);
    assert!(writer.checkpoint().await.expect_err("unavailable").is_retryable());
    assert_eq!((writer.blocks.len(), writer.open_runs), (0, 1));
    let second = commit(&mut writer, captured(&key("orders", 0, 0), 10..20)).await;
    writer.checkpoint().await.expect("checkpoint");
    assert_eq!((writer.blocks.len(), writer.open_runs), (1, 0));

    let log = reader::open(&store, Shard::ONLY).await.expect("readable").expect("a backup");
    let expected: Vec<Segment> = [first, second].into_iter().flat_map(|prepared| prepared.manifest.segments).collect();
    assert_eq!((*log.block_segments).clone(), expected);
    assert_eq!((log.state, log.blocks), (writer.state, writer.blocks));
}

#[tokio::test]
async fn other_bytes_under_the_name_of_a_checkpoint_are_named() {
    let store = Store::memory();
    let mut writer = claimed(&store).await;
    writer.checkpoint().await.expect("checkpoint");
    let key = writer.blocks.pop().expect("its block").object;
    put(&store, &key.below(&store.prefix), Bytes::from_static(b"other")).await;
    let error = writer.checkpoint().await.expect_err("occupied");
    assert!(matches!(&error, Error::Corrupt { object, .. } if object == key.as_str()), "{error:?}");
}

#[test]
fn a_checkpoint_of_a_log_without_a_manifest_is_none() {
    let store = Store::memory();
    let mut writer = LogWriter::new(store, Shard::ONLY, empty_log());
    futures::executor::block_on(writer.checkpoint()).expect("nothing to do");
    assert!(writer.blocks.is_empty());
    assert_eq!(writer.state, empty_state());
}

#[tokio::test]
async fn what_came_while_it_was_found_out_what_goes_counts_for_the_lowest_timestamp() {
    let store = Store::memory();
    let mut writer = claimed(&store).await;
    let orders = key("orders", 0, 0);
    let late = |offsets, seconds| {
        let mut draft = captured(&orders, offsets);
        draft.segments[0].runs[0].min_timestamp = at(seconds);
        draft
    };
    commit(&mut writer, captured(&orders, 0..10)).await;
    let PartitionKey { topic, lineage, partition } = orders.clone();
    let (first_offset, lowest_timestamp) = (Offset::new(10), at(10));
    let starts = vec![PartitionStart { topic, lineage, partition, first_offset, rows: 10, lowest_timestamp }];
    let (base, freed) = (Vec::new(), Totals::default());
    let found_out = Retired { before: at(10), starts, base, group_images_before: None, freed };
    // One in a block, one in none yet, one in the same manifest.
    commit(&mut writer, late(10..20, -60)).await;
    writer.checkpoint().await.expect("written");
    let lowest = |writer: &LogWriter, draft: Draft| {
        let prepared = prepare(writer, Draft { retired: Some(found_out.clone()), ..draft });
        let retired = prepared.manifest().retired.as_ref().expect("it retires");
        retired.starts[0].lowest_timestamp
    };
    assert_eq!(lowest(&writer, Draft::default()), at(-60));
    commit(&mut writer, late(20..30, -70)).await;
    assert_eq!(lowest(&writer, Draft::default()), at(-70));
    assert_eq!(lowest(&writer, late(30..40, -80)), at(-80));
}
