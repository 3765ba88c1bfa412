//! How long each operation takes for a batch of 24 masks of 1024 × 1024 px, as the main job has them at 2 nm.
//!
//! ```text
//! cargo run --release -p lithoburn-bitmap -p lithoburn-cli --example time_bitmaps -- cuda
//! ```
//!
//! The device is `cuda`, `vulkan` or `opengl`; a second number is the batch, a third the side. A value is read back inside of
//! each timed region. The first run of each operation, which compiles its kernels, is told apart.
#![allow(clippy::print_stdout, reason = "it is a program")]

#[cfg(not(feature = "gpu"))]
fn main() {
    println!("without a GPU's feature there is nothing to time");
}

#[cfg(feature = "gpu")]
fn main() {
    timed::all();
}

#[cfg(feature = "gpu")]
mod timed {
    use std::time::{Duration, Instant};

    use burn::backend::WgpuBackend;
    use burn::tensor::{Device, DeviceKind, Tensor};
    use lithoburn_bitmap::{Bitmaps, Marks, Rules, draw};
    use lithoburn_layout::{Edges, Frame, MaskRules, Polygon};
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const PIXEL_NM: f64 = 2.0;
    const RUNS: usize = 20;
    /// Strips of the main job at 2 nm.
    const MARKS: Marks = Marks { along: 10, depths: [7, 10], step: 20, short: 40 };

    fn device(name: &str) -> Device {
        match name {
            "cuda" => Device::cuda(0),
            "vulkan" => Device::vulkan(DeviceKind::DefaultDevice),
            _ => Device::wgpu_options().graphics_api(WgpuBackend::Gl).init().expect("OpenGL"),
        }
    }

    /// Bars of a dense layout, some too near each other, and dots.
    fn edges(side: usize, seed: u64) -> Vec<[i32; 4]> {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let field = side as f64 * PIXEL_NM;
        let frame = Frame { origin_nm: [0.0; 2], pixel_nm: PIXEL_NM, width: side, height: side };
        let mut bar = || {
            let [x, y] = [(); 2].map(|()| rng.random_range(0.0..field - 400.0));
            let (w, h) = (rng.random_range(24.0..80.0), rng.random_range(24.0..400.0));
            let (w, h) = if rng.random_bool(0.5) { (w, h) } else { (h, w) };
            let slant = rng.random_range(-8.0..8.0);
            Polygon::new(vec![[x, y], [x + w, y], [x + w + slant, y + h], [x + slant, y + h]])
        };
        let bars: Vec<Polygon> = (0..side * side / 6000).map(|_| bar()).collect();
        Edges::of(&bars, &frame).expect("edges").list
    }

    fn rules() -> Rules {
        let rules = MaskRules::default().in_pixels(PIXEL_NM);
        Rules {
            width_radius: rules.width_radius,
            space_radius: rules.space_radius,
            least_area: rules.least_area,
            reaches: rules.reaches,
            middle_radius: rules.middle_radius,
            clearance_radius: rules.clearance_radius,
        }
    }

    /// Runs an operation, the first time and later, and reads a value of each run.
    fn time(name: &str, mut run: impl FnMut()) {
        let mut once = || {
            let start = Instant::now();
            run();
            start.elapsed()
        };
        let first = once();
        let mut later: Vec<Duration> = (0..RUNS).map(|_| once()).collect();
        later.sort();
        let [least, median] = [later[0], later[RUNS / 2]].map(|t| 1e3 * t.as_secs_f64());
        println!("{name:>12}: first {first:>9.1?}, then {median:.3} ms (least {least:.3})");
    }

    fn wait(image: Tensor<3>) {
        let _ = image.slice([0..1, 0..1, 0..1]).try_into_data().expect("a value");
    }

    fn look(bitmaps: &Bitmaps) {
        let _ = bitmaps.square([0, 0], 32).read().expect("words");
    }

    pub(super) fn all() {
        let mut words = std::env::args().skip(1);
        let device = device(&words.next().unwrap_or_else(|| "cuda".into()));
        let mut number = |or: usize| words.next().and_then(|w| w.parse().ok()).unwrap_or(or);
        let (batch, side) = (number(24), number(1024));
        let edges: Vec<_> = (0..batch).map(|seed| edges(side, seed as u64)).collect();
        let edges: Vec<&[[i32; 4]]> = edges.iter().map(Vec::as_slice).collect();
        println!("{batch} of {side}², {} edges in the first", edges[0].len());
        let image = draw(&edges, side, &device);
        let (masks, rules) = (Bitmaps::of(image.clone(), 0.5), rules());
        time("reading", || look(&masks));
        time("draw", || wait(draw(&edges, side, &device)));
        time("pack", || look(&Bitmaps::of(image.clone(), 0.5)));
        time("unpack", || wait(masks.to_tensor()));
        time("forbidden", || look(&masks.forbidden(&rules)));
        time("enforced", || look(&masks.enforced(&rules).expect("enforced")));
        time("strips", || look(&masks.strips(MARKS)));
        time("cores", || {
            let _ = masks.square([side / 4 / 32 * 32; 2], side / 64 * 32).read().expect("words");
        });
    }
}
