//! Master keys of the tests: real files, read by a provider that can be told to be away.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use futures::TryStreamExt as _;
use object_store::ObjectStore as _;
use strimzi_backup_format::crypt::wraps::KeyWrap;
use strimzi_backup_format::crypt::{FileKeys, KeyError, KeyProvider, MasterKeyId, SecretKey, Wrapped};
use strimzi_backup_format::ids::TimestampMs;
use strimzi_backup_format::layout;
use strimzi_backup_format::manifest::log;
use strimzi_backup_format::sample::{assert_prints_none_of, identity as sample_identity};
use tempfile::TempDir;

use super::survey::tried;
use super::*;
use crate::error::{chain, exit};

/// Files with a master key each.
#[derive(Debug)]
pub(crate) struct TestKeys {
    _folder: TempDir,
    current: PathBuf,
    previous: Vec<PathBuf>,
    away: Arc<AtomicU64>,
    logins: AtomicU64,
    questions: Arc<AtomicU64>,
}

impl TestKeys {
    /// Keys of these bytes over and over, the first of them the current one.
    pub(crate) fn new(bytes: &[u8]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut files: Vec<PathBuf> = Vec::new();
        for byte in bytes {
            let path = folder.path().join(format!("key-{byte}"));
            std::fs::write(&path, [*byte; 32]).expect("written");
            files.push(path);
        }
        let previous = files.split_off(1);
        let (away, logins, questions) = (Arc::default(), AtomicU64::default(), Arc::default());
        Self { _folder: folder, current: files.remove(0), previous, away, logins, questions }
    }

    /// The next so many questions are not answered.
    pub(crate) fn be_away(&self, questions: u64) {
        self.away.store(questions, Ordering::Relaxed);
    }

    /// How many providers were made since this was asked last, and how many questions they were asked.
    pub(crate) fn asked(&self) -> (u64, u64) {
        (self.logins.swap(0, Ordering::Relaxed), self.questions.swap(0, Ordering::Relaxed))
    }

    /// The id of the current one.
    pub(crate) async fn id(&self) -> MasterKeyId {
        self.keys().current().await.expect("a file")
    }

    fn keys(&self) -> FileKeys {
        FileKeys::read(&self.current, &self.previous).expect("keys")
    }
}

impl Source for TestKeys {
    fn provider(&self) -> Result<Box<dyn KeyProvider>, KeyError> {
        self.logins.fetch_add(1, Ordering::Relaxed);
        let (away, questions) = (Arc::clone(&self.away), Arc::clone(&self.questions));
        Ok(Box::new(Sometimes { keys: self.keys(), away, questions }))
    }
}

/// A provider that is away now and then.
#[derive(Debug)]
struct Sometimes {
    keys: FileKeys,
    away: Arc<AtomicU64>,
    questions: Arc<AtomicU64>,
}

impl Sometimes {
    fn answer(&self) -> Result<(), KeyError> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        let is_away = self.away.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        match is_away {
            Ok(_) => {
                Err(KeyError::Unavailable { key: "file:of-the-test".to_owned(), source: "Vault is sealed".into() })
            }
            Err(_) => Ok(()),
        }
    }
}

#[async_trait]
impl KeyProvider for Sometimes {
    async fn current(&self) -> Result<MasterKeyId, KeyError> {
        self.answer()?;
        self.keys.current().await
    }

    async fn wrap(&self, key: &SecretKey, context: &[u8]) -> Result<Wrapped, KeyError> {
        self.answer()?;
        self.keys.wrap(key, context).await
    }

    async fn unwrap(&self, wrapped: &Wrapped, context: &[u8]) -> Result<SecretKey, KeyError> {
        self.answer()?;
        self.keys.unwrap(wrapped, context).await
    }

    fn knows(&self, master: &MasterKeyId) -> bool {
        self.keys.knows(master)
    }
}

/// An encrypted backup that was founded with these keys and holds nothing yet.
pub(crate) async fn founded(keys: &TestKeys) -> Store {
    let store = Store::memory();
    found(&store, sample_identity(), keys).await;
    store
}

/// Founds an encrypted backup with these keys; gives those of its own.
pub(crate) async fn found(store: &Store, identity: Identity, keys: &TestKeys) -> KeyRing {
    let identity = identity.with_encryption(keys.id().await);
    log::create_identity(store, &identity).await.expect("an identity");
    let provider = keys.provider().expect("keys");
    let made = wraps::found_or_rotate(store, identity.backup, provider.as_ref(), TimestampMs::new(0)).await;
    made.expect("the first key")
}

/// The keys of all objects.
pub(crate) async fn objects(store: &Store) -> Vec<String> {
    let listed: Vec<_> = store.inner.list(None).try_collect().await.expect("listed");
    let mut keys: Vec<_> = listed.into_iter().map(|meta| meta.location.to_string()).collect();
    keys.sort();
    keys
}

async fn refused(store: &Store, source: Option<&dyn Source>) -> (String, u8) {
    let before = objects(store).await;
    let error = unlocked(store.clone(), source).await.expect_err("not opened");
    assert_eq!(objects(store).await, before, "nothing is written");
    (chain(&error), error.exit_code())
}

#[tokio::test]
async fn a33_an_encrypted_backup_is_opened_with_its_key_alone_and_one_in_the_clear_with_none() {
    let keys = TestKeys::new(&[1]);
    let store = founded(&keys).await;
    let opened = unlocked(store.clone(), Some(&keys)).await.expect("its key");
    assert!(opened.keys.is_some());
    assert_eq!(survey(&opened).await.expect("readable").expect("encrypted").keys.len(), 1);
    let (told, code) = refused(&store, None).await;
    assert!(told.contains(keys.id().await.as_str()) && told.contains("backup.encryption"), "{told}");
    assert_eq!(code, exit::USAGE);

    let open = Store::memory();
    log::create_identity(&open, &sample_identity()).await.expect("an identity");
    let (told, code) = refused(&open, Some(&keys)).await;
    assert!(told.contains("is not encrypted; take another prefix, or leave backup.encryption out"), "{told}");
    assert_eq!(code, exit::USAGE);
    assert!(unlocked(open, None).await.expect("as ever").keys.is_none());
    for source in [None, Some(&keys as &dyn Source)] {
        let nothing = unlocked(Store::memory(), source).await.expect("its reader says that there is no backup");
        assert!(nothing.keys.is_none());
    }
}

#[tokio::test]
async fn a34_a_wrong_key_is_told_with_the_id_of_the_right_one() {
    let keys = TestKeys::new(&[1]);
    let store = founded(&keys).await;
    let (told, code) = refused(&store, Some(&TestKeys::new(&[2, 3]))).await;
    assert!(told.contains(keys.id().await.as_str()) && told.contains("backup key 0"), "{told}");
    assert_eq!(code, exit::USAGE);
    assert!(unlocked(store, Some(&TestKeys::new(&[2, 1]))).await.is_ok(), "as an earlier one it opens");
}

#[tokio::test]
async fn a34_what_the_current_master_key_opens_is_tried_and_not_believed() {
    let (old, both) = (TestKeys::new(&[1]), TestKeys::new(&[2, 1]));
    let store = founded(&old).await;
    let wrapped = Wrapped { master: both.id().await, text: "A".repeat(80) };
    let lying = KeyWrap::new(sample_identity().backup, 0, 1, wrapped, TimestampMs::new(0));
    wraps::create(&store, &lying).await.expect("created");
    let opened = tried(&old, &store).await.expect("tried");
    assert_eq!(opened, Current { master: old.id().await, opens: BTreeSet::from([0]) });
    let opened = tried(&both, &store).await.expect("tried");
    assert_eq!(opened, Current { master: both.id().await, opens: BTreeSet::new() }, "the old one opens it");
    both.be_away(1);
    assert!(tried(&both, &store).await.expect_err("away").is_unavailable());
}

#[tokio::test]
async fn a33_a_key_service_that_is_away_is_told_apart_from_a_wrong_key() {
    let keys = TestKeys::new(&[1]);
    let store = founded(&keys).await;
    keys.be_away(1);
    let error = unlocked(store.clone(), Some(&keys)).await.expect_err("away");
    assert!(matches!(&error, Error::Keys(error) if error.is_unavailable()), "{error}");
    assert_eq!(error.exit_code(), exit::FAILED, "{error}");
    assert!(chain(&error).contains("Vault is sealed"), "{}", chain(&error));
    assert!(unlocked(store, Some(&keys)).await.is_ok());
}

#[tokio::test]
async fn a35_what_is_damaged_or_gone_of_identity_and_keys_is_told_by_who_reads_it() {
    let keys = TestKeys::new(&[1]);
    let store = founded(&keys).await;
    let identity = layout::identity().below(&store.prefix);
    // Its segments can be read without it.
    store.inner.put_opts(&identity, "half an ident".into(), Default::default()).await.expect("put");
    let opened = unlocked(store.clone(), Some(&keys)).await.expect("its keys say whose it is");
    assert!(opened.keys.is_some());
    assert!(unlocked(store, None).await.expect("its reader says what is wrong").keys.is_none());

    let store = founded(&keys).await;
    let wrap = layout::key_wrap(0, 0).below(&store.prefix);
    store.inner.put_opts(&wrap, "half a wrap".into(), Default::default()).await.expect("put");
    let (told, code) = refused(&store, Some(&keys)).await;
    assert!(told.contains("keys/0000-0000.json is damaged"), "{told}");
    assert_eq!(code, exit::DAMAGED);

    let store = Store::memory();
    log::create_identity(&store, &sample_identity().with_encryption(keys.id().await)).await.expect("an identity");
    let (told, code) = refused(&store, Some(&keys)).await;
    assert!(told.contains("there is no wrapped key below keys/"), "{told}");
    assert_eq!(code, exit::DAMAGED);
    let (told, _) = refused(&store, None).await;
    assert!(told.contains(keys.id().await.as_str()), "{told}");
}

#[tokio::test]
async fn a33_nothing_that_was_asked_for_and_nothing_that_it_opens_is_printed() {
    let keys = TestKeys::new(&[1]);
    let store = founded(&keys).await;
    let once = Once::new(&keys);
    let provider = once.provider().expect("keys");
    let wraps = wraps::read(&store).await.expect("readable").wraps;
    let keys_of = wraps::open_each(sample_identity().backup, &wraps, provider.as_ref()).await.expect("opened");
    let opened = unlocked(store, Some(&once)).await.expect("its key");
    for secret in [&[1; 32], keys_of[&0].key.as_bytes()] {
        assert_prints_none_of(secret, &(&once, &provider, &opened, &opened.keys));
    }
}

#[test]
fn who_opens_what_reads_well() {
    let id = |name: &str| -> MasterKeyId { format!("file:{}", name.repeat(16)).parse().expect("legal") };
    let key = |number, masters: &[&str]| BackupKey { number, master_keys: masters.iter().map(|m| id(m)).collect() };
    let one = [key(0, &["a", "b"])];
    assert_eq!(openers(&one), format!("{} or {}", id("a"), id("b")));
    let two = [key(0, &["a"]), key(1, &["b"])];
    assert_eq!(openers(&two), format!("{} for backup key 0, {} for backup key 1", id("a"), id("b")));
}
