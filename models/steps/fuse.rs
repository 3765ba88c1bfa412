//! Takes layers, as many at a time as become one step.

use super::{
    Convolution, Grain, Image, NARROW_BLOCK, NoStep, Step, Steps, Then, View, WIDE_BLOCK, Work,
};
use crate::kernel::Kernel;
use crate::program::{Layer, LayerKind};

/// Most channels that a last layer may make: the columns of its product.
const MOST_LOGITS: usize = 8;

/// What the last layer left.
#[derive(Clone, Debug)]
enum Value {
    Input { folded: bool },
    Views(Vec<View>),
    Logits,
}

/// Takes layers, as many at a time as become one step.
pub(super) struct Fuser<'a> {
    layers: &'a [Layer],
    grain: Grain,
    at: usize,
    value: Value,
    skips: Vec<View>,
    steps: Vec<Step>,
    images: Vec<Image>,
}

impl<'a> Fuser<'a> {
    pub(super) fn new(layers: &'a [Layer], grain: Grain) -> Self {
        let (value, skips, steps, images) =
            (Value::Input { folded: false }, Vec::new(), Vec::new(), Vec::new());
        Self { layers, grain, at: 0, value, skips, steps, images }
    }

    /// The steps of all layers.
    pub(super) fn steps(mut self) -> Result<Steps, NoStep> {
        while let Some(layer) = self.layers.get(self.at) {
            self.take(layer)?;
        }
        match self.value {
            Value::Logits => Ok(Steps { steps: self.steps, images: self.images }),
            _ => Err(NoStep { layer: "last".into(), reason: "makes no logits".into() }),
        }
    }

    /// Takes a layer and those after it that belong to its step.
    fn take(&mut self, layer: &Layer) -> Result<(), NoStep> {
        let no = |reason: &str| NoStep { layer: layer.name.clone(), reason: reason.into() };
        match (&layer.kind, self.value.clone()) {
            (LayerKind::Enter | LayerKind::Leave, _) => {}
            (LayerKind::Fold, Value::Input { folded: false }) => {
                self.value = Value::Input { folded: true };
            }
            (LayerKind::Fold, Value::Views(views)) => match views[..] {
                [View { image, folded: false }] => {
                    self.value = Value::Views(vec![View { image, folded: true }]);
                }
                _ => return Err(no("folds what is folded or joined")),
            },
            (LayerKind::Push, Value::Views(views)) if views.len() == 1 => self.skips.push(views[0]),
            (LayerKind::Join, Value::Views(mut views)) if views.len() == 1 => {
                views.extend(self.skips.pop());
                self.value = Value::Views(views);
            }
            (LayerKind::Double, Value::Views(views)) => self.double(layer, &views)?,
            (LayerKind::Convolve { kernel, relu }, Value::Input { folded }) => {
                self.stem(layer, kernel, *relu, folded)?;
            }
            (LayerKind::Convolve { kernel, relu }, Value::Views(views)) => {
                self.convolve(layer, kernel, *relu, views)?;
            }
            (kind, _) => return Err(no(&format!("cannot {} what is before it", kind.word()))),
        }
        self.at += 1;
        Ok(())
    }

    /// The kind of a layer after this one.
    fn ahead(&self, by: usize) -> Option<&'a LayerKind> {
        self.layers.get(self.at + by).map(|layer| &layer.kind)
    }

    fn image(&mut self, channels: usize, shrink: usize) -> usize {
        self.images.push(Image { channels, shrink, eight_bits: false });
        self.images.len() - 1
    }

    fn push(&mut self, layer: &Layer, work: Work) {
        self.steps.push(Step { name: layer.name.clone(), layer: self.at, work });
    }

    fn double(&mut self, layer: &Layer, views: &[View]) -> Result<(), NoStep> {
        let [View { image: from, folded: false }] = views else {
            let reason = "doubles what is folded or joined".into();
            return Err(NoStep { layer: layer.name.clone(), reason });
        };
        let Image { channels, shrink, .. } = self.images[*from];
        let to = self.image(channels, shrink / 2);
        self.push(layer, Work::Double { from: *from, to });
        self.value = Value::Views(vec![View { image: to, folded: false }]);
        Ok(())
    }

    fn stem(
        &mut self,
        layer: &Layer,
        kernel: &Kernel,
        relu: bool,
        folded: bool,
    ) -> Result<(), NoStep> {
        let multiple = self.grain.stem[usize::from(folded)];
        if kernel.side != 3 || !relu || !kernel.to.is_multiple_of(multiple) {
            let reason = format!(
                "is a first convolution of {0} x {0} to {1} channels{2}; kernels know 3 x 3 to a multiple of {multiple} with a ReLU",
                kernel.side,
                kernel.to,
                if relu { "" } else { " without a ReLU" }
            );
            return Err(NoStep { layer: layer.name.clone(), reason });
        }
        let to = self.image(kernel.to, if folded { 2 } else { 1 });
        self.push(layer, Work::Stem { folded, to });
        self.value = Value::Views(vec![View { image: to, folded: false }]);
        Ok(())
    }

    fn convolve(
        &mut self,
        layer: &Layer,
        kernel: &Kernel,
        relu: bool,
        from: Vec<View>,
    ) -> Result<(), NoStep> {
        let no = |reason: String| NoStep { layer: layer.name.clone(), reason };
        if kernel.side != 3 {
            return Err(no(format!(
                "is a convolution of {0} x {0}; kernels know 3 x 3",
                kernel.side
            )));
        }
        let runs: Vec<usize> = from.iter().map(|&view| self.run(view)).collect();
        let multiple = self.grain.run;
        if let Some(run) = runs.iter().find(|run| !run.is_multiple_of(multiple)) {
            return Err(no(format!("reads {run} channels; kernels know multiples of {multiple}")));
        }
        let all_wide = runs.iter().all(|run| run.is_multiple_of(WIDE_BLOCK));
        let block = if all_wide { WIDE_BLOCK } else { NARROW_BLOCK };
        if !relu && kernel.to <= MOST_LOGITS {
            return self.narrow(layer, kernel, block, &from);
        }
        let shrink = self.shrink(from[0]);
        let unfold = matches!(self.ahead(1), Some(LayerKind::Unfold));
        let run = if unfold { kernel.to / 2 } else { kernel.to };
        let pair = !kernel.to.is_multiple_of(WIDE_BLOCK) || !run.is_multiple_of(WIDE_BLOCK);
        if !run.is_multiple_of(multiple) {
            let most = if unfold { 2 * multiple } else { multiple };
            return Err(no(format!(
                "makes {} channels; kernels know multiples of {most}",
                kernel.to
            )));
        }
        let block = if pair { NARROW_BLOCK } else { block };
        let then = self.then(kernel, shrink, unfold, pair);
        let channels = kernel.to;
        let work = Convolution { from, block, pair, channels, run, shrink, relu, then };
        self.push(layer, Work::Convolve(work));
        self.at += self.follow(then, unfold);
        Ok(())
    }

    /// What follows a convolution in its own step.
    fn then(&mut self, kernel: &Kernel, shrink: usize, unfold: bool, pair: bool) -> Then {
        if unfold {
            let image = self.image(kernel.to / 4, shrink / 2);
            return Then::Store(View { image, folded: true });
        }
        let whole = kernel.to == if pair { NARROW_BLOCK } else { WIDE_BLOCK };
        let whole = whole || !self.grain.whole_last;
        if let (Some(LayerKind::Convolve { kernel: last, relu: false }), true) =
            (self.ahead(1), whole)
            && (last.side, last.to) == (1, 1)
            && matches!(self.ahead(2), Some(LayerKind::Leave))
        {
            let last = self.at + 1;
            return match self.grain.keep {
                true => {
                    let image = self.image(kernel.to, shrink);
                    Then::StoreLast(View { image, folded: false }, last)
                }
                false => Then::Last(last),
            };
        }
        let view = View { image: self.image(kernel.to, shrink), folded: false };
        match (self.ahead(1), self.ahead(2)) {
            (Some(LayerKind::Halve), _) | (Some(LayerKind::Push), Some(LayerKind::Halve)) => {
                Then::Pool(view, self.image(kernel.to, 2 * shrink))
            }
            _ => Then::Store(view),
        }
    }

    /// Leaves what a convolution makes; says how many layers after it are in its step.
    fn follow(&mut self, then: Then, unfold: bool) -> usize {
        let plain = |image| View { image, folded: false };
        match then {
            Then::Store(view) => {
                self.value = Value::Views(vec![plain(view.image)]);
                usize::from(unfold)
            }
            Then::Pool(view, pooled) => {
                self.value = Value::Views(vec![plain(pooled)]);
                let pushed = matches!(self.ahead(1), Some(LayerKind::Push));
                self.skips.extend(pushed.then_some(view));
                if pushed { 2 } else { 1 }
            }
            Then::Last(_) | Then::StoreLast(..) => {
                self.value = Value::Logits;
                1
            }
        }
    }

    /// The last convolution, if it is one.
    fn narrow(
        &mut self,
        layer: &Layer,
        kernel: &Kernel,
        block: usize,
        from: &[View],
    ) -> Result<(), NoStep> {
        let unfold = kernel.to == 4
            && matches!(
                (self.ahead(1), self.ahead(2)),
                (Some(LayerKind::Unfold), Some(LayerKind::Leave))
            );
        let plain = kernel.to == 1 && matches!(self.ahead(1), Some(LayerKind::Leave));
        let few = kernel.from.div_ceil(block) <= self.grain.last_blocks;
        let [View { image, folded: false }] = from else {
            let reason = "is a last convolution of folded or joined images".into();
            return Err(NoStep { layer: layer.name.clone(), reason });
        };
        if !(unfold || plain) || !few {
            let (from, to) = (kernel.from, kernel.to);
            let reason =
                format!("is a convolution of {from} channels to {to}, which no kernel does");
            return Err(NoStep { layer: layer.name.clone(), reason });
        }
        self.push(layer, Work::Narrow { from: *image, block, unfold });
        self.value = Value::Logits;
        self.at += usize::from(unfold);
        Ok(())
    }

    fn run(&self, view: View) -> usize {
        self.images[view.image].channels * if view.folded { 2 } else { 1 }
    }

    fn shrink(&self, view: View) -> usize {
        self.images[view.image].shrink * if view.folded { 2 } else { 1 }
    }
}
