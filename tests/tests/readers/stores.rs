//! The conformance suite on real servers, through the same door as the streamer's.

use anyhow::{Context, Result, anyhow, ensure};
use object_store::path::Path;
use serde_json::{Value, json};
use strimzi_backup_format::job::Job as JobDocument;
use strimzi_backup_format::store::{self, Store, conformance};
use strimzi_backup_tests::azure::AzureServer;
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::scenario::{Scenario, numbered};

pub(crate) fn open(storage: &Value) -> Result<Store> {
    let document = json!({"cluster": {"bootstrapServers": "127.0.0.1:9092"}, "storage": storage});
    let job: JobDocument = document.to_string().parse().map_err(|faults| anyhow!("{faults}"))?;
    Ok(store::open_to_write(&job.storage)?)
}

async fn conforms(storage: &Value) -> Result<()> {
    let opened = open(storage)?;
    let prefix = Path::from(format!("{}/conformance", opened.prefix));
    conformance::run(opened.inner, &prefix).await.map_err(|broken| anyhow!("{broken}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn versitygw_conforms() -> Result<()> {
    let server = S3Server::start()?;
    let dir = RunDir::new("s3-keys")?;
    let (id, secret) = (dir.path().join("id"), dir.path().join("secret"));
    std::fs::write(&id, server.access_key())?;
    std::fs::write(&secret, server.secret_key())?;
    let s3 = json!({
        "bucket": server.bucket(), "region": server.region(), "endpoint": server.endpoint(), "prefix": "p",
        "accessKeyIdFile": id, "secretAccessKeyFile": secret,
    });
    conforms(&json!({"type": "s3", "s3": s3})).await
}

fn azure(server: &AzureServer, dir: &RunDir, prefix: &str) -> Result<Value> {
    let key = dir.path().join("account-key");
    std::fs::write(&key, server.key())?;
    let azure = json!({
        "container": server.container(), "storageAccount": server.account(), "endpoint": server.endpoint(),
        "accountKeyFile": key, "prefix": prefix,
    });
    Ok(json!({"type": "azure", "azure": azure}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn azurite_conforms() -> Result<()> {
    let server = AzureServer::start()?;
    let dir = RunDir::new("azure-keys")?;
    conforms(&azure(&server, &dir, "p")?).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_conforms() -> Result<()> {
    let dir = RunDir::new("directory")?;
    conforms(&json!({"type": "filesystem", "filesystem": {"path": dir.path().join("store")}})).await
}

#[test]
fn streams_into_azurite() -> Result<()> {
    let server = AzureServer::start()?;
    let dir = RunDir::new("azure-keys")?;
    let scenario = Scenario::shared("azurite")?;
    scenario.client.create_topic("azurite", 2, &[])?;
    scenario.client.produce("azurite", &numbered(0..200))?;
    let storage = azure(&server, &dir, "deep/prefix")?;
    let job = scenario.job.clone().set("/storage", storage.clone());
    job.catch_up()?;
    scenario.client.produce("azurite", &numbered(200..300))?;
    job.catch_up()?;
    let backup = futures::executor::block_on(async {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.spawn_blocking(move || anyhow::Ok(open(&storage)?)).await?
    })?;
    ensure!(!format!("{backup:?}").contains(server.key()), "no key in what is printed of a store");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let _entered = runtime.enter();
    let log = runtime
        .block_on(strimzi_backup_format::manifest::reader::open(&backup, strimzi_backup_format::ids::Shard::ONLY))?;
    let rows = log.context("a backup")?.state.totals.rows;
    ensure!(rows == 300, "{rows} records");
    Ok(())
}

#[test]
fn a_backup_moves_between_stores_as_files() -> Result<()> {
    let server = S3Server::start()?;
    let scenario = Scenario::shared("moves")?;
    scenario.client.create_topic("moves", 1, &[])?;
    scenario.client.produce("moves", &numbered(0..50))?;
    scenario.job.clone().into_s3(&server, "here").catch_up()?;
    // The same objects in a directory are the same backup, and it goes on there.
    let there = scenario.job.backup_dir();
    strimzi_backup_tests::scenario::copy_dir(&server.dir_of("here"), &there)?;
    scenario.client.produce("moves", &numbered(50..80))?;
    scenario.job.catch_up()?;
    ensure!(Backup::open(&there)?.equals_topic(&scenario.client, "moves")? == 80, "every record, once");
    Ok(())
}
