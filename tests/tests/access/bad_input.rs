//! Bad input: the exit code, a message that names the thing and the way out, and a store that nobody touched.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use serde_json::{Value, json};
use strimzi_backup_tests::binary;
use strimzi_backup_tests::front::{Front, Verdict};
use strimzi_backup_tests::ports::Port;
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::scenario::{Scenario, numbered, shared_broker, shows_none_of, tree};
use strimzi_backup_tests::streamer::Job;

/// Runs `stream`, insists on the code, an error line, and nothing in the store; gives what was printed.
fn fails(job: &Job, code: i32) -> Result<String> {
    let err = ends(job, code)?;
    ensure!(tree(&job.backup_dir())?.is_empty(), "nothing is written");
    Ok(err)
}

/// Runs `stream`, insists on the code and an error line; gives what was printed.
fn ends(job: &Job, code: i32) -> Result<String> {
    let (found, out, err) = job.run(&["stream", "--until-caught-up"])?;
    ensure!(found == code, "code {found} instead of {code}\n{out}{err}");
    ensure!(err.contains("error: "), "an error is told\n{err}");
    ensure!(!err.contains("panicked"), "no panic\n{err}");
    Ok(err)
}

fn says(output: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(output.contains(word), "{word:?} is not in:\n{output}");
    }
    Ok(())
}

fn job(dir: &RunDir) -> Result<Job> {
    Ok(Job::new(dir.path(), &shared_broker()?.bootstrap()))
}

#[test]
fn an_unknown_field_is_refused_by_its_name() -> Result<()> {
    let dir = RunDir::new("unknown")?;
    says(&fails(&job(&dir)?.set("/backup/retentoin", json!("7d")), 2)?, &["retentoin"])?;
    says(&fails(&job(&dir)?.set("/cluster/properties", json!({"isolation.level": "x"})), 2)?, &["isolation.level"])?;
    says(&fails(&job(&dir)?.set("/storage/type", json!("ftp")), 2)?, &["ftp", "filesystem, s3, azure, gcs"]).map(drop)
}

#[test]
fn all_faults_of_a_document_are_told_at_once() -> Result<()> {
    let dir = RunDir::new("faults")?;
    let job = job(&dir)?
        .set("/cluster/bootstrapServers", json!("kafka"))
        .set("/topics/include", json!(["orders(", "good"]))
        .set("/backup/commitInterval", json!("soon"))
        .set("/backup/compression", json!("zip"))
        .set("/http/address", json!("everywhere"));
    let fields = [
        "cluster.bootstrapServers",
        "topics.include",
        "orders(",
        "backup.commitInterval",
        "backup.compression",
        "http.address",
    ];
    says(&fails(&job, 2)?, &fields)
}

#[test]
fn a_missing_or_broken_document_and_wrong_usage_end_with_2() -> Result<()> {
    let binary = binary::strimzi_backup()?;
    let dir = RunDir::new("usage")?;
    let broken = dir.path().join("broken.yaml");
    std::fs::write(&broken, "cluster: {bootstrapServers: [")?;
    let (broken, missing) = (broken.display().to_string(), dir.path().join("missing.yaml").display().to_string());
    let cases: [(&[&str], &str); 7] = [
        (&["stream", "--config", &missing], "read the job document"),
        (&["restore", "--config", &missing], "read the restore document"),
        (&["restore", "--config", &missing], "missing.yaml"),
        (&["stream", "--config", &broken], "line 1"),
        (&["stream"], "--config"),
        (&["strem"], "strem"),
        (&["stream", "--config", &broken, "--until-caught-upp"], "--until-caught-upp"),
    ];
    for (arguments, word) in cases {
        let output = Command::new(&binary).args(arguments).output()?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(2), "{arguments:?}: {:?}\n{text}", output.status);
        says(&text, &["error: ", word])?;
    }
    Ok(())
}

/// Runs a command whose standard error nobody reads, and gives its exit code.
fn unheard(command: &mut Command) -> Result<Option<i32>> {
    let (reader, writer) = std::io::pipe()?;
    drop(reader);
    Ok(command.stdout(Stdio::null()).stderr(writer).status()?.code())
}

#[test]
fn where_nobody_reads_standard_error_the_exit_codes_are_the_same() -> Result<()> {
    let scenario = Scenario::shared("unheard")?;
    scenario.client.create_topic("unheard", 1, &[])?;
    scenario.client.produce("unheard", &numbered(0..10))?;
    let code = unheard(&mut scenario.job.command(&["stream", "--until-caught-up"])?)?;
    ensure!(code == Some(0), "what cannot be logged stops nothing: {code:?}");
    scenario.job.verify()?;
    let missing = scenario.dir().join("missing.yaml");
    let code = unheard(Command::new(binary::strimzi_backup()?).args(["stream", "--config"]).arg(&missing))?;
    ensure!(code == Some(2), "{code:?}");
    let mut operator = Command::new(binary::strimzi_backup_operator()?);
    operator.args(["run", "--operator-namespace", "backup", "--image", "backup"]);
    let code = unheard(operator.env("KUBECONFIG", &missing).env_remove("KUBERNETES_SERVICE_HOST"))?;
    ensure!(code == Some(1), "{code:?}");
    Ok(())
}

#[test]
fn a_store_that_does_not_answer_or_refuses_ends_the_start() -> Result<()> {
    let dir = RunDir::new("refusing")?;
    let server = S3Server::start()?;
    let denying = Front::start(&server.address(), |_| Verdict::Refuse(403, "AccessDenied"))?;
    let endpoint = |url: String| {
        Ok::<Job, anyhow::Error>(job(&dir)?.into_s3(&server, "x").set("/storage/s3/endpoint", json!(url)))
    };
    says(&fails(&endpoint(denying.endpoint())?, 1)?, &["s3://backup", "AccessDenied"])?;
    let wrong = endpoint(server.endpoint())?.environment("AWS_SECRET_ACCESS_KEY", "not-the-key");
    let output = fails(&wrong, 1)?;
    says(&output, &["s3://backup"])?;
    shows_none_of(&output, &["not-the-key", "test-secret-key"])?;
    let missing = endpoint(server.endpoint())?.set("/storage/s3/bucket", json!("no-such-bucket"));
    says(&fails(&missing, 1)?, &["no-such-bucket"])?;
    let nobody = Port::reserve()?;
    says(&fails(&endpoint(format!("http://{}", nobody.address()))?, 1)?, &[&nobody.address()])?;
    ensure!(tree(&server.root_dir())?.is_empty(), "nothing is written");
    Ok(())
}

#[test]
fn a_key_file_or_directory_that_is_missing_is_named() -> Result<()> {
    let dir = RunDir::new("files")?;
    let server = S3Server::start()?;
    let gone = dir.path().join("no-such-file");
    let keys = job(&dir)?
        .into_s3(&server, "x")
        .set("/storage/s3/accessKeyIdFile", json!(gone))
        .set("/storage/s3/secretAccessKeyFile", json!(gone));
    says(&fails(&keys, 2)?, &["no-such-file"])?;
    let nowhere = job(&dir)?.set("/storage/filesystem/path", json!(dir.path().join("not/mounted")));
    says(&fails(&nowhere, 2)?, &["not/mounted"])?;
    let password = json!({"type": "scram-sha-512", "username": "u", "passwordFile": gone});
    says(
        &fails(&job(&dir)?.set("/cluster/authentication", password).set("/cluster/tls", json!({})), 2)?,
        &["no-such-file"],
    )
}

#[test]
fn readers_find_nothing_where_nothing_is_and_make_nothing() -> Result<()> {
    let dir = RunDir::new("nothing")?;
    let job = job(&dir)?;
    let finds_nothing = |command: &str| -> Result<()> {
        let (code, out, err) = job.run(&[command])?;
        ensure!(code == 1 && out.is_empty() && err.contains("there is no backup"), "{command}: {code}\n{out}{err}");
        Ok(())
    };
    let commands = ["inspect", "segments", "restores", "verify"];
    for command in commands {
        finds_nothing(command)?;
        ensure!(!job.backup_dir().exists(), "{command} made the directory");
    }
    std::fs::create_dir(job.backup_dir())?;
    commands.into_iter().try_for_each(finds_nothing)?;
    ensure!(tree(&job.backup_dir())?.is_empty(), "nothing is written");
    Ok(())
}

#[test]
fn a_store_that_refuses_is_named_with_the_way_out_by_every_command_that_reads_it() -> Result<()> {
    let dir = RunDir::new("unreadable")?;
    let server = S3Server::start()?;
    let denying = Front::start(&server.address(), |_| Verdict::Refuse(403, "AccessDenied"))?;
    let job = job(&dir)?.into_s3(&server, "x").set("/storage/s3/endpoint", json!(denying.endpoint()));
    for command in ["inspect", "segments", "groups", "snapshot", "restores", "prune", "salvage", "verify"] {
        let (code, out, err) = job.run(&[command])?;
        ensure!(code == 1 && out.is_empty(), "{command} ended with {code}\n{out}{err}");
        says(&err, &["error: the store s3://backup/x cannot be used; check", "credentials allow", "AccessDenied"])?;
        shows_none_of(&err, &["test-secret-key"])?;
    }
    Ok(())
}

#[test]
fn all_that_a_job_names_and_that_is_not_there_is_told_at_once() -> Result<()> {
    let dir = RunDir::new("at-once")?;
    let server = S3Server::start()?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let gone = |name: &str| json!(dir.path().join(name));
    let job = job(&dir)?
        .into_s3(&server, "x")
        .set("/storage/s3/accessKeyIdFile", gone("no-key-id"))
        .set("/storage/s3/secretAccessKeyFile", gone("no-secret"))
        .set("/cluster/tls/caFiles", json!([gone("no-ca")]))
        .set(
            "/cluster/authentication",
            json!({"type": "scram-sha-512", "username": "u", "passwordFile": gone("no-password")}),
        )
        .set("/backup/encryption", json!({"enabled": true, "keyFile": gone("no-master-key")}))
        .set("/http/address", json!(address));
    let output = fails(&job, 2)?;
    says(&output, &["no-key-id", "no-secret", "no-ca", "no-password", "no-master-key", &address, "another process"])?;
    ensure!(output.lines().filter(|line| line.starts_with("error: ")).count() == 1, "in one line\n{output}");
    Ok(())
}

#[test]
fn a_policy_that_leaves_the_manifests_out_ends_the_start() -> Result<()> {
    let dir = RunDir::new("policy")?;
    let server = S3Server::start()?;
    let denying = Front::start(&server.address(), |head| {
        let denied = head.method == "PUT" && head.path.contains("/manifests/");
        if denied { Verdict::Refuse(403, "AccessDenied") } else { Verdict::Forward }
    })?;
    let job = job(&dir)?.into_s3(&server, "x").set("/storage/s3/endpoint", json!(denying.endpoint()));
    let output = ends(&job, 1)?;
    let stored = tree(&server.dir_of("x"))?;
    let stored: Vec<_> = stored.keys().map(|path| path.display().to_string()).collect();
    ensure!(stored == ["backup.json", "probe/create-once"], "what the credentials let it write: {stored:?}");
    let last = output.lines().last().unwrap_or_default();
    says(last, &["error: ", "s3://backup/x", "credentials allow", "manifests/", "AccessDenied"])?;
    ensure!(!output.contains("trying until it succeeds"), "it is not tried again\n{output}");
    Ok(())
}

#[test]
fn a_taken_http_address_is_named() -> Result<()> {
    let dir = RunDir::new("address")?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    says(&fails(&job(&dir)?.set("/http/address", json!(address)), 1)?, &[&address, "another process"])
}

#[test]
fn a_pattern_that_matches_nothing_yet_is_a_warning() -> Result<()> {
    let scenario = Scenario::shared("bad-none")?;
    let (code, _, err) = scenario.job.run(&["stream", "--until-caught-up"])?;
    ensure!(code == 0, "{code}\n{err}");
    let warned = err.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let warned =
        warned.filter(|line| line["level"] == "WARN").any(|line| line.to_string().contains("no topic matches"));
    ensure!(warned, "a warning\n{err}");
    scenario.client.create_topic("bad-none", 1, &[])?;
    scenario.client.produce("bad-none", &numbered(0..10))?;
    scenario.job.catch_up()?;
    ensure!(scenario.backup()?.equals_topic(&scenario.client, "bad-none")? == 10, "taken up");
    Ok(())
}
