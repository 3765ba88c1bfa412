//! The picture of a set of kernels: source, pupil, weights, and the first kernels' magnitudes.

use lithoburn_litho::optics::Optics;
use lithoburn_litho::optics::pupil::Pupil;
use lithoburn_litho::optics::source::Polarization;
use lithoburn_litho::{KernelSet, Kernels};

use super::axis::{Axis, Side};
use super::canvas::{Align, Canvas, DARK, INK, MUTED, RULE, Rgb, Style, inferno};
use crate::PictureError;

/// Width of the picture, in px.
const WIDTH: usize = 1800;
/// Its height, in px.
const HEIGHT: usize = 930;
/// Side of a plot, in px.
const SIDE: usize = 430;
/// Left edges of the plots.
const LEFTS: [f32; 3] = [76.0, 640.0, 1290.0];
/// Their top.
const TOP: f32 = 130.0;
/// Kernels drawn.
const DRAWN: usize = 8;
/// Side of a kernel's picture, in px.
const SMALL: usize = 192;
/// Top of the kernels' pictures.
const KERNELS: f32 = TOP + SIDE as f32 + 140.0;

const BLUE: Rgb = [0, 114, 178];
const VERMILLION: Rgb = [213, 94, 0];
const WHITE: Rgb = [255, 255, 255];
/// Colours of a phase: negative and positive.
const PHASES: [Rgb; 2] = [BLUE, VERMILLION];

const TITLE: Style = Style { size: 19.0, colour: INK, bold: true };
const NOTE: Style = Style { size: 15.0, colour: MUTED, bold: false };

/// Encodes the picture of a set and of the optics that it was made of as PNG.
///
/// # Errors
///
/// [`PictureError`] if memory does not hold it.
pub fn draw_optics(optics: &Optics, set: &KernelSet) -> Result<Vec<u8>, PictureError> {
    let mut page = Canvas::new(WIDTH, HEIGHT)?;
    heading(&mut page, optics);
    source(&mut page, optics)?;
    pupil(&mut page, optics)?;
    weights(&mut page, set);
    kernels(&mut page, optics, &set.focus)?;
    page.png()
}

fn heading(page: &mut Canvas, optics: &Optics) {
    let title = Style { size: 30.0, colour: INK, bold: true };
    page.text([LEFTS[0], 52.0], Align::Left, &title, "Optical kernels");
    let lens = &optics.pupil;
    let light = match optics.polarization {
        Polarization::Unpolarized => "unpolarised",
        Polarization::CrossPoles => "poles polarised across their axis",
        Polarization::X => "polarised along x",
        Polarization::Y => "polarised along y",
        Polarization::Radial => "radial polarisation",
        Polarization::Azimuthal => "azimuthal polarisation",
    };
    let line = format!(
        "{} nm, NA {:.3}, index {:.3} · {} · period {} nm · exposure {:.4}, {:.4}",
        lens.wavelength_nm,
        lens.na,
        lens.na / lens.sine,
        light,
        optics.period_nm,
        optics.exposure[0],
        optics.exposure[1],
    );
    page.text([LEFTS[0], 82.0], Align::Left, &NOTE, &line);
}

/// A square plot of the pupil plane, sigma −`reach` to `reach`, y downwards as in a raster.
struct Plane {
    plot: Canvas,
    reach: f64,
    left: f32,
}

impl Plane {
    fn new(left: f32, reach: f64) -> Result<Self, PictureError> {
        Ok(Self { plot: Canvas::new(SIDE, SIDE)?, reach, left })
    }

    /// From the pupil to px of the plot.
    fn to_px(&self, at: [f64; 2]) -> [f32; 2] {
        at.map(|v| ((v / self.reach + 1.0) / 2.0 * SIDE as f64) as f32)
    }

    /// The middles of the plot's px in the pupil, row after row.
    fn middles(&self) -> impl Iterator<Item = [f64; 2]> + use<> {
        let (reach, side) = (self.reach, SIDE as f64);
        let at = move |i: usize| ((i as f64 + 0.5) / side * 2.0 - 1.0) * reach;
        (0..SIDE * SIDE).map(move |i| [at(i % SIDE), at(i / SIDE)])
    }

    /// Draws the pupil's rim.
    fn rim(&mut self, colour: Rgb) {
        let turn = |i: usize| (i as f64 / 120.0 * std::f64::consts::TAU).sin_cos();
        let rim: Vec<[f32; 2]> =
            (0..=120).map(|i| turn(i % 120)).map(|(y, x)| self.to_px([x, y])).collect();
        self.plot.line(&rim, 1.6, colour);
    }

    /// Puts the plot on the page with its axes.
    fn place(&self, page: &mut Canvas, title: &str) {
        let (left, right, bottom) = (self.left, self.left + SIDE as f32, TOP + SIDE as f32);
        page.paste(&self.plot, [left, TOP]);
        page.frame([[left, TOP], [right, bottom]], INK);
        page.text([left, TOP - 13.0], Align::Left, &TITLE, title);
        let axis = Axis { low: -self.reach, length: 2.0 * self.reach, px: SIDE as f64 };
        axis.draw(page, Side::Below, |px| [left + px, bottom]);
        axis.draw(page, Side::Left, |px| [left, TOP + px]);
        let middle = left + SIDE as f32 / 2.0;
        page.text([middle, bottom + 44.0], Align::Centre, &NOTE, "sigma x (y downwards)");
    }
}

fn source(page: &mut Canvas, optics: &Optics) -> Result<(), PictureError> {
    let reach = (1.15 * optics.source.outer()).max(1.15);
    let mut plane = Plane::new(LEFTS[0], reach)?;
    plane.plot.rectangle([[0.0; 2], [SIDE as f32; 2]], DARK, 1.0);
    let points = optics.source.points(optics.source_step);
    let brightest = points.iter().map(|p| p.weight).fold(0.0, f64::max);
    // Neighbours in a row touch; a lone point is still seen.
    let apart = points.windows(2).map(|w| distance(w[0].at, w[1].at)).fold(1.0, f64::min);
    let radius = (0.75 * apart / reach * SIDE as f64 / 2.0).clamp(1.6, 8.0) as f32;
    for point in &points {
        let colour = inferno(0.25 + 0.7 * point.weight / brightest);
        let at = plane.to_px(point.at);
        plane.plot.dot(at, radius, colour);
    }
    plane.rim(WHITE);
    plane.place(page, &format!("Source: {} points", points.len()));
    Ok(())
}

fn distance(a: [f64; 2], b: [f64; 2]) -> f64 {
    (a[0] - b[0]).hypot(a[1] - b[1])
}

fn pupil(page: &mut Canvas, optics: &Optics) -> Result<(), PictureError> {
    let mut plane = Plane::new(LEFTS[1], 1.15)?;
    let lens = Pupil { defocus_rad: optics.defocus_rad, ..optics.pupil };
    let inside = |at: [f64; 2]| at[0].hypot(at[1]) <= 1.0;
    let phases: Vec<Option<f64>> =
        plane.middles().map(|at| inside(at).then(|| lens.phase(at))).collect();
    let greatest = phases.iter().flatten().map(|phase| phase.abs()).fold(1e-6, f64::max);
    let colours = phases.iter().map(|phase| phase.map_or(WHITE, |p| diverging(p / greatest)));
    plane.plot.shade(colours);
    plane.rim(INK);
    plane.place(page, "Pupil phase in the defocus corner");
    phase_bar(page, LEFTS[1] + SIDE as f32 + 16.0, greatest);
    let terms: Vec<String> =
        lens.aberrations.terms().map(|(index, waves)| format!("Z{index} {waves}")).collect();
    let terms =
        if terms.is_empty() { "none".into() } else { format!("{} waves", terms.join(", ")) };
    let note = format!("defocus {:.3} rad at the rim · aberrations: {terms}", lens.defocus_rad);
    let note = page.elided(&note.replace('-', "−"), &NOTE, SIDE as f32 + 120.0);
    let baseline = TOP + SIDE as f32 + 68.0;
    page.text([LEFTS[1], baseline], Align::Left, &NOTE, &note);
    Ok(())
}

/// White at 0, blue at −1, red at 1.
fn diverging(value: f64) -> Rgb {
    let share = value.abs().min(1.0);
    let full = PHASES[usize::from(value > 0.0)];
    full.map(|to| (255.0 + (f64::from(to) - 255.0) * share).round() as u8)
}

fn phase_bar(page: &mut Canvas, left: f32, greatest: f64) {
    let (right, bottom) = (left + 16.0, TOP + SIDE as f32);
    for i in 0..SIDE {
        let y = TOP + i as f32;
        let colour = diverging(1.0 - 2.0 * (i as f64 + 0.5) / SIDE as f64);
        page.rectangle([[left, y], [right, y + 1.0]], colour, 1.0);
    }
    page.frame([[left, TOP], [right, bottom]], INK);
    let axis = Axis { low: -greatest, length: 2.0 * greatest, px: SIDE as f64 };
    axis.draw(page, Side::Right, |px| [right, bottom - px]);
    page.text_upwards([right + 66.0, TOP + SIDE as f32 / 2.0], Align::Centre, &NOTE, "phase, rad");
}

/// Bars of the weights in focus and out of it, side by side.
fn weights(page: &mut Canvas, set: &KernelSet) {
    let (left, right, bottom) = (LEFTS[2], LEFTS[2] + SIDE as f32, TOP + SIDE as f32);
    let greatest =
        set.focus.scales.iter().chain(&set.defocus.scales).copied().fold(1e-30, f32::max);
    let full = f64::from(greatest) * 1.05;
    let count = set.focus.count().max(set.defocus.count());
    let step = SIDE as f32 / count as f32;
    for (which, (kernels, colour)) in
        [(&set.focus, BLUE), (&set.defocus, VERMILLION)].into_iter().enumerate()
    {
        for (k, &scale) in kernels.scales.iter().enumerate() {
            let x = left + (k as f32 + 0.1 + 0.4 * which as f32) * step;
            let top = bottom - (f64::from(scale) / full) as f32 * SIDE as f32;
            page.rectangle([[x, top], [x + 0.4 * step, bottom]], colour, 1.0);
        }
    }
    page.frame([[left, TOP], [right, bottom]], INK);
    page.text([left, TOP - 13.0], Align::Left, &TITLE, "Weights");
    let axis = Axis { low: 0.0, length: full, px: SIDE as f64 };
    axis.draw(page, Side::Left, |px| [left, bottom - px]);
    let axis = Axis { low: 0.5, length: count as f64, px: SIDE as f64 };
    axis.draw(page, Side::Below, |px| [left + px, bottom]);
    page.text([left + SIDE as f32 / 2.0, bottom + 44.0], Align::Centre, &NOTE, "kernel");
    legend(page, right, [("focus", &set.focus, BLUE), ("defocus", &set.defocus, VERMILLION)]);
}

/// Names the bars, with the energy that the kernels keep, in the empty corner above them.
fn legend(page: &mut Canvas, right: f32, entries: [(&str, &Kernels, Rgb); 2]) {
    let style = Style { size: 16.0, colour: INK, bold: false };
    for (i, (name, kernels, colour)) in entries.into_iter().enumerate() {
        let baseline = TOP + 34.0 + 28.0 * i as f32;
        let kept = kernels
            .kept
            .map_or(String::new(), |kept| format!(": {:.1} % of the energy kept", 100.0 * kept));
        let label = format!("{name}{kept}");
        let x = right - 18.0 - page.width(&label, &style);
        page.rectangle([[x - 26.0, baseline - 12.0], [x - 8.0, baseline + 1.0]], colour, 1.0);
        page.text([x, baseline], Align::Left, &style, &label);
    }
}

/// Magnitudes of the first kernels in focus, each relative to its own greatest.
fn kernels(page: &mut Canvas, optics: &Optics, kernels: &Kernels) -> Result<(), PictureError> {
    let title = "Magnitude of the first kernels in focus, over frequency x and y";
    page.text([LEFTS[0], KERNELS - 44.0], Align::Left, &TITLE, title);
    let bins = optics.half as f64 / optics.period_nm * 1000.0;
    let note = format!("each side: −{bins:.2} to {bins:.2} cycles/µm");
    page.text([WIDTH as f32 - 80.0, KERNELS - 44.0], Align::Right, &NOTE, &note);
    let gap = (WIDTH as f32 - 80.0 - LEFTS[0] - (DRAWN * SMALL) as f32) / (DRAWN - 1) as f32;
    for k in 0..kernels.count().min(DRAWN) {
        let left = (LEFTS[0] + k as f32 * (SMALL as f32 + gap)).round();
        let (right, bottom) = (left + SMALL as f32, KERNELS + SMALL as f32);
        page.paste(&magnitude(kernels, k)?, [left, KERNELS]);
        page.frame([[left, KERNELS], [right, bottom]], RULE);
        let label = format!("{}: weight {:.2}", k + 1, kernels.scales[k]);
        page.text([left, KERNELS - 10.0], Align::Left, &NOTE, &label);
    }
    Ok(())
}

fn magnitude(kernels: &Kernels, k: usize) -> Result<Canvas, PictureError> {
    let mut plot = Canvas::new(SMALL, SMALL)?;
    let side = kernels.side;
    let at = |i: usize| kernels.re[k * side * side + i].hypot(kernels.im[k * side * side + i]);
    let greatest = (0..side * side).map(at).fold(1e-30, f32::max);
    let bin = |px: usize| px * side / SMALL;
    let value = |i: usize| f64::from(at(bin(i / SMALL) * side + bin(i % SMALL)) / greatest);
    plot.shade((0..SMALL * SMALL).map(|i| inferno(value(i))));
    Ok(plot)
}

#[cfg(test)]
mod tests {
    use lithoburn_litho::LithoError;

    use super::*;

    #[test]
    fn the_picture_of_a_set_is_a_png() -> Result<(), Box<dyn std::error::Error>> {
        let optics = Optics { count: 5, period_nm: 300.0, source_step: 0.1, ..Optics::default() };
        let optics = optics.with_passed_frequencies()?;
        let png = draw_optics(&optics, &optics.kernels()?)?;
        let picture = image::load_from_memory_with_format(&png, image::ImageFormat::Png)?;
        assert_eq!((picture.width(), picture.height()), (WIDTH as u32, HEIGHT as u32));
        Ok(())
    }

    #[test]
    fn a_set_without_light_is_still_drawn() -> Result<(), LithoError> {
        let optics = Optics { count: 1, period_nm: 300.0, source_step: 0.1, ..Optics::default() };
        let optics = optics.with_passed_frequencies()?;
        let mut set = optics.kernels()?;
        for kernels in [&mut set.focus, &mut set.defocus] {
            (kernels.scales, kernels.kept) = (vec![0.0], None);
            kernels.re.fill(0.0);
            kernels.im.fill(0.0);
        }
        assert!(draw_optics(&optics, &set).is_ok());
        Ok(())
    }
}
