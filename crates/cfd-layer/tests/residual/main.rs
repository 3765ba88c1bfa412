//! The discrete equations of flow written once more, with Burn's tensors: a second implementation of geometry,
//! residual and objective, whose derivatives autodiff takes, and whose adjoint is solved for by elimination.
//!
//! Nothing of the solver's is used but its flow and the gradient that is to be compared. Residuals agree if the flow
//! satisfies these equations too; vector–Jacobian products agree if the gradients by signed distance, viscosity,
//! diffusivity, buoyancy, density and inflow do.

mod equations;
mod geometry;

use std::error::Error;

use burn::tensor::{DType, Device, Tensor, TensorData};
use lithoburn_cfd::{
    Body, Case, Density, Flow, Grid, Heat, Heated, Objective, Thermal, cases, shape::Circle,
};

use equations::{Inputs, Unknowns, equations};
use geometry::Places;

type Outcome = Result<(), Box<dyn Error>>;

const CELLS: [usize; 2] = [14, 11];
const BUOYANCY: f64 = 0.7;
const REFERENCE: f64 = 0.4;
const DIFFUSIVITY: f64 = 0.06;
/// Diffusivity of a design's solid, and how soon it falls as fluid comes in.
const SOLID: (f64, f64) = (0.3, 2.0);
const RESISTANCE: [f64; 3] = [0.5, 8.0, 1.5];
/// Where the floor is warm.
const WARM: [f64; 2] = [0.4, 1.3];
/// Factors on drag, lift, heat from the floor and mean temperature.
const WEIGHTS: [f64; 4] = [1.0, 0.4, 0.5, 0.8];

/// All couplings at once: a body that cuts cells, porous solid that conducts, a warm floor, buoyancy.
fn case() -> Result<Case, lithoburn_cfd::Error> {
    let mut case = cases::channel(20.0, 1.6, CELLS[0], CELLS[1])?;
    case.grid = Grid::clustered([0.0, 1.6], [0.0, 1.0], CELLS[0], CELLS[1], 0.6)?;
    let everywhere = |thermal| Heated { from: f64::NEG_INFINITY, to: f64::INFINITY, thermal };
    case.sides.heat[0] = vec![everywhere(Thermal::Temperature(0.0))];
    case.sides.heat[2] =
        vec![Heated { from: WARM[0], to: WARM[1], thermal: Thermal::Temperature(1.0) }];
    case.heat = Some(Heat {
        diffusivity: DIFFUSIVITY,
        solid: Some(SOLID),
        buoyancy: [0.0, BUOYANCY],
        reference: REFERENCE,
    });
    let design = (0..case.grid.cells()).map(|c| 0.6 + 0.3 * (1.7 * c as f64).sin()).collect();
    let [least, most, penalty] = RESISTANCE;
    case.density = Some(Density { design, least, most, penalty });
    case.options.tolerance = 1e-14;
    Ok(case.with_body(Body::new(Circle { centre: [0.71, 0.53], radius: 0.243 })))
}

fn objective() -> Objective {
    let [drag, lift, heat, mean] = WEIGHTS;
    let force = |along| Objective::Force { along, scale: 1.0 };
    Objective::Sum(vec![
        (drag, force([1.0, 0.0])),
        (lift, force([0.0, 1.0])),
        (heat, Objective::SideHeat { side: 2, scale: 1.0 }),
        (mean, Objective::MeanTemperature),
    ])
}

fn tensor(values: &[f64], shape: [usize; 2], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), shape), (device, DType::F64))
}

fn numbers(tensor: &Tensor<2>) -> Result<Vec<f64>, Box<dyn Error>> {
    Ok(tensor.clone().try_into_vec_as::<f64>()?)
}

/// The flow's unknowns, and all that its equations depend on, as leaves of a graph.
fn leaves(flow: &Flow, places: &Places, device: &Device) -> (Unknowns, Inputs) {
    let [nx, ny] = CELLS;
    let leaf = |values: Vec<f64>, shape| tensor(&values, shape, device).require_grad();
    let at = |axis: usize, columns: Vec<f64>, rows: Vec<f64>| -> Vec<f64> {
        let row =
            |y: &f64| columns.iter().map(|x| flow.velocity_at(axis, *x, *y)).collect::<Vec<_>>();
        rows.iter().flat_map(row).collect()
    };
    let [x, y] = &places.half;
    let (faces, middles) = (
        |half: &Vec<f64>| half.iter().step_by(2).copied().collect::<Vec<f64>>(),
        |half: &Vec<f64>| half.iter().skip(1).step_by(2).copied().collect::<Vec<f64>>(),
    );
    let unknowns = Unknowns {
        u: leaf(at(0, faces(x), middles(y)), [ny, nx + 1]),
        v: leaf(at(1, middles(x), faces(y)), [ny + 1, nx]),
        p: leaf(flow.pressure().to_vec(), [ny, nx]),
        t: leaf(flow.temperature().unwrap_or_default().to_vec(), [ny, nx]),
    };
    let design = flow.case().density.as_ref().map(|density| density.design.clone());
    let inflow: Vec<f64> = (0..ny).map(|k| flow.velocity_at(0, 0.0, middles(y)[k])).collect();
    let inputs = Inputs {
        phi: leaf(flow.distances().to_vec(), [2 * ny + 1, 2 * nx + 1]),
        viscosity: leaf(vec![flow.case().viscosity], [1, 1]),
        diffusivity: leaf(vec![DIFFUSIVITY], [1, 1]),
        buoyancy: leaf(vec![BUOYANCY], [1, 1]),
        design: leaf(design.unwrap_or_default(), [ny, nx]),
        inflow: leaf(inflow, [ny, 1]),
    };
    (unknowns, inputs)
}

/// x of A x = b by elimination with pivots; A by rows.
fn eliminate(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
    let n = b.len();
    for c in 0..n {
        let pivot = (c..n).max_by(|&i, &j| a[i][c].abs().total_cmp(&a[j][c].abs())).unwrap_or(c);
        a.swap(c, pivot);
        b.swap(c, pivot);
        for r in c + 1..n {
            let factor = a[r][c] / a[c][c];
            if factor != 0.0 {
                let (above, below) = a.split_at_mut(r);
                below[0][c..].iter_mut().zip(&above[c][c..]).for_each(|(x, y)| *x -= factor * y);
                b[r] -= factor * b[c];
            }
        }
    }
    for c in (0..n).rev() {
        let known: f64 = (c + 1..n).map(|k| a[c][k] * b[k]).sum();
        b[c] = (b[c] - known) / a[c][c];
    }
    b
}

/// Gradients by the unknowns, joined, and by each input.
type Pulled = (Vec<f64>, [Vec<f64>; 6]);

/// Gradients of `row`ᵀ R + `by` J by all leaves.
fn pulled(flow: &Flow, row: &[f64], by: f64) -> Result<Pulled, Box<dyn Error>> {
    let device = Device::flex().autodiff();
    let places = Places::of(&flow.case().grid, &device);
    let (unknowns, inputs) = leaves(flow, &places, &device);
    let (residual, value) = equations(&places, &unknowns, &inputs);
    let row = tensor(row, [1, row.len()], &device);
    let gradients = ((residual * row).sum() + value.sum() * by).backward();
    let of = |leaf: &Tensor<2>| -> Result<Vec<f64>, Box<dyn Error>> {
        match leaf.grad(&gradients) {
            Some(gradient) => numbers(&gradient),
            None => Ok(vec![0.0; leaf.shape().num_elements()]),
        }
    };
    let Unknowns { u, v, p, t } = &unknowns;
    let joined = [of(u)?, of(v)?, of(p)?, of(t)?].concat();
    let Inputs { phi, viscosity, diffusivity, buoyancy, design, inflow } = &inputs;
    let rest = [phi, viscosity, diffusivity, buoyancy, design, inflow].map(of);
    let [a, b, c, d, e, f] = rest;
    Ok((joined, [a?, b?, c?, d?, e?, f?]))
}

#[test]
fn the_flow_satisfies_the_equations_as_burn_has_them_and_the_objective_has_their_value() -> Outcome
{
    let flow = case()?.solve()?;
    let device = Device::flex().autodiff();
    let places = Places::of(&flow.case().grid, &device);
    let (unknowns, inputs) = leaves(&flow, &places, &device);
    let (residual, value) = equations(&places, &unknowns, &inputs);
    for (row, rest) in numbers(&residual)?.into_iter().enumerate() {
        assert!(rest.abs() < 1e-11, "row {row}: {rest}");
    }
    let (theirs, ours) = (numbers(&value)?[0], flow.value(&objective()));
    assert!((theirs - ours).abs() < 1e-11 * ours.abs(), "{theirs} {ours}");
    // Not an equation that holds of itself: a velocity that is off is found out.
    let off = Unknowns { u: unknowns.u.clone() * 1.01, ..unknowns };
    let (residual, _) = equations(&places, &off, &inputs);
    assert!(numbers(&residual)?.iter().any(|rest| rest.abs() > 1e-4));
    Ok(())
}

#[test]
fn gradients_are_those_of_burns_autodiff_through_its_own_equations() -> Outcome {
    let flow = case()?.solve()?;
    let [nx, ny] = CELLS;
    let count = ny * (nx + 1) + nx * (ny + 1) + 2 * nx * ny;
    let unit = |i: usize| (0..count).map(|k| f64::from(u8::from(k == i))).collect::<Vec<f64>>();
    // Rows of the Jacobian, hence columns of its transpose.
    let rows: Result<Vec<Vec<f64>>, Box<dyn Error>> =
        (0..count).map(|i| Ok(pulled(&flow, &unit(i), 0.0)?.0)).collect();
    let rows = rows?;
    let column = |k: usize| rows.iter().map(|row| row[k]).collect::<Vec<f64>>();
    let transposed: Vec<Vec<f64>> = (0..count).map(column).collect();
    let nothing = vec![0.0; count];
    let (seed, _) = pulled(&flow, &nothing, 1.0)?;
    let adjoint = eliminate(transposed, seed);
    let minus: Vec<f64> = adjoint.iter().map(|l| -l).collect();
    let (rest, by) = pulled(&flow, &minus, 1.0)?;
    assert!(rest.iter().all(|r| r.abs() < 1e-9), "the adjoint is not solved for");
    let ours = flow.gradient(&objective())?;
    let [phi, viscosity, diffusivity, buoyancy, design, inflow] = &by;
    let pairs: [(&str, &[f64], &[f64]); 6] = [
        ("distance", phi, &ours.distance),
        ("viscosity", viscosity, &[ours.viscosity]),
        ("diffusivity", diffusivity, &[ours.diffusivity]),
        ("buoyancy", buoyancy, &[ours.buoyancy[1]]),
        ("density", design, &ours.density),
        ("inflow", inflow, &ours.inflow[0]),
    ];
    for (name, theirs, ours) in pairs {
        let size = ours.iter().fold(0.0_f64, |most, v| most.max(v.abs()));
        assert!(size > 1e-3 && theirs.len() == ours.len(), "{name}");
        for (k, (a, b)) in theirs.iter().zip(ours).enumerate() {
            assert!((a - b).abs() <= 1e-9 * size, "{name} {k}: {a} {b}");
        }
    }
    Ok(())
}
