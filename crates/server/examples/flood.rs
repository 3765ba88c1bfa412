//! So many requests in flight at any server of the protocol, over HTTP, for a while, or so many a second (`rate:2000`, at random): rate and latencies,
//! a line of JSON for each.
//!
//! ```text
//! cargo run --release -p lithoburn-server --example flood -- http://127.0.0.1:8000 tile 64 4 8,16,rate:2000
//! ```
//!
//! The address, the model, the side of its images in px, seconds of a window, and how many are in flight or come a second.

use std::error::Error;
use std::time::Duration;

use lithoburn_server::load::{Address, Arrivals, Cargo, Load, Offered, Stop, Target, Terms};

const USAGE: &str = "flood ADDRESS MODEL SIDE SECONDS LEVEL[,LEVEL…], a level being 8 or rate:2000";

fn level(text: &str) -> Result<Offered, Box<dyn Error>> {
    Ok(match text.strip_prefix("rate:") {
        None => Offered::Concurrency(text.parse()?),
        Some(rate) => Offered::Rate { per_second: rate.parse()?, arrivals: Arrivals::Poisson },
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [address, model, side, seconds, levels] = arguments.as_slice() else {
        return Err(USAGE.into());
    };
    let side = side.parse()?;
    let levels = levels.split(',').map(level);
    let terms = Terms {
        window: Duration::from_secs_f64(seconds.parse()?),
        most_windows: 4,
        ..Terms::default()
    };
    let load = Load {
        target: Target::find(&Address::parse(address)?, model, None).await?,
        metrics: None,
        grpc: None,
        cargo: Cargo { sides: [side, side], ..Cargo::default() },
        levels: levels.collect::<Result<_, _>>()?,
        terms,
    };
    for level in load.run(&Stop::default(), &mut |_| Ok(())).await?.levels {
        let line = serde_json::json!({
            "offered": level.offered,
            "stable": level.stable,
            "requests": level.requests,
            "rate": level.items_per_second.value,
            "p50_ms": level.latency.p50.map(|us| us.value * 1e-3),
            "p99_ms": level.latency.p99.map(|us| us.value * 1e-3),
            "most_ms": level.latency.most.map(|us| us * 1e-3),
            "failures": level.failures,
        });
        println!("{line}");
    }
    Ok(())
}
