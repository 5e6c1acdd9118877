//! What a reader finds, against what the manifests say: bucket manifests, blocks and tail must list exactly the live segments.
//!
//! The walk sums the digests of the live segments that manifests name; the same sum is taken over what the newest checkpoint
//! leads to. Memory: two sums, and one document at a time.

use strimzi_backup_format::ids::Sequence;
use strimzi_backup_format::layout;
use strimzi_backup_format::manifest::reader::{Error, Log};
use strimzi_backup_format::manifest::{Manifest, Run, Segment};
use strimzi_backup_format::state::State;
use strimzi_backup_format::store::Store;

use super::report::{FindingKind, Report};
use super::sum::Sum;
use crate::error::chain;

/// What is live at the end of the log, as a reader has it.
#[derive(Debug)]
pub(super) struct Listing {
    log: Log,
    named: Sum,
}

impl Listing {
    pub(super) fn new(log: Log) -> Self {
        Self { log, named: Sum::default() }
    }

    /// Whether a segment counts; the object of another may be deleted by now.
    pub(super) fn holds(&self, segment: &Segment) -> bool {
        self.log.state.holds(segment)
    }

    /// Whether the image of consumer groups counts that a manifest adds.
    pub(super) fn holds_image(&self, sequence: Sequence) -> bool {
        self.log.state.holds_image(sequence)
    }

    /// Takes in the segments that a manifest names.
    pub(super) fn take(&mut self, manifest: &Manifest) {
        if self.head() < Some(manifest.sequence) {
            return;
        }
        let live = manifest.named_segments().filter(|segment| self.log.state.holds(segment));
        live.for_each(|segment| self.named.add(segment));
    }

    /// The runs of a manifest's segments that are live, and not retired.
    pub(super) fn live_runs<'a>(&'a self, manifest: &'a Manifest) -> impl Iterator<Item = &'a Run> {
        let live = manifest.named_segments().filter(|segment| self.log.state.holds(segment));
        live.flat_map(|segment| self.log.state.live_runs(segment))
    }

    /// Whether the reader came exactly as far.
    pub(super) fn is_of(&self, state: &State) -> bool {
        self.log.state.head == state.head
    }

    fn head(&self) -> Option<Sequence> {
        self.log.state.head.map(|head| head.sequence)
    }

    /// Compares, where the walk has come as far as the reader.
    pub(super) async fn close(self, store: &Store, reached: Option<Sequence>, report: &mut Report) {
        let Some(head) = self.head().filter(|head| reached >= Some(*head)) else { return };
        let mut listed = Sum::default();
        let mut all_read = true;
        for listing in self.log.listings(|_| true, |_| true) {
            match self.log.read(store, &listing).await {
                Ok(segments) => {
                    for segment in segments.iter().filter(|segment| self.holds(segment)) {
                        listed.add(segment);
                        if !listing.spans(segment) {
                            let problem = format!("{} is outside of the time that is said of it", segment.object);
                            report.find_object(FindingKind::Contradiction, listing.object(), problem);
                        }
                    }
                }
                Err(Error::Document { object, source }) => {
                    report.find_document(&object, &source);
                    all_read = false;
                }
                Err(error) => {
                    let kind = if error.is_retryable() { FindingKind::Unanswered } else { FindingKind::Missing };
                    report.find_object(kind, listing.object(), chain(&error));
                    all_read = false;
                }
            }
        }
        let tail = self.log.tail.iter().flat_map(|manifest| manifest.named_segments());
        tail.filter(|segment| self.holds(segment)).for_each(|segment| listed.add(segment));
        if all_read && listed != self.named {
            let newest = layout::manifest(self.log.state.shard, head);
            let problem = format!(
                "the documents that list its live segments name {} of them, and the manifests {}, or other ones",
                listed.segments, self.named.segments
            );
            report.find_object(FindingKind::Contradiction, &newest, problem);
        }
    }
}
