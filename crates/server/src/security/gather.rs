//! A connection of HTTP/2 that writes frames together.
//!
//! Most clients take frames of 16 KiB, and each is written and flushed alone: an answer of some MiB would be hundreds of calls of the system, each of which wakes the
//! client. Here a flush waits until its task has been polled once more, in which time the next frame is there, or none is. What speaks HTTP/1 goes through as it is.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Most bytes that wait to be written: few enough to stay in a core's cache.
const MOST: usize = 96 << 10;
/// How HTTP/2 begins, and no request of HTTP/1.
const PREFACE: &[u8] = b"PRI";

/// What a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    Nothing,
    Http1,
    Http2,
}

/// A connection that gathers what it writes, if it speaks HTTP/2.
#[derive(Debug)]
pub(super) struct Gather<S> {
    stream: S,
    spoken: Spoken,
    waiting: Vec<u8>,
    /// Bytes of what waits that are written already.
    written: usize,
    /// Whether a flush was asked for since the last write.
    asked: bool,
}

impl<S> Gather<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, spoken: Spoken::Nothing, waiting: Vec::new(), written: 0, asked: false }
    }
}

impl<S: AsyncWrite + Unpin> Gather<S> {
    /// Writes all that waits.
    fn drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.written < self.waiting.len() {
            let left = &self.waiting[self.written..];
            match ready!(Pin::new(&mut self.stream).poll_write(context, left))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.written += n,
            }
        }
        self.waiting.clear();
        self.written = 0;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = into.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, into))?;
        let came = &into.filled()[before..];
        if self.spoken == Spoken::Nothing && !came.is_empty() {
            let http2 = came.starts_with(PREFACE);
            self.spoken = if http2 { Spoken::Http2 } else { Spoken::Http1 };
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let comes = parts.iter().map(|part| part.len()).sum::<usize>();
        if self.waiting.len() + comes > MOST {
            ready!(self.drain(context))?;
        }
        // What is long enough alone is not copied.
        if self.spoken != Spoken::Http2 || comes > MOST {
            return Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        }
        parts.iter().for_each(|part| self.waiting.extend_from_slice(part));
        self.asked = false;
        Poll::Ready(Ok(comes))
    }

    fn is_write_vectored(&self) -> bool {
        self.spoken == Spoken::Http2 || self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.waiting.is_empty() && !self.asked {
            self.asked = true;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready!(self.drain(context))?;
        // A connection that is quiet keeps no memory.
        self.waiting = Vec::new();
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.drain(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// A socket that has something to say, and notes what is written at a time, at most so much.
    struct Noted {
        says: &'static [u8],
        writes: Vec<Vec<u8>>,
        most: usize,
    }

    fn noted(says: &'static [u8], most: usize) -> Gather<Noted> {
        Gather::new(Noted { says, writes: Vec::new(), most })
    }

    impl AsyncRead for Noted {
        fn poll_read(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            into: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            let (now, later) = self.says.split_at(self.says.len().min(into.remaining()));
            into.put_slice(now);
            self.says = later;
            Poll::Ready(Ok(()))
        }
    }

    impl AsyncWrite for Noted {
        fn poll_write(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<io::Result<usize>> {
            let n = bytes.len().min(self.most);
            self.writes.push(bytes[..n].to_vec());
            Poll::Ready(Ok(n))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    /// Writes frames as HTTP/2 does: each is flushed, and the next follows when the task is polled again.
    async fn frames(stream: &mut Gather<Noted>, count: u8, length: usize) {
        stream.read_u8().await.expect("says something");
        let context = &mut Context::from_waker(Waker::noop());
        for frame in 0..count {
            stream.write_all(&vec![frame; length]).await.expect("writes");
            let _ = Pin::new(&mut *stream).poll_flush(context);
        }
    }

    #[tokio::test]
    async fn frames_are_written_together_and_a_flush_that_is_waited_for_writes_all() {
        let mut stream = noted(b"PRI * HTTP/2.0", usize::MAX);
        // The first read takes a byte: that is no preface.
        let mut all = Vec::new();
        stream.read_buf(&mut all).await.expect("reads");
        stream.stream.says = b"x";
        frames(&mut stream, 5, 1000).await;
        assert!(stream.stream.writes.is_empty());
        stream.flush().await.expect("flushes");
        let expected: Vec<u8> = (0..5).flat_map(|frame| vec![frame; 1000]).collect();
        assert_eq!(stream.stream.writes, [expected]);
    }

    #[tokio::test]
    async fn no_byte_is_lost_where_little_is_taken_at_a_time_and_much_is_written() {
        let mut stream = noted(b"PRI", 777);
        stream.spoken = Spoken::Http2;
        frames(&mut stream, 40, 16 << 10).await;
        stream.write_all(&[9; 2 * MOST]).await.expect("writes");
        stream.shutdown().await.expect("ends");
        let mut expected: Vec<u8> = (0..40).flat_map(|frame| vec![frame; 16 << 10]).collect();
        expected.extend([9; 2 * MOST]);
        assert_eq!(stream.stream.writes.concat(), expected);
    }

    #[tokio::test]
    async fn what_is_not_http2_is_written_at_once() {
        let mut stream = noted(b"POST / HTTP/1.1", usize::MAX);
        frames(&mut stream, 3, 10).await;
        assert_eq!(stream.stream.writes.len(), 3);
    }
}
