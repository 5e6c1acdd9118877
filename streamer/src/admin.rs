//! The HTTP server: `/livez`, `/readyz`, `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;

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

/// What the server looks at when it is asked.
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
        if let Some(until) = self.status.until() {
            let millis = self.clock.now().millis_since(until);
            self.metrics.lag.set(std::time::Duration::from_millis(millis).as_secs_f64());
        }
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

/// Serves until `stop`.
///
/// # Errors
/// [`Error::Io`] where the listener fails.
pub async fn serve<C: Clock>(listener: TcpListener, view: Arc<View<C>>, stop: CancellationToken) -> Result<(), Error> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready::<C>))
        .route("/metrics", get(metrics::<C>))
        .with_state(view);
    let served = axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await;
    served.map_err(|source| Error::Io { what: "serve HTTP".to_owned(), source })
}

async fn ready<C: Clock>(State(view): State<Arc<View<C>>>) -> impl IntoResponse {
    view.refresh();
    match view.status.not_ready() {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")),
    }
}

async fn metrics<C: Clock>(State(view): State<Arc<View<C>>>) -> impl IntoResponse {
    view.refresh();
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    match view.metrics.text() {
        Ok(text) => (StatusCode::OK, kind, text),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, kind, String::new()),
    }
}
