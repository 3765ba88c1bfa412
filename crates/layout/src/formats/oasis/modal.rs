//! Modal variables: what a record leaves out is what the last one said.

use super::input::Input;
use super::points::{self, PointList, sum};
use crate::library::{Builder, Repetition};

/// The variables. None of them is known at the beginning of a cell, but positions are 0.
#[derive(Default)]
pub(crate) struct Modal {
    pub(crate) relative: bool,
    pub(crate) placement: [i64; 2],
    pub(crate) geometry: [i64; 2],
    pub(crate) text: [i64; 2],
    pub(crate) cell: Option<u32>,
    pub(crate) layer: Option<u64>,
    pub(crate) datatype: Option<u64>,
    pub(crate) width: Option<i64>,
    pub(crate) height: Option<i64>,
    pub(crate) polygon: Option<PointList>,
    pub(crate) path: Option<PointList>,
    pub(crate) half_width: Option<i64>,
    pub(crate) extensions: [Option<i64>; 2],
    pub(crate) trapezoid: Option<u64>,
    pub(crate) radius: Option<i64>,
    repetition: Option<Kept>,
}

/// A repetition, stored in the library once something that is wanted uses it.
enum Kept {
    Here(Repetition),
    Stored(u32),
}

/// Sets a variable if the file does, and returns it.
pub(crate) fn set<T: Clone>(
    variable: &mut Option<T>,
    name: &str,
    given: bool,
    read: impl FnOnce() -> Result<T, String>,
) -> Result<T, String> {
    if given {
        *variable = Some(read()?);
    }
    variable.clone().ok_or_else(|| format!("a record takes {name} from before, but there is none"))
}

/// Moves a position: x if bit 1 of `given` is set, y if bit 0 is.
pub(crate) fn move_to(
    position: &mut [i64; 2],
    relative: bool,
    given: u8,
    input: &mut Input<'_>,
) -> Result<[i64; 2], String> {
    for axis in 0..2 {
        if given & (2 >> axis) != 0 {
            let mut by = [0, 0];
            by[axis] = input.signed()?;
            match relative {
                true => *position = sum(*position, by)?,
                false => position[axis] = by[axis],
            }
        }
    }
    Ok(*position)
}

impl Modal {
    /// Reads a repetition.
    pub(crate) fn read_repetition(&mut self, input: &mut Input<'_>) -> Result<(), String> {
        match points::repetition(input)? {
            Some(new) => self.repetition = Some(Kept::Here(new)),
            None if self.repetition.is_none() => {
                return Err("a record takes the repetition from before, but there is none".into());
            }
            None => {}
        }
        Ok(())
    }

    /// The number of the last repetition.
    pub(crate) fn stored_repetition(
        &mut self,
        library: &mut Builder,
    ) -> Result<Option<u32>, String> {
        let number = match self.repetition.take() {
            Some(Kept::Here(repetition)) => library.repetition(repetition)?,
            Some(Kept::Stored(number)) => number,
            None => return Ok(None),
        };
        self.repetition = Some(Kept::Stored(number));
        Ok(Some(number))
    }
}
