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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut peer = TcpStream::connect(address).await.expect("connected");
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        peer.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        peer.read_to_string(&mut answer).await.expect("an answer");
        answer
    }

    #[tokio::test]
    async fn it_is_ready_once_the_api_server_has_answered() {
        let listener = bind(([127, 0, 0, 1], 0).into()).await.expect("bound");
        let address = listener.local_addr().expect("address");
        let (view, stop) = (View::default(), CancellationToken::new());
        let serving = tokio::spawn(serve(listener, view.clone(), stop.clone()));
        assert!(get(address, "/livez").await.starts_with("HTTP/1.1 200"));
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        view.ready.store(true, Ordering::Relaxed);
        assert!(get(address, "/readyz").await.starts_with("HTTP/1.1 200"));
        let metrics = get(address, "/metrics").await;
        assert!(metrics.contains("strimzi_backup_operator_leader 0"), "{metrics}");
        stop.cancel();
        serving.await.expect("no panic").expect("no error");
    }
}
