//! Threads that write results and commit them, beside the work: no device waits for a disk, unless it falls far behind.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::Scope;
use std::time::Instant;

use super::{Shift, WorkError};
use crate::FarmError;
use crate::desk::{Committed, Lease, Receipt};
use crate::events::What;

/// Results that are written at once: a shared file system answers late, and takes many at a time.
const THREADS: usize = 4;
/// Results that wait or are written while the next block is computed.
pub(crate) const BEHIND: usize = 2 * THREADS;

/// The threads' mail.
pub(super) struct Committers<'a>(SyncSender<(u64, Vec<u8>)>, &'a Shift<'a>);

impl<'a> Committers<'a> {
    /// Threads that end when this is dropped and their mail is done.
    pub(super) fn start<'s>(scope: &'s Scope<'s, '_>, run: &'a Shift<'a>) -> Self
    where
        'a: 's,
    {
        let (mail, inbox) = sync_channel(THREADS);
        let inbox = Arc::new(Mutex::new(inbox));
        for _ in 0..THREADS {
            let inbox = inbox.clone();
            scope.spawn(move || {
                while let Some((block, bytes)) = next(&inbox) {
                    run.commit(block, &bytes);
                }
            });
        }
        Self(mail, run)
    }

    /// Takes a block's result; waits while too many are being written.
    pub(super) fn take(&self, block: u64, bytes: Vec<u8>) -> Result<(), WorkError> {
        if self.1.closing.load(Ordering::SeqCst) {
            return Err(WorkError::Closed);
        }
        self.0.send((block, bytes)).map_err(|_| WorkError::Closed)
    }
}

fn next(inbox: &Mutex<Receiver<(u64, Vec<u8>)>>) -> Option<(u64, Vec<u8>)> {
    inbox.lock().unwrap_or_else(PoisonError::into_inner).recv().ok()
}

impl Shift<'_> {
    /// Writes a result and commits it.
    fn commit(&self, block: u64, bytes: &[u8]) {
        let Some((lease, since)) = self.held.get(block) else { return };
        self.worker.tally.block.add(since.elapsed());
        let start = Instant::now();
        match self.committed(&lease, bytes, since) {
            Ok(committed) => {
                self.held.remove(block);
                self.note(&lease, &committed, bytes.len());
                self.worker.tally.commit.add(start.elapsed());
            }
            Err(error) => {
                self.release(&lease, &error.to_string());
                self.close(error);
            }
        }
    }

    fn committed(
        &self,
        lease: &Lease,
        bytes: &[u8],
        since: Instant,
    ) -> Result<Committed, FarmError> {
        let seconds = since.elapsed().as_secs_f64();
        let digest = self.patiently(|| self.worker.results.put(bytes))?;
        let receipt = Receipt {
            digest,
            bytes: bytes.len() as u64,
            attempt: lease.attempt,
            worker: self.worker.terms.name.clone(),
            device: self.worker.terms.device.clone(),
            seconds,
        };
        self.patiently(|| self.worker.source.commit(lease, &receipt))
    }

    fn note(&self, lease: &Lease, committed: &Committed, bytes: usize) {
        let tally = &self.worker.tally;
        let (what, count, text) = match committed {
            Committed::First => (What::Committed, &tally.committed, String::new()),
            Committed::Same(first) => (What::Late, &tally.late, first.worker.clone()),
            Committed::Different(first) => {
                (What::Different, &tally.different, first.worker.clone())
            }
        };
        count.fetch_add(1, Ordering::Relaxed);
        if *committed == Committed::First {
            tally.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            let items =
                self.worker.manifest.block(lease.block).map_or(0, |block| block.items.len());
            tally.items.fetch_add(items as u64, Ordering::Relaxed);
        }
        self.worker.events.note(what, Some((lease.block, lease.attempt)), &text);
    }
}
