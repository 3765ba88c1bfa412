//! Mask rules on bitmaps: what must stay dark, and masks changed until they keep the rules.
//!
//! The same sets as the host's rules make, pixel by pixel: opened and closed by disks, shapes of touching pixels (corners
//! included) and their areas, the middle between shapes that are too near each other. Rounds are the host's to begin; what it
//! reads of each is a number an image.

mod disks;
#[cfg(feature = "gpu")]
mod kernels;
#[cfg(feature = "gpu")]
mod launch;
#[cfg(feature = "gpu")]
mod shapes;

use burn::backend::tensor::IntTensor;
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{DType, Int, Tensor, TensorData};
#[cfg(feature = "gpu")]
use {
    burn::backend::fusion::custom::TensorSpec, burn::tensor::Shape, burn_cubecl::CubeBackend,
    launch::RuleKernels,
};

use crate::{Bitmaps, Error, error};
use disks::Plan;
pub use disks::Rules;

/// Rounds that add to a mask as well as take away: mending one rule can break another.
const MENDING_ROUNDS: usize = 4;
/// Rounds in all. The rest only take away, which ends where nothing breaks a rule.
const MOST_ROUNDS: usize = 64;

/// Rules as operations of a backend.
#[backend_extension(Cube: cfg(feature = "gpu"), Fusion: cfg(feature = "gpu"))]
pub(crate) trait Mending: Backend {
    /// Pixels that must stay dark for shapes to be large enough and far enough apart.
    #[fusion(meta = |mask, _| mask.clone())]
    fn forbidden(mask: IntTensor<Self>, plan: Plan) -> IntTensor<Self>;

    /// A round: the masks after it, and whether each, `[batch]`, was changed. `phases`, `[batch]`, are those of [`Phase`];
    /// `taking` tells whether any takes away only.
    #[fusion(meta = |mask, phases, _, _| (mask.clone(), phases.clone()))]
    fn mended(
        mask: IntTensor<Self>,
        phases: IntTensor<Self>,
        taking: bool,
        plan: Plan,
    ) -> (IntTensor<Self>, IntTensor<Self>);

    /// Whether anything breaks a rule in each mask, `[batch]`.
    #[fusion(meta = |mask, _| an_image_each(mask))]
    fn broken(mask: IntTensor<Self>, plan: Plan) -> IntTensor<Self>;
}

#[cfg(feature = "gpu")]
fn an_image_each(mask: &TensorSpec) -> TensorSpec {
    TensorSpec::new(Shape::from([mask.shape[0]]), DType::U32)
}

#[cfg(feature = "gpu")]
impl Mending for CubeBackend {
    fn forbidden(mask: IntTensor<Self>, plan: Plan) -> IntTensor<Self> {
        let bench = RuleKernels::new(mask, &plan);
        bench.forbidden()
    }

    fn mended(
        mask: IntTensor<Self>,
        phases: IntTensor<Self>,
        taking: bool,
        plan: Plan,
    ) -> (IntTensor<Self>, IntTensor<Self>) {
        RuleKernels::new(mask, &plan).mended(phases, taking)
    }

    fn broken(mask: IntTensor<Self>, plan: Plan) -> IntTensor<Self> {
        RuleKernels::new(mask, &plan).broken()
    }
}

/// What enforcing may still do to a mask; its number is the kernels'.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Add and take away.
    Mending = 0,
    /// Take away.
    Taking = 1,
    /// Nothing.
    Done = 2,
}

impl Phase {
    /// After a round that did not change the mask. Closing can put back what opening took away, round after round.
    fn after(self, broken: bool) -> Self {
        match self {
            Self::Mending if broken => Self::Taking,
            _ => Self::Done,
        }
    }
}

impl Bitmaps {
    /// Pixels that must stay dark for shapes to be large enough and far enough apart: small shapes with what is around them,
    /// and the middle between near neighbours.
    ///
    /// # Panics
    ///
    /// If the rules do not [fit](Rules::fits).
    pub fn forbidden(&self, rules: &Rules) -> Self {
        let plan = Plan::new(rules);
        Self::from_dispatch(<Dispatch as Mending>::forbidden(self.to_dispatch(), plan))
    }

    /// The masks, changed until they keep the rules, or as nearly as some rounds get; waits for the device, round by round.
    ///
    /// # Errors
    ///
    /// [`Error::Device`] if the device failed, now or before.
    ///
    /// # Panics
    ///
    /// If the rules do not [fit](Rules::fits).
    pub fn enforced(&self, rules: &Rules) -> Result<Self, Error> {
        let plan = Plan::new(rules);
        let mut phases = vec![Phase::Mending; self.batch()];
        let mut masks = self.clone();
        for round in 0..MOST_ROUNDS {
            if round == MENDING_ROUNDS {
                let begun = phases.iter_mut().filter(|phase| **phase == Phase::Mending);
                begun.for_each(|phase| *phase = Phase::Taking);
            }
            let (after, changed) = masks.mended(&phases, &plan);
            masks = after;
            masks.settle(&mut phases, &error::read(changed, "a round of mask rules")?, &plan)?;
            if phases.iter().all(|phase| *phase == Phase::Done) {
                break;
            }
        }
        Ok(masks)
    }

    fn mended(&self, phases: &[Phase], plan: &Plan) -> (Self, Tensor<1, Int>) {
        let numbers: Vec<u32> = phases.iter().map(|&phase| phase as u32).collect();
        let data = TensorData::new(numbers, [phases.len()]);
        let numbers = Tensor::<1, Int>::from_data(data, (&self.device(), DType::U32));
        let taking = phases.contains(&Phase::Taking);
        let (words, numbers) = (self.to_dispatch(), numbers.into_dispatch());
        let (words, changed) = <Dispatch as Mending>::mended(words, numbers, taking, plan.clone());
        (Self::from_dispatch(words), Tensor::from_dispatch(changed))
    }

    /// The phases after a round, of which `changed` tells what it changed.
    fn settle(&self, phases: &mut [Phase], changed: &[u32], plan: &Plan) -> Result<(), Error> {
        let rests = |(phase, &changed): (&Phase, &u32)| *phase == Phase::Mending && changed == 0;
        let broken = match phases.iter().zip(changed).any(rests) {
            true => {
                let broken = <Dispatch as Mending>::broken(self.to_dispatch(), plan.clone());
                error::read(Tensor::<1, Int>::from_dispatch(broken), "what breaks mask rules")?
            }
            false => vec![0; phases.len()],
        };
        let resting = phases.iter_mut().zip(&broken).zip(changed).filter(|(_, c)| **c == 0);
        resting.for_each(|((phase, &broken), _)| *phase = phase.after(broken != 0));
        Ok(())
    }
}
