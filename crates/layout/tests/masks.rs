//! Masks and polygons as they were before bits took the place of floats: of clouds with thin necks, spurs, slits and holes.

use lithoburn_layout::{MaskRules, Polygon, Raster, contour, trace};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

const SIDE: usize = 192;

/// The clouds of a seed, on pixels of 2 nm.
fn clouds(seed: u64) -> Raster {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let waves = [(); 12].map(|()| [(); 3].map(|()| rng.random_range(-1.0..1.0_f64)));
    let height = |x: usize, y: usize| -> f64 {
        let wave = |[a, b, c]: &[f64; 3]| (0.35 * (a * x as f64 + b * y as f64) + 7.0 * c).sin();
        waves.iter().map(wave).sum()
    };
    let inside = |i: usize| f32::from(u8::from(height(i % SIDE, i / SIDE) > 0.3));
    Raster {
        width: SIDE,
        height: SIDE,
        pixel_nm: 2.0,
        data: (0..SIDE * SIDE).map(inside).collect(),
    }
}

/// The first bytes of the SHA-256 of what is made of forty clouds.
fn digest(made: impl Fn(&Raster) -> Vec<u8>) -> String {
    let mut hash = Sha256::new();
    (0..40).for_each(|seed| hash.update(made(&clouds(seed))));
    hash.finalize()[..8].iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(polygons: &[Polygon]) -> Vec<u8> {
    let number = |p: &Polygon| p.points.len() as f64;
    let numbers = polygons
        .iter()
        .flat_map(|p| std::iter::once(number(p)).chain(p.points.iter().flatten().copied()));
    numbers.flat_map(f64::to_le_bytes).collect()
}

fn pixels(mask: &[bool]) -> Vec<u8> {
    mask.iter().map(|&inside| u8::from(inside)).collect()
}

#[test]
fn rules_make_the_masks_that_they_made() {
    let rules = MaskRules::default();
    let wide = MaskRules { min_width_nm: 150.0, min_space_nm: 70.0, ..rules };
    let enforced =
        |rules: MaskRules| digest(move |mask| pixels(&rules.enforce(&mask.binary(), SIDE, 2.0)));
    assert_eq!([enforced(rules), enforced(wide)], ["f78b543693ee8b25", "b6e6d0ef201c489c"]);
    let forbidden = digest(|mask| pixels(&rules.forbidden(&mask.binary(), SIDE, 2.0)));
    assert_eq!(forbidden, "b476048ebaf475fd");
}

#[test]
fn masks_have_the_polygons_that_they_had() {
    const CORE: [usize; 4] = [20, 31, 170, 160];
    let origin = [100.0, -40.0];
    assert_eq!(digest(|mask| bytes(&trace::polygons(mask, origin))), "61ebcb076de1d185");
    assert_eq!(
        digest(|mask| bytes(&trace::polygons_within(mask, CORE, origin))),
        "4bc4ab82779c49c2"
    );
    assert_eq!(digest(|mask| bytes(&contour::polygons(mask, 1.0, origin))), "c10699280400d461");
    assert_eq!(
        digest(|mask| bytes(&contour::polygons_within(mask, CORE, 1.0, origin))),
        "25ab064b4460fd15"
    );
}
