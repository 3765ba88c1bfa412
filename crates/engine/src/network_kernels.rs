//! Which kernels a network has on a device.

use crate::EngineError;

/// Names kernels other than the device's own choice: `matrix`, those of matrix units; `e4m3`, a Hopper card's in eight bits; `layers`, Burn's for
/// each layer.
const KERNELS: &str = "LITHOBURN_KERNELS";

/// Kernels of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NetworkKernels {
    /// The quickest that the device has, of sixteen bits or more.
    Own,
    /// Those of matrix units.
    MatrixUnits,
    /// A Hopper card's in eight bits.
    EightBits,
    /// Burn's, layer by layer.
    Layers,
}

/// What the user asks for, if anything. Masks depend on it.
pub(crate) fn asked_kernels() -> Option<String> {
    std::env::var(KERNELS).ok().filter(|name| !name.is_empty())
}

impl NetworkKernels {
    /// Those that the user asks for.
    ///
    /// # Errors
    ///
    /// [`EngineError::Setting`] if it names none that are known.
    pub(crate) fn chosen() -> Result<Self, EngineError> {
        Self::named(asked_kernels().as_deref())
    }

    fn named(name: Option<&str>) -> Result<Self, EngineError> {
        match name {
            None => Ok(Self::Own),
            Some("matrix") => Ok(Self::MatrixUnits),
            Some("e4m3") => Ok(Self::EightBits),
            Some("layers") => Ok(Self::Layers),
            Some(other) => {
                let problem = format!(
                    "{KERNELS} must be matrix, e4m3 or layers, or not be set; got {other:?}"
                );
                Err(EngineError::Setting(problem))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_the_devices_own_choice_unless_others_are_named_and_unknown_names_are_errors() {
        assert!(matches!(NetworkKernels::named(None), Ok(NetworkKernels::Own)));
        assert!(matches!(NetworkKernels::named(Some("matrix")), Ok(NetworkKernels::MatrixUnits)));
        assert!(matches!(NetworkKernels::named(Some("e4m3")), Ok(NetworkKernels::EightBits)));
        assert!(matches!(NetworkKernels::named(Some("layers")), Ok(NetworkKernels::Layers)));
        let problem = NetworkKernels::named(Some("wmma")).expect_err("no such kernels").to_string();
        assert!(problem.contains("LITHOBURN_KERNELS") && problem.contains("wmma"), "{problem}");
    }
}
