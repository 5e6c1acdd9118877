//! The Java processes: brokers and Kafka's command line tools.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::parts;
use crate::process::{Process, run};

/// A broker of the tests has little data; the heap stays small so that several fit.
const BROKER_HEAP: &str = "-Xmx320m";

/// Starts the broker process with its output in `dir`.
pub(super) fn spawn_broker(properties: &Path, dir: &Path, extra: &[String]) -> Result<Process> {
    let kafka = parts::part("kafka")?;
    let mut command = java(&kafka);
    command
        .arg(BROKER_HEAP)
        .args(["-XX:MaxDirectMemorySize=256m", "-XX:+ExitOnOutOfMemoryError"])
        .args(extra)
        .arg("kafka.Kafka")
        .arg(properties);
    Process::spawn("kafka", &command, dir)
}

/// Runs one of Kafka's tools to its end and returns what it printed.
pub(super) fn run_tool(tool: &str, arguments: &[&str]) -> Result<String> {
    let kafka = parts::part("kafka")?;
    let mut command = java(&kafka);
    command.args(["-Xmx256m", "-Dkafka.log.level=ERROR"]).arg(main_class(tool)).args(arguments);
    run(&format!("kafka tool {tool}"), &mut command)
}

/// Copies the data directory that was formatted once when Kafka was installed: much faster than formatting, which is
/// a Java process of its own. Identity is per broker.
pub(super) fn format_data_dir(data: &Path, node: i32, cluster_id: &str) -> Result<()> {
    let formatted = parts::part("kafka")?.join("formatted");
    std::fs::create_dir_all(data)?;
    for entry in std::fs::read_dir(&formatted).context("read the formatted data directory")? {
        let entry = entry?;
        std::fs::copy(entry.path(), data.join(entry.file_name())).context("copy a formatted file")?;
    }
    let identity = format!("version=1\ncluster.id={cluster_id}\nnode.id={node}\ndirectory.id={}\n", random_id());
    std::fs::write(data.join("meta.properties"), identity).context("write meta.properties")
}

/// A random id in Kafka's form: 16 bytes in URL-safe base64 without padding, not beginning with a dash, which the
/// tools would take for an option.
pub(super) fn random_id() -> String {
    use base64::Engine;
    loop {
        let id = base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(uuid::Uuid::new_v4().as_bytes());
        if !id.starts_with('-') {
            return id;
        }
    }
}

fn java(kafka: &Path) -> Command {
    let mut command = Command::new("java");
    // The class path, the archive of loaded classes and the logging configuration are in the argument file, see tests/parts/install.sh.
    command.arg(format!("@{}", kafka.join("java.args").display()));
    command
}

fn main_class(tool: &str) -> String {
    let class = match tool {
        "topics" => "TopicCommand",
        "configs" => return "kafka.admin.ConfigCommand".to_owned(),
        "delete-records" => "DeleteRecordsCommand",
        "acls" => "AclCommand",
        "groups" => "consumer.group.ConsumerGroupCommand",
        "consumer" => "consumer.ConsoleConsumer",
        "producer" => "ConsoleProducer",
        "dump-log" => "DumpLogSegments",
        "leader-election" => "LeaderElectionCommand",
        "reassign" => "reassign.ReassignPartitionsCommand",
        "offsets" => "GetOffsetShell",
        "transactions" => "TransactionsCommand",
        "quorum" => "MetadataQuorumCommand",
        "features" => "FeatureCommand",
        class => class,
    };
    if class.contains("org.apache") { class.to_owned() } else { format!("org.apache.kafka.tools.{class}") }
}
