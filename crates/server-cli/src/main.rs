//! `lithoburn-server`: serves masks over HTTP and gRPC.

fn main() {}
