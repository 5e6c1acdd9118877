//! What a restore keeps in the store: its plan, before the first write, and its report, after the last.

use strimzi_backup_format::document::{self, Document};
use strimzi_backup_format::ids::RestoreId;
use strimzi_backup_format::layout::{self, ObjectKey};
use strimzi_backup_format::store::Store;
use strimzi_backup_format::store::create_once::{Outcome, create_once};

use super::plan::Plan;
use super::report::Report;
use crate::clock::{Backoff, Clock};

/// How often a document is put before the store counts as failed.
const ATTEMPTS: u64 = 10;

/// A document of a restore cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The store fails.
    #[error("{object}: the store does not answer; started again, the restore goes on")]
    Store {
        /// The object.
        object: String,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// What is there is not what was written.
    #[error("{object} is damaged; take another restore.id")]
    Damaged {
        /// The object.
        object: String,
        /// How.
        source: document::Error,
    },
}

/// The plan that the restore began with, if it did.
///
/// # Errors
/// [`DocumentError`].
pub async fn plan(store: &Store, id: &RestoreId) -> Result<Option<Plan>, DocumentError> {
    read(store, &layout::restore_plan(id)).await
}

/// The report of the restore, if it came to its end.
///
/// # Errors
/// [`DocumentError`].
pub async fn report(store: &Store, id: &RestoreId) -> Result<Option<Report>, DocumentError> {
    read(store, &layout::restore_report(id)).await
}

async fn read<T: Document>(store: &Store, key: &ObjectKey) -> Result<Option<T>, DocumentError> {
    let object = || key.to_string();
    let failed = |source: object_store::Error| DocumentError::Store { object: object(), source: Box::new(source) };
    let Some(found) = store.find(key).await.map_err(failed)? else { return Ok(None) };
    let damaged = |source| DocumentError::Damaged { object: object(), source };
    document::check_size(found.meta.size).map_err(damaged)?;
    let bytes = found.bytes().await.map_err(failed)?;
    document::unseal(&bytes).map(Some).map_err(damaged)
}

/// Keeps a document. Gives what stands under its key now: another, where one was there already.
///
/// # Errors
/// [`DocumentError`].
pub async fn keep<T: Document + Clone>(
    store: &Store,
    key: &ObjectKey,
    document: &T,
    clock: &impl Clock,
) -> Result<T, DocumentError> {
    let object = || key.to_string();
    let damaged = |source| DocumentError::Damaged { object: object(), source };
    let bytes = document::seal(document).map_err(damaged)?;
    let backoff = Backoff::new();
    loop {
        match create_once(store.inner.as_ref(), &key.below(&store.prefix), &bytes).await {
            Ok(Outcome::Created) => return Ok(document.clone()),
            Ok(Outcome::Occupied(theirs)) => return document::unseal(&theirs).map_err(damaged),
            Err(error) if error.is_retryable() && backoff.attempts() < ATTEMPTS => {
                tracing::warn!(
                    object = object(),
                    error = crate::error::chain(&error),
                    "keep a document of the restore"
                );
                tokio::time::sleep(backoff.next(clock)).await;
            }
            Err(source) => return Err(DocumentError::Store { object: object(), source: Box::new(source) }),
        }
    }
}
