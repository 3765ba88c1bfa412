//! A server on devices that sleep, for studies of everything but the devices.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use lithoburn_server::Server;
use lithoburn_server::listen::{self, Limits, Tcp};
use lithoburn_server::model::Device;
use lithoburn_server::sleeping::Sleeping;
use lithoburn_server::telemetry::Cards;
use tokio::sync::watch;

use crate::Verdict;

/// Name of the model that sleeps.
pub(crate) const MODEL: &str = "tile";

/// Serve a model that sleeps, at free ports of this machine, until standard input is closed.
#[derive(Args, Debug)]
pub(crate) struct SleepingArgs {
    /// Devices.
    #[arg(long, value_name = "N", default_value_t = 1)]
    devices: usize,
    /// Time of a batch, whatever its size, in ms.
    #[arg(long, value_name = "MS", default_value_t = 80.0)]
    base: f64,
    /// Time of each item more, in ms.
    #[arg(long, value_name = "MS", default_value_t = 4.0)]
    item: f64,
    /// Most items in a batch.
    #[arg(long, value_name = "N", default_value_t = 8)]
    batch: usize,
}

/// Runs the job.
///
/// # Errors
///
/// If the ports cannot be opened or the devices' threads not be started.
pub(crate) fn sleeping(args: &SleepingArgs) -> Result<Verdict> {
    let time = |option: &str, ms: f64| {
        let time = Duration::try_from_secs_f64(1e-3 * ms);
        time.with_context(|| format!("{option} {ms}: expected milliseconds, 0 or more"))
    };
    let model =
        Sleeping::new(MODEL, time("--base", args.base)?, time("--item", args.item)?, args.batch);
    let server = Server::builder()
        .devices((0..args.devices).map(|index| Device::new(format!("sleeping:{index}"))))
        .model(Arc::new(model))
        .cards(Cards::open())
        .start()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(&server))
}

/// Says where it is when it is ready, and serves until nobody writes to standard input any more.
async fn serve(server: &Server) -> Result<Verdict> {
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let (http, metrics) = (Tcp::bind(local).await?, Tcp::bind(local).await?);
    server.settled().await;
    let ready = serde_json::json!({
        "http": http.address()?.to_string(), "metrics": metrics.address()?.to_string(),
    });
    writeln!(std::io::stdout(), "{ready}")?;
    let (stop, stopped) = watch::channel(false);
    let serve = |listener, router| {
        let mut stopped = stopped.clone();
        let stop = async move {
            // An error means that nobody can say so any more.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        tokio::spawn(listen::serve(listener, router, Limits::default(), stop))
    };
    let tasks = [serve(http, server.http()), serve(metrics, server.metrics())];
    // Whatever comes is of no interest; its end is.
    let read = || std::io::stdin().read_to_end(&mut Vec::new());
    let _ = tokio::task::spawn_blocking(read).await?;
    server.stop(Duration::from_secs(5)).await;
    stop.send_replace(true);
    for task in tasks {
        task.await?;
    }
    Ok(Verdict::Done)
}
