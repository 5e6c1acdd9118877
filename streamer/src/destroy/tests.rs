//! Objects in memory under every kind of key, a store that fails as it is told, and tokio's paused clock.

use std::sync::Arc;

use strimzi_backup_format::bucket::Bucket;
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::ids::SnapshotId;
use strimzi_backup_format::layout::ObjectKey;
use strimzi_backup_format::manifest::log;
use strimzi_backup_format::sample::{at, backup, identity};
use strimzi_backup_format::store::faulty::{Decision, Fault, FaultyStore, Op};

use super::*;
use crate::clock::SystemClock;
use crate::error::{chain, exit};

fn job() -> Job {
    let text =
        "name: orders-dr\ncluster: {bootstrapServers: 'a:1'}\nstorage: {type: filesystem, filesystem: {path: /b}}";
    text.parse().expect("job")
}

async fn put(store: &Store, place: &Path) {
    store.inner.put(place, "x".into()).await.expect("put");
}

async fn put_key(store: &Store, key: &ObjectKey) {
    put(store, &key.below(&store.prefix)).await;
}

/// A backup below `shop/`, with what is somebody else's beside and between.
async fn scene() -> Store {
    let store = Store { prefix: Path::from("shop"), ..Store::memory() };
    log::create_identity(&store, &identity()).await.expect("identity");
    let (bucket, digest) = (Bucket::of(at(0)), Sha256::of(b"x"));
    let restore = RestoreId::new("again").expect("legal");
    for number in 1..=3 {
        put_key(&store, &layout::manifest(Shard::ONLY, Sequence::new(number))).await;
        put_key(&store, &strimzi_backup_format::sample::intake(Sequence::new(number), 0)).await;
    }
    for key in [
        layout::checkpoint(Shard::ONLY, Sequence::new(2), &digest),
        layout::bucket_manifest(bucket, Shard::ONLY, Sequence::new(2), &digest),
        layout::snapshot(&SnapshotId::new("daily").expect("legal")),
        layout::restore_plan(&restore),
        layout::restore_report(&restore),
        layout::probe(),
        layout::key_wrap(0, 0),
    ] {
        put_key(&store, &key).await;
    }
    for foreign in ["shop/notes.txt", "shop/topics/notes.txt", "shop/other/backup.json", "shopping/backup.json"] {
        put(&store, &Path::from(foreign)).await;
    }
    store
}

async fn keys(store: &Store) -> Vec<String> {
    let listed: Vec<_> = store.inner.list(None).try_collect().await.expect("listed");
    let mut keys: Vec<_> = listed.into_iter().map(|meta| meta.location.to_string()).collect();
    keys.sort();
    keys
}

const FOREIGN: [&str; 4] =
    ["shop/notes.txt", "shop/other/backup.json", "shop/topics/notes.txt", "shopping/backup.json"];

async fn destroy(store: &Store) -> Result<Report, Error> {
    run(store, &job(), backup(), true, &SystemClock).await
}

#[tokio::test]
async fn everything_of_the_backup_goes_and_nothing_else() {
    let store = scene().await;
    let report = destroy(&store).await.expect("destroyed");
    report.outcome().expect("nothing was refused");
    assert!(report.gone && report.deleted.objects == 14, "{report}");
    assert_eq!(report.by_folder["manifests"].objects, 3);
    assert_eq!((report.foreign.objects, report.first_foreign.len()), (3, 3), "{report}");
    assert_eq!(keys(&store).await, FOREIGN);

    let again = destroy(&store).await.expect("nothing to do");
    assert!(again.gone && again.deleted.objects == 0, "{again}");
    assert!(again.to_string().contains("there is no backup.json"), "{again}");
}

#[tokio::test]
async fn another_backup_than_the_one_that_was_named_is_not_touched() {
    let store = scene().await;
    let before = keys(&store).await;
    let other = BackupId::new(uuid::Uuid::from_u128(43));
    let error = run(&store, &job(), other, true, &SystemClock).await.expect_err("another");
    assert_eq!(error.exit_code(), exit::DAMAGED);
    let said = chain(&error);
    assert!(said.contains(&other.to_string()) && said.contains(&backup().to_string()), "{said}");
    assert_eq!(keys(&store).await, before);
}

#[tokio::test]
async fn a_backup_without_its_log_is_deleted_and_one_without_its_identity_is_left() {
    let store = scene().await;
    for number in 1..=2 {
        let key = layout::manifest(Shard::ONLY, Sequence::new(number)).below(&store.prefix);
        store.inner.delete(&key).await.expect("deleted");
    }
    assert!(destroy(&store).await.expect("destroyed").gone, "the log is not read");

    let store = scene().await;
    store.inner.delete(&layout::identity().below(&store.prefix)).await.expect("deleted");
    let report = destroy(&store).await.expect("nothing to do");
    assert!(report.gone && report.left.objects == 13 && report.deleted.objects == 0, "{report}");

    put_key(&store, &layout::identity()).await;
    let error = destroy(&store).await.expect_err("nobody knows whose it is");
    assert_eq!(error.exit_code(), exit::DAMAGED);
}

#[tokio::test(start_paused = true)]
async fn a_writer_that_lives_is_seen_by_what_it_writes() {
    let store = scene().await;
    let patient = || async { run(&store, &job(), backup(), false, &SystemClock).await };
    let before = keys(&store).await.len();
    let writes = async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        put_key(&store, &layout::manifest(Shard::ONLY, Sequence::new(4))).await;
    };
    let (done, ()) = tokio::join!(patient(), writes);
    let error = done.expect_err("it lives");
    assert!(chain(&error).contains("wrote manifest 4"), "{}", chain(&error));
    assert_eq!((error.exit_code(), keys(&store).await.len()), (exit::FAILED, before + 1), "nothing went");
    assert!(patient().await.expect("it is dead").gone);
}

#[tokio::test]
async fn a_restore_under_way_keeps_the_backup() {
    let store = scene().await;
    let restore = RestoreId::new("again").expect("legal");
    store.inner.delete(&layout::restore_report(&restore).below(&store.prefix)).await.expect("deleted");
    let before = keys(&store).await;
    let error = destroy(&store).await.expect_err("a restore reads");
    assert!(chain(&error).contains("restore again is under way"), "{}", chain(&error));
    assert_eq!(keys(&store).await, before);
}

#[tokio::test(start_paused = true)]
async fn killed_at_any_deletion_the_next_run_goes_on() {
    let mut killed = 0;
    loop {
        let store = scene().await;
        let faulty = FaultyStore::new(Arc::clone(&store.inner));
        let mut deletions = 0;
        faulty.control().set_plan(move |call| {
            deletions += u32::from(call.op == Op::Delete);
            match call.op == Op::Delete && deletions > killed {
                true if killed % 2 == 0 => Decision::KillBefore,
                true => Decision::KillAfter,
                false => Decision::Pass,
            }
        });
        let doomed = store.with_inner(Arc::new(faulty));
        let done = tokio::time::timeout(Duration::from_secs(60), destroy(&doomed)).await;
        if done.is_ok() {
            break;
        }
        let left = keys(&store).await;
        let is_left = left.contains(&"shop/backup.json".to_owned());
        assert!(is_left || left == FOREIGN, "what is left cannot be found any more: {left:?}");
        assert!(destroy(&store).await.expect("goes on").gone);
        assert_eq!(keys(&store).await, FOREIGN, "killed after {killed} deletions");
        killed += 1;
    }
    assert!(killed >= 13, "only {killed} deletions");
}

#[tokio::test]
async fn a_store_that_refuses_is_named_and_the_identity_stays() {
    let store = scene().await;
    let faulty = FaultyStore::new(Arc::clone(&store.inner));
    let held = layout::manifest(Shard::ONLY, Sequence::new(2)).below(&store.prefix);
    faulty.control().set_plan(move |call| match call.op == Op::Delete && call.path == held {
        true => Decision::FailBefore(Fault::Denied),
        false => Decision::Pass,
    });
    let report = destroy(&store.with_inner(Arc::new(faulty))).await.expect("a report");
    let error = report.outcome().expect_err("one was refused");
    let said = chain(&error);
    assert!(said.contains("refuses to delete 1 objects") && said.contains("s3:DeleteObject"), "{said}");
    assert!(said.contains("manifests/0000/00000000000000000002.json.zst"), "{said}");
    assert_eq!((report.gone, error.exit_code()), (false, exit::FAILED));
    let left = keys(&store).await;
    assert!(left.contains(&"shop/backup.json".to_owned()) && left.len() == FOREIGN.len() + 2, "{left:?}");
    assert!(destroy(&store).await.expect("goes on").gone, "once it is let");
}

#[tokio::test]
async fn a_store_that_refuses_everything_is_not_asked_for_long() {
    let store = scene().await;
    for number in 4..200 {
        put_key(&store, &strimzi_backup_format::sample::intake(Sequence::new(number), 0)).await;
    }
    let faulty = FaultyStore::new(Arc::clone(&store.inner));
    let control = faulty.control().clone();
    control.set_plan(|call| match call.op {
        Op::Delete => Decision::FailBefore(Fault::Denied),
        _ => Decision::Pass,
    });
    let before = keys(&store).await;
    let report = destroy(&store.with_inner(Arc::new(faulty))).await.expect("a report");
    assert!(report.outcome().is_err() && report.refused.objects < 20, "{report}");
    assert_eq!(keys(&store).await, before);
}

#[tokio::test]
async fn what_comes_meanwhile_keeps_the_identity() {
    let store = scene().await;
    let faulty = FaultyStore::new(Arc::clone(&store.inner));
    let late = layout::manifest(Shard::ONLY, Sequence::new(2)).below(&store.prefix);
    // As a writer that lives would bring it back: deleted, it says, and it is there.
    faulty.control().set_plan(move |call| match call.op == Op::Delete && call.path == late {
        true => Decision::FailBefore(Fault::NotFound),
        false => Decision::Pass,
    });
    let error = destroy(&store.with_inner(Arc::new(faulty))).await.expect_err("something writes");
    assert!(chain(&error).contains("1 objects of a backup came"), "{}", chain(&error));
    assert!(keys(&store).await.contains(&"shop/backup.json".to_owned()));
}
