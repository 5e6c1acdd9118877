//! Snapshots against the log that they are boundaries of.
//!
//! A snapshot must be what the manifests say up to the one that it names. So that it need not be held, or read again, until
//! the walk comes there, what it was made of besides the state is kept with the digest of its bytes: made again of the
//! state, it must have the same bytes. Memory: some 300 bytes for each snapshot.
//!
//! Does not own the walk. Damage here costs a restore the name of its boundary, not data.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::document;
use strimzi_backup_format::ids::{BackupId, Sequence, SnapshotId};
use strimzi_backup_format::layout;
use strimzi_backup_format::snapshot::{Label, Snapshot, catalog};
use strimzi_backup_format::state::State;
use strimzi_backup_format::store::{Store, StoreError};

use super::fetch::{self, Found};
use super::report::{FindingKind, Report};
use crate::error::chain;

/// How many are read at once.
const WINDOW: usize = 8;

/// A snapshot that holds by itself.
#[derive(Debug)]
struct Legible {
    label: Label,
    /// Of the manifest that it names.
    manifest: Sha256,
    /// Of its own bytes.
    bytes: Sha256,
}

/// The snapshots that the walk has not come to yet, by the manifest that they name.
#[derive(Debug)]
pub(super) struct Snapshots(BTreeMap<Sequence, Vec<Legible>>);

impl Snapshots {
    /// Reads all that were listed, and reports those that do not hold by themselves.
    pub(super) async fn read(store: &Store, backup: BackupId, listed: &[SnapshotId], report: &mut Report) -> Self {
        let mut legible: BTreeMap<Sequence, Vec<Legible>> = BTreeMap::new();
        let mut found = futures::stream::iter(listed.to_vec())
            .map(|id| async move { (layout::snapshot(&id), read(store, backup, &id).await) })
            .buffered(WINDOW);
        while let Some((key, found)) = found.next().await {
            report.counts.snapshots += 1;
            match found {
                Err(error) => report.find_object(FindingKind::Unanswered, &key, chain(&error)),
                Ok(Found::Missing) => report.find_object(FindingKind::Missing, &key, "it was listed and is not there"),
                Ok(Found::Damaged(error)) => report.find_document(&key, &error),
                Ok(Found::Good((sequence, label, manifest), bytes)) => {
                    legible.entry(sequence).or_default().push(Legible { label, manifest, bytes });
                }
            }
        }
        Self(legible)
    }

    /// Holds the snapshots of the state's head against it.
    pub(super) fn check(&mut self, state: &State, report: &mut Report) {
        let Some(head) = state.head else { return };
        for Legible { label, manifest, bytes } in self.0.remove(&head.sequence).unwrap_or_default() {
            let key = layout::snapshot(&label.id);
            let again = Snapshot::of(state, label).and_then(|snapshot| document::seal(&snapshot).ok());
            let problem = if manifest != head.sha256 {
                format!("it names manifest {} with digest {manifest}, and that one has {}", head.sequence, head.sha256)
            } else if again.is_none_or(|again| Sha256::of(&again) != bytes) {
                format!("it is not what the manifests up to {} say", head.sequence)
            } else {
                continue;
            };
            report.find_object(FindingKind::Contradiction, &key, problem);
        }
    }

    /// Those that are left when the log has ended are of a log that went on.
    pub(super) fn close(&mut self, state: &State, report: &mut Report) {
        let end = state.head.map_or(0, |head| head.sequence.get());
        for (sequence, legible) in std::mem::take(&mut self.0) {
            let problem = format!(
                "it names manifest {sequence}, and the log ends at manifest {end} and does not reach that far: newer \
                 manifests were lost"
            );
            for Legible { label, .. } in legible {
                report.find_object(FindingKind::Contradiction, &layout::snapshot(&label.id), problem.clone());
            }
        }
    }
}

/// What a snapshot says that the state does not, and the digest of the manifest that it names.
type Parts = (Sequence, Label, Sha256);

async fn read(store: &Store, backup: BackupId, id: &SnapshotId) -> Result<Found<Parts>, StoreError> {
    fetch::document(store, &layout::snapshot(id), true, |bytes| {
        let snapshot = catalog::decode(bytes, backup, id)?;
        Ok((snapshot.manifest.sequence, snapshot.label(), snapshot.manifest.sha256))
    })
    .await
}
