//! The whole server on devices that sleep: for clients to be tried on, and the scheduler and the sockets to be measured with.
//!
//! ```text
//! cargo run --release -p lithoburn-server --example sleeping -- devices=4 base-us=80000 item-us=4000 batch=8
//! ```

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lithoburn_server::Server;
use lithoburn_server::model::Device;
use lithoburn_server::protocol::Settings;
use lithoburn_server::schedule::Terms;
use lithoburn_server::security::{self, Doors};
use lithoburn_server::sleeping::Sleeping;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const USAGE: &str = "sleeping [devices=1] [base-us=80000] [item-us=4000] [batch=8] [queue=1024] \
[timeout-us=0, none] [http=127.0.0.1:8000] [grpc=127.0.0.1:8001] [metrics=127.0.0.1:8002]";

/// Options as `name=value`.
struct Options(BTreeMap<String, String>);

impl Options {
    fn read() -> Result<Self, Box<dyn Error>> {
        let pair = |argument: String| {
            let (name, value) = argument.split_once('=').ok_or(USAGE)?;
            Ok((name.to_string(), value.to_string()))
        };
        std::env::args().skip(1).map(pair).collect::<Result<_, Box<dyn Error>>>().map(Self)
    }

    fn get<T: std::str::FromStr>(&mut self, name: &str, usual: T) -> Result<T, Box<dyn Error>> {
        let Some(value) = self.0.remove(name) else { return Ok(usual) };
        value.parse().map_err(|_| format!("{name}={value}: {USAGE}").into())
    }

    fn end(self) -> Result<(), Box<dyn Error>> {
        match self.0.into_keys().next() {
            Some(unknown) => Err(format!("{unknown}: {USAGE}").into()),
            None => Ok(()),
        }
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    runtime.worker_threads(security::threads()).enable_all().build()?.block_on(run())
}

async fn run() -> Result<(), Box<dyn Error>> {
    let mut options = Options::read()?;
    let us = Duration::from_micros;
    let devices = options.get("devices", 1_usize)?;
    let (base, item) = (us(options.get("base-us", 80_000)?), us(options.get("item-us", 4_000)?));
    let batch = options.get("batch", 8_usize)?;
    let capacity = options.get("queue", 1024)?;
    let timeout = options.get("timeout-us", 0)?;
    let local = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let ports = [
        options.get("http", local(8000))?,
        options.get("grpc", local(8001))?,
        options.get("metrics", local(8002))?,
    ];
    options.end()?;
    let timeout = (timeout > 0).then(|| us(timeout));
    let fixed = vec![Some(1), Some(1), Some(64), Some(64)];
    let server = Server::builder()
        .devices((0..devices).map(|at| Device::new(format!("sleeping:{at}"))))
        .model(Arc::new(Sleeping::new("tile", base, item, batch)))
        .model(Arc::new(Sleeping::new("tile_nobatch", base, item, 1).unbatched(fixed)))
        .terms(Terms { capacity, ..Terms::default() })
        .settings(Settings { timeout, ..Settings::default() })
        .start()?;
    println!("{}", server.settled().await.name());
    serve(&server, ports).await
}

/// Serves until it is interrupted.
async fn serve(server: &Server, ports: [SocketAddr; 3]) -> Result<(), Box<dyn Error>> {
    let (stop, mut tasks) = (CancellationToken::new(), Vec::new());
    for (port, router) in ports.into_iter().zip([server.http(), server.grpc(), server.metrics()]) {
        let listener = TcpListener::bind(port).await?;
        println!("{}", listener.local_addr()?);
        let serving = security::serve(listener, router, Doors::default(), stop.clone());
        tasks.push(tokio::spawn(serving));
    }
    tokio::signal::ctrl_c().await?;
    server.stop(Duration::from_secs(30)).await;
    stop.cancel();
    for task in tasks {
        task.await?;
    }
    Ok(())
}
