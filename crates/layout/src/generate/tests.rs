mod plain;

use super::*;
use crate::{Coverage, Frame, LayoutError, shapes};

#[test]
fn a_seed_makes_the_same_clip_and_another_seed_another() {
    let rules = ClipRules::default();
    assert_eq!(rules.clip(7), rules.clip(7));
    assert_ne!(rules.clip(7).polygons, rules.clip(8).polygons);
}

/// Training sees the same clips as ever: windows, fields that are full, rules that hardly anything or everything keeps.
#[test]
fn clips_are_those_of_the_plain_way_to_the_last_bit() {
    let default = ClipRules::default;
    let full = ClipRules { window_nm: [2048; 2], attempts: 500, ..default() };
    let odd = ClipRules { least_width_nm: 55, grid_nm: 5, ..full.clone() };
    let narrow = ClipRules { window_nm: [60, 400], ..default() };
    let crowded = ClipRules { least_space_nm: 0, least_width_nm: 12, ..default() };
    let wide = ClipRules { least_space_nm: 700, ..full.clone() };
    for (rules, seeds) in
        [(default(), 400), (full, 100), (odd, 60), (narrow, 200), (crowded, 60), (wide, 60)]
    {
        for seed in 0..seeds {
            assert_eq!(rules.clip(seed), plain::clip(&rules, seed), "seed {seed}, {rules:?}");
        }
    }
}

/// Space and width are measured on the raster, not by the code that placed the shapes.
#[test]
fn clips_keep_the_space_and_width_rules() -> Result<(), LayoutError> {
    let rules = ClipRules::default();
    for seed in 0..60 {
        let clip = rules.clip(seed);
        let frame = Frame::centred(&clip, 1280.0, 2.0)?;
        let raster = clip.rasterize(&frame, Coverage::Exact);
        if let Some(space) = shapes::smallest_distance_nm(&raster) {
            assert!(space >= 50.0 - 2.0, "seed {seed}: space {space}"); // one pixel of 2 nm
        }
        let narrowest = narrowest_run_nm(&raster);
        assert!(narrowest >= 54.0 - 4.0, "seed {seed}: width {narrowest}"); // two edges of 2 nm
    }
    Ok(())
}

fn narrowest_run_nm(raster: &crate::Raster) -> f64 {
    let inside = raster.binary();
    let mut least = usize::MAX;
    for y in 0..raster.height {
        let mut run = 0;
        for x in 0..raster.width {
            if inside[y * raster.width + x] {
                run += 1;
            } else if run > 0 {
                least = least.min(run);
                run = 0;
            }
        }
    }
    least as f64 * raster.pixel_nm
}

#[test]
fn outlines_have_the_area_of_their_segments_union() {
    let zed = Wire::along(&Course::new(
        &[[0.0, 0.0], [300.0, 0.0], [300.0, 200.0], [600.0, 200.0]],
        60.0,
    ));
    // Three legs along the centre line: 300 + 200 + 300 long, 60 wide; mitres fill the corners.
    assert_eq!(zed.outline().signed_area().abs(), 60.0 * 800.0);
}

#[test]
fn numbers_are_rounded_as_f64_does() {
    let near = |v: f64| [v.next_down(), v, v.next_up()];
    let halves = (0..4000).flat_map(|i| near(f64::from(i) / 2.0));
    for v in halves.filter(|v| *v >= 0.0).chain([1e15 + 0.5, 4_503_599_627_370_497.5, 1e18]) {
        assert_eq!(rounded(v), v.round(), "{v:e}");
    }
}
