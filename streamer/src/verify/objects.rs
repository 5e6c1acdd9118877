//! The segments of a batch of manifests: there, whole, and what they say they are, as deep as the level goes.
//!
//! Owns: how many are looked at together, and the memory for it. Does not own: reading ([`super::fetch`]), decoding
//! ([`super::records`]). Each segment is judged for itself: one that is bad does not keep the next from being looked at.

use std::collections::BTreeMap;

use futures::StreamExt as _;
use parking_lot::Mutex;
use strimzi_backup_format::crypt::KeyRing;
use strimzi_backup_format::ids::BackupId;
use strimzi_backup_format::layout::SegmentPlace;
use strimzi_backup_format::manifest::Segment;
use strimzi_backup_format::segment::wrapped_key::key_metadata;
use strimzi_backup_format::store::{ErrorKind, Store, StoreError};
use tokio::sync::Semaphore;

use super::inventory::{Inventory, Presence};
use super::ledger::Ledger;
use super::offsets;
use super::records::{self, Flaw};
use super::report::{Affected, Finding, FindingKind, Report};
use super::{Level, Options, Progress, fetch};
use crate::error::chain;

/// The byte budget is counted in blocks, so that a permit count fits its type.
const BLOCK: u64 = 64 << 10;

/// Judges segments.
#[derive(Debug)]
pub(super) struct Inspector {
    store: Store,
    backup: BackupId,
    level: Level,
    parallelism: usize,
    blocks: u32,
    memory: Semaphore,
    /// How many of the files that were read have their data keys wrapped by each backup key.
    by_key: Mutex<BTreeMap<u32, u64>>,
}

/// A segment that a manifest names.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) segment: Segment,
    /// Whether it counts still; the object of another may be deleted by now.
    pub(super) is_live: bool,
    /// Whether its records were in other segments before.
    pub(super) is_refined: bool,
}

impl Inspector {
    pub(super) fn new(store: &Store, backup: BackupId, level: Level, options: &Options) -> Self {
        let blocks = u32::try_from(options.memory_bytes / BLOCK).unwrap_or(u32::MAX).clamp(1, 1 << 24);
        Self {
            store: store.clone(),
            backup,
            level,
            parallelism: options.parallelism.get(),
            blocks,
            memory: Semaphore::new(usize::try_from(blocks).unwrap_or(1)),
            by_key: Mutex::default(),
        }
    }

    /// Judges `named`, some at a time, and reports in their order.
    pub(super) async fn inspect(
        &self,
        named: Vec<Named>,
        inventory: &mut Inventory,
        ledger: &mut Ledger,
        report: &mut Report,
        progress: &Progress,
    ) {
        let known: Vec<_> = named.into_iter().map(|named| (inventory.name(&named.segment.object), named)).collect();
        let judged = futures::stream::iter(known)
            .map(|(presence, named)| async move {
                let verdict = if named.is_live { self.judge(presence, &named.segment).await } else { Ok(()) };
                (verdict, named)
            })
            .buffered(self.parallelism);
        let mut judged = std::pin::pin!(judged);
        while let Some((verdict, Named { segment, is_live, is_refined })) = judged.next().await {
            // What is refined was accounted for when it was cut. A bad one is reported with its offsets, so the accounts take
            // its records for settled too.
            if !is_refined {
                segment.runs.iter().for_each(|run| ledger.settle(run));
            }
            if !is_live {
                report.counts.superseded_segments += 1;
                continue;
            }
            report.counts.segments += 1;
            report.counts.bytes = report.counts.bytes.saturating_add(segment.bytes);
            match verdict {
                Ok(()) if self.level == Level::Records && !is_of_groups(&segment) => {
                    report.counts.decoded_records = report.counts.decoded_records.saturating_add(segment.rows);
                }
                Ok(()) => {}
                Err(flaw) => report_flaw(report, &segment, flaw),
            }
            progress.segment(segment.bytes);
        }
    }

    async fn judge(&self, presence: Presence, segment: &Segment) -> Result<(), Flaw> {
        if presence == Presence::NamedTwice {
            return Err(Flaw::of_all("two manifests name it"));
        }
        if self.level == Level::Chain {
            return self.present(presence, segment).await;
        }
        let wanted = u32::try_from(segment.bytes / BLOCK + 1).unwrap_or(u32::MAX).min(self.blocks);
        // Closed never: it lives as long as this inspector.
        let permit = self.memory.acquire_many(wanted).await;
        let listed = presence != Presence::Unlisted;
        let bytes = fetch::segment(&self.store, segment, listed).await.map_err(|error| unread(&error))?;
        self.count_key(&bytes);
        if self.level < Level::Records {
            return Ok(());
        }
        let (backup, segment, opener) = (self.backup, segment.clone(), self.store.opener(&segment.object));
        let checked = tokio::task::spawn_blocking(move || {
            if is_of_groups(&segment) {
                offsets::check(&segment, bytes, opener.as_ref())
            } else {
                records::check(backup, &segment, &bytes, opener.as_ref())
            }
        })
        .await;
        drop(permit);
        // Decoders index into what they read; whatever they trip over is this segment's fault, not the end of the rest.
        checked.unwrap_or_else(|_| {
            Err(Flaw {
                kind: FindingKind::Damaged,
                problem: "the decoder cannot make sense of it".to_owned(),
                affected: Vec::new(),
            })
        })
    }

    /// Notes which backup key wraps the data key of a file. What is no encrypted file, or has no key, decoding tells.
    fn count_key(&self, bytes: &[u8]) {
        if self.store.keys.is_none() {
            return;
        }
        let number = key_metadata(bytes).ok().and_then(|metadata| KeyRing::file_key_number(&metadata));
        if let Some(number) = number {
            *self.by_key.lock().entry(number).or_default() += 1;
        }
    }

    /// How many files have their data keys wrapped by each backup key; `None` where none was read.
    pub(super) fn files_by_key(&self) -> Option<BTreeMap<u32, u64>> {
        (self.level >= Level::Digests).then(|| self.by_key.lock().clone())
    }

    /// Whether it is there, in its size. The listing is older than the manifest may be, so only a look of its own proves
    /// that it is not.
    async fn present(&self, presence: Presence, segment: &Segment) -> Result<(), Flaw> {
        if presence == Presence::Listed(segment.bytes) {
            return Ok(());
        }
        match fetch::head(&self.store, &segment.object).await {
            Ok(Some(meta)) if meta.size == segment.bytes => Ok(()),
            Ok(Some(meta)) => {
                let problem = format!("it has {} bytes, its manifest says {}", meta.size, segment.bytes);
                Err(Flaw { kind: FindingKind::Damaged, problem, affected: Vec::new() })
            }
            Ok(None) => Err(gone()),
            Err(error) => Err(unread(&error)),
        }
    }
}

fn is_of_groups(segment: &Segment) -> bool {
    matches!(segment.object.segment(), Some(SegmentPlace::Groups(_)))
}

fn gone() -> Flaw {
    Flaw {
        kind: FindingKind::Missing,
        problem: "its manifest names it, and it is not there".to_owned(),
        affected: Vec::new(),
    }
}

fn unread(error: &StoreError) -> Flaw {
    let kind = match error.kind() {
        ErrorKind::NotFound => return gone(),
        ErrorKind::Corrupt => FindingKind::Damaged,
        _ => FindingKind::Unanswered,
    };
    Flaw { kind, problem: chain(error), affected: Vec::new() }
}

fn report_flaw(report: &mut Report, segment: &Segment, flaw: Flaw) {
    let Flaw { kind, problem, mut affected } = flaw;
    if affected.is_empty() {
        affected = segment.runs.iter().map(Affected::of).collect();
    }
    if !matches!(kind, FindingKind::Unanswered | FindingKind::NewerFormat) {
        report.harm(&segment.runs);
    }
    report.find(Finding { kind, object: segment.object.to_string(), problem, affected });
}
