//! Published checkpoints as weights of ours.

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use lithoburn_exchange::{Checkpoint, Published, import as imported};
use lithoburn_layout::write_whole;
use lithoburn_models::weights;

use crate::Verdict;
use lithoburn_terminal::say;

/// A published network, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum PublishedName {
    /// The U-Net of the Neural-ILT authors' code.
    NeuralIlt,
    /// LithoBench's NeuralILT.
    LithobenchNeuralIlt,
    /// The generator of LithoBench's GAN-OPC.
    GanOpc,
}

impl From<PublishedName> for Published {
    fn from(name: PublishedName) -> Self {
        match name {
            PublishedName::NeuralIlt => Self::NeuralIlt,
            PublishedName::LithobenchNeuralIlt => Self::LithobenchNeuralIlt,
            PublishedName::GanOpc => Self::GanOpc,
        }
    }
}

/// Make a PyTorch checkpoint of a published network a folder that `infer --weights` takes.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// The checkpoint: a .pth or .pt file of torch.save, with the network's state dictionary.
    file: PathBuf,
    /// The network that it is of.
    #[arg(long = "as", value_enum, value_name = "NETWORK")]
    network: PublishedName,
    /// Directory for config.json and model.safetensors.
    #[arg(long, short, value_name = "DIR")]
    out: PathBuf,
}

/// Runs the job.
///
/// # Errors
///
/// One that names the file, the tensor, what was expected and what came.
pub fn import(args: &ImportArgs) -> Result<Verdict> {
    let checkpoint = Checkpoint::read(&args.file)?;
    let network = imported(&checkpoint, args.network.into())?;
    write_whole(&args.out.join("config.json"), &network.config)?;
    write_whole(&args.out.join(weights::FILE), &network.tensors)?;
    let (model, out) = (&network.architecture, args.out.display());
    say(false, &format!("network  {model}, {} parameters, in {out}", network.parameters));
    say(false, &format!("use it   lithoburn infer LAYOUT --model {model} --weights {out}"));
    Ok(Verdict::Done)
}
