//! Compressed bodies, opened up to a limit: a small one may hold a large one.

use std::io::Read;

use flate2::read::{MultiGzDecoder, ZlibDecoder};

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Not at all.
    Identity,
    /// GZIP (RFC 1952).
    Gzip,
    /// ZLIB (RFC 1950), which HTTP calls deflate.
    Deflate,
}

/// Why a compressed body is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum InflateError {
    /// A kind of compression that is not offered.
    #[error("Content-Encoding {0:?} is not offered: expected gzip, deflate or identity")]
    Unknown(String),
    /// It would be larger than what is taken.
    #[error(
        "the body is more than {most} bytes when it is opened, which is the most that is taken"
    )]
    TooLarge {
        /// The limit.
        most: usize,
    },
    /// It is no such stream, or only a part of one.
    #[error("the body is no whole {0:?} stream: {1}")]
    Damaged(Encoding, String),
}

impl std::str::FromStr for Encoding {
    type Err = InflateError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "deflate" => Ok(Self::Deflate),
            _ => Err(InflateError::Unknown(text.into())),
        }
    }
}

/// A body as it was before it was compressed, if that is at most `most` bytes. Memory never holds more than that.
///
/// # Errors
///
/// [`InflateError`] if it is larger or damaged.
pub fn inflate(body: &[u8], encoding: Encoding, most: usize) -> Result<Vec<u8>, InflateError> {
    let opened: Box<dyn Read> = match encoding {
        Encoding::Identity => Box::new(body),
        Encoding::Gzip => Box::new(MultiGzDecoder::new(body)),
        Encoding::Deflate => Box::new(ZlibDecoder::new(body)),
    };
    let mut bytes = Vec::new();
    let read = opened.take(most as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| InflateError::Damaged(encoding, error.to_string()))?;
    match bytes.len() > most {
        true => Err(InflateError::TooLarge { most }),
        false => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::{GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut out = GzEncoder::new(Vec::new(), Compression::best());
        out.write_all(bytes).expect("memory");
        out.finish().expect("memory")
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut out = ZlibEncoder::new(Vec::new(), Compression::best());
        out.write_all(bytes).expect("memory");
        out.finish().expect("memory")
    }

    #[test]
    fn what_was_compressed_comes_back_up_to_the_limit_and_not_beyond() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|i| (i % 251) as u8).collect();
        for (encoding, body) in [
            (Encoding::Gzip, gzip(&bytes)),
            (Encoding::Deflate, zlib(&bytes)),
            (Encoding::Identity, bytes.clone()),
        ] {
            assert_eq!(inflate(&body, encoding, bytes.len()).as_ref(), Ok(&bytes));
            let refused = inflate(&body, encoding, bytes.len() - 1);
            assert_eq!(refused, Err(InflateError::TooLarge { most: bytes.len() - 1 }));
        }
    }

    /// A thousandfold: a gigabyte would be held if it were opened before it is measured.
    #[test]
    fn a_bomb_is_refused_without_being_opened() {
        let million = vec![0; 1 << 20];
        let mut out = GzEncoder::new(Vec::new(), Compression::best());
        (0..1024).for_each(|_| out.write_all(&million).expect("memory"));
        let bomb = out.finish().expect("memory");
        assert!(bomb.len() < 2 << 20, "{}", bomb.len());
        let most = 4 << 20;
        assert_eq!(inflate(&bomb, Encoding::Gzip, most), Err(InflateError::TooLarge { most }));
        // Streams one after the other are one body, and are counted together.
        let many = gzip(&million).repeat(8);
        assert_eq!(inflate(&many, Encoding::Gzip, most), Err(InflateError::TooLarge { most }));
    }

    #[test]
    fn damaged_and_unknown_streams_are_refused_by_name() {
        let body = gzip(b"a mask whose print is the design");
        let cut = inflate(&body[..body.len() - 9], Encoding::Gzip, 1000);
        assert!(matches!(cut, Err(InflateError::Damaged(Encoding::Gzip, _))), "{cut:?}");
        let not = inflate(b"no gzip", Encoding::Gzip, 1000);
        assert!(matches!(not, Err(InflateError::Damaged(..))), "{not:?}");
        assert_eq!("br".parse::<Encoding>(), Err(InflateError::Unknown("br".into())));
        assert_eq!("GZip".parse::<Encoding>(), Ok(Encoding::Gzip));
    }
}
