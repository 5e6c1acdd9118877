//! Every single-byte mutation of a backup, encrypted or not, is detected, and told with its object: sampled in normal runs, whole where
//! `STRIMZI_BACKUP_SOAK=1`.

use std::sync::Arc;

use futures::{StreamExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use rand::rngs::StdRng;
use rand::seq::index;
use rand::{Rng as _, SeedableRng as _};
use strimzi_backup_format::store::Store;

use super::fixture::Backup;
use super::*;
use crate::error::{Error, chain};
use crate::keys::tests::TestKeys;
use crate::keys::{Source, unlocked};

/// Bytes changed in each object of a sampled run, beside its first and its last.
const SAMPLED: usize = 12;

/// Verifications at once: most of their time is the pause before bytes that are wrong are read again.
const AT_ONCE: usize = 64;

struct Mutation {
    object: Path,
    at: usize,
    bits: u8,
}

/// The seed of this run: that of the environment, where a failure is to be repeated.
fn seed() -> u64 {
    let wanted = std::env::var("STRIMZI_BACKUP_SEED").ok().and_then(|text| text.parse().ok());
    wanted.unwrap_or_else(|| rand::rng().random())
}

fn mutations(objects: &[(Path, Vec<u8>)], dice: &mut StdRng, whole: bool) -> Vec<Mutation> {
    let mut mutations = Vec::new();
    for (object, bytes) in objects {
        let places = if whole {
            (0..bytes.len()).collect()
        } else {
            let mut places = index::sample(dice, bytes.len(), SAMPLED.min(bytes.len())).into_vec();
            places.extend([0, bytes.len() - 1]);
            places
        };
        mutations.extend(places.into_iter().map(|at| Mutation {
            object: object.clone(),
            at,
            bits: dice.random_range(1..=255),
        }));
    }
    mutations
}

/// All objects of a store, as they are stored.
async fn objects(memory: &InMemory) -> Vec<(Path, Vec<u8>)> {
    let mut objects = Vec::new();
    for meta in memory.list(None).try_collect::<Vec<_>>().await.expect("listed") {
        let bytes = memory.get(&meta.location).await.expect("there").bytes().await.expect("bytes");
        objects.push((meta.location, bytes.to_vec()));
    }
    objects
}

/// A backup whose objects are changed, one byte at a time.
#[derive(Clone)]
struct Target {
    memory: Arc<InMemory>,
    objects: Arc<Vec<(Path, Vec<u8>)>>,
    /// What opens it, where it is encrypted.
    keys: Option<Arc<TestKeys>>,
}

impl Target {
    async fn new(memory: Arc<InMemory>, keys: Option<Arc<TestKeys>>) -> Self {
        let objects = Arc::new(objects(&memory).await);
        Self { memory, objects, keys }
    }

    /// The store with that change.
    async fn changed(&self, mutation: &Mutation) -> Store {
        let Mutation { object, at, bits } = mutation;
        let original = self.objects.iter().find(|(place, _)| place == object).map_or(&[][..], |(_, bytes)| bytes);
        let mut bytes = original.to_vec();
        bytes[*at] ^= bits;
        let copy = self.memory.fork();
        copy.put(object, bytes.into()).await.expect("put");
        Store::memory().with_inner(Arc::new(copy))
    }

    /// Opens it as every command does, and verifies it on the deepest level.
    async fn verified(&self, store: Store) -> Result<Report, Error> {
        let source = self.keys.as_deref().map(|keys| keys as &dyn Source);
        let store = unlocked(store, source).await?;
        run(&store, Level::Records, &Options::default(), &Progress::hidden()).await
    }

    /// Nothing where the mutation was detected, else what went wrong.
    async fn undetected(&self, mutation: &Mutation) -> Option<String> {
        let (this, store) = (self.clone(), self.changed(mutation).await);
        let told = match tokio::spawn(async move { this.verified(store).await }).await {
            Ok(Ok(report)) if is_damaged(&report.outcome()) => self.unnamed(mutation, &report.to_string())?,
            Ok(Ok(report)) => report.to_string(),
            // Whoever opens an encrypted backup reads its identity and its keys, and tells of them before there is a report.
            Ok(Err(error)) if self.keys.is_some() && error.exit_code() == exit::DAMAGED => {
                self.unnamed(mutation, &chain(&error))?
            }
            Ok(Err(error)) => chain(&error),
            Err(panic) => panic.to_string(),
        };
        let Mutation { object, at, bits } = mutation;
        Some(format!("{object}, byte {at} xor {bits:#04x}: {told}"))
    }

    /// What was told of a change, where that names another object.
    fn unnamed(&self, mutation: &Mutation, told: &str) -> Option<String> {
        let object: &str = mutation.object.as_ref();
        // Where the two name two backups, it is the keys that are said to be another's.
        let is_either = |told: &str| object == "backup.json" && told.contains("keys/0000-0000.json is of backup");
        let is_named = told.contains(object) || (self.keys.is_some() && is_either(told));
        (!is_named).then(|| format!("it is not named: {told}"))
    }
}

fn is_damaged(outcome: &Result<(), Error>) -> bool {
    outcome.as_ref().is_err_and(|error| error.exit_code() == exit::DAMAGED)
}

/// Changes the backup that is in `memory`, and has each change detected, and named with its object.
async fn detects_mutations(memory: Arc<InMemory>, keys: Option<Arc<TestKeys>>, objects: usize) {
    let target = Target::new(memory, keys).await;
    assert_eq!(target.objects.len(), objects);
    let report = target.verified(Store::memory().with_inner(target.memory.clone())).await.expect("a report");
    assert!(report.outcome().is_ok(), "{report}");
    let whole = std::env::var("STRIMZI_BACKUP_SOAK").is_ok_and(|soak| soak == "1");
    let seed = seed();
    println!("seed {seed}: set STRIMZI_BACKUP_SEED to it to repeat this run");
    let mutations = mutations(&target.objects, &mut StdRng::seed_from_u64(seed), whole);
    let count = mutations.len();
    let undetected: Vec<String> = futures::stream::iter(&mutations)
        .map(|mutation| target.undetected(mutation))
        .buffer_unordered(AT_ONCE)
        .filter_map(|missed| async { missed })
        .collect()
        .await;
    assert!(undetected.is_empty(), "seed {seed}: {} of {count} missed\n{}", undetected.len(), undetected.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_single_byte_mutation_is_detected() {
    let memory = Arc::new(InMemory::new());
    Backup::small_in(Store::memory().with_inner(memory.clone()), 1).await;
    detects_mutations(memory, None, 1 + 6 + 2 + 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a35_every_single_byte_mutation_of_an_encrypted_backup_is_detected() {
    let (memory, keys) = (Arc::new(InMemory::new()), Arc::new(TestKeys::new(&[1])));
    Backup::small_encrypted_in(Store::memory().with_inner(memory.clone()), &keys).await;
    let objects = objects(&memory).await;
    let is_open = |bytes: &[u8]| !bytes.starts_with(b"SBE1") && !bytes.starts_with(b"PARE");
    let open: Vec<&str> =
        objects.iter().filter(|(_, bytes)| is_open(bytes)).map(|(object, _)| object.as_ref()).collect();
    assert_eq!(open, ["backup.json", "keys/0000-0000.json"]);
    detects_mutations(memory, Some(keys), 2 + 6 + 2 + 4).await;
}
