//! Trapezoids: by two slants, or one of 26 kinds whose slants are 45 degrees.

/// A trapezoid in a box of `w` by `h`; `a` and `b` say how far its two slanted sides lean.
///
/// Upright ones have horizontal parallel sides: `a` is how far right the upper left corner is of the lower left one,
/// `b` the same on the right. The others have vertical parallel sides: `a` is how far the lower left corner is above the
/// lower right one, `b` the upper left one above the upper right one.
pub(crate) fn slanted(vertical: bool, [w, h]: [i64; 2], a: i64, b: i64) -> Vec<[i64; 2]> {
    if vertical {
        vec![[0, a.max(0)], [0, h + b.min(0)], [w, h - b.max(0)], [w, -a.min(0)]]
    } else {
        vec![[a.max(0), h], [w + b.min(0), h], [w - b.max(0), 0], [-a.min(0), 0]]
    }
}

/// A trapezoid of a kind from 0 to 25. Kinds that are as high as they are wide, or need one of the two only,
/// ignore the other.
pub(crate) fn of_kind(kind: u64, [w, h]: [i64; 2]) -> Result<Vec<[i64; 2]>, String> {
    let points = match kind {
        0 => vec![[0, 0], [0, h], [w - h, h], [w, 0]],
        1 => vec![[0, 0], [0, h], [w, h], [w - h, 0]],
        2 => vec![[0, 0], [h, h], [w, h], [w, 0]],
        3 => vec![[h, 0], [0, h], [w, h], [w, 0]],
        4 => vec![[0, 0], [h, h], [w - h, h], [w, 0]],
        5 => vec![[h, 0], [0, h], [w, h], [w - h, 0]],
        6 => vec![[0, 0], [h, h], [w, h], [w - h, 0]],
        7 => vec![[h, 0], [0, h], [w - h, h], [w, 0]],
        8 => vec![[0, 0], [0, h], [w, h - w], [w, 0]],
        9 => vec![[0, 0], [0, h - w], [w, h], [w, 0]],
        10 => vec![[0, 0], [0, h], [w, h], [w, w]],
        11 => vec![[0, w], [0, h], [w, h], [w, 0]],
        12 => vec![[0, 0], [0, h], [w, h - w], [w, w]],
        13 => vec![[0, w], [0, h - w], [w, h], [w, 0]],
        14 => vec![[0, 0], [0, h - w], [w, h], [w, w]],
        15 => vec![[0, w], [0, h], [w, h - w], [w, 0]],
        16 => vec![[0, 0], [0, w], [w, 0]],
        17 => vec![[0, 0], [0, w], [w, w]],
        18 => vec![[0, 0], [w, w], [w, 0]],
        19 => vec![[0, w], [w, w], [w, 0]],
        20 => vec![[0, 0], [h, h], [2 * h, 0]],
        21 => vec![[0, h], [2 * h, h], [h, 0]],
        22 => vec![[0, 0], [0, 2 * w], [w, w]],
        23 => vec![[0, w], [w, 2 * w], [w, 0]],
        24 => vec![[0, 0], [0, h], [w, h], [w, 0]],
        25 => vec![[0, 0], [0, w], [w, w], [w, 0]],
        _ => return Err(format!("a CTRAPEZOID has type {kind}; expected 0 to 25")),
    };
    match points.iter().flatten().any(|v| *v < 0) {
        true => Err(format!("a CTRAPEZOID of type {kind} cannot be {w} x {h}")),
        false => Ok(points),
    }
}

/// Which sides a kind needs: width, height.
pub(crate) fn needs(kind: u64) -> [bool; 2] {
    match kind {
        16..=19 | 22 | 23 | 25 => [true, false],
        20 | 21 => [false, true],
        _ => [true, true],
    }
}
