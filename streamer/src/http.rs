//! The HTTP server: `/livez`, `/readyz`, `/metrics`.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::budget::Budget;
use crate::clock::Clock;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::source::buffers::Buffers;
use crate::status::Status;

/// How long answers that are under way may take once it is told to stop.
const LAST_ANSWERS: Duration = Duration::from_secs(2);

/// What the server tells of a process.
pub trait Told: Send + Sync + 'static {
    /// What is still missing before it is ready; `None` where nothing is.
    fn not_ready(&self) -> Option<&'static str>;

    /// The metrics, as OpenMetrics text.
    ///
    /// # Errors
    /// Never; the encoder writes into memory.
    fn metrics(&self) -> Result<String, fmt::Error>;
}

/// What is told of a streamer.
#[derive(Debug)]
pub struct View<C> {
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// How far the streamer is.
    pub status: Arc<Status>,
    /// Bytes held.
    pub budget: Arc<Budget>,
    /// Whether the broker answered.
    pub buffers: Arc<Mutex<Buffers>>,
    /// The present.
    pub clock: Arc<C>,
}

impl<C: Clock> View<C> {
    fn refresh(&self) {
        let gauge = |bytes: usize| i64::try_from(bytes).unwrap_or(i64::MAX);
        let (events, partitions) = {
            let buffers = self.buffers.lock();
            (buffers.fetched().events, buffers.assigned().count())
        };
        if events > 0 || (partitions == 0 && self.status.is_watched()) {
            self.status.fetched();
        }
        self.metrics.partitions.set(gauge(partitions));
        self.metrics.buffered.set(gauge(self.budget.used()));
        self.metrics.budget.set(gauge(self.budget.limit()));
        if let Some(since) = self.status.behind_since() {
            let millis = self.clock.now().millis_since(since);
            self.metrics.lag.set(Duration::from_millis(millis).as_secs_f64());
        }
    }
}

impl<C: Clock> Told for View<C> {
    fn not_ready(&self) -> Option<&'static str> {
        self.refresh();
        if self.metrics.key_unavailable.get() != 0 {
            return Some(
                "the master key is not available; the log says why. Nothing is fetched, records stay in Kafka",
            );
        }
        self.status.not_ready()
    }

    fn metrics(&self) -> Result<String, fmt::Error> {
        self.refresh();
        self.metrics.text()
    }
}

/// Binds the address. Port 0 asks for any free one; the log line says which.
///
/// # Errors
/// [`Error::Io`] naming the address.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Io {
        what: format!("listen on http.address {address}; is another process using it?"),
        source,
    })
}

/// Serves until `stop`. Answers under way are finished, within a bound: a peer that never ends its request must not hold
/// up the end of the process.
///
/// # Errors
/// [`Error::Io`] where the listener fails.
pub async fn serve<T: Told>(listener: TcpListener, told: Arc<T>, stop: CancellationToken) -> Result<(), Error> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::<T>))
        .route("/metrics", get(metrics::<T>))
        .with_state(told);
    let serving = axum::serve(listener, router).with_graceful_shutdown(stop.clone().cancelled_owned());
    let patience = async {
        stop.cancelled().await;
        tokio::time::sleep(LAST_ANSWERS).await;
    };
    tokio::select! {
        served = serving => served.map_err(|source| Error::Io { what: "serve HTTP".to_owned(), source }),
        () = patience => Ok(()),
    }
}

async fn ready<T: Told>(State(told): State<Arc<T>>) -> impl IntoResponse {
    match told.not_ready() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")),
    }
}

async fn metrics<T: Told>(State(told): State<Arc<T>>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    match told.metrics() {
        Ok(text) => (StatusCode::OK, kind, text),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, kind, String::new()),
    }
}

#[cfg(test)]
mod tests {
    use strimzi_backup_format::checksum::Sha256;
    use strimzi_backup_format::ids::{BackupId, Shard, TimestampMs};
    use strimzi_backup_format::state::State;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::clock::SystemClock;
    use crate::report::Protected;

    fn view() -> Arc<View<SystemClock>> {
        Arc::new(View {
            metrics: Arc::new(Metrics::new()),
            status: Arc::new(Status::default()),
            budget: Arc::new(Budget::new(1)),
            buffers: Arc::new(Mutex::new(Buffers::default())),
            clock: Arc::new(SystemClock),
        })
    }

    #[tokio::test]
    async fn a_request_that_never_ends_does_not_hold_up_the_end() {
        let listener = bind(([127, 0, 0, 1], 0).into()).await.expect("bound");
        let address = listener.local_addr().expect("address");
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, view(), stop.clone()));
        let mut peer = TcpStream::connect(address).await.expect("connected");
        // One whole request, so that the server is surely reading from this peer, and the half of another.
        peer.write_all(b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\nGET /livez HT").await.expect("sent");
        let mut answer = [0; 12];
        peer.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(&answer, b"HTTP/1.1 200");
        stop.cancel();
        let ended = tokio::time::timeout(LAST_ANSWERS * 5, serving).await.expect("it ends");
        ended.expect("no panic").expect("no error");
    }

    #[test]
    fn lag_is_told_from_the_claim_on_while_nothing_is_protected() {
        let backup = BackupId::new(SystemClock.uuid());
        let mut state = State::empty(backup, Shard::ONLY, Sha256::of(b""));
        let view = view();
        let ago = |seconds: i64| TimestampMs::new(SystemClock.now().get() - seconds * 1000);
        view.refresh();
        assert!(view.metrics.lag.get().is_nan(), "nothing is known before the claim");
        view.status.claimed(ago(100), Protected::of(&state));
        view.refresh();
        assert!((100.0..110.0).contains(&view.metrics.lag.get()), "the first copy lasts");
        state.frontier.until = Some(ago(10));
        view.status.committed(Protected::of(&state));
        view.refresh();
        assert!((10.0..20.0).contains(&view.metrics.lag.get()), "protected up to then");
    }
}
