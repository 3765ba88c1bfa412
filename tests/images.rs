//! Images of tiles and of kernels with a finite reach, beside those of the whole.

use std::path::Path;

use lithoburn::layout::{Coverage, Frame, Layer, Layout, ReadOptions};
use lithoburn_compare::{largest, largest_difference};

use crate::programs::folder;

const LAYER: Layer = Layer { layer: 11, datatype: 0 };

/// The optics themselves, with kernels made for half as large again a period, are the judge.
#[test]
fn kernels_of_a_finite_reach_are_near_to_the_optics() {
    use lithoburn::engine::default_kernels;
    use lithoburn::litho::{KernelSet, Simulator};
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/layouts/metal_clip.glp");
    let clip = Layout::read(Path::new(example), &ReadOptions::default()).expect("ours");
    let kernels = default_kernels().expect("built in");
    let mut optics = kernels.recipe.clone().expect("they were made here").optics;
    (optics.period_nm, optics.half) = (3072.0, 26);
    let judge = optics.kernels().expect("they can be made");
    let device = burn::tensor::Device::flex();
    // The middle of the field.
    let image = |kernels: &KernelSet| {
        let frame = Frame::centred(&clip, kernels.period_nm, 8.0).expect("it fits");
        let mask = clip.rasterize(&frame, Coverage::Exact);
        let simulator = Simulator::new(kernels, &device);
        let grid = simulator.sampling(8.0, 1).expect("it fits");
        let data = burn::tensor::TensorData::new(mask.data, [1, frame.height, frame.width]);
        let mask = burn::tensor::Tensor::from_data(data, &device);
        let image = simulator.aerial(mask, &grid, &grid).best;
        let edge = (frame.width - 160) / 2;
        let middle = image.narrow(1, edge, 160).narrow(2, edge, 160);
        middle.try_into_vec_as::<f32>().expect("f32")
    };
    let truth = image(&judge);
    let off = |kernels: &KernelSet| {
        let image = image(kernels);
        largest_difference(&truth, &image)
    };
    let cut = |ambit: f64| kernels.within_ambit(ambit, 2048.0).expect("it fits");
    let [repeated, far, near] = [off(&kernels), off(&cut(1024.0)), off(&cut(512.0))];
    println!("off by {repeated} (repeated), {far} (ambit 1024 nm), {near} (ambit 512 nm)");
    assert!(far < 1e-3 && far < near, "{repeated}, {far}, {near}");
}

/// Wires at random, imaged in one tile and in nine: one image, but for f32's rounding of sums over a million pixels. With fields of 256²
/// pixels `litho::optics::ambit` is held to 1e-6.
#[test]
fn images_of_tiles_are_the_image_of_the_whole() {
    use lithoburn::engine::default_kernels;
    use lithoburn::engine::print::{Printing, images};
    use lithoburn::layout::generate::{Chip, ClipRules};
    use lithoburn::layout::{Library, PolygonWriter};
    let file = folder("images/image").join("wires.oas");
    let wires = Chip { side_nm: 5000.0, rules: ClipRules::default(), seed: 7 };
    let mut writer = PolygonWriter::create(&file, "WIRES", LAYER, 1.0).expect("a file");
    wires.write(&mut writer).expect("written");
    writer.finish().expect("whole");
    let library = Library::read(&file, &ReadOptions::default()).expect("ours");
    let kernels = default_kernels().expect("built in");
    let device = lithoburn::pool::choose(lithoburn::pool::DeviceName::Cpu).expect("always here");
    let printing = |tile_nm: f64| {
        let printing = Printing::of(&library, kernels.clone(), "", std::slice::from_ref(&device));
        printing.tile_nm(tile_nm).halo_nm(1024.0).pixel_nm(8.0)
    };
    let (whole, tiled) = (printing(8192.0), printing(4096.0));
    assert_eq!(whole.grid().expect("it fits").len(), 1);
    let at_once = images(&whole, 0).expect("imaged");
    let grid = tiled.grid().expect("it fits");
    let mut apart = [Vec::new(), Vec::new()];
    for tile in 0..grid.len() {
        let at = [tile % grid.columns, tile / grid.columns].map(|i| (i * grid.core()) as isize);
        for (one, part) in at_once.iter().zip(images(&tiled, tile).expect("imaged")) {
            let same = one.crop(at, grid.core(), grid.core());
            apart[0].extend(same.data);
            apart[1].extend(part.data);
        }
    }
    let (most, brightest) = (largest_difference(&apart[0], &apart[1]), largest(&apart[0]));
    println!("largest difference {most} of intensities up to {brightest}");
    assert!(grid.len() == 9 && brightest > 0.2 && most <= 5e-6, "{most} of {brightest}");
}
