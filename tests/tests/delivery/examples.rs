//! The examples, as users would apply them.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use strimzi_backup_operator::strimzi::access::{Purpose, acls};
use strimzi_backup_tests::chart;

use crate::{documents, plane};

#[test]
fn the_api_server_takes_every_example() -> Result<()> {
    let kubectl = plane()?.kubectl();
    for name in ["kafka", "backups"] {
        kubectl.apply("default", &format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}"))?;
    }
    let mut applied = 0;
    for entry in std::fs::read_dir(chart::root().join("examples/kubernetes"))? {
        let path = entry?.path();
        let text = std::fs::read_to_string(&path)?;
        ensure!(text.starts_with("# "), "{} does not say what it is for", path.display());
        kubectl.dry_run(&text).with_context(|| path.display().to_string())?;
        applied += documents(&text)?.len();
    }
    ensure!(applied > 14, "the examples are in another place now");
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
