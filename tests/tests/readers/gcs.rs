//! Google Cloud Storage, up to the wire: what the client sends, against a listener that answers as the documentation of the
//! XML API says. It shows that our requests and that documentation agree, not that Google's service does.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, Response, StatusCode};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use strimzi_backup_format::layout;
use strimzi_backup_format::store::create_once::{Outcome, create_once};
use strimzi_backup_format::store::probe::probe;
use strimzi_backup_tests::run_dir::RunDir;
use strimzi_backup_tests::scenario::{Scenario, numbered};

use crate::stores::open;

const CREATE: &str = "x-goog-if-generation-match";
const BUCKET: &str = "my-bucket";

/// A request as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    method: Method,
    path: String,
    create: Option<String>,
}

#[derive(Debug, Default)]
struct Stored {
    objects: BTreeMap<String, Bytes>,
    seen: Vec<Seen>,
}

type Shared = Arc<Mutex<Stored>>;

/// A bucket behind an endpoint; it ends with the runtime.
struct Listener {
    bucket: Shared,
    endpoint: String,
}

impl Listener {
    async fn start() -> Result<Self> {
        let bucket = Shared::default();
        let socket = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", socket.local_addr()?);
        let service = axum::Router::new().fallback(answer).with_state(Arc::clone(&bucket));
        tokio::spawn(async move { axum::serve(socket, service).await });
        Ok(Self { bucket, endpoint })
    }

    /// The PUTs of one object, or of all below a prefix.
    fn puts(&self, below: &str) -> Vec<Seen> {
        let seen = self.bucket.lock().seen.clone();
        seen.into_iter().filter(|seen| seen.method == Method::PUT && seen.path.starts_with(below)).collect()
    }
}

async fn answer(State(bucket): State<Shared>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    // No request of a test is larger: an upload in parts, which begins at 8 MiB, is not spoken here.
    let Ok(body) = axum::body::to_bytes(body, 8 << 20).await else { return failed(StatusCode::PAYLOAD_TOO_LARGE, "") };
    let path = decoded(head.uri.path());
    let query = decoded(head.uri.query().unwrap_or_default());
    let create = head.headers.get(CREATE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let mut bucket = bucket.lock();
    bucket.seen.push(Seen { method: head.method.clone(), path: path.clone(), create: create.clone() });
    let Some(key) = path.strip_prefix(&format!("/{BUCKET}")) else {
        return failed(StatusCode::NOT_FOUND, "NoSuchBucket");
    };
    let key = key.trim_start_matches('/');
    match head.method {
        Method::PUT if create.as_deref() == Some("0") && bucket.objects.contains_key(key) => {
            failed(StatusCode::PRECONDITION_FAILED, "PreconditionFailed")
        }
        Method::PUT => {
            bucket.objects.insert(key.to_owned(), body);
            described(StatusCode::OK).body(Body::empty()).unwrap_or_default()
        }
        Method::GET if key.is_empty() => listed(&bucket.objects, &query),
        Method::GET | Method::HEAD => match bucket.objects.get(key) {
            Some(object) => read(object, &head.headers),
            None => failed(StatusCode::NOT_FOUND, "NoSuchKey"),
        },
        _ => failed(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
    }
}

fn described(status: StatusCode) -> axum::http::response::Builder {
    let builder = Response::builder().status(status).header("etag", "\"1\"").header("x-goog-generation", "1");
    builder.header("last-modified", "Fri, 13 Feb 2026 07:00:00 GMT")
}

fn read(object: &Bytes, headers: &HeaderMap) -> Response<Body> {
    let range = headers.get("range").and_then(|value| value.to_str().ok()?.strip_prefix("bytes=")?.split_once('-'));
    let bounds = range.and_then(|(first, last)| Some((first.parse::<usize>().ok()?, last.parse::<usize>().ok()?)));
    let Some((first, last)) = bounds else {
        return described(StatusCode::OK).body(Body::from(object.clone())).unwrap_or_default();
    };
    let last = last.min(object.len() - 1);
    let place = format!("bytes {first}-{last}/{}", object.len());
    let part = Body::from(object.slice(first..=last));
    described(StatusCode::PARTIAL_CONTENT).header("content-range", place).body(part).unwrap_or_default()
}

fn listed(objects: &BTreeMap<String, Bytes>, query: &str) -> Response<Body> {
    let prefix = query.split('&').find_map(|pair| pair.strip_prefix("prefix=")).unwrap_or_default();
    let mut xml = String::from("<?xml version=\"1.0\"?><ListBucketResult>");
    for (key, object) in objects.iter().filter(|(key, _)| key.starts_with(prefix)) {
        let size = object.len();
        // Writing to a string does not fail.
        let _written = write!(
            xml,
            "<Contents><Key>{key}</Key><Size>{size}</Size><LastModified>2026-02-13T07:00:00.000Z</LastModified>\
             <ETag>\"1\"</ETag></Contents>"
        );
    }
    xml.push_str("</ListBucketResult>");
    Response::new(Body::from(xml))
}

fn failed(status: StatusCode, code: &str) -> Response<Body> {
    let mut response = Response::new(Body::from(format!("<?xml version='1.0'?><Error><Code>{code}</Code></Error>")));
    *response.status_mut() = status;
    response
}

/// Without percent encoding.
fn decoded(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (hex, rest) = part.split_at(part.len().min(2));
        decoded.push(u8::from_str_radix(hex, 16).map_or('\u{fffd}', char::from));
        decoded.push_str(rest);
    }
    decoded
}

/// A service account's file that asks for no token, and the storage that uses it.
fn storage(dir: &RunDir, endpoint: &str, extra: Value) -> Result<Value> {
    let script = "openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 2>/dev/null";
    let key = strimzi_backup_tests::process::run("openssl", std::process::Command::new("sh").args(["-c", script]))?;
    let mut account = json!({"type": "service_account", "private_key_id": "1", "private_key": key, "client_email": "a@b.example", "disable_oauth": true});
    if let (Some(account), Some(extra)) = (account.as_object_mut(), extra.as_object()) {
        account.extend(extra.clone());
    }
    let file = dir.path().join("account.json");
    std::fs::write(&file, account.to_string())?;
    let mut gcs = json!({"bucket": BUCKET, "prefix": "deep/prefix", "serviceAccountFile": file});
    if !endpoint.is_empty() {
        gcs["endpoint"] = json!(endpoint);
    }
    Ok(json!({"type": "gcs", "gcs": gcs}))
}

#[test]
fn a_gcs_store_is_opened_from_its_document() -> Result<()> {
    let dir = RunDir::new("gcs")?;
    let good = storage(&dir, "", json!({"gcs_base_url": "http://127.0.0.1:1"}))?;
    let account = dir.path().join("account.json");
    let key = std::fs::read(&account)?;
    std::fs::write(&account, "{\"type\": \"nonsense\"}")?;
    let refused = open(&good).err().context("not a service account")?;
    ensure!(format!("{refused:#}").contains("account.json"), "{refused:#}");
    std::fs::remove_file(&account)?;
    let missing = open(&good).err().context("no file")?;
    ensure!(format!("{missing:#}").contains("account.json"), "{missing:#}");
    std::fs::write(&account, key)?;
    let store = open(&good)?;
    ensure!(store.description.contains("my-bucket"), "{}", store.description);
    ensure!(!format!("{store:?}").contains("PRIVATE KEY"), "no key in what is printed of a store");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gcs_is_asked_to_create_once_and_its_412_means_occupied() -> Result<()> {
    let (listener, dir) = (Listener::start().await?, RunDir::new("gcs-once")?);
    let store = open(&storage(&dir, &listener.endpoint, json!({}))?)?;
    let key = layout::identity().below(&store.prefix);
    let (ours, theirs) = (Bytes::from_static(b"ours"), Bytes::from_static(b"theirs"));
    let first = create_once(store.inner.as_ref(), &key, &theirs).await?;
    ensure!(first == Outcome::Created, "{first:?}");
    let second = create_once(store.inner.as_ref(), &key, &ours).await?;
    ensure!(second == Outcome::Occupied(theirs), "{second:?}");
    let create = |path: &str| Seen { method: Method::PUT, path: path.to_owned(), create: Some("0".to_owned()) };
    let path = "/my-bucket/deep/prefix/backup.json";
    assert_eq!(listener.puts("/"), [create(path), create(path)]);
    probe(store.inner.as_ref(), &store.prefix).await?;
    let path = "/my-bucket/deep/prefix/probe/create-once";
    assert_eq!(listener.puts(path), [create(path), create(path)]);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_through_the_client_of_gcs() -> Result<()> {
    let (listener, dir) = (Listener::start().await?, RunDir::new("gcs-stream")?);
    let storage = storage(&dir, &listener.endpoint, json!({}))?;
    tokio::task::spawn_blocking(move || {
        let scenario = Scenario::shared("gcs")?;
        scenario.client.create_topic("gcs", 2, &[])?;
        scenario.client.produce("gcs", &numbered(0..100))?;
        let job = scenario.job.clone().set("/storage", storage);
        job.catch_up()?;
        scenario.client.produce("gcs", &numbered(100..150))?;
        job.catch_up()?;
        job.verify()
    })
    .await??;
    let manifests = listener.puts("/my-bucket/deep/prefix/manifests/");
    ensure!(manifests.len() >= 4, "two runs claim and commit: {manifests:?}");
    let once = manifests.iter().all(|put| put.create.as_deref() == Some("0"));
    ensure!(once, "each manifest is created once: {manifests:?}");
    // Segments have names that nobody else uses, and may be put again.
    let segments = listener.puts("/my-bucket/deep/prefix/intake/");
    ensure!(segments.len() >= 2 && segments.iter().all(|put| put.create.is_none()), "{segments:?}");
    Ok(())
}
