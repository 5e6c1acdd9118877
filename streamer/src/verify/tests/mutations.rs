//! Every single-byte mutation of a backup is detected: sampled in normal runs, whole where `STRIMZI_BACKUP_SOAK=1`.

use std::sync::Arc;

use futures::StreamExt as _;
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use rand::rngs::StdRng;
use rand::seq::index;
use rand::{Rng as _, SeedableRng as _};
use strimzi_backup_format::store::Store;

use super::fixture::Backup;
use super::*;

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

/// Nothing where the mutation was detected, else what went wrong.
async fn undetected(memory: Arc<InMemory>, original: &[u8], mutation: &Mutation) -> Option<String> {
    let Mutation { object, at, bits } = mutation;
    let mut bytes = original.to_vec();
    bytes[*at] ^= bits;
    let copy = memory.fork();
    copy.put(object, bytes.into()).await.expect("put");
    let store = Store::memory().with_inner(Arc::new(copy));
    let verified =
        tokio::spawn(async move { run(&store, Level::Records, &Options::default(), &Progress::hidden()).await });
    let told = match verified.await {
        Ok(Ok(report)) => match report.outcome() {
            Err(error) if error.exit_code() == exit::DAMAGED => return None,
            _ => report.to_string(),
        },
        Ok(Err(error)) => error.to_string(),
        Err(panic) => panic.to_string(),
    };
    Some(format!("{object}, byte {at} xor {bits:#04x}: {told}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_single_byte_mutation_is_detected() {
    let memory = Arc::new(InMemory::new());
    let backup = Backup::small_in(Store::memory().with_inner(memory.clone()), 1).await;
    let mut objects = Vec::new();
    for key in backup.keys().await {
        objects.push((Path::from(key.as_str()), backup.get(&key).await.to_vec()));
    }
    assert_eq!(objects.len(), 1 + 6 + 2 + 4);
    let whole = std::env::var("STRIMZI_BACKUP_SOAK").is_ok_and(|soak| soak == "1");
    let seed = seed();
    println!("seed {seed}: set STRIMZI_BACKUP_SEED to it to repeat this run");
    let mutations = mutations(&objects, &mut StdRng::seed_from_u64(seed), whole);
    let count = mutations.len();
    let original = |path: &Path| objects.iter().find(|(object, _)| object == path).map_or(&[][..], |(_, bytes)| bytes);
    let undetected: Vec<String> = futures::stream::iter(&mutations)
        .map(|mutation| undetected(memory.clone(), original(&mutation.object), mutation))
        .buffer_unordered(AT_ONCE)
        .filter_map(|missed| async { missed })
        .collect()
        .await;
    assert!(undetected.is_empty(), "seed {seed}: {} of {count} missed\n{}", undetected.len(), undetected.join("\n"));
}
