use std::collections::BTreeMap;

use object_store::memory::InMemory;
use object_store::{CopyMode, GetRange, PutMode};

use super::*;
use crate::bucket::Bucket;
use crate::crypt::SecretKey;
use crate::document;
use crate::ids::{Sequence, Shard, SnapshotId};
use crate::layout::{self, ObjectKey};
use crate::manifest::log::{self, Draft, LogWriter};
use crate::manifest::reader;
use crate::sample::{at, backup, captured, claimed, commit, identity, intake, key, prepare, run, segment, topic};
use crate::store::conformance;
use crate::store::create_once::{Outcome, create_once};
use crate::store::faulty::{Decision, Fault, FaultyStore, Op};

/// The keys of [`backup`], of which so many are known.
fn ring(numbers: u32) -> Arc<KeyRing> {
    let keys: BTreeMap<u32, SecretKey> = (0..numbers).map(|number| (number, SecretKey::new([7; 32]))).collect();
    Arc::new(KeyRing::new(backup(), keys).expect("keys"))
}

/// A store in memory below `shop/`, as it is and sealed.
fn scene() -> (Store, Store) {
    let below = Store { prefix: Path::from("shop"), ..Store::memory() };
    let above = sealed(&below, ring(1));
    (below, above)
}

async fn bytes(store: &Store, key: &str) -> Bytes {
    let found = store.inner.get(&at_key(store, key)).await.expect("there");
    found.bytes().await.expect("bytes")
}

fn at_key(store: &Store, key: &str) -> Path {
    Path::from_iter(store.prefix.parts().chain(Path::from(key).parts()))
}

const DOCUMENT: &str = "snapshots/daily.json";
const PLAIN: &[u8] = b"a text that nobody is to read";

#[tokio::test(flavor = "multi_thread")]
async fn conformance_of_a_sealed_store() {
    for prefix in ["", "a/b"] {
        let below = Store { prefix: Path::from(prefix), ..Store::memory() };
        conformance::run(sealed(&below, ring(2)).inner, &below.prefix).await.expect("conforms");
    }
    let faulty = Store::memory().with_inner(Arc::new(FaultyStore::new(Arc::new(InMemory::new()))));
    conformance::run(sealed(&faulty, ring(1)).inner, &faulty.prefix).await.expect("conforms");
    let folder = tempfile::tempdir().expect("folder");
    let local = object_store::local::LocalFileSystem::new_with_prefix(folder.path()).expect("a directory");
    let local = Store::memory().with_inner(Arc::new(local));
    conformance::run(sealed(&local, ring(1)).inner, &local.prefix).await.expect("conforms");
}

#[tokio::test]
async fn a33_documents_are_sealed_below_and_all_else_passes() {
    let (below, above) = scene();
    let open = ["backup.json", "keys/0000-0000.json", "probe/create-once", "topics/digest=0/x.parquet"];
    let closed = [
        "manifests/0000/00000000000000000001.json.zst",
        "checkpoints/0000/x.json.zst",
        "buckets/x.json.zst",
        DOCUMENT,
        "restores/r/plan.json",
        "restores/r/report.json",
        "old/backup.json",
        "notes.txt",
    ];
    for (key, is_sealed) in open.map(|key| (key, false)).into_iter().chain(closed.map(|key| (key, true))) {
        above.inner.put(&at_key(&above, key), PutPayload::from_static(PLAIN)).await.expect("put");
        assert_eq!(bytes(&above, key).await, PLAIN, "{key}");
        let stored = bytes(&below, key).await;
        assert_eq!((stored != PLAIN, stored.starts_with(b"SBE1")), (is_sealed, is_sealed), "{key}");
        let shows = stored.windows(PLAIN.len()).any(|window| window == PLAIN);
        assert_eq!(shows, !is_sealed, "{key}");
    }
    let beside = Path::from("shopping/snapshots/daily.json");
    above.inner.put(&beside, PutPayload::from_static(PLAIN)).await.expect("put");
    let stored = below.inner.get(&beside).await.expect("there").bytes().await.expect("bytes");
    assert_eq!(stored, PLAIN, "what is not below the prefix is not this backup's");
}

#[tokio::test]
async fn a33_sizes_and_ranges_are_those_of_the_plain_bytes() {
    let (below, above) = scene();
    let path = at_key(&above, DOCUMENT);
    above.inner.put(&path, PutPayload::from_static(PLAIN)).await.expect("put");
    let size = PLAIN.len() as u64;
    assert_eq!(below.inner.head(&path).await.expect("there").size, size + 36);
    assert_eq!(above.inner.head(&path).await.expect("there").size, size);
    let found = above.find(&layout::snapshot(&SnapshotId::new("daily").expect("legal"))).await.expect("found");
    assert_eq!(found.map(|found| (found.meta.size, found.range)), Some((size, 0..size)));
    for (range, expected) in [
        (GetRange::Bounded(2..6), &PLAIN[2..6]),
        (GetRange::Bounded(2..900), &PLAIN[2..]),
        (GetRange::Offset(5), &PLAIN[5..]),
        (GetRange::Suffix(4), &PLAIN[PLAIN.len() - 4..]),
    ] {
        let options = GetOptions { range: Some(range.clone()), ..GetOptions::default() };
        let found = above.inner.get_opts(&path, options).await.expect("there");
        assert_eq!(found.range.end - found.range.start, expected.len() as u64, "{range:?}");
        assert_eq!(found.bytes().await.expect("bytes"), expected, "{range:?}");
    }
    let parts = above.inner.get_ranges(&path, &[5..9, 0..1]).await.expect("there");
    assert_eq!(parts, [&PLAIN[5..9], &PLAIN[..1]]);
    assert!(above.inner.get_range(&path, size..size + 36).await.is_err(), "what the seal adds is not there");
    assert!(above.inner.get_ranges(&path, &[0..1, size..size + 1]).await.is_err());

    let folder = Path::from("shop/snapshots");
    let offset = Path::from("shop/snapshots/a");
    let listed: Vec<_> = above.inner.list(Some(&folder)).try_collect().await.expect("listed");
    let later: Vec<_> = above.inner.list_with_offset(Some(&folder), &offset).try_collect().await.expect("listed");
    let level = above.inner.list_with_delimiter(Some(&folder)).await.expect("listed").objects;
    assert!(listed == later && later == level, "{listed:?} {later:?} {level:?}");
    assert_eq!((listed.len(), listed[0].size), (1, size));
}

#[tokio::test]
async fn a33_an_upload_in_parts_goes_down_whole_once_it_is_complete() {
    let (below, above) = scene();
    let path = at_key(&above, DOCUMENT);
    let mut upload = above.inner.put_multipart(&path).await.expect("begun");
    for piece in PLAIN.chunks(10) {
        upload.put_part(PutPayload::from(piece.to_vec())).await.expect("part");
    }
    assert!(below.inner.head(&path).await.is_err());
    upload.complete().await.expect("complete");
    assert_eq!(bytes(&above, DOCUMENT).await, PLAIN);
    assert_eq!(bytes(&below, DOCUMENT).await.len(), PLAIN.len() + 36);
}

#[tokio::test]
async fn a35_what_is_plain_changed_moved_or_of_another_backup_is_damage() {
    let (below, above) = scene();
    let (id, path) = (SnapshotId::new("daily").expect("legal"), at_key(&above, DOCUMENT));
    above.inner.put(&path, PutPayload::from_static(PLAIN)).await.expect("put");
    let stored = bytes(&below, DOCUMENT).await;
    let other = at_key(&above, "snapshots/other.json");
    below.inner.put(&other, stored.clone().into()).await.expect("put");
    assert_eq!(bytes(&above, "snapshots/other.json").await.as_ref(), b"SBE1", "another place");
    let foreign = crate::sample::ring(crate::ids::BackupId::new(uuid::Uuid::nil()));
    let foreign = foreign.seal_document(DOCUMENT, PLAIN).expect("sealed");
    let mut changed = stored.to_vec();
    changed[20] ^= 1;
    let plain = document::seal(
        &crate::snapshot::Snapshot::of(&claimed(&Store::memory()).await.state().clone(), label(&id)).expect("a head"),
    );
    let spoilt = [foreign, changed.into(), stored.slice(..stored.len() - 1), Bytes::new(), plain.expect("sealed")];
    for spoilt in spoilt {
        below.inner.put(&path, spoilt.clone().into()).await.expect("put");
        assert_eq!(bytes(&above, DOCUMENT).await.as_ref(), b"SBE1", "{spoilt:?}");
        let error = crate::snapshot::catalog::load(&above, backup(), &id).await.expect_err("damaged");
        let said = crate::errors::chain(&error);
        assert!(error.is_damage() && said.contains(DOCUMENT) && said.contains("seal does not open"), "{said}");
    }
}

fn label(id: &SnapshotId) -> crate::snapshot::Label {
    crate::snapshot::Label { id: id.clone(), nonce: crate::sample::nonce(9), asked_at: at(0), keep: None }
}

#[tokio::test]
async fn a34_a_document_of_a_later_backup_key_says_so_and_one_without_a_layer_too() {
    let (below, above) = scene();
    let id = SnapshotId::new("daily").expect("legal");
    let path = at_key(&above, DOCUMENT);
    sealed(&below, ring(3)).inner.put(&path, PutPayload::from_static(PLAIN)).await.expect("put");
    for (store, told) in [(&above, "sealed by backup key 2"), (&below, "read without a key")] {
        let error = crate::snapshot::catalog::load(store, backup(), &id).await.expect_err("not opened");
        let said = crate::errors::chain(&error);
        assert!(said.contains(told), "{said}");
    }
}

#[tokio::test]
async fn a34_a_writer_whose_log_was_taken_over_under_a_later_backup_key_is_fenced_and_finds_no_damage() {
    let (below, above) = scene();
    let orders = key("orders", 0, 0);
    let mut before = claimed(&above).await;
    claimed(&sealed(&below, ring(2))).await;
    let prepared = prepare(&before, captured(&orders, 0..5));
    let error = before.commit(&prepared).await.expect_err("taken over");
    assert!(matches!(&error, log::Error::Rotated { number: 1, object } if object.contains("manifests/")), "{error}");
    assert!(!error.is_retryable() && error.to_string().starts_with("fenced: "), "{error}");
    // What does not open at all is damage as ever.
    let slot = layout::manifest(Shard::ONLY, prepared.manifest().sequence).below(&below.prefix);
    below.inner.put(&slot, PutPayload::from_static(b"SBE1 and no seal")).await.expect("put");
    let error = before.commit(&prepared).await.expect_err("damaged");
    assert!(matches!(error, log::Error::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a34_a_log_that_goes_on_under_a_later_backup_key_is_not_called_damaged() {
    let (below, above) = scene();
    claimed(&above).await;
    let mut log = reader::open(&above, Shard::ONLY).await.expect("readable").expect("a backup");
    claimed(&sealed(&below, ring(2))).await;
    // Nothing says that there is such a key: it may be the number that was changed.
    let error = reader::advance(&above, &mut log).await.expect_err("no such key");
    assert!(error.is_damage() && error.to_string().contains("does not open"), "{error}");
    let wrap = layout::key_wrap(1, 0).below(&below.prefix);
    below.inner.put(&wrap, PutPayload::from_static(b"a wrap")).await.expect("put");
    let next = log.state.next_sequence();
    let errors = [
        reader::advance(&above, &mut log).await.expect_err("made since"),
        reader::open(&above, Shard::ONLY).await.expect_err("made since"),
        reader::manifest(&above, Shard::ONLY, next).await.expect_err("made since"),
    ];
    for error in errors {
        assert!(matches!(&error, reader::Error::Rotated { number: 1, .. }), "{error}");
        assert!(!error.is_damage() && !error.is_retryable(), "another start opens it, and not another call: {error}");
    }
}

#[tokio::test]
async fn a35_a_document_cannot_be_copied_or_renamed_and_a_file_can() {
    let (below, above) = scene();
    let (file, document) = (at_key(&above, "intake/x.parquet"), at_key(&above, DOCUMENT));
    for path in [&file, &document] {
        above.inner.put(path, PutPayload::from_static(PLAIN)).await.expect("put");
    }
    let elsewhere = at_key(&above, "intake/y.parquet");
    let options = || CopyOptions { mode: CopyMode::Overwrite, ..CopyOptions::default() };
    for (from, to) in [(&document, &elsewhere), (&file, &document)] {
        let copied = above.inner.copy_opts(from, to, options()).await;
        let renamed = above.inner.rename_opts(from, to, RenameOptions::default()).await;
        for refused in [copied, renamed] {
            assert!(matches!(refused, Err(Error::NotSupported { .. })), "{refused:?}");
        }
    }
    above.inner.copy_opts(&file, &elsewhere, options()).await.expect("copied");
    above.inner.delete(&file).await.expect("deleted");
    assert!(below.inner.head(&file).await.is_err());
    assert_eq!(bytes(&above, "intake/y.parquet").await, PLAIN);
}

#[tokio::test]
async fn a34_a_create_whose_answer_is_lost_is_recognised_through_the_seal() {
    let faulty = FaultyStore::new(Arc::new(InMemory::new()));
    let above = sealed(&Store::memory().with_inner(Arc::new(faulty.clone())), ring(1));
    let (ours, theirs) = (Bytes::from_static(b"ours"), Bytes::from_static(b"theirs"));
    for fault in [Fault::Timeout, Fault::Unavailable, Fault::AlreadyExists, Fault::Precondition] {
        let path = Path::from(format!("manifests/{fault:?}"));
        faulty.control().script([(Op::Create, Decision::FailAfter(fault))]);
        let created = create_once(above.inner.as_ref(), &path, &ours).await.expect("created");
        assert_eq!(created, Outcome::Created);
        let occupied = create_once(above.inner.as_ref(), &path, &theirs).await.expect("occupied");
        assert_eq!(occupied, Outcome::Occupied(ours.clone()));
    }
    let twice = PutOptions::from(PutMode::Create);
    let path = Path::from("manifests/Timeout");
    let refused = above.inner.put_opts(&path, PutPayload::from_bytes(ours), twice).await;
    assert!(matches!(refused, Err(Error::AlreadyExists { .. })), "{refused:?}");
}

#[tokio::test]
async fn a33_a_log_is_written_and_read_through_the_seal_and_shows_no_name_of_a_topic() {
    let (below, above) = scene();
    let orders = key("orders", 0, 0);
    let mut writer: LogWriter = claimed(&above).await;
    let bucket = Bucket::of(at(0));
    let name = layout::SegmentName {
        shard: Shard::ONLY,
        epoch: writer.epoch(),
        sequence: writer.next_sequence(),
        number: 0,
        origin: layout::Origin::Cut,
    };
    let object = layout::segment(&layout::SegmentPlace::Topic(above.topic_dir(&topic("orders")), bucket), name);
    assert!(object.as_str().starts_with("topics/digest="), "{object}");
    let segments = vec![crate::manifest::Segment { object, ..segment(vec![run(&orders, 0..5, 5)]) }];
    commit(&mut writer, Draft { segments, ..captured(&orders, 0..5) }).await;
    commit(&mut writer, captured(&orders, 5..9)).await;
    writer.checkpoint().await.expect("written");

    let log = reader::open(&above, Shard::ONLY).await.expect("readable").expect("a backup");
    assert_eq!((&log.state, log.ignored.len(), &log.identity), (writer.state(), 0, &identity()));
    let listed: Vec<ObjectMeta> = below.inner.list(None).try_collect().await.expect("listed");
    assert_eq!(listed.len(), 1 + 3 + 1, "identity, manifests, a checkpoint");
    for meta in listed {
        let stored = below.inner.get(&meta.location).await.expect("there").bytes().await.expect("bytes");
        let place = meta.location.as_ref();
        let is_identity = place == "shop/backup.json";
        assert_eq!(stored.starts_with(b"SBE1"), !is_identity, "{place}");
        assert!(!place.contains("orders") && !stored.windows(7).any(|window| window == b"orders\""), "{place}");
    }
    let error = reader::open(&below, Shard::ONLY).await.expect_err("no keys");
    assert!(crate::errors::chain(&error).contains("read without a key"), "{error}");

    // One manifest in the place of another does not open.
    let [first, second] =
        [1, 2].map(|number| layout::manifest(Shard::ONLY, Sequence::new(number)).below(&below.prefix));
    let moved = below.inner.get(&first).await.expect("there").bytes().await.expect("bytes");
    below.inner.put(&second, moved.into()).await.expect("put");
    let error = reader::manifest(&above, Shard::ONLY, Sequence::new(2)).await.expect_err("moved");
    assert!(crate::errors::chain(&error).contains("seal does not open"), "{error}");
}

#[test]
fn a33_files_get_keys_and_topics_digests_where_the_backup_is_encrypted_alone() {
    let (below, above) = scene();
    let (object, other): (ObjectKey, ObjectKey) = (intake(Sequence::new(2), 0), intake(Sequence::new(2), 1));
    assert!(below.seal_file(&object).expect("nothing to do").is_none() && below.opener(&object).is_none());
    assert_eq!(below.topic_dir(&topic("orders")), topic("orders").into());
    let seal = above.seal_file(&object).expect("sealed").expect("a key");
    let opener = above.opener(&object).expect("an opener");
    assert_eq!(opener.open(&seal.key_metadata).expect("opened").as_bytes(), seal.data_key.as_bytes());
    assert_eq!(opener.aad_prefix(), seal.aad_prefix);
    assert!(above.opener(&other).expect("an opener").open(&seal.key_metadata).is_err());
    assert_ne!(above.topic_dir(&topic("orders")), above.topic_dir(&topic("payments")));
}
