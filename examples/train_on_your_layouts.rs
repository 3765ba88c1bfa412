#![recursion_limit = "256"]
//! A network trained on a folder of layouts through the simulator, then used: here two steps of a small one, to show the way.
//!
//! `cargo run --release --example train_on_your_layouts`

use std::path::Path;

use lithoburn::burn::tensor::Device;
use lithoburn::models::NeuralIltConfig;
use lithoburn::prelude::*;
use lithoburn::train::{Network, TrainConfig, train};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let weights = std::env::temp_dir().join(format!("trained-weights-{}", std::process::id()));
    let layouts = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/layouts");
    let config = TrainConfig {
        network: Network::NeuralIlt(NeuralIltConfig { width: 4, ..NeuralIltConfig::default() }),
        layouts: Some(layouts),
        steps: 2,
        batch: 2,
        validate_every: 2,
        validation_clips: 1,
        bf16: false,
        ..TrainConfig::default()
    };
    let kernels = default_kernels()?;
    let trained = train(&config, &kernels, &[Device::flex()], &weights, &mut |_| true)?;
    println!("L2 {:.0} nm² after {} steps", trained.best_l2_nm2, trained.best_step);

    let design = Layout::new("bar", vec![Polygon::rectangle(0.0, 0.0, 80.0, 600.0)]);
    let correction = Correction::of(&design).model(Model::NeuralIlt).weights(&weights).correct(8);
    let mask = correction.pixel_nm(8.0).device("cpu").run()?;
    println!("L2 {:.0} nm² with them and 8 steps of correction", mask.metrics().l2_nm2);
    std::fs::remove_dir_all(&weights)?;
    Ok(())
}

#[test]
fn the_example_runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
