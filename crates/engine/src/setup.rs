//! Everything that determines a mask, besides the design.

use std::sync::{Once, OnceLock};
use std::time::SystemTime;

use lithoburn_layout::{Coverage, MaskRules, TileGrid};
use lithoburn_litho::ilt::IltConfig;
use lithoburn_litho::loss::PrintLoss;
use lithoburn_litho::{KernelSet, Process};
use lithoburn_models::kernels_sha256;
use lithoburn_pool::Chosen;
use sha2::{Digest, Sha256};

use crate::EngineError;
use crate::model::ModelSettings;
use crate::network_kernels::asked_kernels;
use crate::report::{Report, Seconds};
use crate::style::MaskStyle;
use crate::surrogate::weights_sha256;
use crate::tiles::journal::Key;

/// Most pixels on a side of a field.
pub(crate) const MOST_PIXELS: f64 = 16_384.0;

/// What the PV band weighs in a fit of rectangles.
const FIT_BAND: f64 = 5.5;

/// Model, optics, process and rules of a correction, checked.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// How masks are found.
    pub(crate) model: ModelSettings,
    /// Optical kernels.
    pub(crate) kernels: KernelSet,
    /// Where they come from, for the report.
    pub(crate) kernels_name: String,
    /// Side of a pixel of targets and images, in nm.
    pub(crate) pixel_nm: f64,
    /// How polygons become pixels.
    pub(crate) coverage: Coverage,
    /// Corners and resist.
    pub(crate) process: Process,
    /// What the PV band weighs against the print's errors; none takes the solver's default.
    pub(crate) band: Option<f64>,
    /// What the mask must keep; none lets it be anything.
    pub(crate) rules: Option<MaskRules>,
    /// What the mask is made of.
    pub(crate) style: MaskStyle,
}

impl Setup {
    /// What the PV band weighs.
    pub(crate) fn band(&self) -> f64 {
        self.band.unwrap_or(self.model.descent().loss.band)
    }

    /// The print's errors, as a fit of rectangles weighs them: as the solver does, the band a little less.
    pub(crate) fn loss(&self) -> PrintLoss {
        let loss = PrintLoss { band: FIT_BAND, ..IltConfig::default().loss };
        let loss = self.model.goal.weighed(loss);
        let (resist, band) = (self.process.resist, self.band.unwrap_or(loss.band));
        PrintLoss { resist, band, ..loss }
    }

    /// The report of a run of one field on a device, of which nothing is measured yet.
    pub(crate) fn report(&self, layout: &str, device: &Chosen, weights: Option<String>) -> Report {
        Report {
            layout: layout.into(),
            model: self.model.clone(),
            weights_sha256: weights,
            surrogate: None,
            device: device.name.clone(),
            card: device.card.clone(),
            device_reason: device.reason.clone(),
            kernels: self.kernels_name.clone(),
            kernels_sha256: kernels_sha256(&self.kernels),
            period_nm: self.kernels.period_nm,
            pixel_nm: self.pixel_nm,
            fields: 1,
            before: None,
            after: None,
            process: self.process,
            band: self.band(),
            style: self.style,
            rules: self.rules,
            violations: Vec::new(),
            mask_is_empty: false,
            unprinted: None,
            seconds: Seconds::default(),
            chip: None,
            version: env!("CARGO_PKG_VERSION"),
        }
    }

    /// SHA-256 of the weights, if the model has some.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if they cannot be read, or no surrogate is made for these optics.
    pub(crate) fn weights_sha256(&self) -> Result<Option<String>, EngineError> {
        weights_sha256(&self.model, &self.kernels, &self.process)
    }

    /// What two runs must have in common for one to go on from the other's tiles: all that determines a mask, the program included.
    ///
    /// # Errors
    ///
    /// As [`Setup::weights_sha256`].
    pub(crate) fn fingerprint(&self, grid: &TileGrid) -> Result<Key, EngineError> {
        let settings = serde_json::json!({
            "model": self.model,
            "weights": self.weights_sha256()?,
            "kernels": kernels_sha256(&self.kernels),
            "process": self.process,
            "band": self.band(),
            "rules": self.rules,
            "pixel_nm": self.pixel_nm,
            "coverage": format!("{:?}", self.coverage),
            "tile": [grid.field, grid.halo],
            "program": program(),
            "network_kernels": self.model.model.network().and_then(|_| asked_kernels()),
        });
        Ok(Sha256::digest(settings.to_string()).into())
    }
}

/// What tells this build of the program from another without reading it: its file's size and time.
pub(crate) fn build() -> Option<(u64, SystemTime)> {
    let file = std::env::current_exe().ok()?.metadata().ok()?;
    Some((file.len(), file.modified().ok()?))
}

/// Begins to hash the program's file, on a thread of its own.
pub(crate) fn hash_program_ahead() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Without the thread it is hashed when it is asked for.
        let _ = std::thread::Builder::new().name("hash".into()).spawn(program);
    });
}

/// What distinguishes this build of the program from another: the SHA-256 of its file, or its version where the system does not give
/// that.
pub fn program() -> &'static str {
    static PROGRAM: OnceLock<String> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let file = std::env::current_exe().and_then(std::fs::File::open);
        let hashed = file.and_then(|mut file| {
            let mut hash = Sha256::new();
            std::io::copy(&mut file, &mut hash)?;
            Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
        });
        hashed.unwrap_or_else(|_| env!("CARGO_PKG_VERSION").into())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::built_in::{default_kernels, load_kernels};
    use crate::model::Model;

    fn setup(model: Model) -> Setup {
        let (kernels, kernels_name) = load_kernels(None).expect("built in");
        Setup {
            model: model.into(),
            kernels,
            kernels_name,
            pixel_nm: 4.0,
            coverage: Coverage::Exact,
            process: Process::default(),
            band: None,
            rules: Some(MaskRules::default()),
            style: MaskStyle::Pixels,
        }
    }

    /// What was left out once: built-in surrogates, the resist, another build.
    #[test]
    fn a_journals_fingerprint_changes_with_whatever_determines_a_mask() {
        let grid = TileGrid {
            columns: 1,
            rows: 1,
            field: 512,
            halo: 64,
            pixel_nm: 4.0,
            origin_nm: [0.0; 2],
        };
        let print = |setup: &Setup| setup.fingerprint(&grid).expect("weights are built in");
        let base = setup(Model::SurrogateIlt);
        assert_eq!(print(&base), print(&setup(Model::SurrogateIlt)));
        let surrogate = base.weights_sha256().expect("built in");
        assert!(surrogate.is_some_and(|hash| hash.len() == 64), "a surrogate's weights count");
        let mut resist = base.clone();
        resist.process.resist.threshold = 0.3;
        let mut steps = setup(Model::GanOpc);
        steps.model.correct = 3;
        let mut kernels = setup(Model::GanOpc);
        kernels.kernels.focus.re[0] += 1e-3;
        let mut rules = setup(Model::GanOpc);
        rules.rules = None;
        let all = [print(&base), print(&setup(Model::GanOpc)), print(&setup(Model::Ilt))];
        let all = [&all[..], &[steps, kernels, rules].map(|setup| print(&setup))].concat();
        assert!((0..all.len()).all(|i| all[..i].iter().all(|other| *other != all[i])));
        assert!(resist.fingerprint(&grid).is_err() || print(&resist) != print(&base));
        // A band that is named and the same band by default give one mask.
        let named = Setup { band: Some(base.band()), ..base.clone() };
        assert_eq!(print(&named), print(&base));
    }

    #[test]
    fn the_program_is_known_by_its_file() {
        let file = std::fs::read(std::env::current_exe().expect("a file")).expect("readable");
        let expected: Key = Sha256::digest(file).into();
        let hex: String = expected.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(program(), hex);
        assert!(default_kernels().is_ok());
    }
}
