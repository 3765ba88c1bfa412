//! Networks that propose a mask for a layout, one published method per file.
//!
//! | file | method | source |
//! |---|---|---|
//! | [`unet`] | the backbone | Neural-ILT's U-Net, as its authors published it |
//! | [`neural_ilt`] | Neural-ILT: mask in one pass, then correction on the layout | Jiang et al., ICCAD 2020 |
//! | [`surrogate`] | Surrogate-ILT's forward model, learned from masks and images | after Nitho and DOINN |
//! | [`convolution`] | the convolution they are made of | – |
//! | [`weights`] | loading and saving, with every tensor checked | – |

pub mod convolution;
pub mod neural_ilt;
pub mod surrogate;
pub mod unet;
pub mod weights;

pub use neural_ilt::{NeuralIlt, NeuralIltConfig};
pub use surrogate::{LearnedModel, Surrogate, SurrogateConfig, Truth, kernels_sha256};
pub use unet::{UNet, UNetConfig};
pub use weights::WeightsError;
