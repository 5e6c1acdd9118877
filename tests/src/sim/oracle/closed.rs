//! What lies in the store of an encrypted backup: everything is sealed for its place, and nothing tells of a record or a topic.
//!
//! Files are opened as they are read by the other checks; here they are held to be no files in the clear.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::{ObjectStore as _, ObjectStoreExt as _};
use regex::bytes::{Regex, RegexBuilder};
use strimzi_backup_format::crypt::KeyRing;

use super::super::cluster::{Cluster, Life};
use super::super::keys::is_document;
use super::Oracle;

/// A name is looked for in bytes from so many on, and not before: shorter ones come up by chance.
const LONG_NAME: usize = 6;

/// Of keys and values so many bytes are looked for; shorter ones come up by chance.
const LONG_TEXT: usize = 8;

/// How large the automaton of what is looked for may get; there are some thousands of texts.
const AUTOMATON_BYTES: usize = 256 << 20;

impl Oracle {
    /// Opens what lies in the store with the keys that there are now.
    pub(super) async fn unlock(&mut self) -> Result<()> {
        if let Some(keys) = &self.keys {
            self.store = keys.opened(Arc::clone(&self.raw)).await.context("the keys of the backup")?;
        }
        Ok(())
    }

    /// Whether everything in the store of an encrypted backup is sealed for its place, and shows nothing.
    pub async fn check_closed(&mut self) -> Result<()> {
        let Some(keys) = &self.keys else { return Ok(()) };
        let ring = keys.ring().await?.context("it is encrypted, and has no key")?;
        for (key, bytes) in self.objects().await? {
            check_sealed(&ring, &key, &bytes).with_context(|| key.clone())?;
        }
        let shown = self.shown().await?;
        ensure!(shown.is_empty(), "the store shows what must not be seen: {shown:?}");
        self.seen.insert("Encrypted".to_owned());
        self.seen.extend((ring.current() > 0).then(|| "KeyRotated".to_owned()));
        Ok(())
    }

    /// What the store shows of records and topics, each with the first object that does.
    pub async fn shown(&self) -> Result<BTreeMap<&'static str, String>> {
        let planted = Planted::of(&self.cluster.lock())?;
        let mut shown = BTreeMap::new();
        for (key, bytes) in self.objects().await? {
            for kind in planted.seen_in(&key, &bytes) {
                shown.entry(kind).or_insert_with(|| key.clone());
            }
        }
        Ok(shown)
    }

    async fn objects(&self) -> Result<BTreeMap<String, Bytes>> {
        let mut objects = BTreeMap::new();
        for meta in self.raw.list(None).try_collect::<Vec<_>>().await? {
            let bytes = self.raw.get(&meta.location).await?.bytes().await?;
            objects.insert(meta.location.to_string(), bytes);
        }
        Ok(objects)
    }
}

/// Whether what lies under a key is sealed, and for there.
fn check_sealed(ring: &KeyRing, key: &str, stored: &[u8]) -> Result<()> {
    if is_document(key) {
        ensure!(stored.starts_with(b"SBE1"), "it lies there in the clear");
        ring.open_document(key, stored).context("it is not sealed for its place")?;
    } else if key.ends_with(".parquet") {
        ensure!(stored.starts_with(b"PARE") && stored.ends_with(b"PARE"), "it lies there in the clear");
    }
    Ok(())
}

/// What Kafka ever held, as far as it is long enough to be looked for.
struct Planted {
    topics: BTreeSet<String>,
    names: Option<Regex>,
    texts: Option<Regex>,
}

impl Planted {
    fn of(cluster: &Cluster) -> Result<Self> {
        let topics: BTreeSet<String> = cluster.lives.iter().map(|life| life.topic.as_str().to_owned()).collect();
        let names = any_of(topics.iter().map(String::as_bytes).filter(|name| name.len() >= LONG_NAME))?;
        let texts = any_of(cluster.lives.iter().flat_map(texts))?;
        Ok(Self { topics, names, texts })
    }

    /// What is seen of it in the object under that key.
    fn seen_in(&self, key: &str, bytes: &[u8]) -> impl Iterator<Item = &'static str> {
        let finds = |any: &Option<Regex>| any.as_ref().is_some_and(|any| any.is_match(bytes));
        let path = self.topics.iter().any(|topic| key.contains(topic.as_str())).then_some("the topic in a path");
        let name = finds(&self.names).then_some("the name of a topic");
        path.into_iter().chain(name).chain(finds(&self.texts).then_some("a key or a value"))
    }
}

/// How the keys and values of a topic's records begin.
fn texts(life: &Life) -> impl Iterator<Item = &[u8]> {
    let logs = life.partitions.iter().flat_map(|partition| partition.logs());
    let records = logs.flat_map(|log| log.entries.iter().filter_map(|entry| entry.record.as_deref()));
    let texts = records.flat_map(|record| [&record.key, &record.value].into_iter().flatten());
    texts.filter_map(|text| text.get(..LONG_TEXT))
}

/// What finds any of some texts; `None` where there is none.
fn any_of<'a>(texts: impl Iterator<Item = &'a [u8]>) -> Result<Option<Regex>> {
    let texts: BTreeSet<&[u8]> = texts.collect();
    if texts.is_empty() {
        return Ok(None);
    }
    let escaped = |text: &&[u8]| text.iter().map(|byte| format!("\\x{byte:02x}")).collect::<String>();
    let pattern = texts.iter().map(escaped).collect::<Vec<_>>().join("|");
    let any = RegexBuilder::new(&pattern).unicode(false).size_limit(AUTOMATON_BYTES).build();
    Ok(Some(any.with_context(|| format!("look for {} texts", texts.len()))?))
}
