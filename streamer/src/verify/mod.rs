//! `verify`: does everything hold that the backup says of itself?
//!
//! ```text
//! list the prefix ─▶ identity ─▶ manifest 1, 2, 3 … ──┬─▶ checkpoints and snapshots of that sequence: equal to the fold?
//!    inventory.rs      chain.rs      (windows)        ├─▶ its segments: there? whole? records right?    objects.rs
//!                                                     └─▶ offsets posted                                 ledger.rs
//!                                      at the end: accounts balanced, checkpoints and anchor reached, orphans counted
//! ```
//!
//! | level | holds if |
//! | --- | --- |
//! | 1 | the chain of manifests from the first, every checkpoint and snapshot, and every segment is there in its size |
//! | 2 | and the SHA-256 of every segment is the recorded one |
//! | 3 | and every record decodes, and is where its manifest says (P5) |
//!
//! Owns: the order of the checks. Writes nothing. Invariants: a bad object does not hide the next, but a broken chain ends
//! trust: what only later manifests name is neither checked nor called an orphan (P9). Memory is bounded by the byte
//! budget, one window of manifests, one account for each partition and some 40 bytes for each segment.

mod chain;
mod checkpoints;
mod fetch;
mod inventory;
pub mod keys;
mod ledger;
mod listing;
mod objects;
mod offsets;
mod records;
pub mod report;
mod snapshots;
mod sum;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io::IsTerminal as _;
use std::num::NonZeroUsize;
use std::str::FromStr;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use strimzi_backup_format::coverage::{Recoverable, recoverable_until};
use strimzi_backup_format::ids::{Sequence, Shard, TimestampMs};
use strimzi_backup_format::job::Anchor;
use strimzi_backup_format::layout;
use strimzi_backup_format::manifest::{Manifest, Segment, reader};
use strimzi_backup_format::state::State;
use strimzi_backup_format::store::{Store, StoreError};

use self::chain::Chain;
use self::checkpoints::Checkpoints;
use self::inventory::Inventory;
use self::keys::Keys;
use self::ledger::Ledger;
use self::listing::Listing;
use self::objects::{Inspector, Named};
use self::report::{Finding, FindingKind, Report};
use self::snapshots::Snapshots;
use crate::error::{Error, chain as with_causes};
use crate::keys::{Current, Survey};

/// How deep a verification looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(into = "u8")]
pub enum Level {
    /// The documents, and that the segments are there.
    #[default]
    Chain,
    /// And the bytes of the segments.
    Digests,
    /// And their records.
    Records,
}

impl From<Level> for u8 {
    fn from(level: Level) -> Self {
        match level {
            Level::Chain => 1,
            Level::Digests => 2,
            Level::Records => 3,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            Self::Chain => "documents, and that every segment is there",
            Self::Digests => "documents, and every byte of every segment",
            Self::Records => "documents, every byte and every record",
        };
        write!(f, "level {}, {what}", u8::from(*self))
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Chain, Self::Digests, Self::Records]
            .into_iter()
            .find(|level| u8::from(*level).to_string() == text)
            .ok_or_else(|| format!("{text:?} is no level; 1, 2 and 3 are"))
    }
}

/// How a verification goes about it.
#[derive(Clone, Debug)]
pub struct Options {
    /// Segments that are read at once. Default 4.
    pub parallelism: NonZeroUsize,
    /// The most bytes of segments held at once. Default 512 MiB; a segment that is bigger is read alone.
    pub memory_bytes: u64,
    /// The master key that is to open all of an encrypted backup, and what it opens. Default: none; then nothing is said of that.
    pub current: Option<Current>,
}

impl Default for Options {
    fn default() -> Self {
        let parallelism = NonZeroUsize::new(4).unwrap_or(NonZeroUsize::MIN);
        Self { parallelism, memory_bytes: 512 << 20, current: None }
    }
}

/// Shows how far it is.
#[derive(Clone, Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// Shows nothing.
    pub fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// A bar on standard error, where that is a terminal; else nothing.
    pub fn on_terminal() -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::hidden();
        }
        let bar = ProgressBar::new(0);
        let style = "{msg} {wide_bar} {bytes} of {total_bytes} ({bytes_per_sec}, {eta})";
        // The template is a constant; were it wrong, the default style would do.
        Self(bar.with_style(ProgressStyle::with_template(style).unwrap_or_else(|_| ProgressStyle::default_bar())))
    }

    fn start(&self, bytes: u64) {
        self.0.set_length(bytes);
        self.0.set_message("verify");
    }

    fn segment(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// Verifies the backup in `store`.
///
/// # Errors
/// [`Error::NoBackup`] where there is none, and [`Error::Read`] where not even the listing succeeds. All else is in the
/// report; [`Report::outcome`] says how the command ends.
pub async fn run(store: &Store, level: Level, options: &Options, progress: &Progress) -> Result<Report, Error> {
    let shard = Shard::ONLY;
    let inventory = Inventory::list(store, shard).await.map_err(not_listed)?;
    let mut report = Report::new(level, &store.description);
    let identity = fetch::head(store, &layout::identity()).await;
    if inventory.is_empty() && matches!(identity, Ok(None)) {
        return Err(Error::NoBackup(store.description.clone()));
    }
    progress.start(inventory.bytes);
    let Some(chain) = Chain::start(store, shard, inventory.last_manifest, &mut report).await else {
        report.counts.untrusted_manifests = inventory.manifests;
        progress.finish();
        return Ok(report);
    };
    let snapshots = Snapshots::read(store, chain.state.backup, &inventory.snapshots, &mut report).await;
    let latest = reader::open(store, shard).await.ok().flatten().map(Listing::new);
    let walk = Walk {
        latest,
        store,
        inspector: Inspector::new(store, chain.state.backup, level, options),
        checkpoints: Checkpoints::new(inventory.checkpoints.clone()),
        snapshots,
        anchor: store.anchor.map(|anchor| (anchor, false)),
        current: options.current.clone(),
        ledger: Ledger::default(),
        inventory,
        chain,
        report,
        progress,
    };
    let report = walk.run().await;
    progress.finish();
    Ok(report)
}

fn not_listed(error: StoreError) -> Error {
    let source = object_store::Error::Generic { store: "listing", source: Box::new(error) };
    Error::Read(reader::Error::Store { object: "the storage prefix".to_owned(), source })
}

/// How many segments of successive manifests are judged together.
const BATCH: usize = 256;

/// A verification under way.
struct Walk<'a> {
    store: &'a Store,
    inventory: Inventory,
    chain: Chain,
    checkpoints: Checkpoints,
    snapshots: Snapshots,
    inspector: Inspector,
    ledger: Ledger,
    /// The log as a reader has it, if it can be read: which segments are live. The walk does not rely on it for more.
    latest: Option<Listing>,
    /// What the log must hold, and whether it was met.
    anchor: Option<(Anchor, bool)>,
    /// The master key that is to open all.
    current: Option<Current>,
    report: Report,
    progress: &'a Progress,
}

impl Walk<'_> {
    async fn run(mut self) -> Report {
        let mut named: Vec<Named> = Vec::new();
        while let Some(manifest) = self.chain.next(self.store, &mut self.report).await {
            self.take(&manifest).await;
            self.name(manifest, &mut named);
            if named.len() >= BATCH {
                self.inspect(std::mem::take(&mut named)).await;
            }
        }
        self.inspect(named).await;
        self.close().await;
        self.report
    }

    async fn take(&mut self, manifest: &Manifest) {
        self.report.counts.manifests += 1;
        for imbalance in self.ledger.post(manifest) {
            let object = layout::manifest(manifest.shard, manifest.sequence).to_string();
            self.find_imbalance(object, imbalance);
        }
        self.checkpoints.add(manifest);
        self.checkpoints.check(self.store, &self.chain.state, &mut self.report).await;
        self.snapshots.check(&self.chain.state, &mut self.report);
        let head = self.chain.state.head.map(|head| (head.sequence, head.sha256));
        if let Some((anchor, met)) = &mut self.anchor
            && anchor.backup == self.chain.state.backup
        {
            *met |= head == Some((anchor.sequence, anchor.sha256));
        }
    }

    /// Adds the segments that a manifest names.
    fn name(&mut self, manifest: Manifest, named: &mut Vec<Named>) {
        let sequence = manifest.sequence;
        if let Some(latest) = &mut self.latest {
            latest.take(&manifest);
            latest.live_runs(&manifest).for_each(|run| self.ledger.hold(run));
        }
        let Self { latest, .. } = self;
        let is_live = |segment: &Segment| latest.as_ref().is_none_or(|latest| latest.holds(segment));
        let refined = manifest.refined.map(|refined| refined.segments).unwrap_or_default();
        let base = manifest.retired.map(|retired| retired.base).unwrap_or_default();
        let segments = manifest.segments.into_iter().chain(base).map(|segment| (segment, false));
        named.extend(
            segments.chain(refined.into_iter().map(|segment| (segment, true))).map(|(segment, is_refined)| Named {
                is_live: is_live(&segment),
                segment,
                is_refined,
            }),
        );
        named.extend(manifest.group_image.map(|image| Named {
            is_live: latest.as_ref().is_none_or(|latest| latest.holds_image(sequence)),
            segment: offsets::as_segment(&image),
            is_refined: false,
        }));
    }

    async fn inspect(&mut self, named: Vec<Named>) {
        let Self { inspector, inventory, ledger, report, progress, .. } = self;
        inspector.inspect(named, inventory, ledger, report, progress).await;
    }

    fn find_imbalance(&mut self, object: String, imbalance: ledger::Imbalance) {
        let ledger::Imbalance { problem, affected } = imbalance;
        let kind = FindingKind::Contradiction;
        self.report.find(Finding { kind, object, problem, affected: vec![affected] });
    }

    async fn close(&mut self) {
        let head = self.chain.state.head.map_or(Sequence::FIRST, |head| head.sequence);
        let newest = layout::manifest(self.chain.state.shard, head).to_string();
        let knows_live = self.latest.as_ref().is_some_and(|latest| latest.is_of(&self.chain.state));
        for imbalance in self.ledger.close(&self.chain.state, knows_live) {
            self.find_imbalance(newest.clone(), imbalance);
        }
        self.check_anchor(&newest);
        if let Some(latest) = self.latest.take() {
            latest.close(self.store, self.chain.state.head.map(|head| head.sequence), &mut self.report).await;
        }
        if self.chain.whole {
            self.checkpoints.close(&self.chain.state, &mut self.report);
            self.snapshots.close(&self.chain.state, &mut self.report);
            match self.inventory.orphans(self.store).await {
                Ok(orphans) => self.report.orphans = Some(orphans),
                Err(error) => {
                    self.report.find_object(FindingKind::Unanswered, &"the listing", with_causes(&error));
                }
            }
        }
        self.tell_keys().await;
        let state = &self.chain.state;
        self.report.recoverable = Some(recoverable(state, &self.report));
        let counts = &mut self.report.counts;
        counts.untrusted_manifests = self.chain.untrusted(self.inventory.manifests);
        counts.partitions = state.positions.len() as u64;
        counts.gaps = state.gaps.len() as u64;
        counts.lost_offsets = state.gaps.iter().map(|gap| gap.range.span()).sum();
    }

    /// Says who opens the backup, where it is encrypted.
    async fn tell_keys(&mut self) {
        let current = self.current.take();
        match crate::keys::survey(self.store).await {
            Ok(None) => {}
            Ok(Some(Survey { keys, damaged })) => {
                for wrap in damaged {
                    self.report.find_document(&wrap.object(), &wrap.why);
                }
                self.report.keys = Some(Keys::of(keys, current, self.inspector.files_by_key()));
            }
            Err(error) => keys::find_unread(&error, &mut self.report),
        }
    }

    fn check_anchor(&mut self, newest: &str) {
        let reached = |sequence| self.chain.state.head.is_some_and(|head| sequence <= head.sequence);
        if let Some((Anchor { sequence, sha256, .. }, false)) = self.anchor
            && (self.chain.whole || reached(sequence))
        {
            let problem = format!(
                "the log does not hold manifest {sequence} with digest {sha256}, as storage.anchor says (ChainMismatch): the \
                 prefix was rolled back or exchanged"
            );
            self.report.find_object(FindingKind::Contradiction, &newest, problem);
        }
    }
}

/// What can be recovered in spite of the findings: nothing before the newest harmed record is promised.
fn recoverable(state: &State, report: &Report) -> Recoverable {
    let until = recoverable_until(state);
    let whole_since = report.harm.map(|harm| harm.max_timestamp.plus_millis(1));
    let from = state.recoverable_from().map(|since| whole_since.map_or(since, |whole| whole.max(since)));
    let reached = |from: &TimestampMs| until.is_some_and(|until| *from <= until);
    Recoverable { from: from.filter(reached), until }
}
