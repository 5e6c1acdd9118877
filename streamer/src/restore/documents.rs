//! What a restore keeps in the store: its plan, before the first write, and its report, after the last.

use strimzi_backup_format::document::{self, Document};
use strimzi_backup_format::ids::RestoreId;
use strimzi_backup_format::layout::{self, ObjectKey};
use strimzi_backup_format::store::Store;
use strimzi_backup_format::store::create_once::{CreateError, Outcome, create_once};

use super::plan::Plan;
use super::report::Report;
use crate::clock::{Backoff, Clock};

/// How often a document is put before the store counts as failed.
const ATTEMPTS: u64 = 10;

/// A document of a restore cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// The store does not give the object.
    #[error("read {object}")]
    Store {
        /// The object.
        object: String,
        /// What it said.
        source: object_store::Error,
    },
    /// The store does not take the object.
    #[error("{object}: the store does not take it; started again, the restore goes on")]
    NotKept {
        /// The object.
        object: String,
        /// What it said.
        source: CreateError,
    },
    /// What is there is not what was written, or a newer release wrote it.
    #[error("{object} {}; {}", .source.verdict(), way_out(.source))]
    Unreadable {
        /// The object.
        object: String,
        /// What is wrong with it.
        source: document::Error,
    },
}

const fn way_out(error: &document::Error) -> &'static str {
    match error {
        document::Error::NewerFormat { .. } => "go on with that release, or take another restore.id",
        _ => "take another restore.id",
    }
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
    let failed = |source| DocumentError::Store { object: object(), source };
    let Some(found) = store.find(key).await.map_err(failed)? else { return Ok(None) };
    let unreadable = |source| DocumentError::Unreadable { object: object(), source };
    document::check_size(found.meta.size).map_err(unreadable)?;
    let bytes = found.bytes().await.map_err(failed)?;
    document::unseal(&bytes).map(Some).map_err(unreadable)
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
    let unreadable = |source| DocumentError::Unreadable { object: object(), source };
    let bytes = document::seal(document).map_err(unreadable)?;
    let backoff = Backoff::new();
    loop {
        match create_once(store.inner.as_ref(), &key.below(&store.prefix), &bytes).await {
            Ok(Outcome::Created) => return Ok(document.clone()),
            Ok(Outcome::Occupied(theirs)) => return document::unseal(&theirs).map_err(unreadable),
            Err(error) if error.is_retryable() && backoff.attempts() < ATTEMPTS => {
                tracing::warn!(
                    object = object(),
                    error = crate::error::chain(&error),
                    "keep a document of the restore"
                );
                tokio::time::sleep(backoff.next(clock)).await;
            }
            Err(source) => return Err(DocumentError::NotKept { object: object(), source }),
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt as _;

    use super::*;
    use crate::error::{Error, chain, exit};

    #[tokio::test]
    async fn a12_a_plan_of_a_newer_release_is_told_as_that_and_not_as_damage() {
        let store = Store::memory();
        let id = RestoreId::new("orders-dr-1").expect("legal");
        let key = layout::restore_plan(&id).below(&store.prefix);
        let told = async |stored: &'static str| {
            store.inner.put(&key, stored.into()).await.expect("put");
            let error = Error::from(plan(&store, &id).await.expect_err("unreadable"));
            assert_eq!(error.exit_code(), exit::DAMAGED);
            chain(&error)
        };
        let newer = told(r#"{"formatVersion":2,"kind":"restorePlan"}"#).await;
        let words =
            "restores/orders-dr-1/plan.json was written by a newer release; go on with that release, or take another";
        assert!(newer.starts_with(words) && newer.contains("format version 2"), "{newer}");
        let damaged = told("no plan").await;
        assert!(damaged.starts_with("restores/orders-dr-1/plan.json is damaged; take another restore.id"), "{damaged}");
    }
}
