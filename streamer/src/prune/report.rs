//! What a prune did, or would do, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use bytesize::ByteSize;
use serde::Serialize;
use strimzi_backup_format::ids::{Sequence, TimestampMs};
use strimzi_backup_format::state::State;
use strimzi_backup_format::store::{ErrorKind, Store};

use super::plan::{Kind, Listed};
use crate::retire::Unfinished;

/// How many refused objects are kept with what the store said.
const KEPT: usize = 10;

/// What a prune came to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The store, for people.
    pub storage: String,
    /// Whether nothing was deleted because that was asked for.
    pub dry_run: bool,
    /// The present.
    pub now: TimestampMs,
    /// From which instant on the backup is kept; absent where nothing was ever retired.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept_since: Option<TimestampMs>,
    /// The manifest a grace period ago, or when the restore began: what it named, stays. Absent where no checkpoint is so old, or it
    /// is not known any more what one named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub as_of: Option<Sequence>,
    /// A bucket manifest that the log named a grace period ago, or when the restore began, and that was pruned when less was kept:
    /// what else it named then is not known, and nothing goes. Absent where all are there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forgotten: Option<String>,
    /// The restore that is under way, for which things are left as they were when it began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pinned_by: Option<String>,
    /// What was deleted; with `dry_run`, what would be.
    pub deleted: Sums,
    /// The same by kind.
    pub by_kind: BTreeMap<Kind, Sums>,
    /// What is not needed, and too young to go.
    pub young: Sums,
    /// What the store did not delete.
    pub refused: Sums,
    /// The first of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refused>,
    /// Whether the store says of all of these that it protects them.
    #[serde(skip)]
    protected: bool,
    /// With `dry_run`, the first objects that would go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub first: Vec<String>,
}

/// Objects and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Sums {
    /// How many.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
}

impl Sums {
    /// Adds an object of so many bytes.
    pub(crate) fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} objects, {}", self.objects, ByteSize(self.bytes))
    }
}

/// An object that the store did not delete, and what it said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// The object, below the prefix.
    pub object: String,
    /// What the store said.
    pub why: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.object, self.why)
    }
}

impl Report {
    pub(super) fn new(store: &Store, dry_run: bool, now: TimestampMs, newest: &State) -> Self {
        Self {
            storage: store.description.clone(),
            dry_run,
            now,
            kept_since: newest.retired.map(|retired| retired.before),
            as_of: None,
            forgotten: None,
            pinned_by: None,
            deleted: Sums::default(),
            by_kind: BTreeMap::new(),
            young: Sums::default(),
            refused: Sums::default(),
            refusals: Vec::new(),
            protected: true,
            first: Vec::new(),
        }
    }

    pub(super) fn pinned_by(&mut self, restore: &Unfinished) {
        self.pinned_by = Some(restore.id.to_string());
    }

    pub(super) fn as_of(&mut self, then: &State) {
        self.as_of = then.head.map(|head| head.sequence);
    }

    pub(super) fn forgotten(&mut self, bucket_manifest: String) {
        self.forgotten = Some(bucket_manifest);
    }

    pub(super) fn young(&mut self, listed: &Listed) {
        self.young.add(listed.bytes);
    }

    pub(super) fn deleted(&mut self, listed: &Listed) {
        self.deleted.add(listed.bytes);
        self.by_kind.entry(listed.kind).or_default().add(listed.bytes);
    }

    pub(super) fn would_delete(&mut self, plan: &[Listed]) {
        plan.iter().for_each(|listed| self.deleted(listed));
        self.first = plan.iter().take(KEPT).map(|listed| listed.key.clone()).collect();
    }

    pub(super) fn refused(&mut self, listed: &Listed, error: &object_store::Error) {
        self.refused.add(listed.bytes);
        self.protected &= is_protected(error);
        if self.refusals.len() < KEPT {
            self.refusals.push(Refused { object: listed.key.clone(), why: crate::error::chain(error) });
        }
    }

    /// The first refusal, where nothing at all was deleted and the store does not say that it protects its objects.
    pub(super) fn refusal(&self) -> Option<Refused> {
        let failed = self.deleted.objects == 0 && !self.protected;
        self.refusals.first().filter(|_| failed).cloned()
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        // Text keys and finite numbers only, which is all that serde_json asks for.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }

    /// The sums, as a line of JSON that fits into a pod's termination log.
    pub fn summary(&self) -> String {
        let summary = serde_json::json!({
            "deletedObjects": self.deleted.objects,
            "deletedBytes": self.deleted.bytes,
            "refusedObjects": self.refused.objects,
            "keptSince": self.kept_since.map(TimestampMs::to_rfc3339),
        });
        summary.to_string() + "\n"
    }
}

/// Whether the store protects the object: Object Lock, a legal hold, an immutability policy. S3 answers with the same code as
/// to credentials that may not delete; the text tells them apart.
pub(crate) fn is_protected(error: &object_store::Error) -> bool {
    let text = crate::error::chain(error).to_lowercase();
    let words = ["object lock", "objectlock", "worm", "legal hold", "legalhold", "immutab", "retention"];
    ErrorKind::of(error) != ErrorKind::NotFound && words.iter().any(|word| text.contains(word))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "backup      {}", self.storage)?;
        match self.kept_since {
            Some(since) => writeln!(f, "kept        everything since {}", since.to_rfc3339())?,
            None => writeln!(f, "kept        everything: nothing was retired yet")?,
        }
        if let Some(restore) = &self.pinned_by {
            writeln!(f, "pinned      by the restore {restore}, which is under way")?;
        }
        match (self.as_of, &self.forgotten) {
            (Some(sequence), _) => writeln!(f, "looked at   what manifest {sequence} and the newest do not name")?,
            (None, Some(object)) => writeln!(
                f,
                "looked at   nothing: {object} was pruned when less was kept, and the log named it when the grace period or the \
                 restore began: what else it named then is not known; this ends by itself as the log grows older"
            )?,
            (None, None) => {
                let and = if self.pinned_by.is_some() { " and the restore" } else { "" };
                writeln!(f, "looked at   nothing: the log has no checkpoint from before the grace period{and}")?;
            }
        }
        let verb = if self.dry_run { "would go" } else { "deleted" };
        writeln!(f, "{verb:<11} {}", self.deleted)?;
        for (kind, sums) in &self.by_kind {
            writeln!(f, "            {sums} of {}", kind.as_str())?;
        }
        for key in &self.first {
            writeln!(f, "            {key}")?;
        }
        if self.young.objects > 0 {
            writeln!(f, "later       {}: not needed, and too young to go", self.young)?;
        }
        if self.refused.objects > 0 {
            writeln!(f, "refused     {}, left for the next time", self.refused)?;
        }
        for refused in &self.refusals {
            writeln!(f, "            {refused}")?;
        }
        Ok(())
    }
}
