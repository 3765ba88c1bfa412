//! The same steps with images in eight bits (e4m3), where a card multiplies those twice as fast.
//!
//! What the last 3×3 convolution reads stays in sixteen bits, as does what a last 1×1 convolution reads on its way: rounded to three places of
//! fraction there, masks are worse. Products take as many channels at a time as fill the longest swizzle of shared memory.

use super::{Convolution, NoStep, Step, Steps, Then, View, Work};

/// Most channels that a product takes at a time: 128 bytes.
const WIDEST_BLOCK: usize = 128;

impl Steps {
    /// The steps with all images in eight bits but the one that the last convolution reads.
    ///
    /// # Errors
    ///
    /// [`NoStep`] for the first layer that no kernel computes so.
    pub fn in_eight_bits(mut self) -> Result<Self, NoStep> {
        let last = |step: &Step| match step.work {
            Work::Narrow { from, .. } => Some(from),
            _ => None,
        };
        let kept = self.steps.iter().find_map(last);
        for (number, image) in self.images.iter_mut().enumerate() {
            image.eight_bits = Some(number) != kept;
        }
        let widest: Vec<_> = self.steps.iter().map(|step| self.widest(&step.work)).collect();
        for (step, widest) in self.steps.iter_mut().zip(widest) {
            if let Work::Convolve(work) = &mut step.work {
                work.block = widest.unwrap_or(work.block);
            }
        }
        self.steps.iter().try_for_each(|step| self.known(step))?;
        Ok(self)
    }

    /// The block of a convolution whose runs are multiples of the widest.
    fn widest(&self, work: &Work) -> Option<usize> {
        let Work::Convolve(Convolution { from, pair: false, .. }) = work else { return None };
        let whole = |&view: &View| self.run(view).is_multiple_of(WIDEST_BLOCK);
        from.iter().all(whole).then_some(WIDEST_BLOCK)
    }

    /// Whether a step reads and makes what its kernel knows.
    fn known(&self, step: &Step) -> Result<(), NoStep> {
        let no = |reason: &str| NoStep { layer: step.name.clone(), reason: reason.into() };
        let eight = |&image: &usize| self.images[image].eight_bits;
        let (read, made) = step.work.reads_and_writes();
        match &step.work {
            Work::Convolve(_) if !read.iter().all(eight) => {
                Err(no("reads what the last convolution reads, too, which is not in eight bits"))
            }
            Work::Convolve(work) if !work.relu && made.iter().any(eight) => Err(no(
                "has no ReLU: maxima in eight bits are those of numbers that are not negative",
            )),
            Work::Convolve(Convolution { then: Then::StoreLast(..), .. }) => {
                Err(no("keeps what a last 1x1 convolution reads, which is not in eight bits"))
            }
            Work::Convolve(Convolution { then: Then::Pool(view, pooled), .. })
                if eight(&view.image) != eight(pooled) =>
            {
                Err(no("pools to what the last convolution reads, which is not in eight bits"))
            }
            Work::Double { .. } if read.iter().chain(&made).any(|image| !eight(image)) => {
                Err(no("doubles to or from an image that is not in eight bits"))
            }
            _ => Ok(()),
        }
    }
}
