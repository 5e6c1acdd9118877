//! From a document's key source to who is asked for keys.

use std::fmt;

use strimzi_backup_format::crypt::{FileKeys, KeyError, KeyProvider};
use strimzi_backup_format::job::KeySource;

use super::transit::TransitKeys;

/// Where master keys are. A provider is made of it for each use: files may have been renewed since the last.
pub trait Source: fmt::Debug + Send + Sync {
    /// Who is asked.
    ///
    /// # Errors
    /// [`KeyError`], where what is needed to ask cannot be read. Nobody is asked for anything yet.
    fn provider(&self) -> Result<Box<dyn KeyProvider>, KeyError>;
}

impl Source for KeySource {
    fn provider(&self) -> Result<Box<dyn KeyProvider>, KeyError> {
        Ok(match self {
            Self::Files { current, previous } => Box::new(FileKeys::read(current, previous)?),
            Self::Transit(transit) => Box::new(TransitKeys::new(transit)?),
        })
    }
}
