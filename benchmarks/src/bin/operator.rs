//! A thousand KafkaBackups in one namespace: how soon the operator has carried all of them out, and what they cost it at
//! rest. No pod runs: what streamers write into statuses themselves, one small request each every 30 seconds, is not here.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use strimzi_backup_benchmarks::measure::{cpu_of, mib, peak_of};
use strimzi_backup_benchmarks::table;
use strimzi_backup_tests::kubernetes::strimzi::{self, CLUSTER, Strimzi};
use strimzi_backup_tests::kubernetes::{ControlPlane, Operator, crds};
use strimzi_backup_tests::{chart, wait};

const BACKUPS: usize = 1_000;

/// Each resource is looked at anew every five minutes: one whole round of all of them, and a little more.
const AT_REST: Duration = Duration::from_secs(330);

/// For all of them to be carried out.
const PATIENCE: Duration = Duration::from_secs(900);

fn main() -> Result<()> {
    let plane = ControlPlane::start()?;
    let kubectl = plane.kubectl();
    crds::ours(kubectl)?;
    strimzi::serve(kubectl, &["v1"])?;
    let strimzi = Strimzi::new(&plane, "thousand", "v1")?;
    strimzi.complete()?;
    let account = plane.service_account(&strimzi.namespace, "operator", &rules()?)?;
    let operator = Operator::start(&account, &strimzi.namespace)?;
    let user = format!("system:serviceaccount:{}:operator", strimzi.namespace);

    table::head(&["case", "seconds", "requests", "requests a second", "CPU of a core", "peak MiB"]);
    let (cpu, asked, began) = (cpu_of(operator.id())?, requests(&plane, &user)?, Instant::now());
    let all: Vec<String> = (0..BACKUPS).map(|number| backup(number).to_string()).collect();
    for some in all.chunks(100) {
        kubectl.apply(&strimzi.namespace, &some.join("\n---\n"))?;
    }
    let namespace = &strimzi.namespace;
    wait::wait_until("all CronJobs, which are made last", PATIENCE, || {
        let made = kubectl.run(&["get", "cronjobs", "--namespace", namespace, "--output", "name"])?;
        Ok(made.lines().count() == BACKUPS)
    })?;
    row("carried out", began, requests(&plane, &user)? - asked, cpu_of(operator.id())? - cpu, operator.id())?;

    let (cpu, asked, began) = (cpu_of(operator.id())?, requests(&plane, &user)?, Instant::now());
    std::thread::sleep(AT_REST);
    row("at rest", began, requests(&plane, &user)? - asked, cpu_of(operator.id())? - cpu, operator.id())?;
    operator.stop()
}

fn row(case: &str, began: Instant, requests: usize, cpu: Duration, pid: u32) -> Result<()> {
    let seconds = began.elapsed().as_secs_f64();
    #[allow(clippy::cast_precision_loss)]
    let rate = requests as f64 / seconds;
    table::row(&[
        case.to_owned(),
        format!("{seconds:.0}"),
        requests.to_string(),
        format!("{rate:.1}"),
        format!("{:.1} %", cpu.as_secs_f64() / seconds * 100.0),
        format!("{:.0}", mib(peak_of(pid)?)),
    ]);
    Ok(())
}

/// What the chart grants, and the Lease, which is in the same namespace here.
fn rules() -> Result<Value> {
    let mut rules = chart::operator_rules()?;
    let verbs = ["get", "create", "update"];
    let leases = json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": verbs});
    rules.as_array_mut().context("rules of a Role")?.push(leases);
    Ok(rules)
}

fn backup(number: usize) -> Value {
    json!({
        "apiVersion": "kafkabackup.com/v1alpha1",
        "kind": "KafkaBackup",
        "metadata": {"name": format!("backup-{number}")},
        "spec": {
            "strimziClusterRef": {"name": CLUSTER},
            "authentication": {"type": "tls", "kafkaUserRef": {"name": "backup"}},
            "storage": {"type": "s3", "s3": {
                "bucket": "backups", "region": "eu-west-1", "prefix": format!("{number}/"),
                "credentialsSecret": {"name": "store"},
            }},
            "schedule": {"cron": "0 2 * * *"},
        },
    })
}

/// What the operator has asked the API server for so far.
fn requests(plane: &ControlPlane, user: &str) -> Result<usize> {
    let name = format!("\"username\":\"{user}\"");
    Ok(plane.audit_log()?.lines().filter(|line| line.contains(&name)).count())
}
