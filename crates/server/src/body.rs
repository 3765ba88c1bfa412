//! Bodies of requests and answers in the pieces in which they travel.
//!
//! A tensor of some MiB comes in dozens of pieces and stays in them until a device lays it out.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::http::HeaderMap;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::{Frame, SizeHint};

use crate::protocol::{Kind, Problem};
use crate::tensor::Data;

/// Pieces of a body, from which fields are cut off.
#[derive(Debug, Default)]
pub(crate) struct Pieces {
    pieces: VecDeque<Bytes>,
    len: usize,
}

impl Pieces {
    /// Bytes that are left.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Takes in the next piece.
    pub(crate) fn push(&mut self, piece: Bytes) {
        self.len += piece.len();
        self.pieces.push_back(piece);
    }

    /// Cuts off the first `n` bytes. `None` if there are fewer.
    pub(crate) fn cut(&mut self, n: usize) -> Option<Data> {
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

/// What is told of a body that is too long.
pub(crate) fn too_large(limit: usize) -> Problem {
    let text =
        format!("the request's body is longer than {limit} bytes, which is the most that is read");
    Problem::new(Kind::TooLarge, text)
}

/// How long the next piece of a body is waited for: who sends a byte a minute keeps a connection for nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What is not cut off yet, byte by byte.
impl Buf for Pieces {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.pieces.front().map_or(&[], |piece| piece)
    }

    fn advance(&mut self, mut n: usize) {
        assert!(n <= self.len, "{n} bytes of {}", self.len);
        self.len -= n;
        while let Some(piece) = self.pieces.front_mut().filter(|_| n > 0) {
            let part = n.min(piece.len());
            piece.advance(part);
            n -= part;
            if piece.is_empty() {
                self.pieces.pop_front();
            }
        }
    }
}

fn too_slow(_: tokio::time::error::Elapsed) -> Problem {
    let seconds = PATIENCE.as_secs();
    let text = format!("nothing more of the request's body came for {seconds} s");
    Problem::new(Kind::Canceled, text)
}

/// Reads a body as it comes, up to `limit` bytes of it.
pub(crate) async fn gather(
    mut body: Body,
    limit: usize,
    patience: Duration,
) -> Result<Pieces, Problem> {
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

/// An answer's body in pieces, which are not copied together.
///
/// Without trailers its length is known beforehand, and sent as `Content-Length`.
#[derive(Debug)]
pub(crate) struct Parts {
    parts: VecDeque<Bytes>,
    left: u64,
    trailers: Option<HeaderMap>,
}

impl Parts {
    /// These pieces, one after the other.
    pub(crate) fn new(parts: Vec<Bytes>) -> Self {
        // An empty one would be a frame of its own.
        let parts: VecDeque<Bytes> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let left = parts.iter().map(|part| part.len() as u64).sum();
        Self { parts, left, trailers: None }
    }

    /// With headers that follow.
    pub(crate) fn with_trailers(self, trailers: HeaderMap) -> Self {
        Self { trailers: Some(trailers), ..self }
    }
}

impl hyper::body::Body for Parts {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let Some(part) = self.parts.pop_front() else {
            return Poll::Ready(self.trailers.take().map(|last| Ok(Frame::trailers(last))));
        };
        self.left -= part.len() as u64;
        Poll::Ready(Some(Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.parts.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        match self.trailers {
            None => SizeHint::with_exact(self.left),
            Some(_) => SizeHint::default(),
        }
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
            let mut cut = |n| pieces.cut(n).map(|data| data.contiguous().expect("reads"));
            assert_eq!(cut(3).as_deref(), Some(&b"012"[..]));
            assert_eq!(cut(0).as_deref(), Some(&b""[..]));
            assert_eq!(cut(8), None);
            assert_eq!(cut(7).as_deref(), Some(&b"3456789"[..]));
        }
    }

    #[tokio::test]
    async fn a_body_that_stops_coming_is_given_up() {
        let first =
            futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"abc"))]);
        let never = futures_util::StreamExt::chain(first, futures_util::stream::pending());
        let read = gather(Body::from_stream(never), 10, Duration::from_millis(10)).await;
        assert_eq!(read.expect_err("too slow").kind, Kind::Canceled);
    }

    #[test]
    fn a_number_may_lie_across_pieces() {
        let mut pieces = Pieces::default();
        for piece in [&[0_u8, 0][..], &[1], &[2, 9]] {
            pieces.push(Bytes::copy_from_slice(piece));
        }
        assert_eq!((pieces.get_u32(), pieces.remaining(), pieces.chunk()), (258, 1, &[9][..]));
    }

    #[tokio::test]
    async fn an_answer_is_its_pieces_and_then_its_trailers() {
        let pieces = || Parts::new(vec![Bytes::from_static(b"ab"), Bytes::from_static(b"c")]);
        let plain = pieces();
        assert_eq!(hyper::body::Body::size_hint(&plain).exact(), Some(3));
        assert_eq!(&plain.collect().await.expect("whole").to_bytes()[..], b"abc");
        let mut last = HeaderMap::new();
        last.insert("grpc-status", "0".parse().expect("a value"));
        let told = pieces().with_trailers(last.clone());
        assert_eq!(hyper::body::Body::size_hint(&told).exact(), None);
        let told = told.collect().await.expect("whole");
        assert_eq!(told.trailers(), Some(&last));
        assert_eq!(&told.to_bytes()[..], b"abc");
    }
}
