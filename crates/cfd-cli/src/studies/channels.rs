//! Channels: empty, with an outline of the user's, with heated fins.

use std::path::Path;

use anyhow::{Result, bail};
use clap::Args;
use lithoburn_cfd::{Objective, cases};

use super::outline::{ShapeOptions, check_body, read_body};
use crate::options::{Cells, RunOptions, positive};
use crate::pictures::Window;
use crate::run;
use crate::shape_file::Placement;
use crate::study::{Quantity, Reference, Study};
use crate::sweep;
use crate::warming::{Start, WarmingOptions, warm};
use lithoburn_terminal::Verdict;

/// Options of the channel.
#[derive(Args, Debug)]
pub(crate) struct ChannelArgs {
    /// Reynolds number of the mean velocity and the channel's height; several run beside each other.
    #[arg(long, value_name = "RE,…", value_delimiter = ',', num_args = 1, default_values_t = [100.0], allow_negative_numbers = true)]
    re: Vec<f64>,
    /// Length of the channel in heights.
    #[arg(long, value_name = "L", default_value_t = 2.0, allow_negative_numbers = true)]
    length: f64,
    /// Cells along x and y.
    #[arg(long, value_name = "NXxNY", default_value = "256x128")]
    grid: Cells,
    #[command(flatten)]
    shape: ShapeOptions,
    /// Height of the shape, in channel heights.
    #[arg(long, value_name = "H", default_value_t = 0.25, allow_negative_numbers = true)]
    size: f64,
    /// Middle of the shape, in channel heights.
    #[arg(long, value_name = "X,Y", value_delimiter = ',', num_args = 1, default_values_t = [0.5013, 0.5007])]
    at: Vec<f64>,
    #[command(flatten)]
    run: RunOptions,
}

impl ChannelArgs {
    /// Runs it for each outline and Reynolds number.
    pub(crate) fn run(&self) -> Result<Verdict> {
        sweep::run(&self.run, self.shape.with_each(&self.re, |shape, re| self.study(shape, re))?)
    }

    fn study(&self, shape: Option<&Path>, re: f64) -> Result<Study> {
        let (re, length) = (positive("--re", re)?, positive("--length", self.length)?);
        let mut case = cases::channel(re, length, self.grid.x, self.grid.y)?;
        let [x, y] = self.at[..] else { bail!("--at expects two numbers, such as 0.5,0.5") };
        let placement = Placement { centre: [x, y], height: positive("--size", self.size)? };
        let body = shape.map(|path| read_body(path, placement)).transpose()?;
        let developed = 12.0 / re * length;
        let drop =
            Quantity::objective("dp", "pressure drop", Objective::PressureDrop { from: 0, to: 1 });
        let mut quantities = vec![];
        match body {
            None => {
                let exact = Reference::value(developed, 0.01, "Poiseuille, 12 ν U L / H²");
                quantities.push(drop.against(Some(exact)));
            }
            Some(body) => {
                check_body(&case, &body, "--shape")?;
                case = case.with_body(body);
                quantities.push(drop);
                let scale = (1.0, self.size);
                quantities.push(Quantity::objective(
                    "cd",
                    "drag coefficient",
                    Objective::drag(scale.0, scale.1),
                ));
                quantities.push(Quantity::objective(
                    "cl",
                    "lift coefficient",
                    Objective::lift(scale.0, scale.1),
                ));
            }
        }
        Ok(Study {
            name: "channel",
            title: format!("Channel at Re {re}"),
            parameters: vec![("re", re), ("length", length)],
            quantities,
            window: Window::all(&case.grid),
            warnings: Vec::new(),
            case,
        })
    }
}

/// Options of the exchanger.
#[derive(Args, Debug)]
pub(crate) struct ExchangerArgs {
    /// Cells along x and y.
    #[arg(long, value_name = "NXxNY", default_value = "64x64")]
    grid: Cells,
    #[command(flatten)]
    warming: WarmingOptions,
    #[command(flatten)]
    run: RunOptions,
}

impl ExchangerArgs {
    /// Runs it, in time if that is asked for.
    pub(crate) fn run(&self) -> Result<Verdict> {
        if self.warming.unsteady {
            // A cold stream whose fins are switched on.
            let start = Start { temperature: 0.0, flowing: true, time: 8.0 };
            return warm(&self.run, &self.warming, start, &mut exchanger(self.grid)?);
        }
        run::run(&self.run, || exchanger(self.grid))
    }
}

/// The finned channel.
pub(crate) fn exchanger(cells: Cells) -> Result<Study> {
    let case = cases::exchanger(cells.x, cells.y)?;
    if cells.x < 64 || cells.y < 32 {
        bail!("--grid {cells} is too coarse for fins of 0.06: expected 64x32 or finer");
    }
    let conductivity = case.heat.as_ref().map_or(1.0, |heat| heat.diffusivity);
    let heat = Objective::Heat { scale: 1.0 / conductivity };
    let band = |low, high| {
        Some(Reference::band(low, high, 0.0, "own definition; a second program on three grids"))
    };
    Ok(Study {
        name: "exchanger",
        title: "Finned channel at Re 100, air".into(),
        parameters: vec![("re", 100.0), ("prandtl", 0.71)],
        quantities: vec![
            Quantity::objective("nu", "heat / (conductivity · ΔT)", heat).against(band(6.8, 7.2)),
            Quantity::objective("dp", "pressure drop", Objective::PressureDrop { from: 0, to: 1 })
                .against(band(1.01, 1.05)),
            Quantity::objective("t", "mean temperature", Objective::MeanTemperature),
        ],
        window: Window::all(&case.grid),
        warnings: Vec::new(),
        case,
    })
}
