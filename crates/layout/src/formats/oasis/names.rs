//! Cells that are known by number.

use std::collections::HashMap;

use crate::library::Builder;

/// Cell names by number. A number may be used before its name is known.
#[derive(Default)]
pub(super) struct Names {
    names: HashMap<u64, String>,
    next: u64,
    cells: HashMap<u64, u32>,
}

impl Names {
    /// Notes the name of a number, the next one if none is given.
    pub(super) fn add(&mut self, number: Option<u64>, name: String) -> Result<(), String> {
        let number = number.unwrap_or_else(|| {
            self.next += 1;
            self.next - 1
        });
        match self.names.insert(number, name.clone()) {
            Some(other) if other != name => {
                Err(format!("cell number {number} has two names, {other:?} and {name:?}"))
            }
            _ => Ok(()),
        }
    }

    /// The cell of a number.
    pub(super) fn cell(&mut self, number: u64, builder: &mut Builder) -> u32 {
        *self.cells.entry(number).or_insert_with(|| builder.nameless())
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
