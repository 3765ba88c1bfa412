//! The process window of a mask.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use lithoburn_engine::{Folder, WindowReport, WindowSettings, default_directory, process_window};
use lithoburn_layout::write_whole;

use crate::Verdict;
use crate::score::PairOptions;
use lithoburn_terminal::{print_json, say, table};

/// Look at a mask through dose and focus: focus-exposure matrix, exposure latitude, depth of focus.
#[derive(Args, Debug)]
pub struct WindowArgs {
    #[command(flatten)]
    pair: PairOptions,
    /// Distances from best focus, in nm.
    #[arg(long, value_name = "NM,…", value_delimiter = ',', allow_negative_numbers = true,
          default_values_t = [-120.0, -90.0, -60.0, -30.0, 0.0, 30.0, 60.0, 90.0, 120.0])]
    foci: Vec<f64>,
    /// Doses of the matrix: factors on the intensity.
    #[arg(long, value_name = "D,…", value_delimiter = ',',
          default_values_t = [0.94, 0.97, 1.0, 1.03, 1.06])]
    doses: Vec<f64>,
    /// How far an edge may be off, in nm.
    #[arg(long, value_name = "NM", default_value_t = 15.0)]
    tolerance: f64,
    /// Directory for window.json and window.png [default: out/TARGET].
    #[arg(long, short, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print JSON and nothing else.
    #[arg(long)]
    json: bool,
}

/// Runs the job.
///
/// # Errors
///
/// One that says what was wrong and what to do.
pub fn window(args: &WindowArgs) -> Result<Verdict> {
    let settings = settings(args)?;
    let target = args.pair.drawing.read(&args.pair.target)?;
    let out = args.out.clone();
    let out = out.unwrap_or_else(|| default_directory(&target.name));
    let _folder = Folder::claim(&out)?;
    let (kernels, _) = args.pair.kernels.load()?;
    let [mask, raster] = args.pair.rasters(&target, kernels.period_nm)?;
    let process = args.pair.kernels.process()?;
    let report = process_window(&target.name, &kernels, &process, &mask, &raster, &settings)?;
    write_whole(&out.join("window.json"), &serde_json::to_vec_pretty(&report)?)?;
    write_whole(&out.join("window.png"), &report.picture()?)?;
    if args.json {
        print_json(&report)?;
    } else {
        summary(&report);
        say(false, &format!("wrote {}/{{window.json, window.png}}", out.display()));
    }
    Ok(Verdict::Done)
}

fn settings(args: &WindowArgs) -> Result<WindowSettings> {
    let mut foci_nm = args.foci.clone();
    foci_nm.sort_by(f64::total_cmp);
    foci_nm.dedup();
    if foci_nm.iter().any(|f| !f.is_finite()) {
        bail!("--foci must be finite numbers of nm");
    }
    if args.doses.iter().any(|d| !(d.is_finite() && *d > 0.0)) {
        bail!("--doses must be positive factors on the intensity");
    }
    if !(args.tolerance.is_finite() && args.tolerance > 0.0) {
        bail!("--tolerance must be positive, got {}", args.tolerance);
    }
    Ok(WindowSettings { foci_nm, doses: args.doses.clone(), tolerance_nm: args.tolerance })
}

fn summary(report: &WindowReport) {
    let rows: Vec<Vec<String>> = report
        .matrix
        .iter()
        .map(|e| {
            vec![
                format!("{:.0}", e.focus_nm),
                format!("{:.3}", e.dose),
                format!("{:.0}", e.l2_nm2),
                e.epe_violations.to_string(),
                format!("{:.2}", e.edges.mean_nm),
                format!("{:.2}", e.edges.three_sigma_nm),
                format!("{:.1}", e.edges.max_nm),
                e.edges.missing.to_string(),
            ]
        })
        .collect();
    let header = ["focus nm", "dose", "L2 nm²", "EPE", "mean nm", "3σ nm", "max nm", "no edge"];
    say(false, &table(&header, &rows));
    say(
        false,
        &format!(
            "edges within ±{} nm at {} sites: exposure latitude {:.1} % at the best focus, 5 % over {:.0} nm",
            report.tolerance_nm,
            report.sites,
            100.0 * report.best_latitude,
            report.depth_nm
        ),
    );
}
