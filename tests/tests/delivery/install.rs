//! deploy/install.yaml, and what the operator prints of itself.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use strimzi_backup_operator::manifests;
use strimzi_backup_tests::process::run;
use strimzi_backup_tests::{binary, chart, wait};

use crate::{documents, hold, plane};

/// For what controllers do by themselves, on a machine that does much else.
const SOON: Duration = Duration::from_secs(60);

#[test]
fn what_is_delivered_is_made_of_the_chart() -> Result<()> {
    hold("deploy/install.yaml", &chart::install()?)?;
    hold("deploy/prometheus/rules.yaml", &chart::rules()?)
}

#[test]
fn the_operator_prints_its_manifests_and_definitions() -> Result<()> {
    let print =
        |arguments: &[&str]| run("the operator", Command::new(binary::strimzi_backup_operator()?).args(arguments));
    let file = std::fs::read_to_string(chart::root().join("deploy/install.yaml"))?;
    ensure!(print(&["manifests"])? == file, "the operator was built with another deploy/install.yaml: build it again");
    let definitions = std::fs::read_to_string(chart::dir().join("crds/crds.yaml"))?;
    ensure!(print(&["crds"])? == definitions, "the operator has other definitions than the chart");
    let refusal = print(&["manifests", "--namespace", "Not_A_Name"]).err().context("a refusal")?;
    ensure!(format!("{refusal:#}").contains("\"Not_A_Name\" is no name of a namespace"), "{refusal:#}");
    Ok(())
}

#[test]
fn install_yaml_applies_and_its_pod_fits_pod_security_restricted() -> Result<()> {
    let kubectl = plane()?.kubectl();
    for namespace in [chart::NAMESPACE, "elsewhere"] {
        let manifests = manifests::for_namespace(namespace)?;
        kubectl.apply_anywhere(&manifests)?;
        // A pod that did not fit would not come to be, and the ReplicaSet would say why.
        let pods = ["get", "pods", "--namespace", namespace, "--output", "name"];
        let there = wait::wait_until("the operator's pod", SOON, || Ok(!kubectl.run(&pods)?.is_empty()));
        there
            .with_context(|| kubectl.run(&["describe", "replicaset", "--namespace", namespace]).unwrap_or_default())?;
        let names =
            |list: &[serde_json::Value]| list.iter().map(|object| object["kind"].to_string()).collect::<Vec<_>>();
        assert_eq!(names(&documents(&manifests)?), names(&documents(manifests::INSTALL)?));
    }
    let plain = "{apiVersion: v1, kind: Pod, metadata: {name: plain}, spec: {containers: [{name: a, image: a}]}}";
    ensure!(kubectl.refusal("elsewhere", plain)?.contains("violates PodSecurity"), "nothing is restricted there");
    let account = "system:serviceaccount:elsewhere:strimzi-backup-operator";
    let may = ["auth", "can-i", "list", "kafkabackups.kafkabackup.com", "--all-namespaces", "--as", account];
    assert_eq!(kubectl.run(&may)?.trim(), "yes");
    Ok(())
}

#[test]
fn helm_installs_changes_and_removes_a_release_and_leaves_the_definitions() -> Result<()> {
    let (plane, chart) = (plane()?, chart::dir());
    let (kubectl, chart) = (plane.kubectl(), chart.to_str().context("a path of text")?);
    let [home, one, two] = [plane.namespace("helm")?, plane.namespace("first")?, plane.namespace("second")?];
    let act = |verb: &str, arguments: &[&str]| {
        chart::release(kubectl, &[&[verb, "backup", "--namespace", &home][..], arguments].concat())
    };
    let role = format!("role/{home}:backup-strimzi-backup-operator");
    let roles =
        || -> Result<[bool; 2]> { Ok([kubectl.get(&one, &role)?.is_some(), kubectl.get(&two, &role)?.is_some()]) };

    let notes = act("install", &[chart, "--set", &format!("watchNamespaces={{{one}}}")])?;
    let next = format!("kubectl --namespace {home} rollout status deployment/backup-strimzi-backup-operator");
    ensure!(notes.contains(&next) && notes.contains(&format!("namespace: {one}")), "{notes}");
    assert_eq!(roles()?, [true, false]);
    // Another namespace takes the rights in the first one away.
    act("upgrade", &[chart, "--set", &format!("watchNamespaces={{{two}}},replicas=2")])?;
    assert_eq!(roles()?, [false, true]);
    act("uninstall", &[])?;
    assert_eq!(roles()?, [false, false]);
    kubectl.run(&["get", "customresourcedefinition/kafkabackups.kafkabackup.com"])?;
    Ok(())
}
