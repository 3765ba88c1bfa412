//! Why a server could not be loaded or studied.

/// Why a server could not be loaded or studied.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// An option cannot be meant.
    #[error("{option} {given}: {problem}")]
    Option {
        /// The option or field.
        option: &'static str,
        /// What was given.
        given: String,
        /// What was expected, or what to do.
        problem: String,
    },
    /// The address of a server is none.
    #[error("{given:?} is no address of a server: {problem}; expected http://HOST:PORT")]
    Address {
        /// What was given.
        given: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The server does not answer.
    #[error("{url} does not answer: {problem}; is the server running?")]
    Unreachable {
        /// What was asked for.
        url: String,
        /// What the system says.
        problem: String,
    },
    /// The server answers what a server of this protocol does not.
    #[error("{url} answered {problem}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with the answer.
        problem: String,
    },
    /// A file cannot be read or written.
    #[error("cannot use {path}: {problem}")]
    File {
        /// The file.
        path: String,
        /// What the system says.
        problem: String,
    },
    /// A server of a study did not start.
    #[error("the server for {configuration} did not start: {problem}")]
    Start {
        /// Devices of the configuration.
        configuration: String,
        /// What it said, or how it ended.
        problem: String,
    },
    /// A picture could not be made.
    #[error(transparent)]
    Picture(#[from] lithoburn_page::PictureError),
    /// Nothing was measured before the run was stopped.
    #[error("stopped before anything was measured")]
    Stopped,
}
