//! Axes: ticks and labels at round values.

use super::canvas::{Align, Canvas, INK, Style};

/// What lengths are read in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// nm.
    Nanometres,
    /// µm.
    Micrometres,
}

impl Unit {
    /// Its length, in nm.
    pub fn nm(self) -> f64 {
        match self {
            Self::Nanometres => 1.0,
            Self::Micrometres => 1000.0,
        }
    }

    /// Its symbol.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nanometres => "nm",
            Self::Micrometres => "µm",
        }
    }
}

/// The side of a plot that an axis is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Labels to the left.
    Left,
    /// Labels below.
    Below,
    /// Labels to the right.
    Right,
}

/// An axis of `length` from `low`, drawn over a length in px.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    /// Value at its start.
    pub low: f64,
    /// Value at its end less that at its start.
    pub length: f64,
    /// Its length on the page.
    pub px: f64,
}

impl Axis {
    /// Draws ticks and labels at round values; `place` takes px along the axis to the page.
    pub fn draw(&self, page: &mut Canvas, side: Side, place: impl Fn(f32) -> [f32; 2]) {
        let step = round_step(self.length / 4.0);
        let decimals = (-step.log10().floor()).max(0.0) as usize;
        // Both ends count, within rounding.
        let first = (self.low / step - 1e-6).ceil() as i64;
        let last = ((self.low + self.length) / step + 1e-6).floor() as i64;
        for value in (first..=last).map(|i| i as f64 * step) {
            let px = (value - self.low) / self.length * self.px;
            let label = format!("{value:.decimals$}").replace('-', "−");
            tick(page, place(px as f32), side, &label);
        }
    }
}

/// Draws a tick outwards from a place on an axis, and its label.
fn tick(page: &mut Canvas, [x, y]: [f32; 2], side: Side, label: &str) {
    /// Widest label that keeps clear of its neighbours, in px.
    const ROOM: f32 = 50.0;
    let mut style = Style { size: 14.0, colour: INK, bold: false };
    style.size *= (ROOM / page.width(label, &style)).min(1.0);
    let (end, align, at) = match side {
        Side::Left => ([x - 6.0, y], Align::Right, [x - 10.0, y + 5.0]),
        Side::Below => ([x, y + 6.0], Align::Centre, [x, y + 22.0]),
        Side::Right => ([x + 6.0, y], Align::Left, [x + 10.0, y + 5.0]),
    };
    page.line(&[[x, y], end], 1.0, INK);
    page.text(at, align, &style, label);
}

/// The greatest of 1, 2 and 5 times a power of ten that is at most `most`.
pub fn round_step(most: f64) -> f64 {
    let decade = 10_f64.powf(most.log10().floor());
    let factor = [5.0, 2.0].into_iter().find(|f| f * decade <= most * (1.0 + 1e-9)).unwrap_or(1.0);
    factor * decade
}
