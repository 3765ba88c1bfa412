//! Open lengths, distances, walls and volumes from signed distances, as tensors.
//!
//! Written by other formulas than the solver's where there are any: an edge is open over (a⁺ + b⁺)/(|a| + |b|) of its
//! length, and areas are ∮ x dy, whose chord closes what the open sides leave.

use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation::relu};
use lithoburn_cfd::Grid;

/// The half-spaced grid's places along x and y.
#[derive(Clone)]
pub(crate) struct Places {
    pub(crate) half: [Vec<f64>; 2],
    pub(crate) device: Device,
}

impl Places {
    pub(crate) fn of(grid: &Grid, device: &Device) -> Self {
        let half = |faces: &[f64]| {
            let middles = faces.windows(2).flat_map(|pair| [pair[0], (pair[0] + pair[1]) / 2.0]);
            middles.chain(faces.last().copied()).collect()
        };
        Self { half: [half(grid.x()), half(grid.y())], device: device.clone() }
    }

    /// The same with the axes swapped.
    pub(crate) fn swapped(&self) -> Self {
        let [x, y] = &self.half;
        Self { half: [y.clone(), x.clone()], device: self.device.clone() }
    }

    /// Cells along and across.
    pub(crate) fn cells(&self) -> [usize; 2] {
        [0, 1].map(|axis| self.half[axis].len() / 2)
    }

    /// Numbers along, the same for all across.
    pub(crate) fn row(&self, values: Vec<f64>) -> Tensor<2> {
        let shape = [1, values.len()];
        Tensor::from_data(TensorData::new(values, shape), (&self.device, DType::F64))
    }

    /// Numbers across, the same for all along.
    pub(crate) fn column(&self, values: Vec<f64>) -> Tensor<2> {
        let shape = [values.len(), 1];
        Tensor::from_data(TensorData::new(values, shape), (&self.device, DType::F64))
    }

    pub(crate) fn zeros(&self, shape: [usize; 2]) -> Tensor<2> {
        Tensor::zeros(shape, (&self.device, DType::F64))
    }

    /// Rows and columns of a field.
    pub(crate) fn pick(&self, field: &Tensor<2>, rows: &[usize], columns: &[usize]) -> Tensor<2> {
        let index = |places: &[usize]| {
            let places: Vec<i64> = places.iter().map(|&i| i as i64).collect();
            let shape = [places.len()];
            Tensor::<1, Int>::from_data(TensorData::new(places, shape), &self.device)
        };
        field.clone().select(0, index(rows)).select(1, index(columns))
    }
}

/// One where a test holds, a constant of the graph.
pub(crate) fn mask(of: &Tensor<2>, holds: impl Fn(f64) -> bool) -> Tensor<2> {
    let values = of.clone().try_into_vec_as::<f64>().expect("values on the CPU");
    let ones: Vec<f64> = values.into_iter().map(|v| f64::from(u8::from(holds(v)))).collect();
    let shape: [usize; 2] = of.dims();
    Tensor::from_data(TensorData::new(ones, shape), (&of.device(), DType::F64))
}

/// Open share of an edge.
fn share(a: &Tensor<2>, b: &Tensor<2>) -> Tensor<2> {
    (relu(a.clone()) + relu(b.clone())) / (a.clone().abs() + b.clone().abs())
}

/// Middle of the open part of an edge from `start` over `length`: beside its fluid end.
fn middle(a: &Tensor<2>, b: &Tensor<2>, start: Tensor<2>, length: Tensor<2>) -> Tensor<2> {
    let (half, first) = (share(a, b) * 0.5, mask(a, |a| a > 0.0));
    let from_end = half.clone().neg() + 1.0;
    start + length * (first.clone() * half + (first.neg() + 1.0) * from_end)
}

/// What the equations of one velocity component know of geometry; that component runs along the columns.
pub(crate) struct Geometry {
    /// Open length of each face, zero where closed: [across, along + 1].
    pub(crate) open: Tensor<2>,
    /// One where a face is open.
    pub(crate) live: Tensor<2>,
    /// Conductance between a cell's two faces for the value before and behind it: [across, along].
    pub(crate) along: [Tensor<2>; 2],
    /// Conductance between faces above each other and from the borders: [across + 1, along + 1].
    pub(crate) across: Tensor<2>,
    /// Wetted area over distance.
    pub(crate) wall: Tensor<2>,
    /// Fluid part of each control volume.
    pub(crate) volume: Tensor<2>,
    /// Conductance for heat through each face.
    pub(crate) through: Tensor<2>,
}

/// Rows and columns of samples around faces.
struct Around<'a> {
    places: &'a Places,
    phi: &'a Tensor<2>,
    low: Vec<usize>,
    high: Vec<usize>,
    faces: Vec<usize>,
    before: Vec<usize>,
    behind: Vec<usize>,
}

impl<'a> Around<'a> {
    fn new(places: &'a Places, phi: &'a Tensor<2>) -> Self {
        let [n, t] = places.cells();
        Self {
            places,
            phi,
            low: (0..t).map(|k| 2 * k).collect(),
            high: (0..t).map(|k| 2 * k + 2).collect(),
            faces: (0..=n).map(|m| 2 * m).collect(),
            before: (0..=n).map(|m| (2 * m).saturating_sub(1)).collect(),
            behind: (0..=n).map(|m| (2 * m + 1).min(2 * n)).collect(),
        }
    }

    fn at(&self, rows: &[usize], columns: &[usize]) -> Tensor<2> {
        self.places.pick(self.phi, rows, columns)
    }

    /// Both ends of each face.
    fn ends(&self) -> [Tensor<2>; 2] {
        [self.at(&self.low, &self.faces), self.at(&self.high, &self.faces)]
    }

    fn heights(&self) -> Tensor<2> {
        let t = &self.places.half[1];
        self.places.column(self.low.iter().map(|&s| t[s + 2] - t[s]).collect())
    }

    fn reaches(&self) -> Tensor<2> {
        let n = &self.places.half[0];
        let pairs = self.before.iter().zip(&self.behind);
        self.places.row(pairs.map(|(&a, &b)| n[b] - n[a]).collect())
    }
}

/// Geometry of the component along the columns of `phi`.
pub(crate) fn geometry(places: &Places, phi: &Tensor<2>) -> Geometry {
    let around = Around::new(places, phi);
    let [a, b] = around.ends();
    let live = mask(&share(&a, &b), |share| share > 1e-6);
    let open = share(&a, &b) * around.heights() * live.clone();
    let starts = around.low.iter().map(|&s| places.half[1][s]).collect();
    let middles = middle(&a, &b, places.column(starts), around.heights());
    let distance = (relu(a.clone()) + relu(b.clone())) * 0.5 + (live.clone().neg() + 1.0);
    let rise = (b - a) / (around.heights() * 2.0) / distance.clone();
    let spacing = {
        let n = &places.half[0];
        let last = n.len() - 1;
        let from = |m: &usize| n[(m + 1).min(last)] - n[m.saturating_sub(1)];
        places.row(around.faces.iter().map(from).collect())
    };
    Geometry {
        along: along(&around, &live, &middles, &rise),
        across: across(&around, &live, &middles),
        wall: wall(&around, &live) / distance * live.clone(),
        volume: volume(&around) * live.clone(),
        through: open.clone() / spacing,
        open,
        live,
    }
}

fn along(
    around: &Around,
    live: &Tensor<2>,
    middles: &Tensor<2>,
    rise: &Tensor<2>,
) -> [Tensor<2>; 2] {
    let (places, [n, _]) = (around.places, around.places.cells());
    let centres: Vec<usize> = (0..n).map(|m| 2 * m + 1).collect();
    let width = |m: &usize| places.half[0][m + 1] - places.half[0][m - 1];
    let widths = places.row(centres.iter().map(width).collect());
    let [a, b] = [&around.low, &around.high].map(|rows| around.at(rows, &centres));
    let both = live.clone().narrow(1, 0, n) * live.clone().narrow(1, 1, n);
    let g = share(&a, &b) * around.heights() / widths * both;
    let offset = middles.clone().narrow(1, 1, n) - middles.clone().narrow(1, 0, n);
    let lean = |m: usize| g.clone() * offset.clone() * rise.clone().narrow(1, m, n);
    [g.clone() + lean(0), lean(1) - g.clone()]
}

fn across(around: &Around, live: &Tensor<2>, middles: &Tensor<2>) -> Tensor<2> {
    let (places, [n, t]) = (around.places, around.places.cells());
    let corners: Vec<usize> = (0..=t).map(|k| 2 * k).collect();
    let [a, b] = [&around.before, &around.behind].map(|columns| around.at(&corners, columns));
    let half = &places.half[1];
    let border = |at: f64| places.row(vec![at; n + 1]);
    let above = Tensor::cat(vec![middles.clone(), border(half[2 * t])], 0);
    let below = Tensor::cat(vec![border(half[0]), middles.clone()], 0);
    let ones = || border(1.0);
    let both =
        Tensor::cat(vec![ones(), live.clone()], 0) * Tensor::cat(vec![live.clone(), ones()], 0);
    share(&a, &b) * around.reaches() * both.clone()
        / ((above - below) * both.clone() + (both.neg() + 1.0))
}

/// Wetted area of each control volume, with the sides that lead to closed faces at their steepness.
fn wall(around: &Around, live: &Tensor<2>) -> Tensor<2> {
    let (places, [n, t]) = (around.places, around.places.cells());
    let corner = |rows: &[usize], columns: &[usize]| around.at(rows, columns);
    let (sw, nw) = (corner(&around.low, &around.before), corner(&around.high, &around.before));
    let (se, ne) = (corner(&around.low, &around.behind), corner(&around.high, &around.behind));
    let (heights, reaches) = (around.heights(), around.reaches());
    let sides = [
        share(&sw, &nw) * heights.clone(),
        share(&se, &ne) * heights.clone(),
        share(&sw, &se) * reaches.clone(),
        share(&nw, &ne) * reaches.clone(),
    ];
    let square = (sides[0].clone() - sides[1].clone()).square()
        + (sides[2].clone() - sides[3].clone()).square();
    let some = mask(&square, |area| area > 0.0);
    // The root of zero has no slope.
    let embedded = (square + (some.clone().neg() + 1.0)).sqrt() * some;
    let along = ((se + ne - sw - nw) * 0.5 / reaches).abs();
    let [a, b] = around.ends();
    let steep = ((b - a) / heights).abs();
    let dead = live.clone().neg() + 1.0;
    let (column, row) = (places.zeros([t, 1]), places.zeros([1, n + 1]));
    let blocked = [
        Tensor::cat(vec![column.clone(), dead.clone().narrow(1, 0, n)], 1),
        Tensor::cat(vec![dead.clone().narrow(1, 1, n), column], 1),
        Tensor::cat(vec![row.clone(), dead.clone().narrow(0, 0, t - 1)], 0),
        Tensor::cat(vec![dead.narrow(0, 1, t - 1), row], 0),
    ];
    let steepness = [along.clone(), along, steep.clone(), steep];
    let closed =
        sides.into_iter().zip(steepness).zip(blocked).map(|((s, d), blocked)| s * d * blocked);
    closed.fold(embedded, |sum, part| sum + part)
}

fn volume(around: &Around) -> Tensor<2> {
    let corner = |rows: &[usize], columns: &[usize]| around.at(rows, columns);
    let corners = [
        corner(&around.low, &around.before),
        corner(&around.low, &around.behind),
        corner(&around.high, &around.behind),
        corner(&around.high, &around.before),
    ];
    area(&corners, around.reaches(), around.heights())
}

/// Fluid part of each cell.
pub(crate) fn cell_volume(places: &Places, phi: &Tensor<2>) -> Tensor<2> {
    let around = Around::new(places, phi);
    let [n, _] = places.cells();
    let (west, east): (Vec<usize>, Vec<usize>) = (0..n).map(|m| (2 * m, 2 * m + 2)).unzip();
    let corners = [
        around.at(&around.low, &west),
        around.at(&around.low, &east),
        around.at(&around.high, &east),
        around.at(&around.high, &west),
    ];
    let half = &places.half[0];
    let widths = places.row(west.iter().map(|&m| half[m + 2] - half[m]).collect());
    area(&corners, widths, around.heights())
}

/// ∮ x dy of the fluid in boxes whose corners (counter-clockwise) have these distances: the east side's part, and the
/// chord's, whose x is the mean of its ends'. The chord is one: an outline cuts a box once.
fn area(corners: &[Tensor<2>; 4], width: Tensor<2>, height: Tensor<2>) -> Tensor<2> {
    let [sw, se, ne, nw] = corners;
    let cut =
        |a: &Tensor<2>, b: &Tensor<2>| mask(&(a.clone() * b.clone()), |product| product <= 0.0);
    // Where an edge from west to east is cut, as a share of it.
    let place = |a: &Tensor<2>, b: &Tensor<2>| {
        let first = mask(a, |a| a > 0.0);
        let open = share(a, b);
        cut(a, b) * (first.clone() * open.clone() + (first.neg() + 1.0) * (open.neg() + 1.0))
    };
    let ends = place(sw, se) + place(nw, ne) + cut(se, ne);
    let (east, west) = (share(se, ne), share(sw, nw));
    width * height * (east.clone() + (west - east) * ends * 0.5)
}
