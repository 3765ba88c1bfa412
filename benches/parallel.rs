#![recursion_limit = "256"]
//! A network over several devices: `LITHOBURN_BENCH_DEVICES=cuda:0,cuda:1 cargo bench --bench parallel`. Without the variable, two
//! ranks share the CPU, which shows what a way of running costs and not what it gains.

use std::sync::OnceLock;

use divan::Bencher;
use divan::counter::ItemsCount;
use lithoburn::burn::tensor::{DType, Device, Tensor};
use lithoburn::models::parallel::{
    Distributed, Offloaded, PipelineTerms, Pipelined, Place, ShardTerms, Sharded, Spatial,
};
use lithoburn::models::{NeuralIltConfig, Parallel, Program};
use lithoburn::pool::{DeviceName, choose};

fn main() {
    divan::main();
}

/// The devices, each tested once.
fn places() -> &'static [Place] {
    static PLACES: OnceLock<Vec<Place>> = OnceLock::new();
    PLACES.get_or_init(|| {
        let names = std::env::var("LITHOBURN_BENCH_DEVICES").unwrap_or("cpu,cpu".into());
        let place = |name: &str| {
            let name: DeviceName = name.parse().expect("a device");
            Place::unlimited(&name.to_string(), &choose(name).expect("a device that works").device)
        };
        names.split(',').map(place).collect()
    })
}

fn on_card() -> bool {
    places()[0].device != Device::flex()
}

/// bf16 and a useful size on cards; less on the CPU.
fn images() -> (DType, [usize; 4]) {
    if on_card() { (DType::BF16, [16, 1, 256, 256]) } else { (DType::F32, [4, 1, 64, 64]) }
}

fn network() -> NeuralIltConfig {
    let width = if on_card() { 64 } else { 16 };
    NeuralIltConfig { width, ..NeuralIltConfig::default() }
}

const WAYS: [&str; 5] = ["one", "pipeline", "channels", "rows", "offload"];

fn laid_out(way: &str, program: &Program) -> Box<dyn Distributed> {
    let (precision, images) = images();
    let terms = PipelineTerms { micro_batch: 1, ahead: 1, precision };
    match way {
        "pipeline" => {
            let cuts = program.even_cuts(places().len(), images);
            let places = &places()[..cuts.len()];
            Box::new(Pipelined::new(program, places, &cuts, terms).expect("fits"))
        }
        "channels" => {
            let terms = ShardTerms { images, precision, ..ShardTerms::default() };
            Box::new(Sharded::new(program, places(), terms).expect("fits"))
        }
        "rows" => Box::new(Spatial::new(program, places(), precision).expect("fits")),
        "offload" => Box::new(Offloaded::new(program, &places()[0], precision).expect("reads")),
        _ => {
            let cuts = program.even_cuts(1, images);
            let terms = PipelineTerms { micro_batch: images[0], ..terms };
            Box::new(Pipelined::new(program, &places()[..1], &cuts, terms).expect("fits"))
        }
    }
}

/// Logits of a batch, read back.
#[divan::bench(args = WAYS, sample_count = 5, max_time = 10)]
fn forward(bencher: Bencher, way: &str) {
    let (precision, images) = images();
    let program = network().init(&Device::flex()).program();
    let network = laid_out(way, &program);
    let x = Tensor::<4>::ones(images, &places()[0].device).cast(precision);
    let pass = || {
        let y = network.try_logits(x.clone()).expect("runs");
        // Waits: a value nobody reads may never be computed.
        y.slice([0..1, 0..1, 0..1, 0..1]).try_into_data().map(|data| data.num_elements())
    };
    pass().expect("a value");
    bencher.counter(ItemsCount::new(images[0])).bench_local(&pass);
    eprintln!("\n{way}: {:?}", network.summary());
}
