//! The walk over the chain: identity, then every manifest in order, up to the end or to the first break.
//!
//! Owns: reading ahead in windows, folding, what a break is. Does not own: what the manifests' segments are checked for.
//!
//! Invariant: a manifest is handed out only if its own bytes, its link to the one before and its sums hold; after the
//! first that does not, nothing is.

use futures::StreamExt as _;
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::document;
use strimzi_backup_format::identity::Identity;
use strimzi_backup_format::ids::{Sequence, Shard};
use strimzi_backup_format::layout;
use strimzi_backup_format::manifest::Manifest;
use strimzi_backup_format::state::State;
use strimzi_backup_format::store::{Store, StoreError};

use super::fetch::{self, Found};
use super::report::{FindingKind, Report};
use crate::error::chain as with_causes;

/// How many manifests are fetched at once.
const WINDOW: usize = 32;

/// How far past the end of the listing the walk follows a writer that goes on meanwhile.
const FOLLOWED: u64 = 1024;

/// Where the walk stands.
#[derive(Debug)]
pub(super) struct Chain {
    shard: Shard,
    pub(super) state: State,
    /// The highest manifest in the listing: all before it must be there.
    listed: u64,
    /// Read, and not folded yet; the last one first.
    waiting: Vec<(Sequence, Result<Found<Manifest>, StoreError>)>,
    /// Whether there is more to read.
    pub(super) open: bool,
    /// Whether it ended where the log does.
    pub(super) whole: bool,
}

impl Chain {
    /// Reads the identity document, and holds it against the first manifest. `None` where there is no chain to walk; the
    /// report says why.
    pub(super) async fn start(store: &Store, shard: Shard, listed: u64, report: &mut Report) -> Option<Self> {
        let key = layout::identity();
        let wanted = match manifest(store, shard, Sequence::FIRST, listed > 0).await {
            Ok(Found::Good(first, _)) => Some(first.previous),
            // The walk comes to it again, and reports it.
            _ => None,
        };
        let decode = |bytes: &bytes::Bytes| -> Result<Identity, document::Error> {
            let identity = document::from_json(bytes)?;
            match wanted {
                Some(wanted) if wanted != Sha256::of(bytes) => {
                    Err(document::Error::Damaged("manifest 1 follows other bytes than these".to_owned()))
                }
                _ => Ok(identity),
            }
        };
        match fetch::document(store, &key, listed > 0, decode).await {
            Ok(Found::Good(identity, digest)) => {
                let state = State::empty(identity.backup, shard, digest);
                report.subject.identity = Some(identity);
                return Some(Self { shard, state, listed, waiting: Vec::new(), open: true, whole: false });
            }
            Ok(Found::Missing) => {
                report.find_object(FindingKind::Missing, &key, "it is not there, and other objects of a backup are");
            }
            Ok(Found::Damaged(error)) => report.find_document(&key, &error),
            Err(error) => report.find_object(FindingKind::Unanswered, &key, with_causes(&error)),
        }
        None
    }

    /// The next manifest of the chain, folded into the state; `None` at its end and at a break.
    pub(super) async fn next(&mut self, store: &Store, report: &mut Report) -> Option<Manifest> {
        if !self.open {
            return None;
        }
        if self.waiting.is_empty() {
            self.read_ahead(store).await;
        }
        let (sequence, found) = self.waiting.pop()?;
        let object = layout::manifest(self.shard, sequence);
        match found {
            Ok(Found::Good(manifest, digest)) => match self.state.fold(&manifest, digest) {
                Ok(()) => return Some(manifest),
                Err(violation) => {
                    let problem = format!("the chain breaks here: {violation}");
                    report.find_object(FindingKind::Contradiction, &object, problem);
                }
            },
            Ok(Found::Missing) if sequence.get() > self.listed => self.whole = true,
            Ok(Found::Missing) => {
                let problem = format!("the chain breaks here: it is not there, and manifest {} is", self.listed);
                report.find_object(FindingKind::Missing, &object, problem);
            }
            // The writer started anew meanwhile, under a new master key: what was there before was walked to its end.
            Ok(Found::Damaged(document::Error::SealedLater { .. })) if sequence.get() > self.listed => {
                self.whole = true
            }
            Ok(Found::Damaged(error)) => report.find_document(&object, &error),
            Err(error) => report.find_object(FindingKind::Unanswered, &object, with_causes(&error)),
        }
        self.open = false;
        None
    }

    async fn read_ahead(&mut self, store: &Store) {
        let (shard, listed) = (self.shard, self.listed);
        let first = self.state.next_sequence().get();
        if first > listed.saturating_add(FOLLOWED) {
            (self.open, self.whole) = (false, true);
            return;
        }
        // Past the listing one by one: asking for what is not there costs as much as for what is.
        let last = first.saturating_add(WINDOW as u64 - 1).min(listed).max(first);
        let mut read: Vec<_> = futures::stream::iter((first..=last).map(Sequence::new))
            .map(|sequence| async move { (sequence, manifest(store, shard, sequence, sequence.get() <= listed).await) })
            .buffered(WINDOW)
            .collect()
            .await;
        read.reverse();
        self.waiting = read;
    }

    /// How many manifests stand after the break.
    pub(super) fn untrusted(&self, manifests: u64) -> u64 {
        let trusted = self.state.head.map_or(0, |head| head.sequence.get());
        if self.whole { 0 } else { manifests.saturating_sub(trusted) }
    }
}

async fn manifest(
    store: &Store,
    shard: Shard,
    sequence: Sequence,
    listed: bool,
) -> Result<Found<Manifest>, StoreError> {
    fetch::document(store, &layout::manifest(shard, sequence), listed, |bytes| document::unpack(bytes)).await
}
