//! What must not depend on where a clip lies or how it is turned.

use lithoburn::engine::{Correction, Evaluator, MaskStyle, Model, default_kernels};
use lithoburn::layout::generate::ClipRules;
use lithoburn::layout::{Coverage, Layout, Raster};
use lithoburn::litho::Process;

/// The clip moved by (37, −91) nm, mirrored, and transposed, corrected by the solver: moving changes nothing at
/// all; the source is symmetric about both axes and their bisector, so turning changes what float order does.
#[test]
fn a_clip_is_corrected_alike_wherever_it_lies_and_however_it_is_turned() {
    let clip = ClipRules::default().clip(11);
    let changed = |change: fn([f64; 2]) -> [f64; 2]| {
        let mut clip = clip.clone();
        clip.polygons
            .iter_mut()
            .flat_map(|p| &mut p.points)
            .for_each(|point| *point = change(*point));
        Layout::new("changed", clip.polygons)
    };
    let clips = [
        changed(|p| p),
        changed(|[x, y]| [x + 37.0, y - 91.0]),
        changed(|[x, y]| [-x, y]),
        changed(|[x, y]| [y, x]),
    ];
    let correction = Correction::of(&clips[..]).model(Model::Ilt).style(MaskStyle::Pixels);
    let mut found = Vec::new();
    let run = correction.device("cpu").run_each(false, &mut |_| true, &mut |mask| {
        found.push(mask.metrics());
        Ok(())
    });
    run.expect("runs");
    let [first, moved, mirrored, transposed] = [0, 1, 2, 3].map(|i| found[i]);
    assert_eq!(first, moved);
    assert!(first.l2_nm2 > 0.0 && first.pvb_nm2 > 0.0);
    for turned in [mirrored, transposed] {
        // A descent of 240 steps from images that differ in their last bits, and EPE sites that are
        // counted from the other end.
        let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.03;
        assert!(near(turned.l2_nm2, first.l2_nm2), "{} vs {}", turned.l2_nm2, first.l2_nm2);
        assert!(near(turned.pvb_nm2, first.pvb_nm2), "{} vs {}", turned.pvb_nm2, first.pvb_nm2);
    }
}

/// A mask and its target, mirrored and transposed as images, score alike to the few pixels on the threshold.
#[test]
fn a_turned_mask_scores_as_itself() {
    let kernels = default_kernels().expect("built in");
    let evaluator = Evaluator::new(&kernels, &Process::default());
    let clip = ClipRules::default().clip(12);
    let frame = lithoburn::layout::Frame::centred(&clip, 2048.0, 2.0).expect("fits");
    let target = clip.rasterize(&frame, Coverage::Exact).binarized();
    let n = target.width;
    let turned = |place: fn(usize, usize, usize) -> usize| Raster {
        data: (0..n * n).map(|i| target.data[place(i % n, i / n, n)]).collect(),
        ..target.clone()
    };
    let score = |image: &Raster| evaluator.evaluate(image, image, 0).expect("evaluates").metrics;
    let first = score(&target);
    for image in [
        turned(|x, y, n| y * n + n - 1 - x),
        turned(|x, y, n| (n - 1 - y) * n + x),
        turned(|x, y, n| x * n + y),
    ] {
        let found = score(&image);
        // Kernels are symmetric to about 1e-6 of the clear field: a handful of pixels of 4 nm².
        assert!(
            (found.l2_nm2 - first.l2_nm2).abs() <= 80.0,
            "{} vs {}",
            found.l2_nm2,
            first.l2_nm2
        );
        assert!((found.pvb_nm2 - first.pvb_nm2).abs() <= 80.0);
    }
}
