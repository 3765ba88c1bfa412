//! The Jacobian as a sparse matrix: its pattern once, its values each time.
//!
//! Terms emit entries in an order that depends on grid and body alone. The first pass notes rows and columns; each
//! later pass drops the k-th entry at the place that the k-th one was given.

/// A square sparse matrix by columns, and where each emitted entry goes.
#[derive(Clone, Debug)]
pub(crate) struct Matrix {
    pub(crate) columns: Vec<u32>,
    pub(crate) rows: Vec<u32>,
    pub(crate) values: Vec<f64>,
    places: Vec<u32>,
}

impl Matrix {
    /// The pattern of all entries `(row, column)` in the order in which they will be emitted; zeros as values.
    pub(crate) fn new(size: usize, entries: &[(u32, u32)]) -> Self {
        let mut starts = vec![0u32; size + 1];
        entries.iter().for_each(|entry| starts[entry.1 as usize + 1] += 1);
        (0..size).for_each(|c| starts[c + 1] += starts[c]);
        let mut order = vec![0u32; entries.len()];
        let mut next = starts.clone();
        for (k, entry) in entries.iter().enumerate() {
            order[next[entry.1 as usize] as usize] = k as u32;
            next[entry.1 as usize] += 1;
        }
        let mut matrix = Self {
            columns: vec![0; size + 1],
            rows: Vec::with_capacity(entries.len() / 2),
            values: Vec::new(),
            places: vec![0; entries.len()],
        };
        for c in 0..size {
            let column = &mut order[starts[c] as usize..starts[c + 1] as usize];
            column.sort_unstable_by_key(|&k| entries[k as usize].0);
            matrix.push_column(c, column, entries);
        }
        matrix.values = vec![0.0; matrix.rows.len()];
        matrix
    }

    fn push_column(&mut self, c: usize, sorted: &[u32], entries: &[(u32, u32)]) {
        let start = self.rows.len();
        for &k in sorted {
            let row = entries[k as usize].0;
            if self.rows.len() == start || self.rows.last() != Some(&row) {
                self.rows.push(row);
            }
            self.places[k as usize] = self.rows.len() as u32 - 1;
        }
        self.columns[c + 1] = self.rows.len() as u32;
    }

    /// Sets the values from a pass over the entries, which must come in the order of the pattern.
    pub(crate) fn fill(&mut self, pass: impl FnOnce(&mut dyn FnMut(f64))) {
        self.values.fill(0.0);
        let mut places = self.places.iter();
        pass(&mut |value| {
            if let Some(&place) = places.next() {
                self.values[place as usize] += value;
            }
        });
        debug_assert!(places.next().is_none(), "fewer entries than the pattern has");
    }

    pub(crate) fn size(&self) -> usize {
        self.columns.len() - 1
    }

    /// `A x`.
    pub(crate) fn times(&self, x: &[f64]) -> Vec<f64> {
        let mut product = vec![0.0; self.size()];
        for (c, &factor) in x.iter().enumerate() {
            self.column(c).for_each(|(row, value)| product[row] += value * factor);
        }
        product
    }

    /// `Aᵀ x`.
    pub(crate) fn transposed_times(&self, x: &[f64]) -> Vec<f64> {
        let dot = |c: usize| self.column(c).map(|(row, value)| value * x[row]).sum();
        (0..self.size()).map(dot).collect()
    }

    fn column(&self, c: usize) -> impl Iterator<Item = (usize, f64)> {
        let range = self.columns[c] as usize..self.columns[c + 1] as usize;
        self.rows[range.clone()]
            .iter()
            .map(|&row| row as usize)
            .zip(self.values[range].iter().copied())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_one_place_add_up_and_both_products_agree_with_the_dense_matrix() {
        let entries = [(0, 0), (2, 0), (0, 0), (1, 1), (0, 2), (2, 2), (2, 0)];
        let values = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0];
        let mut matrix = Matrix::new(3, &entries);
        matrix.fill(|emit| values.iter().for_each(|&v| emit(v)));
        // [[4, 0, 5], [0, 4, 0], [9, 0, 6]]
        assert_eq!(matrix.times(&[1.0, 2.0, 3.0]), [19.0, 8.0, 27.0]);
        assert_eq!(matrix.transposed_times(&[1.0, 2.0, 3.0]), [31.0, 8.0, 23.0]);
        assert_eq!(matrix.rows.len(), 5);
    }
}
