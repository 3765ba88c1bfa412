//! The methods that find masks, and their settings.

use std::path::PathBuf;

use lithoburn_litho::ilt::IltConfig;
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};

use crate::goal::Goal;

/// Steps of correction after a network, by default.
pub const CORRECT: usize = 64;
/// Steps of Surrogate-ILT between two looks at the true model, by default: 12 looks in its 240 steps.
pub const CORRECT_EVERY: usize = 20;

/// How a mask is found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Model {
    /// Neural-ILT's U-Net proposes a mask, the simulator corrects it.
    NeuralIlt,
    /// The same with a backbone that never computes at full resolution.
    #[default]
    NeuralIltFast,
    /// GAN-OPC's generator proposes a mask, the simulator corrects it.
    GanOpc,
    /// Gradient descent on the pixels, from the target.
    Ilt,
    /// The same through a learned forward model, corrected by the true one.
    SurrogateIlt,
}

/// A method whose network proposes the mask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Neural-ILT's U-Net.
    NeuralIlt,
    /// Neural-ILT with a backbone that never computes at full resolution.
    NeuralIltFast,
    /// GAN-OPC's generator.
    GanOpc,
}

impl Method {
    /// Name in the CLI and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::NeuralIlt => "neural-ilt",
            Self::NeuralIltFast => "neural-ilt-fast",
            Self::GanOpc => "gan-opc",
        }
    }
}

impl Model {
    /// Name in the CLI and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ilt => "ilt",
            Self::SurrogateIlt => "surrogate-ilt",
            Self::NeuralIlt | Self::NeuralIltFast | Self::GanOpc => {
                self.network().map_or("", Method::name)
            }
        }
    }

    /// The network that proposes its masks, if one does.
    pub fn network(self) -> Option<Method> {
        match self {
            Self::NeuralIlt => Some(Method::NeuralIlt),
            Self::NeuralIltFast => Some(Method::NeuralIltFast),
            Self::GanOpc => Some(Method::GanOpc),
            Self::Ilt | Self::SurrogateIlt => None,
        }
    }
}

/// A model with its settings. In reports it has those that concern it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSettings {
    /// The model.
    pub model: Model,
    /// Directory of the weights of its network or surrogate; without it, the built-in ones.
    pub weights: Option<PathBuf>,
    /// Steps of correction after a network; 0 takes the network's mask as it is.
    pub correct: usize,
    /// Steps of Surrogate-ILT between two looks at the true model.
    pub correct_every: usize,
    /// Starts of the descent, of which each mask is the best end; they take as many times as long.
    pub starts: usize,
    /// What the masks are best at.
    pub goal: Goal,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Model::default().into()
    }
}

impl From<Model> for ModelSettings {
    fn from(model: Model) -> Self {
        let (correct, correct_every) = (CORRECT, CORRECT_EVERY);
        Self { model, weights: None, correct, correct_every, starts: 1, goal: Goal::default() }
    }
}

impl ModelSettings {
    /// Steps of correction, if a network's mask is corrected or taken as it is.
    pub fn correction(&self) -> Option<usize> {
        self.model.network().map(|_| self.correct)
    }

    /// The descent that finds or corrects its masks.
    pub(crate) fn descent(&self) -> IltConfig {
        let config = match self.correction() {
            Some(steps) => IltConfig::correction(steps),
            None if self.model == Model::SurrogateIlt => IltConfig::through_surrogate(),
            None => IltConfig::default(),
        };
        IltConfig { starts: self.starts, loss: self.goal.weighed(config.loss), ..config }
    }

    /// Side of the finest pixels that its masks depend on, in nm.
    pub(crate) fn finest_nm(&self) -> f64 {
        let finest = |config: IltConfig| config.levels.last().map(|level| level.pixel_nm);
        // A network alone has no level; it sees pixels of 8 nm.
        finest(self.descent()).or_else(|| finest(IltConfig::default())).unwrap_or(1.0)
    }
}

impl Serialize for ModelSettings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", self.model.name())?;
        if self.model != Model::Ilt {
            map.serialize_entry("weights", &self.weights)?;
        }
        match self.model {
            Model::Ilt => (),
            Model::SurrogateIlt => map.serialize_entry("correct_every", &self.correct_every)?,
            _ => map.serialize_entry("correct", &self.correct)?,
        }
        if self.starts != 1 {
            map.serialize_entry("starts", &self.starts)?;
        }
        if self.goal != Goal::default() {
            map.serialize_entry("goal", &self.goal)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys of `report.json`.
    #[test]
    fn a_model_is_reported_with_the_settings_that_concern_it() {
        let json = |model: Model| serde_json::to_value(ModelSettings::from(model)).expect("a map");
        assert_eq!(json(Model::Ilt), serde_json::json!({"name": "ilt"}));
        let network = serde_json::json!({"name": "gan-opc", "weights": null, "correct": 64});
        assert_eq!(json(Model::GanOpc), network);
        let surrogate = json(Model::SurrogateIlt);
        assert_eq!(surrogate["correct_every"], 20);
        assert!(surrogate.get("correct").is_none());
        let more = ModelSettings { starts: 3, goal: Goal::Edges, ..Model::Ilt.into() };
        let more = serde_json::to_value(more).expect("a map");
        assert_eq!(more, serde_json::json!({"name": "ilt", "starts": 3, "goal": "edges"}));
    }
}
