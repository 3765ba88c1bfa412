//! When kernels ran, for profiles.
//!
//! Each launch is put between two marks in its stream, and read when all is over, so that kernels go on to run back to back.

use std::time::Duration;

#[cfg(feature = "gpu")]
pub use watched::KernelTimes;

/// A kernel that ran.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelTime {
    /// Its name.
    pub name: String,
    /// The thread that launched it.
    pub thread: String,
    /// When it began, since [`KernelTimes::start`].
    pub start: Duration,
    /// How long it took.
    pub took: Duration,
}

/// A program without GPUs has no kernels.
#[cfg(not(feature = "gpu"))]
#[derive(Debug)]
pub struct KernelTimes;

#[cfg(not(feature = "gpu"))]
impl KernelTimes {
    /// Notes nothing.
    pub fn start() -> Self {
        Self
    }

    /// Nothing ran.
    pub fn end(self) -> Vec<KernelTime> {
        Vec::new()
    }
}

#[cfg(feature = "gpu")]
mod watched {
    use std::sync::{Arc, Mutex, PoisonError};
    use std::time::Instant;

    use cubecl::future::block_on;
    use cubecl::logging::{LaunchObservation, LaunchObserver, ProfileDuration, TimingRequest};

    use super::{KernelTime, short};

    /// Notes when kernels run, of all devices that CubeCL computes with, until it is ended.
    #[derive(Debug)]
    pub struct KernelTimes {
        observation: LaunchObservation,
        launches: Arc<Launches>,
        began: Instant,
    }

    struct Launch {
        kernel: &'static str,
        thread: String,
        profile: ProfileDuration,
    }

    #[derive(Default)]
    struct Launches(Mutex<Vec<Launch>>);

    impl std::fmt::Debug for Launches {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Launches").finish_non_exhaustive()
        }
    }

    impl LaunchObserver for Launches {
        fn launched(&self, _kernel: &'static str) {}

        fn timing(&self) -> TimingRequest {
            TimingRequest::Deferred
        }

        fn profiled(&self, kernel: &'static str, profile: ProfileDuration) {
            let thread = std::thread::current().name().unwrap_or("unnamed").to_string();
            let launch = Launch { kernel, thread, profile };
            // Nothing panics while it holds the lock.
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(launch);
        }
    }

    impl KernelTimes {
        /// Notes from now on.
        pub fn start() -> Self {
            let launches = Arc::new(Launches::default());
            let observation = LaunchObservation::new(launches.clone());
            Self { observation, launches, began: Instant::now() }
        }

        /// What ran until now, in the order of launches; waits for what still runs.
        pub fn end(self) -> Vec<KernelTime> {
            let Self { observation, launches, began } = self;
            drop(observation);
            let launches =
                std::mem::take(&mut *launches.0.lock().unwrap_or_else(PoisonError::into_inner));
            let time = |Launch { kernel, thread, profile }: Launch| {
                let ticks = block_on(profile.resolve())?;
                let start = ticks.start_duration_since(began);
                Some(KernelTime { name: short(kernel), thread, start, took: ticks.duration() })
            };
            launches.into_iter().filter_map(time).collect()
        }
    }
}

/// A kernel's name without its crates and types.
#[cfg(any(feature = "gpu", test))]
fn short(kernel: &str) -> String {
    let path = kernel.split('<').next().unwrap_or(kernel);
    let parts: Vec<&str> = path.split("::").collect();
    parts[parts.len().saturating_sub(2)..].join("::")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_the_kernels_alone() {
        let name = "lithoburn_litho::ilt::steps::kernels::product::Product<cubecl_cuda::Runtime>";
        assert_eq!(short(name), "product::Product");
        assert_eq!(short("alone"), "alone");
    }
}
