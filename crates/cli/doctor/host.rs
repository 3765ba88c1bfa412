//! What the checks look at: files, variables, libraries and programs of a machine.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A machine that is looked at.
pub(super) trait Host {
    /// A file's text.
    fn read(&self, path: &str) -> Option<String>;
    /// Names in a folder; none if there is no such folder.
    fn list(&self, folder: &str) -> Vec<String>;
    /// A variable of the environment.
    fn variable(&self, name: &str) -> Option<String>;
    /// What a program prints; none if it is not here or fails.
    fn output(&self, program: &str, arguments: &[&str]) -> Option<String>;
    /// Whether a file can be opened for reading and writing.
    fn opens(&self, path: &str) -> bool;
    /// Where a file is, with all links followed.
    fn resolved(&self, path: &str) -> Option<String>;

    /// Whether there is a file or folder of this name.
    fn exists(&self, path: &str) -> bool {
        self.resolved(path).is_some()
    }

    /// Libraries that the loader finds whose names begin so: name and path.
    fn libraries(&self, start: &str) -> Vec<(String, String)> {
        let variable = self.variable("LD_LIBRARY_PATH").unwrap_or_default();
        let folders = variable.split(':').filter(|folder| !folder.is_empty());
        let named = folders.flat_map(|folder| {
            let names = self.list(folder).into_iter().filter(|name| name.starts_with(start));
            names.map(move |name| (name.clone(), format!("{folder}/{name}")))
        });
        let cache = self.output("ldconfig", &["-p"]).unwrap_or_default();
        let cached = cache.lines().filter_map(|line| {
            let (name, path) = line.split_once("=>")?;
            let name = name.split_whitespace().next()?;
            name.starts_with(start).then(|| (name.to_string(), path.trim().to_string()))
        });
        named.chain(cached).collect()
    }

    /// Whether this is a container.
    fn contained(&self) -> bool {
        self.exists("/.dockerenv") || self.exists("/run/.containerenv")
    }
}

/// The machine that this runs on.
pub(super) struct ThisHost;

impl Host for ThisHost {
    fn read(&self, path: &str) -> Option<String> {
        let bytes = std::fs::read(path).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    fn variable(&self, name: &str) -> Option<String> {
        std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
    }

    fn output(&self, program: &str, arguments: &[&str]) -> Option<String> {
        // Administrators' programs are not on everybody's path.
        let usual = ["", "/sbin/", "/usr/sbin/"].map(|folder| format!("{folder}{program}"));
        let mut runs = usual.iter().filter_map(|p| Command::new(p).args(arguments).output().ok());
        let output = runs.find(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn opens(&self, path: &str) -> bool {
        std::fs::OpenOptions::new().read(true).write(true).open(path).is_ok()
    }

    fn resolved(&self, path: &str) -> Option<String> {
        let found: PathBuf = Path::new(path).canonicalize().ok()?;
        Some(found.to_string_lossy().into_owned())
    }
}

/// A machine that a test makes up.
#[cfg(test)]
#[derive(Clone, Debug, Default)]
pub(super) struct Fake {
    /// Paths of files and their text.
    pub(super) files: std::collections::BTreeMap<String, String>,
    /// Links, and what they lead to.
    pub(super) links: std::collections::BTreeMap<String, String>,
    /// Variables.
    pub(super) variables: std::collections::BTreeMap<String, String>,
    /// Programs and what they print.
    pub(super) programs: std::collections::BTreeMap<String, String>,
    /// Files that may not be opened.
    pub(super) closed: Vec<String>,
}

#[cfg(test)]
impl Fake {
    /// With a file.
    pub(super) fn file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.into(), text.into());
        self
    }

    /// Without a file.
    pub(super) fn without(mut self, path: &str) -> Self {
        self.files.remove(path);
        self
    }

    /// With a variable.
    pub(super) fn set(mut self, name: &str, value: &str) -> Self {
        self.variables.insert(name.into(), value.into());
        self
    }

    /// With a program, named with its arguments.
    pub(super) fn program(mut self, line: &str, prints: &str) -> Self {
        self.programs.insert(line.into(), prints.into());
        self
    }

    /// With libraries that the loader knows.
    pub(super) fn loader(self, libraries: &[&str]) -> Self {
        let line = |path: &&str| {
            let name = path.rsplit('/').next().unwrap_or(path);
            format!("\t{name} (libc6,x86-64) => {path}\n")
        };
        let cache: String = libraries.iter().map(line).collect();
        self.program("ldconfig -p", &cache)
    }
}

#[cfg(test)]
impl Host for Fake {
    fn read(&self, path: &str) -> Option<String> {
        self.files.get(path).cloned()
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let start = format!("{}/", folder.trim_end_matches('/'));
        let inside = self.files.keys().filter_map(|path| path.strip_prefix(&start));
        let mut names: Vec<String> =
            inside.filter_map(|rest| rest.split('/').next()).map(String::from).collect();
        names.dedup();
        names
    }

    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).cloned()
    }

    fn output(&self, program: &str, arguments: &[&str]) -> Option<String> {
        self.programs.get(&format!("{program} {}", arguments.join(" "))).cloned()
    }

    fn opens(&self, path: &str) -> bool {
        self.exists(path) && !self.closed.iter().any(|closed| closed == path)
    }

    fn resolved(&self, path: &str) -> Option<String> {
        let there = self.files.contains_key(path) || !self.list(path).is_empty();
        self.links.get(path).cloned().or_else(|| there.then(|| path.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_found_by_the_loaders_cache_and_by_its_variable() {
        let host = Fake::default()
            .loader(&["/usr/lib/libcuda.so.1", "/usr/lib/libz.so.1"])
            .file("/opt/lib/libcuda.so.535", "")
            .set("LD_LIBRARY_PATH", "/none:/opt/lib:");
        let found: Vec<String> = host.libraries("libcuda.so").into_iter().map(|l| l.1).collect();
        assert_eq!(found, ["/opt/lib/libcuda.so.535", "/usr/lib/libcuda.so.1"]);
    }

    #[test]
    fn this_machine_is_looked_at_without_a_panic() {
        let host = ThisHost;
        assert!(!host.list("/").is_empty() || cfg!(windows));
        assert_eq!(host.output("no-such-program-here", &[]), None);
        assert!(host.read("/no/such/file").is_none() && !host.opens("/no/such/file"));
    }
}
