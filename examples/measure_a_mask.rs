#![recursion_limit = "256"]
//! Anybody's mask: how it prints at the corners of the process, and how well. Here the mask is the design with wider bars.
//!
//! `cargo run --release --example measure_a_mask`

use lithoburn::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let bar = |wider: f64| Polygon::rectangle(-wider, -wider, 90.0 + wider, 600.0 + wider);
    let (design, mask) =
        (Layout::new("design", vec![bar(0.0)]), Layout::new("mask", vec![bar(15.0)]));
    // Both on the optics' field, at the same place.
    let kernels = default_kernels()?;
    let frame = Frame::centred(&design, kernels.period_nm, 4.0)?;
    let [target, pixels] = [&design, &mask].map(|l| l.rasterize(&frame, Coverage::Exact));

    let evaluator = Evaluator::new(&kernels, &Process::default());
    let [focus, defocus] = evaluator.aerial(&pixels, 4.0)?;
    let brightest = |image: &Raster| image.data.iter().fold(f32::MIN, |most, &v| most.max(v));
    println!("at most {:.2} in focus, {:.2} out of it", brightest(&focus), brightest(&defocus));
    let (bare, wide) =
        (evaluator.evaluate(&target, &target, 0)?, evaluator.evaluate(&pixels, &target, 0)?);
    for [name, bare, wide] in bare.metrics.table(&wide.metrics) {
        println!("{name}: {bare} as drawn, {wide} with wider bars");
    }
    // More light makes steeper edges, which move less from corner to corner.
    assert!(wide.metrics.pvb_nm2 < bare.metrics.pvb_nm2);
    Ok(())
}

#[test]
fn the_example_runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
