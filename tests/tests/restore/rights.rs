//! Restoring as a user whose every right was granted one by one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use strimzi_backup_tests::kafka::{BrokerOptions, KafkaBroker};
use strimzi_backup_tests::restore::{Restore, same_but_offsets};
use strimzi_backup_tests::scenario::{Scenario, bulky, numbered};
use strimzi_backup_tests::streamer::PATIENCE;

use super::{begun, overrides};

/// Longer than a question takes, shorter than the waits for a target that does not answer.
const SOON: Duration = Duration::from_secs(45);

const TOPIC: &str = "--topic";
const GROUP: &str = "--group";
const ID: &str = "--transactional-id";

/// A kind of resource, an operation, and the users who may do everything but that.
type Right = (&'static str, &'static str, &'static [&'static str]);

/// What docs/operations.md lists; `Describe` comes with the others.
const RIGHTS: [Right; 9] = [
    (ID, "Write", &["no-id"]),
    (GROUP, "Read", &["no-group"]),
    (GROUP, "Delete", &["no-end"]),
    (TOPIC, "Write", &["no-write"]),
    (TOPIC, "Read", &["no-read"]),
    (TOPIC, "Create", &["no-create", "appender", "no-configs"]),
    (TOPIC, "AlterConfigs", &["no-alter", "appender", "no-configs"]),
    (TOPIC, "Delete", &["no-delete", "appender", "no-configs"]),
    (TOPIC, "DescribeConfigs", &["no-alter", "no-configs"]),
];

/// A secured cluster with a backup of itself.
struct Secured {
    broker: KafkaBroker,
    scenario: Scenario,
}

impl Secured {
    fn start(name: &str) -> Result<Self> {
        let broker = KafkaBroker::start_with(&BrokerOptions::default().secure())?;
        let scenario = Scenario::on(&broker, name)?;
        scenario.client.create_topic(name, 2, &[("retention.ms", "-1"), ("cleanup.policy", "compact")])?;
        scenario.client.produce(name, &numbered(0..200))?;
        scenario.job.catch_up()?;
        Ok(Self { broker, scenario })
    }

    /// Lets users do something with everything that these restores use: `to-…` topics, and their own groups and ids.
    fn allow(&self, kind: &str, operation: &str, users: &BTreeSet<&str>) -> Result<()> {
        let prefix = if kind == TOPIC { "to-" } else { "strimzi-backup-restore-" };
        let mut arguments =
            vec!["--add", "--operation", operation, kind, prefix, "--resource-pattern-type", "prefixed"];
        let principals: Vec<String> = users.iter().map(|user| format!("User:{user}")).collect();
        arguments.extend(principals.iter().flat_map(|principal| ["--allow-principal", principal]));
        self.broker.cli("acls", &arguments).map(drop)
    }

    /// A restore by a user, under the user's name, of `source` into `to-<user>`.
    fn restore(&self, user: &str, source: &str) -> Result<Restore> {
        let token = self.scenario.dir().join(format!("{user}.token"));
        std::fs::write(&token, bearer(user)?)?;
        let cluster = json!({
            "bootstrapServers": self.broker.bootstrap_oauth()?,
            "tls": {"caFiles": [self.broker.certs()?.ca()]},
            "authentication": {"type": "oauthbearer", "tokenFile": token},
        });
        let restore = Restore::new(self.scenario.dir(), user, &self.scenario.job, "").cluster(cluster);
        Ok(restore.mapped(source, &format!("to-{user}")))
    }
}

/// A token that a broker for tests accepts: unsigned.
fn bearer(user: &str) -> Result<String> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let claims = json!({"sub": user, "iat": now - 60, "exp": now + 3600});
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    Ok(format!("{}.{}.", encode(json!({"alg": "none"})), encode(claims)))
}

/// Insists that a restore ends soon, with 2, and says all of it.
fn refused(restore: &Restore, arguments: &[&str], words: &[&str]) -> Result<()> {
    let started = Instant::now();
    let (code, out, err) = restore.run(arguments)?;
    ensure!(code == 2, "{words:?}: ended with {code}\n{out}\n{err}");
    for word in words {
        ensure!(err.contains(word), "{word:?} is not in\n{err}");
    }
    ensure!(started.elapsed() < SOON, "{words:?} took {:?}", started.elapsed());
    Ok(())
}

#[test]
fn a_user_with_the_rights_that_are_listed_restores_and_without_one_of_them_is_told_which() -> Result<()> {
    let secured = Secured::start("s-rights")?;
    let without = RIGHTS.iter().flat_map(|(_, _, without)| *without).copied();
    let users: BTreeSet<&str> = without.chain(["enough", "overwriter"]).collect();
    for (kind, operation, without) in RIGHTS {
        let may: BTreeSet<&str> = users.iter().copied().filter(|user| !without.contains(user)).collect();
        secured.allow(kind, operation, &may)?;
    }
    let client = &secured.scenario.client;
    let source = client.read_all("s-rights")?;
    let restore = |user: &str| secured.restore(user, "s-rights");
    let came = |user: &str| same_but_offsets(&source, &client.read_all(&format!("to-{user}"))?).map(drop);

    let (code, out, err) = restore("enough")?.run(&[])?;
    ensure!(code == 0 && !err.contains("delete the group"), "ended with {code}\n{out}\n{err}");
    came("enough")?;
    let (code, out, err) = restore("no-end")?.run(&[])?;
    ensure!(code == 0 && err.contains("delete the group"), "ended with {code}\n{out}\n{err}");
    came("no-end")?;

    let nothing = "nothing was written";
    refused(&restore("no-id")?, &[], &[nothing, "Write transactional id strimzi-backup-restore-no-id;"])?;
    let group = ["this user Read group strimzi-backup-restore-no-group;", nothing];
    refused(&restore("no-group")?, &[], &group)?;
    refused(&restore("no-group")?, &["--plan-only"], &group)?;
    for (user, operation) in [("no-create", "Create"), ("no-alter", "AlterConfigs")] {
        refused(&restore(user)?, &[], &[nothing, &format!("this user {operation} topic to-{user};")])?;
        ensure!(client.partition_count(&format!("to-{user}"))? == 0, "{user}");
    }
    for (user, operation) in [("no-write", "Write"), ("no-read", "Read")] {
        let words = ["no record", &format!("this user {operation} topic to-{user};")];
        refused(&restore(user)?, &[], &words)?;
        ensure!(client.read_all(&format!("to-{user}"))?.is_empty(), "{user}");
    }
    // Granted, the same restore goes on.
    secured.allow(TOPIC, "Write", &["no-write"].into())?;
    restore("no-write")?.done()?;
    came("no-write")?;

    for (user, policy, operation) in [("no-delete", "overwrite", "Delete"), ("no-configs", "append", "DescribeConfigs")]
    {
        client.create_topic(&format!("to-{user}"), 2, &[])?;
        let restore = restore(user)?.set("existingTopicPolicy", json!(policy));
        refused(&restore, &[], &[nothing, &format!("this user {operation} topic to-{user};")])?;
    }
    for (user, policy) in [("appender", "append"), ("overwriter", "overwrite")] {
        client.create_topic(&format!("to-{user}"), 2, &[])?;
        restore(user)?.set("existingTopicPolicy", json!(policy)).done()?;
        came(user)?;
    }
    Ok(())
}

#[test]
fn all_rights_that_are_missing_are_told_at_once_before_anything_is_written() -> Result<()> {
    let secured = Secured::start("s-none")?;
    let scenario = &secured.scenario;
    scenario.client.create_topic("s-none-2", 1, &[])?;
    scenario.client.produce("s-none-2", &numbered(0..10))?;
    scenario.job.catch_up()?;
    scenario.client.create_topic("to-seer-2", 1, &[])?;
    let nobody = secured.restore("nobody", "s-none")?.mapped("s-none-2", "to-nobody-2");
    let told = [
        "nothing was written",
        "Create, Describe, AlterConfigs topic to-nobody;",
        "Create, Describe, AlterConfigs topic to-nobody-2;",
        "Describe, Read group strimzi-backup-restore-nobody;",
        "Write transactional id strimzi-backup-restore-nobody;",
        "{resource: {type: group, name: strimzi-backup-restore-nobody, patternType: literal}, operations: [Describe, Read, Delete]}",
    ];
    refused(&nobody, &[], &told)?;
    secured.allow(TOPIC, "Describe", &["seer"].into())?;
    let told = ["Create, AlterConfigs topic to-seer;", "Read, Write, DescribeConfigs topic to-seer-2;"];
    let seer = secured.restore("seer", "s-none")?.mapped("s-none-2", "to-seer-2");
    refused(&seer.set("existingTopicPolicy", json!("append")), &[], &told)?;
    ensure!(!scenario.job.backup_dir().join("restores").exists(), "a refused restore leaves nothing in the store");
    assert_eq!(scenario.client.partition_count("to-nobody")?, 0);
    Ok(())
}

/// The right to change settings is taken away between the first record and the last, and is back for the second start.
#[test]
fn a67_settings_that_were_not_set_back_are_by_the_next_start_and_no_record_comes_twice() -> Result<()> {
    let secured = Secured::start("s-late")?;
    let Secured { broker, scenario } = &secured;
    scenario.client.produce("s-late", &bulky(0..40))?;
    scenario.job.catch_up()?;
    for kind in [TOPIC, GROUP, ID] {
        secured.allow(kind, "All", &["late"].into())?;
    }
    let restore = secured.restore("late", "s-late")?.set("throttle", json!("512Ki"));
    let mut process = restore.start()?;
    begun(&scenario.client, "to-late")?;
    let deny = |action: &str| -> Result<()> {
        let rule = [action, "--deny-principal", "User:late", "--operation", "AlterConfigs", "--topic", "to-late"];
        let force: &[&str] = if action == "--remove" { &["--force"] } else { &[] };
        broker.cli("acls", &[&rule[..], force].concat()).map(drop)
    };
    // It stands still until the right is gone.
    process.sigstop()?;
    deny("--add")?;
    process.sigcont()?;
    let status = process.wait(PATIENCE)?;
    ensure!(status.code() == Some(1), "without the right: {status}\n{}", process.tail());
    ensure!(process.stderr().contains("change the topic to-late"), "{}", process.tail());
    let source = scenario.client.read_all("s-late")?;
    let written = scenario.client.read_all("to-late")?;
    same_but_offsets(&source, &written)?;
    assert_eq!(overrides(&scenario.job, "to-late")?["cleanup.policy"], "delete");
    deny("--remove")?;
    assert_eq!(restore.done()?["records"], source.len());
    assert_eq!(scenario.client.read_all("to-late")?, written);
    assert_eq!(overrides(&scenario.job, "to-late")?, overrides(&scenario.job, "s-late")?);
    Ok(())
}
