//! The six panels of the overview: the same window of the field, seen in six ways.

use rayon::join;
use rayon::prelude::*;

use super::{Scene, SiteMark};
use crate::PictureError;
use crate::canvas::{Canvas, INK};
use crate::panel::{
    BLUE, Key, MASK, OK, PRINT, PURPLE, Panel, Swatch, TARGET, TARGET_LIGHT, VERMILLION, WHITE,
};
use crate::view::{Lines, View};

/// Side of a panel, in px.
pub(super) const SIDE: usize = 500;
/// Samples per px, in x and in y, of what has sharp edges.
const SHARP: usize = 3;
/// The same, of what is smooth.
const SMOOTH: usize = 2;

/// What several panels share.
struct Drawing<'a> {
    scene: &'a Scene<'a>,
    view: View,
    target: Vec<f32>,
    mask: Vec<f32>,
    outline: Lines,
    nominal: Lines,
    outer: Lines,
    inner: Lines,
}

/// Draws one of the panels.
type Draw<'a> = fn(&Drawing<'a>) -> Result<Panel, PictureError>;

/// Draws the panels.
pub(super) fn all(scene: &Scene) -> Result<Vec<Panel>, PictureError> {
    let field = [scene.target.width, scene.target.height].map(|n| n as f64 * scene.target.pixel_nm);
    let within = scene.core_nm.unwrap_or([0.0, 0.0, field[0], field[1]]);
    let view = View::around(scene.target, scene.mask, within, SIDE);
    let share = |raster| view.sampled(SHARP, || view.nearest(raster, SHARP));
    let [nominal, outer, inner] = scene.levels;
    let shares = || join(|| share(scene.target), || share(scene.mask));
    let middle =
        || join(|| view.contours(scene.target, 0.5), || view.contours(scene.aerial, nominal));
    let corners =
        || join(|| view.contours(scene.aerial, outer), || view.contours(scene.defocus, inner));
    let ((target, mask), ((outline, nominal), (outer, inner))) =
        join(shares, || join(middle, corners));
    let drawing = Drawing { scene, view, target, mask, outline, nominal, outer, inner };
    drawing.panels()
}

impl<'a> Drawing<'a> {
    fn panels(&self) -> Result<Vec<Panel>, PictureError> {
        let taken: Vec<f32> = self.target.iter().zip(&self.mask).map(|(a, b)| a + b).collect();
        let panels: [Draw<'a>; 6] =
            [Self::target, Self::mask, Self::aerial, Self::corners, Self::variation, Self::sites];
        let with_scale = |draw: Draw<'a>| {
            let mut panel = draw(self)?;
            panel.scale_bar(&self.view, &taken);
            Ok(panel)
        };
        panels.into_par_iter().map(with_scale).collect()
    }

    fn panel(&self, title: &'static str, legend: Vec<Key>) -> Result<Panel, PictureError> {
        Panel::new(title, legend, &self.view, self.scene.origin_nm)
    }

    fn target(&self) -> Result<Panel, PictureError> {
        let mut panel = self.panel("Target", vec![Key::new(Swatch::Area, TARGET, "target")])?;
        panel.plot.tint(&self.target, TARGET);
        Ok(panel)
    }

    fn mask(&self) -> Result<Panel, PictureError> {
        let mut legend =
            vec![Key::new(Swatch::Area, MASK, "mask"), Key::new(Swatch::Line, INK, "target")];
        let broken = self.scene.violations;
        if !broken.is_empty() {
            let s = if broken.len() == 1 { "" } else { "s" };
            let label = format!("{} rule violation{s}", broken.len());
            legend.push(Key::new(Swatch::Line, VERMILLION, label));
        }
        let mut panel = self.panel("Mask", legend)?;
        panel.plot.tint(&self.mask, MASK);
        panel.plot.lines(&self.outline, 1.2, INK);
        let frames: Lines = broken.iter().map(|place| self.view.frame(*place)).collect();
        panel.plot.lines(&frames, 2.0, VERMILLION);
        Ok(panel)
    }

    fn aerial(&self) -> Result<Panel, PictureError> {
        let level = self.scene.levels[0];
        let legend = vec![
            Key::new(Swatch::LineOnDark, WHITE, "target"),
            Key::new(Swatch::LineOnDark, PRINT, format!("prints at {level:.3}")),
        ];
        let mut panel = self.panel("Aerial image in focus", legend)?;
        let image = || self.view.bilinear(self.scene.aerial, SMOOTH);
        let intensity = self.view.sampled(SMOOTH, image);
        panel.shade(&intensity, level);
        panel.plot.lines(&self.outline, 1.0, WHITE);
        panel.plot.lines(&self.nominal, 1.6, PRINT);
        Ok(panel)
    }

    fn corners(&self) -> Result<Panel, PictureError> {
        let legend = vec![
            Key::new(Swatch::Area, TARGET_LIGHT, "target"),
            Key::new(Swatch::Line, BLUE, "inner"),
            Key::new(Swatch::Line, INK, "nominal"),
            Key::new(Swatch::Line, VERMILLION, "outer"),
        ];
        let mut panel = self.panel("Printed contours", legend)?;
        panel.plot.tint(&self.target, TARGET_LIGHT);
        panel.plot.lines(&self.outer, 1.4, VERMILLION);
        panel.plot.lines(&self.inner, 1.4, BLUE);
        panel.plot.lines(&self.nominal, 1.4, INK);
        Ok(panel)
    }

    fn variation(&self) -> Result<Panel, PictureError> {
        let legend = vec![
            Key::new(Swatch::Area, PURPLE, "printed at one corner only"),
            Key::new(Swatch::Line, INK, "target"),
        ];
        let mut panel = self.panel("PV band", legend)?;
        let [_, outer, inner] = self.scene.levels;
        let one_prints = || {
            let mut aerial = self.view.bilinear(self.scene.aerial, SHARP);
            let mut defocus = self.view.bilinear(self.scene.defocus, SHARP);
            let mut dimmer = vec![0.0; self.view.size[0] * SHARP];
            move |y: f64, row: &mut [f64]| {
                aerial(y, row);
                defocus(y, &mut dimmer);
                for (value, dimmer) in row.iter_mut().zip(&dimmer) {
                    *value = f64::from((*value >= outer) != (*dimmer >= inner));
                }
            }
        };
        panel.plot.tint(&self.view.sampled(SHARP, one_prints), PURPLE);
        panel.plot.lines(&self.outline, 1.2, INK);
        Ok(panel)
    }

    fn sites(&self) -> Result<Panel, PictureError> {
        let count = |test: fn(&&SiteMark) -> bool| self.scene.sites.iter().filter(test).count();
        let ok = count(|site| !site.inside_missing && !site.outside_printed);
        let (missing, printed) = (count(|s| s.inside_missing), count(|s| s.outside_printed));
        let legend = vec![
            Key::new(Swatch::Dot, OK, format!("{ok} ok")),
            Key::new(Swatch::Dot, VERMILLION, format!("{missing} inside missing")),
            Key::new(Swatch::Dot, BLUE, format!("{printed} outside printed")),
        ];
        let mut panel = self.panel("EPE sites", legend)?;
        panel.plot.tint(&self.target, TARGET_LIGHT);
        panel.plot.lines(&self.nominal, 1.2, INK);
        let violates = |site: &SiteMark| site.inside_missing || site.outside_printed;
        // Violations last, so that none is hidden.
        let (bad, good): (Vec<&SiteMark>, Vec<_>) =
            self.scene.sites.iter().partition(|s| violates(s));
        good.into_iter().chain(bad).for_each(|site| self.site(&mut panel.plot, site));
        Ok(panel)
    }

    /// A dot in the violation's colour; in both colours for both violations.
    fn site(&self, plot: &mut Canvas, site: &SiteMark) {
        let at = self.view.to_px(site.at_nm);
        match (site.inside_missing, site.outside_printed) {
            (false, false) => plot.dot(at, 2.6, OK),
            (inside, outside) => {
                plot.dot(at, 6.2, WHITE);
                plot.dot(at, 5.2, if outside { BLUE } else { VERMILLION });
                if inside && outside {
                    plot.dot(at, 2.8, VERMILLION);
                }
            }
        }
    }
}
