//! The descent through the thin mask, through any model, and through a surrogate.

use burn::tensor::{Device, TensorData};

use super::*;
use crate::forward::{Imager, ThinMask};
use crate::images::{from_bits, read_back, read_bits};
use crate::metrics::unprinted;
use crate::optics::Optics;
use crate::{CornerImages, PackedImages, ProcessWindow, Simulator};

fn config() -> IltConfig {
    let mut config = IltConfig::default();
    config.levels.truncate(1);
    config.levels[0].pixel_nm = 16.0;
    config.levels[0].iterations = 24;
    config
}

fn bar() -> Tensor<3> {
    let inside = |i: usize| (60..66).contains(&(i % 128)) && (40..80).contains(&(i / 128));
    let bar: Vec<f32> = (0..128 * 128).map(|i| f32::from(u8::from(inside(i)))).collect();
    Tensor::from_data(TensorData::new(bar, [1, 128, 128]), &Device::flex())
}

fn thin_mask(count: usize) -> ThinMask {
    let optics = Optics { count, source_step: 0.1, ..Optics::default() };
    let simulator = Simulator::new(&optics.kernels().expect("optics"), &Device::flex());
    ThinMask::new(simulator, ProcessWindow::default())
}

fn run(ilt: &Ilt, target: &Tensor<3>) -> Result<Found, LithoError> {
    ilt.run(target, &Start::Target, &mut |_| true)
}

/// What compiles kernels ahead goes through a level without its steps: the mask is where it may be open, and costs nothing.
#[test]
fn idle_steps_change_nothing() -> Result<(), LithoError> {
    let (config, optics) = (config(), thin_mask(2).idle());
    let found = run(&Ilt::new(&config, &optics), &bar())?;
    assert_eq!(found.errors, [0.0]);
    assert_ne!(run(&Ilt::new(&config, &thin_mask(2)), &bar())?.errors, [0.0]);
    Ok(())
}

/// A model of which nothing but its images is known.
struct Images(ThinMask);

impl ForwardModel for Images {
    fn period_nm(&self) -> f64 {
        self.0.period_nm()
    }

    fn device(&self) -> &Device {
        self.0.device()
    }

    fn on(&self, pixel_nm: f64, points: usize) -> Result<Box<dyn Imager + '_>, LithoError> {
        Ok(Box::new(OnlyImages(self.0.on(pixel_nm, points)?)))
    }
}

struct OnlyImages<'a>(Box<dyn Imager + 'a>);

impl Imager for OnlyImages<'_> {
    fn images(&self, mask: Tensor<3>) -> CornerImages {
        self.0.images(mask)
    }
}

/// The written-out adjoint is the second implementation.
#[test]
fn a_descent_by_autodiff_is_that_of_the_adjoint() -> Result<(), LithoError> {
    let config = config();
    let model = Images(thin_mask(4));
    let expected = run(&Ilt::new(&config, &model.0), &bar())?;
    let found = run(&Ilt::new(&config, &model), &bar())?;
    let (pixels, expected) = (found.masks.into_pixels()?, expected.masks.into_pixels()?);
    let differ = pixels.iter().zip(&expected).filter(|(a, b)| a != b).count();
    assert!(differ < 5, "{differ} pixels differ"); // f32 in another order, 24 steps on
    assert!(pixels.iter().any(|&open| open));
    // Each step, the start, and the last iterate.
    assert_eq!(found.usage.true_model_calls, 24 + 1 + 1);
    assert_eq!(found.usage.surrogate_mse, None);
    Ok(())
}

/// A surrogate of a quarter of the kernels, corrected: nearly as good a mask, a fifth of the calls.
#[test]
fn a_corrected_surrogate_gets_where_the_true_model_gets() -> Result<(), LithoError> {
    let config = config();
    let (truth, rough) = (thin_mask(12), thin_mask(3));
    let error = |ilt: Ilt| -> Result<(f32, Usage), LithoError> {
        let found = run(&ilt, &bar())?;
        let images = truth.on(16.0, 16)?.images(found.masks.to_tensor(truth.device()));
        let (goal, _) = config.goal(&bar(), 2048.0)?;
        let error = config.loss.hard_error(&images, &goal);
        Ok((read_back(error, "read")?[0], found.usage))
    };
    let (exact, _) = error(Ilt::new(&config, &truth))?;
    let (corrected, usage) = error(Ilt::new(&config, &truth).with_surrogate(&rough, 8))?;
    let (uncorrected, _) = error(Ilt::new(&config, &rough))?;
    assert_eq!((usage.true_model_calls, usage.surrogate_calls), (3 + 1 + 1, 24));
    assert!(usage.surrogate_mse.is_some_and(|mse| mse > 1e-6));
    assert!(corrected <= 1.1 * exact, "{corrected} vs {exact}, {uncorrected} without");
    Ok(())
}

/// Steps that are far too long leave any start behind; it was not kept.
#[test]
fn a_descent_that_goes_wrong_returns_its_start() -> Result<(), LithoError> {
    let truth = thin_mask(4);
    let mut good = config();
    good.levels[0].iterations = 60;
    let start = run(&Ilt::new(&good, &truth), &bar())?.masks;
    let mut wild = config();
    wild.levels[0].learning_rate = 50.0;
    wild.levels[0].iterations = 3;
    let from = Start::Mask(start.to_tensor(truth.device()));
    let found = Ilt::new(&wild, &truth).run(&bar(), &from, &mut |_| true)?;
    assert!(found.masks.into_pixels()? == start.into_pixels()?, "another mask than the start");
    Ok(())
}

/// Images of the masks, and hard errors of those, are the second opinion.
#[test]
fn of_several_starts_each_clip_has_the_best_end() -> Result<(), LithoError> {
    let truth = thin_mask(4);
    let config = IltConfig { starts: 3, ..config() };
    let targets = Tensor::cat(vec![bar(), bar().swap_dims(1, 2)], 0);
    let ilt = Ilt::new(&config, &truth);
    let (goal, _) = config.goal(&targets, 2048.0)?;
    let errors = |found: &Found| -> Result<Vec<f32>, LithoError> {
        let images = truth.on(16.0, 16)?.images(found.masks.to_tensor(truth.device()));
        read_back(config.loss.hard_error(&images, &goal), "read")
    };
    let mut least = vec![f32::INFINITY; 2];
    let mut ends = Vec::new();
    for number in 0..3 {
        let end = errors(&ilt.run_from(&targets, &Start::Target, number, &mut |_| true)?)?;
        least.iter_mut().zip(&end).for_each(|(least, end)| *least = least.min(*end));
        ends.push(end);
    }
    assert!(ends[0] != ends[1] && ends[1] != ends[2], "the starts are one: {ends:?}");
    let mut last = None;
    let found = ilt.run(&targets, &Start::Target, &mut |p| {
        assert!(last.is_none_or(|last: Progress| last.done <= p.done));
        last = Some(p);
        true
    })?;
    // Pixels at the threshold may print in one order of sums and not in the other.
    let near = |found: &[f32]| found.iter().zip(&least).all(|(a, b)| (a - b).abs() <= 2.0);
    assert!(near(&errors(&found)?) && near(&found.errors), "{:?}, not {least:?}", found.errors);
    assert!(last.is_some_and(|p| (p.done, p.total) == (72, 72)), "{last:?}");
    assert_eq!(found.usage.true_model_calls, 3 * (24 + 1 + 1));
    Ok(())
}

/// A constraint that leaves nothing of any mask costs too much; one that leaves the start alone is met by the start.
#[test]
fn what_a_constraint_leaves_is_no_worse_than_what_it_leaves_of_the_start() -> Result<(), LithoError>
{
    struct Only(Vec<bool>);
    impl MaskConstraint for Only {
        fn forbidden(&self, mask: &[bool], _: usize, _: f64) -> Vec<bool> {
            vec![false; mask.len()]
        }
        fn enforced(&self, mask: &[bool], _: usize, _: f64) -> Vec<bool> {
            let own = mask == self.0;
            mask.iter().map(|&open| open && own).collect()
        }
    }
    let truth = thin_mask(4);
    let good = run(&Ilt::new(&config(), &truth), &bar())?.masks;
    let from = Start::Mask(good.to_tensor(truth.device()));
    let mut config = config();
    config.levels[0].iterations = 12;
    let nothing = Only(Vec::new());
    let ilt = Ilt::new(&config, &truth).with_constraint(Some(&nothing));
    let free = ilt.run(&bar(), &from, &mut |_| true)?.masks;
    assert!(free.into_pixels()?.iter().any(|&open| open), "a blank mask was returned");
    let good = good.into_pixels()?;
    let start = Only(good.clone());
    let ilt = Ilt::new(&config, &truth).with_constraint(Some(&start));
    let kept = ilt.run(&bar(), &from, &mut |_| true)?.masks;
    assert!(kept.into_pixels()? == good, "the start can be made and was not");
    Ok(())
}

/// Pixels of 12.8 nm and of 24.4 nm nest with no level of 16 nm: this was a panic.
#[test]
fn a_target_of_any_pixel_size_is_corrected() -> Result<(), LithoError> {
    let (config, truth) = (config(), thin_mask(4));
    let expected = run(&Ilt::new(&config, &truth), &bar())?.masks.into_pixels()?;
    for n in [160, 84] {
        // The same bar, by the area of each pixel that it covers.
        let target = resized(bar(), n);
        let found = run(&Ilt::new(&config, &truth), &target)?.masks;
        assert_eq!(found.side(), 128);
        let found = found.into_pixels()?;
        let differ = found.iter().zip(&expected).filter(|(a, b)| a != b).count();
        let open = expected.iter().filter(|open| **open).count();
        assert!(differ < open / 4, "{differ} of {open} with {n} pixels");
    }
    Ok(())
}

/// Contacts of 65 nm: from the target, the descent took them all away.
#[test]
fn small_contacts_are_not_erased() -> Result<(), LithoError> {
    let truth = thin_mask(12);
    let mut config = IltConfig::default();
    config.levels.truncate(2);
    config.levels[0].iterations = 120;
    config.levels[1].iterations = 60;
    config.mend_at.clear();
    // Two close ones and one alone, on pixels of 4 nm.
    let contacts = [[100, 100], [140, 100], [380, 300]];
    let inside = |i: usize| {
        let within = |v: usize, first: usize| (first..first + 16).contains(&v);
        contacts.iter().any(|&[x, y]| within(i % 512, x) && within(i / 512, y))
    };
    let design: Vec<bool> = (0..512 * 512).map(inside).collect();
    let target = from_bits(design.clone(), [1, 512, 512], truth.device());
    let print = |masks: Tensor<3>| -> Result<Vec<bool>, LithoError> {
        read_bits(truth.on(4.0, 4)?.images(masks).nominal, 0.225, "read the print")
    };
    let lost = |print: &[bool]| {
        let [design, print] = [&design[..], print].map(|own| PackedImages::of_pixels(own, 512));
        unprinted(design.bitmap(0), print.bitmap(0)).len()
    };
    assert_eq!(lost(&print(target.clone())?), 3);
    let found = run(&Ilt::new(&config, &truth), &target)?;
    assert_eq!(lost(&print(found.masks.to_tensor(truth.device()))?), 0);
    // What nobody keeps is not looked for: in so wide a halo all three lie, and some stay lost.
    let halo = run(&Ilt::new(&config, &truth).with_halo(6000.0), &target)?;
    assert!(lost(&print(halo.masks.to_tensor(truth.device()))?) > 0);
    Ok(())
}
