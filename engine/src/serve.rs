//! Metrics and health over HTTP: `/metrics`, `/healthz`, `/readyz`.
//!
//! One thread with a runtime of its own, so that nothing a scraper does can slow the data path. GET only; no body is read.

pub mod health;
mod listener;
#[cfg(test)]
mod tests;

use std::{
    future::IntoFuture,
    io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::State,
    http::{StatusCode, header},
    response::Response,
    routing::get,
};
use tokio::sync::oneshot;

use self::health::Health;
use crate::{
    limit::SERVE_STOP_MILLIS,
    telemetry::{Telemetry, metric::Metric},
    time,
};

/// The server could not be started.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken, or not this machine's.
    #[error(
        "cannot listen on {address} for metrics: {error}: free the address, or choose another with --listen or the key listen (\"off\" for none)"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        error: io::Error,
    },
    /// No thread or runtime.
    #[error("cannot start the metrics server: {0}: check the process limits")]
    Start(io::Error),
}

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Shared {
    telemetry: Arc<Telemetry>,
    health: Arc<Health>,
}

impl Server {
    /// Binds, then serves on a thread of its own. Port 0 takes a free port: see [`Server::address`].
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(address: SocketAddr, telemetry: Arc<Telemetry>, health: Arc<Health>) -> Result<Self, ServeError> {
        let bind = |error| ServeError::Bind { address, error };
        let listener = TcpListener::bind(address).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build().map_err(ServeError::Start)?;
        let listener = {
            let _inside = runtime.enter();
            listener::Bounded::new(tokio::net::TcpListener::from_std(listener).map_err(bind)?)
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let router = router(Shared { telemetry, health });
        let body = move || {
            runtime.block_on(async move {
                let (drain, drained) = oneshot::channel::<()>();
                let server = axum::serve(listener, router).with_graceful_shutdown(async { drop(drained.await) });
                let mut server = std::pin::pin!(server.into_future());
                tokio::select! {
                    result = &mut server => if let Err(error) = result { tracing::error!(%error, "the metrics server ended") },
                    _ = stopped => {
                        drop(drain);
                        drop(tokio::time::timeout(Duration::from_millis(SERVE_STOP_MILLIS), server).await);
                    }
                }
            });
            runtime.shutdown_background();
        };
        let thread = thread::Builder::new().name("serve".to_owned()).spawn(body).map_err(ServeError::Start)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens, with the port that port 0 became.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn router(shared: Shared) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .fallback(other)
        .with_state(shared)
}

async fn metrics(State(shared): State<Shared>) -> Response {
    shared.telemetry.add(Metric::ServeRequests, &["metrics"], 1);
    respond(StatusCode::OK, "text/plain; version=0.0.4; charset=utf-8", shared.telemetry.text())
}

async fn healthz(State(shared): State<Shared>) -> Response {
    shared.telemetry.add(Metric::ServeRequests, &["healthz"], 1);
    let report = shared.health.live(time::monotonic());
    respond_report(report.ok, &report)
}

async fn readyz(State(shared): State<Shared>) -> Response {
    shared.telemetry.add(Metric::ServeRequests, &["readyz"], 1);
    let report = shared.health.ready();
    respond_report(report.ok, &report)
}

async fn other(State(shared): State<Shared>) -> Response {
    shared.telemetry.add(Metric::ServeRequests, &["other"], 1);
    respond(StatusCode::NOT_FOUND, "text/plain; charset=utf-8", "there are /metrics, /healthz and /readyz\n".to_owned())
}

fn respond_report(ok: bool, report: &impl serde::Serialize) -> Response {
    let status = if ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut text = serde_json::to_string(report).unwrap_or_default();
    text.push('\n');
    respond(status, "application/json", text)
}

fn respond(status: StatusCode, kind: &'static str, text: String) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    response
}
