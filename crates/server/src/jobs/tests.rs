use std::fs;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request;
use futures_util::StreamExt;
use serde_json::Value;
use tower::ServiceExt;

use super::*;
use crate::security::{Guard, Limits, Tokens};

/// A program that writes a line a step into a journal, goes on where that ends, and makes a mask of it: what the engine does with
/// tiles. It ends when its standard input does.
const WORKER: &str = r#"
exec 3<&0
( cat <&3 >/dev/null; kill -TERM $$ ) 2>/dev/null &
folder=$0
mkdir -p "$folder/out"
journal="$folder/out/journal"
touch "$journal"
step=$(wc -l < "$journal")
while [ "$step" -lt "$STEPS" ]; do
    step=$((step + 1))
    sleep "$PAUSE"
    echo "step $step of $(cat "$folder"/layout.gds 2>/dev/null)" >> "$journal"
    echo "{\"phase\":\"optimize\",\"done\":$step,\"total\":$STEPS}"
    [ "$step" = "$REFUSE_AT" ] && { echo "error: layout.gds: no GDSII" >&2; exit 2; }
    [ "$step" = "$DIE_AT" ] && { sed -i '$d' "$journal"; kill -KILL $$; }
done
cp "$journal" "$folder/out/mask.gds"
exit 0
"#;

/// What the worker is told.
#[derive(Clone, Copy)]
struct Told {
    steps: usize,
    pause: &'static str,
    refuse_at: usize,
    die_at: usize,
}

const QUICK: Told = Told { steps: 3, pause: "0", refuse_at: 0, die_at: 0 };
const SLOW: Told = Told { steps: 100_000, pause: "0.02", ..QUICK };

fn terms(data: &Path, told: Told) -> Terms {
    let Told { steps, pause, refuse_at, die_at } = told;
    let script =
        format!("STEPS={steps} PAUSE={pause} REFUSE_AT={refuse_at} DIE_AT={die_at}\n{WORKER}");
    let arguments = vec!["-c".into(), script];
    let grace = Duration::from_secs(2);
    Terms { grace, ..Terms::new(data.into(), "/bin/sh".into(), arguments) }
}

struct Server {
    jobs: Jobs,
    routes: Router,
    stop: CancellationToken,
    working: tokio::task::JoinHandle<()>,
}

impl Server {
    fn start(terms: Terms, tokens: Option<Tokens>) -> Self {
        let stop = CancellationToken::new();
        let jobs = Jobs::open(terms, stop.clone()).expect("a store");
        let routes = routes(jobs.clone(), vec!["ilt".into()], 1000, stop.clone());
        let local = "127.0.0.1".parse().expect("an address");
        let routes = Guard::new(local, tokens, Limits::default()).around(routes);
        let working = tokio::spawn(jobs.clone().work());
        Self { jobs, routes, stop, working }
    }

    async fn ask(&self, method: &str, path: &str, token: &str) -> (u16, String) {
        self.send(Request::builder().method(method).uri(path), token, Body::empty()).await
    }

    async fn send(
        &self,
        request: axum::http::request::Builder,
        token: &str,
        body: Body,
    ) -> (u16, String) {
        let request = request.header("authorization", format!("Bearer {token}"));
        let request = request.body(body).expect("a request");
        let response = self.routes.clone().oneshot(request).await.expect("infallible");
        let status = response.status().as_u16();
        let bytes = to_bytes(response.into_body(), 1 << 20).await.expect("a body");
        (status, String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Submits a layout; its number.
    async fn submit(&self, bytes: &str, token: &str) -> String {
        let head = "Content-Disposition: form-data; name=\"layout\"; filename=\"chip.gds\"";
        let body = format!("--x\r\n{head}\r\n\r\n{bytes}\r\n--x--\r\n");
        let request = Request::post("/v1/jobs?model=ilt&tile=2048");
        let request = request.header("content-type", "multipart/form-data; boundary=x");
        let (status, text) = self.send(request, token, Body::from(body)).await;
        assert_eq!(status, 202, "{text}");
        let job: Value = serde_json::from_str(&text).expect("JSON");
        assert!(job.get("owner").is_none(), "{text}");
        job["id"].as_str().expect("a number").into()
    }

    async fn until(&self, id: &str, what: impl Fn(&Job) -> bool) -> Job {
        let start = std::time::Instant::now();
        loop {
            let job = self.jobs.get(id).expect("a job");
            if what(&job) {
                return job;
            }
            assert!(start.elapsed() < Duration::from_secs(60), "{job:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Stops as at Ctrl-C.
    async fn stop(self) {
        self.stop.cancel();
        self.working.await.expect("no panic");
    }
}

/// The process that works in a folder.
fn worker(folder: &Path) -> Option<u32> {
    let wanted = folder.to_str().expect("text");
    let of = |entry: fs::DirEntry| {
        let line = fs::read_to_string(entry.path().join("cmdline")).ok()?;
        let is_it = line.split('\0').any(|argument| argument == wanted);
        is_it.then(|| entry.file_name().to_str()?.parse().ok()).flatten()
    };
    // The oldest: the others are its children.
    fs::read_dir("/proc").ok()?.flatten().filter_map(of).min()
}

fn expected(bytes: &str, steps: usize) -> String {
    (1..=steps).map(|step| format!("step {step} of {bytes}\n")).collect()
}

#[tokio::test]
async fn a_job_is_taken_worked_at_and_handed_out() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(terms(data.path(), QUICK), None);
    let id = server.submit("shapes", "").await;
    let job = server.until(&id, |job| job.state.is_ended()).await;
    assert_eq!((job.state, job.error, job.attempts), (JobState::Done, None, 1));
    assert_eq!(job.progress.map(|p| (p.done, p.total)), Some((3, 3)));
    let (status, mask) = server.ask("GET", &format!("/v1/jobs/{id}/mask"), "").await;
    assert_eq!((status, mask), (200, expected("shapes", 3)));
    let (status, list) = server.ask("GET", "/v1/jobs", "").await;
    assert!(status == 200 && list.contains(&id) && list.contains("\"chip\""), "{list}");
    let (status, text) = server.ask("GET", &format!("/v1/jobs/{id}/report"), "").await;
    assert_eq!((status, text.contains("no such file")), (404, true), "{text}");
    // An ended job is forgotten with its files.
    assert_eq!(server.ask("DELETE", &format!("/v1/jobs/{id}"), "").await.0, 204);
    assert_eq!(server.ask("GET", &format!("/v1/jobs/{id}"), "").await.0, 404);
    assert!(!server.jobs.folder(&id).exists());
    server.stop().await;
}

#[tokio::test]
async fn a_training_run_is_a_job_without_a_layout() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(terms(data.path(), QUICK), None);
    let train =
        |body: &'static str| server.send(Request::post("/v1/trainings"), "", Body::from(body));
    let (status, text) = train("{\"steps\": 3, \"seed\": 7}").await;
    assert_eq!(status, 202, "{text}");
    let job: Value = serde_json::from_str(&text).expect("JSON");
    let id = job["id"].as_str().expect("a number");
    assert_eq!(job["layout"], "training of neural-ilt-fast");
    server.until(id, |job| job.state == JobState::Done).await;
    let told = super::Told::read(&server.jobs.folder(id)).expect("what it was told");
    assert_eq!(told.training.and_then(|training| training.seed), Some(7));
    let (status, text) = train("{\"steps\": 0}").await;
    assert_eq!((status, text.contains("steps")), (400, true), "{text}");
    server.stop().await;
}

#[tokio::test]
async fn no_path_leads_out_of_a_jobs_folder() {
    let data = tempfile::tempdir().expect("a folder");
    fs::write(data.path().join("secret"), "secret").expect("written");
    let server = Server::start(terms(data.path(), QUICK), None);
    let id = server.submit("shapes", "").await;
    server.until(&id, |job| job.state.is_ended()).await;
    for path in [
        format!("/v1/jobs/{id}/..%2F..%2F..%2Fsecret"),
        format!("/v1/jobs/{id}/../../secret"),
        format!("/v1/jobs/{id}/%2e%2e"),
        format!("/v1/jobs/{id}/job.json"),
        format!("/v1/jobs/{id}/layout.gds"),
        "/v1/jobs/..%2Fsecret".into(),
        "/v1/jobs/..%2F..%2Fsecret/log".into(),
        format!("/v1/jobs/.%2F{id}/log"),
        format!("/v1/jobs/{id}%00/log"),
    ] {
        let (status, text) = server.ask("GET", &path, "").await;
        assert_eq!(status, 404, "{path}: {text}");
        assert!(!text.contains("secret\n") && text != "secret", "{path}: {text}");
    }
    server.stop().await;
}

#[tokio::test]
async fn a_client_sees_its_own_jobs_and_no_others() {
    let data = tempfile::tempdir().expect("a folder");
    let file = data.path().join("tokens");
    let (fab, lab) = ("0123456789abcdef-fab", "0123456789abcdef-lab");
    fs::write(&file, format!("fab:{fab}\nlab:{lab}\n")).expect("written");
    let tokens = Tokens::read(&file).expect("tokens");
    let server = Server::start(terms(data.path(), QUICK), Some(tokens));
    let id = server.submit("shapes", fab).await;
    server.until(&id, |job| job.state.is_ended()).await;
    for path in ["", "/mask", "/events", "/log", "/report"] {
        let (status, text) = server.ask("GET", &format!("/v1/jobs/{id}{path}"), lab).await;
        assert_eq!((status, text.contains("no such job")), (404, true), "{path}: {text}");
    }
    assert_eq!(server.ask("DELETE", &format!("/v1/jobs/{id}"), lab).await.0, 404);
    assert_eq!(server.ask("GET", "/v1/jobs", lab).await, (200, "[]".into()));
    assert_eq!(server.ask("GET", "/v1/jobs", "wrong").await.0, 401);
    assert_eq!(server.ask("GET", &format!("/v1/jobs/{id}/mask"), fab).await.0, 200);
    server.stop().await;
}

/// The process dies in the middle, and so does the server; what comes out is what would have come.
#[tokio::test]
async fn a_job_that_is_killed_ten_times_ends_as_if_never_killed() {
    let data = tempfile::tempdir().expect("a folder");
    let told = Told { steps: 60, pause: "0.02", ..QUICK };
    let mut server = Server::start(terms(data.path(), told), None);
    let id = server.submit("shapes", "").await;
    for kill in 0..10 {
        let before = server.until(&id, |job| job.state == JobState::Running).await;
        let done = |job: &Job| job.progress.as_ref().map_or(0, |progress| progress.done);
        server.until(&id, |job| done(job) > done(&before) || job.state.is_ended()).await;
        let process = worker(&server.jobs.folder(&id)).expect("it is under way");
        let killed =
            std::process::Command::new("kill").args(["-KILL", &process.to_string()]).status();
        assert!(killed.expect("kill runs").success());
        if kill % 2 == 1 {
            // The server too, without a word: its tasks end where they are.
            server.working.abort();
            let _ = server.working.await;
            drop((server.routes, server.jobs));
            server = Server::start(terms(data.path(), told), None);
        } else {
            server
                .until(&id, |job| {
                    job.faults > 0 || job.attempts > before.attempts || job.state.is_ended()
                })
                .await;
        }
    }
    let job = server.until(&id, |job| job.state.is_ended()).await;
    assert_eq!((job.state, job.error.as_deref()), (JobState::Done, None));
    assert!(job.attempts > 5, "{job:?}");
    let (_, mask) = server.ask("GET", &format!("/v1/jobs/{id}/mask"), "").await;
    assert_eq!(mask, expected("shapes", 60));
    server.stop().await;
}

/// As Ctrl-C does on a terminal: a signal to the server's group is not one to its job.
#[tokio::test]
async fn a_job_is_in_a_process_group_of_its_own() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(terms(data.path(), SLOW), None);
    let id = server.submit("shapes", "").await;
    server.until(&id, |job| job.progress.is_some()).await;
    let process = worker(&server.jobs.folder(&id)).expect("it is under way");
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).expect("its state");
    // After the name in brackets: state, parent, group.
    let group = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(2));
    assert_eq!(group, Some(process.to_string().as_str()), "{stat}");
    server.stop().await;
}

#[tokio::test]
async fn a_process_that_dies_at_one_place_is_given_up() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(terms(data.path(), Told { die_at: 2, ..QUICK }), None);
    let id = server.submit("shapes", "").await;
    let job = server.until(&id, |job| job.state.is_ended()).await;
    assert_eq!((job.state, job.attempts), (JobState::Failed, 3));
    assert!(job.error.as_deref().is_some_and(|error| error.contains("signal 9")), "{job:?}");
    server.stop().await;
}

#[tokio::test]
async fn what_a_process_says_is_wrong_is_the_jobs_error() {
    let data = tempfile::tempdir().expect("a folder");
    let server = Server::start(terms(data.path(), Told { refuse_at: 1, ..QUICK }), None);
    let id = server.submit("shapes", "").await;
    let job = server.until(&id, |job| job.state.is_ended()).await;
    assert_eq!(job.error.as_deref(), Some("layout.gds: no GDSII"));
    let (status, log) = server.ask("GET", &format!("/v1/jobs/{id}/log"), "").await;
    assert_eq!((status, log.as_str()), (200, "error: layout.gds: no GDSII\n"));
    server.stop().await;
}

#[tokio::test]
async fn one_job_is_worked_at_and_the_others_wait_or_are_cancelled() {
    let data = tempfile::tempdir().expect("a folder");
    let limited = Terms { queued: 2, ..terms(data.path(), SLOW) };
    let server = Server::start(limited, None);
    let first = server.submit("first", "").await;
    server.until(&first, |job| job.progress.is_some()).await;
    let (second, third) = (server.submit("second", "").await, server.submit("third", "").await);
    assert!(server.jobs.incoming().is_err(), "two wait, the most that are taken");
    assert_eq!(server.jobs.get(&second).map(|job| job.state), Some(JobState::Queued));
    let folder = server.jobs.folder(&first);
    assert!(worker(&folder).is_some());
    for id in [&second, &first] {
        let (status, text) = server.ask("DELETE", &format!("/v1/jobs/{id}"), "").await;
        assert!(status == 200 && text.contains("cancelled"), "{text}");
    }
    // The third's turn comes, and the first's process has gone.
    server.until(&third, |job| job.progress.is_some()).await;
    assert_eq!(worker(&folder), None);
    assert_eq!(
        server.jobs.get(&second).map(|job| (job.state, job.attempts)),
        Some((JobState::Cancelled, 0))
    );
    server.stop().await;
}

#[tokio::test]
async fn a_job_beyond_its_time_is_ended_with_the_reason() {
    let data = tempfile::tempdir().expect("a folder");
    let (soft, hard) = (Duration::from_millis(300), Duration::from_millis(600));
    let limited = Terms { soft, hard, ..terms(data.path(), SLOW) };
    let server = Server::start(limited, None);
    let id = server.submit("shapes", "").await;
    let job = server.until(&id, |job| job.state.is_ended()).await;
    assert_eq!(job.state, JobState::Failed);
    assert!(job.error.as_deref().is_some_and(|error| error.contains("limit")), "{job:?}");
    assert_eq!(worker(&server.jobs.folder(&id)), None);
    server.stop().await;
}

/// A process that does not listen: the hard limit ends it.
#[tokio::test]
async fn a_process_that_does_not_end_when_asked_is_ended() {
    let data = tempfile::tempdir().expect("a folder");
    let (soft, hard) = (Duration::from_millis(200), Duration::from_millis(400));
    let deaf = vec!["-c".into(), "trap '' TERM; exec sleep 1000 # $0".into()];
    let limited = Terms { soft, hard, ..Terms::new(data.path().into(), "/bin/sh".into(), deaf) };
    let server = Server::start(limited, None);
    let id = server.submit("shapes", "").await;
    let job = server.until(&id, |job| job.state.is_ended()).await;
    assert_eq!(job.state, JobState::Failed);
    server.stop().await;
}

#[tokio::test]
async fn a_server_that_stops_leaves_its_job_to_the_next() {
    let data = tempfile::tempdir().expect("a folder");
    let told = Told { steps: 40, pause: "0.02", ..QUICK };
    let server = Server::start(terms(data.path(), told), None);
    let id = server.submit("shapes", "").await;
    server.until(&id, |job| job.progress.is_some()).await;
    let jobs = server.jobs.clone();
    server.stop().await;
    assert_eq!(jobs.get(&id).map(|job| (job.state, job.faults)), Some((JobState::Queued, 0)));
    assert_eq!(worker(&jobs.folder(&id)), None);
    let taken = Jobs::open(terms(data.path(), told), CancellationToken::new()).map(|_| ());
    assert!(matches!(taken, Err(JobsError::Taken(_))), "while another has them: {taken:?}");
    drop(jobs);
    let server = Server::start(terms(data.path(), told), None);
    server.until(&id, |job| job.state == JobState::Done).await;
    let (_, mask) = server.ask("GET", &format!("/v1/jobs/{id}/mask"), "").await;
    assert_eq!(mask, expected("shapes", 40));
    server.stop().await;
}

#[tokio::test]
async fn a_job_can_be_watched_to_its_end() {
    let data = tempfile::tempdir().expect("a folder");
    let server =
        Server::start(terms(data.path(), Told { steps: 20, pause: "0.01", ..QUICK }), None);
    let id = server.submit("shapes", "").await;
    let request =
        Request::get(format!("/v1/jobs/{id}/events")).body(Body::empty()).expect("a request");
    let response = server.routes.clone().oneshot(request).await.expect("infallible");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    let seen = AtomicUsize::new(0);
    let text = response.into_body().into_data_stream().fold(String::new(), |text, piece| {
        seen.fetch_add(1, Ordering::SeqCst);
        async move { text + std::str::from_utf8(&piece.expect("a piece")).expect("text") }
    });
    let text = text.await;
    let datas: Vec<Value> = text
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).expect("JSON"))
        .collect();
    let dones: Vec<u64> = datas.iter().filter_map(|job| job["progress"]["done"].as_u64()).collect();
    assert!(dones.windows(2).all(|pair| pair[0] <= pair[1]) && dones.len() > 2, "{dones:?}");
    assert_eq!(datas.last().map(|job| job["state"].clone()), Some("done".into()));
    assert!(text.contains("event: ended"), "{text}");
    // Who comes after the end is told the end.
    let (status, text) = server.ask("GET", &format!("/v1/jobs/{id}/events"), "").await;
    assert!(
        status == 200 && text.matches("data: ").count() == 1 && text.contains("event: ended"),
        "{text}"
    );
    server.stop().await;
}

#[tokio::test]
async fn an_ended_job_is_kept_for_its_time() {
    let data = tempfile::tempdir().expect("a folder");
    let kept = Server::start(terms(data.path(), QUICK), None);
    let id = kept.submit("shapes", "").await;
    kept.until(&id, |job| job.state.is_ended()).await;
    kept.jobs.sweep();
    assert!(kept.jobs.get(&id).is_some());
    kept.stop().await;
    fs::create_dir_all(data.path().join("jobs/stranger")).expect("a folder");
    fs::create_dir_all(data.path().join("uploads/half")).expect("a folder");
    let short = Terms { keep: Duration::ZERO, ..terms(data.path(), QUICK) };
    let jobs = Jobs::open(short, CancellationToken::new()).expect("a store");
    assert!(
        !data.path().join("jobs/stranger").exists() && !data.path().join("uploads/half").exists()
    );
    assert!(jobs.folder(&id).exists());
    jobs.sweep();
    assert!(jobs.get(&id).is_none() && !jobs.folder(&id).exists());
}
