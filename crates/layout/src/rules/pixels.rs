//! The rules in pixels: what checking and enforcing ask of pixels, here and in kernels that know no nm.

use super::{CLEARANCE_NM, Grid, MaskRules};

/// Mask rules as numbers of pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct PixelRules {
    /// Radius of the disk that is as wide as the width rule; below 1 there is none.
    pub width_radius: f64,
    /// The same of the space rule.
    pub space_radius: f64,
    /// Pixels that a shape has at least.
    pub least_area: usize,
    /// How far the distance rule reaches along rows, a number for each distance in rows: so near a pixel of another
    /// shape breaks it. Empty where there is no rule.
    pub reaches: Vec<usize>,
    /// What grows around the middle between shapes that are too near each other.
    pub middle_radius: f64,
    /// What grows around a small shape that is taken away, so that the solver does not put it back.
    pub clearance_radius: f64,
}

impl MaskRules {
    /// The rules on pixels of this size.
    pub fn in_pixels(&self, pixel_nm: f64) -> PixelRules {
        let on = Grid { width: 0, pixel_nm };
        PixelRules {
            width_radius: on.radius(self.min_width_nm),
            space_radius: on.radius(self.min_space_nm),
            least_area: on.least_area(self.min_area_nm2),
            reaches: on.reaches(self.min_distance_nm),
            middle_radius: on.middle_radius(self.min_distance_nm),
            clearance_radius: on.clearance(CLEARANCE_NM),
        }
    }
}

impl Grid {
    /// Radius of the disk that is as wide as the rule, in pixels: a bar of w pixels holds the lattice points
    /// within (w − 1) / 2 of its middle.
    pub(super) fn radius(self, least_nm: f64) -> f64 {
        ((least_nm / self.pixel_nm - 1.0) / 2.0).max(0.0)
    }

    /// The least number of pixels that have the area.
    pub(super) fn least_area(self, least_nm2: f64) -> usize {
        (least_nm2 / (self.pixel_nm * self.pixel_nm) - 1e-9).ceil() as usize
    }

    /// Distance from edge to edge of pixels that are so many columns and rows apart, in nm.
    pub(super) fn apart(self, dx: usize, dy: usize) -> f64 {
        let beyond = |d: usize| d.saturating_sub(1) as f64;
        beyond(dx).hypot(beyond(dy)) * self.pixel_nm
    }

    /// How far a distance reaches sideways, a number for each distance in rows.
    pub(super) fn reaches(self, least_nm: f64) -> Vec<usize> {
        let most = (least_nm / self.pixel_nm).ceil() as usize + 1;
        let is_near = |dx: &usize, dy: usize| self.apart(*dx, dy) < least_nm - 1e-6;
        (0..=most).map_while(|dy| (0..=most).rev().find(|dx| is_near(dx, dy))).collect()
    }

    /// Half the distance, and half a diagonal more: from a pixel's middle to its corner.
    pub(super) fn middle_radius(self, least_nm: f64) -> f64 {
        least_nm / self.pixel_nm / 2.0 + 0.75
    }

    pub(super) fn clearance(self, clearance_nm: f64) -> f64 {
        clearance_nm / self.pixel_nm
    }
}
