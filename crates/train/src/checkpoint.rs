//! Where a run stands, in one file that is replaced whole: after a crash there is the old one or the new one.

use std::path::{Path, PathBuf};

use lithoburn_layout::write_whole;
use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};
use serde::{Deserialize, Serialize};

use crate::adam::AdamValues;
use crate::values::Values;
use crate::{Record, TrainError};

/// Name of the file in the run's directory.
pub const FILE: &str = "checkpoint.safetensors";
/// Key of the state in the file's metadata.
const STATE: &str = "state";

/// What a run is, and how far it has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunState {
    /// Its configuration as text, since numbers read from text may be off by their last bit.
    pub(crate) config: String,
    /// Hash of its kernels.
    pub(crate) kernels: String,
    /// Steps done.
    pub(crate) step: usize,
    /// Steps of the adversarial phase done.
    pub(crate) adversarial: usize,
    /// Seconds that it has run.
    pub(crate) seconds: f64,
    /// Of those, seconds before the schedule began on the clock: examples, and kernels compiled.
    pub(crate) compiling: f64,
    /// The best validation.
    pub(crate) best: Option<BestValidation>,
    /// Validations since then.
    pub(crate) since_best: usize,
    /// The log.
    pub(crate) records: Vec<Record>,
}

/// The best validation so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct BestValidation {
    pub(crate) step: usize,
    pub(crate) l2_nm2: f64,
    pub(crate) pvb_nm2: f64,
    pub(crate) hash: String,
}

impl RunState {
    /// Before the first step.
    pub(crate) fn new(config: String, kernels: String) -> Self {
        Self {
            config,
            kernels,
            step: 0,
            adversarial: 0,
            seconds: 0.0,
            compiling: 0.0,
            best: None,
            since_best: 0,
            records: Vec::new(),
        }
    }
}

impl BestValidation {
    pub(crate) fn sum(&self) -> f64 {
        self.l2_nm2 + self.pvb_nm2
    }
}

/// A trained module and its optimiser.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Trainee {
    pub(crate) values: Values,
    pub(crate) adam: AdamValues,
}

impl Trainee {
    fn is_finite(&self) -> bool {
        let [means, squares] = &self.adam.moments;
        [&self.values, means, squares].into_iter().flatten().flatten().all(|v| v.is_finite())
    }
}

/// Names of the modules in the file.
const MODULES: [&str; 2] = ["network", "discriminator"];
/// Names of their parts.
const PARTS: [&str; 3] = ["value", "mean", "square"];

fn path(out: &Path) -> PathBuf {
    out.join(FILE)
}

/// Writes the state, the network, and the discriminator if there is one.
pub(crate) fn save(out: &Path, state: &RunState, trainees: &[Trainee]) -> Result<(), TrainError> {
    let failed = |problem: String| TrainError::Save(path(out), problem);
    let mut tensors: Vec<(String, Vec<u8>, Vec<usize>)> = Vec::new();
    for (module, trainee) in MODULES.iter().zip(trainees) {
        let [means, squares] = &trainee.adam.moments;
        for (part, values) in PARTS.iter().zip([&trainee.values, means, squares]) {
            for (i, value) in values.iter().enumerate() {
                let bytes = value.iter().flat_map(|v| v.to_le_bytes()).collect();
                tensors.push((format!("{module}.{part}.{i}"), bytes, vec![value.len()]));
            }
        }
        let steps = trainee.adam.steps.to_le_bytes().to_vec();
        tensors.push((format!("{module}.steps"), steps, vec![1]));
    }
    let mut views = Vec::new();
    for (name, bytes, shape) in &tensors {
        let dtype = if name.ends_with("steps") { Dtype::I32 } else { Dtype::F32 };
        let view = TensorView::new(dtype, shape.clone(), bytes);
        views.push((name.clone(), view.map_err(|e| failed(e.to_string()))?));
    }
    let text = serde_json::to_string(state).map_err(|e| failed(e.to_string()))?;
    let metadata = Some([(STATE.to_string(), text)].into());
    let bytes = serialize(views, metadata).map_err(|e| failed(e.to_string()))?;
    Ok(write_whole(&path(out), &bytes)?)
}

/// Reads what [`save`] wrote; none if there is no such file.
pub(crate) fn load(out: &Path) -> Result<Option<(RunState, Vec<Trainee>)>, TrainError> {
    let path = path(out);
    let wrong = |problem: String| {
        let problem = format!("it is no state of a run ({problem}): delete it to start anew");
        TrainError::Resume(path.clone(), problem)
    };
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(TrainError::Resume(path, e.to_string())),
    };
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| wrong(e.to_string()))?;
    let text = header.metadata().as_ref().and_then(|m| m.get(STATE));
    let text = text.ok_or_else(|| wrong("it has no state".into()))?;
    let state: RunState = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| wrong(e.to_string()))?;
    let trainees: Vec<_> = MODULES.iter().filter_map(|module| trainee(&tensors, module)).collect();
    match trainees.iter().all(Trainee::is_finite) {
        true => Ok(Some((state, trainees))),
        false => Err(wrong("it holds values that are not finite".into())),
    }
}

fn trainee(tensors: &SafeTensors, module: &str) -> Option<Trainee> {
    let steps = tensors.tensor(&format!("{module}.steps")).ok()?;
    let steps = i32::from_le_bytes(steps.data().try_into().ok()?);
    let numbers = |part: &str| -> Values {
        let each = |i: usize| {
            let view = tensors.tensor(&format!("{module}.{part}.{i}")).ok()?;
            let number = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
            Some(view.data().chunks_exact(4).map(number).collect())
        };
        (0..).map_while(each).collect()
    };
    let [value, mean, square] = PARTS;
    let moments = [numbers(mean), numbers(square)];
    Some(Trainee { values: numbers(value), adam: AdamValues { steps, moments } })
}

/// Deletes the state of a run that is done.
pub(crate) fn delete(out: &Path) -> Result<(), TrainError> {
    match std::fs::remove_file(path(out)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(TrainError::Save(path(out), e.to_string()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> RunState {
        let config = "{}".into();
        let best = BestValidation { step: 3, l2_nm2: 1.5, pvb_nm2: 2.5, hash: "ab".into() };
        RunState {
            config,
            kernels: "cd".into(),
            step: 7,
            adversarial: 2,
            seconds: 1.25,
            compiling: 0.5,
            best: Some(best),
            since_best: 1,
            records: Vec::new(),
        }
    }

    #[test]
    fn what_is_saved_is_loaded_and_what_is_damaged_is_refused() {
        let out = std::env::temp_dir().join(format!("lithoburn-checkpoint-{}", std::process::id()));
        std::fs::create_dir_all(&out).expect("temporary folder");
        assert_eq!(load(&out).expect("nothing there"), None);
        let trainee = |shift: f32| Trainee {
            values: vec![vec![shift, 2.0], vec![3.0]],
            adam: AdamValues {
                steps: 9,
                moments: [vec![vec![], vec![4.0]], vec![vec![], vec![5.0]]],
            },
        };
        let trainees = [trainee(1.0), trainee(-1.0)];
        save(&out, &state(), &trainees).expect("saves");
        let (found, modules) = load(&out).expect("loads").expect("is there");
        assert_eq!((found, modules.as_slice()), (state(), trainees.as_slice()));
        let bytes = std::fs::read(path(&out)).expect("is there");
        std::fs::write(path(&out), &bytes[..bytes.len() / 2]).expect("damaged");
        let error = load(&out).expect_err("half a file").to_string();
        assert!(error.contains(FILE) && error.contains("start anew"), "{error}");
        delete(&out).expect("deletes");
        assert_eq!(load(&out).expect("nothing there"), None);
    }
}
