//! The methods beside each other: what quality each gives, and what it takes.

use anyhow::{Context, Result, ensure};
use lithoburn_engine::{Model, ModelSettings};
use lithoburn_layout::write_whole;
use lithoburn_pictures::PictureError;
use lithoburn_pictures::chart::{Chart, Series, draw};
use serde::Serialize;

use super::{Iccad13Args, Table, correction, layouts, measured};
use crate::Verdict;
use lithoburn_terminal::{go_on, print_json, say, table};

/// One method's averages.
#[derive(Clone, Debug, Serialize)]
struct Line {
    method: &'static str,
    /// Steps of correction after a network; none for a solver.
    correct: Option<usize>,
    l2_nm2: f64,
    pvb_nm2: f64,
    epe_violations: f64,
    shots: f64,
    rule_violations: usize,
    seconds: f64,
    device: String,
    card: String,
    command: String,
}

/// Measures all methods, networks alone and corrected.
pub(super) fn models(args: &Iccad13Args) -> Result<Verdict> {
    ensure!(args.model.weights.is_none(), "--weights is for one model: leave it out");
    let layouts = layouts(args)?;
    let base = correction(args, &layouts)?;
    let mut lines = Vec::new();
    for model in compared(args.model.correction(), args.model.correct_every()) {
        let found = match measured(args, &base.clone().model(model.clone())) {
            // Surrogates are made for their optics: others have none until one is trained.
            Err(error) if model.model == Model::SurrogateIlt && go_on() => {
                say(args.json, &format!("left out: {error:#}"));
                continue;
            }
            found => found?,
        };
        let line = line(&model, &found);
        say(args.json, &cells(&line).join("  "));
        lines.push(line);
    }
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        let file = |ending: &str| out.join(format!("{}-models.{ending}", args.name));
        write_whole(&file("json"), &serde_json::to_vec_pretty(&lines)?)?;
        write_whole(&file("png"), &picture(&lines, layouts.len())?)?;
        write_whole(&file("md"), markdown(&lines, layouts.len()).as_bytes())?;
        say(args.json, &format!("wrote {}/{}-models.{{json,md,png}}", out.display(), args.name));
    }
    let rows: Vec<Vec<String>> = lines.iter().map(|l| cells(l).to_vec()).collect();
    match args.json {
        true => print_json(&lines)?,
        false => say(false, &table(&HEADER, &rows)),
    }
    Ok(Verdict::Done)
}

/// The solver, with the true model and with a surrogate, and every network alone and with this many steps of
/// correction.
fn compared(correct: usize, correct_every: usize) -> Vec<ModelSettings> {
    let settings = |model: Model, correct| ModelSettings { correct, correct_every, ..model.into() };
    let network = |model| [0, correct].map(|correct| settings(model, correct)).to_vec();
    let networks = [Model::NeuralIlt, Model::NeuralIltFast, Model::GanOpc].map(network);
    let solvers = [Model::Ilt, Model::SurrogateIlt].map(|model| settings(model, correct));
    [solvers.to_vec(), networks.concat()].concat()
}

fn line(model: &ModelSettings, t: &Table) -> Line {
    Line {
        method: model.model.name(),
        correct: model.correction(),
        l2_nm2: t.l2_nm2,
        pvb_nm2: t.pvb_nm2,
        epe_violations: t.epe_violations,
        shots: t.shots,
        rule_violations: t.violations,
        seconds: t.seconds,
        device: t.device.clone(),
        card: t.card.clone(),
        command: t.command.clone(),
    }
}

impl Line {
    fn name(&self) -> String {
        match self.correct {
            None => self.method.into(),
            Some(0) => format!("{} alone", self.method),
            Some(steps) => format!("{} + {steps} steps", self.method),
        }
    }
}

const HEADER: [&str; 7] = ["method", "L2 nm²", "PVB nm²", "EPE", "shots", "broken rules", "mask s"];

fn cells(l: &Line) -> [String; 7] {
    [
        l.name(),
        format!("{:.0}", l.l2_nm2),
        format!("{:.0}", l.pvb_nm2),
        format!("{:.1}", l.epe_violations),
        format!("{:.0}", l.shots),
        l.rule_violations.to_string(),
        format!("{:.3}", l.seconds),
    ]
}

fn markdown(lines: &[Line], clips: usize) -> String {
    let Some(first) = lines.first() else { return String::new() };
    let row = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let mut text = format!(
        "# Methods on {clips} clips\n\n`{}`\n\n{} ({}), averages a clip\n\n",
        first.command, first.device, first.card
    );
    text += &row(&HEADER.map(String::from));
    text += &row(&HEADER.map(|_| "---".into()));
    lines.iter().for_each(|l| text += &row(&cells(l)));
    text
}

/// Quality against time: networks alone, corrected ones, solvers.
fn picture(lines: &[Line], clips: usize) -> Result<Vec<u8>, PictureError> {
    let series = |name: &str, own: fn(&Line) -> bool| {
        let own: Vec<&Line> = lines.iter().filter(|l| own(l)).collect();
        Series {
            name: name.into(),
            points: own.iter().map(|l| [l.seconds, l.l2_nm2 + l.pvb_nm2]).collect(),
            labels: own.iter().map(|l| l.method.to_string()).collect(),
            joined: false,
        }
    };
    let place = lines.first().map_or(String::new(), |l| l.card.clone());
    draw(&[Chart {
        title: format!("{clips} clips on {place}"),
        x: "seconds a mask".into(),
        y: "L2 + PV band, nm²".into(),
        series: vec![
            series("solver", |l| l.correct.is_none()),
            series("network alone", |l| l.correct == Some(0)),
            series("network, corrected", |l| l.correct.is_some_and(|c| c > 0)),
        ],
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_is_compared_alone_and_corrected() {
        let models = compared(100, 20);
        assert_eq!(models[0].model, Model::Ilt);
        assert_eq!(models[1].model, Model::SurrogateIlt);
        let steps: Vec<usize> = models[2..].iter().filter_map(ModelSettings::correction).collect();
        assert_eq!(steps, [0, 100, 0, 100, 0, 100]);
    }
}
