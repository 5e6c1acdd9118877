//! Pods that have an identity of the cloud, and no keys of their own.

use anyhow::{Result, ensure};
use serde_json::json;
use strimzi_backup_tests::backup::Backup;
use strimzi_backup_tests::pod_identity::PodIdentity;
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::scenario::{Scenario, numbered, shows_none_of, wait_backup};
use strimzi_backup_tests::streamer::PATIENCE;
use strimzi_backup_tests::wait::wait_until;

/// The token of a workload, and the keys that it is worth, of a round.
fn grant(round: u64) -> [String; 3] {
    ["token", "access", "secret-key"].map(|name| format!("{name}-of-round-{round}"))
}

#[test]
fn a29_tokens_and_keys_of_a_workload_identity_rotate_under_load_and_nobody_notices() -> Result<()> {
    let name = "a29";
    let scenario = Scenario::shared(name)?;
    let client = &scenario.client;
    client.create_topic(name, 1, &[])?;
    let server = S3Server::start()?;
    let [token, access_key, secret_key] = grant(0);
    server.allow(&access_key, &secret_key)?;
    let agent = PodIdentity::start()?;
    agent.grant(&token, &access_key, &secret_key);
    let token_file = scenario.dir().join("token");
    std::fs::write(&token_file, &token)?;
    let s3 = json!({
        "bucket": server.bucket(), "region": server.region(), "endpoint": server.endpoint(), "prefix": name,
    });
    let job = scenario.job.clone().set("/storage", json!({"type": "s3", "s3": s3}));
    let job = job
        .environment("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", &token_file.display().to_string())
        .environment("AWS_CONTAINER_CREDENTIALS_FULL_URI", &agent.uri());
    let mut streamer = job.stream(&[])?;
    streamer.ready()?;

    let dir = server.dir_of(name);
    let mut produced = 0;
    let mut load = || -> Result<()> {
        client.produce(name, &numbered(produced..produced + 100))?;
        produced += 100;
        let wanted = u64::try_from(produced)?;
        wait_backup(&dir, "records", |backup| Ok(backup.rows(name, 0) >= wanted))
    };
    for round in 1..=5 {
        load()?;
        let [token, access_key, secret_key] = grant(round);
        server.allow(&access_key, &secret_key)?;
        // As the kubelet does: the file is never half there.
        let fresh = scenario.dir().join("token.new");
        std::fs::write(&fresh, &token)?;
        agent.grant(&token, &access_key, &secret_key);
        std::fs::rename(&fresh, &token_file)?;
        load()?;
        wait_until("the new keys to be asked for", PATIENCE, || Ok(agent.given() > 0))?;
        // Whatever was signed by the keys of before has been answered by then.
        load()?;
        let [_, outdated, _] = grant(round - 1);
        server.forbid(&outdated)?;
        load()?;
    }
    let output = format!("{}{}", streamer.process.stderr(), streamer.process.stdout());
    // As the log says of keys that are revoked; the number alone may stand in any instant or port.
    ensure!(!output.contains("403 Forbidden"), "a request was refused\n{output}");
    shows_none_of(&output, &["token-of-round", "secret-key-of-round"])?;
    ensure!(streamer.metric("strimzi_backup_store_failing")? == 0.0);
    streamer.stop()?;
    ensure!(Backup::open(&dir)?.equals_topic(client, name)? == produced, "every record, once");
    Ok(())
}
