//! The job: everything that determines its result, in one file that is known by its hash.
//!
//! ```text
//! job/job.json      what is computed, of which inputs, by which program; its SHA-256 is the job's name
//! job/blocks.bin    the blocks and their items
//! job/NAME/…        ledger, results, events: of this job alone, whatever else becomes of the folder
//! ```

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::manifest::Manifest;
use crate::results::Results;
use crate::{Bucket, Digest, FarmError, files};

mod fetched;

/// The file that says what a job is.
pub const JOB: &str = "job.json";
/// The file with its blocks.
pub const BLOCKS: &str = "blocks.bin";
/// The version of both.
const VERSION: u32 = 1;

/// A file that the result depends on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Input {
    /// What it is for, in one word.
    pub role: String,
    /// Where it was when the job was planned: an absolute path, or a place in a bucket.
    pub path: PathBuf,
    /// What it must hold.
    pub sha256: Digest,
    /// Bytes.
    pub bytes: u64,
}

impl Input {
    /// A file as it is now.
    ///
    /// # Errors
    ///
    /// [`FarmError::Read`].
    pub fn of(role: &str, path: &Path) -> Result<Self, FarmError> {
        if let Some(place) = fetched::place(path) {
            return fetched::input(role, place);
        }
        let failed = |e| FarmError::Read(path.to_path_buf(), e);
        let path = path.canonicalize().map_err(failed)?;
        let bytes = std::fs::metadata(&path).map_err(failed)?.len();
        Ok(Self { role: role.into(), sha256: Digest::of_file(&path)?, bytes, path })
    }

    /// The file, if it still holds what it held.
    ///
    /// # Errors
    ///
    /// [`FarmError`] if it is not there, or changed.
    pub fn checked(&self) -> Result<PathBuf, FarmError> {
        let path = match fetched::place(&self.path) {
            Some(place) => fetched::copy(place, &self.sha256)?,
            None => self.path.clone(),
        };
        let found = Digest::of_file(&path)?;
        if found == self.sha256 {
            return Ok(path);
        }
        Err(FarmError::Damaged {
            path: self.path.clone(),
            problem: format!(
                "the {} changed since the job was planned (SHA-256 {}…, planned with {}…): plan again, or bring the old file back",
                self.role,
                found.short(),
                self.sha256.short()
            ),
        })
    }
}

/// What one program computes of one design.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Of this file's format.
    pub version: u32,
    /// For people.
    pub name: String,
    /// The program's version, for people.
    pub release: String,
    /// SHA-256 of the program's file: every worker must be the same.
    pub program: String,
    /// What else determines the result: weights, kernels, settings.
    pub fingerprint: Digest,
    /// Files that it is computed from.
    pub inputs: Vec<Input>,
    /// The program's own settings.
    pub settings: Value,
    /// Number of blocks.
    pub blocks: u64,
    /// Items in all blocks.
    pub items: u64,
    /// SHA-256 of the file with the blocks.
    pub manifest: Digest,
    /// What it may cost.
    pub cost: Cost,
    /// Seconds after which a block whose worker is not heard of goes to another one; all workers count with the same.
    pub lease_s: f64,
    /// The place in a bucket where the job and its results are; none if that is its folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
}

/// What a job may cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Items a second of one card, as stated or assumed.
    pub items_per_second: f64,
    /// Hours of such a card.
    pub card_hours: f64,
}

impl Cost {
    /// Of so many items.
    pub fn of(items: u64, items_per_second: f64) -> Self {
        Self { items_per_second, card_hours: items as f64 / items_per_second / 3600.0 }
    }
}

/// A job in its folder.
#[derive(Clone, Debug)]
pub struct Opened {
    /// What it is.
    pub job: Job,
    /// Its name: the SHA-256 of its file.
    pub id: Digest,
    folder: PathBuf,
    /// Its folder is a copy of this machine's own, of a job in a bucket.
    is_fetched: bool,
}

impl Job {
    /// How long a lease is.
    pub fn lease(&self) -> Duration {
        Duration::try_from_secs_f64(self.lease_s).unwrap_or(Duration::from_secs(30))
    }

    /// The version that this program writes.
    pub const VERSION: u32 = VERSION;

    /// Writes a job and its blocks into a folder, which is made if need be. The same job may be there already.
    ///
    /// # Errors
    ///
    /// [`FarmError::Refused`] if the folder has another job; [`FarmError::Write`].
    pub fn write(&self, folder: &Path, manifest: &[u8]) -> Result<Opened, FarmError> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|e| FarmError::Setting(format!("the job has no JSON: {e}")))?;
        let id = Digest::of(&text);
        files::make_folder(folder)?;
        let path = folder.join(JOB);
        if let Some(there) = files::read(&path)?
            && there != text
        {
            return Err(FarmError::Refused(format!(
                "{} is another job, {}…, and this one would be {}…: choose another --out, or delete that folder",
                folder.display(),
                Digest::of(&there).short(),
                id.short()
            )));
        }
        files::write_whole(&folder.join(BLOCKS), manifest)?;
        if let Some(store) = &self.store {
            let bucket = fetched::bucket(store)?.below(id.short());
            bucket.put(BLOCKS, manifest)?;
            bucket.put(JOB, &text)?;
        }
        // Last: a folder with a job has its blocks.
        files::write_whole(&path, &text)?;
        Opened::read(folder)
    }
}

impl Opened {
    /// Reads a job.
    ///
    /// # Errors
    ///
    /// [`FarmError`] if there is none, or it is not whole.
    pub fn read(folder: &Path) -> Result<Self, FarmError> {
        let fetched = fetched::place(folder).map(|place| fetched::job(place, &[BLOCKS, JOB]));
        let is_fetched = fetched.is_some();
        let folder = fetched.transpose()?.unwrap_or_else(|| folder.to_path_buf());
        let path = folder.join(JOB);
        let damaged = |problem: String| FarmError::Damaged { path: path.clone(), problem };
        let none = || damaged("there is no job: lithoburn farm plan makes one".into());
        let text = files::read(&path)?.ok_or_else(none)?;
        let value: Value = serde_json::from_slice(&text)
            .map_err(|e| damaged(format!("is not a job: {e}; plan it again")))?;
        let version = value.get("version").and_then(Value::as_u64);
        if version != Some(u64::from(VERSION)) {
            let found = version.map_or("none".into(), |v| v.to_string());
            return Err(damaged(format!(
                "has the format {found}, and this program reads {VERSION}: use the program that planned it"
            )));
        }
        let job: Job = serde_json::from_value(value)
            .map_err(|e| damaged(format!("is not a job: {e}; plan it again")))?;
        let folder = folder.canonicalize().map_err(|e| FarmError::Read(folder.clone(), e))?;
        Ok(Self { job, id: Digest::of(&text), folder, is_fetched })
    }

    /// Where workers without a server hand out blocks.
    ///
    /// # Errors
    ///
    /// [`FarmError::Setting`] if no other machine sees the job's folder.
    pub fn shared(&self, name: &str) -> Result<PathBuf, FarmError> {
        match self.is_fetched {
            false => Ok(self.own(name)),
            true => Err(FarmError::Setting(
                "a job in a bucket has no folder that machines share: name who hands out its blocks by --source nats://HOST:4222".into(),
            )),
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// A file or folder of this job alone.
    pub fn own(&self, name: &str) -> PathBuf {
        self.folder.join(self.id.short()).join(name)
    }

    /// Where results are.
    ///
    /// # Errors
    ///
    /// [`FarmError::Write`].
    pub fn results(&self) -> Result<Results, FarmError> {
        match &self.job.store {
            None => Results::open(&self.own("results")),
            Some(_) => Ok(Results::within(self.bucket()?.below("results"))),
        }
    }

    /// The place in a bucket of a job that is in one.
    fn bucket(&self) -> Result<Bucket, FarmError> {
        let store = self.job.store.as_deref().unwrap_or_default();
        Ok(fetched::bucket(store)?.below(self.id.short()))
    }

    /// Where other machines find the job.
    ///
    /// # Errors
    ///
    /// [`FarmError::Setting`] if it is in a bucket whose keys are not here.
    pub fn address(&self) -> Result<String, FarmError> {
        match &self.job.store {
            None => Ok(self.folder.display().to_string()),
            Some(_) => Ok(self.bucket()?.address()),
        }
    }

    /// The blocks.
    ///
    /// # Errors
    ///
    /// [`FarmError`] if the file is not the one that was planned.
    pub fn manifest(&self) -> Result<Manifest, FarmError> {
        let path = self.folder.join(BLOCKS);
        let bytes = std::fs::read(&path).map_err(|e| FarmError::Read(path.clone(), e))?;
        let damaged =
            |problem: &str| FarmError::Damaged { path: path.clone(), problem: problem.into() };
        if Digest::of(&bytes) != self.job.manifest {
            return Err(damaged("is not what was planned with job.json: plan the job again"));
        }
        let manifest = Manifest::of(bytes);
        let whole = manifest.filter(|manifest| manifest.len() == self.job.blocks);
        whole.ok_or_else(|| damaged("is no list of blocks: plan the job again"))
    }

    /// An input by its role, unchanged; none if the job has none.
    ///
    /// # Errors
    ///
    /// As [`Input::checked`].
    pub fn input(&self, role: &str) -> Result<Option<PathBuf>, FarmError> {
        self.job.inputs.iter().find(|input| input.role == role).map(Input::checked).transpose()
    }

    /// Whether a program may work for this job.
    ///
    /// # Errors
    ///
    /// [`FarmError::Refused`], with the reason.
    pub fn admit(&self, program: &str, fingerprint: &Digest) -> Result<(), FarmError> {
        let short = |hash: &str| hash.chars().take(16).collect::<String>();
        if self.job.program != program {
            return Err(FarmError::Refused(format!(
                "this worker is another build of the program ({}…) than planned the job ({}…, version {}): install that one here, or \
                 plan again",
                short(program),
                short(&self.job.program),
                self.job.release
            )));
        }
        if self.job.fingerprint != *fingerprint {
            return Err(FarmError::Refused(format!(
                "this worker has other weights, kernels or settings ({}…) than the job was planned with ({}…): bring the same files \
                 here (and the same LITHOBURN_KERNELS), or plan again",
                fingerprint.short(),
                self.job.fingerprint.short()
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::manifest::Block;

    /// A job of so many blocks of two items.
    pub(crate) fn toy(folder: &Path, blocks: u64) -> Opened {
        let block = |i| Block { at: [i as u32 % 7, i as u32 / 7], items: vec![2 * i, 2 * i + 1] };
        let manifest = Manifest::write(&(0..blocks).map(block).collect::<Vec<_>>());
        let job = Job {
            version: VERSION,
            name: "toy".into(),
            release: "0".into(),
            program: "p".repeat(64),
            fingerprint: Digest::of(b"settings"),
            inputs: Vec::new(),
            settings: Value::Null,
            blocks,
            items: 2 * blocks,
            manifest: Digest::of(&manifest),
            cost: Cost::of(2 * blocks, 2.0),
            lease_s: 30.0,
            store: None,
        };
        job.write(folder, &manifest).expect("writable")
    }

    #[test]
    fn a_job_is_read_as_it_was_planned_and_planning_it_again_changes_nothing() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = toy(folder.path(), 9);
        let again = toy(folder.path(), 9);
        assert_eq!((&first.id, &first.job), (&again.id, &again.job));
        let manifest = again.manifest().expect("whole");
        assert_eq!(manifest.block(8).expect("there").items, [16, 17]);
        assert!((again.job.cost.card_hours - 9.0 / 3600.0).abs() < 1e-12);
    }

    /// Each machine has a copy of its own: what one writes there no other one reads.
    #[test]
    fn a_job_of_a_bucket_has_no_folder_that_machines_share() {
        let folder = tempfile::tempdir().expect("a folder");
        let here = toy(folder.path(), 3);
        assert_eq!(here.shared("ledger").expect("shared"), here.own("ledger"));
        let error = Opened { is_fetched: true, ..here }.shared("ledger").expect_err("fetched");
        assert!(error.to_string().contains("--source nats://"), "{error}");
    }

    #[test]
    fn another_jobs_folder_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = toy(folder.path(), 9);
        let manifest = Manifest::write(&[]);
        let other = Job { blocks: 0, manifest: Digest::of(&manifest), ..first.job.clone() };
        let error = other.write(folder.path(), &manifest).expect_err("another job").to_string();
        assert!(error.contains(first.id.short()) && error.contains("--out"), "{error}");
        assert_eq!(Opened::read(folder.path()).expect("whole").id, first.id);
        assert!(Opened::read(folder.path()).expect("whole").manifest().is_ok());
    }

    #[test]
    fn what_is_no_job_or_was_changed_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let said = |folder: &Path| Opened::read(folder).expect_err("no job").to_string();
        assert!(said(folder.path()).contains("farm plan"));
        let job = toy(folder.path(), 3);
        let text = std::fs::read_to_string(folder.path().join(JOB)).expect("read");
        std::fs::write(folder.path().join(JOB), &text[..text.len() / 2]).expect("cut");
        assert!(said(folder.path()).contains("not a job"));
        let newer = text.replace("\"version\": 1", "\"version\": 2");
        std::fs::write(folder.path().join(JOB), newer).expect("changed");
        assert!(said(folder.path()).contains("format 2"));
        let mut bytes = std::fs::read(folder.path().join(BLOCKS)).expect("read");
        bytes[20] ^= 1;
        std::fs::write(folder.path().join(BLOCKS), bytes).expect("changed");
        let error = job.manifest().expect_err("changed").to_string();
        assert!(error.contains("blocks.bin") && error.contains("planned"), "{error}");
    }

    #[test]
    fn a_worker_of_another_build_or_with_other_weights_is_refused_with_the_reason() {
        let folder = tempfile::tempdir().expect("a folder");
        let job = toy(folder.path(), 3);
        let ours = "p".repeat(64);
        assert!(job.admit(&ours, &Digest::of(b"settings")).is_ok());
        let build = job.admit(&"q".repeat(64), &Digest::of(b"settings")).expect_err("refused");
        assert!(build.to_string().contains("another build"), "{build}");
        let weights = job.admit(&ours, &Digest::of(b"others")).expect_err("refused");
        assert!(weights.to_string().contains("weights"), "{weights}");
    }

    #[test]
    fn an_input_that_changed_or_is_gone_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("chip.oas");
        std::fs::write(&path, b"one").expect("written");
        let input = Input::of("layout", &path).expect("there");
        assert!(input.checked().is_ok());
        std::fs::write(&path, b"two").expect("written");
        let error = input.checked().expect_err("changed").to_string();
        assert!(error.contains("chip.oas") && error.contains("layout changed"), "{error}");
        std::fs::remove_file(&path).expect("gone");
        assert!(input.checked().expect_err("gone").to_string().contains("chip.oas"));
    }
}
