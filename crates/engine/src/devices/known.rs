//! Trials that were made before: what a model takes of a card is kept beside the card's kernels.
//!
//! A trial takes half a second, and its answer depends on the build, the model, the kernels that were asked for and the card alone. What the
//! card has free is asked anew.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

use lithoburn_layout::write_whole;
use lithoburn_pool::{Chosen, cache};

use super::probe::Probe;
use crate::EngineError;
use crate::network_kernels::asked_kernels;
use crate::setup::{Setup, build};

/// A device's trial from a run before, or else a new one, which is kept.
///
/// # Errors
///
/// Those of the new one.
pub(crate) fn or_else(
    setup: &Setup,
    device: &Chosen,
    trial: impl FnOnce() -> Result<Probe, EngineError>,
) -> Result<Probe, EngineError> {
    let file = file(setup, device);
    if let Some(known) = file.as_deref().and_then(|file| read(file, device)) {
        return Ok(known);
    }
    let found = trial()?;
    if let (Some(file), Ok(text)) = (file, serde_json::to_vec(&found)) {
        // Without it the next run tries again.
        let _ = write_whole(&file, &text);
    }
    Ok(found)
}

/// Where a trial is kept: of CUDA's and Vulkan's cards, which have folders of their own, and of built-in weights, which stay what they are.
fn file(setup: &Setup, device: &Chosen) -> Option<PathBuf> {
    let card = ["cuda", "vulkan"].iter().any(|family| device.name.starts_with(family));
    let kept = card && setup.model.weights.is_none();
    let folder = cache::folder().filter(|_| kept)?;
    Some(folder.join(format!("trial-{:016x}", key(setup, device, asked_kernels().as_deref())?)))
}

/// What a trial depends on.
fn key(setup: &Setup, device: &Chosen, asked: Option<&str>) -> Option<u64> {
    let mut hash = DefaultHasher::new();
    (build()?, &device.card, asked).hash(&mut hash);
    serde_json::to_string(&setup.model).ok()?.hash(&mut hash);
    let kernels = &setup.kernels;
    [setup.pixel_nm, kernels.period_nm].map(f64::to_bits).hash(&mut hash);
    [kernels.focus.re.len(), kernels.defocus.re.len()].hash(&mut hash);
    format!("{:?}", setup.rules).hash(&mut hash);
    Some(hash.finish())
}

/// A trial that was kept, of another card of the kind perhaps; none if it is not what was written.
fn read(file: &Path, device: &Chosen) -> Option<Probe> {
    let known: Probe = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let sound = known.seconds > 0.0 && known.bytes_per_pixel.is_none_or(|bytes| bytes > 0.0);
    sound.then(|| Probe { device: device.name.clone(), ..known })
}

#[cfg(test)]
mod tests {
    use lithoburn_pool::{DeviceName, choose};

    use super::*;
    use crate::compiling::plain;
    use crate::model::Model;

    fn probe() -> Probe {
        let bytes_per_pixel = Some(16.25);
        Probe { device: "cuda:0".into(), fixed_bytes: Some(1 << 20), bytes_per_pixel, seconds: 0.5 }
    }

    #[test]
    fn a_trial_is_read_as_it_was_made_for_a_card_of_the_kind() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("trial");
        let other = Chosen { name: "cuda:3".into(), ..choose(DeviceName::Cpu).expect("a CPU") };
        assert_eq!(read(&file, &other), None);
        write_whole(&file, &serde_json::to_vec(&probe()).expect("text")).expect("written");
        assert_eq!(read(&file, &other), Some(Probe { device: "cuda:3".into(), ..probe() }));
        for text in ["", "{", r#"{"device":"a","fixed_bytes":1,"bytes_per_pixel":0,"seconds":1}"#] {
            std::fs::write(&file, text).expect("written");
            assert_eq!(read(&file, &other), None, "{text}");
        }
    }

    #[test]
    fn another_model_another_grid_other_kernels_and_another_card_are_tried_anew() {
        let device = choose(DeviceName::Cpu).expect("a CPU");
        let setup = |model: Model| plain(model).expect("the default settings");
        let fast = setup(Model::NeuralIltFast);
        let known = |setup: &Setup, device: &Chosen| key(setup, device, None);
        let base = known(&fast, &device);
        assert!(base.is_some() && base == known(&setup(Model::NeuralIltFast), &device));
        assert_ne!(base, key(&fast, &device, Some("layers")));
        let mut fine = fast.clone();
        fine.pixel_nm /= 2.0;
        let card = Chosen { card: "another".into(), ..device.clone() };
        let model = setup(Model::Ilt);
        for other in [known(&model, &device), known(&fine, &device), known(&fast, &card)] {
            assert_ne!(other, base);
        }
        // The CPU's memory is the process's: nothing is kept of it.
        assert_eq!(file(&fast, &device), None);
        assert_eq!(or_else(&fast, &device, || Ok(probe())).expect("a trial"), probe());
    }
}
