//! DuckDB as a second reader of the stored files.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::python::run_python_with;

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

/// Loads what reaches S3 from the pinned packages: DuckDB would fetch it from the network.
const LOAD_S3: &str = r#"
import duckdb, pathlib
packages = pathlib.Path(duckdb.__file__).parent.parent
for name in ("httpfs", "aws"):
    file = f"duckdb_extension_{name}/extensions/v{duckdb.__version__}/{name}.duckdb_extension"
    duckdb.sql(f"LOAD '{packages / file}'")
"#;

/// Runs SQL in an empty in-memory database in UTC and returns the rows of its last statement as JSON objects, binary values
/// in hexadecimal.
pub fn query(sql: &str) -> Result<Vec<Value>> {
    run(sql, "", &[])
}

/// The same with the extensions that reach S3, and what the environment says of keys.
pub fn query_s3(sql: &str, environment: &[(String, String)]) -> Result<Vec<Value>> {
    run(sql, LOAD_S3, environment)
}

fn run(sql: &str, load: &str, environment: &[(String, String)]) -> Result<Vec<Value>> {
    let script = format!("import duckdb; duckdb.sql(\"SET TimeZone = 'UTC'\"){load}{SCRIPT}");
    let printed = run_python_with(&script, &[sql], environment).with_context(|| format!("query: {sql}"))?;
    serde_json::from_str(&printed).context("the rows of a query")
}
