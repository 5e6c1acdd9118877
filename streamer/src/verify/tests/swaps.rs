//! Objects of an encrypted backup in each other's place, of another backup, or with another byte: each is named, and nothing is read
//! from it.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use strimzi_backup_format::ids::{Shard, SnapshotId};
use strimzi_backup_format::manifest::log::Draft;
use strimzi_backup_format::manifest::reader;
use strimzi_backup_format::sample;
use strimzi_backup_format::segment::decode::Row;
use strimzi_backup_format::segment::slice::{SliceReader, Wanted};
use strimzi_backup_format::snapshot::catalog;

use super::fixture::{Backup, Sealing, id};
use super::upkeep::with_bases_of;
use super::*;
use crate::error::chain;

/// Verifications at once: most of their time is the pause before bytes that are wrong are read again.
const AT_ONCE: usize = 32;

/// Bytes that are changed in each object.
const SAMPLED: usize = 6;

/// The small backup with two snapshots, encrypted, with what its store holds.
async fn small(number: u128) -> (Backup, Arc<InMemory>) {
    let memory = Arc::new(InMemory::new());
    let below = Store::memory().with_inner(memory.clone());
    let mut backup = Backup::small_over(Sealing::Key, below, number).await;
    backup.snapshot("first").await;
    backup.commit(Draft::default()).await;
    backup.snapshot("second").await;
    (backup, memory)
}

/// What an object is, as far as it may be taken for another one: files by their end, documents by their folder.
fn kind(key: &str) -> &str {
    if key.ends_with(".parquet") { ".parquet" } else { key.split('/').next().unwrap_or(key) }
}

/// All records that the log names, by the way of a restore; or what is told where they cannot be read.
async fn records(store: &Store) -> Result<Vec<Row>, String> {
    let log = reader::open(store, Shard::ONLY).await.map_err(|error| chain(&error))?.ok_or("no backup")?;
    let mut rows = Vec::new();
    for segment in log.segments(store, None, None).await.map_err(|error| chain(&error))? {
        let wanted = segment.runs.iter().cloned().map(Wanted::all).collect();
        let mut reader = SliceReader::open(store, segment, wanted).await.map_err(|error| chain(&error))?;
        while let Some(group) = reader.next_group().await.map_err(|error| chain(&error))? {
            for row in group {
                rows.push(row.map_err(|error| chain(&error))?);
            }
        }
    }
    Ok(rows)
}

/// A snapshot, or what is told where it cannot be read.
async fn snapshot(store: &Store, backup: &Backup, key: &str) -> Result<(), String> {
    let id = key.trim_start_matches("snapshots/").trim_end_matches(".json");
    let loaded = catalog::load(store, backup.id, &SnapshotId::new(id).expect("legal")).await;
    loaded.map(drop).map_err(|error| chain(&error))
}

/// Other bytes in the place of an object.
struct Forged {
    key: String,
    bytes: Vec<u8>,
    how: String,
}

/// An object with another byte, of which some are tried: the first and the last, and others spread over all of them.
fn flipped(key: &str, bytes: &[u8]) -> Vec<Forged> {
    let places = (0..bytes.len()).step_by(bytes.len().div_ceil(SAMPLED)).chain([bytes.len() - 1]);
    let forged = places.map(|at| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1;
        Forged { key: key.to_owned(), bytes, how: format!("byte {at}") }
    });
    forged.collect()
}

/// Insists that a verification names what was forged, and that whoever reads gets all records as they were, or is told of it.
async fn judge(backup: &Backup, memory: &InMemory, whole: &[Row], forged: Forged) {
    let Forged { key, bytes, how } = forged;
    let below = Store::memory().with_inner(Arc::new(memory.fork()));
    let store = Sealing::Key.over(&below, backup.id);
    below.inner.put(&Path::from(key.as_str()), bytes.into()).await.expect("put");
    let report = verify(&store, Level::Records).await;
    let is_named = report.findings.iter().any(|finding| finding.object == key);
    assert!(is_named && report.outcome().is_err(), "{key}, {how}: {report}");
    match records(&store).await {
        Ok(rows) => {
            assert!(rows == whole, "{key}, {how}: other records");
            // The log goes on from its newest checkpoint, and does without a bad one.
            assert_ne!(kind(&key), ".parquet", "{key}, {how}: it was read");
        }
        Err(told) => assert!(told.contains(&key), "{key}, {how}: {told}"),
    }
    if kind(&key) == "snapshots" {
        let told = snapshot(&store, backup, &key).await.expect_err("it was read");
        assert!(told.contains(&key), "{key}, {how}: {told}");
    }
}

async fn judge_all(backup: &Backup, memory: &InMemory, forged: Vec<Forged>) {
    let whole = records(&backup.store).await.expect("read");
    assert_eq!(whole.len() as u64, backup.rows());
    let judged = futures::stream::iter(forged).map(|forged| judge(backup, memory, &whole, forged));
    judged.buffer_unordered(AT_ONCE).for_each(|()| async {}).await;
}

/// All objects but `backup.json`, which is in the clear: what it says is bound by the first manifest.
async fn sealed_objects(backup: &Backup) -> Vec<(String, Vec<u8>)> {
    let mut objects = Vec::new();
    for key in backup.keys().await.into_iter().filter(|key| key != "backup.json") {
        let bytes = backup.stored(&key).await.to_vec();
        assert!(bytes.starts_with(b"SBE1") || bytes.starts_with(b"PARE"), "{key} is not sealed");
        objects.push((key, bytes));
    }
    objects
}

#[tokio::test(start_paused = true)]
async fn a35_every_object_in_the_place_of_every_other_of_its_kind_is_named_and_not_read() {
    let (backup, memory) = small(1).await;
    let objects = sealed_objects(&backup).await;
    let mut forged = Vec::new();
    for (key, _) in &objects {
        for (other, bytes) in objects.iter().filter(|(other, _)| other != key && kind(other) == kind(key)) {
            forged.push(Forged { key: key.clone(), bytes: bytes.clone(), how: format!("replaced by {other}") });
        }
    }
    // 7 manifests, 2 checkpoints, 2 snapshots, 4 files.
    assert_eq!(forged.len(), 7 * 6 + 2 + 2 + 4 * 3);
    judge_all(&backup, &memory, forged).await;
}

#[tokio::test(start_paused = true)]
async fn a35_an_object_with_another_byte_or_of_another_backup_is_named_and_not_read() {
    let (backup, memory) = small(1).await;
    // Whose keys are of the same bytes.
    let (other, _) = small(2).await;
    let (theirs, mut forged) = (sealed_objects(&other).await, Vec::new());
    for (key, bytes) in sealed_objects(&backup).await {
        forged.extend(flipped(&key, &bytes));
        if let Some((_, bytes)) = theirs.iter().find(|(their, _)| *their == key) {
            forged.push(Forged { key, bytes: bytes.clone(), how: "of another backup".to_owned() });
        }
    }
    let foreign = forged.iter().filter(|forged| forged.how == "of another backup").count();
    // Checkpoints have other names, and of the files those below topics/.
    assert_eq!(foreign, 7 + 2 + 2);
    judge_all(&backup, &memory, forged).await;
}

/// A base, which counts for what a compacted topic held, with what it has replaced.
#[tokio::test(start_paused = true)]
async fn a35_a_base_with_another_byte_or_replaced_by_what_it_replaces_is_named_and_not_read() {
    let memory = Arc::new(InMemory::new());
    let below = Store::memory().with_inner(memory.clone());
    let (backup, [old, first, base]) = with_bases_of(Sealing::Key.over(&below, id(1))).await;
    let [key, old, first] = [base, old, first].map(|segment| segment.object.to_string());
    assert!(key.starts_with("base/digest=") && first.starts_with("base/digest="), "{key} {first}");
    let mut forged = flipped(&key, &backup.stored(&key).await);
    for other in [old, first] {
        let bytes = backup.stored(&other).await.to_vec();
        forged.push(Forged { key: key.clone(), bytes, how: format!("replaced by {other}") });
    }
    judge_all(&backup, &memory, forged).await;
}

/// Bucket manifests, which the newest checkpoint names, in each other's place, and with another byte.
#[tokio::test(start_paused = true)]
async fn a35_the_listing_of_an_hour_that_was_exchanged_or_changed_is_named_and_not_read() {
    let below = Store::memory();
    let store = Sealing::Key.over(&below, sample::backup());
    sample::sealed(&store, 3).await;
    let log = reader::open(&store, Shard::ONLY).await.expect("readable").expect("a backup");
    let whole = log.segments(&store, None, None).await.expect("readable");
    let buckets = &log.sealed.as_ref().expect("sealed").buckets;
    assert_eq!((whole.len(), buckets.len()), (3, 3), "a segment for each hour");
    for place in buckets {
        let path = place.object.below(&below.prefix);
        let stored = bytes_of(&below, &path).await;
        let mut forged = flipped(place.object.as_str(), &stored);
        for other in buckets.iter().filter(|other| other.object != place.object) {
            let bytes = bytes_of(&below, &other.object.below(&below.prefix)).await.to_vec();
            forged.push(Forged { key: place.object.to_string(), bytes, how: format!("replaced by {}", other.object) });
        }
        for Forged { key, bytes, how } in forged {
            below.inner.put(&path, bytes.into()).await.expect("put");
            let told = chain(&log.segments(&store, None, None).await.expect_err("read"));
            assert!(told.contains(&key), "{how}: {told}");
            let report = verify(&store, Level::Chain).await;
            assert!(report.findings.iter().any(|finding| finding.object == key), "{how}: {report}");
        }
        below.inner.put(&path, stored.into()).await.expect("put");
    }
    assert_eq!(log.segments(&store, None, None).await.expect("readable"), whole);
}

async fn bytes_of(store: &Store, path: &Path) -> Bytes {
    store.inner.get(path).await.expect("there").bytes().await.expect("bytes")
}
