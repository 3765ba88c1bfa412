//! Cells that are known by number.

use std::collections::HashMap;

use crate::library::Builder;
use crate::names;

/// Bytes that an entry takes besides its name, about.
const NAME_BYTES: u64 = 64;

/// Cell names by number. A number may be used before its name is known.
#[derive(Default)]
pub(super) struct Names {
    names: HashMap<u64, String>,
    next: u64,
    cells: HashMap<u64, u32>,
}

impl Names {
    /// Notes the name of a number, the next one if none is given.
    pub(super) fn add(
        &mut self,
        number: Option<u64>,
        name: String,
        builder: &mut Builder,
    ) -> Result<(), String> {
        builder.store(NAME_BYTES + name.len() as u64)?;
        let number = number.unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        match self.names.insert(number, name.clone()) {
            Some(other) if other != name => {
                let [a, b] = [&other, &name].map(|name| names::shown(name));
                Err(format!("cell number {number} has two names, {a:?} and {b:?}"))
            }
            _ => Ok(()),
        }
    }

    /// The cell of a number.
    pub(super) fn cell(&mut self, number: u64, builder: &mut Builder) -> Result<u32, String> {
        if let Some(&cell) = self.cells.get(&number) {
            return Ok(cell);
        }
        let cell = builder.nameless()?;
        self.cells.insert(number, cell);
        Ok(cell)
    }

    /// Gives all cells their names.
    pub(super) fn give(&self, builder: &mut Builder) -> Result<(), String> {
        let mut cells: Vec<_> = self.cells.iter().collect();
        cells.sort();
        for (number, &cell) in cells {
            let name = self.names.get(number);
            let name = name.ok_or_else(|| format!("no CELLNAME has the number {number}"))?;
            builder.name(cell, name)?;
        }
        Ok(())
    }
}
