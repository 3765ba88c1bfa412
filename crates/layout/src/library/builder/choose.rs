//! Which cell and layer of a file are meant.

use std::collections::BTreeSet;

use super::Builder;
use crate::{Layer, LayoutError};

impl Builder {
    /// The wanted cell, else the only one that no other refers to.
    pub(super) fn choose_cell(&self) -> Result<u32, LayoutError> {
        let path = self.path.clone();
        let defined = || (0..self.drafts.len()).filter(|&i| self.drafts[i].defined);
        let names = |cells: &mut dyn Iterator<Item = usize>| {
            let names: BTreeSet<&str> = cells.map(|i| self.drafts[i].name.as_str()).collect();
            names.into_iter().collect::<Vec<_>>().join(", ")
        };
        if let Some(wanted) = &self.cell {
            let found = self.numbers.get(wanted).copied().filter(|&i| self.is_defined(i));
            let cell = wanted.clone();
            return found.ok_or_else(|| LayoutError::NoCell {
                path,
                cell,
                found: names(&mut defined()),
            });
        }
        let mut inside = vec![false; self.drafts.len()];
        for instance in self.drafts.iter().flat_map(|draft| &draft.instances) {
            inside[instance.cell as usize] = true;
        }
        let tops: Vec<usize> = defined().filter(|&i| !inside[i]).collect();
        match tops.as_slice() {
            [only] => Ok(*only as u32),
            [] => Err(LayoutError::Empty(path)),
            _ => Err(LayoutError::ManyCells { path, found: names(&mut tops.into_iter()) }),
        }
    }

    pub(super) fn choose_layer(&self, order: &[u32]) -> Result<Option<Layer>, LayoutError> {
        let layers = order.iter().flat_map(|&cell| self.drafts[cell as usize].layers.keys());
        let layers: BTreeSet<Layer> = layers.copied().collect();
        let found = layers.iter().map(Layer::to_string).collect::<Vec<_>>().join(", ");
        let path = self.path.clone();
        match self.layer {
            Some(layer) if !layers.contains(&layer) => {
                Err(LayoutError::NoLayer { path, layer, found })
            }
            Some(layer) => Ok(Some(layer)),
            None if layers.len() > 1 => Err(LayoutError::ManyLayers { path, found }),
            None => Ok(layers.first().copied()),
        }
    }
}
