//! Master keys that are asked for once: what one attempt to start needs twice, it remembers.
//!
//! Owns: one provider, and so one login, for as long as an attempt lasts; what it has unwrapped, and which master key is the current one.
//! Failures are not remembered. Does not own: how long an attempt is ([`crate::claim`]); the next one reads files and asks anew.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use strimzi_backup_format::crypt::{KeyError, KeyProvider, MasterKeyId, SecretKey, Wrapped};

use super::Source;

/// Another source, of which the provider is made once, and asked once for each thing.
#[derive(Debug)]
pub(crate) struct Once<'a> {
    source: &'a dyn Source,
    made: Mutex<Option<Asked>>,
}

impl<'a> Once<'a> {
    /// Nobody is asked for anything yet.
    pub(crate) fn new(source: &'a dyn Source) -> Self {
        Self { source, made: Mutex::new(None) }
    }
}

impl Source for Once<'_> {
    fn provider(&self) -> Result<Box<dyn KeyProvider>, KeyError> {
        let mut made = self.made.lock();
        if let Some(asked) = made.as_ref() {
            return Ok(Box::new(asked.clone()));
        }
        let asked = Asked { provider: self.source.provider()?.into(), known: Arc::default() };
        *made = Some(asked.clone());
        Ok(Box::new(asked))
    }
}

/// A provider, with what it has answered. Clones share both.
#[derive(Clone)]
struct Asked {
    provider: Arc<dyn KeyProvider>,
    known: Arc<Mutex<Known>>,
}

/// What was answered; wiped with the last of those that share it.
#[derive(Default)]
struct Known {
    current: Option<MasterKeyId>,
    unwrapped: BTreeMap<Question, SecretKey>,
}

/// What was wrapped, and what it is bound to.
type Question = (MasterKeyId, String, Vec<u8>);

/// Says who is asked, and nothing of the answers.
impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").field("provider", &self.provider).finish_non_exhaustive()
    }
}

#[async_trait]
impl KeyProvider for Asked {
    async fn current(&self) -> Result<MasterKeyId, KeyError> {
        let known = self.known.lock().current.clone();
        if let Some(known) = known {
            return Ok(known);
        }
        let current = self.provider.current().await?;
        self.known.lock().current = Some(current.clone());
        Ok(current)
    }

    async fn wrap(&self, key: &SecretKey, context: &[u8]) -> Result<Wrapped, KeyError> {
        self.provider.wrap(key, context).await
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<SecretKey, KeyError> {
        let question = (wrapped.master.clone(), wrapped.text.clone(), context.to_vec());
        let known = self.known.lock().unwrapped.get(&question).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let key = self.provider.unwrap(wrapped, context).await?;
        self.known.lock().unwrapped.insert(question, key.clone());
        Ok(key)
    }

    fn knows(&self, master: &MasterKeyId) -> bool {
        self.provider.knows(master)
    }
}
