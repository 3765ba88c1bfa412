//! Tensors that change devices, and what that takes.
//!
//! Between CUDA cards Burn copies directly if it can load NCCL, and through the host otherwise. It looks for a file
//! `libnccl.so`, while packages of NCCL bring `libnccl.so.2` alone: a link of the shorter name, in a directory of `LD_LIBRARY_PATH`,
//! is what is needed ([`has_transport`] tells whether it was found; set `NCCL_NVLS_ENABLE=0` where multicast is not available).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

#[cfg(feature = "cuda")]
use burn::backend::DispatchDevice;
use burn::tensor::{Device, Tensor, TensorData};
use lithoburn_pool::Failure;
use serde::Serialize;

use crate::error::{PipelineError, caught};

/// Whether a device is a CUDA card that copies to others without the host.
#[cfg(feature = "cuda")]
pub fn has_transport(device: &Device) -> bool {
    match device.as_dispatch() {
        DispatchDevice::Cube(device @ cubecl::Device::Cuda(_)) => {
            device.client().has_device_transport()
        }
        _ => false,
    }
}

/// Only CUDA cards copy to others without the host.
#[cfg(not(feature = "cuda"))]
pub fn has_transport(_device: &Device) -> bool {
    false
}

/// A tensor on another device.
///
/// # Panics
///
/// If a device fails, as Burn's own `to_device`.
pub fn moved<const D: usize>(x: Tensor<D>, device: &Device) -> Tensor<D> {
    let from = x.device();
    if from == *device {
        return x;
    }
    if from == Device::flex() {
        return x.to_device(device);
    }
    if has_transport(device) && has_transport(&from) {
        // NCCL's copies wait for each other on both cards, so two that are given to two cards in different orders wait for
        // ever: only one thread gives orders at a time.
        static ORDER: Mutex<()> = Mutex::new(());
        let _order = ORDER.lock().unwrap_or_else(PoisonError::into_inner);
        return x.to_device(device);
    }
    through_host(x, &from, device)
}

/// Waits for a tensor by reading one of its values. It has to live on: one that is dropped may never be computed.
///
/// # Errors
///
/// [`PipelineError`] if its device could not make it, which waiting for the device does not tell.
pub fn computed<const D: usize>(x: &Tensor<D>) -> Result<(), PipelineError> {
    let value = x.clone().slice(std::array::from_fn::<_, D, _>(|_| 0..1));
    let door = door(&x.device());
    let _one = door.lock().unwrap_or_else(PoisonError::into_inner);
    value.try_into_data().map(drop).map_err(|error| match Failure::of_message(&error.to_string()) {
        Failure::OutOfMemory(text) => PipelineError::OutOfMemory(text),
        _ => PipelineError::Failed(error.to_string()),
    })
}

/// A copy by way of memory of our own.
///
/// What CubeCL 0.11 reads lies in a buffer of the device's runtime that a later read of the same device can overwrite while the first
/// one's bytes are still in use: seen on OpenGL, in one of ten sums of a card and the CPU. So one thread reads a device at a time,
/// and copies before the next one does.
fn through_host<const D: usize>(x: Tensor<D>, from: &Device, to: &Device) -> Tensor<D> {
    let (shape, dtype) = (x.shape(), x.dtype());
    let bytes = {
        let door = door(from);
        let _one = door.lock().unwrap_or_else(PoisonError::into_inner);
        match x.try_into_data() {
            Ok(data) => data.as_bytes().to_vec(),
            Err(error) => panic!("cannot read a tensor off {from:?}: {error}"),
        }
    };
    Tensor::from_data(TensorData::from_bytes_vec(bytes, shape, dtype), (to, dtype))
}

/// A device's lock for reading.
fn door(device: &Device) -> Arc<Mutex<()>> {
    type Door = (Device, Arc<Mutex<()>>);
    static DOORS: Mutex<Vec<Door>> = Mutex::new(Vec::new());
    let mut doors = DOORS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, door)) = doors.iter().find(|(known, _)| known == device) {
        return Arc::clone(door);
    }
    let door = Arc::new(Mutex::new(()));
    doors.push((device.clone(), Arc::clone(&door)));
    door
}

/// What a way between two devices carries.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Link {
    /// Bytes a second.
    pub bytes_per_second: f64,
    /// Seconds that even a single value takes.
    pub latency_seconds: f64,
    /// Whether the host has no part in it.
    pub direct: bool,
}

/// Measures the way from one device to another with 32 MiB, some times; the first time does not count.
///
/// # Errors
///
/// [`PipelineError`] if a device fails.
pub fn link(from: &Device, to: &Device) -> Result<Link, PipelineError> {
    const VALUES: usize = 8 << 20;
    let failed = |error: String| PipelineError::Failed(format!("a copy failed: {error}"));
    let seconds = |values: usize| {
        let x = Tensor::<1>::ones([values], from);
        let mut best = f64::INFINITY;
        for _ in 0..4 {
            from.sync().map_err(|e| failed(e.to_string()))?;
            let start = Instant::now();
            let there = moved(x.clone(), to);
            // Reading one value waits for the copy.
            there.narrow(0, 0, 1).try_into_data().map_err(|e| failed(e.to_string()))?;
            best = best.min(start.elapsed().as_secs_f64());
        }
        Ok::<f64, PipelineError>(best)
    };
    caught(|| {
        let (one, many) = (seconds(1)?, seconds(VALUES)?);
        // On one device nothing moves, and the two are alike.
        let bytes_per_second = (4 * VALUES) as f64 / (many - one).max(1e-6);
        let direct = from == to || (has_transport(from) && has_transport(to));
        Ok(Link { bytes_per_second, latency_seconds: one, direct })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_to_itself_is_fast() {
        let link = link(&Device::flex(), &Device::flex()).expect("copies");
        assert!(link.direct && link.bytes_per_second > 1e8 && link.latency_seconds < 1.0);
    }
}
