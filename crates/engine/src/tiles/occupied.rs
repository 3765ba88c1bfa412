//! The tiles of a grid that hold something, row by row.

use lithoburn_layout::{Library, TileGrid};

use crate::EngineError;

/// The tiles whose field, halo included, touches a polygon, in the order of their numbers, which is row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Occupied {
    tiles: Vec<usize>,
    columns: usize,
}

impl Occupied {
    /// The tiles on which a library has something. Empty ones cost nothing: they are not looked at one by one.
    ///
    /// # Errors
    ///
    /// [`EngineError::Layout`] if there are too many.
    pub(crate) fn of(library: &Library, grid: &TileGrid) -> Result<Self, EngineError> {
        Ok(Self { tiles: grid.occupied(library)?, columns: grid.columns })
    }

    /// Number of tiles.
    pub(crate) fn len(&self) -> usize {
        self.tiles.len()
    }

    /// Their numbers in the grid, in rising order.
    pub(crate) fn tiles(&self) -> &[usize] {
        &self.tiles
    }

    /// Those of the rows from `first` to `last`.
    fn within(&self, first: usize, last: usize) -> &[usize] {
        let before = |row: usize| self.tiles.partition_point(|tile| tile / self.columns < row);
        &self.tiles[before(first)..before(last + 1)]
    }

    /// A row's tiles.
    pub(crate) fn row(&self, row: usize) -> &[usize] {
        self.within(row, row)
    }

    /// Rows that have some, in rising order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.tiles
            .chunk_by(|a, b| a / self.columns == b / self.columns)
            .map(|row| row[0] / self.columns)
    }

    /// Rows that have some, of those from `first` to `last`.
    pub(crate) fn rows_from(&self, first: usize, last: usize) -> Vec<usize> {
        let tiles = self.within(first, last);
        tiles
            .chunk_by(|a, b| a / self.columns == b / self.columns)
            .map(|row| row[0] / self.columns)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_those_that_have_tiles() {
        let occupied = Occupied { tiles: vec![1, 4, 40, 41, 73], columns: 10 };
        assert_eq!(occupied.rows().collect::<Vec<_>>(), [0, 4, 7]);
        assert_eq!(occupied.rows_from(1, 6), [4]);
        assert_eq!((occupied.row(0), occupied.row(4)), (&[1, 4][..], &[40, 41][..]));
        assert!(occupied.row(5).is_empty());
    }
}
