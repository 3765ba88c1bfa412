//! What computes here, what would be chosen, and what is missing.

use std::path::Path;

use anyhow::Result;
use lithoburn_pool::{DeviceName, cache, choose, survey};

use crate::Verdict;
use lithoburn_terminal::{say, table};

/// Runs the job.
///
/// # Errors
///
/// None in practice: the CPU is always there.
pub fn devices() -> Result<Verdict> {
    let found = survey();
    let row = |c: &lithoburn_pool::Candidate| {
        vec![c.name.to_string(), c.kind.describe().to_string(), c.card.clone()]
    };
    say(false, &table(&["device", "kind", "card"], &found.iter().map(row).collect::<Vec<_>>()));
    let chosen = choose(DeviceName::Auto)?;
    say(false, &format!("auto would choose {} ({}): {}", chosen.name, chosen.card, chosen.reason));
    for line in advice(&found) {
        say(false, &line);
    }
    match cache::folder() {
        Some(file) => {
            say(false, &format!("kernel cache: {} ({} moves it)", file.display(), cache::VARIABLE))
        }
        None => say(false, &format!("kernel cache: off ({}=off)", cache::VARIABLE)),
    }
    Ok(Verdict::Done)
}

/// What is missing for a GPU to be used, and how to get it.
fn advice(found: &[lithoburn_pool::Candidate]) -> Vec<String> {
    let has = |family: &str| found.iter().any(|c| c.name.to_string().starts_with(family));
    let mut lines = Vec::new();
    if !has("cuda") {
        lines.push(
            "CUDA: no NVIDIA driver was found. Install NVIDIA's driver (nvidia-smi must work)."
                .into(),
        );
    }
    if !nvrtc() {
        lines.push("CUDA: NVRTC was not found. It comes with the CUDA toolkit (libnvrtc.so, nvrtc64_*.dll).".into());
    }
    if !headers() {
        lines.push(
            "CUDA: its headers were not found. Install the CUDA toolkit and set CUDA_PATH to it."
                .into(),
        );
    }
    if !has("vulkan") {
        lines.push("Vulkan: no adapter. Install a loader and a driver (Debian: libvulkan1 mesa-vulkan-drivers).".into());
    }
    lines
}

/// Where the CUDA toolkit may be.
fn toolkits() -> Vec<std::path::PathBuf> {
    let variable = std::env::var_os("CUDA_PATH").map(std::path::PathBuf::from);
    let usual = ["/usr/local/cuda", "/opt/cuda", "/usr"].map(std::path::PathBuf::from);
    variable.into_iter().chain(usual).collect()
}

fn headers() -> bool {
    toolkits().iter().any(|root| root.join("include/cuda_runtime.h").exists())
}

fn nvrtc() -> bool {
    let named = |folder: &Path| {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries.map(|e| e.file_name()).any(|name| {
            let name = name.to_string_lossy().into_owned();
            name.starts_with("libnvrtc.so") || name.starts_with("nvrtc64")
        })
    };
    let inside = ["lib64", "lib", "bin", "lib/x86_64-linux-gnu", "targets/x86_64-linux/lib"];
    let folders = toolkits().into_iter().flat_map(|root| inside.map(|sub| root.join(sub)));
    let path = std::env::var_os("LD_LIBRARY_PATH").unwrap_or_default();
    folders.chain(std::env::split_paths(&path)).any(|folder| named(&folder))
}
