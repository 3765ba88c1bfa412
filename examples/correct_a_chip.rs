#![recursion_limit = "256"]
//! A layout of several tiles, shared by two devices: here the CPU twice, elsewhere `cuda:0` and `cuda:1`.
//!
//! `cargo run --release --example correct_a_chip`

use lithoburn::engine::chip::{Chip, Lane, MaskFormat};
use lithoburn::engine::{Job, MaskStyle, Method, Model, default_kernels};
use lithoburn::layout::generate::{Chip as Wires, ClipRules};
use lithoburn::layout::{Coverage, Layer, Library, MaskRules, PolygonWriter, ReadOptions};
use lithoburn::litho::Process;
use lithoburn::pool::{DeviceName, choose};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::temp_dir().join(format!("correct-a-chip-{}", std::process::id()));
    let file = folder.join("wires.oas");
    let wires = Wires { side_nm: 1200.0, rules: ClipRules::default(), seed: 1 };
    let mut writer = PolygonWriter::create(&file, "WIRES", Layer { layer: 1, datatype: 0 }, 1.0)?;
    wires.write(&mut writer)?;
    writer.finish()?;

    let device = choose(DeviceName::Cpu)?;
    let model = Model::Network { method: Method::GanOpc, weights: None, correct: 4 };
    let job = Job {
        model,
        kernels: default_kernels()?,
        kernels_name: "built in".into(),
        device: device.clone(),
        pixel_nm: 4.0,
        coverage: Coverage::Exact,
        process: Process::default(),
        band: None,
        rules: Some(MaskRules::default()),
        style: MaskStyle::Curvilinear { tolerance_nm: 1.0 },
        team: None,
    };
    let lane = Lane { device, batch: 1, team: None };
    let chip = Chip {
        job: &job,
        library: &Library::read(&file, &ReadOptions::default())?,
        halo_nm: None,
        lanes: vec![lane.clone(), lane],
        plan: None,
        format: MaskFormat::Oasis,
        measure: true,
    };
    let report = chip.run(&folder, &|| false, &mut |_| true)?;
    println!("L2 {:.0} nm² instead of {:.0}", report.after.l2_nm2, report.before.l2_nm2);
    assert!(report.after.l2_nm2 < report.before.l2_nm2);
    assert!(folder.join("mask.oas").exists());
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}

#[test]
fn the_example_runs() -> Result<(), Box<dyn std::error::Error>> {
    main()
}
