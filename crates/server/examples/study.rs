//! A study of the server alone: devices sleep, so that what is short of ideal is the sockets', the protocol's and the scheduler's.
//!
//! ```text
//! cargo run --release -p lithoburn-server --example study -- devices=1,2,4,8 base-ms=80 item-ms=4 batch=8 window-s=3 out=study
//! ```
//!
//! `lithoburn study --sleeping 80,4` is the same with everything that is served.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use lithoburn_server::Server;
use lithoburn_server::load::{Cargo, Level, LoadError, Stop, Terms};
use lithoburn_server::model::Device;
use lithoburn_server::security::{self, Doors};
use lithoburn_server::sleeping::Sleeping;
use lithoburn_server::study::{Results, Starter, Study};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Options as `name=value`.
struct Options(BTreeMap<String, String>);

impl Options {
    fn read() -> Result<Self, Box<dyn Error>> {
        let pair = |argument: String| {
            let (name, value) = argument.split_once('=').ok_or("options are name=value")?;
            Ok((name.to_string(), value.to_string()))
        };
        std::env::args().skip(1).map(pair).collect::<Result<_, Box<dyn Error>>>().map(Self)
    }

    fn text(&self, name: &str, usual: &str) -> String {
        self.0.get(name).map_or(usual, String::as_str).to_string()
    }

    fn number(&self, name: &str, usual: &str) -> Result<f64, Box<dyn Error>> {
        let text = self.text(name, usual);
        text.parse().map_err(|_| format!("{name}={text} is no number").into())
    }

    fn list(&self, name: &str, usual: &str) -> Result<Vec<usize>, Box<dyn Error>> {
        let text = self.text(name, usual);
        let numbers: Result<_, _> = text.split(',').map(str::parse).collect();
        numbers.map_err(|_| format!("{name}={text} is no list of numbers").into())
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::read()?;
    let times = [options.number("base-ms", "80")?, options.number("item-ms", "4")?];
    let batch = options.number("batch", "8")? as usize;
    match options.0.get("serve") {
        Some(devices) => serve(devices.parse()?, times, batch).await,
        None => study(&options, times, batch).await,
    }
}

/// Starts this program anew for each number of devices, and loads it.
async fn study(options: &Options, times: [f64; 2], batch: usize) -> Result<(), Box<dyn Error>> {
    let [base, item] = times;
    let own = std::env::current_exe()?.display().to_string();
    let serve = ["serve={devices}".into(), format!("base-ms={base}"), format!("item-ms={item}")];
    let starter = Starter {
        command: [&[own], &serve[..], &[format!("batch={batch}")]].concat(),
        names: Vec::new(),
        what: format!("devices that sleep {base} ms and {item} ms an item, {batch} in a batch"),
        shown: format!("study {}", std::env::args().skip(1).collect::<Vec<_>>().join(" ")),
        patience: Duration::from_secs(60),
    };
    let seconds = |name, usual| options.number(name, usual).map(Duration::from_secs_f64);
    let study = Study {
        starter,
        devices: options.list("devices", "1,2,4,8")?,
        model: "tile".into(),
        cargo: Cargo { sides: [64, 64], datatype: Some("UINT8".into()), ..Cargo::default() },
        concurrency: options.list("concurrency", "1,2,4,8,16,32,64,128,256")?,
        terms: Terms {
            warm_up: seconds("warm-up-s", "1")?,
            window: seconds("window-s", "3")?,
            most_windows: options.number("windows", "6")? as usize,
            ..Terms::default()
        },
        prices: None,
        limit_ms: None,
    };
    let out = PathBuf::from(options.text("out", "study"));
    std::fs::create_dir_all(&out)?;
    let told = &mut |results: &Results, level: Option<&Level>| match level {
        Some(level) => {
            println!("{}: {:.1} items/s", level.offered, level.items_per_second.value);
            Ok(())
        }
        None => results.files()?.iter().try_for_each(|(name, bytes)| {
            std::fs::write(out.join(name), bytes).map_err(|e| LoadError::File {
                path: out.join(name).display().to_string(),
                problem: e.to_string(),
            })
        }),
    };
    println!("{}", study.run(&Stop::default(), told).await?.markdown());
    Ok(())
}

/// Serves at free ports until standard input ends.
async fn serve(devices: usize, times: [f64; 2], batch: usize) -> Result<(), Box<dyn Error>> {
    let [base, item] = times.map(|ms| Duration::from_secs_f64(1e-3 * ms));
    let server = Server::builder()
        .devices((0..devices).map(|index| Device::new(format!("sleeping:{index}"))))
        .model(Arc::new(Sleeping::new("tile", base, item, batch)))
        .start()?;
    server.settled().await;
    let free = "127.0.0.1:0";
    let (http, metrics) = (TcpListener::bind(free).await?, TcpListener::bind(free).await?);
    let addresses = (http.local_addr()?, metrics.local_addr()?);
    for (listener, routes) in [(http, server.http()), (metrics, server.metrics())] {
        let stop = CancellationToken::new();
        tokio::spawn(security::serve(listener, routes, Doors::default(), stop));
    }
    println!(r#"{{"http": "{}", "metrics": "{}"}}"#, addresses.0, addresses.1);
    let end = || std::io::stdin().read_to_end(&mut Vec::new());
    tokio::task::spawn_blocking(end).await??;
    server.stop(Duration::from_secs(5)).await;
    Ok(())
}
