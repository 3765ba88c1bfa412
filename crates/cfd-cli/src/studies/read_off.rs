//! Numbers that are read off a flow.

use lithoburn_cfd::Flow;

/// Length of the recirculation behind a round body, from its rear to where the flow on its axis turns forwards, in
/// diameters; 0 if there is none, NaN if it does not end on the grid.
pub(crate) fn wake(flow: &Flow, centre: [f64; 2], radius: f64) -> f64 {
    const STEPS: u32 = 2000;
    let rear = centre[0] + radius;
    let reach = 16.0 * radius;
    let u = |x: f64| flow.velocity_at(0, x, centre[1]);
    // The first cell behind the wall is interpolated across it.
    let first = rear + 0.1 * radius;
    if u(first) >= 0.0 {
        return 0.0;
    }
    let place = |k: u32| first + reach * f64::from(k) / f64::from(STEPS);
    let Some(k) = (1..=STEPS).find(|&k| u(place(k)) >= 0.0) else { return f64::NAN };
    let (a, b) = (place(k - 1), place(k));
    let zero = a + (b - a) * u(a) / (u(a) - u(b));
    (zero - rear) / (2.0 * radius)
}
