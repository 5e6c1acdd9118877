//! Looks at the metrics of a process again and again: which are registered, and which ever moved.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};

use crate::http;
use crate::streamer::PATIENCE;
use crate::wait;

/// Which metrics are registered, and the highest value seen of each.
#[derive(Debug, Default)]
pub struct Seen {
    registered: BTreeSet<String>,
    highest: BTreeMap<String, f64>,
}

impl Seen {
    /// Looks at the process that serves at `address`, and gives the text.
    ///
    /// # Errors
    /// Where it does not answer, or not with OpenMetrics.
    pub fn look(&mut self, address: &str) -> Result<String> {
        let text = http::get(address, "/metrics")?.body;
        ensure!(text.ends_with("# EOF\n"), "OpenMetrics text ends with EOF");
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# TYPE ") {
                self.registered.extend(help.split_whitespace().next().map(str::to_owned));
            } else if !line.starts_with('#')
                && let Some((name, value)) = line.rsplit_once(' ')
            {
                let name = name.split('{').next().unwrap_or(name).to_owned();
                let value: f64 = value.parse()?;
                let highest = self.highest.entry(name).or_insert(value);
                *highest = highest.max(value);
            }
        }
        Ok(text)
    }

    /// Looks until `name`, with its labels, satisfies a condition.
    ///
    /// # Errors
    /// Where it never does.
    pub fn until(&mut self, address: &str, name: &str, condition: impl Fn(f64) -> bool) -> Result<()> {
        wait::wait_until(name, PATIENCE, || Ok(condition(value(&self.look(address)?, name)?)))
    }

    /// How many metrics are registered.
    pub fn registered(&self) -> usize {
        self.registered.len()
    }

    /// Registered metrics none of whose samples ever left zero.
    pub fn unmoved(&self) -> Vec<&String> {
        let moved = |name: &&String| {
            let samples = ["", "_total", "_count"].map(|suffix| format!("{name}{suffix}"));
            !samples.iter().any(|sample| self.highest.get(sample).is_some_and(|value| !value.is_nan() && *value != 0.0))
        };
        self.registered.iter().filter(moved).collect()
    }
}

/// The value of a metric in a text, with its labels as they are printed; 0 where it is not there yet.
///
/// # Errors
/// Where it is no number.
pub fn value(text: &str, name: &str) -> Result<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.map_or(Ok(0.0), |value| value.parse().with_context(|| format!("{name} {value}")))
}
