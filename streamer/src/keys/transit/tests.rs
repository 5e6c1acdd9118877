//! Against a stand-in for Vault, for what the real server cannot be made to show at will: sealed, away, slow, a revoked login, a
//! proxy's page. That the requests are those of the real API, tests on a real server show.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use parking_lot::Mutex;
use serde_json::{Value, json};
use strimzi_backup_format::job::TransitAuth;
use strimzi_backup_format::sample::assert_prints_none_of;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::error::chain;

/// A request as it came.
#[derive(Clone, Debug)]
struct Seen {
    line: String,
    token: Option<String>,
    namespace: Option<String>,
    body: Value,
}

/// What the stand-in does.
#[derive(Debug, Default)]
struct Script {
    /// Answers that come before those of a server that is well.
    first: VecDeque<(u16, Value)>,
    /// Nobody is answered.
    is_silent: bool,
    /// The token that it takes; any where absent.
    takes: Option<String>,
    seen: Vec<Seen>,
}

type Shared = Arc<Mutex<Script>>;

/// A stand-in for Vault, not Vault.
struct StandIn {
    address: String,
    script: Shared,
    folder: TempDir,
    _serving: AbortOnDropHandle<()>,
}

impl StandIn {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = format!("http://{}/", listener.local_addr().expect("an address"));
        let script = Shared::default();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&script));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.expect("served") });
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("token"), "hvs.first-token-of-the-test\n").expect("written");
        Self { address, script, folder, _serving: AbortOnDropHandle::new(serving) }
    }

    fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    fn settings(&self, auth: TransitAuth) -> Transit {
        let (mount, key) = ("/kms/transit/".to_owned(), "orders".to_owned());
        Transit { address: self.address.clone(), mount, key, namespace: Some("team".to_owned()), ca_file: None, auth }
    }

    fn keys(&self) -> TransitKeys {
        let settings = self.settings(TransitAuth::Token { file: self.token_file() });
        TransitKeys::with_patience(&settings, Duration::from_millis(500)).expect("settings")
    }

    fn logging_in(&self) -> TransitKeys {
        let (role, mount) = ("streamer".to_owned(), "kubernetes".to_owned());
        let auth = TransitAuth::Kubernetes { role, mount, token_file: self.token_file() };
        TransitKeys::with_patience(&self.settings(auth), Duration::from_millis(500)).expect("settings")
    }

    fn answers_first(&self, answers: &[(u16, Value)]) {
        self.script.lock().first = answers.to_vec().into();
    }

    fn seen(&self) -> Vec<Seen> {
        std::mem::take(&mut self.script.lock().seen)
    }
}

/// Answers as it is scripted, then as a server that is well: version 3 wraps, and what it wraps is `<context>:<key>`.
async fn answer(State(script): State<Shared>, request: Request<Body>) -> Response {
    let (head, body) = request.into_parts();
    let [token, namespace] = ["X-Vault-Token", "X-Vault-Namespace"]
        .map(|name| head.headers.get(name).map(|value| value.to_str().expect("text").to_owned()));
    let path = head.uri.path().to_owned();
    let line = format!("{} {path}", head.method);
    let body = to_bytes(body, 1 << 20).await.expect("a body");
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let (is_silent, scripted, is_refused) = {
        let mut script = script.lock();
        script.seen.push(Seen { line, token: token.clone(), namespace, body: body.clone() });
        let is_refused = !path.ends_with("/login") && script.takes.is_some() && script.takes != token;
        (script.is_silent, script.first.pop_front(), is_refused)
    };
    if is_silent {
        std::future::pending::<()>().await;
    }
    let text = |field: &str| body[field].as_str().unwrap_or_default().to_owned();
    let (status, answer) = match (scripted, path.rsplit('/').nth(1)) {
        (Some(scripted), _) => scripted,
        (None, _) if is_refused => (403, json!({"errors": ["permission denied"]})),
        (None, Some("keys")) => (200, json!({"data": {"latest_version": 3, "type": "aes256-gcm96"}})),
        (None, Some("encrypt")) => {
            let sealed = format!("vault:v3:{}:{}", text("associated_data"), text("plaintext"));
            (200, json!({"data": {"ciphertext": sealed, "key_version": 3}}))
        }
        (None, Some("decrypt")) => {
            let sealed = text("ciphertext");
            match sealed.strip_prefix(&format!("vault:v3:{}:", text("associated_data"))) {
                Some(plain) => (200, json!({"data": {"plaintext": plain}})),
                None => (400, json!({"errors": ["cipher: message authentication failed"]})),
            }
        }
        (None, _) if path.ends_with("/login") => {
            (200, json!({"auth": {"client_token": "hvs.of-a-login", "lease_duration": 60}}))
        }
        (None, _) => (404, json!({"errors": []})),
    };
    (StatusCode::from_u16(status).expect("a status"), answer.to_string()).into_response()
}

fn key() -> SecretKey {
    SecretKey::new([0xab; 32])
}

#[tokio::test]
async fn a34_the_requests_are_those_of_the_documented_api() {
    let server = StandIn::start().await;
    let keys = server.keys();
    let wrapped = keys.wrap(&key(), b"backup 1").await.expect("wrapped");
    assert_eq!(wrapped.master.as_str(), "transit:kms/transit/orders:v3");
    assert_eq!(keys.current().await.expect("known"), wrapped.master);
    assert_eq!(keys.unwrap(&wrapped, b"backup 1").await.expect("unwrapped").as_bytes(), key().as_bytes());
    let seen = server.seen();
    let lines: Vec<&str> = seen.iter().map(|seen| seen.line.as_str()).collect();
    let wanted = [
        "POST /v1/kms/transit/encrypt/orders",
        "GET /v1/kms/transit/keys/orders",
        "POST /v1/kms/transit/decrypt/orders",
    ];
    assert_eq!(lines, wanted);
    for Seen { token, namespace, .. } in &seen {
        assert_eq!((token.as_deref(), namespace.as_deref()), (Some("hvs.first-token-of-the-test"), Some("team")));
    }
    let context = json!(BASE64.encode("backup 1"));
    let plaintext = json!(BASE64.encode(key().as_bytes()));
    assert_eq!(seen[0].body, json!({"plaintext": plaintext, "associated_data": context}));
    assert_eq!(seen[2].body, json!({"ciphertext": wrapped.text, "associated_data": context}));
    assert!(keys.knows(&wrapped.master) && keys.knows(&"transit:kms/transit/orders:v1".parse().expect("legal")));
    for other in ["transit:transit/orders:v3", "transit:kms/transit/payments:v3", "file:0123456789abcdef"] {
        assert!(!keys.knows(&other.parse().expect("legal")), "{other}");
    }
}

#[tokio::test]
async fn a34_what_does_not_open_or_is_gone_is_told_with_the_version_of_the_key() {
    let server = StandIn::start().await;
    let keys = server.keys();
    let wrapped = keys.wrap(&key(), b"backup 1").await.expect("wrapped");
    let error = keys.unwrap(&wrapped, b"backup 2").await.expect_err("bound to another place");
    assert!(matches!(&error, KeyError::Wrong { key } if *key == wrapped.master.to_string()), "{error}");
    let gone = "ciphertext or signature version is disallowed by policy (too old)";
    server.answers_first(&[(400, json!({"errors": [gone]}))]);
    let error = keys.unwrap(&wrapped, b"backup 1").await.expect_err("not there any more");
    let told = chain(&error);
    assert!(matches!(error, KeyError::Gone { .. }) && !error.is_retryable(), "{told}");
    assert!(told.contains("transit:kms/transit/orders:v3") && told.contains(gone), "{told}");
    server.answers_first(&[(404, json!({"errors": []}))]);
    let told = chain(&keys.current().await.expect_err("no key"));
    assert!(told.contains("transit:kms/transit/orders ") && told.contains("no such key"), "{told}");
    server.answers_first(&[(200, json!({"data": {"plaintext": BASE64.encode([1; 16])}}))]);
    let error = keys.unwrap(&wrapped, b"backup 1").await.expect_err("half a key");
    assert!(matches!(error, KeyError::Wrong { .. }), "{error}");
}

#[tokio::test]
async fn a34_a_wrap_that_names_another_version_than_its_ciphertext_does_not_open() {
    let server = StandIn::start().await;
    let keys = server.keys();
    let wrapped = keys.wrap(&key(), b"backup 1").await.expect("wrapped");
    server.seen();
    let newer: MasterKeyId = "transit:kms/transit/orders:v4".parse().expect("legal");
    let claimed = Wrapped { master: newer.clone(), ..wrapped.clone() };
    let unnamed = Wrapped { text: "no ciphertext".to_owned(), ..wrapped.clone() };
    for (wrong, id) in [(claimed, newer), (unnamed, wrapped.master.clone())] {
        let error = keys.unwrap(&wrong, b"backup 1").await.expect_err("of another version");
        assert!(matches!(&error, KeyError::Wrong { key } if *key == id.to_string()), "{error}");
    }
    assert!(server.seen().is_empty(), "nobody is asked for that");
    assert!(keys.unwrap(&wrapped, b"backup 1").await.is_ok());
}

#[tokio::test]
async fn a33_a_server_that_is_sealed_slow_or_away_may_be_asked_again() {
    let server = StandIn::start().await;
    let keys = server.keys();
    for (status, body, said) in [
        (503, json!({"errors": ["Vault is sealed"]}), "Vault is sealed (503)"),
        (500, json!({"errors": ["internal error"]}), "internal error (500)"),
        (429, json!({"errors": ["request path: rate limit quota exceeded"]}), "rate limit"),
        (502, json!("<html>"), "502 Bad Gateway"),
        (200, json!({"welcome": "to the portal"}), "its answer is not that of this API"),
        (200, json!({"data": {"latest_version": 0}}), "version \"0\""),
    ] {
        server.answers_first(&[(status, body)]);
        let error = keys.current().await.expect_err(said);
        let told = chain(&error);
        assert!(error.is_retryable() && told.contains(said), "{status}: {told}");
        assert!(told.contains("transit:kms/transit/orders") && told.contains("127.0.0.1"), "{told}");
    }
    assert!(keys.current().await.is_ok(), "it is well again");
    server.script.lock().is_silent = true;
    let error = keys.wrap(&key(), b"x").await.expect_err("no answer in time");
    assert!(error.is_retryable(), "{}", chain(&error));
    // Where nobody listens any more.
    let gone = TcpListener::bind("127.0.0.1:0").await.expect("a port").local_addr().expect("an address");
    let mut settings = server.settings(TransitAuth::Token { file: server.token_file() });
    settings.address = format!("http://{gone}");
    let keys = TransitKeys::with_patience(&settings, Duration::from_millis(500)).expect("settings");
    assert!(keys.current().await.expect_err("nobody").is_retryable());
}

#[tokio::test]
async fn a33_a_token_is_read_anew_and_one_that_is_refused_or_not_there_is_told_without_it() {
    let server = StandIn::start().await;
    let keys = server.keys();
    server.script.lock().takes = Some("hvs.second-token-of-the-test".to_owned());
    let error = keys.current().await.expect_err("refused");
    let told = chain(&error);
    assert!(matches!(error, KeyError::Denied { .. }) && told.contains("permission denied (403)"), "{told}");
    assert!(!told.contains("hvs.") && !format!("{keys:?}").contains("hvs."), "{told}");
    assert_eq!(server.seen().len(), 1, "who has a token has no login to make anew");
    std::fs::write(server.token_file(), "hvs.second-token-of-the-test").expect("written");
    assert!(keys.current().await.is_ok(), "no start is needed for that");
    for content in ["", " \n"] {
        std::fs::write(server.token_file(), content).expect("written");
        let told = chain(&keys.current().await.expect_err("no token"));
        assert!(told.contains("token: it is empty"), "{told}");
    }
    std::fs::remove_file(server.token_file()).expect("removed");
    assert!(keys.current().await.expect_err("it may still come").is_retryable());
}

#[tokio::test]
async fn a33_nothing_that_was_sent_comes_back_in_an_error() {
    let server = StandIn::start().await;
    let keys = server.keys();
    let secret = BASE64.encode(key().as_bytes());
    for text in [format!("cannot parse {secret}"), "bad token hvs.first-token-of-the-test".to_owned()] {
        server.answers_first(&[(400, json!({"errors": [text]}))]);
        let told = chain(&keys.wrap(&key(), b"x").await.expect_err("refused"));
        assert!(!told.contains(&secret[..20]) && !told.contains("hvs."), "{told}");
        assert!(told.contains("400 Bad Request"), "{told}");
    }
}

#[tokio::test]
async fn a33_a_login_is_made_once_and_anew_where_its_token_is_refused() {
    let server = StandIn::start().await;
    let keys = server.logging_in();
    let ask = || async { keys.current().await.map(drop) };
    ask().await.expect("known");
    ask().await.expect("known");
    for token in ["hvs.of-a-login", "hvs.first-token-of-the-test"] {
        assert_prints_none_of(token.as_bytes(), &keys);
    }
    let login = "POST /v1/auth/kubernetes/login";
    let lines = |seen: Vec<Seen>| seen.into_iter().map(|seen| seen.line).collect::<Vec<_>>();
    let keys_line = "GET /v1/kms/transit/keys/orders";
    let seen = server.seen();
    assert_eq!(seen[0].body, json!({"role": "streamer", "jwt": "hvs.first-token-of-the-test"}));
    assert_eq!((seen[0].token.as_deref(), seen[1].token.as_deref()), (None, Some("hvs.of-a-login")));
    assert_eq!(lines(seen), [login, keys_line, keys_line]);
    server.answers_first(&[(403, json!({"errors": ["permission denied"]}))]);
    ask().await.expect("its lease was over");
    assert_eq!(lines(server.seen()), [keys_line, login, keys_line]);
    server.script.lock().takes = Some("another".to_owned());
    assert!(matches!(ask().await, Err(KeyError::Denied { .. })), "a new login does not help either");
    assert_eq!(lines(server.seen()), [keys_line, login, keys_line]);
    let refused = server.logging_in();
    server.answers_first(&[(400, json!({"errors": ["invalid role name \"streamer\""]}))]);
    let told = chain(&refused.current().await.expect_err("no role"));
    assert!(told.contains("the login as role \"streamer\" failed: invalid role name"), "{told}");
    server.answers_first(&[(503, json!({"errors": ["Vault is sealed"]}))]);
    assert!(refused.current().await.expect_err("sealed").is_retryable());
}

#[test]
fn a_ca_file_that_is_none_is_told_at_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("ca.pem");
    let auth = TransitAuth::Token { file: "/none".into() };
    let settings = Transit {
        address: "https://vault.example:8200".to_owned(),
        mount: "transit".to_owned(),
        key: "orders".to_owned(),
        namespace: None,
        ca_file: Some(path.clone()),
        auth,
    };
    for content in [None, Some("no certificate")] {
        if let Some(content) = content {
            std::fs::write(&path, content).expect("written");
        }
        let told = chain(&TransitKeys::new(&settings).expect_err("no certificates"));
        assert!(told.contains("transit:transit/orders") && told.contains("ca.pem"), "{told}");
    }
}
