//! Numbers that are none any more: whose they are, since when, and on which devices.

use std::fmt;

/// A number of a run that is none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Whose it is: the gradient or the weight of a parameter, by its name, or the loss.
    pub what: String,
    /// The step, from 1: the first one of a gradient, else that of the look which found it.
    pub step: usize,
    /// The devices on which it shows before anything is summed, from 1. Once it was summed, all have it.
    pub devices: Vec<usize>,
    /// How many devices there are.
    pub of: usize,
}

impl Lost {
    /// What all devices say of one number, as one.
    pub(crate) fn of_all<'a>(each: impl Iterator<Item = &'a Self> + Clone) -> Option<Self> {
        let devices = each.clone().flat_map(|lost| lost.devices.clone()).collect();
        each.clone().next().map(|first| Self { devices, ..first.clone() })
    }
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, step, devices, of } = self;
        write!(f, "{what} is no number at step {step}")?;
        let numbers: Vec<String> = devices.iter().map(usize::to_string).collect();
        match (&numbers[..], of) {
            (_, 0 | 1) => Ok(()),
            ([], _) => f.write_str(", once it was summed over the devices"),
            ([one], _) => write!(f, ", on device {one} of {of}"),
            (some, _) => write!(f, ", on devices {} of {of}", some.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_number_is_named_with_its_step_and_its_devices() {
        let told = |devices: &[usize], of| {
            let what = "the gradient of unet.last.bias".into();
            Lost { what, step: 137, devices: devices.to_vec(), of }.to_string()
        };
        let lost = "the gradient of unet.last.bias is no number at step 137";
        assert_eq!(told(&[1], 1), lost);
        assert_eq!(told(&[2], 4), format!("{lost}, on device 2 of 4"));
        assert_eq!(told(&[1, 3], 4), format!("{lost}, on devices 1, 3 of 4"));
        assert_eq!(told(&[], 2), format!("{lost}, once it was summed over the devices"));
    }
}
