//! What tests need that not every machine has: reference data, a GPU.
//!
//! A test without what it needs ends early, which the test runner takes for a pass. So it says *skipped* on stderr, past the runner's
//! capture, with a number that counts the skipped tests of this program:
//!
//! ```text
//! skipped 3: golden::the_u_net_is_neural_ilts: no reference data at ../shared/golden/nn/nn_formula_init.npz
//! ```
//!
//! Where they must not be missing, `LITHOBURN_REQUIRE=reference,gpu` makes a failure of it.
//!
//! ```no_run
//! # fn open() -> Option<u32> { None }
//! use lithoburn_testing::{Need, reference};
//!
//! let Some(clip) = reference("iccad13/M1_test1.glp") else { return };
//! let Some(card) = Need::Gpu.met(open(), "no device computes kernels here") else { return };
//! ```

use std::fmt::Display;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Names the needs whose absence is a failure, separated by commas.
pub const REQUIRE: &str = "LITHOBURN_REQUIRE";
/// Names the folder of the reference data; by default it is `shared`, beside the repository.
pub const REFERENCE: &str = "LITHOBURN_REFERENCE";

/// Names of the tests of this program that were skipped.
static SKIPPED: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// What a test may need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Data of other codes to compare with.
    Reference,
    /// A device that computes kernels: a card, or OpenGL by software.
    Gpu,
    /// The registry of crates, which Cargo asks what a dependent would build.
    Registry,
    /// Two CUDA cards that copy to each other by NCCL.
    Cards,
    /// Programs of others: a C compiler, Prometheus, real clients of a server, a browser.
    Tools,
    /// The program nats-server, on the path or where NATS_SERVER says.
    Nats,
    /// Slurm's daemons, and the right to start them.
    Slurm,
    /// The right to make a network namespace.
    Namespace,
    /// A folder and a quarter of an hour in which to build a crate that depends on the library.
    Build,
}

impl Need {
    const ALL: [Self; 9] = [
        Self::Reference,
        Self::Gpu,
        Self::Registry,
        Self::Cards,
        Self::Tools,
        Self::Nats,
        Self::Slurm,
        Self::Namespace,
        Self::Build,
    ];

    /// Its name in [`REQUIRE`].
    fn name(self) -> &'static str {
        match self {
            Self::Reference => "reference",
            Self::Gpu => "gpu",
            Self::Registry => "registry",
            Self::Cards => "cards",
            Self::Tools => "tools",
            Self::Nats => "nats",
            Self::Slurm => "slurm",
            Self::Namespace => "namespace",
            Self::Build => "build",
        }
    }

    /// What was found. If nothing was, the test says that it is skipped, and `why`.
    ///
    /// # Panics
    ///
    /// If nothing was found and [`REQUIRE`] lists this need, or a word that is none.
    #[must_use]
    pub fn met<T>(self, found: Option<T>, why: impl Display) -> Option<T> {
        let list = std::env::var(REQUIRE).unwrap_or_default();
        self.met_under(&list, found, why)
    }

    fn met_under<T>(self, list: &str, found: Option<T>, why: impl Display) -> Option<T> {
        let required = required(list).unwrap_or_else(|problem| panic!("{problem}"));
        if found.is_none() {
            assert!(!required.contains(&self), "{why}, and {REQUIRE} lists {:?}", self.name());
            say_skipped(why);
        }
        found
    }
}

/// The needs of a list.
fn required(list: &str) -> Result<Vec<Need>, String> {
    let need = |word: &str| {
        let known = Need::ALL.into_iter().find(|need| need.name() == word);
        let names = Need::ALL.map(Need::name).join(", ");
        known.ok_or_else(|| format!("{REQUIRE} lists {word:?}; expected some of {names}"))
    };
    list.split(',').map(str::trim).filter(|word| !word.is_empty()).map(need).collect()
}

/// The thread of a runner that runs one test at a time; else a test's thread has its name.
const ALONE: &str = "main";

/// Straight to stderr, once a test: what a passing test prints by `eprintln!` is captured and never shown.
fn say_skipped(why: impl Display) {
    let thread = std::thread::current();
    let test = thread.name().unwrap_or(ALONE);
    let mut skipped = SKIPPED.lock().unwrap_or_else(PoisonError::into_inner);
    if test == ALONE || !skipped.iter().any(|other| other == test) {
        skipped.push(test.to_string());
        // A closed stderr is no failure of the test.
        let _ = writeln!(std::io::stderr(), "skipped {}: {test}: {why}", skipped.len());
    }
}

/// A file of the reference data, if it is here; otherwise the test says that it is skipped.
///
/// # Panics
///
/// As [`Need::met`].
#[must_use]
pub fn reference(name: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared");
    let path = std::env::var_os(REFERENCE).map_or_else(beside, PathBuf::from).join(name);
    let why = format!("no reference data at {}", path.display());
    Need::Reference.met(path.exists().then_some(path), why)
}

/// Defines `fn NAME() -> Option<Device>`: the device on which tests of kernels run, opened once a program. OpenGL, which Mesa
/// computes without a card, or what `LITHOBURN_TEST_DEVICE` names, `cuda` or `vulkan`; a test without it says that it is skipped.
///
/// A program that opened OpenGL twice might find none the second time, or end; so a crate says this in one place, with a visibility before the name
/// if its tests are in several.
///
/// A macro, because Burn and its devices are those of the crate under test: this one is built without it.
#[macro_export]
macro_rules! test_device {
    ($visibility:vis $name:ident) => {
        $visibility fn $name() -> Option<::burn::tensor::Device> {
            use ::burn::tensor::{Device, DeviceKind, Tensor};
            static DEVICE: ::std::sync::OnceLock<Option<Device>> = ::std::sync::OnceLock::new();
            let open = || match ::std::env::var("LITHOBURN_TEST_DEVICE").as_deref() {
                Ok("cuda") => Some(Device::cuda(0)),
                Ok("vulkan") => Some(Device::vulkan(DeviceKind::DefaultDevice)),
                _ => Device::wgpu_options()
                    .graphics_api(::burn::backend::WgpuBackend::Gl)
                    .init()
                    .ok(),
            };
            let works = |device: Device| {
                let sum = Tensor::<1>::ones([8], &device).sum().try_into_vec_as::<f32>().ok()?;
                (sum == [8.0]).then_some(device)
            };
            let found = || {
                let opened = ::std::panic::AssertUnwindSafe(|| open().and_then(works));
                ::std::panic::catch_unwind(opened).ok().flatten()
            };
            let why = "no OpenGL here, and LITHOBURN_TEST_DEVICE names no device";
            $crate::Need::Gpu.met(DEVICE.get_or_init(found).clone(), why)
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::catch_unwind;

    fn counted() -> usize {
        SKIPPED.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    #[test]
    fn what_is_found_is_returned_and_a_test_without_it_is_counted() {
        assert_eq!(Need::Gpu.met_under("gpu", Some(7), "no card"), Some(7));
        assert_eq!(counted(), 0);
        assert_eq!(Need::Gpu.met_under::<u8>("reference", None, "no card"), None);
        assert_eq!(counted(), 1);
    }

    #[test]
    fn what_is_required_and_missing_is_a_failure_that_says_why() {
        let missing = || Need::Gpu.met_under::<u8>("reference, gpu", None, "no card");
        let panic = catch_unwind(missing).expect_err("fails");
        let text = panic.downcast_ref::<String>().expect("a message");
        assert!(text.contains("no card") && text.contains("\"gpu\""), "{text}");
    }

    #[test]
    fn a_word_that_is_no_need_is_refused() {
        assert_eq!(required(" gpu,reference,"), Ok(vec![Need::Gpu, Need::Reference]));
        assert!(required("gpus").expect_err("no need").contains("reference, gpu"));
    }
}
