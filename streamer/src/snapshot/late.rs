//! Whether a snapshot was there before anything could take the place of what it ends with.
//!
//! Retiring looks at the snapshots that there are, and writes anew of compacted topics only what came before all of them end. One
//! that is still to be created it does not see. What came behind the boundary can be taken in no earlier than once a manifest tells
//! that it was refined, so a snapshot that was there before that manifest lacks nothing, whatever is under way.

use chrono::{DateTime, Utc};
use object_store::ObjectStoreExt as _;
use strimzi_backup_format::ids::Sequence;
use strimzi_backup_format::layout::{self, ObjectKey};
use strimzi_backup_format::manifest::reader::{self, Log};
use strimzi_backup_format::snapshot::Snapshot;
use strimzi_backup_format::snapshot::catalog::Error;
use strimzi_backup_format::state::TopicState;
use strimzi_backup_format::store::Store;

/// The manifest that refined what came behind the boundary of `snapshot` before that was there, where one did and a topic is
/// compacted. Follows `log` to its end.
///
/// # Errors
/// [`Error::Store`] or [`Error::Log`].
pub(super) async fn overtaken_by(store: &Store, log: &mut Log, snapshot: &Snapshot) -> Result<Option<Sequence>, Error> {
    while reader::advance(store, log).await? {}
    let boundary = snapshot.manifest.sequence;
    let is_refined = log.state.refined.is_some_and(|refined| refined.through > boundary);
    if !is_refined || !log.state.topics.values().any(was_compacted) {
        return Ok(None);
    }
    let Some(refined) = refined_beyond(store, log, boundary).await? else { return Ok(None) };
    // Both by the clock of the store; where they are of one second and it tells no more, nobody knows.
    let created = written_at(store, &layout::snapshot(&snapshot.id)).await?;
    let is_late = written_at(store, &layout::manifest(log.state.shard, refined)).await? <= created;
    Ok(Some(refined).filter(|_| is_late))
}

/// Of a topic that never was, no base is made.
fn was_compacted(topic: &TopicState) -> bool {
    let mut descriptions = topic.earlier.iter().map(|earlier| &earlier.description).chain([&topic.description]);
    descriptions.any(|description| description.has_cleanup_policy("compact"))
}

/// The first manifest that tells that what came after `boundary` was refined.
async fn refined_beyond(store: &Store, log: &Log, boundary: Sequence) -> Result<Option<Sequence>, Error> {
    let mut sequence = boundary.next();
    while sequence < log.state.next_sequence() {
        let found = reader::manifest(store, log.state.shard, sequence).await?;
        let refined = found.and_then(|(manifest, _)| manifest.refined);
        if refined.is_some_and(|refined| refined.through > boundary) {
            return Ok(Some(sequence));
        }
        sequence = sequence.next();
    }
    Ok(None)
}

/// When an object was written, by the store's clock.
async fn written_at(store: &Store, key: &ObjectKey) -> Result<DateTime<Utc>, Error> {
    let failed = |source| Error::Store { object: key.to_string(), source };
    Ok(store.inner.head(&key.below(&store.prefix)).await.map_err(failed)?.last_modified)
}
