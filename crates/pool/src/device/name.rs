//! Devices as a user names them.

/// A device as a user names it: `auto`, `cuda`, `cuda:1`, `vulkan`, `vulkan:0`, `wgpu`, `gl`, `cpu`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceName {
    /// The best one that works.
    Auto,
    /// An NVIDIA card through CUDA, by index.
    Cuda(Option<usize>),
    /// A card through Vulkan, by index.
    Vulkan(Option<usize>),
    /// A card through whatever graphics API wgpu prefers here.
    Wgpu(Option<usize>),
    /// OpenGL: slow, for machines whose Vulkan driver fails.
    Gl,
    /// The CPU.
    Cpu,
}

impl DeviceName {
    /// The number of a card of CUDA's; none of any other device.
    pub(super) fn card(self) -> Option<usize> {
        match self {
            Self::Cuda(card) => Some(card.unwrap_or(0)),
            _ => None,
        }
    }
}

impl std::str::FromStr for DeviceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is no device: expected auto, cuda, cuda:N, vulkan, vulkan:N, wgpu, gl or cpu"
            )
        };
        let (family, index) = match text.split_once(':') {
            Some((family, index)) => (family, Some(index.parse().map_err(|_| wrong())?)),
            None => (text, None),
        };
        match (family, index) {
            ("auto", None) => Ok(Self::Auto),
            ("cuda", index) => Ok(Self::Cuda(index)),
            ("vulkan", index) => Ok(Self::Vulkan(index)),
            ("wgpu", index) => Ok(Self::Wgpu(index)),
            ("gl", None) => Ok(Self::Gl),
            ("cpu", None) => Ok(Self::Cpu),
            _ => Err(wrong()),
        }
    }
}

impl std::fmt::Display for DeviceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbered = |family: &str, index: &Option<usize>| match index {
            Some(index) => format!("{family}:{index}"),
            None => family.to_string(),
        };
        f.write_str(&match self {
            Self::Auto => "auto".to_string(),
            Self::Cuda(index) => numbered("cuda", index),
            Self::Vulkan(index) => numbered("vulkan", index),
            Self::Wgpu(index) => numbered("wgpu", index),
            Self::Gl => "gl".to_string(),
            Self::Cpu => "cpu".to_string(),
        })
    }
}

/// Sorts of device, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// NVIDIA through CUDA.
    Cuda,
    /// A card of its own.
    Discrete,
    /// Part of the processor.
    Integrated,
    /// A share of another machine's card, or one whose sort is not told.
    Virtual,
    /// Burn's CPU backend.
    Cpu,
    /// A graphics driver that computes on the CPU.
    Software,
}

impl Kind {
    /// As a user would say it.
    pub fn describe(self) -> &'static str {
        match self {
            Self::Cuda => "NVIDIA GPU through CUDA",
            Self::Discrete => "discrete GPU",
            Self::Integrated => "integrated GPU",
            Self::Virtual => "GPU",
            Self::Cpu => "CPU",
            Self::Software => "software rasteriser",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for text in ["auto", "cuda", "cuda:3", "vulkan", "vulkan:1", "wgpu", "gl", "cpu"] {
            assert_eq!(text.parse::<DeviceName>().map(|d| d.to_string()), Ok(text.to_string()));
        }
        for text in ["", "gpu", "cuda:x", "cuda:", "cpu:1", "auto:0"] {
            assert!(text.parse::<DeviceName>().is_err(), "{text}");
        }
    }
}
