//! What is delivered and needs no other program to be compared. `UPDATE_DOCS=1` writes the definitions of the chart and the
//! copies of its files anew; what helm has to render is held by tests/tests/delivery, and here by a digest.

use std::collections::BTreeSet;

use anyhow::{Context, Result, ensure};
use regex::Regex;
use serde::Deserialize as _;
use serde_json::Value;
use strimzi_backup_operator::cli;
use strimzi_backup_tests::chart::{self, Right};

use super::{read, root};

/// What the alerts use of kube-state-metrics.
const OF_OTHERS: [&str; 4] = [
    "kube_cronjob_spec_suspend",
    "kube_cronjob_status_last_schedule_time",
    "kube_cronjob_status_last_successful_time",
    "kube_deployment_spec_replicas",
];

const CHART: &str = "charts/strimzi-backup-operator";

fn hold(path: &str, wanted: &str) -> Result<()> {
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return std::fs::write(root().join(path), wanted).with_context(|| format!("write {path}"));
    }
    ensure!(read(path)? == wanted, "{path} is old: `{}`", chart::ANEW);
    Ok(())
}

#[test]
fn the_chart_has_the_definitions_of_this_operator() -> Result<()> {
    hold(&format!("{CHART}/crds/crds.yaml"), &cli::crds()?)
}

#[test]
fn the_bundle_has_the_definitions_of_this_operator() -> Result<()> {
    let mut held = Vec::new();
    for document in serde_norway::Deserializer::from_str(&cli::crds()?) {
        let definition = Value::deserialize(document).context("decode the definitions")?;
        let name = definition["metadata"]["name"].as_str().context("a definition without a name")?;
        hold(&chart::bundled_definition(name), &chart::bundled(&definition)?)?;
        held.push(name.to_owned());
    }
    assert_eq!(held, ["kafkabackups.kafkabackup.com", "kafkarestores.kafkabackup.com"]);
    Ok(())
}

#[test]
fn the_chart_has_the_version_of_the_workspace() -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let chart = read(&format!("{CHART}/Chart.yaml"))?;
    for line in [format!("version: {version}"), format!("appVersion: {version}")] {
        ensure!(chart.lines().any(|found| found == line), "Chart.yaml has to say {line}");
    }
    Ok(())
}

#[test]
fn what_helm_renders_was_made_of_this_chart() -> Result<()> {
    // Where it is written anew, the digest is none that was there before.
    if std::env::var_os("UPDATE_DOCS").is_some() {
        return Ok(());
    }
    for path in ["deploy/install.yaml", "deploy/prometheus/rules.yaml"] {
        let made = read(path)?.starts_with(&chart::head()?);
        ensure!(made, "{path} is older than the chart: `{}`", chart::ANEW);
    }
    Ok(())
}

#[test]
fn the_dashboard_is_the_one_of_the_chart() -> Result<()> {
    let text = read(&format!("{CHART}/files/dashboard.json"))?;
    let board: Value = serde_json::from_str(&text).context("decode the dashboard")?;
    ensure!(board["panels"].as_array().is_some_and(|panels| panels.len() > 20), "it has lost its panels");
    hold("deploy/grafana/strimzi-backup.json", &text)
}

/// The series of all documented metrics, as Prometheus has them.
fn series() -> Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let row = Regex::new(r"(?m)^\| `(strimzi_\w+)(?:\{[^`]*\})?` \| (counter|gauge|histogram) \|")?;
    for document in ["docs/operations.md", "docs/operator.md"] {
        for row in row.captures_iter(&read(document)?) {
            match &row[2] {
                "histogram" => found.extend(["bucket", "count", "sum"].map(|part| format!("{}_{part}", &row[1]))),
                _ => found.extend([row[1].to_owned()]),
            }
        }
    }
    Ok(found)
}

#[test]
fn alerts_and_dashboard_use_metrics_that_there_are() -> Result<()> {
    let known = series()?;
    ensure!(known.len() > 40, "metrics are documented in another way now");
    let name = Regex::new(r"\b(?:strimzi_(?:backup|restore)|kube)_[a-z_]+")?;
    for path in ["files/dashboard.json", "files/rules.yaml"] {
        let text = read(&format!("{CHART}/{path}"))?;
        let used: BTreeSet<&str> = name.find_iter(&text).map(|found| found.as_str()).collect();
        ensure!(used.len() > 10, "{path}: metrics are named in another way now");
        let unknown: Vec<_> =
            used.into_iter().filter(|name| !known.contains(*name) && !OF_OTHERS.contains(name)).collect();
        ensure!(unknown.is_empty(), "{path} uses what nobody tells: {unknown:?}");
    }
    Ok(())
}

#[test]
fn every_metric_of_the_operator_is_documented_and_no_other() -> Result<()> {
    let code = read("operator/src/metrics.rs")?;
    let names = code.split("registry.register(\"").skip(1).filter_map(|rest| rest.split('"').next());
    let registered: BTreeSet<String> = names.map(|name| format!("strimzi_backup_operator_{name}")).collect();
    ensure!(registered.len() > 2, "the metrics are registered in another way now");
    let row = Regex::new(r"(?m)^\| `(strimzi_backup_operator_\w+?)(?:_total)?(?:\{[^`]*\})?` \|")?;
    let text = read("docs/operator.md")?;
    let documented: BTreeSet<String> = row.captures_iter(&text).map(|row| row[1].to_owned()).collect();
    assert_eq!(registered, documented);
    Ok(())
}

#[test]
fn every_alert_is_documented_and_no_other() -> Result<()> {
    let rules = read(&format!("{CHART}/files/rules.yaml"))?;
    let alerts: BTreeSet<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    ensure!(alerts.len() > 10, "alerts are written in another way now");
    let text = read("docs/operator.md")?;
    let row = Regex::new(r"(?m)^\| `(Strimzi\w+)` \|")?;
    let documented: BTreeSet<&str> = row.captures_iter(&text).filter_map(|row| Some(row.get(1)?.as_str())).collect();
    assert_eq!(alerts, documented);
    Ok(())
}

#[test]
fn every_alert_leads_to_its_place_in_the_runbook() -> Result<()> {
    let rules = read(&format!("{CHART}/files/rules.yaml"))?;
    let pair = Regex::new(r"- alert: (\w+)\n(?s:.*?)\n +runbook_url: (\S+)\n")?;
    let page = "https://github.com/kafkabackup/strimzi-backup-operator/blob/main/docs/runbook.md#";
    let mut led = Vec::new();
    for pair in pair.captures_iter(&rules) {
        ensure!(pair[2] == format!("{page}{}", pair[1].to_lowercase()), "{} leads to {}", &pair[1], &pair[2]);
        led.push(pair[1].to_owned());
    }
    let alerts = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: "));
    ensure!(led == alerts.map(str::to_owned).collect::<Vec<_>>(), "these have a runbook_url: {led:?}");
    let text = read("docs/runbook.md")?;
    let written: BTreeSet<&str> = text.lines().filter_map(|line| line.strip_prefix("### Strimzi")).collect();
    let wanted: BTreeSet<&str> = led.iter().filter_map(|alert| alert.strip_prefix("Strimzi")).collect();
    assert_eq!(written, wanted);
    Ok(())
}

#[test]
fn the_runbook_has_every_reason_why_nothing_streams() -> Result<()> {
    let text = read("docs/operator.md")?;
    let (_, rows) = text.split_once("\n| `Streaming` | ").context("the condition is documented in another way now")?;
    let cells = rows.lines().skip(1).map_while(|row| row.strip_prefix("| | ")?.split(" | ").next());
    let reasons: BTreeSet<&str> = cells.flat_map(|cell| cell.split(", ")).collect();
    ensure!(reasons.len() > 8, "reasons are documented in another way now: {reasons:?}");
    let text = read("docs/runbook.md")?;
    let mut places = text.split("\n### ");
    let place = places.find(|place| place.starts_with("StrimziBackupStreamerFailing\n")).context("its place")?;
    // What is suspended wakes nobody.
    let missing: Vec<&str> =
        reasons.into_iter().filter(|reason| *reason != "`Suspended`" && !place.contains(*reason)).collect();
    ensure!(missing.is_empty(), "docs/runbook.md does not say what to do about {missing:?}");
    Ok(())
}

#[test]
fn every_variable_of_the_operator_is_documented_and_set_by_the_chart() -> Result<()> {
    let (code, documented) = (read("operator/src/cli.rs")?, read("docs/operator.md")?);
    let chart = read(&format!("{CHART}/templates/deployment.yaml"))?;
    let names: Vec<&str> = code.split("env = \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    ensure!(names.len() > 5, "variables are declared in another way now");
    for name in names {
        ensure!(documented.contains(&format!("| `{name}` |")), "docs/operator.md does not name {name}");
        ensure!(chart.contains(&format!("- name: {name}\n")), "the chart does not set {name}");
    }
    Ok(())
}

#[test]
fn actions_of_workflows_are_pinned_by_commit() -> Result<()> {
    let pinned = Regex::new(r"^[\w./-]+@[0-9a-f]{40} # v[0-9.]+$")?;
    let mut faults = Vec::new();
    for name in ["test", "release"] {
        let text = read(&format!(".github/workflows/{name}.yaml"))?;
        let used = text.lines().filter_map(|line| line.split_once("uses: ").map(|(_, action)| action));
        faults.extend(used.filter(|action| !action.starts_with("./") && !pinned.is_match(action)).map(str::to_owned));
    }
    ensure!(faults.is_empty(), "a tag may be moved to anything: {faults:?}");
    Ok(())
}

/// The rights in the table of docs/operator.md.
fn documented_rights() -> Result<BTreeSet<Right>> {
    let row = Regex::new(r"(?m)^\| (`[a-z0-9.]+`|core) \| (`[^|]+) \| ([a-z, ]+) \|$")?;
    let resource = Regex::new("`([a-z/]+)`")?;
    let mut found = BTreeSet::new();
    for row in row.captures_iter(&read("docs/operator.md")?) {
        let group = row[1].trim_matches('`').trim_start_matches("core").to_owned();
        for resource in resource.captures_iter(&row[2]) {
            let verbs = row[3].split(", ").map(str::to_owned);
            found.extend(verbs.map(|verb| (group.clone(), resource[1].to_owned(), verb)));
        }
    }
    Ok(found)
}

#[test]
fn the_rights_that_the_chart_grants_are_documented_and_no_others() -> Result<()> {
    let granted = chart::rights(&chart::operator_rules()?);
    ensure!(granted.len() > 40, "rights are granted in another way now");
    assert_eq!(granted, documented_rights()?);
    Ok(())
}
