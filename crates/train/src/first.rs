//! First weights, which come from a device's one random generator.

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::tensor::Device;

/// Who draws from a device's generator in the order that matters.
static DRAWING: Mutex<()> = Mutex::new(());

/// Until this is dropped, nobody else draws numbers whose order matters.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    DRAWING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What is drawn once the devices' generators stand at a seed. Layers draw when they are first looked at, so that is to be done in here, too.
pub(crate) fn seeded<T>(devices: &[Device], seed: u64, draw: impl FnOnce() -> T) -> T {
    let _alone = alone();
    devices.iter().for_each(|device| device.seed(seed));
    draw()
}
