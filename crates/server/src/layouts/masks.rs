//! `POST /v1/masks`: a whole layout's mask, while the client waits.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::extract::multipart::Multipart;
use axum::extract::{Extension, State};
use axum::http::{StatusCode, Uri};
use axum::response::Response;
use axum::routing::post;
use tokio::sync::Semaphore;

use super::upload::{Upload, upload};
use super::{Ask, Format, Progress, Refused};
use crate::jobs::{known_model, stream};
use crate::security::Client;

/// Whoever makes masks of layouts.
pub trait Corrector: Send + Sync {
    /// Names of its methods; the first is used if none is asked for.
    fn models(&self) -> Vec<String>;

    /// Corrects a layout and leaves its files in a folder: the mask as [`Format::file`] names it, `mask.png` and `report.json`. `stop` is
    /// asked from any thread whether to end.
    ///
    /// # Errors
    ///
    /// [`Wrong`], with what to do.
    fn correct(
        &self,
        order: &MaskOrder,
        stop: &(dyn Fn() -> bool + Sync),
        watch: &mut dyn FnMut(Progress),
    ) -> Result<(), Wrong>;
}

/// A layout to correct.
#[derive(Clone, Debug)]
pub struct MaskOrder {
    /// The layout's file.
    pub layout: PathBuf,
    /// Its name, for people.
    pub name: String,
    /// What was asked.
    pub ask: Ask,
    /// Where files go.
    pub folder: PathBuf,
}

/// Why there is no mask.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The layout, or what was asked of it.
    #[error("{0}")]
    Request(String),
    /// The devices.
    #[error("{0}")]
    Failed(String),
    /// It was told to end.
    #[error("the run was ended")]
    Stopped,
}

#[derive(Clone)]
struct Door {
    corrector: Arc<dyn Corrector>,
    models: Vec<String>,
    /// Where layouts and masks are while a client waits.
    folder: PathBuf,
    most: u64,
    /// Layouts that are corrected at once.
    room: Arc<Semaphore>,
    /// Layouts that are here at once.
    places: Arc<Semaphore>,
}

/// What is taken at a time.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    /// Most bytes of a layout.
    pub bytes: u64,
    /// Layouts that are corrected at once.
    pub at_once: usize,
    /// Layouts that wait for that.
    pub waiting: usize,
}

/// The route. `folder` is for files while a client waits.
pub fn routes(corrector: Arc<dyn Corrector>, folder: PathBuf, terms: Terms) -> Router {
    let models = corrector.models();
    let room = Arc::new(Semaphore::new(terms.at_once));
    let places = Arc::new(Semaphore::new(terms.at_once + terms.waiting));
    let door = Door { corrector, models, folder, most: terms.bytes, room, places };
    Router::new().route("/v1/masks", post(correct)).with_state(door)
}

/// A folder that goes with the request it is for.
struct Scratch(PathBuf);

impl Scratch {
    fn new(parent: &Path) -> Result<Self, Refused> {
        let folder = parent.join(crate::jobs::new_id());
        std::fs::create_dir_all(&folder).map_err(Refused::failed)?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Tells a run to end when the client who waits for it has gone.
struct Leash(Arc<AtomicBool>);

impl Drop for Leash {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

async fn correct(
    State(door): State<Door>,
    Extension(_): Extension<Client>,
    uri: Uri,
    form: Multipart,
) -> Result<Response, Refused> {
    let ask = Ask::of(&uri)?;
    known_model(&ask, &door.models)?;
    let full = "as many layouts as are taken wait for their masks: come again, or send it as a job (/v1/jobs)";
    let place = door.places.clone().try_acquire_owned().map_err(|_| Refused::busy(full))?;
    let scratch = Scratch::new(&door.folder)?;
    let layout = upload(form, &scratch.0, door.most).await?;
    let turn = door.room.clone().acquire_owned().await.map_err(Refused::failed)?;
    let (stop, format) = (Arc::new(AtomicBool::new(false)), ask.format.unwrap_or_default());
    let leash = Leash(stop.clone());
    let (name, out) = (layout.name.clone(), scratch.0.join("out"));
    let (corrector, path) = (door.corrector.clone(), out.join(format.file()));
    // The folder, the turn and the place are the run's, which may outlive the request by a moment.
    let held = (scratch, turn, place);
    let run = move || {
        let ran = run(&*corrector, layout, ask, out, &stop);
        ran.map(|()| held)
    };
    let _held =
        tokio::task::spawn_blocking(run).await.map_err(Refused::failed)?.map_err(refused)?;
    drop(leash);
    let sent =
        stream(&path, format.content_type(), Some(&format!("{name}.{}", format.file()))).await;
    sent.map_err(|error| Refused::failed(format!("the mask cannot be read: {error}")))
}

fn run(
    corrector: &dyn Corrector,
    layout: Upload,
    ask: Ask,
    folder: PathBuf,
    stop: &AtomicBool,
) -> Result<(), Wrong> {
    let order = MaskOrder { layout: layout.path, name: layout.name, ask, folder };
    corrector.correct(&order, &|| stop.load(Ordering::SeqCst), &mut |_| ())
}

fn refused(wrong: Wrong) -> Refused {
    match wrong {
        Wrong::Request(text) => Refused::bad(text),
        Wrong::Failed(text) => Refused::new(StatusCode::INTERNAL_SERVER_ERROR, text),
        Wrong::Stopped => Refused::busy("the server stops"),
    }
}

impl MaskOrder {
    /// Where the mask is, in the format that was asked for.
    pub fn mask(&self) -> PathBuf {
        self.folder.join(self.ask.format.unwrap_or(Format::Gds).file())
    }
}

#[cfg(test)]
mod tests;
