//! Which master keys an encrypted backup needs, and whether the current one opens all of it.
//!
//! Owns: what is told of that. Warns, and finds nothing, where an earlier master key alone opens a backup: it is whole for as long as that
//! is there. A wrapped key that is damaged is a finding. Manifests are never deleted, so no backup key is ever without use.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use strimzi_backup_format::crypt::{MasterKeyId, wraps};

use super::report::{FindingKind, Report};
use crate::error::chain;
use crate::keys::{BackupKey, Current, KeysError};

/// Who opens an encrypted backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Keys {
    /// The master key that the job has as its current one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub current: Option<MasterKeyId>,
    /// The backup keys.
    pub backup_keys: Vec<KeyUse>,
    /// The numbers of those that the current master key does not open: `rekey` makes it.
    pub rekey: Vec<u32>,
}

/// A backup key, and what needs it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyUse {
    /// It, and who opens it.
    #[serde(flatten)]
    pub key: BackupKey,
    /// Live files whose data keys it wraps; absent on level 1, which reads none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u64>,
}

impl Keys {
    /// What is told of these keys. `files` are those that each wraps, where they were read.
    pub(super) fn of(backup_keys: Vec<BackupKey>, current: Option<Current>, files: Option<BTreeMap<u32, u64>>) -> Self {
        let is_left = |key: &BackupKey| current.as_ref().is_some_and(|current| !current.opens.contains(&key.number));
        let rekey = backup_keys.iter().filter(|key| is_left(key)).map(|key| key.number).collect();
        let of_key = |mut key: BackupKey| {
            if is_left(&key) {
                // A wrap may name the current one, and not open.
                key.master_keys.retain(|master| current.as_ref().is_none_or(|current| current.master != *master));
            }
            let files = files.as_ref().map(|files| files.get(&key.number).copied().unwrap_or(0));
            KeyUse { key, files }
        };
        let backup_keys = backup_keys.into_iter().map(of_key).collect();
        Self { current: current.map(|current| current.master), rekey, backup_keys }
    }
}

/// Notes that what lies below `keys/` cannot be read, and whether that is damage.
pub(super) fn find_unread(error: &KeysError, report: &mut Report) {
    match error {
        KeysError::Wraps(wraps::Error::Document { object, source }) => report.find_document(object, source),
        KeysError::Wraps(wraps::Error::Missing { number, .. }) => {
            report.find_object(FindingKind::Missing, &format!("keys/{number:04}-…"), chain(error));
        }
        _ => report.find_object(FindingKind::Unanswered, &"keys/", chain(error)),
    }
}

impl fmt::Display for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for KeyUse { key, files } in &self.backup_keys {
            let (number, openers) = (key.number, key.openers());
            write!(f, "keys         backup key {number}, opened by {openers}")?;
            match files {
                Some(files) => writeln!(f, ": {files} live files, and documents")?,
                None => writeln!(f)?,
            }
            if let Some(current) = self.current.as_ref().filter(|_| self.rekey.contains(&key.number)) {
                writeln!(
                    f,
                    "attention    {current}, the current master key, does not open backup key {number}: run `strimzi-backup rekey` before \
                     {openers} goes, or what it sealed is lost"
                )?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(letter: &str) -> MasterKeyId {
        format!("file:{}", letter.repeat(16)).parse().expect("legal")
    }

    #[test]
    fn a34_a_backup_key_that_the_current_master_key_does_not_open_is_told_with_what_opens_it() {
        let current =
            |letter, opens: &[u32]| Some(Current { master: id(letter), opens: opens.iter().copied().collect() });
        let keys = [(0, vec![id("a"), id("b")]), (1, vec![id("b")])];
        let keys = keys.map(|(number, master_keys)| BackupKey { number, master_keys }).to_vec();
        let told = Keys::of(keys.clone(), current("a", &[0]), Some(BTreeMap::from([(1, 7)])));
        insta::assert_snapshot!(told, @"
        keys         backup key 0, opened by file:aaaaaaaaaaaaaaaa or file:bbbbbbbbbbbbbbbb: 0 live files, and documents
        keys         backup key 1, opened by file:bbbbbbbbbbbbbbbb: 7 live files, and documents
        attention    file:aaaaaaaaaaaaaaaa, the current master key, does not open backup key 1: run `strimzi-backup rekey` before file:bbbbbbbbbbbbbbbb goes, or what it sealed is lost
        ");
        let json = serde_json::to_value(&told).expect("JSON");
        assert_eq!((&json["rekey"], &json["backupKeys"][1]["files"]), (&serde_json::json!([1]), &7.into()));
        // What names it and does not open is no reason to let another one go.
        let told = Keys::of(keys.clone(), current("a", &[]), None);
        assert_eq!(
            (told.rekey.as_slice(), &told.backup_keys[0].key.master_keys),
            (&[0, 1][..], &vec![id("b")]),
            "{told}"
        );
        let told = Keys::of(keys, current("b", &[0, 1]), None);
        assert!(told.rekey.is_empty() && !told.to_string().contains("attention"), "{told}");
        assert!(!told.to_string().contains("live files"), "level 1 reads none");
    }
}
