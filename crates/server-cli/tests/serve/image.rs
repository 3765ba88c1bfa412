//! The image of `deploy/Dockerfile` without a daemon: its steps are taken in a fresh root of the distribution that it begins with.
//!
//! That downloads some hundred MB and needs root, so that it has to be asked for: `LITHOBURN_ROOTS=<folder>` names where roots are kept; each run works on
//! a copy. The programs are those of this build; how they are compiled is the same cargo command.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lithoburn_testing::Need;

use super::deployment::{instructions, text};

/// Names the folder of roots.
const ROOTS: &str = "LITHOBURN_ROOTS";
/// Time for a server to get ready: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

/// The instructions of a stage, without the one that begins it, and what that says.
fn stage(name: &str) -> (String, Vec<(String, String)>) {
    let ends = format!(" AS {name}");
    let all = instructions(&text("Dockerfile"));
    let begin = all.iter().position(|(word, rest)| word == "FROM" && rest.ends_with(&ends));
    let begin = begin.expect("a stage of this name");
    let steps = all[begin + 1..].iter().take_while(|(word, _)| word != "FROM").cloned().collect();
    (all[begin].1.clone(), steps)
}

fn run(command: &mut Command) {
    let done = command.output().expect("starts");
    let said = [done.stdout, done.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(done.status.success(), "{command:?}: {}", said.concat());
}

/// A fresh root of a Debian suite in a folder that goes with the test, if roots may be made here.
fn fresh(suite: &str) -> Option<tempfile::TempDir> {
    let roots = std::env::var_os(ROOTS).map(PathBuf::from);
    let roots = Need::Registry.met(roots, format_args!("{ROOTS} names no folder"))?;
    let kept = roots.join(suite);
    if !kept.join("etc/os-release").exists() {
        run(Command::new("debootstrap").args(["--variant=minbase", suite]).arg(&kept));
    }
    let folder = tempfile::tempdir_in(&roots).expect("a folder");
    run(Command::new("cp").arg("-a").arg(&kept).arg(folder.path().join("root")));
    // Names are resolved as they are here.
    run(Command::new("cp").arg("/etc/resolv.conf").arg(folder.path().join("root/etc/resolv.conf")));
    Some(folder)
}

/// A step inside a root, as a daemon would take it.
fn inside(root: &Path, line: &str) -> Command {
    let mut command = Command::new("chroot");
    command.arg(root).args(["/bin/sh", "-e", "-c", line]);
    command
}

/// A process that is killed with its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What a stage leaves when all its steps are taken.
#[derive(Default)]
struct Image {
    environment: Vec<(String, String)>,
    user: String,
    check: Vec<String>,
    entry: Vec<String>,
}

fn words(json: &str) -> Vec<String> {
    serde_json::from_str(json).expect("exec form")
}

fn build(root: &Path, steps: &[(String, String)]) -> Image {
    let mut image = Image::default();
    for (word, rest) in steps {
        match word.as_str() {
            "RUN" => run(&mut inside(root, rest)),
            "COPY" => {
                let to = rest.rsplit(' ').next().expect("a target").trim_start_matches('/');
                run(Command::new("cp")
                    .arg(env!("CARGO_BIN_EXE_lithoburn-server"))
                    .arg(root.join(to)));
            }
            "ENV" => image.environment.extend(rest.split(' ').filter_map(|pair| {
                pair.split_once('=').map(|(name, value)| (name.into(), value.into()))
            })),
            "USER" => image.user.clone_from(rest),
            "HEALTHCHECK" => image.check = words(rest.split_once("CMD ").expect("a command").1),
            "ENTRYPOINT" => image.entry = words(rest),
            _ => (),
        }
    }
    image
}

/// Each step of the image for the CPU succeeds, and its user can start the server there, which the image's own check finds healthy.
#[test]
fn the_image_for_the_cpu_is_built_in_a_fresh_root_and_serves() {
    let (begin, steps) = stage("cpu");
    let suite = begin.split([':', '-']).nth(1).expect("debian:SUITE-slim").to_string();
    let Some(folder) = fresh(&suite) else { return };
    let root = folder.path().join("root");
    let image = build(&root, &steps);
    // Whether somebody from elsewhere may come in is tried elsewhere; the check is made from inside.
    let serve = [image.entry.join(" "), "--devices cpu --models simulator".into()].join(" ");
    let check: Vec<String> = image.check.iter().map(|word| format!("'{word}'")).collect();
    let script = format!(
        "mount -t proc proc {root}/proc; ip link set lo up; chroot --userspec={user}: {root} /usr/bin/env -i PATH=/usr/local/bin:/usr/bin:/bin {env} {serve} & server=$!; \
         until chroot --userspec={user}: {root} {check} || ! kill -0 $server; do sleep 0.2; done; kill -0 $server && echo healthy; kill $server; wait",
        user = image.user,
        root = root.display(),
        env = image
            .environment
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(" "),
        check = check.join(" "),
    );
    let mut command = Command::new("unshare");
    let spawned = command
        .args(["--net", "--mount", "sh", "-c", &script])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut served = Killed(spawned.expect("unshare runs"));
    let (out, start) = (served.0.stdout.take().expect("piped"), Instant::now());
    while served.0.try_wait().expect("its status").is_none() {
        assert!(start.elapsed() < PATIENCE, "the server does not get ready");
        std::thread::sleep(Duration::from_millis(50));
    }
    let said = std::io::read_to_string(out).expect("text");
    assert!(said.contains("healthy"), "{said}");
}
