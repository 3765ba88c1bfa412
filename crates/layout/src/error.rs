//! What can be wrong with a layout.

use std::path::PathBuf;

use crate::{Bounds, Layer};

/// Why a layout could not be read, drawn or written.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    /// The file system said no.
    #[error("cannot read {0}: {1}")]
    Read(PathBuf, #[source] std::io::Error),
    /// The file system said no.
    #[error("cannot write {0}: {1}")]
    Write(PathBuf, #[source] std::io::Error),
    /// The file has no bytes.
    #[error("{0} is empty (0 bytes): expected a GDSII, OASIS, GLP or PNG layout")]
    NoBytes(PathBuf),
    /// The name ends in nothing we know.
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
    #[error("{path}: coordinate {nm} nm does not fit 32 bits of {unit_nm} nm: take a larger unit")]
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
    /// The file has other cells.
    #[error("{path} has no cell {cell:?}; its cells are: {found}")]
    NoCell {
        /// The file.
        path: PathBuf,
        /// The cell asked for.
        cell: String,
        /// What is there.
        found: String,
    },
    /// Several cells could be meant.
    #[error("{path} has several top cells ({found}): choose one with --cell")]
    ManyCells {
        /// The file.
        path: PathBuf,
        /// The candidates.
        found: String,
    },
    /// The layer has no shapes.
    #[error("{path} has no shapes on layer {layer}; layers with shapes: {found}")]
    NoLayer {
        /// The file.
        path: PathBuf,
        /// The layer asked for.
        layer: Layer,
        /// What is there.
        found: String,
    },
    /// Several layers could be meant.
    #[error("{path} has shapes on several layers ({found}): choose one with --layer")]
    ManyLayers {
        /// The file.
        path: PathBuf,
        /// The candidates.
        found: String,
    },
    /// The layout does not fit into one field.
    #[error(
        "the layout is {width_nm:.0} x {height_nm:.0} nm and one simulated field is \
         {field_nm:.0} nm: cut it into fields with --tile {field_nm:.0}"
    )]
    TooLarge {
        /// Width of the layout.
        width_nm: f64,
        /// Height of the layout.
        height_nm: f64,
        /// Side of the field.
        field_nm: f64,
    },
    /// A pixel or field size that makes no grid.
    #[error("{0}")]
    Grid(String),
}
