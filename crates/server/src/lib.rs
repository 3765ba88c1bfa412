//! The server: sockets on one side, a scheduler of devices on the other; neither sees the other's values.
