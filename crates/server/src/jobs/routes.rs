//! `/v1/jobs`: jobs over HTTP.
//!
//! A job that is somebody else's is answered as one that is not there.

use std::convert::Infallible;
use std::path::Path;

use axum::body::Bytes;
use axum::extract::multipart::Multipart;
use axum::extract::{Extension, Path as InPath, State};
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, LOCATION};
use axum::http::{StatusCode, Uri};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream::{Stream, unfold};
use serde_json::json;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::{Job, Jobs, JobsError, Training};
use crate::layouts::upload::upload;
use crate::layouts::{Ask, Format, Refused};
use crate::security::Client;

/// Files of a job beside its mask, by their name in the address, with their kind.
const FILES: [(&str, &str, &str); 10] = [
    ("report", "out/report.json", "application/json"),
    ("log", "log.txt", "text/plain; charset=utf-8"),
    ("mask.png", "out/mask.png", "image/png"),
    ("target.png", "out/target.png", "image/png"),
    ("print.png", "out/print.png", "image/png"),
    ("overview.png", "out/overview.png", "image/png"),
    ("whole.png", "out/whole.png", "image/png"),
    ("model.safetensors", "out/model.safetensors", "application/octet-stream"),
    ("config.json", "out/config.json", "application/json"),
    ("training.json", "out/training.json", "application/json"),
];

/// What the routes share.
#[derive(Clone)]
struct Door {
    jobs: Jobs,
    /// Most bytes of a layout.
    most: u64,
    models: Vec<String>,
    stop: CancellationToken,
}

/// Routes of jobs whose layouts have `most` bytes at most and are corrected by one of `models`. Streams of events end when the server
/// stops.
pub fn routes(jobs: Jobs, models: Vec<String>, most: u64, stop: CancellationToken) -> Router {
    Router::new()
        .route("/v1/jobs", post(submit).get(list))
        .route("/v1/trainings", post(train))
        .route("/v1/jobs/{id}", get(show).delete(cancel))
        .route("/v1/jobs/{id}/events", get(events))
        .route("/v1/jobs/{id}/mask", get(mask))
        .route("/v1/jobs/{id}/{file}", get(file))
        .with_state(Door { jobs, most, models, stop })
}

async fn submit(
    State(door): State<Door>,
    Extension(client): Extension<Client>,
    uri: Uri,
    form: Multipart,
) -> Result<Response, Refused> {
    let ask = Ask::of(&uri)?;
    known_model(&ask, &door.models)?;
    if matches!(ask.format, Some(Format::Png | Format::Json)) {
        return Err(Refused::bad(
            "format of a job is gds or oas; its pixels and numbers are kept beside it",
        ));
    }
    let (id, folder) = door.jobs.incoming()?;
    let layout = match upload(form, &folder, door.most).await {
        Ok(layout) => layout,
        Err(refused) => {
            let _ = tokio::fs::remove_dir_all(&folder).await;
            return Err(refused);
        }
    };
    let job = door.jobs.submit(id, client.name(), &layout.name, &layout.path, ask)?;
    let location = [(LOCATION, format!("/v1/jobs/{}", job.id))];
    Ok((StatusCode::ACCEPTED, location, Json(job.shown())).into_response())
}

async fn train(
    State(door): State<Door>,
    Extension(client): Extension<Client>,
    body: Bytes,
) -> Result<Response, Refused> {
    let training = Training::of(&body).map_err(Refused::bad)?;
    let job = door.jobs.train(client.name(), training)?;
    let location = [(LOCATION, format!("/v1/jobs/{}", job.id))];
    Ok((StatusCode::ACCEPTED, location, Json(job.shown())).into_response())
}

/// Whether a model that was asked for is served.
pub(crate) fn known_model(ask: &Ask, models: &[String]) -> Result<(), Refused> {
    match &ask.model {
        Some(model) if !models.contains(model) => Err(Refused::missing(format!(
            "no model {model:?} corrects layouts here: expected one of {}",
            models.join(", ")
        ))),
        _ => Ok(()),
    }
}

async fn list(State(door): State<Door>, Extension(client): Extension<Client>) -> Json<Vec<Job>> {
    let jobs = door.jobs.all();
    Json(jobs.iter().filter(|job| client.lists(&job.owner)).map(Job::shown).collect())
}

/// A job that a client may see.
fn seen(door: &Door, client: &Client, id: &str) -> Result<Job, Refused> {
    let job = door.jobs.get(id).filter(|job| client.may_see(&job.owner));
    job.ok_or_else(|| {
        Refused::missing("there is no such job: it was never here, or is no longer kept")
    })
}

async fn show(
    State(door): State<Door>,
    Extension(client): Extension<Client>,
    InPath(id): InPath<String>,
) -> Result<Json<Job>, Refused> {
    Ok(Json(seen(&door, &client, &id)?.shown()))
}

async fn cancel(
    State(door): State<Door>,
    Extension(client): Extension<Client>,
    InPath(id): InPath<String>,
) -> Result<Response, Refused> {
    seen(&door, &client, &id)?;
    Ok(match door.jobs.cancel(&id)? {
        Some(job) => Json(job.shown()).into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    })
}

async fn mask(
    State(door): State<Door>,
    Extension(client): Extension<Client>,
    InPath(id): InPath<String>,
) -> Result<Response, Refused> {
    let job = seen(&door, &client, &id)?;
    let format = job.ask.format.unwrap_or_default();
    let path = format!("out/{}", format.file());
    let name = format!("{}.{}", job.layout, format.file());
    sent(&door, &job, &path, format.content_type(), Some(&name)).await
}

async fn file(
    State(door): State<Door>,
    Extension(client): Extension<Client>,
    InPath((id, name)): InPath<(String, String)>,
) -> Result<Response, Refused> {
    let job = seen(&door, &client, &id)?;
    let known = FILES.iter().find(|(known, ..)| *known == name);
    let names: Vec<&str> = FILES.iter().map(|(name, ..)| *name).collect();
    let (_, path, kind) = known.ok_or_else(|| {
        Refused::missing(format!(
            "a job has no {name:?}: expected mask, events, {}",
            names.join(", ")
        ))
    })?;
    sent(&door, &job, path, kind, None).await
}

/// A file of a job's folder; `path` is one of ours.
async fn sent(
    door: &Door,
    job: &Job,
    path: &str,
    kind: &str,
    name: Option<&str>,
) -> Result<Response, Refused> {
    let path = door.jobs.folder(&job.id).join(path);
    let response = stream(&path, kind, name).await;
    response.map_err(|_| match job.state.is_ended() {
        true => Refused::missing("the job left no such file"),
        false => Refused::new(StatusCode::CONFLICT, "the job is not done yet"),
    })
}

/// A file as an answer, in pieces.
pub(crate) async fn stream(
    path: &Path,
    kind: &str,
    name: Option<&str>,
) -> std::io::Result<Response> {
    let file = tokio::fs::File::open(path).await?;
    let length = file.metadata().await?.len();
    let body =
        axum::body::Body::from_stream(tokio_util::io::ReaderStream::with_capacity(file, 64 << 10));
    let mut response =
        Response::builder().header(CONTENT_TYPE, kind).header("content-length", length);
    if let Some(name) = name {
        let plain = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' };
        let name: String = name.chars().map(plain).collect();
        response = response.header(CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""));
    }
    response.body(body).map_err(std::io::Error::other)
}

/// What a stream of events has still to say.
struct Watching {
    door: Door,
    id: String,
    news: Receiver<Job>,
    first: bool,
    over: bool,
}

async fn events(
    State(door): State<Door>,
    Extension(client): Extension<Client>,
    InPath(id): InPath<String>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refused> {
    // Listening begins before the state is read, so that no change falls between.
    let news = door.jobs.news();
    seen(&door, &client, &id)?;
    let watching = Watching { door, id, news, first: true, over: false };
    let stream = unfold(watching, |mut watching| async move {
        let job = watching.next().await?;
        let event = Event::default().event(if job.state.is_ended() { "ended" } else { "progress" });
        let event =
            event.json_data(job.shown()).unwrap_or_else(|_| Event::default().comment("no JSON"));
        Some((Ok(event), watching))
    });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

impl Watching {
    /// The job's next state; none after it ended.
    async fn next(&mut self) -> Option<Job> {
        if self.over {
            return None;
        }
        let job = match std::mem::take(&mut self.first) {
            true => self.door.jobs.get(&self.id),
            false => self.heard().await,
        };
        self.over = job.as_ref().is_none_or(|job| job.state.is_ended());
        job
    }

    async fn heard(&mut self) -> Option<Job> {
        loop {
            let news = tokio::select! {
                () = self.door.stop.cancelled() => return None,
                news = self.news.recv() => news,
            };
            match news {
                Ok(job) if job.id == self.id => return Some(job),
                Ok(_) => (),
                // It fell behind: what counts is the state now.
                Err(RecvError::Lagged(_)) => return self.door.jobs.get(&self.id),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl From<JobsError> for Refused {
    fn from(error: JobsError) -> Self {
        match error {
            JobsError::Full(_) => Self::busy(error.to_string()),
            other => Self::failed(other),
        }
    }
}

/// Numbers of jobs by state, for whoever may not see more.
pub(crate) fn counts(jobs: &Jobs) -> serde_json::Value {
    let all = jobs.all();
    let of = |state: super::JobState| all.iter().filter(|job| job.state == state).count();
    json!({"queued": of(super::JobState::Queued), "running": of(super::JobState::Running)})
}
