//! What can be wrong with a picture.

/// Why a picture could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// A page has no area, or more than memory holds.
    #[error("a picture cannot be {width} x {height} px")]
    Size {
        /// Width, in px.
        width: usize,
        /// Height, in px.
        height: usize,
    },
    /// The encoder failed.
    #[error("a picture could not be encoded as PNG: {0}")]
    Encode(String),
}
