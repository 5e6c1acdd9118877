//! Trino with a catalog of its Hive connector over an S3 server, which is set up as docs/query.md says.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::http;
use crate::parts;
use crate::ports::Port;
use crate::process::Process;
use crate::run_dir::RunDir;
use crate::s3::S3Server;

/// It loads hundreds of jars first.
const READY: Duration = Duration::from_secs(180);

/// The schema in which tables are made and looked for.
const SCHEMA: &str = "tests";

/// Arguments of its Java, without which it does not start. The zone is none that any answer may be in.
const JAVA: &[&str] = &[
    "-Xmx1g",
    "-XX:+UseSerialGC",
    "-XX:ReservedCodeCacheSize=256M",
    "-XX:+EnableDynamicAgentLoading",
    "-Djdk.attach.allowAttachSelf=true",
    "--enable-native-access=ALL-UNNAMED",
    "--sun-misc-unsafe-memory-access=allow",
    "-Duser.timezone=America/New_York",
];

/// A running Trino: one process, its metadata in a directory.
#[derive(Debug)]
pub struct Trino {
    // Before the directory: a server is killed before its data goes.
    process: Process,
    port: Port,
    _dir: RunDir,
}

impl Trino {
    /// Starts one that reads and writes what this server stores. It has no table yet.
    ///
    /// # Errors
    /// Where the part `trino` is not installed, or it does not start.
    pub fn start(store: &S3Server) -> Result<Trino> {
        let home = parts::part("trino")?;
        let dir = RunDir::new("trino")?;
        let port = Port::reserve()?;
        configure(dir.path(), &home.join("plugins"), &port.address(), store)?;
        let mut command = Command::new(home.join("java/bin/java"));
        command
            .args(JAVA)
            .arg(format!("-Dconfig={}", dir.path().join("config.properties").display()))
            .arg(format!("-Dlog.levels-file={}", dir.path().join("log.properties").display()))
            .arg("-cp")
            .arg(home.join("lib/*"))
            .arg("io.trino.server.TrinoServer")
            .current_dir(dir.path());
        let mut process = Process::spawn("trino", &command, dir.path())?;
        process.wait_ready(READY, || is_ready(&port.address()).then_some(()))?;
        let trino = Trino { process, port, _dir: dir };
        trino.query(&format!("CREATE SCHEMA {SCHEMA}"))?;
        Ok(trino)
    }

    /// The process, to look at its id.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Runs one statement, with or without a semicolon at its end, and returns its rows as JSON objects: binary values in
    /// base64, times and decimals as text.
    ///
    /// # Errors
    /// What Trino says where it refuses or fails.
    pub fn query(&self, sql: &str) -> Result<Vec<Value>> {
        let mut answer = self.ask("POST", "/v1/statement", sql.trim().trim_end_matches(';'))?;
        let mut rows = Vec::new();
        loop {
            if let Some(message) = answer["error"]["message"].as_str() {
                bail!("trino: {message}\n{sql}");
            }
            rows.extend(rows_of(&answer)?);
            let Some(next) = answer["nextUri"].as_str() else { return Ok(rows) };
            let here = format!("http://{}", self.port.address());
            // It holds the answer back until there is something new to say.
            answer = self.ask("GET", next.strip_prefix(&here).context("a next page elsewhere")?, "")?;
        }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Result<Value> {
        let headers = [("X-Trino-User", "tests"), ("X-Trino-Catalog", "backup"), ("X-Trino-Schema", SCHEMA)];
        let answer = http::request(&self.port.address(), method, path, &headers, body)?;
        ensure!(answer.status == 200, "trino {method} {path}: {} {}", answer.status, answer.body);
        serde_json::from_str(&answer.body).context("an answer of trino")
    }
}

fn is_ready(address: &str) -> bool {
    http::get(address, "/v1/info").is_ok_and(|info| info.status == 200 && info.body.contains("\"starting\":false"))
}

/// The rows of one page of an answer; the first ones have none.
fn rows_of(answer: &Value) -> Result<Vec<Value>> {
    let Some(data) = answer["data"].as_array() else { return Ok(Vec::new()) };
    let columns = answer["columns"].as_array().context("columns of rows")?;
    let named = |row: &Value| -> Value {
        let cells = row.as_array().into_iter().flatten().cloned();
        columns.iter().map(|column| column["name"].as_str().unwrap_or_default().to_owned()).zip(cells).collect()
    };
    Ok(data.iter().map(named).collect())
}

/// Writes its configuration: a server that does all by itself, and the catalog `backup`.
fn configure(dir: &Path, plugins: &Path, address: &str, store: &S3Server) -> Result<()> {
    let port = address.rsplit_once(':').context("a port")?.1;
    let server = format!(
        "node.environment=tests\n\
         node.id=tests\n\
         node.bind-ip=127.0.0.1\n\
         node.internal-address=127.0.0.1\n\
         http-server.http.port={port}\n\
         discovery.uri=http://{address}\n\
         coordinator=true\n\
         node-scheduler.include-coordinator=true\n\
         query.max-memory-per-node=256MB\n\
         memory.heap-headroom-per-node=256MB\n\
         plugin.dir={}\n\
         catalog.config-dir={}\n",
        plugins.display(),
        dir.join("catalog").display(),
    );
    let catalog = format!(
        "connector.name=hive\n\
         hive.metastore=file\n\
         hive.metastore.catalog.dir=local:///\n\
         fs.native-local.enabled=true\n\
         local.location={}\n\
         hive.non-managed-table-writes-enabled=true\n\
         hive.partition-projection-enabled=true\n\
         hive.parquet.time-zone=UTC\n\
         fs.native-s3.enabled=true\n\
         s3.path-style-access=true\n\
         s3.endpoint={}\n\
         s3.region={}\n\
         s3.aws-access-key={}\n\
         s3.aws-secret-key={}\n",
        dir.join("metastore").display(),
        store.endpoint(),
        store.region(),
        store.access_key(),
        store.secret_key(),
    );
    std::fs::create_dir(dir.join("metastore"))?;
    std::fs::create_dir(dir.join("catalog"))?;
    std::fs::write(dir.join("config.properties"), server)?;
    std::fs::write(dir.join("log.properties"), "io.trino=WARN\n")?;
    std::fs::write(dir.join("catalog/backup.properties"), catalog).context("write the catalog of trino")
}
