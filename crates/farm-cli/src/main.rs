//! `lithoburn-farm`: a layout planned, worked and merged by several machines.

fn main() {}
