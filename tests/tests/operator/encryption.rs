//! What `backup.encryption` becomes: keys as files of every pod, and what is told where they are not as they should be.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::definitions::{restore, sealed, with};
use crate::scene::{Scene, daily};

/// What the volume of the keys shows: Secrets and paths.
fn shown(pod: &Value) -> Vec<(&str, &str)> {
    let volumes = pod["spec"]["volumes"].as_array().into_iter().flatten();
    let keys = volumes.filter(|volume| volume["name"] == "encryption");
    let sources = keys.flat_map(|volume| volume["projected"]["sources"].as_array().into_iter().flatten());
    let secrets = sources.map(|source| &source["secret"]);
    secrets.filter_map(|secret| Some((secret["name"].as_str()?, secret["items"][0]["path"].as_str()?))).collect()
}

#[test]
fn a_sealed_backup_waits_for_its_key_and_gives_it_to_every_pod() -> Result<()> {
    let scene = Scene::new("sealed")?;
    scene.restrict()?;
    scene.strimzi.complete()?;
    scene.strimzi.secret("short", &[("aes", "hidden")])?;
    scene.strimzi.secret("other", &[("another", "hidden")])?;
    scene.strimzi.secret("first", &[("aes", &"0f".repeat(32))])?;
    scene.strimzi.secret("second", &[("aes", &"1e".repeat(32))])?;

    scene.apply(&sealed(daily(), "missing"))?;
    let message = scene.told("Reconciled", "SecretNotFound")?;
    ensure!(message.starts_with("encryption.keySecret names the Secret \"missing\""), "{message}");
    scene.apply(&sealed(daily(), "short"))?;
    let message = scene.told("Reconciled", "EncryptionKeyInvalid")?;
    ensure!(
        message.starts_with("key \"aes\" of Secret \"short\" has 6 bytes") && !message.contains("hidden"),
        "{message}"
    );
    scene.apply(&sealed(daily(), "other"))?;
    let message = scene.told("Reconciled", "SecretNotFound")?;
    ensure!(message.contains("no key \"aes\"; it has another"), "{message}");
    ensure!(scene.kubectl().get(scene.namespace(), "deployment/daily-streamer")?.is_none(), "no pod without a key");

    scene.apply(&sealed(daily(), "first"))?;
    scene.told("Reconciled", "Applied")?;
    let streamer = scene.wait("deployment/daily-streamer", |_| true)?;
    assert_eq!(shown(&streamer["spec"]["template"]), [("first", "first/aes")]);
    let snapshots = scene.wait("cronjob/daily-snapshot", |_| true)?;
    assert_eq!(shown(&snapshots["spec"]["jobTemplate"]["spec"]["template"]), [("first", "first/aes")]);
    scene.pending_pod("app.kubernetes.io/component=streamer,app.kubernetes.io/instance=daily")?;
    let document = scene.wait("configmap/daily-streamer", |_| true)?["data"]["job.yaml"].to_string();
    ensure!(document.contains("/etc/strimzi-backup/encryption/first/aes"), "{document}");
    ensure!(!document.contains("0f0f"), "{document}");

    // A new key: the pods start anew with both.
    let before = scene.digest()?;
    let old = json!([{"name": "first", "key": "aes"}]);
    scene.apply(&with(sealed(daily(), "second"), "backup.encryption.previousKeySecrets", old))?;
    let both = [("second", "second/aes"), ("first", "first/aes")];
    scene.wait("deployment/daily-streamer", |found| shown(&found["spec"]["template"]) == both)?;
    ensure!(scene.digest()? != before, "the document of the streamer is another");

    let user = json!({"type": "tls", "kafkaUserRef": {"name": "backup"}});
    scene.apply(&with(restore("again"), "authentication", user))?;
    let job = scene.wait("job/again-restore", |_| true)?;
    assert_eq!(shown(&job["spec"]["template"]), both, "a restore has the keys of its KafkaBackup");
    scene.end()
}

#[test]
fn a_restore_from_storage_has_keys_of_its_own() -> Result<()> {
    let scene = Scene::new("unsealed")?;
    scene.strimzi.complete()?;
    scene.strimzi.secret("kept", &[("aes", &"0f".repeat(32))])?;
    let user = json!({"type": "tls", "kafkaUserRef": {"name": "backup"}});
    let mut again = with(restore("again"), "authentication", user);
    again["spec"].as_object_mut().context("a spec")?.remove("backupRef");
    let again = with(again, "storage", daily()["spec"]["storage"].clone());
    let keys = json!({"enabled": true, "keySecret": {"name": "kept", "key": "aes"}});
    scene.apply(&with(again, "encryption", keys))?;
    let job = scene.wait("job/again-restore", |_| true)?;
    assert_eq!(shown(&job["spec"]["template"]), [("kept", "kept/aes")]);
    let document = scene.wait("configmap/again-restore", |_| true)?["data"]["restore.yaml"].to_string();
    ensure!(document.contains("/etc/strimzi-backup/encryption/kept/aes"), "{document}");
    scene.end()
}
