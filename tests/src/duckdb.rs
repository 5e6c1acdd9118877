//! DuckDB as a second reader of the stored files.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::python::run_python;

/// Prints rows as JSON objects. Binary values become lower-case hexadecimal, everything else that JSON lacks becomes
/// DuckDB's own text.
const SCRIPT: &str = r"
import duckdb, json, sys
def plain(value):
    return bytes(value).hex() if isinstance(value, (bytes, bytearray)) else str(value)
result = duckdb.sql(sys.argv[1])
names = result.columns if result is not None else []
rows = result.fetchall() if result is not None else []
print(json.dumps([dict(zip(names, row)) for row in rows], default=plain))
";

/// Runs one SQL statement in an empty in-memory database in UTC and returns its rows as JSON objects, binary values
/// in hexadecimal.
pub fn query(sql: &str) -> Result<Vec<Value>> {
    let script = format!("import duckdb; duckdb.sql(\"SET TimeZone = 'UTC'\"){SCRIPT}");
    let printed = run_python(&script, &[sql]).with_context(|| format!("query: {sql}"))?;
    serde_json::from_str(&printed).context("the rows of a query")
}
