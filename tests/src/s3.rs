//! An S3 server: versitygw on a directory.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::http;
use crate::parts;
use crate::ports::Port;
use crate::process::{self, Process};
use crate::run_dir::RunDir;

const ACCESS_KEY: &str = "test-access";
const SECRET_KEY: &str = "test-secret-key";
const REGION: &str = "us-east-1";
const READY: Duration = Duration::from_secs(20);

/// A running, or stopped, S3 server with the bucket `backup`.
#[derive(Debug)]
pub struct S3Server {
    // Before the directory: a server is killed before its data goes.
    process: Option<Process>,
    port: Port,
    /// Whether it listens at all addresses.
    everywhere: bool,
    keys: (String, String),
    region: &'static str,
    dir: RunDir,
}

impl S3Server {
    /// Starts an empty server and makes the bucket [`S3Server::bucket`].
    pub fn start() -> Result<S3Server> {
        S3Server::start_at(false, REGION)
    }

    /// The same for pods, which reach it at the bridge of the calling thread's network ([`crate::network`]).
    pub fn start_for_pods() -> Result<S3Server> {
        S3Server::start_for_pods_in(REGION)
    }

    /// The same, in a region of that name.
    pub fn start_for_pods_in(region: &'static str) -> Result<S3Server> {
        S3Server::start_at(true, region)
    }

    fn start_at(everywhere: bool, region: &'static str) -> Result<S3Server> {
        let dir = RunDir::new("s3")?;
        let mut server = S3Server {
            process: None,
            port: Port::reserve()?,
            everywhere,
            keys: (ACCESS_KEY.to_owned(), SECRET_KEY.to_owned()),
            region,
            dir,
        };
        server.create_bucket(server.bucket())?;
        std::fs::create_dir(server.users_dir())?;
        server.restart()?;
        Ok(server)
    }

    /// `http://127.0.0.1:<port>`.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.port.address())
    }

    /// `127.0.0.1:<port>`, for a proxy in front.
    pub fn address(&self) -> String {
        self.port.address()
    }

    /// The number of its port.
    pub fn port(&self) -> u16 {
        self.port.number()
    }

    /// The bucket that exists from the start.
    pub fn bucket(&self) -> &'static str {
        "backup"
    }

    /// The region the server expects in signatures.
    pub fn region(&self) -> &'static str {
        self.region
    }

    /// The access key id.
    pub fn access_key(&self) -> &str {
        &self.keys.0
    }

    /// The secret access key.
    pub fn secret_key(&self) -> &str {
        &self.keys.1
    }

    /// The environment variables by which S3 clients find this server.
    pub fn environment(&self) -> Vec<(String, String)> {
        let pairs = [
            ("AWS_ACCESS_KEY_ID", self.access_key().to_owned()),
            ("AWS_SECRET_ACCESS_KEY", self.secret_key().to_owned()),
            ("AWS_REGION", self.region().to_owned()),
            ("AWS_ENDPOINT_URL", self.endpoint()),
            ("AWS_ALLOW_HTTP", "true".to_owned()),
        ];
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// The directory whose sub-directories are the buckets and whose files are the objects.
    pub fn root_dir(&self) -> PathBuf {
        self.dir.path().join("buckets")
    }

    /// The directory of what lies below a prefix in the bucket that exists from the start.
    pub fn dir_of(&self, prefix: &str) -> PathBuf {
        self.root_dir().join(self.bucket()).join(prefix)
    }

    /// Makes a bucket, which for this server is a directory.
    pub fn create_bucket(&self, name: &str) -> Result<()> {
        std::fs::create_dir_all(self.root_dir().join(name)).with_context(|| format!("make the bucket {name}"))
    }

    /// The process, to freeze it or read its output; `None` while stopped.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }

    /// Starts the server again with other keys; the old ones are refused from then on.
    pub fn rotate_keys(&mut self, access_key: &str, secret_key: &str) -> Result<()> {
        self.keys = (access_key.to_owned(), secret_key.to_owned());
        self.restart()
    }

    /// Lets who has this pair of keys in, beside [`S3Server::access_key`].
    pub fn allow(&self, access_key: &str, secret_key: &str) -> Result<()> {
        self.administer(&["create-user", "--access", access_key, "--secret", secret_key, "--role", "admin"])
    }

    /// Takes such a pair away: it is refused from then on.
    pub fn forbid(&self, access_key: &str) -> Result<()> {
        self.administer(&["delete-user", "--access", access_key])
    }

    fn administer(&self, arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(parts::part("versitygw")?.join("versitygw"));
        command
            .args(["admin", "--access", self.access_key(), "--secret", self.secret_key(), "--region", self.region()])
            .args(["--endpoint-url", &self.endpoint()])
            .args(arguments);
        process::run("versitygw admin", &mut command).map(drop)
    }

    /// Where the server keeps what [`S3Server::allow`] let in.
    fn users_dir(&self) -> PathBuf {
        self.dir.path().join("users")
    }

    /// Ends the server and waits for it.
    pub fn stop(&mut self) -> Result<()> {
        if let Some(mut process) = self.process.take() {
            process.stop(READY)?;
        }
        Ok(())
    }

    /// Kills the server.
    pub fn kill(&mut self) -> Result<()> {
        self.process.take().map_or(Ok(()), |mut process| process.kill_9())
    }

    /// Starts the server again, on the same port and data; kills it first when it runs.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        let listen = if self.everywhere { self.port.everywhere() } else { self.port.address() };
        let mut command = Command::new(parts::part("versitygw")?.join("versitygw"));
        command
            .args(["--access", self.access_key(), "--secret", self.secret_key(), "--region", self.region()])
            .args(["--port", &listen, "--health", "/health", "--quiet", "--iam-cache-disable", "--iam-dir"])
            .arg(self.users_dir())
            .arg("posix")
            .arg(self.root_dir())
            .current_dir(self.dir.path());
        let mut process = Process::spawn("versitygw", &command, self.dir.path())?;
        let address = self.port.address();
        let health = process.wait_ready(READY, || http::get(&address, "/health").ok())?;
        ensure!(health.status == 200, "the health of versitygw: {health:?}");
        self.process = Some(process);
        Ok(())
    }
}
