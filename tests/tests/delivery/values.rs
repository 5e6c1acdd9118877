//! The values of the chart: that each documented combination is taken, and that faults are refused.

use anyhow::{Context, Result, ensure};
use strimzi_backup_tests::chart;

use crate::{documents, plane};

/// Values that cannot be, and what has to be said of them.
const REFUSED: &[(&str, &str)] = &[
    ("watchNamespace: kafka", "watchNamespace"),
    ("watchNamespaces: kafka", "watchNamespaces"),
    ("watchNamespaces: ['*']", "watchNamespaces"),
    ("image: {tag: 1.0}", "tag"),
    ("image: {digest: latest}", "digest"),
    ("image: {pullPolicy: Sometimes}", "pullPolicy"),
    ("{replicas: 2, leaderElection: {enabled: false}}", "replicas above 1 need leaderElection.enabled"),
    ("podDisruptionBudget: {maxUnavailable: 0}", "maxUnavailable"),
    ("metrics: {podMonitor: {enable: true}}", "enable"),
    ("resources: {request: {}}", "request"),
    ("deletionTimeout: 300", "deletionTimeout"),
    ("deletionTimeout: 0s", "deletionTimeout"),
    ("backupImage: {pullPolicy: Sometimes}", "pullPolicy"),
];

#[test]
fn the_chart_is_clean_and_the_api_server_takes_every_documented_combination() -> Result<()> {
    let plane = plane()?;
    let home = plane.namespace("chart")?;
    for name in ["kafka", "payments"] {
        plane
            .kubectl()
            .apply("default", &format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}"))?;
    }
    let mut combinations = vec![("the defaults".to_owned(), String::new())];
    for path in chart::combinations()? {
        let values = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        ensure!(values.starts_with("# "), "{} does not say what it is for", path.display());
        combinations.push((path.display().to_string(), values));
    }
    ensure!(combinations.len() > 6, "the combinations are in another place now");
    for (name, values) in combinations {
        let said = chart::lint(&values).with_context(|| name.clone())?;
        ensure!(!said.contains("[WARNING]") && !said.contains("[ERROR]"), "{name}: {said}");
        plane.kubectl().dry_run(&chart::render(&home, &values)?).with_context(|| name)?;
    }
    Ok(())
}

#[test]
fn values_that_cannot_be_are_refused_by_name() -> Result<()> {
    for (values, said) in REFUSED {
        match chart::render("chart", values) {
            Ok(rendered) => anyhow::bail!("{values} was to be refused: {rendered}"),
            Err(error) => ensure!(format!("{error:#}").contains(said), "{values}: {error:#}"),
        }
    }
    Ok(())
}

#[test]
fn backups_have_the_image_of_the_operator_unless_told_otherwise() -> Result<()> {
    let (digest, other) = (format!("sha256:{}", "a".repeat(64)), format!("sha256:{}", "b".repeat(64)));
    let usual = format!("ghcr.io/kafkabackup/strimzi-backup-operator:{}", env!("CARGO_PKG_VERSION"));
    for (values, operator, backups) in [
        (String::new(), usual.clone(), usual.clone()),
        ("image: {repository: r, tag: one}".to_owned(), "r:one".to_owned(), "r:one".to_owned()),
        (format!("image: {{repository: r, digest: '{digest}'}}"), format!("r@{digest}"), format!("r@{digest}")),
        (
            format!("{{image: {{repository: r, digest: '{digest}'}}, backupImage: {{tag: two}}}}"),
            format!("r@{digest}"),
            "r:two".to_owned(),
        ),
        (
            format!("backupImage: {{digest: '{other}'}}"),
            usual.clone(),
            usual.replace(&format!(":{}", env!("CARGO_PKG_VERSION")), &format!("@{other}")),
        ),
    ] {
        let rendered = documents(&chart::render("chart", &values)?)?;
        let deployment = rendered.iter().find(|object| object["kind"] == "Deployment").context("a Deployment")?;
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let variables = container["env"].as_array().context("variables")?;
        let image =
            variables.iter().find(|variable| variable["name"] == "STRIMZI_BACKUP_IMAGE").context("the image")?;
        assert_eq!((&container["image"], &image["value"]), (&operator.into(), &backups.into()), "{values}");
    }
    Ok(())
}

#[test]
fn every_value_has_a_comment() -> Result<()> {
    let text = std::fs::read_to_string(chart::dir().join("values.yaml"))?;
    let mut faults = Vec::new();
    let (mut before, mut above) = ("", Vec::new());
    for line in text.lines() {
        let depth = line.len() - line.trim_start().len();
        let trimmed = line.trim_start();
        let key = trimmed.split_once(':').map(|(key, _)| key).filter(|_| !trimmed.starts_with(['#', '-']));
        if let Some(key) = key {
            above.truncate(depth / 2);
            above.push(key);
            // What stands in the block of a Kubernetes object is that object's.
            let is_free = ["resources", "podSecurityContext", "securityContext", "labels"];
            let inside = above.iter().rev().skip(1).any(|above| is_free.contains(above));
            if !inside && !before.trim_start().starts_with("# ") {
                faults.push(above.join("."));
            }
        }
        before = line;
    }
    ensure!(faults.is_empty(), "values.yaml says nothing of {faults:?}");
    Ok(())
}
