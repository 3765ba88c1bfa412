//! Rules in pixels, and their disks as the kernels have them.

use crate::WORD;

/// Mask rules as numbers of pixels.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
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
    /// What grows around a small shape that is forbidden.
    pub clearance_radius: f64,
}

impl Rules {
    /// Whether the kernels reach as far as the rules: a disk grows a word into its neighbours and no further.
    pub fn fits(&self) -> bool {
        let radii =
            [self.width_radius, self.space_radius + 1.0, self.middle_radius, self.clearance_radius];
        radii.iter().all(|&radius| radius >= 0.0 && squared(radius) < (WORD * WORD) as f64)
    }
}

/// The square of a radius, as the host's disks have it.
fn squared(radius: f64) -> f64 {
    radius * radius + 1e-9
}

/// Where a disk is in a plan's table: half its run at 0, 1, … `reach` rows from its middle.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk {
    pub(super) first: usize,
    pub(super) reach: usize,
}

/// A disk that opens, and how far from what it leaves a pixel of a right-angled corner may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opening {
    pub(super) disk: Disk,
    pub(super) corner: Disk,
}

/// The rules as the kernels have them.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// The disks' runs, and the reaches of the distance rule at the end.
    pub(super) table: Vec<u32>,
    pub(super) width: Option<Opening>,
    pub(super) space: Option<Opening>,
    /// What is taken away around a space that is too narrow.
    pub(super) widening: Disk,
    pub(super) middle: Disk,
    pub(super) clearance: Disk,
    /// Where the reaches are in the table, and their number.
    pub(super) reaches: [usize; 2],
    pub(super) least_area: u32,
}

impl Plan {
    pub(super) fn new(rules: &Rules) -> Self {
        assert!(rules.fits(), "disks of more than a word's reach: {rules:?}");
        let mut table = Vec::new();
        let mut disk = |radius: f64| Disk::new(radius, &mut table);
        let mut opening = |radius: f64| {
            let corner = radius * (2.0_f64.sqrt() - 1.0) + 1.0;
            (radius >= 1.0).then(|| Opening { disk: disk(radius), corner: disk(corner) })
        };
        let (width, space) = (opening(rules.width_radius), opening(rules.space_radius));
        let widening = disk(rules.space_radius + 1.0);
        let (middle, clearance) = (disk(rules.middle_radius), disk(rules.clearance_radius));
        let reaches = [table.len(), rules.reaches.len()];
        table.extend(rules.reaches.iter().map(|&reach| reach as u32));
        let least_area = u32::try_from(rules.least_area).unwrap_or(u32::MAX);
        Self { table, width, space, widening, middle, clearance, reaches, least_area }
    }
}

impl Disk {
    fn new(radius: f64, table: &mut Vec<u32>) -> Self {
        let r2 = squared(radius);
        let (first, reach) = (table.len(), r2.sqrt().floor() as usize);
        let half = |dy: usize| (r2 - (dy * dy) as f64).sqrt().floor() as u32;
        table.extend((0..=reach).map(half));
        Self { first, reach }
    }
}
