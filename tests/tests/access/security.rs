//! Streaming from a broker with TLS, client certificates, SASL and ACLs, by job documents that name files.

use std::path::Path;
use std::sync::OnceLock;

use anyhow::{Result, anyhow, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use strimzi_backup_tests::certs::Certs;
use strimzi_backup_tests::kafka::{BrokerOptions, KafkaBroker, SCRAM_BACKUP};
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::scenario::{Scenario, numbered, shows_none_of, tree};
use strimzi_backup_tests::streamer::{Job, Streamer};

/// A user who may read the topics of these tests.
const READER: (&str, &str) = ("reader", "reader-secret");

/// Another one, whose rights change in a test of its own.
const FOLLOWER: (&str, &str) = ("follower", "follower-secret");

fn secure_broker() -> Result<&'static KafkaBroker> {
    static BROKER: OnceLock<Result<KafkaBroker, String>> = OnceLock::new();
    let broker = BROKER.get_or_init(|| start().map_err(|error| format!("{error:#}")));
    broker.as_ref().map_err(|message| anyhow!("{message}"))
}

fn start() -> Result<KafkaBroker> {
    let broker = KafkaBroker::start_with(&BrokerOptions::default().secure())?;
    for user in [SCRAM_BACKUP.0, READER.0, FOLLOWER.0] {
        let principal = format!("User:{user}");
        let allow = ["--add", "--allow-principal", &principal];
        let topics =
            ["--operation", "Read", "--operation", "DescribeConfigs", "--topic", "s-", "--resource-pattern-type"];
        broker.cli("acls", &[&allow[..], &topics[..], &["prefixed"]].concat())?;
    }
    set_password(&broker, READER.0, READER.1)?;
    set_password(&broker, FOLLOWER.0, FOLLOWER.1)?;
    Ok(broker)
}

fn set_password(broker: &KafkaBroker, user: &str, password: &str) -> Result<()> {
    let config = format!("SCRAM-SHA-512=[password={password}]");
    let user = ["--entity-type", "users", "--entity-name", user];
    broker.cli("configs", &[&["--alter", "--add-config", &config], &user[..]].concat()).map(drop)
}

/// Secrets as a job's files.
pub(crate) struct Files {
    dir: RunDir,
}

impl Files {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { dir: RunDir::new("secrets")? })
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<Value> {
        let path = self.dir.path().join(name);
        std::fs::write(&path, format!("{text}\n"))?;
        Ok(json!(path))
    }
}

fn tls(certs: &Certs) -> Value {
    json!({"caFiles": [certs.ca()]})
}

pub(crate) fn scram(job: &Job, broker: &KafkaBroker, kind: &str, user: &str, password: &Value) -> Result<Job> {
    let authentication = json!({"type": kind, "username": user, "passwordFile": password});
    let job = job.clone().set("/cluster/bootstrapServers", json!(broker.bootstrap_sasl_ssl()?));
    Ok(job.set("/cluster/tls", tls(broker.certs()?)).set("/cluster/authentication", authentication))
}

/// A token that a broker for tests accepts as long as it lasts: unsigned, issued two hours ago.
fn token(user: &str, lasts_seconds: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let issued = now - 7200;
    let claims = json!({"sub": user, "iat": issued, "exp": issued + lasts_seconds});
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.", encode(json!({"alg": "none"})), encode(claims))
}

fn scenario(name: &str) -> Result<Scenario> {
    let scenario = Scenario::on(secure_broker()?, name)?;
    scenario.client.create_topic(name, 2, &[])?;
    scenario.client.produce(name, &numbered(0..50))?;
    Ok(scenario)
}

#[test]
fn streams_by_every_kind_of_authentication() -> Result<()> {
    let broker = secure_broker()?;
    let scenario = scenario("s-all")?;
    let (certs, files) = (broker.certs()?, Files::new()?);
    let password = files.write("password", SCRAM_BACKUP.1)?;
    let mut jobs = vec![("plaintext", scenario.job.clone())];
    for kind in ["scram-sha-512", "scram-sha-256", "plain"] {
        jobs.push((kind, scram(&scenario.job, broker, kind, SCRAM_BACKUP.0, &password)?));
    }
    let user_file = files.write("user", SCRAM_BACKUP.0)?;
    let by_file = json!({"type": "scram-sha-512", "usernameFile": user_file, "passwordFile": password});
    jobs.push(("user by file", jobs[1].1.clone().set("/cluster/authentication", by_file)));
    let mutual = json!({
        "caFiles": [certs.ca()], "certificateFile": certs.certificate("backup"), "keyFile": certs.key("backup"),
    });
    let ssl = scenario.job.clone().set("/cluster/bootstrapServers", json!(broker.bootstrap_ssl()?));
    jobs.push(("mTLS", ssl.set("/cluster/tls", mutual).set("/cluster/authentication", json!({"type": "tls"}))));
    let oauth = scenario.job.clone().set("/cluster/bootstrapServers", json!(broker.bootstrap_oauth()?));
    let bearer = json!({"type": "oauthbearer", "tokenFile": files.write("token", &token(SCRAM_BACKUP.0, 3 * 3600))?});
    jobs.push(("oauthbearer", oauth.set("/cluster/tls", tls(certs)).set("/cluster/authentication", bearer)));
    for (number, (kind, job)) in jobs.into_iter().enumerate() {
        let store = scenario.dir().join(format!("store-{number}"));
        let job = job.set("/storage/filesystem/path", json!(store));
        let (code, _, err) = job.run(&["stream", "--until-caught-up"])?;
        ensure!(code == 0, "{kind}: {code}\n{err}");
        let backup = strimzi_backup_tests::backup::Backup::open(&store)?;
        ensure!(backup.equals_topic(&scenario.client, "s-all")? == 50, "{kind}");
        shows_none_of(&err, &[SCRAM_BACKUP.1])?;
    }
    Ok(())
}

/// How the backup says that consumer groups stand.
fn groups_stand(job: &Job) -> Result<String> {
    Ok(job.inspect()?["groups"]["state"].as_str().unwrap_or_default().to_owned())
}

#[test]
fn a32_without_the_right_to_read_consumer_offsets_records_go_on_and_the_status_says_so() -> Result<()> {
    let broker = secure_broker()?;
    let scenario = scenario("s-groups")?;
    scenario.client.commit_offsets("a-group", &[("s-groups", 0, 7)])?;
    let password = Files::new()?;
    let password_file = password.write("password", FOLLOWER.1)?;
    let job = scram(&scenario.job, broker, "scram-sha-512", FOLLOWER.0, &password_file)?;
    job.catch_up()?;
    ensure!(scenario.backup()?.equals_topic(&scenario.client, "s-groups")? == 50);
    ensure!(groups_stand(&job)? == "Denied");
    let (code, _, err) = job.run(&["groups"])?;
    ensure!(code == 1 && err.contains("may not see the topic __consumer_offsets (Describe, Read)"), "{code}\n{err}");
    let principal = format!("User:{}", FOLLOWER.0);
    let allow = |operation: &str| {
        let who = ["--add", "--allow-principal", &principal, "--operation", operation, "--topic", "__consumer_offsets"];
        broker.cli("acls", &who).map(drop)
    };
    allow("Describe")?;
    job.catch_up()?;
    ensure!(groups_stand(&job)? == "Unreachable", "{}", groups_stand(&job)?);
    allow("Read")?;
    job.catch_up()?;
    ensure!(groups_stand(&job)? == "Streaming", "{}", groups_stand(&job)?);
    let (code, out, err) = job.run(&["groups", "--group", "a-group"])?;
    ensure!(code == 0 && out.contains("s-groups-0: 7, committed"), "{code}\n{out}{err}");
    Ok(())
}

/// Insists on one line that names something, code 1, and a store that is not even begun.
pub(crate) fn refused(job: &Job, secrets: &[&str], words: &[&str]) -> Result<()> {
    let (code, out, err) = job.run(&["stream", "--until-caught-up"])?;
    let last = err.lines().last().unwrap_or_default();
    ensure!(code == 1 && last.starts_with("error: "), "code {code}\n{out}{err}");
    ensure!(words.iter().any(|word| last.contains(word)), "none of {words:?} is in: {last}");
    ensure!(err.lines().filter(|line| line.starts_with("error: ")).count() == 1, "one message\n{err}");
    ensure!(tree(&job.backup_dir())?.is_empty(), "nothing is written");
    shows_none_of(&format!("{out}{err}"), secrets)
}

#[test]
fn a_wrong_password_or_ca_ends_with_one_message() -> Result<()> {
    let broker = secure_broker()?;
    let scenario = scenario("s-wrong")?;
    let files = Files::new()?;
    let wrong = files.write("wrong", "not-the-password")?;
    for kind in ["scram-sha-512", "plain"] {
        let job = scram(&scenario.job, broker, kind, SCRAM_BACKUP.0, &wrong)?;
        refused(&job, &["not-the-password"], &["uthentication"])?;
    }
    let right = files.write("right", SCRAM_BACKUP.1)?;
    let stranger = Certs::generate(&scenario.dir().join("other-ca"))?;
    let job =
        scram(&scenario.job, broker, "scram-sha-512", SCRAM_BACKUP.0, &right)?.set("/cluster/tls", tls(&stranger));
    refused(&job, &[SCRAM_BACKUP.1], &["certificate", "TLS", "SSL"])
}

#[test]
fn a_wrong_token_ends_with_one_message() -> Result<()> {
    let broker = secure_broker()?;
    let scenario = scenario("s-token")?;
    let files = Files::new()?;
    let job = scenario.job.clone().set("/cluster/bootstrapServers", json!(broker.bootstrap_oauth()?));
    let job = job.set("/cluster/tls", tls(broker.certs()?));
    let (expired, nonsense) = (token(SCRAM_BACKUP.0, 3600), "not-a-token");
    for (name, text) in [("expired", expired.as_str()), ("nonsense", nonsense)] {
        let bearer = json!({"type": "oauthbearer", "tokenFile": files.write(name, text)?});
        refused(&job.clone().set("/cluster/authentication", bearer), &[text], &["token", "uthentication"])?;
    }
    Ok(())
}

#[test]
fn a_refused_client_certificate_ends_with_one_message() -> Result<()> {
    let broker = secure_broker()?;
    let scenario = scenario("s-client")?;
    let stranger = Certs::generate(&scenario.dir().join("other-ca"))?;
    let ours = tls(broker.certs()?);
    let theirs = json!({
        "caFiles": [broker.certs()?.ca()], "certificateFile": stranger.certificate("backup"),
        "keyFile": stranger.key("backup"),
    });
    let job = scenario.job.clone().set("/cluster/bootstrapServers", json!(broker.bootstrap_ssl()?));
    // None at all, and one of a CA that the broker does not know. By TLS 1.3 the client has finished its handshake before
    // the broker looks, so that all it sees is a connection that ends.
    for tls in [ours, theirs] {
        refused(&job.clone().set("/cluster/tls", tls), &[], &["the listener's security"])?;
    }
    Ok(())
}

#[test]
fn a_broker_that_does_not_answer_ends_the_start_with_its_address() -> Result<()> {
    let scenario = scenario("s-nobody")?;
    let unused = strimzi_backup_tests::ports::Port::reserve()?;
    let job = scenario.job.clone().set("/cluster/bootstrapServers", json!(unused.address()));
    refused(&job, &[], &[&unused.address()])
}

#[test]
fn a_plain_client_at_a_listener_that_speaks_tls_is_told_the_address() -> Result<()> {
    let broker = secure_broker()?;
    let scenario = scenario("s-plain")?;
    let job = scenario.job.clone().set("/cluster/bootstrapServers", json!(broker.bootstrap_ssl()?));
    refused(&job, &[], &[&broker.bootstrap_ssl()?])
}

#[test]
fn a31_a_rotated_password_is_taken_from_its_file_without_a_restart() -> Result<()> {
    let topic = "s-rotated";
    let broker = secure_broker()?;
    let scenario = scenario(topic)?;
    let files = Files::new()?;
    let password = files.write("password", READER.1)?;
    let mut streamer = scram(&scenario.job, broker, "scram-sha-512", READER.0, &password)?.stream(&[])?;
    scenario.wait_rows(topic, 0, 50)?;
    set_password(broker, READER.0, "rotated-secret")?;
    files.write("password", "rotated-secret")?;
    streamer.wait_log("connected anew")?;
    scenario.client.produce(topic, &numbered(50..100))?;
    scenario.wait_rows(topic, 0, 100)?;
    let output = format!("{}{}", streamer.process.stdout(), streamer.process.stderr());
    shows_none_of(&output, &[READER.1, "rotated-secret"])?;
    streamer.stop()?;
    ensure!(scenario.backup()?.equals_topic(&scenario.client, topic)? == 100, "every record, once");
    Ok(())
}

#[test]
fn a30_a_renewed_client_certificate_is_taken_from_its_files_without_a_restart() -> Result<()> {
    let topic = "s-renewed";
    let broker = secure_broker()?;
    let scenario = scenario(topic)?;
    let (certs, files) = (broker.certs()?, Files::new()?);
    certs.sign("nobody")?;
    let put = |name: &str| -> Result<[Value; 2]> {
        let read = |path| std::fs::read_to_string(path).map(|text| text.trim_end().to_owned());
        let certificate = files.write("certificate", &read(certs.certificate(name))?)?;
        Ok([certificate, files.write("key", &read(certs.key(name))?)?])
    };
    let [certificate, key] = put("nobody")?;
    let mutual = json!({"caFiles": [certs.ca()], "certificateFile": certificate, "keyFile": key});
    let job = scenario.job.clone().set("/cluster/bootstrapServers", json!(broker.bootstrap_ssl()?));
    let job = job.set("/cluster/tls", mutual).set("/cluster/authentication", json!({"type": "tls"}));
    let mut streamer = job.stream(&[])?;
    // Who comes with the first certificate sees nothing: what is read later is read under the second.
    streamer.wait_log("no topic matches")?;
    put(SCRAM_BACKUP.0)?;
    streamer.wait_log("connected anew")?;
    scenario.wait_rows(topic, 0, 50)?;
    scenario.client.produce(topic, &numbered(50..100))?;
    scenario.wait_rows(topic, 0, 100)?;
    streamer.stop()?;
    ensure!(scenario.backup()?.equals_topic(&scenario.client, topic)? == 100, "every record, once");
    Ok(())
}

#[test]
fn a32_a_topic_that_may_not_be_read_is_told_and_holds_nothing_else_up() -> Result<()> {
    let broker = secure_broker()?;
    let scenario = scenario("s-open")?;
    scenario.client.create_topic("s-open-denied", 1, &[])?;
    scenario.client.produce("s-open-denied", &numbered(0..10))?;
    let deny = |action: &str| -> Result<()> {
        let principal = format!("User:{}", SCRAM_BACKUP.0);
        let rule = [action, "--deny-principal", &principal, "--operation", "Read", "--topic", "s-open-denied"];
        let force: &[&str] = if action == "--remove" { &["--force"] } else { &[] };
        broker.cli("acls", &[&rule[..], force].concat()).map(drop)
    };
    deny("--add")?;
    let files = Files::new()?;
    let password = files.write("password", SCRAM_BACKUP.1)?;
    let job = scram(&scenario.job, broker, "scram-sha-512", SCRAM_BACKUP.0, &password)?;
    // Who asks for all there is now is told that this cannot be.
    let (code, _, err) = job.run(&["stream", "--until-caught-up"])?;
    let last = err.lines().last().unwrap_or_default();
    ensure!(code == 1 && last.contains("s-open-denied"), "{code}\n{err}");
    let mut streamer: Streamer = job.stream(&[])?;
    scenario.wait_rows("s-open", 0, 50)?;
    streamer.wait_metric("strimzi_backup_kafka_errors_total{kind=\"Denied\"}", |count| count >= 1.0)?;
    scenario.wait_backup("the denied topic behind", |backup| Ok(!backup.behind("s-open-denied").is_empty()))?;
    ensure!(scenario.backup()?.rows("s-open-denied", 0) == 0, "nothing was read");
    deny("--remove")?;
    scenario.wait_rows("s-open-denied", 0, 10)?;
    streamer.stop()
}

#[test]
fn no_secret_is_shown_even_by_the_most_talkative_log() -> Result<()> {
    let broker = secure_broker()?;
    let scenario = scenario("s-quiet")?;
    let files = Files::new()?;
    let password = files.write("password", SCRAM_BACKUP.1)?;
    let job = scram(&scenario.job, broker, "plain", SCRAM_BACKUP.0, &password)?.environment("RUST_LOG", "trace");
    let job = job.set("/cluster/properties", json!({"debug": "all"}));
    let (code, out, err) = job.run(&["stream", "--until-caught-up"])?;
    ensure!(code == 0, "{code}\n{err}");
    let encoded = base64::engine::general_purpose::STANDARD.encode(SCRAM_BACKUP.1);
    shows_none_of(&format!("{out}{err}"), &[SCRAM_BACKUP.1, &encoded])?;
    ensure!(!tree(Path::new(&job.backup_dir()))?.is_empty(), "it did stream");
    Ok(())
}
