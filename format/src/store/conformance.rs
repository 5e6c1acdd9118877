//! What a store must do to hold a backup, as one suite that runs on every kind: memory, directory, the faulty wrapper and
//! real servers.
//!
//! Test code: a broken promise is an error that says which, and the caller panics with it. It leaves its objects behind;
//! run it under a prefix of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt as _;
use futures::future::join_all;
use object_store::path::Path;
use object_store::{MultipartUpload as _, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::create_once::{Outcome, create_once};
use super::faulty::{Decision, Fault, FaultyStore, Op};
use super::{ErrorKind, PART_BYTES, StoreError, get_checked, probe};
use crate::checksum::Sha256;

const RACERS: usize = 16;
const ROUNDS: usize = 8;
/// Three parts, the last one short.
const BIG_BYTES: usize = 2 * PART_BYTES + 12_345;

/// What was broken.
pub type Broken = Box<dyn std::error::Error + Send + Sync>;

/// Runs the whole suite below `prefix`, which must be empty.
///
/// # Errors
/// The first promise that does not hold.
pub async fn run(store: Arc<dyn ObjectStore>, prefix: &Path) -> Result<(), Broken> {
    let at = |name: &str| Path::from_iter(prefix.parts().chain(Path::from(name).parts()));
    probing(store.as_ref(), prefix).await?;
    create_twice(store.as_ref(), &at("twice")).await?;
    for round in 0..ROUNDS {
        race(&store, &at(&format!("race/{round}")), round).await?;
    }
    lost_answers(&store, &at("lost")).await?;
    missing(store.as_ref(), &at("missing/object")).await?;
    small_and_empty(store.as_ref(), &at("small")).await?;
    parts(store.as_ref(), &at("parts")).await?;
    aborted_upload(&store, &at("aborted")).await?;
    ranges(store.as_ref(), &at("ranges")).await?;
    listing(store.as_ref(), &at("listing")).await?;
    spoilt_reads(&store, &at("spoilt")).await
}

async fn upload(store: &dyn ObjectStore, key: &Path, body: Vec<Bytes>) -> Result<(), StoreError> {
    super::upload(store, key, body, PART_BYTES).await
}

fn check(holds: bool, promise: impl Into<String>) -> Result<(), Broken> {
    if holds { Ok(()) } else { Err(promise.into().into()) }
}

async fn probing(store: &dyn ObjectStore, prefix: &Path) -> Result<(), Broken> {
    probe::probe(store, prefix).await?;
    probe::probe(store, prefix).await?;
    let folder = Path::from_iter(prefix.parts().chain(Path::from("probe").parts()));
    let listed: Vec<_> = store.list(Some(&folder)).try_collect().await?;
    check(listed.len() == 1, "a second probe finds what the first created, and that is listed")
}

async fn create_twice(store: &dyn ObjectStore, key: &Path) -> Result<(), Broken> {
    let (ours, theirs) = (Bytes::from_static(b"ours"), Bytes::from_static(b"theirs"));
    check(create_once(store, key, &theirs).await? == Outcome::Created, "a free slot is taken")?;
    check(create_once(store, key, &theirs).await? == Outcome::Created, "own bytes are recognised")?;
    let second = create_once(store, key, &ours).await?;
    check(second == Outcome::Occupied(theirs.clone()), "a taken slot is told with what stands there")?;
    let refused = store.put_opts(key, PutPayload::from_bytes(ours), PutOptions::from(PutMode::Create)).await;
    let kind = refused.as_ref().err().map(ErrorKind::of);
    check(kind == Some(ErrorKind::Precondition), format!("a second create is refused as such, not {refused:?}"))?;
    check(store.get(key).await?.bytes().await? == theirs, "the first bytes stand")
}

/// Exactly one of many wins, and what stands is all of the winner's and nothing else.
async fn race(store: &Arc<dyn ObjectStore>, key: &Path, round: usize) -> Result<(), Broken> {
    let bodies: Vec<Bytes> = (0..RACERS)
        // Of different lengths, so that a mixture of two would show.
        .map(|racer| Bytes::from(format!("{round}/{racer} ").repeat(500 + 100 * racer)))
        .collect();
    let tasks = bodies.iter().map(|body| {
        let (store, key, body) = (Arc::clone(store), key.clone(), body.clone());
        tokio::spawn(async move { create_once(store.as_ref(), &key, &body).await })
    });
    let mut winners = Vec::new();
    let mut seen = Vec::new();
    for (task, body) in join_all(tasks).await.into_iter().zip(&bodies) {
        match task?? {
            Outcome::Created => winners.push(body.clone()),
            Outcome::Occupied(found) => seen.push(found),
        }
    }
    check(winners.len() == 1, format!("one of {RACERS} racers wins, not {}", winners.len()))?;
    let standing = store.get(key).await?.bytes().await?;
    check(winners.first() == Some(&standing), "what stands is the winner's, whole")?;
    check(seen.iter().all(|found| *found == standing), "every loser saw the winner's bytes, whole")
}

async fn lost_answers(inner: &Arc<dyn ObjectStore>, folder: &Path) -> Result<(), Broken> {
    let store = FaultyStore::new(Arc::clone(inner));
    let at = |name: &str| Path::from_iter(folder.parts().chain(Path::from(name).parts()));
    let body = Bytes::from_static(b"ours");
    for fault in [Fault::Timeout, Fault::Unavailable, Fault::AlreadyExists, Fault::Precondition] {
        store.control().script([(Op::Create, Decision::FailAfter(fault))]);
        let outcome = create_once(&store, &at(&format!("after-{fault:?}")), &body).await?;
        check(outcome == Outcome::Created, format!("a create that landed and answered {fault:?} is our own"))?;
        store.control().script([(Op::Create, Decision::FailBefore(fault))]);
        let key = at(&format!("before-{fault:?}"));
        check(create_once(&store, &key, &body).await.is_err(), format!("nothing landed at {fault:?}"))?;
        check(create_once(&store, &key, &body).await? == Outcome::Created, "the same slot takes the same bytes")?;
    }
    store.control().script([
        (Op::Create, Decision::FailAfter(Fault::Timeout)),
        (Op::Get, Decision::FailBefore(Fault::Unavailable)),
    ]);
    let key = at("unknown");
    check(create_once(&store, &key, &body).await.is_err(), "an unreadable slot is unknown")?;
    check(create_once(&store, &key, &body).await? == Outcome::Created, "and found out by calling again")
}

async fn missing(store: &dyn ObjectStore, key: &Path) -> Result<(), Broken> {
    let read = store.get(key).await.err().as_ref().map(ErrorKind::of);
    check(read == Some(ErrorKind::NotFound), format!("reading what is missing says so, not {read:?}"))?;
    let head = store.head(key).await.err().as_ref().map(ErrorKind::of);
    check(head == Some(ErrorKind::NotFound), format!("asking for what is missing says so, not {head:?}"))?;
    let got = get_checked(store, key, 1, Sha256::of(b"x")).await.err().map(|error| error.kind());
    check(got == Some(ErrorKind::NotFound), "a checked read of what is missing says so")
}

async fn small_and_empty(store: &dyn ObjectStore, key: &Path) -> Result<(), Broken> {
    let body = Bytes::from_static(b"a few bytes");
    upload(store, key, vec![body.slice(..4), body.slice(4..)]).await?;
    let digest = Sha256::of(&body);
    check(get_checked(store, key, body.len() as u64, digest).await? == body, "an upload reads back")?;
    upload(store, key, vec![body.clone()]).await?;
    let shorter = get_checked(store, key, 3, digest).await.err().map(|error| error.kind());
    check(shorter == Some(ErrorKind::Corrupt), "another size than expected is an error")?;
    let other = get_checked(store, key, body.len() as u64, Sha256::of(b"other")).await.err().map(|e| e.kind());
    check(other == Some(ErrorKind::Corrupt), "another digest than expected is an error")?;
    let empty = Path::from(format!("{key}-empty"));
    upload(store, &empty, Vec::new()).await?;
    check(get_checked(store, &empty, 0, Sha256::of(b"")).await?.is_empty(), "an empty object reads back")
}

/// Bytes in which no two pieces look alike.
fn big_body() -> Bytes {
    (0..BIG_BYTES).map(|place| u8::try_from((place ^ (place >> 8) ^ (place >> 16)) & 0xff).unwrap_or(0)).collect()
}

async fn parts(store: &dyn ObjectStore, key: &Path) -> Result<(), Broken> {
    let body = big_body();
    // Pieces that do not end where parts do.
    let pieces = (0..body.len()).step_by(1_000_003).map(|at| body.slice(at..body.len().min(at + 1_000_003))).collect();
    upload(store, key, pieces).await?;
    let found = get_checked(store, key, body.len() as u64, Sha256::of(&body)).await?;
    check(found == body, "an upload in parts reads back")
}

/// What is aborted, or breaks, is never visible.
async fn aborted_upload(inner: &Arc<dyn ObjectStore>, key: &Path) -> Result<(), Broken> {
    let mut started = inner.put_multipart(key).await?;
    started.put_part(PutPayload::from_bytes(big_body().slice(..PART_BYTES))).await?;
    started.abort().await?;
    let absent = |store: Arc<dyn ObjectStore>| async move {
        matches!(store.head(key).await, Err(object_store::Error::NotFound { .. }))
    };
    check(absent(Arc::clone(inner)).await, "an aborted upload leaves nothing")?;
    let store = FaultyStore::new(Arc::clone(inner));
    for op in [Op::MultipartStart, Op::Part, Op::Complete] {
        store.control().script([(op, Decision::FailBefore(Fault::Unavailable))]);
        let failed = upload(&store, key, vec![big_body()]).await.err();
        check(failed.is_some_and(|error| error.is_retryable()), format!("a failure at {op:?} is told"))?;
        check(absent(Arc::clone(inner)).await, format!("a failure at {op:?} leaves nothing"))?;
    }
    check(store.control().count(Op::Abort) == 2, "what was started and failed is aborted")?;
    store.control().script([(Op::Complete, Decision::FailAfter(Fault::Timeout))]);
    check(upload(&store, key, vec![big_body()]).await.is_err(), "a lost answer is told")?;
    Ok(upload(&store, key, vec![big_body()]).await?)
}

async fn ranges(store: &dyn ObjectStore, key: &Path) -> Result<(), Broken> {
    let body: Bytes = (0..=255_u8).cycle().take(5_000_000).collect();
    upload(store, key, vec![body.clone()]).await?;
    let cut = |range: std::ops::Range<usize>| body.slice(range);
    check(store.get_range(key, 0..1).await? == cut(0..1), "the first byte")?;
    check(store.get_range(key, 4_999_999..5_000_000).await? == cut(4_999_999..5_000_000), "the last byte")?;
    check(store.get_range(key, 1000..200_000).await? == cut(1000..200_000), "a range in the middle")?;
    let wanted = [3_000_000..3_000_010, 10..20, 15..4_000_000];
    let expected = [cut(3_000_000..3_000_010), cut(10..20), cut(15..4_000_000)];
    check(store.get_ranges(key, &wanted).await? == expected, "several ranges, in the order asked for")?;
    let beyond = store.get_range(key, 5_000_000..5_000_001).await;
    check(beyond.is_err(), "a range behind the end is an error")
}

async fn listing(store: &dyn ObjectStore, folder: &Path) -> Result<(), Broken> {
    let at = |name: &str| Path::from_iter(folder.parts().chain(Path::from(name).parts()));
    let names = ["a/1", "a/2", "b=c/x", "d"];
    for name in names {
        upload(store, &at(name), vec![Bytes::from_static(b"x")]).await?;
    }
    // A neighbour whose name only begins like the folder's.
    upload(store, &Path::from(format!("{folder}-neighbour/1")), vec![Bytes::from_static(b"x")]).await?;
    let listed: Vec<_> = store.list(Some(folder)).try_collect().await?;
    let found: BTreeSet<Path> = listed.into_iter().map(|meta| meta.location).collect();
    check(found == names.into_iter().map(at).collect(), format!("listing shows the folder's objects, not {found:?}"))?;
    let level = store.list_with_delimiter(Some(folder)).await?;
    let folders: BTreeSet<Path> = level.common_prefixes.into_iter().collect();
    check(folders == ["a", "b=c"].into_iter().map(at).collect(), format!("one level shows folders, not {folders:?}"))?;
    check(level.objects.len() == 1, "one level shows its objects")?;
    let none: Vec<_> = store.list(Some(&at("nothing"))).try_collect().await?;
    check(none.is_empty(), "listing what is missing is empty, not an error")
}

async fn spoilt_reads(inner: &Arc<dyn ObjectStore>, key: &Path) -> Result<(), Broken> {
    let store = FaultyStore::new(Arc::clone(inner));
    let body = Bytes::from_static(b"bytes that a bad wire may change");
    let (size, digest) = (body.len() as u64, Sha256::of(&body));
    upload(&store, key, vec![body.clone()]).await?;
    for spoilt in [Decision::FlipBit(7), Decision::Truncate(5), Decision::BreakBody(5)] {
        store.control().script([(Op::Get, spoilt.clone())]);
        check(get_checked(&store, key, size, digest).await? == body, format!("{spoilt:?} once is read again"))?;
    }
    store.control().script([(); 3].map(|()| (Op::Get, Decision::FlipBit(7))));
    let corrupt = get_checked(&store, key, size, digest).await.err();
    check(corrupt.is_some_and(|error| error.kind() == ErrorKind::Corrupt), "wrong bytes that stay are told as such")?;
    store.control().script([(Op::Head, Decision::Stale)]);
    let incomplete = upload(&store, key, vec![body]).await.err();
    check(
        incomplete.is_some_and(|error| error.kind() == ErrorKind::Incomplete),
        "an upload that cannot be seen is not confirmed",
    )
}
