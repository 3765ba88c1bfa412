//! The ports that a server opens.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use lithoburn_server::security::{Doors, Guard, serve, tls};
use lithoburn_server::server::Server;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::options::Settings;

/// Paths and what answers them.
pub(super) type Routes = lithoburn_server::page::Routes;

/// What each port is for, with its option.
const NAMES: [(&str, &str); 3] =
    [("http", "--http-port"), ("grpc", "--grpc-port"), ("metrics", "--metrics-port")];

/// Ports that are taken, before anybody is served there.
pub(super) struct Ports {
    listeners: Mutex<Vec<TcpListener>>,
    addresses: Vec<SocketAddr>,
    doors: [Doors; 3],
}

impl Ports {
    /// Takes the ports, and reads what TLS needs.
    pub(super) async fn bind(settings: &Settings) -> Result<Self> {
        let doors = doors(settings)?;
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for (port, (name, option)) in settings.ports.into_iter().zip(NAMES) {
            let address = SocketAddr::new(settings.bind, port);
            let listener = listen(address, name, option).await?;
            addresses
                .push(listener.local_addr().context("the system does not say where it listens")?);
            listeners.push(listener);
        }
        Ok(Self { listeners: Mutex::new(listeners), addresses, doors })
    }

    /// Where the ports are, by their names.
    pub(super) fn each(&self) -> impl Iterator<Item = (&'static str, SocketAddr)> {
        NAMES.into_iter().map(|(name, _)| name).zip(self.addresses.iter().copied())
    }

    /// The port of metrics.
    pub(super) fn metrics(&self) -> u16 {
        self.addresses.last().map_or(0, SocketAddr::port)
    }

    /// The same for programs.
    pub(super) fn addresses(&self, settings: &Settings) -> serde_json::Value {
        let mut all = serde_json::json!({"tls": settings.tls.is_some()});
        self.each().for_each(|(name, address)| all[name] = address.to_string().into());
        all
    }

    /// Serves on all of them, each a task, until it is told to stop.
    pub(super) fn serve(
        &self,
        settings: &Settings,
        server: &Server,
        own: Routes,
        stop: &CancellationToken,
    ) -> Vec<JoinHandle<()>> {
        let guard = || {
            let (tokens, limits) = (settings.tokens.clone(), settings.limits);
            Guard::new(settings.bind, tokens, limits).with_hosts(settings.hosts.clone())
        };
        let http = own.merge(server.http());
        let routers = [http, server.grpc(), server.metrics()];
        let listeners =
            std::mem::take(&mut *self.listeners.lock().unwrap_or_else(PoisonError::into_inner));
        let ports = listeners.into_iter().zip(routers).zip(self.doors.clone());
        let serving = ports.map(|((listener, router), doors)| {
            tokio::spawn(serve(listener, guard().around(router), doors, stop.clone()))
        });
        serving.collect()
    }
}

/// What each port speaks: HTTP/1 and HTTP/2, and gRPC HTTP/2 alone.
fn doors(settings: &Settings) -> Result<[Doors; 3]> {
    let protocols: [&[&str]; 3] = [&["h2", "http/1.1"], &["h2"], &["http/1.1"]];
    let mut doors = [const { None }; 3];
    for (door, protocols) in doors.iter_mut().zip(protocols) {
        *door = match &settings.tls {
            Some([certificate, key]) => Some(tls(certificate, key, protocols)?),
            None => None,
        };
    }
    Ok(doors.map(|tls: Option<Arc<_>>| Doors { tls, limits: settings.limits }))
}

async fn listen(address: SocketAddr, name: &str, option: &str) -> Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!(
                "port {} for {name} is in use: choose another with {option}, or stop what listens there",
                address.port()
            )
        }
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            bail!(
                "port {} for {name} is not for everybody to open: choose one above 1023 with {option}",
                address.port()
            )
        }
        Err(error) => Err(error)
            .with_context(|| format!("cannot listen on {address} for {name} (--bind, {option})")),
    }
}
