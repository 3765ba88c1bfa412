//! What a replica finds out about its part of a batch: the loss, and the gradients of all weights.
//!
//! On a GPU the loss's gradient by the network's logits comes from the simulator's own kernels, and the network's way back begins there: that of a
//! card as one operation, or of Burn's graph through the layers. Elsewhere the graph goes through the simulator, too; it is the reference.

use burn::optim::GradientsParams;
use burn::tensor::{DType, Tensor};
use lithoburn_litho::images::resized;
use lithoburn_models::Head;
use lithoburn_models::hopper::training::RecordedPass;

use super::{Numbers, Replica, StepOrder, Trainable};
use crate::TrainError;
use crate::adversary::{Examples, Judgement, judged};
use crate::objective::Batch;

/// The gradients of the network's weights: by parameter, or as one run of numbers.
#[allow(clippy::large_enum_variant, reason = "there is one a step")]
pub(super) enum Gradients {
    Layers(GradientsParams),
    Fused(Tensor<1>),
}

/// What a part of a batch found out.
pub(super) struct Findings {
    /// None where nobody looks and it would cost something.
    pub(super) numbers: Option<Numbers<Tensor<1>>>,
    pub(super) gradients: Gradients,
    /// The discriminator's.
    pub(super) judge: Option<GradientsParams>,
}

/// A forward pass that the way back can begin from.
#[allow(clippy::large_enum_variant, reason = "there is one a step")]
enum Pass {
    Fused(RecordedPass),
    /// Logits in Burn's graph.
    Layers(Tensor<4>),
}

impl Pass {
    fn logits(&self) -> Tensor<4> {
        match self {
            Self::Fused(pass) => pass.logits.clone(),
            Self::Layers(logits) => logits.clone().inner(),
        }
    }
}

/// The discriminator's say in the network's gradient.
struct Opinion {
    judgement: Judgement,
    /// What it costs by the labelled clips' masks at the network's pixels.
    by_means: Tensor<3>,
}

impl<N: Trainable> Replica<N> {
    /// Loss and gradients of a part of a batch, labelled clips first.
    pub(super) fn found(
        &self,
        batch: &Batch,
        examples: Option<&Examples>,
        order: StepOrder,
    ) -> Result<Findings, TrainError> {
        match self.objective.has_kernels() {
            true => self.found_by_kernels(batch, examples, order),
            false => self.found_by_graph(batch, examples, order.share),
        }
    }

    fn found_by_graph(
        &self,
        batch: &Batch,
        examples: Option<&Examples>,
        share: f64,
    ) -> Result<Findings, TrainError> {
        let mask = self.objective.mask(&self.network, batch);
        let mut loss = self.objective.loss(&mask, &batch.target, share);
        let (mut judge, mut told_apart) = (None, None);
        if let Some(examples) = examples {
            let own = self.objective.seen(&labelled(examples, &mask));
            let judgement = self.judgement(examples, batch, &own)?;
            loss = loss + judgement.cost;
            (judge, told_apart) = (Some(judgement.gradients), Some(judgement.told_apart));
        }
        let numbers = Some(Numbers { loss: loss.clone().inner(), told_apart });
        let gradients = GradientsParams::from_grads(loss.backward(), &self.network);
        Ok(Findings { numbers, gradients: Gradients::Layers(gradients), judge })
    }

    fn found_by_kernels(
        &self,
        batch: &Batch,
        examples: Option<&Examples>,
        order: StepOrder,
    ) -> Result<Findings, TrainError> {
        let (head, target) = (self.network.head(), &batch.target);
        let pass = self.pass(batch);
        let mask = head.opened(batch.seen.clone(), pass.logits());
        let slope = self.objective.slope(head, &mask, target, order.share);
        let loss = order.looked_at.then(|| self.objective.loss(&mask, target, order.share));
        let Some(examples) = examples else {
            let numbers = loss.map(|loss| Numbers { loss, told_apart: None });
            return Ok(Findings { numbers, gradients: self.led_back(pass, slope), judge: None });
        };
        let mask = labelled(examples, &mask);
        let Opinion { judgement, by_means } = self.opinion(examples, batch, &mask)?;
        let Judgement { cost, gradients, told_apart } = judgement;
        let slope = added(slope, of_means(head, &mask, &by_means));
        let told_apart = Some(told_apart);
        let numbers = loss.map(|loss| Numbers { loss: loss + cost.inner(), told_apart });
        Ok(Findings { numbers, gradients: self.led_back(pass, slope), judge: Some(gradients) })
    }

    /// The network's forward pass, whose way back can begin at its logits.
    fn pass(&self, batch: &Batch) -> Pass {
        let input = batch.seen.clone().unsqueeze_dim::<4>(1);
        match &self.fused {
            Some(fused) => Pass::Fused(fused.training.pass(input)),
            None => Pass::Layers(self.network.logits(input.cast(self.objective.precision()))),
        }
    }

    /// The weights' gradient from that of a pass's logits.
    fn led_back(&self, pass: Pass, slope: Tensor<4>) -> Gradients {
        match (pass, &self.fused) {
            (Pass::Fused(pass), Some(fused)) => {
                Gradients::Fused(fused.training.gradient(pass, slope))
            }
            (Pass::Layers(logits), _) => {
                // A sum of products has its factors as slope. It goes by rows: Burn gives a single one to one thread.
                let product = logits.cast(DType::F32) * Tensor::from_inner(slope);
                let sum = product.sum_dim(3).sum_dim(2).sum();
                Gradients::Layers(GradientsParams::from_grads(sum.backward(), &self.network))
            }
            (Pass::Fused(_), None) => unreachable!("only a fused network has such a pass"),
        }
    }

    /// The discriminator's verdict on the labelled clips' masks `own`, at the network's pixels.
    fn judgement(
        &self,
        examples: &Examples,
        batch: &Batch,
        own: &Tensor<3>,
    ) -> Result<Judgement, TrainError> {
        let (Some(settings), Some(adversary)) = (&self.config.adversarial, &self.adversary) else {
            return Err(TrainError::Config("there is no adversarial phase".into()));
        };
        let seen = labelled(examples, &batch.seen);
        let pixel_nm = self.network.head().pixel_nm;
        let precision = self.objective.precision();
        judged(settings, &adversary.judge, examples, &seen, own, pixel_nm, precision)
    }

    /// The same, and the gradient of what it costs by masks that no graph made.
    fn opinion(
        &self,
        examples: &Examples,
        batch: &Batch,
        mask: &Tensor<3>,
    ) -> Result<Opinion, TrainError> {
        let own = Tensor::from_inner(self.objective.seen(mask)).require_grad();
        let judgement = self.judgement(examples, batch, &own)?;
        let by_means = own.grad(&judgement.cost.backward());
        let by_means = by_means.unwrap_or_else(|| own.inner().zeros_like());
        Ok(Opinion { judgement, by_means })
    }
}

/// The labelled clips' part of a batch.
fn labelled(examples: &Examples, batch: &Tensor<3>) -> Tensor<3> {
    batch.clone().narrow(0, 0, examples.clips)
}

/// The gradient by logits from that by the means of their masks over the network's pixels.
fn of_means(head: Head, mask: &Tensor<3>, by_means: &Tensor<3>) -> Tensor<4> {
    let ([_, m, _], [_, n, _]) = (mask.dims(), by_means.dims());
    let open = mask.clone() * (mask.clone() * -1.0 + 1.0);
    let share = (n as f64 / m as f64).powi(2);
    head.led_back(resized(by_means.clone(), m) * open, share)
}

/// A batch's slopes with what its first clips' are besides.
fn added(slope: Tensor<4>, first: Tensor<4>) -> Tensor<4> {
    let ([batch, ..], [count, ..]) = (slope.dims(), first.dims());
    let own = slope.clone().narrow(0, 0, count) + first;
    match batch - count {
        0 => own,
        rest => Tensor::cat(vec![own, slope.narrow(0, count, rest)], 0),
    }
}

#[cfg(test)]
mod tests;
