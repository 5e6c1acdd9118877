//! Object storage: opening it, proving it, creating an object once, moving bytes in and out with their checks.
//!
//! Owns: how a job's storage becomes an [`ObjectStore`], what an error means for the caller, and the few operations whose
//! outcome must not be taken from the store's answer alone. Does not own: keys ([`crate::layout`]), what objects hold, or
//! the loops around a failing store: every call here is short and bounded, and its caller decides about the next.
//!
//! ```text
//! job::Storage ──open──▶ Store ──probe──▶ proven ──create_once──▶ manifests
//!                                           ├───────upload──────▶ segments, confirmed
//!                                           └─────get_checked───▶ bytes of the expected digest
//! ```
//! Of a backup that is encrypted, [`sealed()`] makes a `Store` whose documents are plain above and sealed below.
//!
//! Invariants: nothing is overwritten that another could have written (P3); bytes leave here only if their size and digest
//! are the expected ones; no secret is kept longer than its file says it, or printed.
//!
//! This is the only module that knows the `object_store` crate's builders, and with `manifest`, `snapshot` and `crypt::wraps` the
//! only one that calls it.

pub mod create_once;
mod credentials;
mod error;
mod metered;
mod open;
pub mod probe;
mod sealed;
mod transfer;

#[cfg(any(test, feature = "testing"))]
pub mod conformance;
#[cfg(any(test, feature = "testing"))]
pub mod faulty;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use object_store::path::Path;
use object_store::{GetResult, ObjectStore, ObjectStoreExt as _};

use crate::crypt::{self, FileOpener, FileSeal, KeyRing};
use crate::ids::TopicName;
use crate::job::Anchor;
use crate::layout::{ObjectKey, TopicDir};

pub(crate) use error::Mismatch;
pub use error::{ErrorKind, StoreError};
pub use metered::{Request, Tally};
pub use open::{OpenError, open, open_to_write};
pub use sealed::sealed;
pub(crate) use transfer::{Meter, get_verified, has_digest};
pub use transfer::{PART_BYTES, get_checked, upload};

/// An opened store and the place in it.
#[derive(Clone, Debug)]
pub struct Store {
    /// The store; keys given to it are full ones, below [`Self::prefix`].
    pub inner: Arc<dyn ObjectStore>,
    /// The backup's prefix; empty for the root.
    pub prefix: Path,
    /// The place for people, such as `s3://bucket/prefix`; holds no secret.
    pub description: String,
    /// What kind of store it is.
    pub kind: Kind,
    /// What the log there must at least hold, as the job says. Whoever opens the log checks it.
    pub anchor: Option<Anchor>,
    /// The keys of the backup, where it is encrypted: [`sealed()`] sets them.
    pub keys: Option<Arc<KeyRing>>,
    /// The size of a part, and up to which an object is put in one request; [`PART_BYTES`] but in tests.
    pub part_bytes: usize,
}

/// The kinds of store, where they differ for a caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory, with its path.
    Filesystem(PathBuf),
    /// S3 or compatible.
    S3,
    /// Azure Blob Storage.
    Azure,
    /// Google Cloud Storage.
    Gcs,
    /// Memory; tests.
    Memory,
}

impl Store {
    /// A store in memory; tests.
    pub fn memory() -> Self {
        Self {
            inner: Arc::new(object_store::memory::InMemory::new()),
            prefix: Path::default(),
            description: "memory://".to_owned(),
            kind: Kind::Memory,
            anchor: None,
            keys: None,
            part_bytes: PART_BYTES,
        }
    }

    /// What a new file of that object is encrypted with; `None` where the backup is not.
    ///
    /// # Errors
    /// As [`KeyRing::seal_file`].
    pub fn seal_file(&self, object: &ObjectKey) -> Result<Option<FileSeal>, crypt::Error> {
        self.keys.as_ref().map(|ring| ring.seal_file(object)).transpose()
    }

    /// What opens the file of that object; `None` where the backup is not encrypted.
    pub fn opener(&self, object: &ObjectKey) -> Option<FileOpener> {
        let ring = Arc::clone(self.keys.as_ref()?);
        Some(FileOpener { ring, object: object.clone() })
    }

    /// What stands for a topic in the keys of its segments: its name, or, where the backup is encrypted, a digest of it.
    pub fn topic_dir(&self, topic: &TopicName) -> TopicDir {
        match &self.keys {
            Some(ring) => TopicDir::Digest(ring.topic_digest(topic)),
            None => TopicDir::Named(topic.clone()),
        }
    }

    /// What stands under a key, its size known and its bytes not read yet; `None` where nothing does.
    ///
    /// # Errors
    /// The store's, where it does not tell.
    pub async fn find(&self, key: &ObjectKey) -> object_store::Result<Option<GetResult>> {
        match self.inner.get(&key.below(&self.prefix)).await {
            Ok(found) => Ok(Some(found)),
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The same place reached through another layer: metering, faults.
    #[must_use]
    pub fn with_inner(&self, inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner, ..self.clone() }
    }

    /// The same place with parts of another size; tests.
    ///
    /// # Panics
    /// Where a store that is more than memory would refuse parts of this size.
    #[cfg(any(test, feature = "testing"))]
    #[must_use]
    pub fn with_part_bytes(&self, part_bytes: usize) -> Self {
        let smallest = if self.kind == Kind::Memory { 1 } else { transfer::SMALLEST_PART_BYTES };
        assert!(
            part_bytes >= smallest,
            "parts of {part_bytes} bytes, and {} takes none below {smallest}",
            self.description
        );
        Self { part_bytes, ..self.clone() }
    }

    /// Removes what crashed writes left in a directory store and says how many files; 0 for the others.
    ///
    /// A put is staged in `name#<digits>` and linked to its name; a crash in between leaves the stage, which listing
    /// hides, so that nothing else can find it. Only stages last written before `before` go: a younger one may belong to
    /// a writer that is alive. Blocks on the file system.
    ///
    /// # Errors
    /// The file system's, of reading a directory. A stage that is gone already, or may not be removed, is not counted:
    /// it takes up room and no more.
    pub fn sweep_leftovers(&self, before: SystemTime) -> io::Result<u64> {
        let Kind::Filesystem(root) = &self.kind else {
            return Ok(0);
        };
        let mut removed = 0;
        let mut folders = vec![root.clone()];
        while let Some(folder) = folders.pop() {
            let entries = match std::fs::read_dir(&folder) {
                // Removed while walking, which only an operator's hand or a sweep does.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                } else if is_stage(&entry.file_name().to_string_lossy())
                    && entry.metadata()?.modified()? < before
                    && std::fs::remove_file(entry.path()).is_ok()
                {
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }
}

/// Whether a file name is one that the local store stages under. No key of ours has a `#`.
fn is_stage(name: &str) -> bool {
    name.split_once('#').is_some_and(|(_, suffix)| !suffix.is_empty() && suffix.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests;
