//! What a step launches, and in which order.

use super::super::LAUNCHES;

/// What a step launches, in this order: a kernel or two each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Launch {
    SoftMask,
    Spectrum,
    Power,
    Print,
    Slopes,
    Back,
    Gradient,
    Update,
}

impl Launch {
    const ALL: [Self; LAUNCHES] = [
        Self::SoftMask,
        Self::Spectrum,
        Self::Power,
        Self::Print,
        Self::Slopes,
        Self::Back,
        Self::Gradient,
        Self::Update,
    ];

    /// All of them, from the one at `first` on and round.
    pub(super) fn from(first: usize) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().cycle().skip(first).take(Self::ALL.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_comes_first_each_launch_comes_once() {
        assert!(Launch::from(0).eq(Launch::ALL));
        let round: Vec<Launch> = Launch::from(6).collect();
        assert_eq!(round[..3], [Launch::Gradient, Launch::Update, Launch::SoftMask]);
        assert!(Launch::ALL.iter().all(|launch| round.contains(launch)));
    }
}
