//! The kernel cache: compiled code, kept across runs.
//!
//! The first use of a shape on a GPU costs seconds of compiling. The results
//! are kept in the user's cache directory, in one folder per card model and driver, so that a cache
//! made on one card is never trusted on another. Processes share it: what one compiles, those beside it
//! find. What a graphics driver compiles lies beside them ([`super::prepare_graphics`]).
//! `LITHOBURN_CACHE` names another directory; set to `off`, nothing is kept.

use std::path::PathBuf;
#[cfg(feature = "gpu")]
use std::sync::{Mutex, PoisonError};

use burn::tensor::Device;
#[cfg(feature = "gpu")]
use cubecl::config::{CubeClRuntimeConfig, RuntimeConfig};
#[cfg(feature = "gpu")]
use cubecl::environment;

#[cfg(feature = "cuda")]
use super::context;
use super::graphics;
#[cfg(feature = "cuda")]
use super::name::DeviceName;
#[cfg(feature = "cuda")]
use super::visible;

/// The variable that moves the cache or turns it off.
pub const VARIABLE: &str = "LITHOBURN_CACHE";

/// Directory of the cache, unless it is off.
pub fn directory() -> Option<PathBuf> {
    match std::env::var_os(VARIABLE) {
        Some(value) if value == "off" => None,
        Some(value) => Some(PathBuf::from(value)),
        None => directories::ProjectDirs::from("", "", "lithoburn")
            .map(|dirs| dirs.cache_dir().join("kernels")),
    }
}

/// Prepares the cache. Call it before any device is touched; a later call changes nothing.
pub fn prepare() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        configure();
        graphics::make_folder();
    });
}

#[cfg(feature = "gpu")]
fn configure() {
    let mut config = CubeClRuntimeConfig::default();
    config.compilation.cache = directory().is_some();
    CubeClRuntimeConfig::set(config);
    // Even with the cache off, nothing may be written into the working folder.
    let off = || std::env::temp_dir().join(format!("lithoburn-{}", std::process::id()));
    environment::set_root(directory().unwrap_or_else(off));
}

/// The CPU compiles nothing as it runs.
#[cfg(not(feature = "gpu"))]
fn configure() {}

/// Switches to the folder of a device's card. Its name and what code is compiled for are the key. A switch drops the kernels that all
/// cards have loaded: cards of one kind share a folder, and only the first of them switches.
#[cfg(feature = "gpu")]
pub fn activate(device: &Device) {
    if let Some(identity) = device.identity() {
        switch(&identity.name, &identity.fingerprint);
    }
}

/// The same for a CUDA card that is not opened yet; whether there is one of that name.
#[cfg(feature = "cuda")]
pub fn activate_card(device: &str) -> bool {
    prepare();
    let known = device.parse().ok().and_then(DeviceName::card).and_then(visible::place);
    let known = known.and_then(context::known);
    known.inspect(|(name, fingerprint)| switch(name, fingerprint)).is_some()
}

/// Without CUDA there is none.
#[cfg(not(feature = "cuda"))]
pub fn activate_card(_device: &str) -> bool {
    false
}

#[cfg(feature = "gpu")]
fn switch(name: &str, fingerprint: &str) {
    static SWITCH: Mutex<()> = Mutex::new(());
    let _one_at_a_time = SWITCH.lock().unwrap_or_else(PoisonError::into_inner);
    let folder = slug(&format!("{name}-{fingerprint}-{}", env!("CARGO_PKG_VERSION")));
    if *environment::active() != *folder {
        environment::activate(folder);
    }
}

/// The CPU keeps nothing.
#[cfg(not(feature = "gpu"))]
pub fn activate(_device: &Device) {}

/// The folder in use, if anything is kept.
pub fn folder() -> Option<PathBuf> {
    #[cfg(feature = "gpu")]
    return directory().map(|_| environment::path());
    #[cfg(not(feature = "gpu"))]
    None
}

#[cfg(any(feature = "gpu", test))]
fn slug(text: &str) -> String {
    let keep = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    let mut words = text.chars().map(keep).collect::<String>();
    while words.contains("--") {
        words = words.replace("--", "-");
    }
    words.trim_matches('-').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_card_of_this_machine_has_no_folder_before_it_is_opened() {
        assert!(["cpu", "vulkan", "cuda:99", "nothing"].iter().all(|name| !activate_card(name)));
    }

    #[test]
    fn a_card_makes_a_folders_name() {
        assert_eq!(
            slug("NVIDIA H200 (141 GB)-ptx_sm90-0.1.0"),
            "nvidia-h200-141-gb-ptx-sm90-0-1-0"
        );
    }
}
