//! A network's files, read once and checked against their sum.

use std::borrow::Cow;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use burn::module::Module;
use burn::store::ModuleSnapshot;

use super::{CONFIG, FILE, SUMS, WeightsError, hash_of, load_bytes};
use crate::config::Configuration;

/// The two files of a network, as they are on disk or in the program.
#[derive(Debug)]
pub struct Stored {
    /// What they are called, in messages.
    names: [PathBuf; 2],
    config: Cow<'static, [u8]>,
    tensors: Cow<'static, [u8]>,
    /// SHA-256 of the tensors' file, in hexadecimal.
    pub sha256: String,
}

/// What tells two versions of a folder's files apart.
type Version = (PathBuf, [(Option<SystemTime>, u64); 2]);

/// The folder that was read last. Its workers load it one after the other.
static LAST: Mutex<Option<(Version, Arc<Stored>)>> = Mutex::new(None);

fn version(directory: &Path) -> Version {
    let stamp = |file: &str| {
        let about = std::fs::metadata(directory.join(file)).ok();
        about.map_or((None, 0), |about| (about.modified().ok(), about.len()))
    };
    (directory.to_path_buf(), [CONFIG, FILE].map(stamp))
}

impl Stored {
    /// The files of a folder, compared with the sum that is listed for them. They are read again only if they have changed.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Read`] and [`WeightsError::Sum`].
    pub fn read(directory: &Path) -> Result<Arc<Self>, WeightsError> {
        let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = version(directory);
        let stored = match last.take() {
            Some((version, stored)) if version == wanted => stored,
            _ => Arc::new(Self::read_anew(directory)?),
        };
        check_sum(directory, &stored.names[1], &stored.sha256)?;
        *last = Some((wanted, Arc::clone(&stored)));
        Ok(stored)
    }

    fn read_anew(directory: &Path) -> Result<Self, WeightsError> {
        let names = [CONFIG, FILE].map(|file| directory.join(file));
        let (config, tensors) = (read(&names[0])?, read(&names[1])?);
        let sha256 = hash_of(&tensors);
        Ok(Self { names, config: config.into(), tensors: tensors.into(), sha256 })
    }

    /// Files that are part of the program.
    pub fn built_in(config: &'static [u8], tensors: &'static [u8]) -> Self {
        let names = [(); 2].map(|()| PathBuf::from("built-in weights"));
        Self { names, config: config.into(), tensors: tensors.into(), sha256: hash_of(tensors) }
    }

    /// Files in memory.
    pub fn of(config: &[u8], tensors: &[u8]) -> Self {
        let names = [(); 2].map(|()| PathBuf::from("weights in memory"));
        let sha256 = hash_of(tensors);
        let (config, tensors) = (config.to_vec().into(), tensors.to_vec().into());
        Self { names, config, tensors, sha256 }
    }

    /// The network of these files: what `init` makes of the configuration, with their tensors.
    ///
    /// # Errors
    ///
    /// [`WeightsError::Config`] if the configuration is none of this architecture, [`WeightsError::Tensors`] if the tensors
    /// are not its.
    pub(crate) fn network<C: Configuration, M: Module + ModuleSnapshot>(
        &self,
        init: impl FnOnce(&C) -> M,
    ) -> Result<M, WeightsError> {
        let [config, tensors] = &self.names;
        let mut network = init(&parsed(config, &self.config)?);
        load_bytes(&mut network, tensors, self.tensors.to_vec())?;
        Ok(network)
    }
}

/// A `config.json` of the wanted architecture, every field in its range; `path` is named in errors.
fn parsed<C: Configuration>(path: &Path, bytes: &[u8]) -> Result<C, WeightsError> {
    let wrong = |problem: String| WeightsError::Config { path: path.to_path_buf(), problem };
    let json: serde_json::Value =
        serde_json::from_slice(bytes).map_err(|e| wrong(format!("it is not JSON: {e}")))?;
    let found = json["architecture"].as_str().unwrap_or("none");
    if found != C::ARCHITECTURE {
        return Err(wrong(format!("expected architecture {:?}, got {found:?}", C::ARCHITECTURE)));
    }
    // With the field's name, which serde_json alone does not tell.
    let config: C = serde_path_to_error::deserialize(json).map_err(|e| wrong(e.to_string()))?;
    config.check().map_err(wrong)?;
    Ok(config)
}

/// Compares with the sum that the directory, or the one above it, has for the file, if there is one.
fn check_sum(directory: &Path, path: &Path, found: &str) -> Result<(), WeightsError> {
    let full = directory.canonicalize().unwrap_or_else(|_| directory.to_path_buf());
    let own = full.file_name().map_or(FILE.into(), |name| format!("{}/{FILE}", name.display()));
    let above = full.parent().map(|above| listed(&above.join(SUMS), &own)).transpose()?.flatten();
    match listed(&full.join(SUMS), FILE)?.or(above) {
        Some(expected) if expected != found => {
            let (path, found) = (path.to_path_buf(), found.to_string());
            Err(WeightsError::Sum { path, expected, found })
        }
        _ => Ok(()),
    }
}

/// The sum of a file in a list of sums; none if there is no such list.
fn listed(sums: &Path, name: &str) -> Result<Option<String>, WeightsError> {
    let text = match std::fs::read_to_string(sums) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|e| WeightsError::Read(sums.to_path_buf(), e))?,
    };
    let line = |line: &str| {
        let (sum, file) = line.split_once(char::is_whitespace)?;
        (file.trim_start_matches([' ', '*']) == name).then(|| sum.to_lowercase())
    };
    Ok(text.lines().find_map(line))
}

fn read(path: &Path) -> Result<Vec<u8>, WeightsError> {
    std::fs::read(path).map_err(|e| WeightsError::Read(path.to_path_buf(), e))
}
