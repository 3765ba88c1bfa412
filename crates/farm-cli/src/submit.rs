//! `submit`: what to hand to a site's scheduler, printed before anybody runs it.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use clap::Args;
use lithoburn_farm::job::Opened;

use lithoburn_terminal::{Verdict, say};

/// Print what to hand to a site's scheduler.
#[derive(Args, Debug)]
pub(crate) struct SubmitArgs {
    /// The job's folder, as the site's machines see it.
    job: PathBuf,
    /// Slurm: options of sbatch, such as "--gres=gpu:1 --partition=gpu".
    #[arg(long, value_name = "OPTIONS", num_args = 0..=1, default_missing_value = "", allow_hyphen_values = true, group = "site")]
    slurm: Option<String>,
    /// LSF: options of bsub, such as "-q gpu -gpu num=1".
    #[arg(long, value_name = "OPTIONS", num_args = 0..=1, default_missing_value = "", allow_hyphen_values = true, group = "site")]
    lsf: Option<String>,
    /// Kubernetes: an Indexed Job with this image.
    #[arg(long, value_name = "IMAGE", group = "site")]
    kubernetes: Option<String>,
    /// Tasks: one worker each.
    #[arg(long, value_name = "N", default_value_t = 64)]
    tasks: u64,
    /// Where the tasks get their blocks: array, a fixed part for each; local or nats://HOST:PORT, as they become free.
    #[arg(long, value_name = "WHO", default_value = "array")]
    source: String,
    /// Devices of each task.
    #[arg(long, value_name = "LIST", default_value = "all")]
    devices: String,
    /// Claim of the volume that the job's folder is on (Kubernetes).
    #[arg(long, value_name = "NAME", default_value = "farm")]
    volume: String,
}

/// A scheduler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Site {
    Slurm,
    Lsf,
    Kubernetes,
}

impl Site {
    /// The source of one of its array's tasks.
    fn source(self) -> &'static str {
        match self {
            Self::Slurm => "slurm",
            Self::Lsf => "lsf",
            Self::Kubernetes => "kubernetes",
        }
    }
}

/// Runs the job.
pub(crate) fn submit(args: &SubmitArgs) -> Result<Verdict> {
    let job = Opened::read(&args.job)?;
    ensure!(args.tasks >= 1, "--tasks must be 1 or more, got {}", args.tasks);
    let tasks = args.tasks.min(job.job.blocks.max(1));
    let text = match (&args.slurm, &args.lsf, &args.kubernetes) {
        (Some(options), ..) => slurm(options, tasks, &command(args, &job, Site::Slurm)?),
        (_, Some(options), _) => lsf(options, tasks, &command(args, &job, Site::Lsf)?),
        (.., Some(image)) => {
            kubernetes(image, tasks, &words(args, &job, Site::Kubernetes)?, &job, &args.volume)
        }
        _ => anyhow::bail!("name a scheduler: --slurm, --lsf or --kubernetes IMAGE"),
    };
    say(false, text.trim_end());
    Ok(Verdict::Done)
}

/// The command of a task, word by word.
fn words(args: &SubmitArgs, job: &Opened, site: Site) -> Result<Vec<String>> {
    let source = if args.source == "array" { site.source() } else { &args.source };
    let place = job.address()?;
    let words = ["lithoburn", "farm", "work", &place, "--source", source, "--devices"];
    Ok(words.into_iter().chain([args.devices.as_str()]).map(String::from).collect())
}

fn command(args: &SubmitArgs, job: &Opened, site: Site) -> Result<String> {
    Ok(words(args, job, site)?.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" "))
}

/// A word as a shell reads it whole.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,=@%+".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

/// One task a node's lost again is started again, and its output goes on.
fn slurm(options: &str, tasks: u64, command: &str) -> String {
    let array = format!("--array=0-{}", tasks - 1);
    let wrap = format!("--wrap={}", quoted(&format!("exec {command}")));
    let usual = "--requeue --open-mode=append --job-name=lithoburn-farm";
    line(&["sbatch", &array, usual, options.trim(), &wrap])
}

fn lsf(options: &str, tasks: u64, command: &str) -> String {
    let name = quoted(&format!("lithoburn-farm[1-{tasks}]"));
    line(&["bsub -J", &name, "-r", options.trim(), &quoted(command)])
}

/// Parts of a line, but for those that are empty.
fn line(parts: &[&str]) -> String {
    let parts: Vec<&str> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    format!("{}\n", parts.join(" "))
}

fn kubernetes(image: &str, tasks: u64, words: &[String], job: &Opened, volume: &str) -> String {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let command: Vec<String> = words.iter().map(|word| text(word)).collect();
    let mount = job.folder().parent().unwrap_or(Path::new("/")).display().to_string();
    let name = format!("lithoburn-farm-{}", job.id.short());
    format!(
        r#"apiVersion: batch/v1
kind: Job
metadata:
  name: {name}
spec:
  completionMode: Indexed
  completions: {tasks}
  parallelism: {tasks}
  backoffLimitPerIndex: 3
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: worker
          image: {image}
          command: [{command}]
          env:
            - name: LITHOBURN_TASKS
              value: "{tasks}"
          resources:
            limits:
              nvidia.com/gpu: 1
          volumeMounts:
            - name: farm
              mountPath: {mount}
      volumes:
        - name: farm
          persistentVolumeClaim:
            claimName: {volume}
"#,
        image = text(image),
        command = command.join(", "),
        mount = text(&mount),
        volume = text(volume),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_that_a_shell_would_read_otherwise_is_quoted() {
        let words = ["nats://a:4222", "/a/b c", "it's", "", "$(rm)"].map(quoted);
        assert_eq!(words, ["nats://a:4222", "'/a/b c'", r"'it'\''s'", "''", "'$(rm)'"]);
    }

    #[test]
    fn each_scheduler_gets_an_array_of_tasks() {
        let line = slurm("--gres=gpu:1", 8, "lithoburn farm work /job");
        assert!(line.starts_with("sbatch --array=0-7 --requeue --open-mode=append"), "{line}");
        assert!(line.contains("--gres=gpu:1 --wrap='exec lithoburn farm work /job'"), "{line}");
        let line = lsf("", 8, "lithoburn farm work /job");
        assert_eq!(line, "bsub -J 'lithoburn-farm[1-8]' -r 'lithoburn farm work /job'\n");
        let spaces = slurm("", 1, &quoted("/two  spaces"));
        assert!(spaces.contains("/two  spaces"), "{spaces}");
    }
}
