//! A mask's file, written on a thread of its own: encoding and compressing a row takes longer than many threads take to put the next
//! one together.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use lithoburn_layout::{LayoutError, Polygon, PolygonWriter};
use tracing::info_span;

use crate::EngineError;

/// Rows that wait to be written.
const WAITING: usize = 4;

/// Polygons of a row of tiles, tile by tile.
type Row = Vec<Vec<Polygon>>;

/// A file that is written behind.
pub(super) struct Behind {
    /// None once the last row was handed over.
    rows: Option<SyncSender<Row>>,
    thread: Option<JoinHandle<Result<PolygonWriter, LayoutError>>>,
}

impl Behind {
    /// Begins the thread.
    ///
    /// # Errors
    ///
    /// [`EngineError::Setting`] if the system gives none.
    pub(super) fn new(writer: PolygonWriter) -> Result<Self, EngineError> {
        let (rows, waiting) = sync_channel(WAITING);
        let thread = std::thread::Builder::new().name("write".into());
        let thread = thread.spawn(move || write(writer, &waiting)).map_err(|e| {
            EngineError::Setting(format!("the system gives no thread to write the mask: {e}"))
        })?;
        Ok(Self { rows: Some(rows), thread: Some(thread) })
    }

    /// Hands a row over.
    ///
    /// # Errors
    ///
    /// What writing an earlier one met.
    pub(super) fn add(&mut self, row: Row) -> Result<(), LayoutError> {
        match self.rows.as_ref().map(|rows| rows.send(row)) {
            Some(Ok(())) => Ok(()),
            // The thread has ended: with an error, since it has not been told to.
            _ => self.ended().map(|_| ()),
        }
    }

    /// Waits for all rows, and completes the file.
    ///
    /// # Errors
    ///
    /// As [`Behind::add`], and [`PolygonWriter::finish`].
    pub(super) fn finish(mut self) -> Result<(), LayoutError> {
        match self.ended()? {
            Some(writer) => writer.finish(),
            None => Ok(()),
        }
    }

    /// The writer as the thread leaves it; none if that was asked before.
    fn ended(&mut self) -> Result<Option<PolygonWriter>, LayoutError> {
        self.rows = None;
        let Some(thread) = self.thread.take() else { return Ok(None) };
        // A panic there is a bug of ours, and goes on here as one.
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)).map(Some)
    }
}

impl Drop for Behind {
    /// A file that is not completed is gone when this returns.
    fn drop(&mut self) {
        self.rows = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn write(mut writer: PolygonWriter, rows: &Receiver<Row>) -> Result<PolygonWriter, LayoutError> {
    while let Ok(row) = rows.recv() {
        let _span = info_span!("write", tiles = row.len() as u64).entered();
        row.iter().try_for_each(|polygons| writer.add(polygons))?;
    }
    Ok(writer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lithoburn_layout::Layer;

    const LAYER: Layer = Layer { layer: 1, datatype: 0 };

    fn squares(row: usize) -> Row {
        let square = |i: usize| {
            let [x, y] = [100.0 * i as f64, 100.0 * row as f64];
            vec![Polygon::rectangle(x, y, x + 50.0, y + 50.0)]
        };
        (0..7).map(square).collect()
    }

    /// The writer without a thread is the second implementation.
    #[test]
    fn a_file_that_is_written_behind_has_the_same_bytes() -> Result<(), EngineError> {
        let folder = tempfile::tempdir().expect("a folder");
        let [behind, before] = ["a", "b"].map(|name| folder.path().join(name).join("mask.oas"));
        let writer = |path: &std::path::Path| PolygonWriter::create(path, "MASK", LAYER, 1.0);
        let (mut writing, mut plain) = (Behind::new(writer(&behind)?)?, writer(&before)?);
        for row in (0..20).map(squares) {
            row.iter().try_for_each(|polygons| plain.add(polygons))?;
            writing.add(row)?;
        }
        writing.finish()?;
        plain.finish()?;
        let read = |path: &std::path::Path| std::fs::read(path).expect("a file");
        assert_eq!(read(&behind), read(&before));
        Ok(())
    }

    /// A corner beyond 32 bits.
    #[test]
    fn an_error_of_the_thread_reaches_who_writes_and_no_file_is_left() -> Result<(), EngineError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mask.gds");
        let mut writing = Behind::new(PolygonWriter::create(&path, "MASK", LAYER, 1.0)?)?;
        let far = || vec![vec![Polygon::rectangle(0.0, 0.0, 1e12, 10.0)]];
        let mut found = Ok(());
        for _ in 0..WAITING + 2 {
            found = found.and_then(|()| writing.add(far()));
        }
        assert!(found.is_err());
        drop(writing);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
        Ok(())
    }

    #[test]
    fn a_file_that_is_given_up_leaves_nothing() -> Result<(), EngineError> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("mask.gds");
        let mut writing = Behind::new(PolygonWriter::create(&path, "MASK", LAYER, 1.0)?)?;
        writing.add(squares(0))?;
        drop(writing);
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0);
        Ok(())
    }
}
