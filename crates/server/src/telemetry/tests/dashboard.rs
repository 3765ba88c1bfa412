//! The dashboard, whose every expression is run by Prometheus' own tool against a Prometheus that scrapes a server.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lithoburn_testing::Need;
use serde_json::Value;

use super::library;
use crate::Server;
use crate::model::Device;
use crate::sleeping::Sleeping;
use crate::telemetry::Cards;

const DASHBOARD: &str = include_str!("../../../../../deploy/grafana/lithoburn.json");

/// A process that is ended with its test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The expressions of a dashboard, with its variables as Grafana would fill them in.
fn expressions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let filled = targets.filter_map(|target| target["expr"].as_str()).map(|expression| {
        let known =
            [("$__rate_interval", "10s"), ("$model", ".*"), ("$device", ".*"), ("$job", "it")];
        known.iter().fold(expression.to_string(), |text, (name, value)| text.replace(name, value))
    });
    filled.collect()
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// A Prometheus that scrapes a page every second.
fn prometheus(folder: &Path, page: u16, own: u16) -> Ended {
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: it\n  static_configs: [{{targets: ['127.0.0.1:{page}']}}]\n"
    );
    let file = folder.join("prometheus.yml");
    std::fs::File::create(&file).and_then(|mut f| f.write_all(config.as_bytes())).expect("a file");
    let mut command = Command::new("prometheus");
    command.arg(format!("--config.file={}", file.display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
    command.arg(format!("--web.listen-address=127.0.0.1:{own}"));
    command.stdout(Stdio::null()).stderr(Stdio::null());
    Ended(command.spawn().expect("it was found a moment ago"))
}

/// What promtool answers to an expression: its lines, or its complaint.
fn query(port: u16, expression: &str) -> Result<String, String> {
    let url = format!("http://127.0.0.1:{port}");
    let output = Command::new("promtool").args(["query", "instant", &url, expression]).output();
    let output = output.expect("promtool was found a moment ago");
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn runs(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_expression_of_the_dashboard_has_data() {
    let here = (runs("promtool") && runs("prometheus")).then_some(());
    let Some(()) = Need::Tools.met(here, "no prometheus and promtool here (Debian: prometheus)")
    else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let Some(library) = library(folder.path()) else { return };
    let cards = Cards::open_library(library.as_os_str()).expect("the library has two cards");
    let ms = Duration::from_millis;
    let device =
        |index: u32| Device::new(format!("cuda:{index}")).with_uuid(format!("GPU-{index}"));
    let server = Server::builder()
        .devices((0..2).map(device))
        .model(Arc::new(Sleeping::new("tile", ms(2), ms(1), 4)))
        .cards(Some(cards))
        .start()
        .expect("it starts");
    server.settled().await;
    let listen = || tokio::net::TcpListener::bind("127.0.0.1:0");
    let (http, metrics) = (listen().await.expect("a port"), listen().await.expect("a port"));
    let [http_port, page] = [&http, &metrics].map(|l| l.local_addr().expect("an address").port());
    let routes = (server.http(), server.metrics());
    tokio::spawn(async move { axum::serve(http, routes.0).await });
    tokio::spawn(async move { axum::serve(metrics, routes.1).await });
    tokio::spawn(load(http_port));
    let own = free_port();
    let _prometheus = prometheus(folder.path(), page, own);
    let expressions = expressions(&serde_json::from_str(DASHBOARD).expect("JSON"));
    assert!(expressions.len() > 30, "{}", expressions.len());
    let empty =
        tokio::task::spawn_blocking(move || unanswered(own, expressions)).await.expect("it ends");
    assert_eq!(empty, Vec::<String>::new());
}

/// Keeps some requests in flight for as long as the test runs.
async fn load(port: u16) {
    use crate::load::{Address, Cargo, Load, Offered, Stop, Target, Terms};
    let address = Address::parse(&format!("127.0.0.1:{port}")).expect("an address");
    let target = Target::find(&address, "tile", None).await.expect("the model is there");
    let terms = Terms { window: Duration::from_secs(300), ..Terms::default() };
    let levels = vec![Offered::Concurrency(8)];
    let cargo = Cargo { sides: [16, 16], ..Cargo::default() };
    let load = Load { target, metrics: None, grpc: None, cargo, levels, terms };
    // It ends with the test.
    let _ = load.run(&Stop::default(), &mut |_| Ok(())).await;
}

/// Expressions that have no data, or a number that is none, when all have had time to.
fn unanswered(port: u16, expressions: Vec<String>) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(90);
    let mut left = expressions;
    let mut said = Vec::new();
    while !left.is_empty() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_secs(1));
        said.clear();
        left.retain(|expression| match query(port, expression) {
            Ok(lines) if !lines.trim().is_empty() && !lines.contains("NaN") => false,
            other => {
                said.push(format!("{expression}: {other:?}"));
                true
            }
        });
    }
    said
}

/// What Grafana needs to import a dashboard: its input, variables that are used, ids that are its panels' own, and a unit each.
#[test]
fn the_dashboard_can_be_imported() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    assert_eq!(dashboard["__inputs"][0]["name"], "DS_PROMETHEUS");
    assert_eq!(dashboard["schemaVersion"], 38);
    let panels = dashboard["panels"].as_array().expect("panels");
    let mut ids: Vec<u64> =
        panels.iter().map(|panel| panel["id"].as_u64().expect("an id")).collect();
    ids.dedup();
    assert_eq!(ids.len(), panels.len());
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        assert!(panel["fieldConfig"]["defaults"]["unit"].is_string(), "{}", panel["title"]);
        assert_eq!(panel["datasource"]["uid"], "${DS_PROMETHEUS}");
        let [x, w] = ["x", "w"].map(|key| panel["gridPos"][key].as_u64().expect("a place"));
        assert!(x + w <= 24, "{}", panel["title"]);
    }
    let names = dashboard["templating"]["list"].as_array().expect("variables").iter();
    for name in names.filter_map(|variable| variable["name"].as_str()) {
        assert!(
            DASHBOARD.contains(&format!("\"${name}")) || DASHBOARD.contains(&format!("${name}"))
        );
    }
}
