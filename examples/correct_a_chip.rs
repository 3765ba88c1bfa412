#![recursion_limit = "256"]
//! A layout of several tiles, shared by two devices: here the CPU twice, elsewhere `cuda:0` and `cuda:1`.
//!
//! `cargo run --release --example correct_a_chip`

use lithoburn::layout::generate::{Chip, ClipRules};
use lithoburn::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("correct-a-chip-{}", std::process::id()));
    let file = folder.join("wires.oas");
    let wires = Chip { side_nm: 1200.0, rules: ClipRules::default(), seed: 1 };
    let mut writer = PolygonWriter::create(&file, "WIRES", Layer { layer: 1, datatype: 0 }, 1.0)?;
    wires.write(&mut writer)?;
    writer.finish()?;

    let library = Library::read(&file, &ReadOptions::default())?;
    let report = Correction::of(&library)
        .model(Model::GanOpc)
        .correct(4)
        .pixel_nm(4.0)
        .tile_nm(2048.0)
        .devices(["cpu", "cpu"])
        .format(MaskFormat::Oasis)
        .run_in(&folder)?;
    let (before, after) = (report.before.unwrap_or_default(), report.after.unwrap_or_default());
    println!("L2 {:.0} nm² instead of {:.0}", after.l2_nm2, before.l2_nm2);
    assert!(after.l2_nm2 < before.l2_nm2);
    assert!(folder.join("mask.oas").exists());
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

#[test]
fn the_example_runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
