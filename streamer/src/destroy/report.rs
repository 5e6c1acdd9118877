//! What a deletion came to, as text and as JSON.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use strimzi_backup_format::ids::BackupId;
use strimzi_backup_format::store::Store;

use super::DestroyError;
use super::plan::{Found, Stage};
use crate::error::Error;
use crate::prune::report::{Refused, Sums, is_protected};

/// How many objects are named of those that stay.
const NAMED: usize = 10;

/// After so many refusals in a row it is given up: the credentials may not delete, or the store is gone.
const HOPELESS: u32 = 8;

/// What a deletion came to.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// The store, for people.
    pub storage: String,
    /// The backup that was to go.
    pub backup: BackupId,
    /// Whether there is no `backup.json`, from the start or now: the backup is gone.
    pub gone: bool,
    /// What was deleted.
    pub deleted: Sums,
    /// The same by folder.
    pub by_folder: BTreeMap<&'static str, Sums>,
    /// What the store did not delete.
    pub refused: Sums,
    /// The first of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refused>,
    /// What has the form of a backup's objects and is there, although there is no `backup.json`.
    pub left: Sums,
    /// What is none of a backup's, and was left alone.
    pub foreign: Sums,
    /// The first of these.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub first_foreign: Vec<String>,
    /// Whether the store says of all refusals that it protects its objects.
    #[serde(skip)]
    protected: bool,
    /// Refusals since the last deletion that are no protection.
    #[serde(skip)]
    in_a_row: u32,
}

impl Report {
    pub(super) fn new(store: &Store, backup: BackupId) -> Self {
        Self {
            storage: store.description.clone(),
            backup,
            gone: false,
            deleted: Sums::default(),
            by_folder: BTreeMap::new(),
            refused: Sums::default(),
            refusals: Vec::new(),
            left: Sums::default(),
            foreign: Sums::default(),
            first_foreign: Vec::new(),
            protected: true,
            in_a_row: 0,
        }
    }

    pub(super) fn deleted(&mut self, stage: Option<Stage>, found: &Found) {
        self.in_a_row = 0;
        self.deleted.add(found.bytes);
        if let Some(stage) = stage {
            self.by_folder.entry(stage.folder()).or_default().add(found.bytes);
        }
    }

    pub(super) fn refused(&mut self, found: &Found, error: &object_store::Error) {
        self.refused.add(found.bytes);
        if !is_protected(error) {
            self.protected = false;
            self.in_a_row += 1;
        }
        if self.refusals.len() < NAMED {
            self.refusals.push(Refused { object: found.key.clone(), why: crate::error::chain(error) });
        }
    }

    pub(super) fn left(&mut self, found: &Found) {
        self.left.add(found.bytes);
    }

    pub(super) fn foreign(&mut self, found: Found) {
        self.foreign.add(found.bytes);
        if self.first_foreign.len() < NAMED {
            self.first_foreign.push(found.key);
        }
    }

    /// Whether going on would only collect refusals.
    pub(super) fn is_hopeless(&self) -> bool {
        self.in_a_row >= HOPELESS
    }

    /// Whether the backup is gone.
    ///
    /// # Errors
    /// [`DestroyError::Refused`].
    pub fn outcome(&self) -> Result<(), Error> {
        let Some(first) = self.refusals.first().cloned() else { return Ok(()) };
        let (objects, protected) = (self.refused.objects, self.protected);
        Err(DestroyError::Refused { objects, first, protected }.into())
    }

    /// As JSON.
    pub fn to_json(&self) -> String {
        // Text keys and finite numbers only, which is all that serde_json asks for.
        serde_json::to_string_pretty(self).unwrap_or_default() + "\n"
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "backup      {} at {}", self.backup, self.storage)?;
        match (self.gone, self.deleted.objects) {
            (true, 0) => writeln!(f, "gone        there is no backup.json: nothing is to be done")?,
            (true, _) => writeln!(f, "gone        all of it")?,
            (false, _) => writeln!(f, "there       backup.json, until everything else is deleted")?,
        }
        writeln!(f, "deleted     {}", self.deleted)?;
        for (folder, sums) in &self.by_folder {
            writeln!(f, "            {folder}: {sums}")?;
        }
        if self.refused.objects > 0 {
            writeln!(f, "refused     {}", self.refused)?;
        }
        for refused in &self.refusals {
            writeln!(f, "            {refused}")?;
        }
        if self.left.objects > 0 {
            writeln!(f, "left        {}: of a backup, and nobody can say of which", self.left)?;
        }
        if self.foreign.objects > 0 {
            writeln!(f, "foreign     {}, left alone", self.foreign)?;
        }
        for key in &self.first_foreign {
            writeln!(f, "            {key}")?;
        }
        Ok(())
    }
}
