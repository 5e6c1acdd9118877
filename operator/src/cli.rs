//! Arguments, each also an environment variable.

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use k8s_openapi::jiff::SignedDuration;

use crate::{api, manifests, run};

/// Backup and restore of Strimzi clusters: carries out KafkaBackup and KafkaRestore.
#[derive(Debug, Parser)]
#[command(name = "strimzi-backup-operator", version)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Carry out resources until SIGTERM.
    Run(Run),
    /// Print the custom resource definitions, YAML.
    Crds,
    /// Print all that `kubectl apply --server-side --filename -` installs the operator with, YAML.
    Manifests(Manifests),
}

/// Where it is installed.
#[derive(Clone, Debug, Args)]
pub struct Manifests {
    /// The namespace of the operator; it is among what is printed.
    #[arg(long, default_value = manifests::NAMESPACE)]
    pub namespace: String,
}

/// When an image is pulled, as Kubernetes has it.
const PULL_POLICIES: [&str; 3] = ["Always", "IfNotPresent", "Never"];

/// How it runs.
#[derive(Clone, Debug, Args)]
pub struct Run {
    /// The namespaces that are looked after: one, several by comma, or `*`. All where empty.
    #[arg(long, env = "STRIMZI_BACKUP_NAMESPACE", default_value = "*")]
    pub namespace: String,
    /// The namespace of the operator, where its Lease is.
    #[arg(long, env = "OPERATOR_NAMESPACE")]
    pub operator_namespace: String,
    /// The image of all pods, with `/usr/local/bin/strimzi-backup`.
    #[arg(long, env = "STRIMZI_BACKUP_IMAGE")]
    pub image: String,
    /// When it is pulled; left out, Kubernetes decides by its tag.
    #[arg(long, env = "STRIMZI_BACKUP_IMAGE_PULL_POLICY", value_parser = PULL_POLICIES)]
    pub image_pull_policy: Option<String>,
    /// Whether NetworkPolicies are made.
    #[arg(long, env = "STRIMZI_BACKUP_NETWORK_POLICY_GENERATION", default_value_t = true, action = clap::ArgAction::Set)]
    pub network_policies: bool,
    /// How long a KafkaBackup with `deletionPolicy: Delete` is held at most while its stored backup is deleted, with its unit:
    /// `5m`, `90s`. Above zero.
    #[arg(long, env = "STRIMZI_BACKUP_DELETION_TIMEOUT", default_value = "5m", value_parser = duration)]
    pub deletion_timeout: Duration,
    /// Whether replicas agree by a Lease on the one that acts.
    #[arg(long, env = "STRIMZI_BACKUP_LEADER_ELECTION_ENABLED", default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_election: bool,
    /// The name of the Lease.
    #[arg(long, env = "STRIMZI_BACKUP_LEADER_ELECTION_LEASE_NAME", default_value = "strimzi-backup-operator")]
    pub lease_name: String,
    /// Who this replica is in the Lease and in events; in a pod its name.
    #[arg(long, env = "POD_NAME", default_value = "strimzi-backup-operator")]
    pub identity: String,
    /// The address of /livez, /readyz and /metrics.
    #[arg(long, env = "STRIMZI_BACKUP_HTTP_ADDRESS", default_value = "0.0.0.0:9090")]
    pub http_address: SocketAddr,
}

/// A length of time above zero.
fn duration(text: &str) -> Result<Duration, String> {
    let parsed = text.parse::<SignedDuration>().map_err(|error| format!("{error}; write it as 5m"))?;
    let above_zero = Duration::try_from(parsed).ok().filter(|duration| !duration.is_zero());
    above_zero.ok_or_else(|| "it has to be above zero; write it as 5m".to_owned())
}

/// Does what was asked.
///
/// # Errors
/// See [`run::run`]; writing to standard output.
pub async fn execute(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Run(options) => run::run(options).await,
        Command::Crds => print(&crds()?),
        Command::Manifests(options) => print(&manifests::for_namespace(&options.namespace)?),
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

/// All definitions as one YAML stream.
///
/// # Errors
/// Never: they have text keys and finite numbers only.
pub fn crds() -> Result<String, serde_norway::Error> {
    let documents = api::crds().map(|crd| serde_norway::to_string(&crd));
    let documents = documents.into_iter().collect::<Result<Vec<_>, _>>()?;
    Ok(format!("---\n{}", documents.join("---\n")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_printed_as_a_stream_of_documents() {
        let text = crds().unwrap();
        assert_eq!(text.matches("kind: CustomResourceDefinition").count(), 2);
        assert!(
            text.starts_with("---\napiVersion") && text.matches("\n---\napiVersion").count() == 1,
            "one document each"
        );
    }

    #[test]
    fn a_run_needs_its_namespace_and_its_image() {
        let parse = |arguments: &[&str]| Arguments::try_parse_from(arguments.iter().copied());
        let all = ["x", "run", "--operator-namespace", "op", "--image", "i", "--network-policies", "false"];
        let Command::Run(run) = parse(&all).unwrap().command else { panic!("run") };
        assert!(!run.network_policies && run.leader_election);
        assert_eq!(run.deletion_timeout, Duration::from_secs(300));
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert!(duration("five").unwrap_err().contains("write it as 5m"));
        assert!(parse(&["x", "run", "--image", "i"]).is_err());
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        let parse = |flag: &str, value: &str| {
            Arguments::try_parse_from(["x", "run", "--operator-namespace", "op", "--image", "i", flag, value])
        };
        for policy in PULL_POLICIES {
            let Command::Run(run) = parse("--image-pull-policy", policy).unwrap().command else { panic!("run") };
            assert_eq!(run.image_pull_policy.as_deref(), Some(policy));
        }
        let refusal = parse("--image-pull-policy", "Sometimes").unwrap_err().to_string();
        assert!(refusal.contains("Sometimes") && refusal.contains("Always, IfNotPresent, Never"), "{refusal}");
        for timeout in ["0s", "0m"] {
            let refusal = parse("--deletion-timeout", timeout).unwrap_err().to_string();
            assert!(refusal.contains("--deletion-timeout") && refusal.contains("above zero"), "{refusal}");
        }
        assert!(duration("-5m").unwrap_err().contains("above zero"));
    }
}
