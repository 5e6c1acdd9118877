//! The chart's roles: enough where the operator is to work, and nothing elsewhere.

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::kubernetes::{ControlPlane, Kubectl, Operator};
use strimzi_backup_tests::{chart, wait};

use crate::plane;
use crate::rights::stop;
use strimzi_backup_tests::kubernetes::strimzi::{SOON, Strimzi};

/// What nobody may do in a namespace that the operator does not look after.
const ELSEWHERE: &[(&str, &str)] = &[
    ("get", "secrets"),
    ("list", "secrets"),
    ("list", "kafkabackups.kafkabackup.com"),
    ("patch", "kafkabackups.kafkabackup.com/status"),
    ("list", "kafkas.kafka.strimzi.io"),
    ("create", "deployments.apps"),
    ("create", "jobs.batch"),
    ("create", "roles.rbac.authorization.k8s.io"),
    ("create", "rolebindings.rbac.authorization.k8s.io"),
    ("create", "leases.coordination.k8s.io"),
    ("watch", "pods"),
    ("get", "pods/log"),
];

/// What the operator never may, not even where it works.
const NEVER: &[(&str, &str)] = &[
    ("create", "pods"),
    ("create", "pods/exec"),
    ("delete", "kafkabackups.kafkabackup.com"),
    ("update", "kafkas.kafka.strimzi.io"),
    ("patch", "kafkas.kafka.strimzi.io"),
    ("escalate", "roles.rbac.authorization.k8s.io"),
    ("bind", "roles.rbac.authorization.k8s.io"),
    ("impersonate", "serviceaccounts"),
    ("create", "serviceaccounts/token"),
    ("deletecollection", "secrets"),
];

/// A backup of the cluster `shop`, by certificate, with snapshots.
pub(crate) fn daily() -> Value {
    json!({
        "apiVersion": "kafkabackup.com/v1alpha1",
        "kind": "KafkaBackup",
        "metadata": {"name": "daily"},
        "spec": {
            "strimziClusterRef": {"name": "shop"},
            "authentication": {"type": "tls", "kafkaUserRef": {"name": "backup"}},
            "storage": {
                "type": "s3",
                "s3": {"bucket": "backups", "region": "eu-west-1", "credentialsSecret": {"name": "store"}},
            },
            "schedule": {"cron": "0 2 * * *"},
        },
    })
}

/// A namespace with a complete cluster and a backup of it.
fn protected(plane: &'static ControlPlane, name: &str) -> Result<Strimzi<'static>> {
    let strimzi = Strimzi::new(plane, name, "v1")?;
    strimzi.complete()?;
    strimzi.kubectl.apply(&strimzi.namespace, &daily().to_string())?;
    Ok(strimzi)
}

fn may(account: &Kubectl, (verb, resource): (&str, &str), namespace: &str) -> bool {
    let (resource, part) = resource.split_once('/').unwrap_or((resource, ""));
    let question = ["auth", "can-i", verb, resource, "--subresource", part, "--namespace", namespace, "--quiet"];
    // The answer no is an error of the command.
    account.run(&question).is_ok()
}

fn wait_reconciled(strimzi: &Strimzi<'_>, operator: &Operator) -> Result<()> {
    let reconciled = |backup: &Value| {
        let conditions = backup["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "Reconciled" && condition["status"] == "True")
    };
    let done = wait::wait_until("the backup to be reconciled", SOON, || {
        Ok(strimzi.kubectl.get(&strimzi.namespace, "kafkabackup/daily")?.is_some_and(|backup| reconciled(&backup)))
    });
    done.with_context(|| operator.tail())?;
    for object in ["deployment/daily-streamer", "cronjob/daily-snapshot", "networkpolicy/daily-streamer"] {
        strimzi
            .kubectl
            .get(&strimzi.namespace, object)?
            .with_context(|| format!("{object} in {}", strimzi.namespace))?;
    }
    Ok(())
}

#[test]
fn with_named_namespaces_it_works_in_those_and_may_do_nothing_elsewhere() -> Result<()> {
    let plane = plane()?;
    let home = plane.namespace("operators")?;
    let (one, two, other) = (protected(plane, "one")?, protected(plane, "two")?, protected(plane, "other")?);
    let watched = format!("{},{}", one.namespace, two.namespace);
    let install = |watched: &str| -> Result<()> {
        plane.kubectl().apply_anywhere(&chart::render(&home, &format!("watchNamespaces: [{watched}]"))?)?;
        Ok(())
    };
    install(&watched)?;
    for strimzi in [&one, &two] {
        let role = plane.kubectl().get(&strimzi.namespace, &format!("role/{home}:{}", chart::RELEASE))?;
        assert_eq!(role.context("a Role")?["rules"], chart::operator_rules()?);
    }
    let account = plane.account(&home, chart::RELEASE)?;
    for right in ELSEWHERE {
        ensure!(!may(&account, *right, &other.namespace), "it may {right:?} where it does not look after");
    }
    for right in NEVER {
        ensure!(!may(&account, *right, &one.namespace), "it may {right:?}");
    }
    ensure!(
        may(&account, ("patch", "kafkabackups.kafkabackup.com/status"), &one.namespace),
        "questions are put wrongly"
    );
    // Its own namespace is none of those that it looks after.
    ensure!(
        !may(&account, ("list", "secrets"), &home) && may(&account, ("create", "leases.coordination.k8s.io"), &home)
    );

    let operator = Operator::start_from(&account, &home, &watched)?;
    wait_reconciled(&one, &operator)?;
    wait_reconciled(&two, &operator)?;
    ensure!(plane.kubectl().get(&other.namespace, "deployment/daily-streamer")?.is_none(), "it was not to be touched");
    stop(operator)?;

    // The same release for all namespaces.
    install("")?;
    let operator = Operator::start_from(&account, &home, "*")?;
    wait_reconciled(&other, &operator)?;
    stop(operator)?;
    for right in NEVER {
        ensure!(!may(&account, *right, &other.namespace), "it may {right:?}");
    }
    Ok(())
}

/// What is watched in a namespace wakes the resources of that namespace alone.
#[test]
fn a_user_in_another_of_the_named_namespaces_is_followed_within_a_minute() -> Result<()> {
    let plane = plane()?;
    let home = plane.namespace("followers")?;
    let [here, there] = [Strimzi::new(plane, "near", "v1")?, Strimzi::new(plane, "far", "v1")?];
    let watched = format!("{},{}", here.namespace, there.namespace);
    plane.kubectl().apply_anywhere(&chart::render(&home, &format!("watchNamespaces: [{watched}]"))?)?;
    there.complete()?;
    let shared = format!("kafkabackup.com/allowed-namespaces={}", here.namespace);
    there.kubectl.run(&["annotate", "kafkauser/backup", "--namespace", &there.namespace, &shared])?;
    here.secret("store", &[("AWS_ACCESS_KEY_ID", "id"), ("AWS_SECRET_ACCESS_KEY", "hidden")])?;
    let operator = Operator::start_from(&plane.account(&home, chart::RELEASE)?, &home, &watched)?;
    let mut backup = daily();
    backup["spec"]["strimziClusterRef"]["namespace"] = json!(there.namespace);
    here.kubectl.apply(&here.namespace, &backup.to_string())?;
    wait_reconciled(&here, &operator)?;

    let copied = || here.kubectl.get(&here.namespace, "secret/daily-streamer-kafka-user");
    let before = copied()?.context("the copy")?["data"].clone();
    there.secret("backup", &[("user.crt", "renewed"), ("user.key", "renewed")])?;
    // Nobody touches the resource, and it would be looked at after five minutes.
    let followed = wait::wait_until("another certificate in the copy", SOON + SOON / 2, || {
        Ok(copied()?.is_some_and(|copy| copy["data"] != before))
    });
    followed.with_context(|| operator.tail())?;
    stop(operator)
}

/// Nobody knows which of the operator's rights in a namespace go first when it is deleted.
#[test]
fn a77_a_namespace_is_not_held_up_by_a_backup_that_is_to_be_deleted() -> Result<()> {
    let plane = plane()?;
    for is_named in [true, false] {
        let home = plane.namespace("cleaners")?;
        let strimzi = Strimzi::new(plane, "doomed", "v1")?;
        let namespace = strimzi.namespace.clone();
        let watched = if is_named { namespace.as_str() } else { "" };
        plane.kubectl().apply_anywhere(&chart::render(&home, &format!("watchNamespaces: [{watched}]"))?)?;
        let account = plane.account(&home, chart::RELEASE)?;
        ensure!(may(&account, ("patch", "kafkabackups.kafkabackup.com"), "default"), "it could not let go");
        ensure!(may(&account, ("list", "kafkabackups.kafkabackup.com"), "default") != is_named, "more than needed");
        // It looks after this one alone, so that tests do not meet.
        let operator = Operator::start_from(&account, &home, &namespace)?;
        strimzi.complete()?;
        let mut backup = daily();
        backup["spec"]["deletionPolicy"] = json!("Delete");
        strimzi.kubectl.apply(&namespace, &backup.to_string())?;
        wait_reconciled(&strimzi, &operator)?;
        let told = json!({"backupId": "0d0c4b0e-7c43-4be0-8fd5-1ba7e0b4b6a5"});
        strimzi.kubectl.set_status(&namespace, "kafkabackup/daily", &told)?;
        let held = strimzi.kubectl.get(&namespace, "kafkabackup/daily")?.context("the backup")?;
        assert_eq!(held["metadata"]["finalizers"], json!(["kafkabackup.com/cleanup"]));

        plane.kubectl().run(&["delete", "namespace", "--wait=false", &namespace])?;
        plane.wait_gone(&namespace, &format!("namespace/{namespace}"), SOON).with_context(|| operator.tail())?;
        // It was refused things, as its rights there went.
        operator.stop()?;
    }
    Ok(())
}
