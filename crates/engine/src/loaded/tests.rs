use lithoburn_layout::{Frame, Layout, Polygon, png};
use lithoburn_pool::{DeviceName, choose};

use super::*;
use crate::{Correction, Model, default_kernels};

/// A field of 1024 nm, for tests that are quick on a CPU.
const FIELD_NM: f64 = 1024.0;

fn cpu() -> Chosen {
    choose(DeviceName::Cpu).expect("always there")
}

fn correction<'a>(model: Model) -> Correction<'a> {
    let kernels = default_kernels().expect("built in");
    let small = kernels.within_ambit(FIELD_NM / 2.0, FIELD_NM).expect("it fits");
    const NONE: &[Layout] = &[];
    Correction::of(NONE).model(model).kernels(small, "a small field").pixel_nm(2.0)
}

fn layouts() -> Vec<Layout> {
    let bar = |x: f64| vec![Polygon::rectangle(x, 200.0, x + 80.0, 800.0)];
    vec![Layout::new("left", bar(300.0)), Layout::new("right", bar(640.0))]
}

/// What a network alone proposes, so that it is quick.
fn quick<'a>() -> Correction<'a> {
    correction(Model::NeuralIltFast).correct(2)
}

/// What comes out of fields of any values, as rasters.
fn run(loaded: &Loaded, fields: &[Raster]) -> Result<Vec<Vec<Raster>>, EngineError> {
    let outputs = loaded.run(Fields::Values(fields.to_vec()), &mut || true)?;
    Ok(outputs.into_iter().map(|fields| fields.into_rasters(FIELD_NM)).collect())
}

/// Fields of 0 and 1 as bits.
fn bits(fields: &[Raster]) -> Fields {
    let all = fields.iter().map(|field| PackedImages::at_least(&field.data, field.width, 0.5));
    let words = all.flat_map(|bits| bits.words).collect();
    Fields::Bits(PackedImages { side: fields[0].width, words })
}

/// What `infer` gives for a field, and what is kept for many, one by one and together.
#[test]
fn a_method_that_stays_gives_what_a_run_of_one_field_gives_to_the_last_bit()
-> Result<(), EngineError> {
    let (cpu, layouts) = (cpu(), layouts());
    let loaded = quick().load(Part::Method, &cpu)?;
    let mut expected = Vec::new();
    for layout in &layouts {
        expected.push(quick().with_design(layout).on(vec![cpu.clone()]).run()?);
    }
    let targets: Vec<Raster> = expected.iter().map(|mask| mask.target().clone()).collect();
    let together = run(&loaded, &targets)?;
    assert_eq!(loaded.run(bits(&targets), &mut || true)?, vec![bits(&together[0])]);
    for (i, mask) in expected.iter().enumerate() {
        let alone = run(&loaded, &targets[i..=i])?;
        assert!(mask.raster().data.contains(&1.0), "something is open");
        assert_eq!(alone[0][0].data, mask.raster().data);
        assert_eq!(together[0][i].data, mask.raster().data);
        assert_eq!(png::encode(&alone[0][0])?, png::encode(mask.raster())?);
    }
    Ok(())
}

#[test]
fn coarse_pixels_are_squares_of_fine_ones() -> Result<(), EngineError> {
    let loaded = quick().load(Part::Method, &cpu())?;
    let frame = |pixel_nm: f64| {
        let side = (FIELD_NM / pixel_nm) as usize;
        Frame { origin_nm: [0.0; 2], pixel_nm, width: side, height: side }
    };
    // On whole pixels of 16 nm.
    let layout = Layout::new("bar", vec![Polygon::rectangle(304.0, 208.0, 384.0, 800.0)]);
    let drawn =
        |pixel_nm: f64| layout.rasterize(&frame(pixel_nm), lithoburn_layout::Coverage::Exact);
    let mask = |field: Raster| {
        let outputs = run(&loaded, std::slice::from_ref(&field))?;
        let of_bits = loaded.run(bits(&[field]), &mut || true)?;
        assert_eq!(of_bits, vec![bits(&outputs[0])]);
        Ok::<_, EngineError>(outputs[0][0].clone())
    };
    let fine = mask(drawn(2.0))?;
    assert_eq!(fine, mask(drawn(16.0))?);
    assert_eq!(fine, mask(drawn(1.0))?);
    for (width, height) in [(500, 500), (512, 256), (8, 8), (0, 0)] {
        let field = Raster::new(width, height, 2.0);
        let refused = run(&loaded, &[field]).expect_err("no such size").to_string();
        assert!(refused.contains("512 x 512"), "{refused}");
    }
    Ok(())
}

#[test]
fn a_network_gives_the_logits_of_its_mask_whatever_the_batch() -> Result<(), EngineError> {
    let cpu = cpu();
    let mut loaded = correction(Model::NeuralIltFast).load(Part::Network, &cpu)?;
    loaded.warm_up()?;
    let side = loaded.sizes().side;
    let mut fields = vec![Raster::new(side, side, loaded.sizes().pixel_nm(side)); 2];
    for (i, field) in fields.iter_mut().enumerate() {
        field
            .data
            .chunks_exact_mut(side)
            .skip(20 + 30 * i)
            .take(16)
            .for_each(|row| row[30..90].fill(1.0));
    }
    let together = run(&loaded, &fields)?;
    let alone = run(&loaded, &fields[1..])?;
    let of_bits = loaded.run(bits(&fields), &mut || true)?;
    assert_eq!(of_bits, together.iter().cloned().map(Fields::Values).collect::<Vec<_>>());
    assert_eq!(together.len(), Part::Network.outputs().len());
    for (all, one) in together.iter().zip(&alone) {
        assert_eq!(all[1], one[0]);
        assert!(one[0].data.iter().all(|v| v.is_finite()));
    }
    assert!(together[1][0].data.iter().all(|v| (0.0..=1.0).contains(v)));
    assert_ne!(together[0][0].data, together[0][1].data);
    Ok(())
}

#[test]
fn a_simulator_gives_the_images_and_prints_that_are_measured() -> Result<(), EngineError> {
    let cpu = cpu();
    let layout = &layouts()[0];
    let mask = quick().with_design(layout).on(vec![cpu.clone()]).run()?;
    let loaded = correction(Model::Ilt).load(Part::Simulator, &cpu)?;
    let images = run(&loaded, std::slice::from_ref(mask.raster()))?;
    let found = mask.evaluation();
    assert_eq!((&images[0][0].data, &images[1][0].data), (&found.best.data, &found.defocus.data));
    let print: Vec<bool> = images[2][0].data.iter().map(|&v| v == 1.0).collect();
    assert_eq!(print, found.prints.nominal.to_pixels());
    assert!(print.contains(&true));
    let stopped = loaded.run(bits(std::slice::from_ref(mask.raster())), &mut || false);
    assert!(matches!(stopped, Err(EngineError::Litho(LithoError::Interrupted))));
    Ok(())
}
