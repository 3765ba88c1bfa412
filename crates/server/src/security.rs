//! Who may come in, by which door, and how much they may bring.
//!
//! ```text
//! socket ─ connections, handshake, header times ─► listen ─► guard: token, origin, size of the body ─► routes
//! ```
//!
//! * The server listens on the loopback address unless told otherwise; beyond it, [`may_bind`] asks for tokens.
//! * A token is compared with all of them in constant time ([`Tokens`]), and names the [`Client`] whose jobs a request may see.
//! * A web page of somebody else cannot make a visitor's browser send work: requests of another origin are refused ([`Guard`]).
//! * What is slow or large ends: connections, headers and bodies have limits ([`Limits`]), compressed bodies too ([`inflate`]).

mod bind;
mod gather;
mod guard;
mod inflate;
mod limits;
mod listen;
mod tls;
mod tokens;

use std::path::PathBuf;

pub use bind::may_bind;
pub use guard::{Client, Guard};
pub use inflate::{Encoding, InflateError, inflate};
pub use limits::Limits;
pub use listen::{Doors, serve, threads};
pub use tls::tls;
pub use tokens::Tokens;

/// Why a server with such settings would not be safe, or its secrets do not serve.
#[derive(Debug, thiserror::Error)]
pub enum SecurityError {
    /// Everybody could come in.
    #[error(
        "{0} can be reached from other machines, and no token is asked for: give --token-file FILE, or --insecure if everybody may use \
         this server"
    )]
    Open(std::net::IpAddr),
    /// A file of secrets cannot be read.
    #[error("cannot read {what} {path:?}: {source}")]
    Read {
        /// What it is.
        what: &'static str,
        /// Where it should be.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file of secrets holds something else.
    #[error("{what} {path:?}: {problem}")]
    Secret {
        /// What it is.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What is wrong with it, and what was expected.
        problem: String,
    },
}
