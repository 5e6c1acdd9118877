//! The examples, as users would apply them.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use strimzi_backup_operator::strimzi::access::{Purpose, acls};
use strimzi_backup_tests::chart;

use crate::{documents, plane};

/// The examples as they are, but for their namespaces: each file has one of its own, named by it, since some are ways to
/// write the same backup.
fn examples() -> Result<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(chart::root().join("examples/kubernetes"))? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        ensure!(text.starts_with("# "), "{} does not say what it is for", path.display());
        let name = path.file_stem().and_then(|name| name.to_str()).context("a name")?;
        let namespace = format!("example-{name}");
        // That of the cluster stands deeper.
        let line = |line: &str| match line.starts_with("  namespace: ") {
            true => format!("  namespace: {namespace}\n"),
            false => format!("{line}\n"),
        };
        let moved = text.lines().map(line).collect();
        found.push((namespace, moved));
    }
    Ok(found)
}

/// What objects are to be, each by its namespace, kind and name.
fn specs(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let name = |object: &Value| {
        let metadata = &object["metadata"];
        format!("{} {} {}", metadata["namespace"], object["kind"], metadata["name"])
    };
    objects.into_iter().map(|mut object| (name(&object), object["spec"].take())).collect()
}

/// Whether all that was written was kept; what was not may have got a default.
fn is_kept(written: &Value, kept: &Value) -> bool {
    match (written, kept) {
        (Value::Object(written), Value::Object(kept)) => {
            written.iter().all(|(name, value)| kept.get(name).is_some_and(|kept| is_kept(value, kept)))
        }
        (Value::Array(written), Value::Array(kept)) => {
            written.len() == kept.len() && written.iter().zip(kept).all(|(written, kept)| is_kept(written, kept))
        }
        _ => written == kept,
    }
}

#[test]
fn every_example_is_applied_kept_and_taken_again() -> Result<()> {
    let kubectl = plane()?.kubectl();
    let (mut all, mut written) = (String::new(), Vec::new());
    for (namespace, text) in examples()? {
        all += &format!("---\n{{apiVersion: v1, kind: Namespace, metadata: {{name: {namespace}}}}}\n---\n{text}");
        written.extend(documents(&text).context(namespace)?);
    }
    let written = specs(written);
    ensure!(written.len() > 18, "the examples are in another place now");
    // All at once, which is quick: what is refused is named with its namespace, and so with its file. And again, as whoever
    // has changed one of them does.
    for _ in 0..2 {
        kubectl.apply_anywhere(&all)?;
    }
    let kinds = "kafkabackups.kafkabackup.com,kafkarestores.kafkabackup.com,kafkausers.kafka.strimzi.io";
    let found = kubectl.run(&["get", kinds, "--all-namespaces", "--output", "json"])?;
    let mut found: Value = serde_json::from_str(&found).context("decode what was kept")?;
    let found: Vec<Value> = serde_json::from_value(found["items"].take()).context("the list of what was kept")?;
    let found = specs(found);
    for (name, spec) in written {
        let kept = found.get(&name).with_context(|| format!("{name} was applied, and is not there"))?;
        ensure!(is_kept(&spec, kept), "of {name} is not kept all of {spec}: {kept}");
    }
    Ok(())
}

#[test]
fn users_of_the_examples_have_the_rights_that_the_operator_asks_for() -> Result<()> {
    let restore = Purpose::Restore { groups: true, overwrite: false };
    for (name, purpose) in [
        ("kafka-user-backup", Purpose::Backup),
        ("kafka-user-backup-scram", Purpose::Backup),
        ("kafka-user-restore", restore),
    ] {
        let text = std::fs::read_to_string(chart::root().join(format!("examples/kubernetes/{name}.yaml")))?;
        let user: Value = serde_norway::from_str(&text)?;
        assert_eq!(user["spec"]["authorization"]["acls"], Value::from(acls(purpose)), "{name}");
    }
    Ok(())
}
