//! The way back through a network's steps, as plain data: which launches make the gradients of its weights.
//!
//! An image's *sums* are what its convolution made, before the ReLU. Whoever reads an image asks for a change of it: a *request*, of the size of
//! what was read. What all ask, where the ReLU let it through, is the gradient of the image's sums; from that follow the gradient
//! of the convolution's weights, and what it asks of its own inputs, which is a convolution too. The network's input is asked for nothing.

use super::{Convolution, NARROW_BLOCK, NoStep, Step, Steps, Then, View, WIDE_BLOCK, Work};

/// The last convolution as its few outputs see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thin {
    /// Its layer.
    pub layer: usize,
    /// The kernel's side: 1 or 3.
    pub side: usize,
    /// Its output channels: 1, or 4 that are two by two pixels of the logits.
    pub few: usize,
}

/// What asks for a change of an image, besides convolutions that read it as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// A request of half the size: the largest of two by two pixels were read.
    Pooled(usize),
    /// A request of twice the size: the image was read enlarged.
    Doubled(usize),
    /// The gradient of the logits, through the last convolution.
    Logits(Thin),
}

/// The gradient of an image's sums.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    /// The image.
    pub image: usize,
    /// Requests of its own size: none, one or two.
    pub own: Vec<usize>,
    /// What else is asked.
    pub other: Option<Asked>,
    /// Whether a ReLU followed the sums.
    pub relu: bool,
}

/// One part of the way back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pull {
    /// The gradients of the last convolution's weights and bias, from the image that it reads.
    Last {
        /// The image.
        image: usize,
        /// The convolution.
        thin: Thin,
    },
    /// The gradient of an image's sums.
    Gather(Gather),
    /// The gradients of a convolution's weights and bias. The number of its step.
    Weights(usize),
    /// The gradients of the first convolution's weights and bias. The number of its step.
    Stem(usize),
    /// What a convolution asks of one of its inputs.
    Ask(Ask),
}

/// What a convolution asks of one of its inputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// The number of the convolution's step.
    pub step: usize,
    /// Its first input channel of this input.
    pub first: usize,
    /// The convolution with the kernel turned: it reads the gradient of an image's sums, and stores into the request.
    pub work: Convolution,
    /// The request.
    pub request: usize,
}

/// The way back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Back {
    /// Its parts, in order.
    pub pulls: Vec<Pull>,
    /// The image of each request.
    pub requests: Vec<usize>,
}

impl Back {
    /// The way back through steps that keep every image.
    ///
    /// # Errors
    ///
    /// [`NoStep`] for the last step whose gradient no kernel computes.
    pub fn of(steps: &Steps) -> Result<Self, NoStep> {
        let asks = vec![Asks::default(); steps.images.len()];
        let back = Self { pulls: Vec::new(), requests: Vec::new() };
        let mut planner = Planner { steps, asks, back };
        for (number, step) in steps.steps.iter().enumerate().rev() {
            planner.take(number, step).map_err(|reason| {
                let reason = format!("{reason}, of which no kernel computes the gradient");
                NoStep { layer: step.name.clone(), reason }
            })?;
        }
        Ok(planner.back)
    }

    /// The convolutions that ask, in order.
    pub fn asks(&self) -> impl Iterator<Item = &Ask> {
        self.pulls.iter().filter_map(|pull| match pull {
            Pull::Ask(ask) => Some(ask),
            _ => None,
        })
    }
}

/// What is asked of an image so far.
#[derive(Clone, Debug, Default)]
struct Asks {
    own: Vec<usize>,
    other: Option<Asked>,
}

struct Planner<'a> {
    steps: &'a Steps,
    asks: Vec<Asks>,
    back: Back,
}

impl Planner<'_> {
    fn take(&mut self, number: usize, step: &Step) -> Result<(), &'static str> {
        match &step.work {
            Work::Double { from, to } => {
                let request = self.only(*to)?;
                self.ask(*from, Asked::Doubled(request))
            }
            Work::Narrow { from, unfold, .. } => self
                .last(*from, Thin { layer: step.layer, side: 3, few: if *unfold { 4 } else { 1 } }),
            Work::Stem { to, .. } => {
                self.gather(*to, true)?;
                self.back.pulls.push(Pull::Stem(number));
                Ok(())
            }
            Work::Convolve(work) => self.convolve(number, work),
        }
    }

    fn convolve(&mut self, number: usize, work: &Convolution) -> Result<(), &'static str> {
        let made = match work.then {
            Then::Store(view) => view,
            Then::Pool(view, pooled) => {
                let request = self.only(pooled)?;
                self.ask(view.image, Asked::Pooled(request))?;
                view
            }
            Then::StoreLast(view, layer) => {
                self.last(view.image, Thin { layer, side: 1, few: 1 })?;
                view
            }
            Then::Last(_) => return Err("keeps no image"),
        };
        self.gather(made.image, work.relu)?;
        self.back.pulls.push(Pull::Weights(number));
        let mut first = 0;
        for &view in &work.from {
            let request = self.back.requests.len();
            self.back.requests.push(view.image);
            let work = self.turned(made, view, work.shrink);
            self.back.pulls.push(Pull::Ask(Ask { step: number, first, work, request }));
            self.asks[view.image].own.push(request);
            first += self.steps.channels(view);
        }
        Ok(())
    }

    /// The convolution from the gradient of what was made to a request of what was read.
    fn turned(&self, made: View, read: View, shrink: usize) -> Convolution {
        let (channels, run) = (self.steps.channels(read), self.steps.run(read));
        let wide = |of: usize| of.is_multiple_of(WIDE_BLOCK);
        let pair = !wide(channels) || !wide(run);
        let block = if wide(self.steps.run(made)) && !pair { WIDE_BLOCK } else { NARROW_BLOCK };
        let then = Then::Store(read);
        Convolution { from: vec![made], block, pair, channels, run, shrink, relu: false, then }
    }

    fn last(&mut self, image: usize, thin: Thin) -> Result<(), &'static str> {
        self.back.pulls.push(Pull::Last { image, thin });
        self.ask(image, Asked::Logits(thin))
    }

    fn ask(&mut self, image: usize, asked: Asked) -> Result<(), &'static str> {
        match self.asks[image].other.replace(asked) {
            None => Ok(()),
            Some(_) => Err("makes an image that is read in three ways"),
        }
    }

    /// The one request of an image that is no convolution's own.
    fn only(&mut self, image: usize) -> Result<usize, &'static str> {
        let Asks { own, other } = std::mem::take(&mut self.asks[image]);
        match (own[..].first(), own.len(), other) {
            (Some(&request), 1, None) => Ok(request),
            _ => Err("makes a small or an enlarged image that is read more than once"),
        }
    }

    fn gather(&mut self, image: usize, relu: bool) -> Result<(), &'static str> {
        let Asks { own, other } = std::mem::take(&mut self.asks[image]);
        let known = match other {
            None => (1..=2).contains(&own.len()),
            Some(Asked::Pooled(_)) => own.len() <= 1,
            Some(Asked::Doubled(_) | Asked::Logits(_)) => own.is_empty(),
        };
        if !known {
            return Err("makes an image that nobody reads, or too many");
        }
        self.back.pulls.push(Pull::Gather(Gather { image, own, other, relu }));
        Ok(())
    }
}

impl Back {
    /// As text, a line a part.
    pub fn shown(&self, steps: &Steps) -> String {
        self.pulls.iter().map(|pull| self.line(pull, steps) + "\n").collect()
    }

    fn line(&self, pull: &Pull, steps: &Steps) -> String {
        let name = |step: usize| &steps.steps[step].name;
        match pull {
            Pull::Last { image, thin } => {
                format!("weights of the last {0} x {0} on #{image}", thin.side)
            }
            Pull::Weights(step) => format!("weights of {}", name(*step)),
            Pull::Stem(step) => format!("weights of the stem {}", name(*step)),
            Pull::Ask(Ask { step, work, request, .. }) => {
                let pair = if work.pair { ", rows in pairs" } else { "" };
                let image = self.requests[*request];
                format!("{} asks @{request} of #{image} by {}{pair}", name(*step), work.block)
            }
            Pull::Gather(Gather { image, own, other, relu }) => {
                let own = own.iter().map(|request| format!("@{request}"));
                let other = other.map(|asked| match asked {
                    Asked::Pooled(request) => format!("@{request} at the maxima"),
                    Asked::Doubled(request) => format!("@{request} halved"),
                    Asked::Logits(thin) => format!("logits through {0} x {0}", thin.side),
                });
                let all: Vec<String> = own.chain(other).collect();
                let relu = if *relu { ", relu" } else { "" };
                format!("sums of #{image} from {}{relu}", all.join(" + "))
            }
        }
    }
}
