//! Networks that propose a mask for a layout, one published method per file.
//!
//! | file | method | source |
//! |---|---|---|
//! | [`unet`] | the backbone | Neural-ILT's U-Net, as its authors published it |
//! | [`encoder_decoder`] | a lighter backbone, and the published generators' | sub-pixel convolution, as in LithoBench's GAN-OPC |
//! | [`neural_ilt`] | Neural-ILT: mask in one pass, then correction on the layout | Jiang et al., ICCAD 2020 |
//! | [`gan_opc`] | GAN-OPC: a generator, and the discriminator it is trained against | Yang et al., TCAD 2020 |
//! | [`program`] | a backbone's forward pass as a list of layers, from which everything else is derived | – |
//! | [`kernel`] | a layer's weights, wherever they are | – |
//! | [`head`] | from logits to a mask | – |
//! | [`truth`] | which true model a surrogate belongs to | – |
//! | [`surrogate`] | Surrogate-ILT's forward model, learned from masks and images | after Nitho and DOINN |
//! | [`parallel`] | a network over several devices, or on one that is too small for it | – |
//! | [`convolution`] | the convolution they are made of | – |
//! | [`flat`] | all weights as one run of numbers | – |
//! | [`steps`] | a program as fused steps, there and back | – |
//! | [`hopper`] | the steps as one operation of an NVIDIA Hopper card | – |
//! | [`matrix`] | the steps as one operation of a GPU with matrix units | – |
//! | [`host`] | the steps on the CPU | – |
//! | [`config`] | what `config.json` must hold | – |
//! | [`weights`] | loading and saving, with every tensor checked | – |
//!
//! Files of other programs, ONNX and PyTorch's, are read and written by `lithoburn-exchange`, from a [`Program`].

/// The device that tests of kernels run on.
#[cfg(all(test, feature = "wgpu", feature = "cuda"))]
mod tested {
    lithoburn_testing::test_device!(pub(crate) device);
}

#[cfg(feature = "gpu")]
mod adjoints;
pub mod config;
pub mod convolution;
mod e4m3;
pub mod encoder_decoder;
pub mod flat;
pub mod gan_opc;
pub mod head;
pub mod hopper;
pub mod host;
pub mod kernel;
pub mod matrix;
pub mod neural_ilt;
pub mod parallel;
pub mod program;
mod resample;
pub mod steps;
pub mod surrogate;
mod trial;
pub mod truth;
pub mod unet;
pub mod weights;

pub use config::Configuration;
pub use encoder_decoder::{EncoderDecoder, EncoderDecoderConfig};
pub use gan_opc::{Discriminator, GanOpc, GanOpcConfig};
pub use head::{Head, MaskNetwork};
pub use hopper::Hopper;
pub use hopper::training::Training;
pub use host::Host;
pub use kernel::Kernel;
pub use matrix::MatrixUnits;
pub use neural_ilt::{NeuralIlt, NeuralIltConfig};
pub use parallel::{Parallel, ParallelError, Place};
pub use program::{Layer, LayerKind, Program};
pub use surrogate::{LearnedModel, Surrogate, SurrogateConfig};
pub use truth::{Truth, kernels_sha256};
pub use unet::{UNet, UNetConfig};
pub use weights::WeightsError;
