//! A repository of weights: `models/NAME/VERSION/` with `config.json` and `model.safetensors`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use lithoburn_engine::{Model, ModelSettings, Part, load_network};
use lithoburn_models::weights::Stored;
use lithoburn_pool::{DeviceName, choose};
use serde::Deserialize;

use super::catalogue::{Described, described};

/// What a folder's `config.json` says it is.
#[derive(Deserialize)]
struct Architecture {
    architecture: String,
    fast: Option<serde_json::Value>,
}

/// Every version of every model below a folder: of a network the method and, with `-network` at its end, the network alone.
///
/// A folder with models in `models/` may be named, or `models/` itself.
pub(crate) fn repository(folder: &Path) -> Result<Vec<Described>> {
    let inner = folder.join("models");
    let root = if inner.is_dir() { inner } else { folder.to_path_buf() };
    let mut found = Vec::new();
    for model in folders(&root)? {
        let name = named(&model)?;
        for version in folders(&model)? {
            let number = version.file_name().and_then(|name| name.to_str()?.parse().ok());
            let number: u64 = number.filter(|&n| n > 0).with_context(|| {
                format!("{}: expected a version, a whole number from 1 on", version.display())
            })?;
            found.extend(of_weights(&name, number, &version)?);
        }
    }
    match found.is_empty() {
        true => bail!(
            "{}: no model; expected NAME/VERSION/config.json and model.safetensors",
            root.display()
        ),
        false => Ok(found),
    }
}

fn of_weights(name: &str, version: u64, folder: &Path) -> Result<Vec<Described>> {
    let model = architecture(folder)?;
    // Damage shows now, and not on a device's thread.
    match model.network() {
        Some(method) => drop(load_network(method, Some(folder), &choose(DeviceName::Cpu)?.device)?),
        None => drop(Stored::read(folder)?),
    }
    let settings = ModelSettings { weights: Some(folder.to_path_buf()), ..model.into() };
    let mut parts = vec![described(name, version, Part::Method, settings.clone(), None)?];
    if model.network().is_some() {
        parts.push(described(&format!("{name}-network"), version, Part::Network, settings, None)?);
    }
    Ok(parts)
}

fn architecture(folder: &Path) -> Result<Model> {
    let path = folder.join("config.json");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let config: Architecture = serde_json::from_str(&text)
        .with_context(|| format!("{} does not say its architecture", path.display()))?;
    Ok(match (config.architecture.as_str(), config.fast) {
        ("neural-ilt", None) => Model::NeuralIlt,
        ("neural-ilt", Some(_)) => Model::NeuralIltFast,
        ("gan-opc", _) => Model::GanOpc,
        ("surrogate-ilt", _) => Model::SurrogateIlt,
        (other, _) => bail!(
            "{}: no architecture {other:?}; expected neural-ilt, gan-opc or surrogate-ilt",
            path.display()
        ),
    })
}

/// Folders in a folder, in order; hidden ones are nobody's.
fn folders(path: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let hidden = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
    };
    let all = entries.flatten().map(|entry| entry.path());
    let mut folders: Vec<PathBuf> = all.filter(|path| path.is_dir() && !hidden(path)).collect();
    folders.sort();
    Ok(folders)
}

/// A name that an address can hold.
fn named(folder: &Path) -> Result<String> {
    let name =
        folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    match name.chars().all(plain) && !name.is_empty() {
        true => Ok(name),
        false => {
            bail!("{}: a model's name is of letters, digits, '.', '_' and '-'", folder.display())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../weights").join(name)
    }

    fn copy(from: &Path, to: &Path) {
        fs::create_dir_all(to).expect("a folder");
        for file in ["config.json", "model.safetensors"] {
            fs::copy(from.join(file), to.join(file)).expect("copied");
        }
    }

    #[test]
    fn every_version_of_every_model_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        let models = folder.path().join("models");
        copy(&weights("neural-ilt-fast"), &models.join("ours/1"));
        copy(&weights("neural-ilt-fast"), &models.join("ours/12"));
        copy(&weights("surrogate-ilt"), &models.join("learned/3"));
        fs::create_dir_all(models.join(".git")).expect("a folder");
        for root in [folder.path(), &models] {
            let found = repository(root).expect("three versions");
            let names: Vec<_> =
                found.iter().map(|model| (model.name.as_str(), model.version)).collect();
            let wanted = [
                ("learned", 3),
                ("ours", 1),
                ("ours-network", 1),
                ("ours", 12),
                ("ours-network", 12),
            ];
            assert_eq!(names, wanted);
        }
    }

    #[test]
    fn what_is_no_model_is_named_by_its_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let refused = |wanted: &str| {
            let error = format!("{:#}", repository(folder.path()).expect_err(wanted));
            assert!(error.contains(wanted), "{error}");
        };
        refused("no model");
        fs::create_dir_all(folder.path().join("ours/latest")).expect("a folder");
        refused("expected a version");
        fs::rename(folder.path().join("ours/latest"), folder.path().join("ours/1")).expect("moved");
        refused("config.json");
        copy(&weights("neural-ilt-fast"), &folder.path().join("ours/1"));
        fs::write(folder.path().join("ours/1/config.json"), "{\"architecture\": \"other\"}")
            .expect("written");
        refused("no architecture \"other\"");
        copy(&weights("neural-ilt-fast"), &folder.path().join("ours/1"));
        fs::write(folder.path().join("ours/1/model.safetensors"), "short").expect("written");
        refused("model.safetensors");
        fs::create_dir_all(folder.path().join("a name/1")).expect("a folder");
        refused("a model's name");
    }
}
