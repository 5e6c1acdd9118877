//! Our definitions of Strimzi's resources beside Strimzi's own, which this repository does not have. Whoever has them runs
//! these tests by hand:
//!
//! ```text
//! STRIMZI_REFERENCE=/folder cargo test --package strimzi-backup-tests --test operator -- --ignored reference
//! ```
//!
//! The folder has one for each release, by its number (`0.40.0` …), with the files of Strimzi's `install/cluster-operator`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use strimzi_backup_tests::kubernetes::releases::{Definitions, Kind, Release};

use crate::releases::upgraded;

fn strimzis() -> Result<Definitions> {
    let folder = std::env::var_os("STRIMZI_REFERENCE").context("STRIMZI_REFERENCE names the folder of definitions")?;
    Ok(Definitions::Strimzis(PathBuf::from(folder)))
}

/// The schemas of the versions of a definition, and whether each is served and stored.
fn versions(definition: &Value) -> BTreeMap<String, (bool, bool, Value)> {
    let versions = definition["spec"]["versions"].as_array().into_iter().flatten();
    let version = |one: &Value| {
        let is = |what: &str| one[what] == true;
        let schema = one["schema"]["openAPIV3Schema"].clone();
        (one["name"].as_str().unwrap_or_default().to_owned(), (is("served"), is("storage"), schema))
    };
    versions.map(version).collect()
}

/// Every field of a schema by its path, with what is compared of it.
fn fields(schema: &Value, path: &str, found: &mut BTreeMap<String, Value>) {
    found.insert(path.to_owned(), schema.clone());
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        fields(field, &format!("{path}.{name}"), found);
    }
    if !schema["items"].is_null() {
        fields(&schema["items"], &format!("{path}[]"), found);
    }
}

fn fields_of(schema: &Value) -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    fields(schema, "", &mut found);
    found
}

fn words<'a>(field: &'a Value, list: &str) -> BTreeSet<&'a str> {
    field[list].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// How a field of ours differs from Strimzi's: in its type, in the words that it takes, in which of the fields that we know
/// it has to have.
fn difference(ours: &Value, strimzis: &Value) -> Option<String> {
    let open = "x-kubernetes-preserve-unknown-fields";
    if (&ours["type"], &ours[open]) != (&strimzis["type"], &strimzis[open]) {
        return Some(format!("is {} and not {}", strimzis["type"], ours["type"]));
    }
    if !ours["enum"].is_null() && words(ours, "enum") != words(strimzis, "enum") {
        return Some(format!("takes {:?} and not {:?}", words(strimzis, "enum"), words(ours, "enum")));
    }
    let known = |field: &&str| ours["properties"].get(*field).is_some();
    let needed: BTreeSet<&str> = words(strimzis, "required").into_iter().filter(known).collect();
    let held = words(ours, "required");
    (needed != held).then(|| format!("has to have {needed:?} and not {held:?}"))
}

/// The fields of a kind that any version of ours knows in any release.
fn known(kind: Kind) -> BTreeSet<String> {
    let definitions = Release::ALL.map(|release| release.definition(kind));
    definitions.iter().flat_map(versions).flat_map(|(_, (_, _, schema))| fields_of(&schema).into_keys()).collect()
}

fn compared(release: Release, kind: Kind, strimzis: &Value) -> Vec<String> {
    let (ours, strimzis) = (versions(&release.definition(kind)), versions(strimzis));
    let mut faults = Vec::new();
    let flags = |versions: &BTreeMap<String, (bool, bool, Value)>| {
        versions.iter().map(|(name, one)| (name.clone(), one.0, one.1)).collect::<Vec<_>>()
    };
    if flags(&ours) != flags(&strimzis) {
        faults.push(format!("has the versions {:?} and not {:?}", flags(&strimzis), flags(&ours)));
    }
    for (version, (_, _, schema)) in &ours {
        let Some((_, _, strimzis)) = strimzis.get(version) else { continue };
        let (ours, strimzis) = (fields_of(schema), fields_of(strimzis));
        for path in known(kind) {
            let fault = match (ours.get(&path), strimzis.get(&path)) {
                (Some(ours), Some(strimzis)) => difference(ours, strimzis),
                (None, None) => None,
                (Some(_), None) => Some("is not there".to_owned()),
                (None, Some(_)) => Some("is there".to_owned()),
            };
            faults.extend(fault.map(|fault| format!("{version}: {path} {fault}")));
        }
    }
    faults
}

#[test]
#[ignore = "takes Strimzi's own definitions, which are not in this repository: STRIMZI_REFERENCE names their folder"]
fn our_definitions_are_a_part_of_strimzis() -> Result<()> {
    let reference = strimzis()?;
    let mut faults = Vec::new();
    for release in Release::ALL {
        for kind in Kind::ALL {
            let found = compared(release, kind, &reference.of(release, kind)?);
            faults.extend(found.into_iter().map(|fault| format!("{} of {} {fault}", kind.name(), release.number())));
        }
    }
    ensure!(faults.is_empty(), "Strimzi's own definitions differ from ours:\n{}", faults.join("\n"));
    Ok(())
}

#[tokio::test]
#[ignore = "takes Strimzi's own definitions, which are not in this repository: STRIMZI_REFERENCE names their folder"]
async fn the_operator_follows_strimzi_by_strimzis_own_definitions() -> Result<()> {
    upgraded(&strimzis()?).await
}
