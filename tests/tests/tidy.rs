//! What no compiler holds: documents that say what the code does, files of a readable size, links that lead somewhere.
//!
//! `UPDATE_DOCS=1 cargo test --workspace --test tidy` writes the names of tests into docs/acceptance.md anew, and what is
//! delivered of the code.

#[path = "tidy/delivery.rs"]
mod delivery;
#[path = "tidy/image.rs"]
mod image;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The most lines of a source file before its unit tests.
const MOST_LINES: usize = 500;

/// Files above it, with the most lines that each may have. Only ever take lines out or make numbers smaller.
const LONG_FILES: &[(&str, usize)] = &[];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(root().join(path)).with_context(|| format!("read {path}"))
}

/// All files below the root with one of these endings, as paths below it.
fn files(endings: &[&str]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(root().join(&folder))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            if entry.file_type()?.is_dir() {
                if !matches!(name.as_str(), "target" | ".git" | "node_modules") {
                    folders.push(path);
                }
            } else if endings.iter().any(|ending| name.ends_with(ending)) {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// The tests that show an acceptance case, as the table names them, by id and name. Their names begin with the id:
/// `a13_slow_down_…`. With those that `make test` leaves out stands what runs them.
fn tests_by_id() -> Result<BTreeMap<String, BTreeMap<String, String>>> {
    let mut tests: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for path in files(&[".rs"])? {
        let text = read(&path)?;
        let mut ignored = None;
        for line in text.lines().map(str::trim_start) {
            // Other attributes and comments may stand between this one and the test.
            if line.starts_with(['#', '/']) {
                ignored = line.strip_prefix("#[ignore").or(ignored);
                continue;
            }
            let ignored = ignored.take();
            let declared = line.trim_start_matches("async ").strip_prefix("fn ");
            let Some(name) = declared.and_then(|rest| rest.split(['(', '<']).next()) else { continue };
            for id in name.split("__").next().unwrap_or(name).split('_').filter_map(id) {
                let shown = shown(name, ignored).with_context(|| format!("{name} of {path}"))?;
                tests.entry(id).or_default().insert(name.to_owned(), shown);
            }
        }
    }
    Ok(tests)
}

/// A test in the table. Why it is ignored has to end with what runs it: `…: make vault`.
fn shown(name: &str, ignored: Option<&str>) -> Result<String> {
    let Some(reason) = ignored else { return Ok(format!("`{name}`")) };
    let runs = reason.trim_end_matches("\"]").rsplit_once(": ").map(|(_, runs)| runs);
    let runs = runs.filter(|runs| runs.starts_with("make ")).context("nothing says how this ignored test is run")?;
    Ok(format!("`{name}` (`{runs}`)"))
}

/// `A13` of `a13`.
fn id(word: &str) -> Option<String> {
    let number = word.strip_prefix('a')?;
    (number.len() == 2 && number.bytes().all(|byte| byte.is_ascii_digit())).then(|| format!("A{number}"))
}

/// The cells of a table's row that begins with an id.
fn row(line: &str) -> Option<Vec<&str>> {
    let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").map(str::trim).collect();
    id(&cells.first()?.to_lowercase()).map(|_| cells)
}

#[test]
fn the_acceptance_table_names_the_tests_that_there_are() -> Result<()> {
    let path = "docs/acceptance.md";
    let mut tests = tests_by_id()?;
    let mut faults = Vec::new();
    let mut lines = Vec::new();
    for line in read(path)?.lines() {
        let Some(cells) = row(line) else {
            lines.push(line.to_owned());
            continue;
        };
        let [id, case, shown] = cells[..] else {
            faults.push(format!("a row without three cells: {line}"));
            continue;
        };
        let wanted = match tests.remove(id) {
            Some(names) => names.into_values().collect::<Vec<_>>().join(", "),
            None if shown.starts_with("not yet") => shown.to_owned(),
            None => "not yet".to_owned(),
        };
        if shown != wanted {
            faults.push(format!("{id} says {shown}, and it is {wanted}"));
        }
        lines.push(format!("| {id} | {case} | {wanted} |"));
    }
    faults.extend(tests.into_iter().map(|(id, names)| format!("{id} has no row, and tests: {:?}", names.keys())));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(root().join(path), lines.join("\n") + "\n")?;
        return Ok(());
    }
    ensure!(faults.is_empty(), "{path} (UPDATE_DOCS=1 writes the names anew):\n{}", faults.join("\n"));
    Ok(())
}

#[test]
fn what_runs_a_test_that_is_left_out_stands_with_it() -> Result<()> {
    assert_eq!(shown("a13_b", None)?, "`a13_b`");
    assert_eq!(shown("a13_b", Some(r#" = "takes minutes: or hours: make vault"]"#))?, "`a13_b` (`make vault`)");
    ensure!(shown("a13_b", Some("]")).is_err() && shown("a13_b", Some(r#" = "why: not"]"#)).is_err());
    let of_vault = tests_by_id()?.remove("A33").context("tests of A33")?;
    let of_vault = of_vault.into_values().filter(|shown| shown.ends_with(" (`make vault`)")).count();
    ensure!(of_vault > 0, "tests are ignored in another way now");
    Ok(())
}

#[test]
fn files_are_of_a_readable_size() -> Result<()> {
    let limits: BTreeMap<&str, usize> = LONG_FILES.iter().copied().collect();
    let mut faults = Vec::new();
    for path in files(&[".rs"])? {
        if path.contains("/tests/") || path.ends_with("/tests.rs") {
            continue;
        }
        let text = read(&path)?;
        let production = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(&text);
        let (lines, most) = (production.lines().count(), limits.get(path.as_str()).copied().unwrap_or(MOST_LINES));
        if lines > most {
            faults.push(format!("{path} has {lines} lines of production code, more than {most}"));
        }
    }
    ensure!(faults.is_empty(), "find a better cut:\n{}", faults.join("\n"));
    Ok(())
}

#[test]
fn every_metric_is_documented_and_no_other() -> Result<()> {
    for (path, prefix) in
        [("streamer/src/metrics.rs", "strimzi_backup_"), ("streamer/src/restore/metrics.rs", "strimzi_restore_")]
    {
        let code = read(path)?;
        let names = code.split("r.register(\"").skip(1).filter_map(|rest| rest.split('"').next());
        let registered: BTreeSet<String> = names.map(|name| format!("{prefix}{name}")).collect();
        ensure!(registered.len() > 10, "the metrics are registered in another way now");
        let documented: BTreeSet<String> = read("docs/operations.md")?
            .lines()
            .filter_map(|line| line.strip_prefix(&format!("| `{prefix}"))?.split('`').next())
            .map(|name| format!("{prefix}{}", name.split('{').next().unwrap_or(name).trim_end_matches("_total")))
            .collect();
        assert_eq!(registered, documented);
    }
    Ok(())
}

#[test]
fn every_field_of_the_job_document_is_documented() -> Result<()> {
    let code = read("format/src/job/raw.rs")?;
    let documented = read("docs/operations.md")?;
    let fields = code.lines().filter_map(|line| {
        let (name, kind) = line.trim().strip_suffix(',')?.split_once(": ")?;
        let is_field = line.starts_with("        ")
            && name.bytes().all(|b| b.is_ascii_lowercase() || b"_#0123456789".contains(&b));
        (is_field && !kind.starts_with("Raw")).then(|| camel_case(name.trim_start_matches("r#")))
    });
    let missing: BTreeSet<String> = fields.filter(|field| !documented.contains(&format!("{field}`"))).collect();
    ensure!(missing.is_empty(), "docs/operations.md does not name {missing:?}");
    Ok(())
}

fn camel_case(name: &str) -> String {
    let mut words = name.split('_');
    let first = words.next().unwrap_or_default().to_owned();
    words.fold(first, |text, word| {
        let (head, tail) = word.split_at(word.len().min(1));
        text + &head.to_uppercase() + tail
    })
}

#[test]
fn links_lead_somewhere() -> Result<()> {
    let mut faults = Vec::new();
    for path in files(&[".md"])? {
        let text = read(&path)?;
        let folder = Path::new(&path).parent().unwrap_or(Path::new("")).to_owned();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = target.split('#').next().unwrap_or(target);
            if !file.is_empty() && !file.contains("://") && !root().join(&folder).join(file).exists() {
                faults.push(format!("{path} links to {target}, which is not there"));
            }
        }
    }
    ensure!(faults.is_empty(), "{}", faults.join("\n"));
    Ok(())
}

#[test]
fn decisions_are_numbered_once() -> Result<()> {
    let decisions: Vec<String> =
        files(&[".md"])?.into_iter().filter_map(|path| Some(path.strip_prefix("docs/adr/")?.to_owned())).collect();
    let numbers: Vec<usize> = decisions.iter().filter_map(|name| name.split('-').next()?.parse().ok()).collect();
    assert_eq!(numbers, (1..=decisions.len()).collect::<Vec<_>>(), "{decisions:?}");
    Ok(())
}
