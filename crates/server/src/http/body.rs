//! Bodies as their headers say they are packed: never longer than allowed, also after they are unpacked.

use std::io::{self, Read};

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::Bytes;
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder, ZlibDecoder, ZlibEncoder};

use crate::body::{PATIENCE, Pieces, gather, too_large};
use crate::protocol::Problem;
use crate::tensor::Data;

/// The header that says how long the JSON before the bytes is.
pub(super) const HEADER_LENGTH: &str = "inference-header-content-length";

/// Reads a body, up to `limit` bytes of it, unpacked as its headers say.
pub(super) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Pieces, Problem> {
    let said = headers.get(header::CONTENT_LENGTH).and_then(|said| said.to_str().ok());
    if said.and_then(|said| said.parse::<usize>().ok()).is_some_and(|said| said > limit) {
        return Err(too_large(limit));
    }
    let pieces = gather(body, limit, PATIENCE).await?;
    let encoding = headers.get(header::CONTENT_ENCODING).map(|encoding| encoding.as_bytes());
    match encoding {
        None | Some(b"" | b"identity") => Ok(pieces),
        Some(b"gzip") => unpacked(pieces, limit, |packed| Box::new(GzDecoder::new(packed))).await,
        Some(b"deflate") => {
            unpacked(pieces, limit, |packed| Box::new(ZlibDecoder::new(packed))).await
        }
        Some(other) => {
            let other = String::from_utf8_lossy(other);
            let text = format!(
                "Content-Encoding '{other}' is not supported: expected gzip, deflate or identity"
            );
            Err(Problem::invalid(text))
        }
    }
}

type Unpacker = fn(io::Cursor<Bytes>) -> Box<dyn Read>;

/// Unpacks, and stops where it gets too long: a small body may unpack to a huge one.
async fn unpacked(mut packed: Pieces, limit: usize, unpack: Unpacker) -> Result<Pieces, Problem> {
    let len = packed.len();
    let packed = packed.cut(len).unwrap_or_else(|| Vec::<Bytes>::new().into()).contiguous()?;
    let work = move || {
        let mut all = Vec::new();
        let most = limit as u64 + 1;
        unpack(io::Cursor::new(packed)).take(most).read_to_end(&mut all).map(|_| all)
    };
    let unpacked = tokio::task::spawn_blocking(work).await;
    let all = unpacked.map_err(io::Error::other).and_then(|all| all);
    let all = all.map_err(|error| {
        Problem::invalid(format!(
            "the request's body cannot be unpacked as its Content-Encoding says: {error}"
        ))
    })?;
    if all.len() > limit {
        return Err(too_large(limit));
    }
    let mut pieces = Pieces::default();
    pieces.push(all.into());
    Ok(pieces)
}

/// A way to pack an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Deflate,
}

impl Packing {
    /// What a client asks for, if it is one of these.
    pub(super) fn asked(headers: &HeaderMap) -> Option<Self> {
        let asked = headers.get(header::ACCEPT_ENCODING)?.to_str().ok()?;
        asked.split(',').find_map(|encoding| {
            let (name, quality) = encoding.split_once(';').unwrap_or((encoding, ""));
            match name.trim() {
                _ if quality.trim().trim_end_matches(['0', '.']) == "q=" => None,
                "gzip" => Some(Self::Gzip),
                "deflate" => Some(Self::Deflate),
                _ => None,
            }
        })
    }

    /// Its name in `Content-Encoding`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
        }
    }

    /// Packs an answer.
    pub(super) async fn pack(self, parts: Vec<Bytes>) -> io::Result<Bytes> {
        let work = move || {
            let whole = io::Cursor::new(Data::from(parts).contiguous()?);
            let mut packed = Vec::new();
            match self {
                Self::Gzip => {
                    GzEncoder::new(whole, Compression::fast()).read_to_end(&mut packed)?
                }
                Self::Deflate => {
                    ZlibEncoder::new(whole, Compression::fast()).read_to_end(&mut packed)?
                }
            };
            Ok(packed.into())
        };
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Kind;

    #[tokio::test]
    async fn a_small_body_that_unpacks_to_a_huge_one_is_refused() {
        let bomb = Packing::Gzip.pack(vec![vec![0; 10 << 20].into()]).await.expect("packs");
        assert!(bomb.len() < 64 << 10);
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, "gzip".parse().expect("a value"));
        let read = |limit| read(&headers, Body::from(bomb.clone()), limit);
        assert_eq!(read(1 << 20).await.expect_err("too large").kind, Kind::TooLarge);
        assert_eq!(read(10 << 20).await.expect("fits").len(), 10 << 20);
    }
}
