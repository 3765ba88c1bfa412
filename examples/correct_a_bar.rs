#![recursion_limit = "256"]
//! The library in one page: a design, a network's mask with a few steps of correction, the score.
//!
//! `cargo run --release --example correct_a_bar`

use lithoburn::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bars = [0.0, 160.0].map(|x| Polygon::rectangle(x, 0.0, x + 80.0, 600.0));
    let design = Layout::new("bars", bars.to_vec());
    let correction = Correction::of(&design).model(Model::NeuralIlt).correct(12);
    let mask = correction.pixel_nm(4.0).device("cpu").run()?;
    let (before, after) = (mask.metrics_before(), mask.metrics());
    println!("L2 {:.0} → {:.0} nm²", before.l2_nm2, after.l2_nm2);
    println!("EPE violations {} → {}", before.epe_violations, after.epe_violations);
    println!("{} polygons", mask.polygons().len());
    assert!(after.l2_nm2 < before.l2_nm2);
    Ok(())
}

#[test]
fn the_example_runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
