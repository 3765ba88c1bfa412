//! Which cell and layer of a file are meant.

use std::collections::BTreeSet;

use super::{Builder, order};
use crate::{Layer, LayoutError, names};

impl Builder {
    /// The cells that are there.
    pub(super) fn defined(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.drafts.len() as u32).filter(|&cell| self.drafts[cell as usize].defined)
    }

    pub(super) fn name_of(&self, cell: u32) -> &str {
        &self.drafts[cell as usize].name
    }

    /// The cells that no other refers to.
    pub(super) fn tops(&self) -> Vec<u32> {
        let mut inside = vec![false; self.drafts.len()];
        for instance in self.drafts.iter().flat_map(|draft| &draft.instances) {
            inside[instance.cell as usize] = true;
        }
        self.defined().filter(|&cell| !inside[cell as usize]).collect()
    }

    /// The wanted cell, else the only one that no other refers to.
    pub(super) fn choose_cell(&self) -> Result<u32, LayoutError> {
        match &self.cell {
            Some(wanted) => self.cell_named(wanted),
            None => self.only_top(),
        }
    }

    fn cell_named(&self, wanted: &str) -> Result<u32, LayoutError> {
        let found = self.numbers.get(wanted).copied();
        found.filter(|&cell| self.drafts[cell as usize].defined).ok_or_else(|| {
            let names = self.defined().map(|cell| self.name_of(cell));
            LayoutError::NoCell {
                path: self.path.clone(),
                cell: names::shown(wanted),
                found: names::nearest(wanted, names),
            }
        })
    }

    fn only_top(&self) -> Result<u32, LayoutError> {
        match self.tops().as_slice() {
            [only] => Ok(*only),
            // There are no cells, or each is inside another, which only a cycle can be.
            [] => Err(order::all(self).err().unwrap_or(LayoutError::Empty(self.path.clone()))),
            tops => {
                let names: BTreeSet<&str> = tops.iter().map(|&cell| self.name_of(cell)).collect();
                Err(LayoutError::ManyCells { path: self.path.clone(), found: names::few(names) })
            }
        }
    }

    /// The wanted layer, else the only one with shapes.
    pub(super) fn choose_layer(&self, order: &[u32]) -> Result<Option<Layer>, LayoutError> {
        let layers = order.iter().flat_map(|&cell| self.drafts[cell as usize].layers.keys());
        let layers: BTreeSet<Layer> = layers.copied().collect();
        let path = self.path.clone();
        match self.layer {
            Some(layer) if !layers.contains(&layer) => {
                Err(LayoutError::NoLayer { path, layer, found: nearest(layer, layers) })
            }
            Some(layer) => Ok(Some(layer)),
            None if layers.len() > 1 => {
                let found = names::few(layers.iter().map(Layer::to_string));
                Err(LayoutError::ManyLayers { path, found })
            }
            None => Ok(layers.first().copied()),
        }
    }
}

/// A handful of layers, those with the nearest numbers first.
fn nearest(wanted: Layer, layers: BTreeSet<Layer>) -> String {
    let mut layers: Vec<Layer> = layers.into_iter().collect();
    layers.sort_by_key(|other| {
        [other.layer.abs_diff(wanted.layer), other.datatype.abs_diff(wanted.datatype)]
    });
    match layers.as_slice() {
        [] => "none".into(),
        layers => names::few(layers.iter().map(Layer::to_string)),
    }
}
