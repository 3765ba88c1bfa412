//! The Open Inference Protocol without sockets: what HTTP and gRPC share.
//!
//! Both turn what they read into an [`Inference`], hand it to the [`Service`], and write its [`Outcome`] in their own way. A [`Problem`] is the same on both;
//! each knows its code.

mod bits;
mod describe;
mod inference;
mod numbers;
mod problem;
mod regions;
mod service;

pub use describe::{EXTENSIONS, version_of};
pub use inference::{
    Content, Delivered, Inference, InputTensor, Outcome, OutputTensor, Produced, Span,
};
pub use problem::{Kind, Problem};
pub use regions::{Region, Regions};
pub use service::{Service, Settings};
