//! What graphics drivers find in the process's environment.
//!
//! NVIDIA's driver keeps the kernels that it compiles, but not for programs that run as root, as they do in containers: a run by Vulkan
//! compiled for ten to twenty seconds there, every time. Here it is told to, and where: in a folder of [our own cache](super::cache).

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};

use super::cache;

/// A folder without which Wayland's client library prints an error for every display that it looks for.
const DISPLAYS: &str = "XDG_RUNTIME_DIR";
/// Whether NVIDIA's driver keeps what it compiles.
const KEEPS: &str = "__GL_SHADER_DISK_CACHE";
/// In which folder, which it does not make itself.
const WHERE: &str = "__GL_SHADER_DISK_CACHE_PATH";

/// Lets graphics drivers keep their kernels in the [kernel cache](super::cache), and spares users of machines without a desktop the
/// complaints of graphics libraries. What a user has set stays as it is.
///
/// Call it first in `main`, before any thread is started. Processes that this one starts find the same.
#[allow(unsafe_code, reason = "the only way to set a variable; sound while there is one thread")]
pub fn prepare_graphics() {
    if cfg!(target_os = "linux") {
        for (name, value) in missing(folder(), |name| std::env::var_os(name).is_some()) {
            // SAFETY: documented above; nothing else reads or writes the environment now.
            unsafe { std::env::set_var(name, value) };
        }
    }
}

/// Variables that are to be set, where drivers keep kernels in `folder`, if anywhere.
fn missing(
    folder: Option<PathBuf>,
    is_set: impl Fn(&str) -> bool,
) -> Vec<(&'static str, OsString)> {
    let mut all = vec![(DISPLAYS, std::env::temp_dir().into_os_string())];
    if let Some(folder) = folder {
        all.extend([(KEEPS, "1".into()), (WHERE, folder.into_os_string())]);
    }
    all.retain(|(name, _)| !is_set(name));
    all
}

/// Where drivers keep kernels, unless nothing is kept.
fn folder() -> Option<PathBuf> {
    cache::directory().map(|cache| cache.join("driver"))
}

/// Makes the folder that drivers were told. Without it they keep nothing.
pub(super) fn make_folder() {
    let told = std::env::var_os(WHERE);
    if let Some(folder) = folder().filter(|folder| told.as_deref().map(Path::new) == Some(folder)) {
        let _ = std::fs::create_dir_all(folder);
    }
}

/// Whether this process has a graphics driver's device that works.
static USED: AtomicBool = AtomicBool::new(false);

/// Notes that there is such a device.
pub(super) fn use_it() {
    USED.store(true, Ordering::Relaxed);
}

/// Whether this process has had a graphics driver's device that works. Its driver writes kernels that it keeps on a thread of its own, and
/// has written all when the process ends as libraries expect, by `exit`.
pub fn has_used_graphics() -> bool {
    USED.load(Ordering::Relaxed)
}

/// Leaves the driver's kept kernels to this process: one that opens the device at the same time for a short test must not hold them.
pub(super) fn keep_none(process: &mut Command) {
    process.env(KEEPS, "0");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: Option<&str>, set: &[&str]) -> Vec<&'static str> {
        let missing = missing(folder.map(PathBuf::from), |name| set.contains(&name));
        missing.into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn a_driver_is_told_to_keep_kernels_and_where() {
        let told = missing(Some("kernels/driver".into()), |name| name == DISPLAYS);
        assert_eq!(told, [(KEEPS, "1".into()), (WHERE, "kernels/driver".into())]);
    }

    #[test]
    fn a_tests_process_leaves_kept_kernels_alone() {
        let mut process = Command::new("test");
        keep_none(&mut process);
        let set: Vec<_> = process.get_envs().collect();
        assert_eq!(set, [(std::ffi::OsStr::new(KEEPS), Some(std::ffi::OsStr::new("0")))]);
    }

    #[test]
    fn what_a_user_has_set_stays_and_a_cache_that_is_off_is_off_for_drivers_too() {
        assert_eq!(names(Some("a"), &[KEEPS]), [DISPLAYS, WHERE]);
        assert_eq!(names(Some("a"), &[WHERE, DISPLAYS]), [KEEPS]);
        assert_eq!(names(None, &[]), [DISPLAYS]);
    }
}
