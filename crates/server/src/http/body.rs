//! Bodies: read in the pieces in which they come, never longer than allowed, also after they are unpacked.

use std::collections::VecDeque;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Buf, Bytes};
use flate2::Compression;
use flate2::read::{GzDecoder, GzEncoder, ZlibDecoder, ZlibEncoder};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};

use crate::protocol::{Kind, Problem};
use crate::tensor::Data;

/// Pieces of a body, from which fields are cut off.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl Pieces {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        self.pieces.push_back(piece);
    }

    /// Cuts off the first `n` bytes. `None` if there are fewer.
    pub(super) fn take(&mut self, n: usize) -> Option<Data> {
        if n > self.len {
            return None;
        }
        self.len -= n;
        let (mut taken, mut left) = (Vec::new(), n);
        while left > 0 {
            let mut piece = self.pieces.pop_front()?;
            if piece.len() > left {
                self.pieces.push_front(piece.split_off(left));
            }
            left -= piece.len();
            taken.push(piece);
        }
        Some(taken.into())
    }
}

fn too_large(limit: usize) -> Problem {
    let text =
        format!("the request's body is longer than {limit} bytes, which is the most that is read");
    Problem::new(Kind::TooLarge, text)
}

/// How long the next piece of a body is waited for: who sends a byte a minute keeps a connection for nothing.
const PATIENCE: Duration = Duration::from_secs(30);

/// Reads a body, up to `limit` bytes of it, unpacked as its headers say.
pub(super) async fn read(headers: &HeaderMap, body: Body, limit: usize) -> Result<Pieces, Problem> {
    let said = headers.get(header::CONTENT_LENGTH).and_then(|said| said.to_str().ok());
    if said.and_then(|said| said.parse::<usize>().ok()).is_some_and(|said| said > limit) {
        return Err(too_large(limit));
    }
    let pieces = read_raw(body, limit, PATIENCE).await?;
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

fn too_slow(_: tokio::time::error::Elapsed) -> Problem {
    let seconds = PATIENCE.as_secs();
    let text = format!("nothing more of the request's body came for {seconds} s");
    Problem::new(Kind::Canceled, text)
}

async fn read_raw(mut body: Body, limit: usize, patience: Duration) -> Result<Pieces, Problem> {
    let mut pieces = Pieces::default();
    while let Some(frame) = tokio::time::timeout(patience, body.frame()).await.map_err(too_slow)? {
        let frame = frame.map_err(|error| {
            Problem::invalid(format!("the request's body ended early or is malformed: {error}"))
        })?;
        if let Ok(piece) = frame.into_data()
            && !piece.is_empty()
        {
            pieces.push(piece);
        }
        if pieces.len() > limit {
            return Err(too_large(limit));
        }
    }
    Ok(pieces)
}

type Unpacker = fn(io::Cursor<Bytes>) -> Box<dyn Read>;

/// Unpacks, and stops where it gets too long: a small body may unpack to a huge one.
async fn unpacked(mut packed: Pieces, limit: usize, unpack: Unpacker) -> Result<Pieces, Problem> {
    let len = packed.len();
    let packed = packed.take(len).unwrap_or_else(|| Vec::<Bytes>::new().into()).contiguous()?;
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

/// An answer's body in pieces, which are not copied together. Its length is known, so that it is sent as `Content-Length`.
#[derive(Debug)]
pub(super) struct Parts {
    parts: VecDeque<Bytes>,
    left: u64,
}

impl Parts {
    pub(super) fn new(parts: Vec<Bytes>) -> Self {
        let left = parts.iter().map(|part| part.remaining() as u64).sum();
        Self { parts: parts.into(), left }
    }
}

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let part = self.parts.pop_front();
        self.left -= part.as_ref().map_or(0, |part| part.len() as u64);
        Poll::Ready(part.map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_cut_off_whatever_the_pieces() {
        for size in 1..8 {
            let mut pieces = Pieces::default();
            b"0123456789".chunks(size).for_each(|piece| pieces.push(Bytes::from_static(piece)));
            let mut take = |n| pieces.take(n).map(|data| data.contiguous().expect("reads"));
            assert_eq!(take(3).as_deref(), Some(&b"012"[..]));
            assert_eq!(take(0).as_deref(), Some(&b""[..]));
            assert_eq!(take(8), None);
            assert_eq!(take(7).as_deref(), Some(&b"3456789"[..]));
        }
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_is_given_up() {
        let first = futures_util::stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"abc"))]);
        let never = futures_util::StreamExt::chain(first, futures_util::stream::pending());
        let read = read_raw(Body::from_stream(never), 10, Duration::from_millis(10)).await;
        assert_eq!(read.expect_err("too slow").kind, Kind::Canceled);
    }

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
