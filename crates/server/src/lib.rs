//! The server: sockets on one side, a scheduler of devices on the other; neither sees the other's values.
//!
//! | room | what |
//! |---|---|
//! | [`tensor`] | numbers on the wire: datatypes, shapes, bytes that are never copied together |
//! | [`model`] | what is served, as a trait: signatures, requests, executors, faults |
//! | [`server`] | all of it, as a program assembles it |
//! | [`metrics`] | `/metrics`, as Triton has it |
//! | [`protocol`] | the Open Inference Protocol without sockets |
//! | [`http`], [`grpc`] | over HTTP and gRPC |
//! | [`schedule`] | one queue for all devices, and a thread for each |
//! | [`telemetry`] | what devices, cards and the process do, as metrics |
//! | [`load`] | the other side: loads a server, and measures it |
//! | [`study`] | what each device brings: servers started, loaded, and reported on |
//! | [`sleeping`] | a model that sleeps, for tests of everything else |
//! | [`security`] | who may come in, by which door, and how much they may bring |
//! | [`layouts`] | layouts that clients bring, and their masks while they wait |
//! | [`jobs`] | work that outlives a request, and the server |
//! | [`page`] | the page at `/` |
//!
//! The protocol is the [Open Inference Protocol](https://github.com/kserve/open-inference-protocol) v2 with Triton's extensions, so that
//! clients written for Triton work unchanged.
#![cfg_attr(
    test,
    allow(
        clippy::duplicate_mod,
        reason = "the scheduler's hub is compiled a second time, with shuttle's lock"
    )
)]

mod body;
pub mod grpc;
pub mod http;
pub mod jobs;
pub mod layouts;
pub mod load;
pub mod metrics;
pub mod model;
pub mod page;
pub mod protocol;
pub mod schedule;
pub mod security;
pub mod server;
pub mod sleeping;
pub mod study;
pub mod telemetry;
pub mod tensor;

pub use server::{Builder, Server};
