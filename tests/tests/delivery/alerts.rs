//! The alerts, in Prometheus' own words.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::process::run;
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::{chart, parts};

fn rules() -> Result<Value> {
    let text = std::fs::read_to_string(chart::dir().join("files/rules.yaml"))?;
    serde_norway::from_str(&text).context("decode the rules")
}

/// All rules of all groups.
fn each(rules: &mut Value) -> impl Iterator<Item = &mut Value> {
    let groups = rules["groups"].as_array_mut().into_iter().flatten();
    groups.filter_map(|group| group["rules"].as_array_mut()).flatten()
}

fn promtool(arguments: &[&str]) -> Result<String> {
    run("promtool", Command::new(parts::part("promtool")?.join("promtool")).args(arguments))
}

#[test]
fn promtool_finds_no_fault_in_the_alerts() -> Result<()> {
    let file = chart::dir().join("files/rules.yaml");
    promtool(&["check", "rules", "--lint=all", "--lint-fatal", file.to_str().context("a path of text")?])?;
    let mut rules = rules()?;
    for rule in each(&mut rules) {
        for field in ["summary", "description"] {
            ensure!(rule["annotations"][field].is_string(), "{} has no {field}", rule["alert"]);
        }
        ensure!(rule["labels"]["severity"].is_string(), "{} has no severity", rule["alert"]);
    }
    Ok(())
}

#[test]
fn each_alert_is_raised_where_it_has_to_be_and_not_elsewhere() -> Result<()> {
    let (dir, mut rules) = (RunDir::new("alerts")?, rules()?);
    let mut tried: BTreeMap<String, BTreeSet<bool>> = BTreeMap::new();
    for rule in each(&mut rules) {
        tried.insert(rule["alert"].as_str().context("an alert")?.to_owned(), BTreeSet::new());
        rule.as_object_mut().context("a rule")?.remove("annotations");
    }
    std::fs::write(dir.path().join("rules.yaml"), rules.to_string())?;
    let cases = std::fs::read_to_string(chart::root().join("tests/tests/delivery/alerts.yaml"))?;
    let file = dir.path().join("alerts.yaml");
    std::fs::write(&file, &cases)?;
    promtool(&["test", "rules", file.to_str().context("a path of text")?])?;

    let cases: Value = serde_norway::from_str(&cases)?;
    for case in cases["tests"].as_array().into_iter().flatten() {
        for expected in case["alert_rule_test"].as_array().into_iter().flatten() {
            let name = expected["alertname"].as_str().context("a name")?;
            let raised = expected["exp_alerts"].as_array().is_some_and(|alerts| !alerts.is_empty());
            tried.get_mut(name).with_context(|| format!("there is no alert {name}"))?.insert(raised);
        }
    }
    tried.retain(|_, seen| seen.len() < 2);
    ensure!(tried.is_empty(), "these are not tried both ways: {tried:?}");
    Ok(())
}

#[test]
fn prometheus_understands_every_question_of_the_dashboard() -> Result<()> {
    let board: Value = serde_json::from_str(&std::fs::read_to_string(chart::dir().join("files/dashboard.json"))?)?;
    let mut rules = Vec::new();
    for panel in board["panels"].as_array().into_iter().flatten() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            // What Grafana puts in, before Prometheus sees it.
            let question = target["expr"].as_str().context("a question")?;
            let question =
                question.replace("$__rate_interval", "1m").replace("$__range", "1h").replace("$namespace", "kafka");
            let question = question.replace("$pod", ".*");
            ensure!(!question.contains('$'), "{question} has a variable that the dashboard has not");
            rules.push(json!({"record": format!("question_{}", rules.len()), "expr": question}));
        }
    }
    ensure!(rules.len() > 20, "the dashboard asks in another way now");
    let (dir, rules) = (RunDir::new("dashboard")?, json!({"groups": [{"name": "dashboard", "rules": rules}]}));
    let file = dir.path().join("questions.yaml");
    std::fs::write(&file, rules.to_string())?;
    promtool(&["check", "rules", file.to_str().context("a path of text")?])?;
    Ok(())
}
