//! A backup is queried in place: every file of `examples/query` is run over a real backup by an engine, and says what was produced.
//! Trino and Spark take minutes to install, so `make engines` runs theirs.

mod duckdb_files;
mod live;
mod pyarrow_files;
mod scene;
mod spark_files;
mod trino_files;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use scene::Scene;
use trino_files::Lake;

/// A file, and what holds its answer against what was produced.
type Question<Asked = Scene> = (&'static str, fn(&Asked) -> Result<()>);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The text of an example, such as `duckdb/topics.sql`.
fn example(name: &str) -> Result<String> {
    let path = root().join("examples/query").join(name);
    std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}

/// A text of which parts are exchanged, each of which stands in it.
fn edited(mut text: String, edits: &[(&str, &str)]) -> Result<String> {
    for (there, instead) in edits {
        ensure!(text.contains(there), "there is no {there} to edit in\n{text}");
        text = text.replace(there, instead);
    }
    Ok(text)
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
fn ask_all<Asked>(questions: &[Question<Asked>], asked: &Asked) -> Result<()> {
    for (file, ask) in questions {
        ask(asked).with_context(|| format!("examples/query: {file}"))?;
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
#[ignore = "on a real Trino, which takes minutes to install: make engines"]
fn the_files_for_trino_and_athena_say_what_was_produced_on_trino() -> Result<()> {
    ask_all(trino_files::QUESTIONS, &Lake::new("trino")?)
}

#[test]
#[ignore = "on a real Spark, which takes minutes to install: make engines"]
fn the_files_for_spark_and_the_tables_of_athena_say_what_was_produced_on_spark() -> Result<()> {
    ask_all(spark_files::QUESTIONS, &Scene::new("spark")?)
}

#[test]
fn every_example_is_run_by_an_engine_and_the_guide_has_it() -> Result<()> {
    let mut there = BTreeSet::new();
    for folder in std::fs::read_dir(root().join("examples/query"))? {
        let folder = folder?;
        for file in std::fs::read_dir(folder.path())? {
            there.insert(format!("{}/{}", folder.file_name().display(), file?.file_name().display()));
        }
    }
    let mut known: BTreeSet<String> = duckdb_files::VIEWS.iter().map(|file| format!("duckdb/{file}")).collect();
    known.extend(duckdb_files::QUESTIONS.iter().map(|(file, _)| format!("duckdb/{file}")));
    known.extend(pyarrow_files::QUESTIONS.iter().map(|(file, _)| format!("pyarrow/{file}")));
    known.extend(spark_files::QUESTIONS.iter().map(|(file, _)| (*file).to_owned()));
    known.extend(trino_files::QUESTIONS.iter().map(|(file, _)| (*file).to_owned()));
    assert_eq!(there, known, "what is there, and what is run");
    let guide = std::fs::read_to_string(root().join("docs/query.md"))?;
    let missing: Vec<&String> =
        there.iter().filter(|name| !guide.contains(&format!("(../examples/query/{name})"))).collect();
    ensure!(missing.is_empty(), "docs/query.md does not name {missing:?}");
    Ok(())
}
