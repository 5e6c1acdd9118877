//! The harness itself: each part starts, does its work and leaves no process behind.

use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use strimzi_backup_tests::azure::AzureServer;
use strimzi_backup_tests::client::{KafkaClient, Record, read_all};
use strimzi_backup_tests::kafka::{BrokerOptions, KafkaBroker, KafkaCluster};
use strimzi_backup_tests::ports::Port;
use strimzi_backup_tests::process::{self, Process};
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::s3::S3Server;
use strimzi_backup_tests::sealing::Sealing;
use strimzi_backup_tests::toxiproxy::{Direction, Toxiproxy};
use strimzi_backup_tests::trino::Trino;
use strimzi_backup_tests::vault::Vault;
use strimzi_backup_tests::{binary, duckdb, http, python, spark, wait};

const SOON: Duration = Duration::from_secs(20);

/// A record with everything that is easily lost.
fn intricate() -> Record {
    Record::new("", "value")
        .partition(1)
        .timestamp(1_234_567_890_123)
        .header("a", Some(b"1".as_slice()))
        .header(vec![0xff, 0xfe], Some(b"not UTF-8".as_slice()))
        .header("a", None)
        .header("", Some(b"".as_slice()))
}

#[test]
fn kafka_broker_starts_serves_and_leaves_nothing() -> Result<()> {
    let started = Instant::now();
    let mut broker = KafkaBroker::start()?;
    println!("started in {:?}", started.elapsed());
    let id = broker.process().context("a process")?.id();
    let client = broker.client();
    client.create_topic("t", 2, &[("retention.ms", "-1")])?;
    client.produce("t", &[intricate(), Record::tombstone("k").partition(1).header("h", None)])?;
    let read = read_all(&broker.bootstrap(), "t")?;
    assert_eq!(read.len(), 2);
    let (first, sent) = (&read[0], intricate());
    assert_eq!((first.partition, first.offset), (1, 0));
    assert_eq!((Some(first.timestamp), first.timestamp_type), (sent.timestamp, "CreateTime"));
    assert_eq!((&first.key, &first.value, &first.headers), (&sent.key, &sent.value, &sent.headers));
    assert_eq!((read[1].key.as_deref(), read[1].value.as_deref()), (Some(b"k".as_slice()), None));
    assert!(broker.data_dir().join("t-1").is_dir());
    let meta = std::fs::read_to_string(broker.data_dir().join("meta.properties"))?;
    assert!(meta.contains(broker.cluster_id()));
    drop(broker);
    assert!(!process::exists(id));
    Ok(())
}

#[test]
fn kafka_broker_keeps_its_data_over_stop_and_kill() -> Result<()> {
    let mut broker = KafkaBroker::start()?;
    let bootstrap = broker.bootstrap();
    broker.client().create_topic("t", 1, &[])?;
    broker.client().produce("t", &[Record::value("1")])?;
    let started = Instant::now();
    broker.stop()?;
    println!("stopped in {:?}", started.elapsed());
    assert!(TcpStream::connect(&bootstrap).is_err());
    broker.restart()?;
    broker.client().produce("t", &[Record::value("2")])?;
    broker.kill()?;
    broker.restart()?;
    assert_eq!(broker.bootstrap(), bootstrap);
    assert_eq!(read_all(&bootstrap, "t")?.len(), 2);
    Ok(())
}

#[test]
fn kafka_client_changes_topics_and_groups() -> Result<()> {
    let broker = KafkaBroker::start()?;
    let client = broker.client();
    client.create_topic("t", 1, &[("retention.ms", "1234567")])?;
    client.create_partitions("t", 3)?;
    client.alter_topic_config("t", "segment.bytes", "2000000")?;
    let described = broker.cli("configs", &["--describe", "--entity-type", "topics", "--entity-name", "t"])?;
    assert!(described.contains("retention.ms=1234567"), "{described}");
    assert!(described.contains("segment.bytes=2000000"), "{described}");
    assert!(described.starts_with("Dynamic configs for topic t are:"), "nothing but the answer: {described}");
    client.produce("t", &[Record::value("1").partition(0), Record::value("2").partition(0)])?;
    client.delete_records("t", 0, 1)?;
    assert_eq!(client.watermarks("t", 0)?, (1, 2));
    client.commit_offsets("g", &[("t", 0, 2)])?;
    assert_eq!(client.committed_offset("g", "t", 0)?, Some(2));
    assert_eq!(client.committed_offset("g", "t", 1)?, None);
    client.delete_group("g")?;
    client.delete_topic("t")?;
    assert_eq!(client.partition_count("t")?, 0);
    Ok(())
}

#[test]
fn kafka_transactions_show_only_what_was_committed() -> Result<()> {
    let broker = KafkaBroker::start()?;
    broker.client().create_topic("t", 1, &[])?;
    let producer = broker.client().transactional_producer("p")?;
    for (value, committed) in [("1", true), ("2", false), ("3", true)] {
        producer.begin()?;
        producer.send("t", &Record::value(value))?;
        if committed { producer.commit()? } else { producer.abort()? }
    }
    let offsets: Vec<i64> = read_all(&broker.bootstrap(), "t")?.iter().map(|record| record.offset).collect();
    assert_eq!(offsets, [0, 4]);
    Ok(())
}

#[test]
fn kafka_secure_broker_accepts_every_mechanism() -> Result<()> {
    let broker = KafkaBroker::start_with(&BrokerOptions::default().secure())?;
    broker.client().create_topic("t", 1, &[])?;
    broker.client().produce("t", &[Record::value("1")])?;
    broker.cli("acls", &["--add", "--allow-principal", "User:backup", "--operation", "Read", "--topic", "t"])?;
    broker.cli("acls", &["--add", "--allow-principal", "User:backup", "--operation", "Read", "--group", "*"])?;
    let certs = broker.certs()?;
    let tls = |bootstrap: &str, protocol: &str| {
        KafkaClient::new(bootstrap)
            .property("security.protocol", protocol)
            .property("ssl.ca.location", &certs.ca().display().to_string())
    };
    let ssl = tls(&broker.bootstrap_ssl()?, "ssl")
        .property("ssl.certificate.location", &certs.certificate("backup").display().to_string())
        .property("ssl.key.location", &certs.key("backup").display().to_string());
    let mut clients = vec![("mTLS", ssl)];
    for mechanism in ["SCRAM-SHA-512", "SCRAM-SHA-256", "PLAIN"] {
        let client = tls(&broker.bootstrap_sasl_ssl()?, "sasl_ssl")
            .property("sasl.mechanism", mechanism)
            .property("sasl.username", "backup")
            .property("sasl.password", "backup-secret");
        clients.push((mechanism, client));
    }
    let oauth = tls(&broker.bootstrap_oauth()?, "sasl_ssl")
        .property("sasl.mechanism", "OAUTHBEARER")
        .property("enable.sasl.oauthbearer.unsecure.jwt", "true")
        .property("sasl.oauthbearer.config", "principal=backup");
    clients.push(("OAUTHBEARER", oauth));
    for (mechanism, client) in clients {
        let read = client.read_all("t").with_context(|| mechanism.to_owned())?;
        assert_eq!(read.len(), 1, "{mechanism}");
    }
    Ok(())
}

#[test]
fn kafka_broker_behind_a_proxy_is_cut_off_and_comes_back() -> Result<()> {
    let toxiproxy = Toxiproxy::start()?;
    let port = Port::reserve()?;
    let broker = KafkaBroker::start_with(&BrokerOptions::default().advertised(&port.address()))?;
    let proxy = toxiproxy.proxy_on(port, "kafka", &broker.listener_address())?;
    broker.client().create_topic("t", 1, &[])?;
    let outside = KafkaClient::new(&broker.bootstrap());
    outside.produce("t", &[Record::value("1")])?;
    proxy.disable()?;
    assert!(outside.clone().property("message.timeout.ms", "1000").produce("t", &[Record::value("2")]).is_err());
    // The test's own client goes past the proxy.
    assert_eq!(broker.client().read_all("t")?.len(), 1);
    proxy.enable()?;
    assert_eq!(outside.read_all("t")?.len(), 1);
    Ok(())
}

#[test]
fn kafka_tiered_storage_moves_segments_and_serves_them() -> Result<()> {
    let broker = KafkaBroker::start_with(&BrokerOptions::default().tiered_storage())?;
    let configs = [
        ("remote.storage.enable", "true"),
        ("segment.bytes", "1048576"),
        ("local.retention.bytes", "1"),
        ("retention.ms", "-1"),
    ];
    broker.client().create_topic("t", 1, &configs)?;
    let records: Vec<Record> = (0..40).map(|_| Record::value(vec![7_u8; 100_000])).collect();
    broker.client().produce("t", &records)?;
    let first_segment = broker.data_dir().join("t-0/00000000000000000000.log");
    wait::wait_until("the end of the first local segment", Duration::from_secs(60), || Ok(!first_segment.exists()))?;
    assert_eq!(broker.client().read_all("t")?.len(), records.len());
    Ok(())
}

#[test]
fn kafka_cluster_moves_a_leader_when_a_broker_dies() -> Result<()> {
    let started = Instant::now();
    let mut cluster = KafkaCluster::start()?;
    println!("started in {:?}", started.elapsed());
    let client = cluster.client();
    client.create_topic("t", 1, &[])?;
    client.produce("t", &[Record::value("1")])?;
    let leader = client.leader("t", 0)?;
    cluster.broker(leader)?.kill()?;
    wait::wait_until("another leader", Duration::from_secs(60), || {
        Ok(client.leader("t", 0).is_ok_and(|now| now >= 0 && now != leader))
    })?;
    client.produce("t", &[Record::value("2")])?;
    cluster.broker(leader)?.restart()?;
    assert_eq!(client.read_all("t")?.len(), 2);
    Ok(())
}

#[test]
fn s3_server_starts_serves_and_leaves_nothing() -> Result<()> {
    let mut server = S3Server::start()?;
    let id = server.process().context("a process")?.id();
    let unsigned = http::get(&server.address(), &format!("/{}", server.bucket()))?;
    assert_eq!(unsigned.status, 403);
    assert!(server.root_dir().join(server.bucket()).is_dir());
    server.kill()?;
    assert!(!process::exists(id));
    server.restart()?;
    server.stop()?;
    assert!(TcpStream::connect(server.address()).is_err());
    Ok(())
}

#[test]
fn azure_server_starts_serves_and_leaves_nothing() -> Result<()> {
    let mut server = AzureServer::start()?;
    let id = server.process().context("a process")?.id();
    server.create_container("second")?;
    let again = server.create_container("second");
    assert!(again.is_err_and(|error| error.to_string().contains("409")));
    server.stop()?;
    server.restart()?;
    assert!(server.create_container("second").is_err(), "containers outlive a restart");
    drop(server);
    assert!(!process::exists(id));
    Ok(())
}

#[test]
#[ignore = "on a real Vault, which takes minutes to build: make vault"]
fn vault_starts_does_nothing_while_it_is_sealed_and_leaves_nothing() -> Result<()> {
    let mut vault = Vault::start()?;
    let id = vault.process().id();
    vault.create_key("k")?;
    vault.rotate("k")?;
    vault.allow("k", &["keys"])?;
    let (address, token) = (vault.address(), vault.token()?);
    let address = address.strip_prefix("http://").context("an address")?;
    let read = |token: &str| http::request(address, "GET", "/v1/transit/keys/k", &[("X-Vault-Token", token)], "");
    let key: serde_json::Value = serde_json::from_str(&read(&token)?.body)?;
    assert_eq!(key["data"]["latest_version"], json!(2), "{key}");
    vault.allow("k", &["encrypt"])?;
    assert_eq!(read(&token)?.status, 403);
    vault.allow("k", &["keys"])?;
    vault.seal()?;
    assert_eq!(read(&token)?.status, 503);
    vault.unseal()?;
    assert_eq!(read(&token)?.status, 200);
    vault.revoke(&token)?;
    assert_eq!(read(&token)?.status, 403);
    drop(vault);
    assert!(!process::exists(id));
    Ok(())
}

#[test]
#[ignore = "on a real Trino, which takes minutes to install: make engines"]
fn trino_starts_answers_refuses_and_leaves_nothing() -> Result<()> {
    let store = S3Server::start()?;
    let mut trino = Trino::start(&store)?;
    let id = trino.process().id();
    let rows = trino.query("SELECT 1 AS n, 'x' AS s, X'AB' AS b, NULL AS z;")?;
    assert_eq!(rows, [json!({ "n": 1, "s": "x", "b": "qw==", "z": null })]);
    let refused = trino.query("SELECT * FROM nothing").err().context("no table is called so, and it answers")?;
    ensure!(refused.to_string().contains("does not exist"), "{refused:#}");
    drop(trino);
    assert!(!process::exists(id));
    Ok(())
}

#[test]
#[ignore = "on a real Spark, which takes minutes to install: make engines"]
fn spark_answers_and_says_what_fails() -> Result<()> {
    let rows = spark::sql(&["CREATE TABLE t (n INT, s STRING)", "INSERT INTO t VALUES (1, 'x')", "SELECT * FROM t"])?;
    assert_eq!(rows, [json!({ "n": 1, "s": "x" })]);
    let failed = spark::submit("import pyspark, sys\nsys.exit(f'{pyspark.__version__} {sys.argv[1:]}')", &["a"]);
    let failed = failed.err().context("a script that fails")?;
    ensure!(failed.to_string().contains("4.1.1 ['a']"), "{failed:#}");
    Ok(())
}

#[test]
fn toxiproxy_passes_delays_and_cuts() -> Result<()> {
    let server = S3Server::start()?;
    let toxiproxy = Toxiproxy::start()?;
    let proxy = toxiproxy.proxy("s3", &server.address())?;
    let ask = || -> Result<Duration> {
        let started = Instant::now();
        ensure!(http::get(&proxy.address(), "/health")?.status == 200);
        Ok(started.elapsed())
    };
    ask()?;
    proxy.add_toxic("slow", "latency", Direction::Downstream, &json!({ "latency": 300 }))?;
    assert!(ask()? >= Duration::from_millis(300));
    proxy.remove_toxic("slow")?;
    proxy.disable()?;
    assert!(ask().is_err());
    proxy.enable()?;
    ask()?;
    Ok(())
}

#[test]
fn duckdb_and_pyarrow_answer() -> Result<()> {
    let rows = duckdb::query("SELECT 1 AS n, 'x' AS s, '\\xAB'::BLOB AS b, NULL AS z")?;
    assert_eq!(rows, [json!({ "n": 1, "s": "x", "b": "ab", "z": null })]);
    assert_eq!(
        python::run_python("import pyarrow, sys; print(pyarrow.__version__, *sys.argv[1:])", &["a"])?.trim(),
        "26.0.1 a"
    );
    Ok(())
}

#[test]
fn strimzi_backup_program_is_found() -> Result<()> {
    let program = binary::strimzi_backup()?;
    assert!(program.is_file());
    Ok(())
}

#[test]
fn process_is_killed_on_panic_and_can_be_frozen() -> Result<()> {
    let dir = RunDir::new("process")?;
    let mut command = Command::new("sleep");
    command.arg("600");
    let mut sleeper = Process::spawn("sleep", &command, dir.path())?;
    let id = sleeper.id();
    sleeper.sigstop()?;
    let state = || std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    wait::wait_until("a stopped process", SOON, || Ok(state().contains(" T ")))?;
    sleeper.sigcont()?;
    wait::wait_until("a process that goes on", SOON, || Ok(!state().contains(" T ")))?;
    let panicked = std::thread::spawn(move || {
        let _owned = sleeper;
        std::panic::resume_unwind(Box::new("on purpose"));
    });
    assert!(panicked.join().is_err());
    assert!(!process::exists(id));
    Ok(())
}

#[test]
fn process_outlives_the_thread_that_started_it() -> Result<()> {
    let dir = RunDir::new("process")?;
    let path = dir.path().to_owned();
    let started = std::thread::spawn(move || Process::spawn("sleep", Command::new("sleep").arg("600"), &path));
    let mut sleeper = started.join().map_err(|_| anyhow::anyhow!("panicked"))??;
    std::thread::sleep(Duration::from_millis(200));
    assert!(sleeper.is_running());
    Ok(())
}

/// Set when this test program runs itself to be killed.
const VICTIM: &str = "STRIMZI_BACKUP_HARNESS_VICTIM";

#[test]
fn process_dies_with_a_test_program_that_is_killed() -> Result<()> {
    if let Some(file) = std::env::var_os(VICTIM) {
        let dir = RunDir::new("victim")?;
        let sleeper = Process::spawn("sleep", Command::new("sleep").arg("600"), dir.path())?;
        std::fs::write(file, sleeper.id().to_string())?;
        std::thread::sleep(Duration::from_secs(600));
        return Ok(());
    }
    let dir = RunDir::new("killed")?;
    let file = dir.path().join("id");
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--exact", "process_dies_with_a_test_program_that_is_killed"]).env(VICTIM, &file);
    command.env("TMPDIR", dir.path());
    let mut victim = Process::spawn("victim", &command, dir.path())?;
    let id = victim.wait_ready(SOON, || std::fs::read_to_string(&file).ok()?.parse::<u32>().ok())?;
    // The id may be written before setpriv has become the program.
    let name = || std::fs::read_to_string(format!("/proc/{id}/comm")).unwrap_or_default();
    wait::wait_until("a sleeping child", SOON, || Ok(name().trim() == "sleep"))?;
    victim.kill_9()?;
    wait::wait_until("the end of the child", SOON, || Ok(name().is_empty()))
}

#[test]
fn process_start_failure_quotes_the_output() -> Result<()> {
    let dir = RunDir::new("process")?;
    let mut command = Command::new("sh");
    command.args(["-c", "echo the reason >&2; exit 3"]);
    let mut failing = Process::spawn("failing", &command, dir.path())?;
    let error = failing.wait_ready(SOON, || None::<()>).map_err(|error| error.to_string());
    assert!(error.is_err_and(|message| message.contains("the reason") && message.contains("exit status: 3")));
    Ok(())
}

#[test]
fn ports_reserved_at_the_same_time_differ() -> Result<()> {
    let ports = (0..50).map(|_| Port::reserve()).collect::<Result<Vec<_>>>()?;
    let numbers: std::collections::BTreeSet<u16> = ports.iter().map(Port::number).collect();
    assert_eq!(numbers.len(), 50);
    Ok(())
}

#[test]
fn what_is_not_sealed_is_told_and_so_is_a_second_backup_key() -> Result<()> {
    let sealed = [
        ("backup.json", "{}"),
        ("keys/0000-0000.json", "{}"),
        ("probe/create-once", "x"),
        ("snapshots/daily.json", "SBE1 and more"),
        ("intake/a.parquet", "PARE and more"),
        ("restores/cut/plan.json", ""),
    ];
    let open = [("snapshots/other.json", "{}"), ("intake/b.parquet", "PAR1"), ("keys/0001-0000.json", "{}")];
    for (number, other) in std::iter::once(None).chain(open.map(Some)).enumerate() {
        let dir = RunDir::new("sealing")?;
        for (object, content) in sealed.into_iter().chain(other) {
            let path = dir.path().join(object);
            std::fs::create_dir_all(path.parent().context("a folder")?)?;
            std::fs::write(path, content)?;
        }
        Sealing::Open.check(dir.path())?;
        ensure!(Sealing::Key.check(dir.path()).is_ok() == (number == 0), "{other:?}");
    }
    Ok(())
}
