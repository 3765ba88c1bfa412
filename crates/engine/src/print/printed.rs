//! How a tile prints: contours and areas, as a device finds and the journal keeps them.

use lithoburn_layout::{Polygon, Raster};
use serde::Serialize;

use crate::tiles::Answer;
use crate::tiles::journal::Key;

/// Areas of a print, in nm².
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Areas {
    /// Of the mask.
    pub mask_nm2: f64,
    /// Printed at the nominal, outer and inner corner.
    pub printed_nm2: [f64; 3],
    /// Where the nominal print is not the mask.
    pub l2_nm2: f64,
    /// Between the outer and the inner print.
    pub pvb_nm2: f64,
}

impl Areas {
    /// Areas of pixels at or above one half.
    pub(super) fn of(mask: &Raster, printed: [&Raster; 3]) -> Self {
        let pixel = mask.pixel_nm * mask.pixel_nm;
        let inside = |r: &Raster, i: usize| r.data[i] >= 0.5;
        let count = |f: &dyn Fn(usize) -> bool| {
            (0..mask.data.len()).filter(|&i| f(i)).count() as f64 * pixel
        };
        Self {
            mask_nm2: mask.area_nm2(),
            printed_nm2: printed.map(|p| count(&|i| inside(p, i))),
            l2_nm2: count(&|i| inside(printed[0], i) != inside(mask, i)),
            pvb_nm2: count(&|i| inside(printed[1], i) != inside(printed[2], i)),
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.mask_nm2 += other.mask_nm2;
        self.l2_nm2 += other.l2_nm2;
        self.pvb_nm2 += other.pvb_nm2;
        for (sum, area) in self.printed_nm2.iter_mut().zip(other.printed_nm2) {
            *sum += area;
        }
    }

    fn values(&self) -> [f64; 6] {
        let [nominal, outer, inner] = self.printed_nm2;
        [self.mask_nm2, nominal, outer, inner, self.l2_nm2, self.pvb_nm2]
    }
}

/// A tile's print, from its core's first corner.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Printed {
    /// Polygons at the nominal, outer and inner corner.
    pub contours: [Vec<Polygon>; 3],
    pub areas: Areas,
}

impl Printed {
    /// What [`Answer::to_bytes`] wrote; none if it is something else.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut numbers = bytes.chunks_exact(8).map(|b| b.try_into().map(f64::from_le_bytes).ok());
        let mut next = || numbers.next().flatten();
        let mut areas = [0.0; 6];
        for area in &mut areas {
            *area = next()?;
        }
        let mut contours = [const { Vec::new() }; 3];
        for polygons in &mut contours {
            for _ in 0..next()? as usize {
                let count = next()? as usize;
                let points: Option<Vec<[f64; 2]>> =
                    (0..count).map(|_| Some([next()?, next()?])).collect();
                polygons.push(Polygon::new(points?));
            }
        }
        let [mask_nm2, nominal, outer, inner, l2_nm2, pvb_nm2] = areas;
        let printed_nm2 = [nominal, outer, inner];
        let whole = bytes.len().is_multiple_of(8) && next().is_none();
        whole.then_some(Self { contours, areas: Areas { mask_nm2, printed_nm2, l2_nm2, pvb_nm2 } })
    }
}

/// The print of a target.
pub(super) struct Found {
    pub key: Key,
    pub printed: Printed,
}

impl Answer for Found {
    fn key(&self) -> &Key {
        &self.key
    }

    /// Numbers of 64 bits: areas, then of each corner how many polygons, then of each how many points, then these.
    fn to_bytes(&self) -> Vec<u8> {
        let mut numbers = self.printed.areas.values().to_vec();
        for polygons in &self.printed.contours {
            numbers.push(polygons.len() as f64);
            for polygon in polygons {
                numbers.push(polygon.points.len() as f64);
                numbers.extend(polygon.points.iter().flatten());
            }
        }
        numbers.iter().flat_map(|v| v.to_le_bytes()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_print_comes_back_from_its_bytes_and_a_cut_one_does_not() {
        let bar = |x: f64| Polygon::rectangle(x, -0.5, x + 80.125, 600.0);
        let contours = [vec![bar(0.0), bar(300.0)], Vec::new(), vec![bar(0.1)]];
        let areas =
            Areas { mask_nm2: 1.5, printed_nm2: [2.0, 3.0, 4.0], l2_nm2: 5.0, pvb_nm2: 6.0 };
        let found = Found { key: [0; 32], printed: Printed { contours, areas } };
        let bytes = found.to_bytes();
        assert_eq!(Printed::from_bytes(&bytes), Some(found.printed));
        for cut in [0, 7, 48, 56, bytes.len() - 8, bytes.len() - 1] {
            assert_eq!(Printed::from_bytes(&bytes[..cut]), None, "{cut}");
        }
        assert_eq!(Printed::from_bytes(&[&bytes[..], &[0; 8]].concat()), None);
    }
}
