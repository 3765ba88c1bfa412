//! What a training on a card goes by.

use std::sync::Arc;

use burn::tensor::DType;

use super::Compiled;
use super::room::Needs;
use super::weights::Place;
#[cfg(feature = "gpu")]
use crate::adjoints::tables::Told;
use crate::flat::Flat;
use crate::steps::back::Back;

/// A network's steps there and back, and where their numbers are.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) compiled: Compiled,
    pub(crate) back: Back,
    pub(crate) flat: Flat,
    /// Where the weights are that each convolution of the way back multiplies with.
    pub(crate) ask_places: Vec<Place>,
    /// The precision that gradients are given out in. They are summed in f32 before.
    pub(crate) gradients: DType,
    /// Whether gradients begin as what is no number, so that one that is not written is found.
    pub(crate) marked: bool,
    /// How much memory ways back needed so far.
    pub(crate) needs: Arc<Needs>,
    /// What the card was told of their sums.
    #[cfg(feature = "gpu")]
    pub(crate) told: Arc<Told>,
}

/// What a step of Adam is told.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamStep {
    /// How slowly the mean and the square of the gradient forget.
    pub betas: [f32; 2],
    /// Least divisor of a step.
    pub epsilon: f32,
    /// Largest norm of a parameter's gradient; longer ones are shortened to it.
    pub most_norm: f32,
    /// Factor on the gradient.
    pub scale: f32,
    /// The step size.
    pub rate: f32,
    /// Steps so far, this one included.
    pub count: i32,
}
