//! Cells in the order in which they can be computed: those inside of others first.

use super::Builder;
use crate::{LayoutError, names};

/// References nested deeper than this are a cycle or a mistake.
const DEEPEST: usize = 64;

/// A cell and all that are in it.
///
/// # Errors
///
/// [`LayoutError::Damaged`] if a cell is inside itself, is not there, or is too deep inside others.
pub(super) fn below(builder: &Builder, cell: u32) -> Result<Vec<u32>, LayoutError> {
    let mut order = Order { builder, heights: vec![None; builder.drafts.len()], order: vec![] };
    order.visit(cell, 0)?;
    Ok(order.order)
}

/// Every cell that is there.
///
/// # Errors
///
/// As [`below`].
pub(super) fn all(builder: &Builder) -> Result<Vec<u32>, LayoutError> {
    let mut order = Order { builder, heights: vec![None; builder.drafts.len()], order: vec![] };
    for cell in builder.defined() {
        order.visit(cell, 0)?;
    }
    Ok(order.order)
}

struct Order<'a> {
    builder: &'a Builder,
    /// Levels of cells below; 0 while that is not known yet, which only a cycle sees.
    heights: Vec<Option<usize>>,
    order: Vec<u32>,
}

impl Order<'_> {
    /// The number of levels from this cell down.
    fn visit(&mut self, cell: u32, depth: usize) -> Result<usize, LayoutError> {
        let draft = &self.builder.drafts[cell as usize];
        let name = names::shown(&draft.name);
        if let Some(height) = self.heights[cell as usize] {
            return match height {
                0 => Err(self.builder.damaged(format!("cell {name:?} is inside itself: a cycle"))),
                _ => Ok(height),
            };
        }
        if !draft.defined {
            let problem = format!("it refers to cell {name:?}, which it does not have");
            return Err(self.builder.damaged(problem));
        }
        self.heights[cell as usize] = Some(0);
        let mut height = 1;
        for instance in &draft.instances {
            height = height.max(
                1 + match depth < DEEPEST {
                    true => self.visit(instance.cell, depth + 1)?,
                    false => DEEPEST,
                },
            );
        }
        if height > DEEPEST {
            let problem = format!("cell {name:?} has more than {DEEPEST} levels of cells inside");
            return Err(self.builder.damaged(problem));
        }
        self.heights[cell as usize] = Some(height);
        self.order.push(cell);
        Ok(height)
    }
}
