//! What a device says of its matrix units.

use burn::tensor::{DType, Device};
#[cfg(feature = "gpu")]
use {
    burn::backend::DispatchDevice,
    cubecl::ir::features::{MmaConfig, Plane},
    cubecl::ir::{DeviceProperties, ElemType, FloatKind, UIntKind},
};

/// Pixels, output channels and input channels of one product of matrices.
pub(crate) const SIDE: usize = 16;
/// Units of a plane.
pub(crate) const PLANE: usize = 32;

/// Bytes of shared memory and units of a cube that the kernels take.
pub(super) const MOST_SHARED: usize = 48 << 10;
const MOST_UNITS: u32 = 4 * PLANE as u32;

/// How a device multiplies matrices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Means {
    /// What images and weights are in.
    pub(super) dtype: DType,
    /// Numbers that are read at once.
    pub(super) lanes: usize,
    /// Numbers between two pixels in shared memory.
    pub(super) pad: usize,
    /// Bytes of shared memory of a cube.
    pub(super) shared: usize,
    /// Whether images and weights are moved as words of 32 bits, two numbers each. Vulkan's vectors have four elements at most: of f16 they are
    /// 8 bytes, of words 16, as matrices are loaded.
    pub(super) words: bool,
    /// Whether units multiply number by number.
    pub(super) plain: bool,
}

impl Means {
    /// What a device reports, if it is enough.
    pub(super) fn of(device: &Device) -> Option<Self> {
        #[cfg(feature = "gpu")]
        if let DispatchDevice::Cube(device) = device.as_dispatch() {
            let client = device.client();
            return Self::reported(client.name() == "cuda", client.properties());
        }
        None
    }

    /// Products of 16 by 16 by 16 in f16 with sums in f32 by planes of 32 units. Not in bf16: Vulkan's compiler has it in memory alone, and
    /// CUDA's loads a fragment of it number by number.
    #[cfg(feature = "gpu")]
    pub(super) fn reported(cuda: bool, properties: &DeviceProperties) -> Option<Self> {
        let (hardware, features) = (&properties.hardware, &properties.features);
        let (side, planes) = (SIDE as u32, [hardware.plane_size_min, hardware.plane_size_max]);
        let [half, sums] = [FloatKind::F16, FloatKind::F32].map(ElemType::Float);
        let products =
            MmaConfig { a_type: half, b_type: half, cd_type: sums, m: side, n: side, k: side };
        let enough = features.matmul.cmma.contains(&products)
            && features.plane.contains(Plane::Sync)
            && planes == [PLANE as u32; 2]
            && hardware.max_shared_memory_size >= MOST_SHARED
            && hardware.max_units_per_cube >= MOST_UNITS;
        // CUDA's `wmma` wants pixels 32 bytes apart, Vulkan's 16.
        let pad = if cuda { 16 } else { 8 };
        enough.then_some(Self {
            dtype: DType::F16,
            lanes: 8,
            pad,
            shared: MOST_SHARED,
            words: !cuda,
            plain: false,
        })
    }

    /// The same without words, for a driver that does not load matrices from them; none where there are no words.
    pub(super) fn without_words(self) -> Option<Self> {
        self.words.then_some(Self { words: false, ..self })
    }

    /// What images and weights are in, in the kernels' language.
    #[cfg(feature = "gpu")]
    pub(super) fn element(self) -> ElemType {
        ElemType::Float(if self.dtype == DType::F16 { FloatKind::F16 } else { FloatKind::F32 })
    }

    /// What they are moved as, and how many of it at once.
    #[cfg(feature = "gpu")]
    pub(super) fn moved(self) -> (ElemType, usize) {
        match self.words {
            true => (ElemType::UInt(UIntKind::U32), self.lanes / 2),
            false => (self.element(), self.lanes),
        }
    }
}
