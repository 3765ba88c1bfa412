//! What the server's own work costs: CPU time of all threads for a request in process, without a socket, on a device that takes no time.
//!
//! ```text
//! cargo run --release -p lithoburn-server --example overhead
//! ```

use std::error::Error;
use std::fs;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lithoburn_server::Server;
use lithoburn_server::model::Device;
use lithoburn_server::protocol::{Content, Inference, InputTensor};
use lithoburn_server::sleeping::Sleeping;

/// Rounds of a sample; the kernel's count of threads' time is read between samples, which costs as much as some requests.
const ROUNDS: usize = 50;
const SAMPLES: usize = 500;

/// Nanoseconds that this process's threads ran.
fn cpu() -> Result<u64, Box<dyn Error>> {
    let mut all = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        let times = fs::read_to_string(thread?.path().join("schedstat"))?;
        all += times.split(' ').next().unwrap_or_default().parse::<u64>()?;
    }
    Ok(all)
}

fn request(pixels: &bytes::Bytes) -> Inference {
    let input = InputTensor {
        name: "target".into(),
        datatype: "FP32".into(),
        shape: vec![1, 1, 64, 64],
        content: Content::Raw(pixels.clone().into()),
    };
    Inference { model: "tile".into(), inputs: vec![input], ..Default::default() }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let model = Sleeping::new("tile", Duration::ZERO, Duration::ZERO, 8);
    let server = Server::builder().device(Device::new("instant")).model(Arc::new(model)).start()?;
    server.settled().await;
    let pixels = bytes::Bytes::from(vec![0; 4 * 64 * 64]);
    for in_flight in [1, 8, 32] {
        let each = 1.0 / (in_flight * ROUNDS) as f64;
        let (mut cpu_us, mut wall_us) = (Vec::new(), Vec::new());
        for _ in 0..SAMPLES {
            let (before, start) = (cpu()?, Instant::now());
            for _ in 0..ROUNDS {
                let together = (0..in_flight).map(|_| server.service().infer(request(&pixels)));
                futures_util::future::try_join_all(together).await?;
            }
            wall_us.push(start.elapsed().as_secs_f64() * 1e6 * each);
            cpu_us.push((cpu()? - before) as f64 * 1e-3 * each);
        }
        println!("{in_flight:2} in flight: CPU {}, wall {} a request", said(cpu_us), said(wall_us));
    }
    Ok(())
}

/// Quantiles of these times.
fn said(mut us: Vec<f64>) -> String {
    us.sort_by(f64::total_cmp);
    let at = |part: f64| us[(part * (us.len() - 1) as f64) as usize];
    format!("p50 {:.1}, p99 {:.1} µs", at(0.5), at(0.99))
}
