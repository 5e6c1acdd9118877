//! The HTTP server: `/livez`, `/readyz`, `/metrics`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// What the server tells.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Counts.
    pub metrics: Arc<Metrics>,
    /// Whether the API server has answered: a replica that stands by is ready as well.
    pub ready: Arc<AtomicBool>,
}

/// Binds the address; port 0 asks for any free one.
///
/// # Errors
/// Those of the operating system.
pub async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until `stop`.
///
/// # Errors
/// Where the listener fails.
pub async fn serve(listener: TcpListener, view: View, stop: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(view);
    let serving = axum::serve(listener, router);
    tokio::select! {
        served = async { serving.await } => served,
        () = stop.cancelled() => Ok(()),
    }
}

async fn ready(State(view): State<View>) -> impl IntoResponse {
    match view.ready.load(Ordering::Relaxed) {
        true => (StatusCode::OK, "ok\n"),
        false => (StatusCode::SERVICE_UNAVAILABLE, "the Kubernetes API has not answered yet\n"),
    }
}

async fn metrics(State(view): State<View>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")];
    match view.metrics.text() {
        Ok(text) => (StatusCode::OK, kind, text),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, kind, String::new()),
    }
}
