//! What is in a layout file: cells, layers, sizes, and what fits one field.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use lithoburn_engine::auto_halo_nm;
use lithoburn_layout::names::shown;
use lithoburn_layout::{Bounds, CellContents, Contents, Format, LayerContents, TileGrid};
use serde_json::{Value, json};

use crate::Verdict;
use lithoburn_terminal::{print_json, say, table};

/// Rows of the table without --all.
const ROWS: usize = 20;

/// Show what is in a layout file, and what of it `infer` takes.
///
/// One row for each layer of each cell, all that is inside the cell included; cells that no other cell uses come first.
/// `smallest` is the least width of a polygon. `fits` says whether the layer of the cell fits one simulated field, or into how
/// many `infer --tile` would cut it.
#[derive(Args, Debug)]
pub struct LayoutArgs {
    /// Layout: .gds, .oas, .glp or .png; - reads standard input.
    layout: PathBuf,
    /// What the file is, whatever its name says: gds, oas, glp or png.
    #[arg(long, value_name = "FORMAT")]
    format: Option<Format>,
    /// Side of a PNG's pixel, in nm.
    #[arg(long, value_name = "NM", default_value_t = 1.0)]
    pixel: f64,
    /// Side of one simulated field, in nm; that of the built-in kernels unless others are used.
    #[arg(long, value_name = "NM", default_value_t = 2048.0)]
    field: f64,
    /// Show every row instead of the first 20.
    #[arg(long)]
    all: bool,
    /// Print JSON and nothing else.
    #[arg(long)]
    json: bool,
}

/// Runs the job.
///
/// # Errors
///
/// One that says what was wrong and what to do.
pub fn layout(args: &LayoutArgs) -> Result<Verdict> {
    if !(args.field.is_finite() && args.field >= 1.0) {
        anyhow::bail!("--field must be 1 nm or more, got {}", args.field);
    }
    let contents = read(args)?;
    match args.json {
        true => print_json(&described(&contents, args.field))?,
        false => show(args, &contents),
    }
    Ok(Verdict::Done)
}

fn read(args: &LayoutArgs) -> Result<Contents> {
    if args.layout.as_os_str() == "-" {
        let input = std::io::stdin().lock();
        let found = Contents::read_from(input, Path::new("-"), args.format, args.pixel);
        return found.context("standard input (--format names its kind)");
    }
    match args.format {
        None => Ok(Contents::read(&args.layout, args.pixel)?),
        Some(_) => {
            let file = std::fs::File::open(&args.layout)
                .with_context(|| format!("cannot read {}", args.layout.display()))?;
            Ok(Contents::read_from(file, &args.layout, args.format, args.pixel)?)
        }
    }
}

/// Fields that cover a rectangle, in x and y; one if it fits. None if it is further across than fields can be counted.
fn fields(bounds: Bounds, field_nm: f64) -> Option<[usize; 2]> {
    if bounds.width() <= field_nm && bounds.height() <= field_nm {
        return Some([1, 1]);
    }
    let grid = TileGrid::cover(bounds, field_nm, auto_halo_nm(field_nm), 1.0).ok()?;
    Some([grid.columns, grid.rows])
}

fn described(contents: &Contents, field_nm: f64) -> Value {
    let layer = |l: &LayerContents| {
        let bounds = [l.bounds.min, l.bounds.max].concat();
        json!({
            "layer": l.layer.to_string(),
            "polygons": l.polygons,
            "bounds_nm": bounds,
            "smallest_nm": l.smallest_nm,
            "fields": fields(l.bounds, field_nm),
        })
    };
    let cell = |c: &CellContents| {
        let layers: Vec<Value> = c.layers.iter().map(layer).collect();
        json!({ "cell": c.name, "top": c.top, "layers": layers })
    };
    let cells: Vec<Value> = contents.cells.iter().map(cell).collect();
    json!({ "format": contents.format, "unit_nm": contents.unit_nm, "cells": cells })
}

fn show(args: &LayoutArgs, contents: &Contents) {
    let tops = contents.cells.iter().filter(|cell| cell.top).count();
    let cells = contents.cells.len();
    let (format, unit) = (contents.format, contents.unit_nm);
    let unit = format!("{unit:.6}");
    let unit = unit.trim_end_matches('0').trim_end_matches('.');
    let cells = match cells {
        1 => "1 cell".into(),
        cells => format!("{cells} cells, {tops} of them on top"),
    };
    say(false, &format!("{format}, {cells}, database unit {unit} nm"));
    let rows: Vec<Vec<String>> =
        contents.cells.iter().flat_map(|cell| rows(cell, args.field)).collect();
    let shown = if args.all { rows.len() } else { rows.len().min(ROWS) };
    let header = ["cell", "layer", "polygons", "size (µm)", "smallest (nm)", "fits"];
    say(false, &table(&header, &rows[..shown]));
    if shown < rows.len() {
        say(false, &format!("… and {} more rows: --all shows them", rows.len() - shown));
    }
}

/// A row for each layer of a cell, or one that says that it is empty.
fn rows(cell: &CellContents, field_nm: f64) -> Vec<Vec<String>> {
    let name = shown(&cell.name);
    if cell.layers.is_empty() {
        return vec![[name.as_str(), "–", "0", "–", "–", "–"].map(String::from).to_vec()];
    }
    let row = |l: &LayerContents| {
        let size = [l.bounds.width(), l.bounds.height()].map(|nm| nm / 1000.0);
        vec![
            name.clone(),
            l.layer.to_string(),
            l.polygons.to_string(),
            format!("{:.3} x {:.3}", size[0], size[1]),
            l.smallest_nm.map_or("–".into(), |nm| format!("{nm:.1}")),
            match fields(l.bounds, field_nm) {
                Some([1, 1]) => "one field".into(),
                Some([columns, rows]) => format!("--tile {field_nm}: {columns} x {rows}"),
                None => "too far across".into(),
            },
        ]
    };
    cell.layers.iter().map(row).collect()
}
