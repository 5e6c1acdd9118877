//! Spark by `spark-submit`, on this machine alone.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value};

use crate::parts;
use crate::process::run;
use crate::run_dir::RunDir;

/// Runs statements with a metastore of its own, and prints the rows of the last one as JSON objects. Objects lack what is
/// null.
const STATEMENTS: &str = r#"
import sys
from pyspark.sql import SparkSession
spark = SparkSession.builder.config("spark.sql.session.timeZone", "UTC").enableHiveSupport().getOrCreate()
answers = [spark.sql(statement) for statement in sys.argv[1:]]
for row in answers[-1].toJSON().collect():
    print(row)
"#;

/// Runs a script with arguments, which shows one table at most, and returns the rows of it: text, or null.
///
/// # Errors
/// Where the part `spark` is not installed, or the script fails.
pub fn submit(script: &str, arguments: &[&str]) -> Result<Vec<Value>> {
    rows_of(&printed_by(script, arguments)?)
}

/// Runs statements of SQL, as one that has a Hive metastore does, and returns the rows of the last one: binary values in base64,
/// what is null left out.
///
/// # Errors
/// Where the part `spark` is not installed, or a statement fails.
pub fn sql(statements: &[&str]) -> Result<Vec<Value>> {
    let printed = printed_by(STATEMENTS, statements)?;
    printed.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

fn printed_by(script: &str, arguments: &[&str]) -> Result<String> {
    let part = parts::part("spark")?;
    let dir = RunDir::new("spark")?;
    let file = dir.path().join("script.py");
    std::fs::write(&file, script).context("write a script")?;
    run("spark-submit", command(&part, dir.path()).arg(&file).args(arguments))
}

/// Everything that it writes goes into `dir`. The zone is none that any answer may be in.
fn command(part: &Path, dir: &Path) -> Command {
    let mut command = Command::new(part.join("home/bin/spark-submit"));
    command
        .current_dir(dir)
        .env("SPARK_HOME", part.join("home"))
        .env("SPARK_LOCAL_IP", "127.0.0.1")
        .env("SPARK_LOCAL_DIRS", dir)
        .env("PYSPARK_PYTHON", part.join("bin/python"))
        .env_remove("PYSPARK_DRIVER_PYTHON")
        .env_remove("SPARK_CONF_DIR")
        .env_remove("PYTHONPATH")
        .args(["--master", "local[2]", "--driver-memory", "1g"])
        .args(["--driver-java-options", "-Duser.timezone=America/New_York"])
        .args(["--conf", "spark.ui.enabled=false", "--conf", "spark.sql.shuffle.partitions=2"]);
    command
}

/// The rows of a table as `DataFrame.show` draws it, between bars.
fn rows_of(shown: &str) -> Result<Vec<Value>> {
    let mut lines = shown.lines().filter_map(|line| line.strip_prefix('|')?.strip_suffix('|'));
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<String>>();
    let names = cells(lines.next().with_context(|| format!("no table in {shown}"))?);
    let named = |line: &str| -> Result<Value> {
        let cells = cells(line);
        ensure!(cells.len() == names.len(), "a row of other columns than {names:?}: {line}");
        let values = cells.into_iter().map(|cell| if cell == "NULL" { Value::Null } else { Value::String(cell) });
        Ok(Value::Object(names.iter().cloned().zip(values).collect::<Map<String, Value>>()))
    };
    lines.map(named).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_a_table_as_it_is_shown() {
        let shown =
            "+-------+-----+\n|minute |bytes|\n+-------+-----+\n|01:10  |3997 |\n|01:11  |NULL |\n+-------+-----+\n\n";
        let rows = rows_of(shown).expect("a table");
        assert_eq!(rows, [json!({"minute": "01:10", "bytes": "3997"}), json!({"minute": "01:11", "bytes": null})]);
    }

    #[test]
    fn refuses_a_row_whose_cells_it_cannot_tell_apart_and_what_is_no_table() {
        assert!(rows_of("|a|b|\n|1|2|3|\n").is_err() && rows_of("nothing\n").is_err());
    }
}
