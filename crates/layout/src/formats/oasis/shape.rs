//! Shapes: rectangles, polygons, paths, trapezoids and circles, without their positions.

use super::input::Input;
use super::modal::{Modal, set};
use super::points::{PointList, points};
use super::{record, trapezoid};

/// A shape as a record has it.
pub(super) enum Shape {
    Corners(PointList),
    Path { line: PointList, half: i64, ends: [i64; 2] },
    Circle(i64),
}

impl Modal {
    /// The shape without its position.
    pub(super) fn shape(
        &mut self,
        id: u64,
        info: u8,
        input: &mut Input<'_>,
    ) -> Result<Shape, String> {
        let corners = |points: Vec<[i64; 2]>| Shape::Corners(points.into());
        match id {
            record::RECTANGLE => self.rectangle(info, input).map(corners),
            record::PATH => self.path(info, input),
            record::CTRAPEZOID => self.trapezoid_of_kind(info, input).map(corners),
            record::POLYGON => {
                let read = || points(input, true);
                set(&mut self.polygon, "a point list", info & 0x20 != 0, read).map(Shape::Corners)
            }
            record::CIRCLE => {
                let read = || input.length();
                set(&mut self.radius, "a radius", info & 0x20 != 0, read).map(Shape::Circle)
            }
            _ => self.trapezoid(id, info, input).map(corners),
        }
    }

    fn size(
        &mut self,
        info: u8,
        needed: [bool; 2],
        input: &mut Input<'_>,
    ) -> Result<[i64; 2], String> {
        let mut size = [0, 0];
        if info & 0x40 != 0 || needed[0] {
            size[0] = set(&mut self.width, "a width", info & 0x40 != 0, || input.length())?;
        }
        if info & 0x20 != 0 || needed[1] {
            size[1] = set(&mut self.height, "a height", info & 0x20 != 0, || input.length())?;
        }
        Ok(size)
    }

    fn rectangle(&mut self, info: u8, input: &mut Input<'_>) -> Result<Vec<[i64; 2]>, String> {
        let square = info & 0x80 != 0;
        if square && info & 0x20 != 0 {
            return Err("a RECTANGLE is a square and has a height".into());
        }
        let [w, mut h] = self.size(info, [true, !square], input)?;
        if square {
            h = w;
            self.height = Some(w);
        }
        Ok(vec![[0, 0], [w, 0], [w, h], [0, h]])
    }

    fn trapezoid(
        &mut self,
        id: u64,
        info: u8,
        input: &mut Input<'_>,
    ) -> Result<Vec<[i64; 2]>, String> {
        let size = self.size(info, [true, true], input)?;
        let [a, b] = match id {
            record::TRAPEZOID => [input.signed()?, input.signed()?],
            record::TRAPEZOID_A => [input.signed()?, 0],
            _ => [0, input.signed()?],
        };
        Ok(trapezoid::slanted(info & 0x80 != 0, size, a, b))
    }

    fn trapezoid_of_kind(
        &mut self,
        info: u8,
        input: &mut Input<'_>,
    ) -> Result<Vec<[i64; 2]>, String> {
        let read = || input.unsigned();
        let kind = set(&mut self.trapezoid, "a trapezoid's type", info & 0x80 != 0, read)?;
        let size = self.size(info, trapezoid::needs(kind), input)?;
        trapezoid::of_kind(kind, size)
    }

    fn path(&mut self, info: u8, input: &mut Input<'_>) -> Result<Shape, String> {
        let half = set(&mut self.half_width, "a half-width", info & 0x40 != 0, || input.length())?;
        if info & 0x80 != 0 {
            let scheme = input.unsigned()?;
            for (end, shift) in [(0, 2), (1, 0)] {
                match scheme >> shift & 3 {
                    0 => {}
                    1 => self.extensions[end] = Some(0),
                    2 => self.extensions[end] = Some(half),
                    _ => self.extensions[end] = Some(input.signed()?),
                }
            }
        }
        let read = || points(input, false);
        let line = set(&mut self.path, "a point list", info & 0x20 != 0, read)?;
        let [Some(start), Some(end)] = self.extensions else {
            return Err("a PATH takes its extensions from before, but there are none".into());
        };
        Ok(Shape::Path { line, half, ends: [start, end] })
    }
}
