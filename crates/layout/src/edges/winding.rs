//! Whether the edges of a polygon go round every place at most once, and in which sense.

/// Slivers that are no wider may be anything: rounding makes them, in parts of pixels.
const SLIVER: f64 = 2.0;
/// Most looks at an edge before a polygon counts as too large.
const MOST_LOOKS: usize = 1 << 22;

/// What edges that go up do with the places on their right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sense {
    /// Cover them.
    Covers,
    /// Bare them: the polygon runs the other way.
    TakesAway,
}

/// An edge in a slab between two heights.
#[derive(Clone, Copy)]
struct Crossing {
    /// Its x at the slab's lower and upper end.
    x: [f64; 2],
    /// 1 if it goes up, else -1.
    sign: i32,
}

/// The sense of a polygon's edges, cut off at a window's border; any if there are none. None if edges cross or the polygon goes
/// round a place twice or in both senses, so that no sum of edges is its coverage.
///
/// From slab to slab between the heights at which edges end: within one, edges that do not cross have an order, in which coverage
/// is summed.
pub(super) fn of(edges: &[[i32; 4]], border: f64) -> Option<Sense> {
    let span = |e: &[i32; 4]| (e[1].min(e[3]), e[1].max(e[3]));
    let mut heights: Vec<i32> = edges.iter().flat_map(|e| [e[1], e[3]]).collect();
    heights.sort_unstable();
    heights.dedup();
    let mut waiting = edges.to_vec();
    waiting.sort_unstable_by_key(|e| std::cmp::Reverse(span(e).0));
    let (mut active, mut slab) = (Vec::new(), Vec::new());
    let (mut sense, mut looks) = (None, 0);
    for pair in heights.windows(2) {
        active.retain(|e| span(e).1 > pair[0]);
        while let Some(edge) = waiting.pop_if(|e| span(e).0 == pair[0]) {
            active.push(edge);
        }
        looks += active.len();
        if looks > MOST_LOOKS {
            return None;
        }
        slab.clear();
        slab.extend(active.iter().map(|e| crossing(e, [pair[0], pair[1]])));
        sense = sense_of(&mut slab, border, sense)?;
    }
    Some(sense.unwrap_or(Sense::Covers))
}

fn crossing(&[x0, y0, x1, y1]: &[i32; 4], slab: [i32; 2]) -> Crossing {
    let [x0, y0, x1, y1] = [x0, y0, x1, y1].map(f64::from);
    let x = slab.map(|y| x0 + (f64::from(y) - y0) / (y1 - y0) * (x1 - x0));
    Crossing { x, sign: if y0 < y1 { 1 } else { -1 } }
}

/// The sense after a slab, whose edges are put in order; none if they contradict it or each other.
fn sense_of(slab: &mut [Crossing], border: f64, before: Option<Sense>) -> Option<Option<Sense>> {
    slab.sort_unstable_by(|a, b| (a.x[0] + a.x[1]).total_cmp(&(b.x[0] + b.x[1])));
    let ends = slab.iter().map(|c| c.x).skip(1).chain([[border; 2]]);
    let (mut covered, mut sense) = (0, before);
    for (edge, next) in slab.iter().zip(ends) {
        covered += edge.sign;
        let gaps = [0, 1].map(|i| next[i] - edge.x[i]);
        if gaps.iter().any(|&gap| gap < -SLIVER) {
            return None;
        }
        let found = match covered {
            _ if gaps.iter().all(|&gap| gap <= SLIVER) => continue,
            0 => continue,
            1 => Sense::Covers,
            -1 => Sense::TakesAway,
            _ => return None,
        };
        if *sense.get_or_insert(found) != found {
            return None;
        }
    }
    Some(sense)
}
