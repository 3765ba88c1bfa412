//! What is in a bucket, as files of this machine: fetched once, known by their hashes.

use std::path::{Path, PathBuf};

use super::Input;
use crate::{Bucket, Digest, FarmError, files, is_bucket};

/// A place in a bucket; none if this is a path.
pub(super) fn place(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| is_bucket(text))
}

/// A bucket that the environment lets us into.
pub(super) fn bucket(place: &str) -> Result<Bucket, FarmError> {
    Bucket::of_environment(place)
}

/// The folder that an object or a job is in, and its name.
fn split(place: &str) -> Result<(&str, &str), FarmError> {
    let named = place.trim_end_matches('/').rsplit_once('/').filter(|(folder, name)| {
        is_bucket(folder) && !matches!(*name, "" | "." | "..") && !name.contains('\\')
    });
    named.ok_or_else(|| {
        FarmError::Setting(format!("{place:?} names no object: expected s3://BUCKET/NAME"))
    })
}

fn object(place: &str) -> Result<(String, Vec<u8>), FarmError> {
    let (folder, name) = split(place)?;
    let found = bucket(folder)?.get(name)?;
    let none = || FarmError::Damaged {
        path: place.into(),
        problem: "there is no such object in the bucket".into(),
    };
    Ok((name.into(), found.ok_or_else(none)?))
}

/// This user's own folder for what was fetched.
fn cache(kind: &str) -> PathBuf {
    let of = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let home = || of("HOME").map(|home| home.join(".cache"));
    let root = of("XDG_CACHE_HOME").or_else(home).unwrap_or_else(std::env::temp_dir);
    root.join("lithoburn").join(kind)
}

/// An object as it is now.
pub(super) fn input(role: &str, place: &str) -> Result<Input, FarmError> {
    let (_, bytes) = object(place)?;
    let sha256 = Digest::of(&bytes);
    keep(place, &sha256, &bytes)?;
    Ok(Input { role: role.into(), path: place.into(), sha256, bytes: bytes.len() as u64 })
}

/// Its file here; the name is the object's own, which a layout is called by.
fn file(place: &str, sha256: &Digest) -> Result<PathBuf, FarmError> {
    Ok(cache("inputs").join(sha256.as_str()).join(split(place)?.1))
}

fn keep(place: &str, sha256: &Digest, bytes: &[u8]) -> Result<PathBuf, FarmError> {
    let path = file(place, sha256)?;
    files::make_folder(path.parent().unwrap_or(&path))?;
    files::write_whole(&path, bytes)?;
    Ok(path)
}

/// An object's file here, fetched if it is not what it should be.
pub(super) fn copy(place: &str, sha256: &Digest) -> Result<PathBuf, FarmError> {
    let path = file(place, sha256)?;
    match Digest::of_file(&path) {
        Ok(found) if found == *sha256 => Ok(path),
        _ => keep(place, sha256, &object(place)?.1),
    }
}

/// A folder here with a job's files.
pub(super) fn job(place: &str, names: &[&str]) -> Result<PathBuf, FarmError> {
    let bucket = bucket(place)?;
    let folder = cache("jobs").join(split(place)?.1);
    files::make_folder(&folder)?;
    for name in names {
        let none = || FarmError::Damaged {
            path: bucket.place(name),
            problem: "there is no job: lithoburn farm plan --store makes one".into(),
        };
        files::write_whole(&folder.join(name), &bucket.get(name)?.ok_or_else(none)?)?;
    }
    Ok(folder)
}
