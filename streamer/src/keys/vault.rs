//! The HTTP API of HashiCorp Vault and OpenBao: one request, who asks, and what an answer means.
//!
//! Owns: tokens and logins, time-outs, the verdict over an answer. Does not own: which requests make a key provider
//! ([`super::transit`]), or waiting for a server that is away ([`crate::claim`]).
//!
//! Invariants: neither a token nor what a request carries is in a [`Fault`], in a log or in `Debug`; files are read anew for each
//! request; a login that is not accepted any longer is made anew once, and no more.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, Response, StatusCode};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use strimzi_backup_format::job::{Transit, TransitAuth};
use zeroize::Zeroizing;

use crate::error::chain;

/// How long an answer may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a connection may take.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);

/// The most bytes of an answer: those of a key with ten thousand versions have 400 KiB.
const MOST_BYTES: usize = 1 << 20;

/// Room for a request, so that none of it is left behind where its buffer grew.
const REQUEST_BYTES: usize = 8 << 10;

/// So many characters of a secret in a row are no accident.
const SECRET_PART: usize = 12;

/// The most characters of the server's own words in an error.
const WORDS: usize = 200;

const USER_AGENT: &str = concat!("strimzi-backup/", env!("CARGO_PKG_VERSION"));

/// A text that is wiped.
pub(super) type Secret = Zeroizing<String>;

/// Why there is no answer to go on with, in words without a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nobody answers, or nobody who can: the same request may succeed later.
    Away(String),
    /// It may not be asked for, or not so.
    Denied(String),
    /// What was asked for is not there, or not any longer.
    Gone(String),
    /// It does not open.
    Wrong(String),
}

/// A server, and who asks it.
pub(super) struct Vault {
    client: Client,
    address: String,
    namespace: Option<String>,
    auth: TransitAuth,
    /// The token of the last login.
    login: Mutex<Option<Secret>>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Vault").field("address", &self.address).field("auth", &self.auth).finish_non_exhaustive()
    }
}

/// What a request carries.
#[derive(Clone)]
struct Sent<'a> {
    body: Bytes,
    /// What of it is a secret.
    secret: &'a str,
}

#[derive(Serialize)]
struct Login<'a> {
    role: &'a str,
    jwt: &'a str,
}

/// What a login gives.
#[derive(Deserialize)]
struct LoggedIn {
    auth: Auth,
}

#[derive(Deserialize)]
struct Auth {
    client_token: String,
}

/// What the server says where it does not do what it is asked for.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Words {
    errors: Vec<String>,
}

impl Vault {
    /// A server, not asked for anything yet.
    ///
    /// # Errors
    /// [`Fault::Denied`] where the CA certificates cannot be used.
    pub(super) fn new(settings: &Transit, patience: Duration) -> Result<Self, Fault> {
        let address = settings.address.trim_end_matches('/').to_owned();
        let mut client = Client::builder()
            .timeout(patience)
            .connect_timeout(CONNECT_PATIENCE)
            .user_agent(USER_AGENT)
            // A standby may send on to the active server; nobody is sent on in plain text.
            .redirect(Policy::limited(1))
            .https_only(address.starts_with("https://"));
        if let Some(path) = &settings.ca_file {
            client = client.tls_certs_merge(certificates(path)?);
        }
        let client = client.build().map_err(|error| Fault::Denied(format!("set up HTTP: {}", chain(&error))))?;
        let (namespace, auth) = (settings.namespace.clone(), settings.auth.clone());
        Ok(Self { client, address, namespace, auth, login: Mutex::new(None) })
    }

    /// Where it is.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Reads `path`, below `/v1/`.
    ///
    /// # Errors
    /// [`Fault`].
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Fault> {
        self.call(Method::GET, path, None).await
    }

    /// Sends `fields` to `path`, below `/v1/`; `secret` of them is in no fault.
    ///
    /// # Errors
    /// [`Fault`].
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        fields: &impl Serialize,
        secret: &str,
    ) -> Result<T, Fault> {
        self.call(Method::POST, path, Some(Sent { body: body(fields)?, secret })).await
    }

    async fn call<T: DeserializeOwned>(&self, method: Method, path: &str, sent: Option<Sent<'_>>) -> Result<T, Fault> {
        let (token, is_old) = self.token().await?;
        match self.ask(method.clone(), path, Some(&token), sent.clone()).await {
            // Its lease may be over, or somebody has revoked it.
            Err(Fault::Denied(_)) if is_old => {
                *self.login.lock() = None;
                let (token, _) = self.token().await?;
                self.ask(method, path, Some(&token), sent).await
            }
            answer => answer,
        }
    }

    /// The token to ask with, and whether it is that of a login before.
    async fn token(&self) -> Result<(Secret, bool), Fault> {
        let (role, mount, file) = match &self.auth {
            TransitAuth::Token { file } => return Ok((read(file)?, false)),
            TransitAuth::Kubernetes { role, mount, token_file } => (role, mount, token_file),
        };
        if let Some(known) = self.login.lock().clone() {
            return Ok((known, true));
        }
        let jwt = read(file)?;
        let fields = Login { role, jwt: &jwt };
        let path = format!("auth/{}/login", mount.trim_matches('/'));
        let sent = Sent { body: body(&fields)?, secret: &jwt };
        let answer = self.ask::<LoggedIn>(Method::POST, &path, None, Some(sent)).await;
        let token = Secret::new(answer.map_err(|fault| fault.of_login(role))?.auth.client_token);
        *self.login.lock() = Some(token.clone());
        Ok((token, false))
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        token: Option<&Secret>,
        sent: Option<Sent<'_>>,
    ) -> Result<T, Fault> {
        let mut request = self.client.request(method, format!("{}/v1/{path}", self.address));
        request = request.header("X-Vault-Request", "true");
        if let Some(token) = token {
            request = request.header("X-Vault-Token", header(token)?);
        }
        if let Some(namespace) = &self.namespace {
            request = request.header("X-Vault-Namespace", namespace.as_str());
        }
        let mut hidden = vec![token.map_or("", |token| token.as_str())];
        if let Some(Sent { body, secret }) = sent {
            hidden.push(secret);
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let mut response = request.send().await.map_err(|error| unsent(&error))?;
        let status = response.status();
        let answer = read_answer(&mut response).await?;
        if !status.is_success() {
            return Err(judge(status, &words(&answer, &hidden)));
        }
        // What does not read may be half a secret: why it does not is not told.
        serde_json::from_slice(&answer).map_err(|_| Fault::Away("its answer is not that of this API".to_owned()))
    }
}

impl Fault {
    /// The same of a login.
    fn of_login(self, role: &str) -> Self {
        match self {
            Self::Away(why) => Self::Away(why),
            // Whatever a login lacks, it is not the key.
            Self::Denied(why) | Self::Gone(why) | Self::Wrong(why) => {
                Self::Denied(format!("the login as role {role:?} failed: {why}"))
            }
        }
    }
}

fn certificates(path: &Path) -> Result<Vec<Certificate>, Fault> {
    let failed = |why: String| Fault::Denied(format!("cannot use the CA certificates in {}: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let certificates = Certificate::from_pem_bundle(&pem).map_err(|error| failed(chain(&error)))?;
    if certificates.is_empty() {
        return Err(failed("it holds no PEM certificate".to_owned()));
    }
    Ok(certificates)
}

/// A token as it is now. One that is not there yet may still come: a sidecar writes it.
fn read(file: &Path) -> Result<Secret, Fault> {
    let failed = |why: &str| Fault::Away(format!("cannot read the token in {}: {why}", file.display()));
    let text = std::fs::read_to_string(file).map(Secret::new).map_err(|error| failed(&error.to_string()))?;
    if text.trim().is_empty() {
        return Err(failed("it is empty"));
    }
    Ok(Secret::new(text.trim().to_owned()))
}

/// The bytes of a request, which are wiped when it is sent.
fn body(fields: &impl Serialize) -> Result<Bytes, Fault> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(REQUEST_BYTES));
    serde_json::to_writer(&mut *bytes, fields)
        .map_err(|_| Fault::Denied("the request cannot be written".to_owned()))?;
    Ok(Bytes::from_owner(bytes))
}

fn header(token: &Secret) -> Result<HeaderValue, Fault> {
    let refused = |_| Fault::Denied("the token holds what no token does, such as a line break".to_owned());
    let mut value = HeaderValue::from_str(token).map_err(refused)?;
    value.set_sensitive(true);
    Ok(value)
}

/// Why a request brought no answer. One that cannot even be built never will.
fn unsent(error: &reqwest::Error) -> Fault {
    let why = with_advice(chain(error));
    if error.is_builder() { Fault::Denied(why) } else { Fault::Away(why) }
}

/// The same with what to do about a certificate whose issuer nobody here knows, as the TLS library's words for it do not say.
fn with_advice(why: String) -> String {
    let is_of_a_stranger = why.contains("UnknownIssuer");
    if is_of_a_stranger { why + "; transit.caFile has to name the CA that signed it" } else { why }
}

async fn read_answer(response: &mut Response) -> Result<Zeroizing<Vec<u8>>, Fault> {
    let mut answer = Zeroizing::new(Vec::with_capacity(REQUEST_BYTES));
    while let Some(chunk) = response.chunk().await.map_err(|error| unsent(&error))? {
        if answer.len() + chunk.len() > MOST_BYTES {
            return Err(Fault::Away(format!("it answers with more than {MOST_BYTES} bytes")));
        }
        answer.extend_from_slice(&chunk);
    }
    Ok(answer)
}

/// The server's own words, on one line; none where they repeat a part of what is hidden, as no such server does.
fn words(answer: &[u8], hidden: &[&str]) -> String {
    let Words { errors } = serde_json::from_slice(answer).unwrap_or_default();
    let line = errors.join("; ").split_whitespace().collect::<Vec<_>>().join(" ");
    let mut parts = line.split(|letter: char| !letter.is_ascii_alphanumeric() && !"+/=._-".contains(letter));
    let repeats = parts.any(|part| part.len() >= SECRET_PART && hidden.iter().any(|hidden| hidden.contains(part)));
    if repeats { String::new() } else { line.chars().take(WORDS).collect() }
}

/// What an answer means that is no success. The words are those of `sdk/helper/keysutil` and `builtin/logical/transit`.
fn judge(status: StatusCode, words: &str) -> Fault {
    let said = if words.is_empty() { status.to_string() } else { format!("{words} ({})", status.as_u16()) };
    let says = |any: &[&str]| any.iter().any(|part| words.contains(part));
    match status.as_u16() {
        404 => Fault::Gone(said),
        400 if says(&["too old", "too new", "key not found", "policy not found", "no such key version"]) => {
            Fault::Gone(said)
        }
        400 if says(&["authentication failed", "unable to decrypt", "invalid ciphertext"]) => Fault::Wrong(said),
        // A standby, a limit, one that is sealed or not set up, and whatever stands before it.
        408 | 412 | 429 | 472 | 473 | 500.. => Fault::Away(said),
        _ => Fault::Denied(said),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a34_what_an_answer_means_is_told_by_its_status_and_the_words_of_the_server() {
        let fault = |status, words: &str| judge(StatusCode::from_u16(status).expect("a status"), words);
        let gone = "ciphertext or signature version is disallowed by policy (too old)";
        assert_eq!(fault(400, gone), Fault::Gone(format!("{gone} (400)")));
        assert!(matches!(fault(400, "encryption key not found"), Fault::Gone(_)));
        assert!(matches!(fault(400, "invalid ciphertext: version is too new"), Fault::Gone(_)), "created anew");
        assert_eq!(fault(404, ""), Fault::Gone("404 Not Found".to_owned()));
        assert!(matches!(fault(400, "cipher: message authentication failed"), Fault::Wrong(_)));
        assert!(matches!(fault(403, "1 error occurred: * permission denied"), Fault::Denied(_)));
        assert!(matches!(fault(400, "missing 'context' for key derivation"), Fault::Denied(_)));
        for away in [412, 429, 472, 473, 500, 502, 503, 504, 599] {
            assert!(matches!(fault(away, "Vault is sealed"), Fault::Away(_)), "{away}");
        }
    }

    #[test]
    fn whose_issuer_is_unknown_is_told_where_to_name_it() {
        let told = |why: &str| with_advice(why.to_owned());
        let refused = "client error (Connect): invalid peer certificate: UnknownIssuer";
        assert_eq!(told(refused), format!("{refused}; transit.caFile has to name the CA that signed it"));
        let closed = "client error (Connect): tcp connect error: Connection refused (os error 111)";
        assert_eq!(told(closed), closed);
    }

    #[test]
    fn words_are_one_line_of_some_length_and_repeat_nothing_that_is_hidden() {
        let answer = |text: &str| serde_json::json!({ "errors": [text, "more"] }).to_string().into_bytes();
        let told = |text: &str, hidden: &[&str]| words(&answer(text), hidden);
        assert_eq!(
            told("1 error occurred:\n\t* permission denied\n\n", &[]),
            "1 error occurred: * permission denied ; more"
        );
        assert_eq!(told(&"long ".repeat(100), &[]).chars().count(), WORDS);
        let (token, key) = ("hvs.CAESIJ0123456789abcdef", "qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqo=");
        assert_eq!(told("bad token hvs.CAESIJ0123456789abcdef!", &[token, key]), "");
        assert_eq!(told(&format!("cannot read {}", &key[..20]), &[token, key]), "");
        assert_eq!(
            told("invalid role name \"kafka-backup-streamer\"", &[token]),
            "invalid role name \"kafka-backup-streamer\"; more"
        );
        assert_eq!(words(b"<html>503</html>", &[]), "");
    }
}
