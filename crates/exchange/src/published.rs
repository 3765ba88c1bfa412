//! Published networks' checkpoints as weights of ours.
//!
//! | `--as` | network | checkpoint | becomes |
//! |---|---|---|---|
//! | `neural-ilt` | the Neural-ILT authors' U-Net | `iccad_32nm_m1_wts.pth` and others of its code | Neural-ILT with its own logits, 4 nm |
//! | `lithobench-neural-ilt` | LithoBench's NeuralILT: batch normalisation, last convolution of 3×3 | `NeuralILT` | the same |
//! | `gan-opc` | LithoBench's GAN-OPC generator: strided 5×5 convolutions, batch normalisation | the first of its two files | GAN-OPC without skips, 8 nm |
//!
//! Widths follow from the tensors' shapes. Batch normalisation goes into the convolutions and strided ones
//! become convolutions of folded pixels (see the comments in `published/layers.rs`), so the imported network
//! computes what the published one does when it is not training, but for rounding. Weights stay f32.
//!
//! Pixel sizes are those of the published data: 512 pixels (256 for GAN-OPC) of a 2048 nm field. The Neural-ILT
//! authors' own program crops a layout to its box and scales that to 512 pixels instead; here every pixel is 4 nm.

mod layers;

use burn::module::Module;
use burn::store::ModuleSnapshot;
use burn::tensor::Device;
use lithoburn_models::{EncoderDecoderConfig, GanOpcConfig, NeuralIltConfig, weights};
use safetensors::tensor::{Dtype, TensorView};
use serde::Serialize;

use crate::ExchangeError;
use crate::pytorch::Checkpoint;
use layers::{Convolution, Layers};

/// A published network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Published {
    /// The Neural-ILT authors' U-Net.
    NeuralIlt,
    /// LithoBench's NeuralILT.
    LithobenchNeuralIlt,
    /// LithoBench's GAN-OPC generator.
    GanOpc,
}

/// An imported network: the two files of a weights folder.
#[derive(Clone, Debug)]
pub struct Imported {
    /// The architecture's name.
    pub architecture: String,
    /// `config.json`.
    pub config: Vec<u8>,
    /// `model.safetensors`, in f32.
    pub tensors: Vec<u8>,
    /// Numbers in the network; batch normalisation has none left.
    pub parameters: usize,
}

/// Makes a published network's checkpoint a network of ours.
///
/// # Errors
///
/// [`ExchangeError::Tensors`], naming the tensor that is missing, has another shape, is left over, or holds
/// values that are no numbers.
pub fn import(checkpoint: &Checkpoint, network: Published) -> Result<Imported, ExchangeError> {
    match network {
        Published::NeuralIlt => u_net(checkpoint, &AUTHORS),
        Published::LithobenchNeuralIlt => u_net(checkpoint, &LITHOBENCH),
        Published::GanOpc => generator(checkpoint),
    }
}

/// Names of a U-Net's layers in a checkpoint, and what differs between the two.
struct UNetNames {
    /// Our name, and theirs, of the blocks in the order of computation.
    blocks: [(&'static str, &'static str); 7],
    /// Places of the two convolutions in a block.
    places: [usize; 2],
    last: &'static str,
    last_side: usize,
    /// Whether batch normalisation follows each convolution of a block.
    normalised: bool,
}

const AUTHORS: UNetNames = UNetNames {
    blocks: [
        ("down1", "dconv_down1"),
        ("down2", "dconv_down2"),
        ("down3", "dconv_down3"),
        ("down4", "dconv_down4"),
        ("up3", "dconv_up3"),
        ("up2", "dconv_up2"),
        ("up1", "dconv_up1"),
    ],
    places: [0, 2],
    last: "conv_last",
    last_side: 1,
    normalised: false,
};

const LITHOBENCH: UNetNames = UNetNames {
    blocks: [
        ("down1", "conv1"),
        ("down2", "conv2"),
        ("down3", "conv3"),
        ("down4", "conv4"),
        ("up3", "deconv4"),
        ("up2", "deconv3"),
        ("up1", "deconv2"),
    ],
    places: [0, 3],
    last: "deconv1.0",
    last_side: 3,
    normalised: true,
};

/// Pixels of the U-Nets: 512 of a 2048 nm field.
const U_NET_PIXEL_NM: f64 = 4.0;

fn u_net(checkpoint: &Checkpoint, names: &UNetNames) -> Result<Imported, ExchangeError> {
    let first = format!("{}.{}.weight", names.blocks[0].1, names.places[0]);
    let mut layers = Layers::find(checkpoint, &first)?;
    let width = outputs(&mut layers, &first)?;
    let w = |factor: usize| factor * width;
    let channels = [[1, w(1)], [w(1), w(2)], [w(2), w(4)], [w(4), w(8)]];
    let channels = channels.into_iter().chain([[w(12), w(4)], [w(6), w(2)], [w(3), w(1)]]);
    let mut file = File::default();
    for ((ours, theirs), [from, to]) in names.blocks.into_iter().zip(channels) {
        for (i, [from, to]) in [[from, to], [to, to]].into_iter().enumerate() {
            let place = names.places[i];
            let mut conv = layers.convolution(&format!("{theirs}.{place}"), [from, to], 3)?;
            if names.normalised {
                let norm = layers.normalisation(&format!("{theirs}.{}", place + 1), to)?;
                conv = conv.then(&norm, 1);
            }
            file.add(format!("unet.{ours}.conv{}", i + 1), conv);
        }
    }
    file.add("unet.last".into(), layers.convolution(names.last, [width, 1], names.last_side)?);
    layers.finish()?;
    let config = NeuralIltConfig {
        width,
        pixel_nm: U_NET_PIXEL_NM,
        upsample: 1,
        target_logit: 0.0,
        last_side: names.last_side,
        ..NeuralIltConfig::default()
    };
    file.fill(checkpoint, config.init(&Device::flex()), &config.architecture, &config)
}

/// Convolutions and pixel shuffles of LithoBench's generator, per direction.
const STAGES: usize = 5;

fn generator(checkpoint: &Checkpoint) -> Result<Imported, ExchangeError> {
    let mut layers = Layers::find(checkpoint, "_seq.0.0.weight")?;
    let widths: Vec<usize> = (0..STAGES)
        .map(|i| outputs(&mut layers, &format!("_seq.{i}.0.weight")))
        .collect::<Result<_, _>>()?;
    let finer = |i: usize| if i == 0 { 1 } else { widths[i - 1] };
    let mut file = File::default();
    for (i, &width) in widths.iter().enumerate() {
        let conv = layers.convolution(&format!("_seq.{i}.0"), [finer(i), width], 5)?;
        let norm = layers.normalisation(&format!("_seq.{i}.1"), width)?;
        file.add(format!("generator.down.{i}.first"), conv.then(&norm, 1).on_folded_pixels());
    }
    for (i, &width) in widths.iter().enumerate().rev() {
        let place = 2 * STAGES - 1 - i;
        let mut conv = layers.convolution(&format!("_seq.{place}.0"), [width, 4 * finer(i)], 3)?;
        if i > 0 {
            // The normalisation comes after the pixel shuffle: four channels in a row are one image's.
            conv = conv.then(&layers.normalisation(&format!("_seq.{place}.2"), finer(i))?, 4);
        }
        file.add(format!("generator.up.{i}"), conv.before_unfolding());
    }
    layers.finish()?;
    let generator = EncoderDecoderConfig::new(widths, false, 0);
    let config = GanOpcConfig { generator, ..GanOpcConfig::published() };
    file.fill(checkpoint, config.init(&Device::flex()), &config.architecture, &config)
}

/// Output channels of a convolution.
fn outputs(layers: &mut Layers, name: &str) -> Result<usize, ExchangeError> {
    match layers.array(name)?.shape[..] {
        [to, _, _, _] if to > 0 => Ok(to),
        ref shape => Err(layers.wrong(format!(
            "tensor {name:?} has shape {shape:?}, expected [to, from, side, side] of a convolution"
        ))),
    }
}

/// Tensors by our names.
#[derive(Default)]
struct File {
    tensors: Vec<(String, Vec<usize>, Vec<u8>)>,
}

impl File {
    fn add(&mut self, name: String, conv: Convolution) {
        let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect();
        let shape = vec![conv.to, conv.from, conv.side, conv.side];
        self.tensors.push((format!("{name}.weight"), shape, bytes(&conv.weight)));
        self.tensors.push((format!("{name}.bias"), vec![conv.to], bytes(&conv.bias)));
    }

    /// Fills a network, which checks every tensor once more, and encodes it.
    fn fill<M: Module + ModuleSnapshot>(
        self,
        checkpoint: &Checkpoint,
        mut network: M,
        architecture: &str,
        config: &impl Serialize,
    ) -> Result<Imported, ExchangeError> {
        let path = &checkpoint.path;
        let wrong = |problem: String| ExchangeError::Tensors { path: path.clone(), problem };
        let mut views = Vec::with_capacity(self.tensors.len());
        for (name, shape, bytes) in &self.tensors {
            let view = TensorView::new(Dtype::F32, shape.clone(), bytes);
            views.push((name.clone(), view.map_err(|e| wrong(format!("{name}: {e}")))?));
        }
        let bytes = safetensors::serialize(views, None).map_err(|e| wrong(e.to_string()))?;
        weights::load_bytes(&mut network, path, bytes)?;
        Ok(Imported {
            architecture: architecture.to_string(),
            config: serde_json::to_vec_pretty(config).map_err(|e| wrong(e.to_string()))?,
            tensors: weights::encode_f32(&network).map_err(wrong)?,
            parameters: network.num_params(),
        })
    }
}

#[cfg(test)]
mod tests;
