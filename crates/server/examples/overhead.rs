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

/// Requests of a sample; the kernel's count of a thread's time is read between samples.
const SAMPLE: usize = 10;
const SAMPLES: usize = 3_000;

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
    let (mut cpu_us, mut wall_us) = (Vec::new(), Vec::new());
    for _ in 0..SAMPLES {
        let (before, start) = (cpu()?, Instant::now());
        for _ in 0..SAMPLE {
            server.service().infer(request(&pixels)).await?;
        }
        wall_us.push(start.elapsed().as_secs_f64() * 1e6 / SAMPLE as f64);
        cpu_us.push((cpu()? - before) as f64 * 1e-3 / SAMPLE as f64);
    }
    for (name, mut times) in [("CPU", cpu_us), ("wall", wall_us)] {
        times.sort_by(f64::total_cmp);
        let at = |part: f64| times[(part * (times.len() - 1) as f64) as usize];
        println!("{name}: p50 {:.1}, p99 {:.1} µs a request", at(0.5), at(0.99));
    }
    Ok(())
}
