//! What can be wrong with a layout.

use std::path::PathBuf;

use crate::{Bounds, Layer};

/// Why a layout could not be read, drawn or written.
///
/// A message is one line that begins with what to do where there is a choice, and shows a handful of names at most,
/// without anything that a terminal acts upon. What the system said is in the message, hence not a source as well.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The file system said no.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, std::io::Error),
    /// The file system said no.
    #[error("cannot write {0}: {1}")]
    Write(PathBuf, std::io::Error),
    /// The file has no bytes.
    #[error("{0} is empty (0 bytes): expected a GDSII, OASIS, GLP or PNG layout")]
    NoBytes(PathBuf),
    /// Neither name nor content is of a kind we know.
    #[error("{0}: unknown kind of layout; expected a name ending in .oas, .gds, .glp or .png")]
    UnknownFormat(PathBuf),
    /// The content is not what the name says.
    #[error("{path} is not a valid {format} file: {problem}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it should be.
        format: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// More than memory or patience can hold.
    #[error("{path} holds too much: {problem}")]
    TooMuch {
        /// The file.
        path: PathBuf,
        /// What there is too much of.
        problem: String,
    },
    /// Polygons cannot be written to such a file.
    #[error("cannot write polygons to {0}: expected a name ending in .gds or .oas")]
    NoWriter(PathBuf),
    /// A corner is too far out for the file.
    #[error(
        "{path}: coordinate {nm} nm does not fit 32 bits of {unit_nm} nm: such a file reaches {:.0} nm from its origin",
        .unit_nm * f64::from(i32::MAX)
    )]
    Coordinate {
        /// The file.
        path: PathBuf,
        /// The coordinate.
        nm: f64,
        /// The file's database unit.
        unit_nm: f64,
    },
    /// There is nothing to print.
    #[error("{0} has no polygons: nothing to correct")]
    Empty(PathBuf),
    /// There is nothing to print in the window asked for.
    #[error("{path} has no polygons in the window {window}; it reaches from {extent} nm")]
    EmptyWindow {
        /// The file.
        path: PathBuf,
        /// The window.
        window: Bounds,
        /// How far its polygons reach.
        extent: Bounds,
    },
    /// The format has neither cells nor layers to choose from.
    #[error(
        "leave out {option}: {path} is a {format} file, which has no cells or layers to choose from"
    )]
    NoChoice {
        /// The file.
        path: PathBuf,
        /// What it is.
        format: &'static str,
        /// What was asked for.
        option: String,
    },
    /// The file has other cells.
    #[error("{path} has no cell {cell:?}; its cells are: {found}")]
    NoCell {
        /// The file.
        path: PathBuf,
        /// The cell asked for.
        cell: String,
        /// What is there, the most similar names first.
        found: String,
    },
    /// Several cells could be meant.
    #[error("choose one cell with --cell: {path} has several top cells ({found})")]
    ManyCells {
        /// The file.
        path: PathBuf,
        /// Some of the candidates.
        found: String,
    },
    /// The layer has no shapes.
    #[error("{path} has no shapes on layer {layer}; layers with shapes: {found}")]
    NoLayer {
        /// The file.
        path: PathBuf,
        /// The layer asked for.
        layer: Layer,
        /// What is there, the nearest numbers first.
        found: String,
    },
    /// Several layers could be meant.
    #[error("choose one layer with --layer: {path} has shapes on several ({found})")]
    ManyLayers {
        /// The file.
        path: PathBuf,
        /// Some of the candidates.
        found: String,
    },
    /// The layout does not fit into one field.
    #[error(
        "the layout is {width_nm:.0} x {height_nm:.0} nm and one simulated field is \
         {field_nm:.0} nm: take a window of it with --window X0,Y0,X1,Y1; infer and simulate take it \
         whole with --tile {field_nm:.0}"
    )]
    TooLarge {
        /// Width of the layout.
        width_nm: f64,
        /// Height of the layout.
        height_nm: f64,
        /// Side of the field.
        field_nm: f64,
    },
    /// More fields than can be numbered, most often because of one shape far from all others.
    #[error(
        "remove the shape at x {:.0}, y {:.0} nm ({:.0} x {:.0} nm) from {path} if it is a stray: with it the layout \
         is {columns:.0} x {rows:.0} fields, {most} are the most in a row",
        .stray.min[0], .stray.min[1], .stray.width(), .stray.height()
    )]
    Stray {
        /// The file.
        path: PathBuf,
        /// The shape or cell furthest from the others, in nm.
        stray: Bounds,
        /// Fields in x.
        columns: f64,
        /// Fields in y.
        rows: f64,
        /// The most that a row or column may have.
        most: usize,
    },
    /// A pixel or field size that makes no grid.
    #[error("{0}")]
    Grid(String),
}
