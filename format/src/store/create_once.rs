//! Put-if-absent whose outcome is decided by reading back.
//!
//! Why not by the answer: an own create that landed can come back as "already exists" (the client repeats a request whose
//! answer was lost), as an error, or not at all; and an HTTP 409 that wrote nothing comes back as "already exists" too.
//!
//! | answer to create | what stands there | so |
//! | --- | --- | --- |
//! | created | | [`Outcome::Created`] |
//! | any error | our bytes | [`Outcome::Created`] |
//! | any error | other bytes | [`Outcome::Occupied`] |
//! | any error | nothing | [`CreateError::NotWritten`]: put the same bytes to the same slot again |
//! | any error | unreadable | [`CreateError::Unknown`]: back off and call again; delete nothing |
//!
//! Invariants: at most one create is sent per call; the object is never overwritten or deleted; bytes of two callers are
//! told apart only if they differ, so a body carries a nonce.

use bytes::Bytes;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};

use super::ErrorKind;

/// What stands in the slot now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The caller's bytes.
    Created,
    /// Someone else's, which these are.
    Occupied(Bytes),
}

/// The slot's state is not the caller's yet, or not known.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// Nothing stands there: put the same bytes to the same slot again.
    #[error("cannot create {key}: nothing was written")]
    NotWritten {
        /// The slot.
        key: Path,
        /// What the store answered to the create.
        source: object_store::Error,
    },
    /// It could not be read back: back off and call again with the same bytes; delete nothing.
    #[error("cannot tell whether {key} was created: it cannot be read back")]
    Unknown {
        /// The slot.
        key: Path,
        /// What the store answered to the read.
        source: object_store::Error,
    },
}

impl CreateError {
    /// What kind of failure it is, by the call that says most.
    pub fn kind(&self) -> ErrorKind {
        match self {
            // A refusal where nothing stands is the 409 of two requests at once: it passes.
            Self::NotWritten { source, .. } => match ErrorKind::of_write(source) {
                ErrorKind::Precondition => ErrorKind::Unavailable,
                kind => kind,
            },
            Self::Unknown { source, .. } => ErrorKind::of(source),
        }
    }

    /// Whether calling again with the same bytes may succeed.
    pub fn is_retryable(&self) -> bool {
        self.kind().is_retryable()
    }
}

/// Creates `key` with `body` unless something stands there.
///
/// Not cancel safe: dropped half-way, it may or may not have created the object; calling again with the same bytes finds
/// out.
///
/// # Errors
/// [`CreateError`]; the caller calls again with the same bytes to the same slot.
pub async fn create_once(store: &dyn ObjectStore, key: &Path, body: &Bytes) -> Result<Outcome, CreateError> {
    let options = PutOptions::from(PutMode::Create);
    let answer = match store.put_opts(key, PutPayload::from_bytes(body.clone()), options).await {
        Ok(_) => return Ok(Outcome::Created),
        Err(error) => error,
    };
    let standing = match store.get(key).await {
        Ok(found) => found.bytes().await.map(Some),
        Err(object_store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    };
    decide(key, body, answer, standing)
}

/// The table above, below its first line.
fn decide(
    key: &Path,
    body: &Bytes,
    answer: object_store::Error,
    standing: object_store::Result<Option<Bytes>>,
) -> Result<Outcome, CreateError> {
    match standing {
        Ok(Some(found)) if found == body => Ok(Outcome::Created),
        Ok(Some(found)) => Ok(Outcome::Occupied(found)),
        Ok(None) => Err(CreateError::NotWritten { key: key.clone(), source: answer }),
        Err(source) => Err(CreateError::Unknown { key: key.clone(), source }),
    }
}

#[cfg(test)]
mod tests {
    use super::super::faulty::{Decision, Fault, FaultyStore, Op};
    use super::*;
    use std::sync::Arc;

    fn key() -> Path {
        Path::from("manifests/0000/1")
    }

    fn answers() -> Vec<object_store::Error> {
        [Fault::Timeout, Fault::Unavailable, Fault::AlreadyExists, Fault::Precondition, Fault::Denied, Fault::QuotaFull]
            .into_iter()
            .map(|fault| fault.error(&key()))
            .collect()
    }

    #[test]
    fn a03_whatever_the_answer_our_bytes_there_mean_created() {
        let body = Bytes::from_static(b"ours");
        for answer in answers() {
            let outcome = decide(&key(), &body, answer, Ok(Some(body.clone())));
            assert_eq!(outcome.expect("decided"), Outcome::Created);
        }
    }

    #[test]
    fn whatever_the_answer_other_bytes_mean_occupied() {
        let theirs = Bytes::from_static(b"theirs");
        for answer in answers() {
            let outcome = decide(&key(), &Bytes::from_static(b"ours"), answer, Ok(Some(theirs.clone())));
            assert_eq!(outcome.expect("decided"), Outcome::Occupied(theirs.clone()));
        }
    }

    #[test]
    fn a04_whatever_the_answer_nothing_there_means_put_again() {
        for answer in answers() {
            let error = decide(&key(), &Bytes::from_static(b"ours"), answer, Ok(None)).expect_err("not written");
            assert!(matches!(error, CreateError::NotWritten { .. }) && error.is_retryable(), "{error:?}");
        }
        let gone = decide(&key(), &Bytes::new(), Fault::NotFound.error(&key()), Ok(None)).expect_err("no bucket");
        assert_eq!(gone.kind(), ErrorKind::NoBucket);
        assert!(!gone.is_retryable());
    }

    #[test]
    fn unreadable_means_unknown_and_says_why() {
        for answer in answers() {
            let error = decide(&key(), &Bytes::from_static(b"ours"), answer, Err(Fault::Timeout.error(&key())));
            assert!(matches!(error, Err(CreateError::Unknown { .. })), "{error:?}");
        }
    }

    #[tokio::test]
    async fn a04_a_409_that_wrote_nothing_is_put_again_and_lands_once() {
        let store = FaultyStore::new(Arc::new(object_store::memory::InMemory::new()));
        let body = Bytes::from_static(b"ours");
        store.control().script([(Op::Create, Decision::FailBefore(Fault::AlreadyExists))]);
        let first = create_once(&store, &key(), &body).await;
        assert!(matches!(first, Err(CreateError::NotWritten { .. })), "{first:?}");
        assert_eq!(create_once(&store, &key(), &body).await.expect("second try"), Outcome::Created);
        assert_eq!(create_once(&store, &key(), &body).await.expect("own bytes"), Outcome::Created);
    }

    #[tokio::test]
    async fn a03_a_lost_answer_is_recognised_as_our_own() {
        let store = FaultyStore::new(Arc::new(object_store::memory::InMemory::new()));
        let body = Bytes::from_static(b"ours");
        for fault in [Fault::Timeout, Fault::Unavailable, Fault::AlreadyExists, Fault::Precondition] {
            let key = Path::from(format!("manifests/{fault:?}"));
            store.control().script([(Op::Create, Decision::FailAfter(fault))]);
            assert_eq!(create_once(&store, &key, &body).await.expect("created"), Outcome::Created);
        }
    }
}
