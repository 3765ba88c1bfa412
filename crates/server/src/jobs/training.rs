//! Training runs as jobs: what may be asked of one.

use serde::{Deserialize, Serialize};

/// A training run of a network, through the simulator, on generated clips. What is left out has the defaults of `lithoburn train`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Training {
    /// Which network: `neural-ilt-fast`, `neural-ilt` or `gan-opc`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Steps of Adam.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub steps: Option<usize>,
    /// Minutes that it may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes: Option<f64>,
    /// Clips per step, on all devices together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch: Option<usize>,
    /// Step size of Adam.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Seed of clips and weights.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// Validations without a better one after which to stop.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub patience: Option<usize>,
    /// Steps between validations; after each, the run goes on from there if it is killed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate_every: Option<usize>,
    /// Clips of a validation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_clips: Option<usize>,
}

/// The networks that can be trained.
pub const PUPILS: [&str; 3] = ["neural-ilt-fast", "neural-ilt", "gan-opc"];

impl Training {
    /// What a request's body asks for.
    ///
    /// # Errors
    ///
    /// A text that names the field.
    pub fn of(body: &[u8]) -> Result<Self, String> {
        let mut json = serde_json::Deserializer::from_slice(body);
        let training: Self = serde_path_to_error::deserialize(&mut json).map_err(|error| {
            let field = error.path().to_string();
            let problem = error.into_inner();
            if field == "." { problem.to_string() } else { format!("{field}: {problem}") }
        })?;
        json.end().map_err(|error| error.to_string())?;
        training.checked()
    }

    fn checked(self) -> Result<Self, String> {
        if let Some(model) = self.model.as_deref().filter(|model| !PUPILS.contains(model)) {
            return Err(format!(
                "model: no network {model:?} is trained: expected one of {}",
                PUPILS.join(", ")
            ));
        }
        for (name, number) in [
            ("steps", self.steps),
            ("batch", self.batch),
            ("patience", self.patience),
            ("validate_every", self.validate_every),
            ("validation_clips", self.validation_clips),
        ] {
            if number == Some(0) {
                return Err(format!("{name} must be 1 or more"));
            }
        }
        for (name, number) in [("minutes", self.minutes), ("learning_rate", self.learning_rate)] {
            if number.is_some_and(|number| !(number.is_finite() && number > 0.0)) {
                return Err(format!("{name} must be more than 0"));
            }
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_training_is_read_and_what_is_wrong_with_it_is_named() {
        let of = |text: &str| Training::of(text.as_bytes());
        let full =
            of(r#"{"model": "gan-opc", "steps": 100, "learning_rate": 1e-3}"#).expect("a training");
        assert_eq!(
            (full.model.as_deref(), full.steps, full.learning_rate),
            (Some("gan-opc"), Some(100), Some(1e-3))
        );
        assert_eq!(of("{}"), Ok(Training::default()));
        for (text, named) in [
            (r#"{"stesp": 1}"#, "stesp"),
            (r#"{"steps": "many"}"#, "steps"),
            (r#"{"steps": 0}"#, "steps"),
            (r#"{"validate_every": 0}"#, "validate_every"),
            (r#"{"validation_clips": 0}"#, "validation_clips"),
            (r#"{"model": "surrogate-ilt"}"#, "neural-ilt-fast"),
            (r#"{"minutes": -1}"#, "minutes"),
            (r#"{"steps": 1} {"#, "trailing"),
            ("", "EOF"),
        ] {
            let refused = of(text).expect_err(text);
            assert!(refused.contains(named), "{text}: {refused}");
        }
    }
}
