//! Who computes images for those who measure: the simulator itself, or devices on threads of their own.
//!
//! To Burn's CUDA runtime a host thread is a stream and a memory pool, so that tiles which all processors measure are not simulated
//! from all of their threads: they ask a few threads, two a device, and wait.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use burn::tensor::{Device, Tensor, TensorData};
use lithoburn_layout::{Bits, Raster};
use lithoburn_litho::{Aerial, KernelSet, LithoError, PackedImages, Process, Simulator};
use lithoburn_pool::Chosen;
use tracing::info_span;

use crate::EngineError;

/// Threads of a device: while one's images come back, the other's are computed.
const THREADS: usize = 2;

/// Longest that an answer is waited for, the first one's compiling included: a driver that hangs must not hang the run.
const PATIENCE: Duration = Duration::from_secs(300);

/// A square part of a field's image: pixels of `pixel_nm`, the first of them and how many a side.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) pixel_nm: f64,
    pub(crate) first: usize,
    pub(crate) size: usize,
}

/// Computes images of masks.
pub(super) struct Imager {
    /// Where no device's thread answers.
    own: Simulator,
    asked: Option<Sender<Question>>,
    /// [`PATIENCE`], but in tests.
    patience: Duration,
    /// No answer came in time: nobody is asked any more.
    silent: AtomicBool,
}

/// A mask of one field.
#[derive(Clone, Debug)]
pub(crate) enum Exposed {
    /// With pixels from 0 to 1.
    Grey(Raster),
    /// With pixels of 0 and 1, which is a thirty-second of the bytes to a device.
    Binary { pixels: PackedImages, pixel_nm: f64 },
}

impl Exposed {
    /// What is at least half covered.
    pub(crate) fn binary(mask: &Raster) -> Self {
        Self::of_bits(&Bits::of_raster(mask), mask.pixel_nm)
    }

    /// A mask of pixels of `pixel_nm`.
    pub(crate) fn of_bits(mask: &Bits, pixel_nm: f64) -> Self {
        match mask.width() == mask.height() {
            true => Self::Binary {
                pixels: PackedImages { side: mask.width(), words: mask.to_words() },
                pixel_nm,
            },
            false => Self::Grey(mask.to_raster(pixel_nm)),
        }
    }

    /// Width, height, and size of a pixel in nm.
    fn size(&self) -> ([usize; 2], f64) {
        match self {
            Self::Grey(raster) => ([raster.width, raster.height], raster.pixel_nm),
            Self::Binary { pixels, pixel_nm } => ([pixels.side; 2], *pixel_nm),
        }
    }

    fn to_tensor(&self, device: &Device) -> Tensor<3> {
        match self {
            Self::Grey(raster) => {
                let shape = [1, raster.height, raster.width];
                Tensor::from_data(TensorData::new(raster.data.clone(), shape), device)
            }
            Self::Binary { pixels, .. } => pixels.to_tensor(device),
        }
    }
}

/// A mask, what is wanted of its image, and who waits for it.
struct Question {
    mask: Exposed,
    part: Part,
    answer: SyncSender<Result<[Raster; 2], EngineError>>,
}

impl Imager {
    /// On one device, on the asking thread.
    pub(super) fn on(device: &Device, kernels: &KernelSet, process: &Process) -> Self {
        let own = Simulator::new(kernels, device).with_diffusion(process.diffusion_nm);
        Self { own, asked: None, patience: PATIENCE, silent: AtomicBool::new(false) }
    }

    /// On these devices, two threads each; what they fail to answer is computed on the CPU.
    pub(super) fn among(
        devices: &[Chosen],
        kernels: &KernelSet,
        process: &Process,
    ) -> Result<Self, EngineError> {
        let own = Self::on(&Device::flex(), kernels, process).own;
        let (asked, questions) = channel();
        let questions = Arc::new(Mutex::new(questions));
        for device in devices.iter().flat_map(|device| [device; THREADS]) {
            let (questions, kernels) = (questions.clone(), kernels.clone());
            let (device, process) = (device.clone(), *process);
            std::thread::Builder::new()
                .name(format!("images {}", device.name))
                .spawn(move || answer(&questions, || Self::on(&device.device, &kernels, &process)))
                .map_err(|e| EngineError::Pool(format!("no thread for images: {e}")))?;
        }
        let asked = (!devices.is_empty()).then_some(asked);
        Ok(Self { own, asked, patience: PATIENCE, silent: AtomicBool::new(false) })
    }

    /// Period of the field, in nm.
    pub(super) fn period_nm(&self) -> f64 {
        self.own.period_nm()
    }

    /// A part of a mask's images, in focus and out of it.
    ///
    /// # Errors
    ///
    /// [`EngineError`] if the mask is not one field, or a pixel size does not fit it.
    pub(super) fn images(&self, mask: Exposed, part: Part) -> Result<[Raster; 2], EngineError> {
        let asked = self.asked.as_ref().filter(|_| !self.silent.load(Ordering::Relaxed));
        let Some(asked) = asked else { return images(&self.own, &mask, part) };
        let (answer, answered) = sync_channel(1);
        let question = Question { mask: mask.clone(), part, answer };
        let _span = info_span!("wait for an image").entered();
        let sent = asked.send(question).is_ok();
        match sent.then(|| answered.recv_timeout(self.patience)) {
            Some(Ok(Ok(images))) => return Ok(images),
            Some(Err(RecvTimeoutError::Timeout)) => self.silent.store(true, Ordering::Relaxed),
            // Of a mask that does not fit the CPU says so, too.
            Some(Ok(Err(_)) | Err(RecvTimeoutError::Disconnected)) | None => (),
        }
        images(&self.own, &mask, part)
    }
}

/// Answers questions until nobody can ask any more. A panic ends this thread alone: who waits for its answer sees that none comes.
fn answer(questions: &Mutex<Receiver<Question>>, imager: impl FnOnce() -> Imager) {
    let imager = imager();
    loop {
        // Whoever panics does so after he has his question.
        let question = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Question { mask, part, answer }) = question else { return };
        let _span = info_span!("image").entered();
        // Who asked may have gone.
        let _ = answer.send(images(&imager.own, &mask, part));
    }
}

fn images(
    simulator: &Simulator,
    mask: &Exposed,
    Part { pixel_nm, first, size }: Part,
) -> Result<[Raster; 2], EngineError> {
    let image = simulator.sampling(pixel_nm, 1)?.part(first, size);
    let ([width, height], mask_nm) = mask.size();
    let points = (mask_nm / pixel_nm).round().max(1.0) as usize;
    let grid = simulator.sampling(mask_nm, points)?;
    if width != grid.size || height != grid.size {
        return Err(EngineError::Setting(format!(
            "the mask is {width} x {height} pixels of {mask_nm} nm; expected {} x {} for the kernels' field of {} nm",
            grid.size,
            grid.size,
            simulator.period_nm()
        )));
    }
    let mask = mask.to_tensor(simulator.device());
    let Aerial { best, defocus } = simulator.aerial_in_f32(mask, &grid, &image);
    Ok([raster(best, pixel_nm)?, raster(defocus, pixel_nm)?])
}

fn raster(image: Tensor<3>, pixel_nm: f64) -> Result<Raster, LithoError> {
    let [_, height, width] = image.dims();
    let data = image.try_into_vec_as::<f32>().map_err(|e| LithoError::Device {
        doing: "read the aerial image",
        problem: e.to_string(),
    })?;
    Ok(Raster { width, height, pixel_nm, data })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask() -> Exposed {
        let mut mask = Raster::new(256, 256, 8.0);
        mask.data.chunks_exact_mut(256).skip(100).take(60).for_each(|row| row[90..130].fill(1.0));
        Exposed::binary(&mask)
    }

    /// Two threads of the CPU stand for two devices.
    #[test]
    fn images_of_other_threads_are_ones_own() -> Result<(), EngineError> {
        let (kernels, process) = (crate::built_in::default_kernels()?, Process::default());
        let (name, card, reason) = ("cpu".to_string(), String::new(), String::new());
        let cpu = Chosen { name, card, reason, device: Device::flex(), opening: None };
        let among = Imager::among(&[cpu.clone(), cpu], &kernels, &process)?;
        let part = Part { pixel_nm: 8.0, first: 60, size: 100 };
        let expected = images(&among.own, &mask(), part)?;
        std::thread::scope(|scope| {
            let ask = || among.images(mask(), part);
            let asking: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            for thread in asking {
                let found = thread.join().expect("no panic").expect("images");
                assert_eq!(found, expected);
            }
        });
        let wide = among.images(Exposed::Grey(Raster::new(64, 64, 8.0)), part);
        assert!(wide.is_err_and(|e| e.to_string().contains("64 x 64")));
        Ok(())
    }

    /// A thread that keeps its question for ever is asked once.
    #[test]
    fn a_device_that_does_not_answer_in_time_is_asked_no_more() -> Result<(), EngineError> {
        let (kernels, process) = (crate::built_in::default_kernels()?, Process::default());
        let mut imager = Imager::on(&Device::flex(), &kernels, &process);
        let (asked, questions) = channel();
        (imager.asked, imager.patience) = (Some(asked), Duration::from_millis(20));
        let part = Part { pixel_nm: 8.0, first: 0, size: 256 };
        for _ in 0..2 {
            assert_eq!(imager.images(mask(), part)?, images(&imager.own, &mask(), part)?);
        }
        assert_eq!(questions.try_iter().count(), 1);
        Ok(())
    }

    /// A thread that has gone leaves its questions to who asks them.
    #[test]
    fn without_a_thread_that_answers_images_are_computed_here() -> Result<(), EngineError> {
        let (kernels, process) = (crate::built_in::default_kernels()?, Process::default());
        let mut imager = Imager::on(&Device::flex(), &kernels, &process);
        let (asked, questions) = channel();
        imager.asked = Some(asked);
        std::thread::spawn(move || drop(questions.recv()));
        let part = Part { pixel_nm: 8.0, first: 0, size: 256 };
        assert_eq!(imager.images(mask(), part)?, images(&imager.own, &mask(), part)?);
        assert_eq!(imager.images(mask(), part)?, images(&imager.own, &mask(), part)?);
        Ok(())
    }
}
