//! A backup is queried in place: every file of `examples/query` that an engine here can run is run over a real backup, and says
//! what was produced.

mod duckdb_files;
mod live;
mod pyarrow_files;
mod scene;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use scene::Scene;

/// A file, and what holds its answer against what was produced.
type Question = (&'static str, fn(&Scene) -> Result<()>);

/// What no engine of these tests runs. docs/query.md says with which release each was run by hand.
const BY_HAND: &[&str] = &[
    "athena/bad-deployment.sql",
    "athena/groups-at.sql",
    "athena/headers.sql",
    "athena/json-fields.sql",
    "athena/key-at.sql",
    "athena/lag-history.sql",
    "athena/offsets-table.sql",
    "athena/per-minute.sql",
    "athena/records-table.sql",
    "spark/bad_deployment.py",
    "spark/key_at.py",
    "spark/lag_history.py",
    "spark/per_minute.py",
    "trino/offsets-table.sql",
    "trino/records-table.sql",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of an example, such as `duckdb/topics.sql`.
fn example(name: &str) -> Result<String> {
    let path = root().join("examples/query").join(name);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// Columns of rows, in this order.
fn picked(rows: &[Value], columns: &[&str]) -> Value {
    rows.iter().map(|row| columns.iter().map(|column| row[*column].clone()).collect::<Value>()).collect()
}

fn same(what: &str, found: &Value, wanted: &Value) -> Result<()> {
    ensure!(found == wanted, "{what} says\n{found}\nand it is\n{wanted}");
    Ok(())
}

/// Asks every question, and tells which one was answered wrongly.
fn ask_all(questions: &[Question], scene: &Scene) -> Result<()> {
    for (file, ask) in questions {
        ask(scene).with_context(|| format!("examples/query: {file}"))?;
    }
    Ok(())
}

#[test]
fn the_files_for_duckdb_say_what_was_produced() -> Result<()> {
    ask_all(duckdb_files::QUESTIONS, &Scene::new("duckdb")?)
}

#[test]
fn the_files_for_pyarrow_say_what_was_produced() -> Result<()> {
    ask_all(pyarrow_files::QUESTIONS, &Scene::new("pyarrow")?)
}

#[test]
fn every_example_is_run_here_or_was_by_hand_and_the_guide_has_it() -> Result<()> {
    let mut there = BTreeSet::new();
    for folder in std::fs::read_dir(root().join("examples/query"))? {
        let folder = folder?;
        for file in std::fs::read_dir(folder.path())? {
            there.insert(format!("{}/{}", folder.file_name().display(), file?.file_name().display()));
        }
    }
    let asked = |folder: &'static str, questions: &'static [Question]| {
        questions.iter().map(move |(file, _)| format!("{folder}/{file}"))
    };
    let mut known: BTreeSet<String> = BY_HAND.iter().map(|&name| name.to_owned()).collect();
    known.extend(asked("duckdb", duckdb_files::QUESTIONS).chain(asked("pyarrow", pyarrow_files::QUESTIONS)));
    known.extend(duckdb_files::VIEWS.iter().map(|file| format!("duckdb/{file}")));
    assert_eq!(there, known, "what is there, and what is run");
    let guide = std::fs::read_to_string(root().join("docs/query.md"))?;
    let missing: Vec<&String> =
        there.iter().filter(|name| !guide.contains(&format!("(../examples/query/{name})"))).collect();
    ensure!(missing.is_empty(), "docs/query.md does not name {missing:?}");
    Ok(())
}
