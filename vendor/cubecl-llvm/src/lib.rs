//! Stand-in for `cubecl-llvm`.
//!
//! `cubecl-cuda` depends on `cubecl-llvm` without condition, and that crate downloads a prebuilt
//! C++ LLVM in its build script. lithoburn compiles CUDA kernels with NVRTC instead (`cubecl`'s
//! feature `cuda-cpp`), so the LLVM path is never taken. This crate has the names that
//! `cubecl-cuda` mentions, and an error for whoever takes that path all the same.
//!
//! On an update of CubeCL, compare with the uses in `cubecl-cuda/src/{compiler,runtime}.rs` and
//! `src/compute/context.rs`.

use cubecl_core::ir::nvidia::SmArch;
use cubecl_core::prelude::KernelDefinition;
use cubecl_environment::backtrace::BackTrace;
use cubecl_server::compiler::CompilationError;
use cubecl_server::kernel::BufferIOAttr;

/// The compiler that is not here.
#[derive(Clone, Debug)]
pub struct PlironCompiler {
    /// What code would be made for.
    pub target: LlvmTarget,
}

impl PlironCompiler {
    /// Always an error that says which feature is missing.
    pub fn compile(
        &mut self,
        _kernel: KernelDefinition,
        _options: &PlironOptions,
    ) -> Result<PlironArtifact, CompilationError> {
        Err(CompilationError::Generic {
            reason: "this build has no LLVM: enable cubecl's feature `cuda-cpp`".to_string(),
            backtrace: BackTrace::capture(),
        })
    }

    /// Name of the language that would come out.
    pub fn lang_tag(&self) -> &'static str {
        "llvm"
    }
}

/// Targets of the real crate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LlvmTarget {
    /// NVIDIA's virtual instruction set.
    Nvptx,
}

/// Options of the real crate.
#[derive(Clone, Debug, Default)]
pub struct PlironOptions {
    /// Architecture by name.
    pub arch: Option<String>,
    /// Architecture by compute capability.
    pub sm_arch: Option<SmArch>,
    /// PTX version to emit.
    pub ptx_version: Option<nvptx::ptx_version::PtxVersion>,
    /// Whether parameters are grid constants.
    pub grid_constants: bool,
    /// Keeps `..Default::default()` meaningful for callers that name every field above.
    pub unused: (),
}

/// A compiled module of the real crate.
#[derive(Clone, Debug)]
pub struct NvptxModule {
    /// PTX text.
    pub ptx: Vec<std::ffi::c_char>,
    /// Name of the kernel's entry point.
    pub entrypoint: String,
    /// LLVM intermediate code, for logs.
    pub ir: String,
    /// Dynamic shared memory, in bytes.
    pub shared_memory_size: usize,
    /// What the kernel does with each buffer.
    pub io: Vec<BufferIOAttr>,
}

/// What the real compiler returns.
#[derive(Clone, Debug)]
pub enum PlironArtifact {
    /// Code for NVIDIA.
    NvptxCode(NvptxModule),
    /// Code for something else.
    Other,
}

/// NVIDIA's target.
pub mod nvptx {
    /// Versions of PTX.
    pub mod ptx_version {
        /// A PTX version, as the driver's version number.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct PtxVersion(i32);

        impl PtxVersion {
            /// The newest PTX that a driver loads. Unknown here, because nothing emits PTX.
            pub fn for_driver(_driver_version: i32) -> Option<Self> {
                None
            }
        }

        impl core::fmt::Display for PtxVersion {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    }
}

/// What the targets share.
pub mod shared {
    /// Features that LLVM's lowering lacks.
    pub mod lowered_features {
        use cubecl_core::ir::DeviceProperties;

        /// Families of GPU.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum GpuTarget {
            /// NVIDIA.
            Nvptx,
        }

        /// The C++ path has every feature, so nothing is taken away.
        pub fn restrict_features(_properties: &mut DeviceProperties, _target: GpuTarget) {}
    }
}
