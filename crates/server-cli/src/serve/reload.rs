//! A repository that changes while it is served.
//!
//! At SIGHUP it is read again. New versions are brought to one device after the other, so that the others go on meanwhile; versions that are gone end what
//! waits for them and are taken out of service. A repository that cannot be read changes nothing.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use lithoburn_server::schedule::Scheduler;
use tokio::signal::unix::{SignalKind, signal};

use crate::models::{Described, Runner, Served, repository};
use lithoburn_terminal::note;

/// A version of a model.
type Version = (String, u64);

/// What of a repository is served.
pub(super) struct Follower {
    folder: PathBuf,
    scheduler: Scheduler,
    runners: Vec<Arc<Runner>>,
    served: BTreeSet<Version>,
}

fn version(model: &Described) -> Version {
    (model.name.clone(), model.version)
}

impl Follower {
    /// Of a repository that is served already.
    pub(super) fn new(folder: PathBuf, scheduler: Scheduler, runners: Vec<Arc<Runner>>) -> Self {
        let served = repository(&folder).unwrap_or_default().iter().map(version).collect();
        Self { folder, scheduler, runners, served }
    }

    /// Follows it as long as the server runs.
    pub(super) async fn follow(mut self) {
        let Ok(mut asked) = signal(SignalKind::hangup()) else { return };
        while asked.recv().await.is_some() {
            match repository(&self.folder) {
                Ok(found) => self.change(found).await,
                Err(error) => note(&format!("note: the repository is as it was: {error:#}")),
            }
        }
    }

    async fn change(&mut self, found: Vec<Described>) {
        let now: BTreeSet<Version> = found.iter().map(version).collect();
        // The new first, so that a name is never without a version.
        for model in found.into_iter().filter(|model| !self.served.contains(&version(model))) {
            let (name, number) = version(&model);
            note(&format!("loading {name} version {number}"));
            self.scheduler.load(Arc::new(Served::new(model, self.runners.clone()))).await;
        }
        for (name, number) in self.served.difference(&now) {
            note(&format!("unloading {name} version {number}"));
            self.scheduler.unload(name, *number).await;
        }
        self.served = now;
        note("the repository is served as it is now");
    }
}
