use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::faulty::{Decision, Fault, FaultyStore, Op};
use super::*;
use crate::checksum::Sha256;
use crate::identity::Identity;
use crate::ids::{BackupId, ClusterId, Nonce, Sequence, Shard, TimestampMs};
use crate::job::{self, Job};
use crate::layout;
use crate::manifest::log::{self, Draft, LogWriter, Prepared};
use crate::manifest::{Claim, reader};
use crate::sample::golden;

fn local() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("folder");
    let location = job::Location::Filesystem(job::Filesystem { path: folder.path().join("backup") });
    let store = open_to_write(&job::Storage { location, anchor: None, encryption: None }).expect("opened");
    (folder, store)
}

fn faulty() -> FaultyStore {
    FaultyStore::new(Arc::new(InMemory::new()))
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_in_memory() {
    conformance::run(Arc::new(InMemory::new()), &Path::from("a/b")).await.expect("conforms");
    conformance::run(Arc::new(InMemory::new()), &Path::default()).await.expect("conforms at the root");
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_in_a_directory() {
    let (_folder, store) = local();
    conformance::run(store.inner, &store.prefix).await.expect("conforms");
}

#[tokio::test(flavor = "multi_thread")]
async fn conformance_through_the_faulty_wrapper() {
    conformance::run(Arc::new(faulty()), &Path::from("p")).await.expect("conforms");
    let (_folder, store) = local();
    conformance::run(Arc::new(FaultyStore::new(store.inner)), &Path::from("p")).await.expect("conforms");
}

#[tokio::test]
async fn a17_a_store_that_ignores_the_condition_is_refused_by_name() {
    let store = faulty();
    store.control().set_ignores_create(true);
    let error = probe::probe(&store, &Path::from("p")).await.expect_err("refused");
    assert!(matches!(error, probe::ProbeError::IgnoresCreate { .. }) && !error.is_retryable(), "{error:?}");
    assert!(error.to_string().contains("If-None-Match"), "{error}");
    // Mended, the same prefix is good again although the second body stands there now.
    store.control().set_ignores_create(false);
    probe::probe(&store, &Path::from("p")).await.expect("proven");
    store.control().set_ignores_create(true);
    probe::probe(&store, &Path::from("p")).await.expect_err("refused again");
}

#[tokio::test]
async fn a_probe_deletes_nothing_and_leaves_one_object() {
    let store = faulty();
    for _ in 0..3 {
        probe::probe(&store, &Path::from("p")).await.expect("proven");
    }
    assert_eq!(store.control().count(Op::Delete), 0);
    let listed = store.inner().list_with_delimiter(Some(&Path::from("p/probe"))).await.expect("listed");
    assert_eq!(listed.objects.len(), 1);
}

#[tokio::test]
async fn a_probe_survives_faults_that_pass_and_names_those_that_stay() {
    let store = faulty();
    store.control().script([
        (Op::Create, Decision::FailBefore(Fault::AlreadyExists)),
        (Op::Create, Decision::FailAfter(Fault::Timeout)),
        (Op::Create, Decision::FailBefore(Fault::Unavailable)),
    ]);
    probe::probe(&store, &Path::from("p")).await.expect("proven");
    for (op, permission) in [(Op::Create, "s3:PutObject"), (Op::Get, "s3:GetObject"), (Op::List, "s3:ListBucket")] {
        store.control().set_plan(
            move |call| {
                if call.op == op { Decision::FailBefore(Fault::Denied) } else { Decision::Pass }
            },
        );
        let error = probe::probe(&store, &Path::from("p")).await.expect_err("denied");
        assert!(error.to_string().contains(permission), "{op:?}: {error}");
        assert!(error.is_retryable(), "{error:?}");
    }
    store.control().clear();
    store.control().set_outage(true);
    let error = probe::probe(&store, &Path::from("p")).await.expect_err("outage");
    assert!(matches!(error, probe::ProbeError::Unavailable(_)) && error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn a_foreign_object_under_the_probes_name_is_told() {
    let store = faulty();
    store.put(&Path::from("probe/create-once"), "else".into()).await.expect("put");
    let error = probe::probe(&store, &Path::default()).await.expect_err("foreign");
    assert!(matches!(error, probe::ProbeError::Foreign { .. }), "{error:?}");
}

#[tokio::test]
async fn a22_no_room_is_told_apart_and_passes_once_there_is_some() {
    let store = faulty();
    store.control().set_full(true);
    let key = Path::from("segment");
    let error = upload(&store, &key, vec![Bytes::from_static(b"x")], PART_BYTES).await.expect_err("full");
    assert_eq!(error.kind(), ErrorKind::Full);
    assert!(error.is_retryable());
    store.control().set_full(false);
    upload(&store, &key, vec![Bytes::from_static(b"x")], PART_BYTES).await.expect("room again");
}

#[tokio::test]
async fn a23_a_missing_bucket_is_told_apart_and_not_retried() {
    let store = faulty();
    store.control().script([(Op::Put, Decision::FailBefore(Fault::NotFound))]);
    let error =
        upload(&store, &Path::from("segment"), vec![Bytes::from_static(b"x")], PART_BYTES).await.expect_err("gone");
    assert_eq!(error.kind(), ErrorKind::NoBucket);
    assert!(!error.is_retryable());
}

#[tokio::test(start_paused = true)]
async fn a16_a_segment_reset_at_any_byte_of_its_get_is_read_again_and_never_half_believed() {
    let store = faulty();
    let body = golden::read("segment-v1.parquet");
    let (key, size, digest) = (Path::from("segment"), body.len() as u64, Sha256::of(&body));
    upload(&store, &key, vec![body.clone()], PART_BYTES).await.expect("put");
    for byte in 0..=body.len() {
        store.control().script([(Op::Get, Decision::BreakBody(byte))]);
        assert_eq!(get_checked(&store, &key, size, digest).await.expect("read again"), body);
    }
    store.control().set_plan(|call| {
        if call.op == Op::Get {
            Decision::BreakBody(usize::try_from(call.number).unwrap_or(0) % 999)
        } else {
            Decision::Pass
        }
    });
    let error = get_checked(&store, &key, size, digest).await.expect_err("broken each time");
    assert_eq!(error.kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a16_a_segment_reset_at_any_byte_of_its_put_is_not_there_until_it_is_put_again() {
    let body: Bytes = (0..=255).collect();
    for (op, part_bytes) in [(Op::Put, PART_BYTES), (Op::Part, 100), (Op::Complete, 100)] {
        for byte in 0..=body.len() {
            let (store, key) = (faulty(), Path::from("segment"));
            store.control().script([(op, Decision::BreakBody(byte))]);
            let error = upload(&store, &key, vec![body.clone()], part_bytes).await.expect_err("reset");
            assert_eq!(error.kind(), ErrorKind::Unavailable, "{error}");
            let landed = op == Op::Complete || (op == Op::Put && byte == body.len());
            assert_eq!(store.inner().head(&key).await.is_ok(), landed, "{op:?} at {byte}");
            upload(&store, &key, vec![body.clone()], part_bytes).await.expect("put again");
            assert_eq!(store.inner().get(&key).await.expect("there").bytes().await.expect("whole"), body);
        }
    }
}

/// The first manifest of a backup, ready to be committed.
async fn first_manifest(store: &Store) -> (LogWriter, Prepared) {
    let nobody = uuid::Uuid::nil();
    let identity = Identity::new(BackupId::new(nobody), "orders", ClusterId::new("c"), TimestampMs::new(0));
    log::create_identity(store, &identity).await.expect("identity");
    let found = reader::open(store, Shard::ONLY).await.expect("readable").expect("a backup");
    let writer = LogWriter::new(store.clone(), Shard::ONLY, found);
    let claim = Claim { writer: "a".to_owned(), software: "1".to_owned() };
    let prepared = writer.prepare_claim(claim, Nonce::new(nobody), TimestampMs::new(0)).expect("prepared");
    (writer, prepared)
}

#[tokio::test(start_paused = true)]
async fn a16_a_manifest_reset_at_any_byte_of_its_create_or_get_is_found_out_and_committed_once() {
    for byte in 0.. {
        let mut arrived = false;
        for answer in [Decision::BreakBody(byte), Decision::FailAfter(Fault::Reset)] {
            let faulty = faulty();
            let store = Store::memory().with_inner(Arc::new(faulty.clone()));
            let (mut writer, prepared) = first_manifest(&store).await;
            let reset = (Op::Get, Decision::BreakBody(byte));
            faulty.control().script([(Op::Create, answer), reset.clone()]);
            let error = writer.commit(&prepared).await.expect_err("neither answer came");
            assert!(error.is_retryable(), "{error}");
            let standing = layout::manifest(Shard::ONLY, Sequence::FIRST).below(&store.prefix);
            arrived = faulty.inner().head(&standing).await.is_ok_and(|meta| meta.size <= byte as u64);
            writer.commit(&prepared).await.expect("found out, or put again");
            assert_eq!(writer.state().head.map(|head| head.sequence), Some(Sequence::FIRST));
            faulty.control().script([reset]);
            let broken = reader::manifest(&store, Shard::ONLY, Sequence::FIRST).await.expect_err("reset");
            assert!(matches!(broken, reader::Error::Store { .. }), "{broken}");
            let read = reader::manifest(&store, Shard::ONLY, Sequence::FIRST).await.expect("read").expect("there");
            assert_eq!(read.0, *prepared.manifest());
            assert!(faulty.control().unused().is_empty());
        }
        if arrived {
            assert!(byte > 100, "a manifest of {byte} bytes");
            return;
        }
    }
}

#[test]
fn parts_that_a_real_store_would_refuse_cannot_be_asked_for() {
    let (_folder, store) = local();
    assert_eq!(store.part_bytes, PART_BYTES);
    assert_eq!(Store::memory().with_part_bytes(1).part_bytes, 1);
    assert!(std::panic::catch_unwind(AssertUnwindSafe(|| store.with_part_bytes((5 << 20) - 1))).is_err());
}

#[tokio::test(start_paused = true)]
async fn a15_latency_is_tokios_time_and_a_kill_leaves_every_call_pending() {
    let store = faulty();
    store.control().set_latency(Duration::from_secs(3600));
    store.put(&Path::from("slow"), "x".into()).await.expect("a paused clock does not wait");
    store.control().set_latency(Duration::ZERO);
    store.control().script([(Op::Put, Decision::KillAfter)]);
    let path = Path::from("killed");
    let call = store.put(&path, "x".into());
    assert!(tokio::time::timeout(Duration::from_secs(9), call).await.is_err(), "never returns");
    store.control().killed().await;
    let later = tokio::time::timeout(Duration::from_secs(9), store.head(&path));
    assert!(later.await.is_err(), "nor does any later call");
    store.inner().head(&path).await.expect("but it had its effect");
}

#[tokio::test]
async fn the_same_seed_gives_the_same_faults() {
    let faults = |seed| async move {
        let store = faulty();
        let mut outcomes = Vec::new();
        store.control().set_random_plan(seed, 50);
        tokio::time::pause();
        for n in 0..50 {
            let path = Path::from(format!("{n}"));
            let put = store.put(&path, "x".into()).await.is_ok();
            let got = store.get(&path).await.is_ok();
            outcomes.push((put, got));
        }
        tokio::time::resume();
        outcomes
    };
    let first = faults(7).await;
    assert_eq!(first, faults(7).await);
    assert_ne!(first, faults(8).await);
}

#[tokio::test]
async fn leftovers_of_crashed_writes_are_swept_and_nothing_else() {
    let (folder, store) = local();
    upload(store.inner.as_ref(), &Path::from("a/b/kept"), vec![Bytes::from_static(b"x")], PART_BYTES)
        .await
        .expect("put");
    let root = &folder.path().join("backup");
    assert_eq!(store.kind, Kind::Filesystem(root.clone()));
    for name in ["a/b/kept#1", "a/gone#22", "kept#x", "#"] {
        std::fs::write(root.join(name), "half").expect("write");
    }
    let later = SystemTime::now() + Duration::from_secs(60);
    assert_eq!(store.sweep_leftovers(SystemTime::UNIX_EPOCH).expect("swept"), 0, "young ones may be alive");
    assert_eq!(store.sweep_leftovers(later).expect("swept"), 2);
    assert!(root.join("kept#x").exists() && root.join("a/b/kept").exists());
    assert_eq!(Store::memory().sweep_leftovers(later).expect("nothing to do"), 0);
}

#[test]
fn a_directory_is_made_only_where_its_parent_exists() {
    let folder = tempfile::tempdir().expect("folder");
    let location = job::Location::Filesystem(job::Filesystem { path: folder.path().join("missing/backup") });
    let error = open_to_write(&job::Storage { location, anchor: None, encryption: None }).expect_err("a missing mount");
    assert!(error.to_string().contains("missing/backup"), "{error}");
}

#[test]
fn a_reader_makes_no_directory() {
    let folder = tempfile::tempdir().expect("folder");
    let path = folder.path().join("backup");
    let location = job::Location::Filesystem(job::Filesystem { path: path.clone() });
    let error = open(&job::Storage { location, anchor: None, encryption: None }).expect_err("nothing there");
    assert!(matches!(error, OpenError::Missing { .. }), "{error}");
    assert!(!path.exists());
}

fn identity() -> Identity {
    Identity::new(BackupId::new(uuid::Uuid::from_u128(1)), "b", ClusterId::new("c"), TimestampMs::new(0))
}

/// The claimed log of [`identity`]; what is committed besides is a bare manifest.
async fn claimed(store: &Store) -> LogWriter {
    log::create_identity(store, &identity()).await.expect("identity");
    let found = reader::open(store, Shard::ONLY).await.expect("readable").expect("a backup");
    let mut writer = LogWriter::new(store.clone(), Shard::ONLY, found);
    let claim = Claim { writer: "w".to_owned(), software: "0".to_owned() };
    let claim = writer.prepare_claim(claim, Nonce::new(uuid::Uuid::from_u128(2)), TimestampMs::new(0));
    writer.commit(&claim.expect("prepared")).await.expect("claimed");
    writer
}

/// Creates land, their answers are lost, and so many of the reads that follow bring other bytes.
fn garble(store: &FaultyStore, reads: usize) {
    store.control().script([(Op::Create, Decision::FailAfter(Fault::Timeout))]);
    store.control().script(vec![(Op::Get, Decision::FlipBit(9)); reads]);
}

#[tokio::test]
async fn a21_what_was_garbled_on_its_way_back_is_read_again_before_it_counts_as_damage() {
    let faulty = Arc::new(faulty());
    let inner: Arc<dyn ObjectStore> = faulty.clone();
    let store = Store::memory().with_inner(inner);
    garble(&faulty, 1);
    let mut writer = claimed(&store).await;
    garble(&faulty, 2);
    let next = writer.prepare(Draft::default(), Nonce::new(uuid::Uuid::from_u128(3)), TimestampMs::new(1));
    writer.commit(&next.expect("prepared")).await.expect("committed");
    garble(&faulty, 2);
    writer.checkpoint().await.expect("written");
    let next = writer.prepare(Draft::default(), Nonce::new(uuid::Uuid::from_u128(4)), TimestampMs::new(2));
    garble(&faulty, 3);
    let error = writer.commit(&next.expect("prepared")).await.expect_err("damaged for good");
    assert!(matches!(error, log::Error::Corrupt { .. }), "{error}");
}

#[tokio::test]
async fn a60_an_object_too_big_to_be_a_document_is_not_read() {
    let (folder, store) = local();
    claimed(&store).await;
    for object in [layout::manifest(Shard::ONLY, Sequence::FIRST), layout::identity()] {
        // A file of holes: nothing is stored, and reading it would fill the memory.
        let path = folder.path().join("backup").join(object.as_str());
        std::fs::File::options().write(true).open(path).expect("open").set_len(1 << 42).expect("grown");
        let error = reader::open(&store, Shard::ONLY).await.expect_err("too big");
        assert!(matches!(error, reader::Error::Document { .. }), "{error}");
        assert!(crate::errors::chain(&error).contains("no document has more"), "{error}");
    }
}

#[tokio::test]
async fn a24_whoever_opens_the_log_holds_it_against_the_anchor() {
    let open = async |store: &Store| reader::open(store, Shard::ONLY).await.map(|log| log.is_some());
    let mut store = Store::memory();
    let head = claimed(&store).await.state().head.expect("head");
    let anchor = job::Anchor { backup: identity().backup, sequence: head.sequence, sha256: head.sha256 };
    store.anchor = Some(anchor);
    assert!(open(&store).await.expect("it holds"));
    store.anchor = Some(job::Anchor { sequence: head.sequence.next(), ..anchor });
    assert!(matches!(open(&store).await, Err(reader::Error::Anchor { .. })), "set back");
    store.anchor = Some(job::Anchor { backup: BackupId::new(uuid::Uuid::from_u128(9)), ..anchor });
    assert!(matches!(open(&store).await, Err(reader::Error::AnotherBackup { .. })), "exchanged");
    let emptied = Store { anchor: Some(anchor), ..Store::memory() };
    assert!(matches!(open(&emptied).await, Err(reader::Error::Anchor { .. })), "emptied");
}

#[test]
fn every_kind_opens_and_describes_itself_without_secrets() {
    let folder = tempfile::tempdir().expect("folder");
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).expect("write");
        path.display().to_string()
    };
    let (id, secret) = (file("id", "AKIA"), file("secret", "hunter2"));
    let account = file("account", "aHVudGVyMg==");
    let service = file(
        "service",
        r#"{"private_key": "hunter2", "private_key_id": "1", "client_email": "a@b", "disable_oauth": true}"#,
    );
    let documents = [
        (
            format!(
                "s3, s3: {{bucket: bkt, prefix: p/q, endpoint: 'http://x:1', virtualHostedStyle: true, \
                 accessKeyIdFile: {id}, secretAccessKeyFile: {secret}}}"
            ),
            "s3://bkt/p/q",
        ),
        (
            format!("azure, azure: {{container: ctr, storageAccount: acc, accountKeyFile: {account}}}"),
            "azure://acc/ctr",
        ),
        (
            format!("gcs, gcs: {{bucket: bkt, prefix: p, endpoint: 'http://x:1', serviceAccountFile: {service}}}"),
            "gs://bkt/p",
        ),
    ];
    for (storage, description) in documents {
        let text = format!("cluster: {{bootstrapServers: 'a:1'}}\nstorage: {{type: {storage}}}");
        let job: Job = text.parse().expect("document");
        let store = open(&job.storage).expect("opened");
        assert_eq!(store.description, description);
        assert!(!format!("{store:?}").contains("hunter2") && !format!("{store:?}").contains("aHVudGVyMg"));
    }
}

#[test]
fn a_missing_credential_file_is_named_at_the_start() {
    let text = "cluster: {bootstrapServers: 'a:1'}\nstorage: {type: azure, azure: {container: ctr, storageAccount: acc, \
                sasTokenFile: /nowhere/sas}}";
    let job: Job = text.parse().expect("document");
    let error = open(&job.storage).expect_err("no file");
    let cause = std::error::Error::source(&error).expect("cause").to_string();
    assert!(cause.contains("/nowhere/sas"), "{cause}");
}
