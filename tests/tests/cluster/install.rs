//! The operator in a namespace of its own, as a user installs it: by helm.

use anyhow::{Context, Result};
use strimzi_backup_tests::chart;
use strimzi_backup_tests::kubernetes::Kubectl;

/// The name of the release and of the operator's objects.
pub(crate) const OPERATOR: &str = "strimzi-backup-operator";

/// The operator in the namespace `home`, with the rights that the chart gives it in another one, which it looks after.
pub(crate) fn install(kubectl: &Kubectl, home: &str, watched: &str, image: &str) -> Result<()> {
    let (repository, tag) = image.rsplit_once(':').context("an image with a tag")?;
    let chart = chart::dir();
    let chart = chart.to_str().context("a path in UTF-8")?;
    // The definitions are there already, and shared by all tests.
    let mut arguments = vec!["install", OPERATOR, chart, "--namespace", home, "--skip-crds", "--wait"];
    let values = [
        format!("watchNamespaces={{{watched}}}"),
        format!("image.repository={repository}"),
        format!("image.tag={tag}"),
        "image.pullPolicy=Never".to_owned(),
    ];
    arguments.extend(values.iter().flat_map(|value| ["--set", value]));
    let installed = chart::release(kubectl, &arguments);
    installed.with_context(|| kubectl.run(&["describe", "pods", "-n", home]).unwrap_or_default())?;
    Ok(())
}
