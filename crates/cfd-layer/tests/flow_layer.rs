//! The layer against finite differences of whole solutions, and a network that trains through it.

use std::error::Error;

use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsParams};
use burn::tensor::activation::{sigmoid, tanh};
use burn::tensor::{Device, Tensor, TensorData};
use lithoburn_cfd::{Body, Case, Density, Grid, Objective, cases, grid::stretched, shape::Circle};
use lithoburn_cfd_layer::{FlowLayer, Variable};

type Outcome = Result<(), Box<dyn Error>>;

const VISCOSITY: f64 = 0.05;

/// A cylinder in a box that is small and coarse.
fn small(centre: [f64; 2], radius: f64, viscosity: f64) -> Result<Case, lithoburn_cfd::Error> {
    let x = stretched([-0.8, 1.2], 0.1, (6, -6.0), (10, 9.0));
    let y = stretched([-0.8, 0.8], 0.1, (6, -6.0), (6, 6.0));
    let body = Body::new(Circle { centre, radius });
    cases::stream(1.0 / viscosity, Grid::new(x, y)?, body)
}

fn drag() -> Objective {
    Objective::drag(1.0, 1.0)
}

fn tensor(rows: &[&[f64]], device: &Device) -> Tensor<2> {
    let shape = [rows.len(), rows[0].len()];
    // Numbers that f32 holds, so that both sides see the same ones.
    let values: Vec<f32> = rows.concat().iter().map(|&value| value as f32).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Central difference, extrapolated from two steps.
fn richardson(
    step: f64,
    value: impl Fn(f64) -> Result<f64, lithoburn_cfd::Error>,
) -> Result<f64, lithoburn_cfd::Error> {
    let central =
        |h: f64| -> Result<f64, lithoburn_cfd::Error> { Ok((value(h)? - value(-h)?) / (2.0 * h)) };
    Ok((4.0 * central(step / 2.0)? - central(step)?) / 3.0)
}

#[test]
fn the_layers_values_and_slopes_are_those_of_whole_solutions() -> Outcome {
    let [x, y] = cases::OFF_GRID.map(|v| f64::from(v as f32));
    let (first, second) = ([x, y, 0.5, 0.05], [x, y, 0.5, 0.0625]);
    let lift = Objective::lift(1.0, 1.0);
    let variables = vec![Variable::Shape(0), Variable::Viscosity];
    let layer = FlowLayer::new(small([x, y], 0.5, VISCOSITY)?, variables, vec![drag(), lift])?;
    assert_eq!(layer.inputs(), 4);
    let device = Device::flex().autodiff();
    let input = tensor(&[&first, &second], &device).require_grad();
    let output = layer.forward(input.clone())?;
    let weights = tensor(&[&[1.0, 0.0], &[3.0, 1.0]], &device);
    let gradients = (output.clone() * weights).sum().backward();
    let slopes = input.grad(&gradients).ok_or("no gradient")?.try_into_vec_as::<f64>()?;
    let value = |at: [f64; 4], weights: [f64; 2]| {
        let flow = small([at[0], at[1]], at[2], at[3])?.solve()?;
        Ok(weights[0] * flow.value(&drag()) + weights[1] * flow.value(&Objective::lift(1.0, 1.0)))
    };
    let values = output.try_into_vec_as::<f64>()?;
    for (sample, (at, weights)) in
        [(first, [1.0, 0.0]), (second, [3.0, 1.0])].into_iter().enumerate()
    {
        let at = at.map(|v| f64::from(v as f32));
        let exact = small([at[0], at[1]], at[2], at[3])?.solve()?.value(&drag());
        assert!((values[2 * sample] - exact).abs() < 1e-6 * exact, "{values:?} {exact}");
        for k in 0..4 {
            let moved = |step: f64| {
                let mut moved = at;
                moved[k] += step;
                value(moved, weights)
            };
            let (found, difference) = (slopes[4 * sample + k], richardson(2e-4, moved)?);
            // The tensors are f32.
            let off = (found - difference).abs();
            assert!(off < 2e-6 * difference.abs().max(0.1), "{sample} {k}: {found} {difference}");
        }
    }
    Ok(())
}

#[test]
fn inflow_and_density_are_inputs_like_any_other() -> Outcome {
    let mut case = cases::channel(20.0, 2.0, 16, 8)?;
    let design: Vec<f64> = (0..128).map(|c| 0.7 + 0.2 * f64::from(c).sin()).collect();
    case.density = Some(Density { design, least: 0.0, most: 20.0, penalty: 1.0 });
    let variables = vec![Variable::Inflow(0), Variable::Density];
    let layer = FlowLayer::new(case, variables, vec![Objective::Dissipation])?;
    let at: Vec<f64> = layer.values().iter().map(|&v| f64::from(v as f32)).collect();
    let device = Device::flex().autodiff();
    let input = tensor(&[&at], &device).require_grad();
    let gradients = layer.forward(input.clone())?.sum().backward();
    let slopes = input.grad(&gradients).ok_or("no gradient")?.try_into_vec_as::<f64>()?;
    for k in [1, 5, 8, 60, 135] {
        let value = |step: f32| -> Result<f64, Box<dyn Error>> {
            let mut moved = at.clone();
            moved[k] += f64::from(step);
            let moved = tensor(&[&moved], &Device::flex());
            Ok(layer.forward(moved)?.try_into_vec_as::<f64>()?[0])
        };
        // A power of two, so that f32 holds the moved number nearly as well.
        const STEP: f32 = 1.0 / 64.0;
        let difference = (value(STEP)? - value(-STEP)?) / f64::from(2.0 * STEP);
        let off = (slopes[k] - difference).abs();
        assert!(off < 2e-3 * difference.abs().max(0.1), "{k}: {} {difference}", slopes[k]);
    }
    Ok(())
}

/// A radius for every wanted drag: one number in, one out, between 0.3 and 0.6.
fn radius(layers: &[Linear; 2], wanted: Tensor<2>) -> Tensor<2> {
    let hidden = tanh(layers[0].forward((wanted - 2.2) * 4.0));
    sigmoid(layers[1].forward(hidden)) * 0.3 + 0.3
}

/// It is never told a radius: what it learns comes back through the flow.
#[test]
fn a_network_learns_through_the_flow_which_radius_has_which_drag() -> Outcome {
    let [x, y] = cases::OFF_GRID;
    let layer =
        FlowLayer::new(small([x, y], 0.5, VISCOSITY)?, vec![Variable::Shape(0)], vec![drag()])?;
    let device = Device::flex().autodiff();
    device.seed(7);
    let wanted = tensor(&[&[1.95], &[2.1], &[2.3], &[2.45]], &device);
    let mut layers = [LinearConfig::new(1, 8).init(&device), LinearConfig::new(8, 1).init(&device)];
    let mut optimizers = [AdamConfig::new().init(), AdamConfig::new().init()];
    let circle = |radius: Tensor<2>| {
        let [batch, _] = radius.dims();
        let centre = tensor(&[&[x, y]], &radius.device()).repeat_dim(0, batch);
        Tensor::cat(vec![centre, radius], 1)
    };
    for _ in 0..80 {
        let drag = layer.forward(circle(radius(&layers, wanted.clone())))?;
        let mut gradients = (drag - wanted.clone()).square().mean().backward();
        let [a, b] = layers;
        let [of_a, of_b] =
            [&a, &b].map(|layer| GradientsParams::from_module(&mut gradients, layer));
        layers = [optimizers[0].step(0.05, a, of_a), optimizers[1].step(0.05, b, of_b)];
    }
    // Also between the values that it was trained on.
    for wanted in [1.95, 2.02, 2.2, 2.4] {
        let radius = radius(&layers, tensor(&[&[wanted]], &device)).try_into_vec_as::<f64>()?[0];
        let found = small([x, y], radius, VISCOSITY)?.solve()?.value(&drag());
        assert!((found / wanted - 1.0).abs() < 0.03, "{wanted}: {found} at radius {radius}");
    }
    Ok(())
}

#[test]
fn what_a_case_does_not_have_and_inputs_of_another_width_are_refused() -> Outcome {
    let case = || small(cases::OFF_GRID, 0.5, VISCOSITY);
    for variable in
        [Variable::Shape(1), Variable::Temperature(0), Variable::Inflow(1), Variable::Density]
    {
        let refused = FlowLayer::new(case()?, vec![variable], vec![drag()]);
        assert!(refused.is_err_and(|e| e.to_string().contains(&variable.to_string())));
    }
    let layer = FlowLayer::new(case()?, vec![Variable::Viscosity], vec![drag()])?;
    let two = tensor(&[&[0.1, 0.2]], &Device::flex());
    assert!(layer.forward(two).is_err_and(|e| e.to_string().contains("takes 1 numbers")));
    let negative = tensor(&[&[0.1], &[-0.1]], &Device::flex());
    let error = layer.forward(negative).err().ok_or("a negative viscosity has no flow")?;
    assert!(error.to_string().starts_with("sample 1: "), "{error}");
    Ok(())
}
