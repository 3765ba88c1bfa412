//! The whole of a farm on a toy: planned, worked by threads and processes, collected, and compared with one process.

mod contract;
mod local;
mod nats;
mod slurm;
mod toy;
