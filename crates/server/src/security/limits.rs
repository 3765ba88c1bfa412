//! What a client may bring, and how long it may take.

use std::time::Duration;

/// Limits of a server's doors. Each has a default that serves masks of fields; layouts have a limit of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; one more is told to come again.
    pub connections: usize,
    /// Requests at once on a connection of HTTP/2.
    pub streams: u32,
    /// Bytes of a request's head.
    pub header_bytes: usize,
    /// Time for a request's head, from the first byte or the last answer.
    pub header_time: Duration,
    /// Time for the TLS handshake.
    pub handshake_time: Duration,
    /// Bytes of a body that holds tensors.
    pub body_bytes: usize,
    /// Bytes of a body that holds a layout.
    pub layout_bytes: usize,
    /// Time that a body may stand still.
    pub body_pause: Duration,
    /// Time for what is in flight when the server stops.
    pub drain_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            streams: 1024,
            header_bytes: 64 << 10,
            header_time: Duration::from_secs(30),
            handshake_time: Duration::from_secs(10),
            // 32 fields of 1024 by 1024 pixels in FP32.
            body_bytes: 128 << 20,
            layout_bytes: 1 << 30,
            body_pause: Duration::from_secs(30),
            drain_time: Duration::from_secs(60),
        }
    }
}
