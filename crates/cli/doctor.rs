//! Why there is no GPU, what does not fit, and what to type.

mod cuda;
mod driver;
mod graphics;
mod host;
mod limits;

use anyhow::Result;
use clap::Args;
use lithoburn_pool::{Candidate, DeviceName, choose, survey};

use crate::Verdict;
use lithoburn_terminal::{print_json, say};

use host::{Host, ThisHost};

/// Find out why there is no GPU, or what does not fit, and what to type. Nothing is changed.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// Print JSON instead of text.
    #[arg(long)]
    json: bool,
}

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
enum Weight {
    /// As it should be.
    Good,
    /// Something is missing that not everybody needs.
    Note,
    /// Something is broken, or half there.
    Problem,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
struct Finding {
    weight: Weight,
    /// What was looked at: a word or two.
    about: &'static str,
    /// What was found.
    found: String,
    /// What to type or to do, in turn.
    remedy: Vec<String>,
}

impl Finding {
    fn good(about: &'static str, found: impl Into<String>) -> Self {
        Self { weight: Weight::Good, about, found: found.into(), remedy: Vec::new() }
    }

    fn note(about: &'static str, found: impl Into<String>, remedy: &[&str]) -> Self {
        let remedy = remedy.iter().map(ToString::to_string).collect();
        Self { weight: Weight::Note, about, found: found.into(), remedy }
    }

    fn problem(about: &'static str, found: impl Into<String>, remedy: &[&str]) -> Self {
        Self { weight: Weight::Problem, ..Self::note(about, found, remedy) }
    }
}

/// Everything that is looked at, in the order in which one thing needs the other.
fn examine(host: &dyn Host) -> Vec<Finding> {
    let mut findings = driver::check(host);
    // Where no card is, what it would need is nobody's concern.
    if driver::cards(host) > 0 {
        findings.extend(cuda::check(host));
    }
    findings.extend(graphics::check(host));
    findings.extend(limits::check(host));
    findings
}

/// Runs the job.
///
/// # Errors
///
/// If standard output is gone.
pub fn doctor(args: &DoctorArgs) -> Result<Verdict> {
    let mut findings = examine(&ThisHost);
    findings.extend(devices(&survey()));
    match args.json {
        true => print_json(&findings)?,
        false => findings.iter().for_each(|finding| say(false, &told(finding))),
    }
    let worst = findings.iter().map(|finding| finding.weight).max();
    Ok(if worst == Some(Weight::Problem) { Verdict::NotMet } else { Verdict::Done })
}

/// Tries every GPU that is here.
fn devices(found: &[Candidate]) -> Vec<Finding> {
    let gpus = found.iter().filter(|candidate| candidate.name != DeviceName::Cpu);
    let mut findings: Vec<Finding> = gpus
        .map(|gpu| {
            let name = format!("{} ({})", gpu.name, gpu.card);
            match choose(gpu.name) {
                Ok(_) => Finding::good("device", format!("{name} computes")),
                Err(error) => Finding::problem("device", format!("{name}: {error}"), &[]),
            }
        })
        .collect();
    if findings.is_empty() {
        let built: &[&str] = match cfg!(feature = "cuda") {
            true => &[],
            false => {
                &["this program was built without CUDA: cargo build --release --features cuda"]
            }
        };
        findings.push(Finding::note("device", "no GPU: everything runs on the CPU", built));
    }
    findings
}

/// A finding as it is read.
fn told(finding: &Finding) -> String {
    let mark = match finding.weight {
        Weight::Good => "ok      ",
        Weight::Note => "note    ",
        Weight::Problem => "problem ",
    };
    let head = format!("{mark} {:<9} {}", finding.about, finding.found);
    let mut lines = vec![head];
    lines.extend(finding.remedy.iter().map(|line| format!("{:>20}{line}", "→ ")));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::host::Fake;
    use super::*;

    #[test]
    fn a_machine_without_a_card_is_not_told_to_install_cuda() {
        let findings = examine(&Fake::default());
        assert!(findings.iter().all(|f| f.weight != Weight::Problem), "{findings:?}");
        assert!(!findings.iter().any(|f| f.about == "NVRTC"), "{findings:?}");
    }

    #[test]
    fn a_finding_reads_as_what_and_then_what_to_do() {
        let finding = Finding::problem("NVRTC", "it is not here", &["apt install it", "or so"]);
        let text = told(&finding);
        assert!(text.starts_with("problem  NVRTC     it is not here\n"), "{text}");
        assert_eq!(text.lines().skip(1).filter(|line| line.contains("→ ")).count(), 2);
    }
}
