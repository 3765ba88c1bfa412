//! The files of `deploy/`: each is read by whoever reads its kind, and names what the program has.

use std::path::{Path, PathBuf};
use std::process::Command;

use lithoburn_testing::Need;
use serde_json::Value;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy").join(name)
}

pub(super) fn text(name: &str) -> String {
    std::fs::read_to_string(file(name)).expect("a file of deploy")
}

/// The documents of a YAML file, by a real parser; none where there is none.
fn yaml(name: &str) -> Option<Vec<Value>> {
    let script =
        "import json,sys,yaml; print(json.dumps(list(yaml.safe_load_all(open(sys.argv[1])))))";
    let read = Command::new("python3").args(["-c", script]).arg(file(name)).output().ok();
    let read =
        read.filter(|output| !String::from_utf8_lossy(&output.stderr).contains("No module named"));
    let output = Need::Tools.met(read, "no python3 with PyYAML")?;
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    Some(serde_json::from_slice(&output.stdout).expect("JSON"))
}

/// An instruction of a Dockerfile with its arguments, lines joined.
pub(super) fn instructions(text: &str) -> Vec<(String, String)> {
    let whole = text.replace("\\\n", " ");
    let lines =
        whole.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let split = |line: &str| {
        line.split_once(' ').map(|(name, rest)| (name.to_string(), rest.trim().to_string()))
    };
    lines.map(|line| split(line).unwrap_or_else(|| panic!("{line}: no instruction"))).collect()
}

#[test]
fn the_dockerfile_is_whole_and_every_stage_that_it_names_is_there() {
    const KNOWN: [&str; 13] = [
        "FROM",
        "RUN",
        "WORKDIR",
        "COPY",
        "USER",
        "ENV",
        "VOLUME",
        "EXPOSE",
        "HEALTHCHECK",
        "STOPSIGNAL",
        "ENTRYPOINT",
        "CMD",
        "ARG",
    ];
    let (mut stages, mut starts) = (Vec::new(), 0);
    for (name, rest) in instructions(&text("Dockerfile")) {
        assert!(KNOWN.contains(&name.as_str()), "{name} {rest}");
        match name.as_str() {
            "FROM" => {
                let stage = rest.split(" AS ").nth(1).expect("every stage has a name").to_string();
                stages.push(stage);
            }
            "COPY" => {
                if let Some(from) = rest.strip_prefix("--from=") {
                    let from = from.split(' ').next().unwrap_or_default();
                    assert!(
                        stages.iter().any(|stage| stage == from),
                        "{rest}: no stage {from} before it"
                    );
                }
            }
            "ENTRYPOINT" | "CMD" => {
                let words: Vec<String> =
                    serde_json::from_str(&rest).expect("exec form: signals reach the program");
                assert!(!words.is_empty());
                starts += 1;
            }
            "HEALTHCHECK" => assert!(rest.contains("/v2/health/ready"), "{rest}"),
            _ => (),
        }
    }
    assert!(stages.contains(&"cuda".into()) && stages.contains(&"cpu".into()), "{stages:?}");
    assert_eq!(starts, 4);
}

/// The commands of the image start a server that there is: each option is one of the program's.
#[test]
fn options_that_deployments_name_are_the_programs() {
    let help =
        Command::new(env!("CARGO_BIN_EXE_lithoburn-server")).args(["serve", "--help"]).output();
    let help = String::from_utf8(help.expect("the program runs").stdout).expect("text");
    for name in ["Dockerfile", "compose.yaml", "kubernetes.yaml", "lithoburn.service"] {
        let text = text(name);
        let lines = text.lines().filter(|line| {
            let line = line.trim();
            !line.starts_with('#')
                && (line.starts_with("CMD [\"--")
                    || line.starts_with("args:")
                    || line.starts_with("ExecStart="))
        });
        for word in
            lines.flat_map(|line| line.split(['"', ' ', ','])).filter(|word| word.starts_with("--"))
        {
            assert!(help.contains(word), "{name}: {word}");
        }
    }
}

#[test]
fn the_settings_file_is_what_the_program_reads() {
    let data = tempfile::tempdir().expect("a folder");
    // Read before anything else, so that the first thing that is refused comes after it.
    let output = Command::new(env!("CARGO_BIN_EXE_lithoburn-server"))
        .args(["serve", "--devices", "sleeping:0", "--data"])
        .arg(data.path())
        .arg("--config")
        .arg(file("serve.toml"))
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("sleeping:N") && !said.contains("serve.toml"), "{said}");
}

#[test]
fn compose_reserves_cards_and_asks_for_readiness() {
    let Some(documents) = yaml("compose.yaml") else { return };
    let service = &documents[0]["services"]["lithoburn"];
    let device = &service["deploy"]["resources"]["reservations"]["devices"][0];
    assert_eq!((&device["driver"], &device["capabilities"][0]), (&"nvidia".into(), &"gpu".into()));
    let check = service["healthcheck"]["test"].to_string();
    assert!(check.contains("/v2/health/ready"), "{check}");
    for secret in service["secrets"].as_array().expect("secrets") {
        assert!(
            documents[0]["secrets"].get(secret.as_str().expect("a name")).is_some(),
            "{secret}"
        );
    }
}

#[test]
fn kubernetes_has_probes_and_tells_prometheus() {
    let Some(documents) = yaml("kubernetes.yaml") else { return };
    let kinds: Vec<&str> =
        documents.iter().filter_map(|document| document["kind"].as_str()).collect();
    assert_eq!(kinds, ["PersistentVolumeClaim", "Deployment", "Service"]);
    let template = &documents[1]["spec"]["template"];
    assert_eq!(template["metadata"]["annotations"]["prometheus.io/port"], "8002");
    let container = &template["spec"]["containers"][0];
    for (probe, path) in
        [("startupProbe", "ready"), ("readinessProbe", "ready"), ("livenessProbe", "live")]
    {
        assert_eq!(container[probe]["httpGet"]["path"], format!("/v2/health/{path}"));
    }
    let selected = &documents[2]["spec"]["selector"];
    assert_eq!(selected, &template["metadata"]["labels"]);
}

#[test]
fn systemd_has_no_complaint_about_its_unit() {
    let run = Command::new("systemd-analyze").arg("--version").output().ok();
    if Need::Tools.met(run, "no systemd-analyze").is_none() {
        return;
    }
    let output =
        Command::new("systemd-analyze").arg("verify").arg(file("lithoburn.service")).output();
    let output = output.expect("systemd-analyze runs");
    let said = String::from_utf8_lossy(&output.stderr);
    // The program is not installed where the unit looks for it.
    let complaints = said
        .lines()
        .filter(|line| line.contains("lithoburn.service") && !line.contains("is not executable"));
    assert_eq!(complaints.collect::<Vec<_>>(), Vec::<&str>::new(), "{said}");
}
