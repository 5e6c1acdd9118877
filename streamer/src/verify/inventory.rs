//! What lies under the prefix, by listing: the witness against which the log is held.
//!
//! Owns: one listing before the log is walked, and a second one at the end where objects are left that no manifest named.
//! Invariants: memory is about 40 bytes for each segment and nothing for a manifest; what is not in the listing may have
//! been written since, so its absence alone proves nothing.

use std::collections::{BTreeMap, HashMap};

use futures::{StreamExt as _, TryStreamExt as _};
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::ids::{Sequence, Shard, SnapshotId};
use strimzi_backup_format::layout::{self, ObjectKey};
use strimzi_backup_format::store::{Store, StoreError};

use super::fetch::patiently;
use super::report::{KEPT, Orphans};

/// Objects that belong to a backup without being named by its log.
const PROBE_FOLDER: &str = "probe/";

/// What a listing found.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    /// The highest manifest of the shard, 0 where there is none.
    pub(super) last_manifest: u64,
    /// How many manifests of the shard there are.
    pub(super) manifests: u64,
    /// The shard's checkpoints.
    pub(super) checkpoints: BTreeMap<Sequence, Vec<ObjectKey>>,
    /// The snapshots.
    pub(super) snapshots: Vec<SnapshotId>,
    /// All other objects, by the start of their key's digest: keys are long, and there are as many as segments.
    others: HashMap<u128, Listed>,
    /// Bytes of all objects.
    pub(super) bytes: u64,
}

#[derive(Clone, Copy, Debug)]
struct Listed {
    size: u64,
    named: bool,
}

/// What is known of an object that a manifest names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// It was listed with that size.
    Listed(u64),
    /// It was not.
    Unlisted,
    /// A manifest named it before.
    NamedTwice,
}

impl Inventory {
    /// Lists the whole prefix.
    pub(super) async fn list(store: &Store, shard: Shard) -> Result<Self, StoreError> {
        patiently(|| async {
            let mut inventory = Self::default();
            each_object(store, |key, size| inventory.add(shard, key, size)).await?;
            Ok(inventory)
        })
        .await
    }

    fn add(&mut self, shard: Shard, key: &str, size: u64) {
        self.bytes += size;
        let in_folder = |folder: ObjectKey| key.strip_prefix(folder.as_str()).is_some_and(|rest| rest.starts_with('/'));
        if let Some(sequence) = layout::manifest_sequence(key).filter(|_| in_folder(layout::manifests(shard))) {
            self.last_manifest = self.last_manifest.max(sequence.get());
            self.manifests += 1;
            return;
        }
        let checkpoint = layout::checkpoint_sequence(key).filter(|_| in_folder(layout::checkpoints(shard)));
        if let (Some(sequence), Ok(key)) = (checkpoint, ObjectKey::try_from(key.to_owned())) {
            let same = self.checkpoints.entry(sequence).or_default();
            same.push(key);
            same.sort();
            return;
        }
        if let Some(id) = layout::snapshot_id(key) {
            self.snapshots.push(id);
            return;
        }
        // What restores keep belongs to them: the backup is whole without it.
        let apart =
            key == layout::identity().as_str() || key.starts_with(PROBE_FOLDER) || in_folder(layout::restores());
        // They were read before anything else was.
        let apart = apart || in_folder(layout::key_wraps());
        // Those that count, the newest checkpoint names.
        let apart = apart || layout::bucket_manifest_sequence(key).is_some();
        if !apart {
            self.others.insert(fingerprint(key), Listed { size, named: false });
        }
    }

    /// Whether nothing of a log is here.
    pub(super) fn is_empty(&self) -> bool {
        self.manifests == 0 && self.checkpoints.is_empty() && self.snapshots.is_empty() && self.others.is_empty()
    }

    /// Notes that a manifest names `key`.
    pub(super) fn name(&mut self, key: &ObjectKey) -> Presence {
        match self.others.get_mut(&fingerprint(key.as_str())) {
            Some(listed) if listed.named => Presence::NamedTwice,
            Some(listed) => {
                listed.named = true;
                Presence::Listed(listed.size)
            }
            None => {
                self.others.insert(fingerprint(key.as_str()), Listed { size: 0, named: true });
                Presence::Unlisted
            }
        }
    }

    /// The objects that nobody named, with the names of the first, for which the prefix is listed again.
    pub(super) async fn orphans(&self, store: &Store) -> Result<Orphans, StoreError> {
        let unnamed = || self.others.values().filter(|listed| !listed.named);
        let (objects, bytes) = (unnamed().count() as u64, unnamed().map(|listed| listed.size).sum());
        let mut first: Vec<String> = Vec::new();
        if objects > 0 {
            first = patiently(|| async {
                let mut first = Vec::new();
                each_object(store, |key, _| {
                    let unnamed = self.others.get(&fingerprint(key)).is_some_and(|listed| !listed.named);
                    if unnamed && first.len() < KEPT {
                        first.push(key.to_owned());
                    }
                })
                .await?;
                Ok(first)
            })
            .await?;
            first.sort();
        }
        Ok(Orphans { objects, bytes, first })
    }
}

async fn each_object(store: &Store, mut each: impl FnMut(&str, u64)) -> Result<(), StoreError> {
    let failed = |error| StoreError::new("list", &store.prefix, error);
    let prefix = Some(&store.prefix).filter(|prefix| !prefix.as_ref().is_empty());
    let mut listed = store.inner.list(prefix).map(|meta| meta.map_err(failed));
    while let Some(meta) = listed.try_next().await? {
        let key = meta.location.as_ref().strip_prefix(store.prefix.as_ref()).unwrap_or(meta.location.as_ref());
        each(key.trim_start_matches('/'), meta.size);
    }
    Ok(())
}

/// Half of a digest: among the billions of objects that a store may hold no two keys share it.
fn fingerprint(key: &str) -> u128 {
    Sha256::of(key.as_bytes()).half()
}
