//! Numbers that came as text or as a list, as bytes of a datatype.

use super::problem::Problem;
use crate::tensor::{Datatype, Tensor};

/// The tensor of an input `name` whose values were listed.
pub(super) fn tensor(
    name: &str,
    datatype: Datatype,
    shape: Vec<usize>,
    values: &[f64],
) -> Result<Tensor, Problem> {
    let wrong = |text: String| Problem::invalid(format!("input '{name}': {text}"));
    let bytes = match datatype {
        Datatype::Bool => each(values, |v| (v == 0.0 || v == 1.0).then_some([u8::from(v != 0.0)])),
        Datatype::Uint8 => {
            each(values, |v| (v.fract() == 0.0 && (0.0..=255.0).contains(&v)).then_some([v as u8]))
        }
        Datatype::Fp32 => each(values, |v| {
            let single = v as f32;
            (single.is_finite() || !v.is_finite()).then_some(single.to_le_bytes())
        }),
        Datatype::Fp16 | Datatype::Bf16 => {
            return Err(Problem::invalid(format!(
                "receiving {datatype} data as numbers is not supported. Please use the binary data format for input {name}"
            )));
        }
        other => return Err(wrong(format!("{other} must be sent as binary data"))),
    };
    let bytes = bytes.map_err(|value| wrong(format!("{value} is no {datatype}")))?;
    let elements = datatype.bytes_of(&shape).map(|n| n / datatype.width().unwrap_or(1));
    if elements != Some(values.len()) {
        let (expected, came) = (elements.unwrap_or(usize::MAX), values.len());
        return Err(wrong(format!(
            "shape {shape:?} has {expected} elements, but 'data' has {came}"
        )));
    }
    Ok(Tensor::new(datatype, shape, bytes)?)
}

fn each<const N: usize>(
    values: &[f64],
    bytes: impl Fn(f64) -> Option<[u8; N]>,
) -> Result<Vec<u8>, f64> {
    let mut all = Vec::with_capacity(values.len() * N);
    for &value in values {
        all.extend_from_slice(&bytes(value).ok_or(value)?);
    }
    Ok(all)
}
