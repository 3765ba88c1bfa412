//! Cores of masks, packed, and the mask around one of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use lithoburn_layout::Bits;

use crate::tiles::packed::Packed;

/// The mask's pixels inside a tile's halo.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Core {
    pub pixel_nm: f64,
    pub pixels: Packed,
}

impl Core {
    /// Pixel size, side, runs.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let side = self.pixels.side as u32;
        [&self.pixel_nm.to_le_bytes()[..], &side.to_le_bytes(), &self.pixels.runs].concat()
    }

    /// What [`Core::to_bytes`] wrote; none if it is something else.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let pixel_nm = f64::from_le_bytes(bytes.get(..8)?.try_into().ok()?);
        let side = u32::from_le_bytes(bytes.get(8..12)?.try_into().ok()?) as usize;
        let pixels = Packed { side, runs: bytes[12..].to_vec() };
        let whole = pixel_nm.is_finite() && pixel_nm > 0.0 && pixels.is_whole();
        whole.then_some(Self { pixel_nm, pixels })
    }
}

/// Cores of a row by their columns. Where there is none, the mask is dark.
pub(super) type Row = BTreeMap<usize, Arc<Core>>;

/// The mask around a tile's core.
pub(super) fn around(
    rows: &BTreeMap<usize, Row>,
    [row, column]: [usize; 2],
    margin: usize,
) -> Bits {
    let core = &rows[&row][&column];
    let side = core.pixels.side;
    let mut window = Bits::dark(side + 2 * margin, side + 2 * margin);
    let reach = margin.div_ceil(side);
    for (&near, cores) in rows.range(row.saturating_sub(reach)..=row + reach) {
        for (&beside, core) in cores.range(column.saturating_sub(reach)..=column + reach) {
            let place = |tile: usize, own: usize| {
                (tile as isize - own as isize) * side as isize + margin as isize
            };
            core.pixels.paste(&mut window, [place(beside, column), place(near, row)]);
        }
    }
    window
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_comes_back_from_its_bytes_and_damaged_ones_do_not() {
        let mut mask = Bits::dark(16, 16);
        (1..6).for_each(|y| mask.set_run(y, 4, 13));
        let core = Core { pixel_nm: 2.0, pixels: Packed::of(&mask) };
        let bytes = core.to_bytes();
        assert_eq!(Core::from_bytes(&bytes), Some(core));
        assert_eq!(Core::from_bytes(&bytes[..bytes.len() - 1]), None);
        assert_eq!(Core::from_bytes(&bytes[..5]), None);
        let nan = [&f64::NAN.to_le_bytes()[..], &bytes[8..]].concat();
        assert_eq!(Core::from_bytes(&nan), None);
    }

    /// Neighbours that are not there are dark, also beyond the grid's first row and column.
    #[test]
    fn a_window_shows_the_neighbours_that_there_are() {
        let lit = |side: usize| {
            let mask = Bits::of_bools(&vec![true; side * side], side);
            Arc::new(Core { pixel_nm: 1.0, pixels: Packed::of(&mask) })
        };
        let row = |columns: &[usize]| columns.iter().map(|&c| (c, lit(4))).collect::<Row>();
        let rows = BTreeMap::from([(0, row(&[0, 2])), (1, row(&[1]))]);
        let window = around(&rows, [0, 0], 3);
        assert_eq!((window.width(), window.count()), (10, 16 + 9));
    }
}
