//! Keys of encrypted worlds: master keys, of which a new one comes with some of the starts, and who has them.
//!
//! A process has the master keys that there were when it started, as a pod has a Secret; whether it may use them, the weather says. A
//! backup key is what seed and context say, whatever was drawn for it: what opens by its wrap seals. So a seed has the same backup keys
//! in each run, and its topics stand under the same digests; data keys and nonces are drawn, and no two runs have the same bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Result;
use async_trait::async_trait;
use object_store::ObjectStore;
use parking_lot::Mutex;
use strimzi_backup_format::checksum::Sha256;
use strimzi_backup_format::crypt::{KeyError, KeyProvider, KeyRing, MasterKeyId, SecretKey, Wrapped, wraps};
use strimzi_backup_format::layout;
use strimzi_backup_format::store::{self, Store};
use strimzi_backup_streamer::keys::Source;

use super::weather::Weather;

/// What an error says where a backup key was made after the keys were read: who starts again reads it.
pub const KEY_CAME_LATER: &str = "which was made since this began";

/// The master keys of a world, and the store whose backup they open. Clones are the same ones.
#[derive(Clone, Debug)]
pub struct Keys {
    seed: u64,
    /// The number of the newest master key, counted from 0.
    newest: Arc<AtomicU64>,
    weather: Arc<Mutex<Weather>>,
    /// The store, without faults.
    store: Arc<dyn ObjectStore>,
}

impl Keys {
    /// One master key, for the backup in `store`.
    pub fn new(seed: u64, weather: Arc<Mutex<Weather>>, store: Arc<dyn ObjectStore>) -> Self {
        Self { seed, newest: Arc::default(), weather, store }
    }

    /// The number of the newest master key.
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::Relaxed)
    }

    /// A new master key comes.
    pub fn renew(&self) {
        self.newest.fetch_add(1, Ordering::Relaxed);
    }

    /// What a process has that starts now.
    pub fn at_hand(&self) -> AtHand {
        AtHand { seed: self.seed, current: self.newest(), weather: Some(Arc::clone(&self.weather)) }
    }

    /// The backup keys that there are now; `None` before the first.
    ///
    /// # Errors
    /// Where what lies below `keys/` does not open.
    pub async fn ring(&self) -> Result<Option<Arc<KeyRing>>> {
        let wraps = wraps::read(&Store::memory().with_inner(Arc::clone(&self.store))).await?.wraps;
        let Some(first) = wraps.first() else { return Ok(None) };
        let all = AtHand { weather: None, ..self.at_hand() };
        Ok(Some(Arc::new(wraps::unlock(first.backup, &wraps, &all).await?)))
    }

    /// What lies below `inner`, as who has the keys sees it that there are now.
    ///
    /// # Errors
    /// As [`Self::ring`].
    pub async fn opened(&self, inner: Arc<dyn ObjectStore>) -> Result<Store> {
        let store = Store::memory().with_inner(inner);
        Ok(match self.ring().await? {
            Some(ring) => store::sealed(&store, ring),
            None => store,
        })
    }
}

/// Whether an object of an encrypted backup is sealed whole.
pub fn is_document(key: &str) -> bool {
    let is_open = key == "backup.json" || key.starts_with("keys/") || key.starts_with("probe/");
    !is_open && !key.ends_with(".parquet")
}

/// What the seed decides of a key in an encrypted backup: not the digest at its end, which is of a document that tells of drawn bytes.
pub fn of_seed(key: &str) -> &str {
    let derived = layout::checkpoint_sequence(key).or_else(|| layout::bucket_manifest_sequence(key));
    match key.rsplit_once('-').filter(|_| derived.is_some()) {
        Some((decided, _)) => decided,
        None => key,
    }
}

/// The master keys that a process has: a current one, and all before it.
#[derive(Clone, Debug)]
pub struct AtHand {
    seed: u64,
    current: u64,
    /// What says whether they can be used; `None` where they always can.
    weather: Option<Arc<Mutex<Weather>>>,
}

impl AtHand {
    /// The number of the current one.
    pub fn number(&self) -> u64 {
        self.current
    }

    /// Waits for an answer as for one of the store.
    async fn ask(&self) -> Result<(), KeyError> {
        let Some(weather) = &self.weather else { return Ok(()) };
        let latency = weather.lock().latency;
        tokio::time::sleep(Duration::from_millis(latency)).await;
        if weather.lock().keyless {
            let key = name(self.current);
            return Err(KeyError::Unavailable { key, source: "nobody answers".into() });
        }
        Ok(())
    }

    /// What comes of wrapping by that master key.
    fn text(&self, master: &MasterKeyId, context: &[u8]) -> String {
        let seed = self.seed.to_le_bytes();
        Sha256::of_each(&[&b"wrap"[..], &seed, master.as_str().as_bytes(), context]).to_string()
    }
}

/// What the master key of that number is called.
fn name(number: u64) -> String {
    format!("file:{number:016x}")
}

impl Source for AtHand {
    fn provider(&self) -> Result<Box<dyn KeyProvider>, KeyError> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl KeyProvider for AtHand {
    async fn current(&self) -> Result<MasterKeyId, KeyError> {
        self.ask().await?;
        let key = name(self.current);
        key.parse::<MasterKeyId>().map_err(|_| KeyError::Gone { key, why: "it has no legal name".to_owned() })
    }

    async fn wrap(&self, _: &SecretKey, context: &[u8]) -> Result<Wrapped, KeyError> {
        let master = self.current().await?;
        let text = self.text(&master, context);
        Ok(Wrapped { master, text })
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<SecretKey, KeyError> {
        self.ask().await?;
        let key = wrapped.master.to_string();
        if !self.knows(&wrapped.master) {
            return Err(KeyError::Gone { key, why: "it came later than this process".to_owned() });
        }
        if wrapped.text != self.text(&wrapped.master, context) {
            return Err(KeyError::Wrong { key });
        }
        let seed = self.seed.to_le_bytes();
        let opened = Sha256::of_each(&[&b"backup key"[..], &seed, context]);
        Ok(SecretKey::new(*opened.as_bytes()))
    }

    fn knows(&self, master: &MasterKeyId) -> bool {
        let number = master.as_str().strip_prefix("file:").and_then(|digits| u64::from_str_radix(digits, 16).ok());
        number.is_some_and(|number| number <= self.current)
    }
}
