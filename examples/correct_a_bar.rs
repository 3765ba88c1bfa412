#![recursion_limit = "256"]
//! The library in one page: a design, a few steps of inverse lithography, the score.
//!
//! `cargo run --release --example correct_a_bar`

use lithoburn::engine::{Job, MaskStyle, Method, Model, default_kernels};
use lithoburn::layout::{Coverage, Layout, MaskRules, Polygon};
use lithoburn::litho::Process;
use lithoburn::pool::{DeviceName, choose};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let job = Job {
        model: Model::Network { method: Method::NeuralIlt, weights: None, correct: 12 },
        kernels: default_kernels()?,
        kernels_name: "built in".into(),
        device: choose(DeviceName::Cpu)?,
        pixel_nm: 4.0,
        coverage: Coverage::Exact,
        process: Process::default(),
        band: None,
        rules: Some(MaskRules::default()),
        style: MaskStyle::Pixels,
        team: None,
    };
    let bars = [0.0, 160.0].map(|x| Polygon::rectangle(x, 0.0, x + 80.0, 600.0));
    let design = Layout::new("bars", bars.to_vec());
    let outcome = job.run(&design, &mut |_| true)?;
    let (before, after) = (outcome.report.before, outcome.report.after);
    println!("L2 {:.0} → {:.0} nm²", before.l2_nm2, after.l2_nm2);
    println!("EPE violations {} → {}", before.epe_violations, after.epe_violations);
    Ok(())
}

#[test]
fn the_example_runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
