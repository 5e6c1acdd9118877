//! A master key in a real Vault, which is sealed, hangs, rotates its key, lets nobody ask, or cannot be believed.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::certs::Certs;
use strimzi_backup_tests::http;
use strimzi_backup_tests::kubernetes::ControlPlane;
use strimzi_backup_tests::restore::{Restore, same_but_offsets};
use strimzi_backup_tests::scenario::{Scenario, shared_broker, shows_none_of, tree};
use strimzi_backup_tests::streamer::{Job, Streamer};
use strimzi_backup_tests::vault::{NEEDED, Vault};

use super::rotation::{refused, rekey};
use super::{ended, files, records, verified};

/// The name of the key.
const KEY: &str = "orders";

/// A topic whose backup is sealed by a key of its own Vault.
struct Scene {
    vault: Vault,
    scenario: Scenario,
    topic: &'static str,
    token: String,
}

impl Scene {
    fn new(topic: &'static str) -> Result<Self> {
        let (vault, mut scenario) = (Vault::start()?, Scenario::shared(topic)?);
        vault.create_key(KEY)?;
        vault.allow(KEY, &NEEDED)?;
        let (token, file) = (vault.token()?, scenario.dir().join("token"));
        std::fs::write(&file, &token)?;
        let transit = json!({"address": vault.address(), "key": KEY, "tokenFile": file});
        scenario.job = scenario.job.set("/backup/encryption", json!({"enabled": true, "transit": transit}));
        scenario.client.create_topic(topic, 1, &[])?;
        Ok(Self { vault, scenario, topic, token })
    }

    fn job(&self) -> &Job {
        &self.scenario.job
    }

    /// Sets a field of `transit`.
    fn set(&mut self, name: &str, value: Value) {
        let pointer = format!("/backup/encryption/transit/{name}");
        self.scenario.job = self.job().clone().set(&pointer, value);
    }

    /// Has everybody log in by this token of a service account.
    fn log_in(&mut self, role: &str, jwt: &str) -> Result<()> {
        let file = self.scenario.dir().join("jwt");
        std::fs::write(&file, jwt)?;
        let kubernetes = json!({"role": role, "tokenFile": file});
        let transit = json!({"address": self.vault.address(), "key": KEY, "kubernetes": kubernetes});
        self.scenario.job = self.job().clone().set("/backup/encryption/transit", transit);
        self.token = jwt.to_owned();
        Ok(())
    }

    fn produce(&self, range: Range<u64>) -> Result<()> {
        self.scenario.client.produce(self.topic, &records(range)).map(drop)
    }

    /// A restore under another name.
    fn restore(&self, target: &str) -> Result<Restore> {
        let bootstrap = shared_broker()?.bootstrap();
        Ok(Restore::new(self.scenario.dir(), target, self.job(), &bootstrap).mapped(self.topic, target))
    }

    /// Insists that a restore ends with a code and creates nothing; gives what it said.
    fn restores_nothing(&self, target: &str, wanted: i32) -> Result<String> {
        let (code, out, err) = self.restore(target)?.run(&[])?;
        ensure!(code == wanted, "the restore ended with {code}, not {wanted}\n{out}\n{err}");
        ensure!(self.scenario.client.partition_count(target)? == 0, "{target} was created");
        Ok(err)
    }

    /// Insists that a restore brings back what Kafka holds, of so many records, and that all of the backup is sealed.
    fn comes_back(&self, target: &str, count: usize) -> Result<()> {
        self.restore(target)?.done()?;
        let client = &self.scenario.client;
        let same = same_but_offsets(&client.read_all(self.topic)?, &client.read_all(target)?)?;
        ensure!(same == count, "{same} records, not {count}");
        all_sealed(&self.job().backup_dir())
    }
}

/// Insists that each object is sealed, but those which say who opens the others.
fn all_sealed(dir: &Path) -> Result<()> {
    for path in files(dir)? {
        let name = path.strip_prefix(dir)?.display().to_string();
        if name == "backup.json" || name.starts_with("keys/") || name.starts_with("probe/") {
            continue;
        }
        let bytes = std::fs::read(&path)?;
        ensure!(bytes.starts_with(b"SBE1") || bytes.starts_with(b"PARE"), "{name} is in the clear");
    }
    Ok(())
}

/// A streamer that waits for its key.
fn waiting(job: &Job) -> Result<Streamer> {
    let mut streamer = job.stream(&[])?;
    streamer.wait_metric("strimzi_backup_key_unavailable", |value| value == 1.0)?;
    let answer = http::get(&streamer.http()?, "/readyz")?;
    ensure!(answer.status == 503 && answer.body.contains("master key"), "{} {}", answer.status, answer.body);
    ensure!(streamer.metric("strimzi_backup_records_total")? == 0.0);
    Ok(streamer)
}

/// Waits until a streamer has committed so many records, and nothing is amiss.
fn goes_on(streamer: &mut Streamer, count: f64) -> Result<()> {
    streamer.wait_metric("strimzi_backup_records_total", |records| records >= count)?;
    ensure!(streamer.metric("strimzi_backup_key_unavailable")? == 0.0);
    streamer.ready()
}

#[test]
#[ignore = "on a real Vault, which takes minutes to build: make vault"]
fn a33_while_vault_is_sealed_or_hangs_records_stay_in_kafka_and_it_goes_on_alone() -> Result<()> {
    let mut scene = Scene::new("transit-away")?;
    let job = scene.job().clone();
    scene.produce(0..10)?;
    scene.vault.seal()?;
    let mut streamer = waiting(&job)?;
    streamer.wait_log("Vault is sealed (503)")?;
    let stored = files(&job.backup_dir())?;
    ensure!(stored.iter().all(|path| path.ends_with("probe/create-once")), "{stored:?}");
    scene.vault.unseal()?;
    goes_on(&mut streamer, 10.0)?;

    // Who streams asks for nothing any more.
    scene.vault.seal()?;
    scene.produce(10..20)?;
    goes_on(&mut streamer, 20.0)?;
    shows_none_of(&streamer.process.stderr(), &[scene.token.as_str()])?;
    streamer.stop()?;
    let (_, err) = ended(&job, &["inspect"], 1)?;
    ensure!(err.contains("transit:transit/orders:v1") && err.contains("Vault is sealed"), "{err}");
    let err = scene.restores_nothing("unsealed-never", 1)?;
    ensure!(err.contains("Vault is sealed"), "{err}");
    scene.vault.unseal()?;

    // It takes connections, and does not answer.
    scene.vault.process().sigstop()?;
    let before = tree(&job.backup_dir())?;
    scene.produce(20..30)?;
    let mut streamer = waiting(&job)?;
    ensure!(tree(&job.backup_dir())? == before, "something was written");
    scene.vault.process().sigcont()?;
    goes_on(&mut streamer, 10.0)?;
    streamer.stop()?;
    job.verify()?;
    scene.comes_back("unsealed-away", 30)
}

#[test]
#[ignore = "on a real Vault, which takes minutes to build: make vault"]
fn a34_a_version_of_a_key_of_vault_may_go_after_a_rekey_and_before_that_it_is_missed() -> Result<()> {
    let scene = Scene::new("transit-rotated")?;
    let (job, [old, new]) = (scene.job(), ["transit:transit/orders:v1", "transit:transit/orders:v2"]);
    scene.produce(0..20)?;
    job.catch_up()?;
    scene.vault.rotate(KEY)?;
    scene.produce(20..40)?;
    job.catch_up()?;
    let report = verified(job, "3", 0)?;
    let masters = |number: usize| report["keys"]["backupKeys"][number]["masterKeys"].clone();
    ensure!((masters(0), masters(1)) == (json!([old]), json!([new])), "{report}");
    ensure!(report["keys"]["current"] == json!(new) && report["keys"]["rekey"] == json!([0]), "{report}");

    scene.vault.decrypt_from(KEY, 2)?;
    for command in [&["stream", "--until-caught-up"][..], &["inspect"], &["verify"], &["rekey"], &["prune"]] {
        refused(job, command, old)?;
    }
    let err = scene.restores_nothing("unsealed-early", 2)?;
    ensure!(err.contains(old) && err.contains("disallowed by policy"), "{err}");

    scene.vault.decrypt_from(KEY, 1)?;
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;
    let (report, _) = rekey(job, 0)?;
    ensure!(report["added"] == json!([0]) && report["notNeeded"] == json!([old]), "{report}");
    ensure!(report["current"] == json!(new), "{report}");
    streamer.stop()?;

    scene.vault.decrypt_from(KEY, 2)?;
    scene.produce(40..50)?;
    job.catch_up()?;
    let report = verified(job, "3", 0)?;
    ensure!(report["keys"]["rekey"] == json!([]), "{report}");
    scene.comes_back("unsealed-rotated", 50)?;
    let keys = files(&job.backup_dir().join("keys"))?;
    ensure!(keys.len() == 3, "two keys, one of them wrapped twice: {keys:?}");
    Ok(())
}

/// Insists that streaming is refused in the words of Vault, and writes nothing.
fn denied(scene: &Scene) -> Result<()> {
    let before = tree(&scene.job().backup_dir())?;
    let (_, err) = ended(scene.job(), &["stream", "--until-caught-up"], 1)?;
    for part in ["transit:transit/orders", "permission denied", "(403)"] {
        ensure!(err.contains(part), "it does not say {part:?}: {err}");
    }
    shows_none_of(&err, &[scene.token.as_str()])?;
    let after = tree(&scene.job().backup_dir())?;
    let new: Vec<_> = after.keys().filter(|path| !before.contains_key(*path)).collect();
    ensure!(new.iter().all(|path| path.ends_with("probe/create-once")), "{new:?}");
    ensure!(before.iter().all(|(path, digest)| after.get(path) == Some(digest)), "something was changed");
    Ok(())
}

#[test]
#[ignore = "on a real Vault, which takes minutes to build: make vault"]
fn a33_whom_vault_denies_the_key_is_told_so_and_writes_nothing() -> Result<()> {
    let scene = Scene::new("transit-denied")?;
    scene.produce(0..10)?;
    scene.vault.allow(KEY, &[])?;
    denied(&scene)?;
    ensure!(!scene.job().backup_dir().join("backup.json").exists(), "no backup was founded");
    scene.vault.allow(KEY, &NEEDED)?;
    scene.job().catch_up()?;

    // Who may only encrypt could add to what it cannot read.
    scene.vault.allow(KEY, &["encrypt", "keys"])?;
    denied(&scene)?;
    let err = scene.restores_nothing("unsealed-denied", 1)?;
    ensure!(err.contains("transit:transit/orders:v1") && err.contains("permission denied"), "{err}");
    // Who only reads needs no more than to decrypt.
    scene.vault.allow(KEY, &["decrypt"])?;
    scene.comes_back("unsealed-granted", 10)?;

    scene.vault.allow(KEY, &NEEDED)?;
    scene.vault.revoke(&scene.token)?;
    denied(&scene)?;
    // A token that is written beside is the next one asked with.
    std::fs::write(scene.scenario.dir().join("token"), scene.vault.token()?)?;
    scene.produce(10..20)?;
    scene.job().catch_up()?;
    scene.comes_back("unsealed-anew", 20)
}

/// Insists that whoever asks does not believe who answers, says what to do about it, and writes nothing.
fn not_believed(job: &Job) -> Result<()> {
    let before = tree(&job.backup_dir())?;
    let (_, err) = ended(job, &["inspect"], 1)?;
    for part in ["transit:transit/orders:v1", "UnknownIssuer", "transit.caFile"] {
        ensure!(err.contains(part), "it does not say {part:?}: {err}");
    }
    let mut streamer = waiting(job)?;
    streamer.wait_log("transit.caFile")?;
    ensure!(tree(&job.backup_dir())? == before, "something was written");
    Ok(())
}

#[test]
#[ignore = "on a real Vault, which takes minutes to build: make vault"]
fn a33_vault_is_believed_by_a_certificate_of_its_ca_and_by_no_other() -> Result<()> {
    let mut scene = Scene::new("transit-tls")?;
    scene.produce(0..10)?;
    let (address, ca) = (scene.vault.tls_address(), scene.vault.ca());
    scene.set("address", json!(address));
    scene.set("caFile", json!(ca));
    scene.job().catch_up()?;

    let stranger = Certs::generate_by("another-ca", &scene.scenario.dir().join("another"), &[])?;
    scene.set("caFile", json!(stranger.ca()));
    not_believed(scene.job())?;
    scene.set("caFile", Value::Null);
    not_believed(scene.job())?;
    let err = scene.restores_nothing("unsealed-unbelieved", 1)?;
    ensure!(err.contains("transit.caFile"), "{err}");

    scene.set("caFile", json!(ca));
    scene.produce(10..20)?;
    scene.job().catch_up()?;
    scene.comes_back("unsealed-tls", 20)
}

/// Insists that a login is refused in these words, and founds no backup.
fn not_let_in(scene: &Scene, words: &str) -> Result<()> {
    let (_, err) = ended(scene.job(), &["stream", "--until-caught-up"], 1)?;
    for part in ["transit:transit/orders", "the login as role", words] {
        ensure!(err.contains(part), "it does not say {part:?}: {err}");
    }
    shows_none_of(&err, &[scene.token.as_str()])?;
    ensure!(!scene.job().backup_dir().join("backup.json").exists(), "a backup was founded");
    Ok(())
}

/// A cluster that Vault asks about tokens, and a namespace of it with the service accounts `streamer` and `stranger`.
fn trusted_cluster(vault: &Vault) -> Result<(ControlPlane, String)> {
    let plane = ControlPlane::start()?;
    let namespace = plane.namespace("vault")?;
    for account in ["reviewer", "streamer", "stranger"] {
        plane.kubectl().run(&["create", "serviceaccount", "--namespace", &namespace, account])?;
    }
    let reviewer = format!("--serviceaccount={namespace}:reviewer");
    let role = "--clusterrole=system:auth-delegator";
    plane.kubectl().run(&["create", "clusterrolebinding", "reviewer", role, &reviewer])?;
    vault.trust_cluster(&plane.address(), &plane.ca(), &plane.token(&namespace, "reviewer")?)?;
    vault.let_in("backup", &namespace, "streamer")?;
    Ok((plane, namespace))
}

#[test]
#[ignore = "on a real Vault, which takes minutes to build: make vault"]
fn a33_vault_lets_in_the_service_account_of_its_role_and_whom_it_does_not_is_told_so() -> Result<()> {
    let mut scene = Scene::new("transit-account")?;
    let (plane, namespace) = trusted_cluster(&scene.vault)?;
    scene.produce(0..10)?;
    let [streamer, stranger] = ["streamer", "stranger"].map(|account| plane.token(&namespace, account));
    let (streamer, stranger) = (streamer?, stranger?);
    scene.log_in("backup", &stranger)?;
    not_let_in(&scene, "service account name not authorized")?;
    scene.log_in("nobodys", &streamer)?;
    not_let_in(&scene, "invalid role name")?;
    // It says that it is the streamer's, and who has signed it has signed something else.
    let (said, _) = streamer.rsplit_once('.').context("a signed token")?;
    let (_, signature) = stranger.rsplit_once('.').context("a signed token")?;
    scene.log_in("backup", &format!("{said}.{signature}"))?;
    not_let_in(&scene, "permission denied")?;

    scene.log_in("backup", &streamer)?;
    scene.job().catch_up()?;
    // What it may do is what its role may, and no more.
    scene.vault.allow(KEY, &["encrypt", "keys"])?;
    denied(&scene)?;
    scene.vault.allow(KEY, &NEEDED)?;
    scene.produce(10..20)?;
    let mut running = scene.job().stream(&[])?;
    goes_on(&mut running, 10.0)?;
    shows_none_of(&running.process.stderr(), &[streamer.as_str()])?;
    running.stop()?;
    scene.comes_back("unsealed-account", 20)
}
