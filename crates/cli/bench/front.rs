//! The front: what L2, PV band and shots cost each other.

use anyhow::{Context, Result};
use lithoburn_engine::MaskStyle;
use lithoburn_layout::write_whole;
use lithoburn_pictures::PictureError;
use lithoburn_pictures::chart::{Chart, Series, draw};
use serde::Serialize;

use super::{Iccad13Args, Table, correction, layouts, measured};
use crate::Verdict;
use lithoburn_terminal::{print_json, say, table};

/// Weights of the PV band.
const BANDS: [f64; 7] = [0.0, 0.5, 1.0, 2.0, 3.0, 4.0, 6.0];
/// Shot budgets.
const SHOTS: [usize; 4] = [100, 150, 300, 600];

/// One setting's averages.
#[derive(Clone, Debug, Serialize)]
struct Point {
    setting: String,
    shots_budget: Option<usize>,
    band: Option<f64>,
    l2_nm2: f64,
    pvb_nm2: f64,
    epe_violations: f64,
    shots: f64,
    min_shape_area_nm2: f64,
    min_shape_distance_nm: f64,
    rule_violations: usize,
    seconds: f64,
}

/// Measures all settings.
pub(super) fn front(args: &Iccad13Args) -> Result<Verdict> {
    let layouts = layouts(args)?;
    let base = correction(args, &layouts)?;
    let mut points = Vec::new();
    let mut command = String::new();
    let settings = BANDS
        .iter()
        .map(|&band| (Some(band), None))
        .chain(SHOTS.iter().map(|&shots| (args.model.band, Some(shots))));
    for (band, shots) in settings {
        let banded = base.clone().band(band);
        let found = match shots {
            Some(shots) => measured(args, &banded.style(MaskStyle::Manhattan { shots }))?,
            None => measured(args, &banded)?,
        };
        let point = point(&found, band, shots);
        say(args.json, &cells(&point).join("  "));
        points.push(point);
        command = found.command;
    }
    if let Some(out) = &args.out {
        std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
        let file = |ending: &str| out.join(format!("{}-front.{ending}", args.name));
        write_whole(&file("json"), &serde_json::to_vec_pretty(&points)?)?;
        write_whole(&file("png"), &picture(&points)?)?;
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = format!("# The front\n\n`{command}`\n\n");
        text += &line(&HEADER.map(String::from));
        text += &line(&HEADER.map(|_| "---".into()));
        points.iter().for_each(|p| text += &line(&cells(p)));
        write_whole(&file("md"), text.as_bytes())?;
    }
    let rows: Vec<Vec<String>> = points.iter().map(|p| cells(p).to_vec()).collect();
    match args.json {
        true => print_json(&points)?,
        false => say(false, &table(&HEADER, &rows)),
    }
    Ok(Verdict::Done)
}

const HEADER: [&str; 9] = [
    "setting",
    "L2 nm²",
    "PVB nm²",
    "EPE",
    "shots",
    "min area nm²",
    "min gap nm",
    "broken rules",
    "mask s",
];

fn point(t: &Table, band: Option<f64>, shots: Option<usize>) -> Point {
    let setting = match (band, shots) {
        (_, Some(shots)) => format!("--shots {shots}"),
        (Some(band), None) => format!("--band {band}"),
        (None, None) => "default".into(),
    };
    Point {
        setting,
        shots_budget: shots,
        band,
        l2_nm2: t.l2_nm2,
        pvb_nm2: t.pvb_nm2,
        epe_violations: t.epe_violations,
        shots: t.shots,
        min_shape_area_nm2: t.min_shape_area_nm2,
        min_shape_distance_nm: t.min_shape_distance_nm,
        rule_violations: t.violations,
        seconds: t.seconds,
    }
}

fn cells(p: &Point) -> [String; 9] {
    [
        p.setting.clone(),
        format!("{:.0}", p.l2_nm2),
        format!("{:.0}", p.pvb_nm2),
        format!("{:.1}", p.epe_violations),
        format!("{:.0}", p.shots),
        format!("{:.0}", p.min_shape_area_nm2),
        format!("{:.1}", p.min_shape_distance_nm),
        p.rule_violations.to_string(),
        format!("{:.2}", p.seconds),
    ]
}

fn picture(points: &[Point]) -> Result<Vec<u8>, PictureError> {
    let series = |name: &str, budget: bool, at: fn(&Point) -> [f64; 2]| {
        let own: Vec<&Point> =
            points.iter().filter(|p| p.shots_budget.is_some() == budget).collect();
        Series {
            name: name.into(),
            points: own.iter().map(|p| at(p)).collect(),
            labels: own.iter().map(|p| p.setting.trim_start_matches("--").to_string()).collect(),
            joined: true,
        }
    };
    let chart = |title: &str, x: &str, y: &str, at: fn(&Point) -> [f64; 2]| Chart {
        title: title.into(),
        x: x.into(),
        y: y.into(),
        series: vec![series("curvilinear", false, at), series("rectangles", true, at)],
    };
    draw(&[
        chart("L2 against PV band", "L2, nm²", "PV band, nm²", |p| [p.l2_nm2, p.pvb_nm2]),
        chart("L2 + PV band against shots", "shots", "L2 + PV band, nm²", |p| {
            [p.shots, p.l2_nm2 + p.pvb_nm2]
        }),
    ])
}
