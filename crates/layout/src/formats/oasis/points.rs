//! Point lists and repetitions.

use std::rc::Rc;

use super::input::Input;
use crate::library::{Places, Repetition};

/// Points that many shapes may share.
pub(crate) type PointList = Rc<[[i64; 2]]>;

/// More points of one shape, or places of one repetition, are refused: compressed files can ask for any number.
const MOST_POINTS: u64 = 1 << 22;

/// The points of a list, the first at 0. A polygon's last edge may be left out of the file.
pub(crate) fn points(input: &mut Input<'_>, polygon: bool) -> Result<PointList, String> {
    let kind = input.unsigned()?;
    let count = few(input.unsigned()?)?;
    let (mut at, mut step) = ([0, 0], [0, 0]);
    let mut points = vec![at];
    for i in 0..count {
        step = match kind {
            0 | 1 => along((kind + i) % 2, input.signed()?),
            2 => input.delta2()?,
            3 => input.delta3()?,
            4 => input.delta()?,
            5 => sum(step, input.delta()?)?,
            _ => return Err(format!("a point list has type {kind}; expected 0 to 5")),
        };
        at = sum(at, step)?;
        points.push(at);
    }
    if polygon && kind < 2 {
        // The corner before the first: on through the last point in turn, and level with the first.
        points.push(if (kind + count).is_multiple_of(2) { [0, at[1]] } else { [at[0], 0] });
    }
    Ok(points.into())
}

fn few(count: u64) -> Result<u64, String> {
    match count <= MOST_POINTS {
        true => Ok(count),
        false => Err(format!("a list has {count} points; expected at most {MOST_POINTS}")),
    }
}

fn along(axis: u64, length: i64) -> [i64; 2] {
    if axis == 0 { [length, 0] } else { [0, length] }
}

/// The sum of two vectors.
pub(crate) fn sum(a: [i64; 2], b: [i64; 2]) -> Result<[i64; 2], String> {
    match (a[0].checked_add(b[0]), a[1].checked_add(b[1])) {
        (Some(x), Some(y)) => Ok([x, y]),
        _ => Err("a coordinate has more than 64 bits".into()),
    }
}

/// A point that fits 32 bits.
pub(crate) fn narrow(p: [i64; 2]) -> Result<[i32; 2], String> {
    match p.map(i32::try_from) {
        [Ok(x), Ok(y)] => Ok([x, y]),
        _ => Err(format!("coordinate {}, {} does not fit 32 bits", p[0], p[1])),
    }
}

/// A repetition; `None` if it is the one before, again.
pub(crate) fn repetition(input: &mut Input<'_>) -> Result<Option<Repetition>, String> {
    let kind = input.unsigned()?;
    let found = match kind {
        0 => return Ok(None),
        1 => {
            let counts = [count(input)?, count(input)?];
            grid(counts, [[input.length()?, 0], [0, input.length()?]])
        }
        2 => grid([count(input)?, 1], [[input.length()?, 0], [0, 0]]),
        3 => grid([1, count(input)?], [[0, 0], [0, input.length()?]]),
        4 | 6 => list(input, false, |input| Ok(along((kind - 4) / 2, input.length()?)))?,
        5 | 7 => list(input, true, |input| Ok(along((kind - 5) / 2, input.length()?)))?,
        8 => {
            let counts = [count(input)?, count(input)?];
            grid(counts, [input.delta()?, input.delta()?])
        }
        9 => grid([count(input)?, 1], [input.delta()?, [0, 0]]),
        10 => list(input, false, |input| input.delta())?,
        11 => list(input, true, |input| input.delta())?,
        _ => return Err(format!("a repetition has type {kind}; expected 0 to 11")),
    };
    Ok(Some(found))
}

/// Files have two less.
fn count(input: &mut Input<'_>) -> Result<u64, String> {
    Ok(input.length()? as u64 + 2)
}

fn grid(counts: [u64; 2], steps: [[i64; 2]; 2]) -> Repetition {
    Repetition::Grid { counts, steps: steps.map(|step| step.map(|v| v as f64)) }
}

/// Places one after the other, in multiples of a grid if there is one.
fn list(
    input: &mut Input<'_>,
    has_grid: bool,
    step: impl Fn(&mut Input<'_>) -> Result<[i64; 2], String>,
) -> Result<Repetition, String> {
    let count = few(count(input)?)?;
    let grid = if has_grid { input.length()? } else { 1 };
    let mut at = [0, 0];
    let mut places = vec![[0, 0]];
    for _ in 1..count {
        let step = step(input)?.map(|v| v.checked_mul(grid));
        let [Some(x), Some(y)] = step else {
            return Err("a coordinate has more than 64 bits".into());
        };
        at = sum(at, [x, y])?;
        places.push(narrow(at)?);
    }
    Ok(Repetition::List(Places::new(places)))
}
