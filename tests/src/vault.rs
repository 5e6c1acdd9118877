//! HashiCorp Vault in dev mode: keys of its transit engine, and who may ask for them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::certs::Certs;
use crate::http;
use crate::parts;
use crate::ports::Port;
use crate::process::Process;
use crate::run_dir::RunDir;
use crate::wait;

const READY: Duration = Duration::from_secs(60);

/// The token that may do everything.
const ROOT: &str = "root-token-of-the-tests";

/// The policy of all other tokens.
const POLICY: &str = "backup";

/// What a backup asks for of its key.
pub const NEEDED: [&str; 3] = ["encrypt", "decrypt", "keys"];

/// A running Vault with the transit engine at `transit`, with and without TLS. What it holds is in its memory alone, and gone
/// with its process.
#[derive(Debug)]
pub struct Vault {
    // Before the directory: a server is killed before its data goes.
    process: Process,
    port: Port,
    tls_port: Port,
    certs: Certs,
    unseal_key: String,
    _dir: RunDir,
}

impl Vault {
    /// Starts one that has no key yet.
    pub fn start() -> Result<Vault> {
        let dir = RunDir::new("vault")?;
        let (port, tls_port) = (Port::reserve()?, Port::reserve()?);
        let certs = Certs::generate(&dir.path().join("certs"))?;
        let listener = dir.path().join("listener.hcl");
        std::fs::write(&listener, tls_listener(&tls_port.address(), &certs)).context("write the listener with TLS")?;
        let mut command = Command::new(parts::part("vault")?.join("vault"));
        command
            .args(["server", "-dev", "-dev-no-store-token"])
            .arg(format!("-dev-root-token-id={ROOT}"))
            .arg(format!("-dev-listen-address={}", port.address()))
            // A listener beside the one of dev mode.
            .arg(format!("-config={}", listener.display()))
            .env("VAULT_CLI_NO_COLOR", "true")
            .env("HOME", dir.path())
            .current_dir(dir.path());
        let mut process = Process::spawn("vault", &command, dir.path())?;
        process.wait_ready(READY, || is_open(&port.address()).then_some(()))?;
        let unseal_key = wait::wait_for("Vault's unseal key", READY, || Ok(unseal_key(&process)));
        let unseal_key = unseal_key.with_context(|| process.tail())?;
        let vault = Vault { process, port, tls_port, certs, unseal_key, _dir: dir };
        vault.ask("POST", "sys/mounts/transit", &json!({"type": "transit"}))?;
        Ok(vault)
    }

    /// `http://127.0.0.1:<port>`.
    pub fn address(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// `https://127.0.0.1:<port>`, with a certificate of [`Vault::ca`].
    pub fn tls_address(&self) -> String {
        format!("https://{}", self.tls_port.address())
    }

    /// The certificate of the CA of its own.
    pub fn ca(&self) -> PathBuf {
        self.certs.ca()
    }

    /// The process, to freeze it or read its output.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Creates a key, of version 1.
    pub fn create_key(&self, name: &str) -> Result<()> {
        self.ask("POST", &format!("transit/keys/{name}"), &json!({})).map(drop)
    }

    /// Gives a key its next version, which encrypts from then on.
    pub fn rotate(&self, name: &str) -> Result<()> {
        self.ask("POST", &format!("transit/keys/{name}/rotate"), &json!({})).map(drop)
    }

    /// Disallows to decrypt by versions of a key before this one; allows it by this one and all later ones.
    pub fn decrypt_from(&self, name: &str, version: u32) -> Result<()> {
        let config = json!({"min_decryption_version": version});
        self.ask("POST", &format!("transit/keys/{name}/config"), &config).map(drop)
    }

    /// Lets the tokens of [`Vault::token`] do this with a key, of [`NEEDED`], and nothing else. It counts at once, for tokens
    /// that there are already too.
    pub fn allow(&self, key: &str, ways: &[&str]) -> Result<()> {
        let rule = |way: &&str| {
            let capability = if *way == "keys" { "read" } else { "update" };
            format!("path \"transit/{way}/{key}\" {{ capabilities = [\"{capability}\"] }}\n")
        };
        // A policy that says nothing at all is refused.
        let others = "path \"*\" { capabilities = [\"deny\"] }\n";
        let policy = others.to_owned() + &ways.iter().map(rule).collect::<String>();
        self.ask("PUT", &format!("sys/policies/acl/{POLICY}"), &json!({"policy": policy})).map(drop)
    }

    /// A new token that may do what [`Vault::allow`] allows.
    pub fn token(&self) -> Result<String> {
        let made = self.ask("POST", "auth/token/create", &json!({"policies": [POLICY], "no_default_policy": true}))?;
        Ok(made["auth"]["client_token"].as_str().context("a token")?.to_owned())
    }

    /// Ends a token.
    pub fn revoke(&self, token: &str) -> Result<()> {
        self.ask("POST", "auth/token/revoke", &json!({"token": token})).map(drop)
    }

    /// Has `auth/kubernetes` believe the cluster whose API server is at `host`, with a certificate of `ca`; it is asked about
    /// tokens as the account that `reviewer` is a token of.
    pub fn trust_cluster(&self, host: &str, ca: &Path, reviewer: &str) -> Result<()> {
        self.ask("POST", "sys/auth/kubernetes", &json!({"type": "kubernetes"}))?;
        let config = json!({
            "kubernetes_host": host,
            "kubernetes_ca_cert": std::fs::read_to_string(ca).context("read the CA of the cluster")?,
            "token_reviewer_jwt": reviewer,
            // Nothing of the pod that it might run in itself.
            "disable_local_ca_jwt": true,
        });
        self.ask("POST", "auth/kubernetes/config", &config).map(drop)
    }

    /// Lets a service account in as `role`, to do what [`Vault::allow`] allows.
    pub fn let_in(&self, role: &str, namespace: &str, account: &str) -> Result<()> {
        let fields = json!({
            "bound_service_account_namespaces": [namespace],
            "bound_service_account_names": [account],
            "token_policies": [POLICY],
            "token_no_default_policy": true,
        });
        self.ask("POST", &format!("auth/kubernetes/role/{role}"), &fields).map(drop)
    }

    /// Seals it: it answers, and does nothing until it is unsealed.
    pub fn seal(&self) -> Result<()> {
        self.ask("PUT", "sys/seal", &json!({}))?;
        wait::wait_until("Vault to be sealed", READY, || Ok(!is_open(&self.port.address())))
    }

    /// Unseals it again, with all that it held.
    pub fn unseal(&self) -> Result<()> {
        self.ask("PUT", "sys/unseal", &json!({"key": self.unseal_key}))?;
        wait::wait_until("Vault to be unsealed", READY, || Ok(is_open(&self.port.address())))
    }

    /// Asks for `path`, below `/v1/`, as who may do everything.
    fn ask(&self, method: &str, path: &str, fields: &Value) -> Result<Value> {
        let headers = [("X-Vault-Token", ROOT), ("Content-Type", "application/json")];
        let path = format!("/v1/{path}");
        let answer = http::request(&self.port.address(), method, &path, &headers, &fields.to_string())?;
        ensure!((200..300).contains(&answer.status), "vault {method} {path}: {} {}", answer.status, answer.body);
        if answer.body.is_empty() { Ok(Value::Null) } else { Ok(serde_json::from_str(&answer.body)?) }
    }
}

fn tls_listener(address: &str, certs: &Certs) -> String {
    let (certificate, key) = (certs.certificate("broker"), certs.key("broker"));
    format!(
        "listener \"tcp\" {{\n  address = \"{address}\"\n  tls_cert_file = \"{}\"\n  tls_key_file = \"{}\"\n}}\n",
        certificate.display(),
        key.display()
    )
}

/// Whether it does what it is asked for: 503 where it is sealed.
fn is_open(address: &str) -> bool {
    http::get(address, "/v1/sys/health").is_ok_and(|health| health.status == 200)
}

/// What it prints, to either output, once its log has been quiet for a moment.
fn unseal_key(process: &Process) -> Option<String> {
    let printed = process.stdout() + "\n" + &process.stderr();
    let (_, rest) = printed.split_once("Unseal Key: ")?;
    // The line may not be whole yet.
    let (key, _) = rest.split_once('\n')?;
    Some(key.trim().to_owned())
}
