//! NATS JetStream as the source of a live farm: a work queue of blocks, and a ledger beside it.
//!
//! * A block is a message of a work queue, published once (its identity is the job's and the block's). Who fetches it has it until the
//!   time of a lease has passed without a renewal; then the server delivers it to another one. Only the server's clock counts.
//! * Tries are counted in the ledger, as the server's own count may be lost with it.
//! * A message is acknowledged when its block has a receipt, or is parked. If the server loses messages, whoever finds the queue empty and
//!   blocks without receipts publishes those again.
//! * Whoever finds the queue empty computes what another one has had for long too ([`copies`](super::copies)).

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use async_nats::HeaderMap;
use async_nats::header::NATS_MESSAGE_ID;
use async_nats::jetstream::AckKind;
use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::message::Acker;
use async_nats::jetstream::stream::{Config, RetentionPolicy, StorageType, Stream};
use futures_util::StreamExt;

use super::copies::Copies;
use super::{Beat, BlockSource, Next};
use crate::FarmError;
use crate::desk::{Committed, Desk, Ended, Fate, Lease, Progress, Receipt, blocks, json};
use crate::ledger::{Entry, Kind, Ledger, NatsLedger};
use crate::nats::Connection;

/// The consumer that all workers of a job share.
const WORKERS: &str = "workers";
/// How long a block's identity is remembered by the server: a block is not queued twice in this time.
const REMEMBERED: Duration = Duration::from_secs(3600);
/// Most blocks fetched at once.
const MOST: usize = 64;
/// Blocks that take less than this are fetched more at a time.
const QUICK: Duration = Duration::from_millis(20);
/// Messages that are published before their receipts are waited for.
const TOGETHER: u64 = 256;
/// How often at most, in the time of a lease, a worker that finds the queue empty lists the tries that run.
const LISTINGS: u32 = 30;
/// How long a fetch may take that finds something.
const FETCH: Duration = Duration::from_millis(500);

/// Messages under way.
type Waiting = VecDeque<(u64, u64, Arc<Acker>)>;

/// A worker's side of a job in a server.
pub struct Nats {
    connection: Arc<Connection>,
    desk: Desk<NatsLedger>,
    stream: Stream,
    consumer: PullConsumer,
    job: String,
    total: u64,
    lease: Duration,
    start: Instant,
    mine: Mutex<Mine>,
}

/// What this worker has of the queue.
struct Mine {
    /// Fetched, not begun.
    waiting: Waiting,
    /// Begun.
    begun: BTreeMap<u64, Arc<Acker>>,
    /// How many to fetch.
    fetch: usize,
    fetched: Option<Instant>,
    copies: Copies,
    /// When running tries were last listed.
    listed: Option<Duration>,
    /// When somebody's wish that workers leave was last looked for, and what was found.
    drained: (Option<Instant>, bool),
}

impl Nats {
    /// Joins a job of `total` blocks, which is queued if it is not.
    ///
    /// # Errors
    ///
    /// [`FarmError::Server`].
    pub fn join(
        connection: Arc<Connection>,
        me: &str,
        job: &str,
        total: u64,
        lease: Duration,
    ) -> Result<Self, FarmError> {
        let desk = Desk::new(NatsLedger::open(connection.clone(), job)?, me);
        let stream =
            connection.wait("its queue", connection.context().get_or_create_stream(queue(job)))?;
        let consumer = connection.wait("its workers", async {
            let config = workers(lease);
            match stream.get_or_create_consumer(WORKERS, config).await {
                Ok(consumer) => Ok(consumer),
                Err(error) => Err(error),
            }
        })?;
        let (waiting, begun) = (Waiting::new(), BTreeMap::new());
        let (copies, listed, fetched, drained) = (Copies::default(), None, None, (None, false));
        let mine = Mutex::new(Mine { waiting, begun, fetch: 1, fetched, copies, listed, drained });
        let (job, start) = (job.to_string(), Instant::now());
        let source = Self { connection, desk, stream, consumer, job, total, lease, start, mine };
        if source.desk.ledger().read(&Entry::published())?.is_none() {
            source.publish(0..total, |_| String::new())?;
            source.desk.ledger().create(&Entry::published(), b"")?;
        }
        Ok(source)
    }

    /// The worker's side of the ledger.
    pub fn desk(&self) -> &Desk<NatsLedger> {
        &self.desk
    }

    fn mine(&self) -> MutexGuard<'_, Mine> {
        // Each change is whole before anything can panic.
        self.mine.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues blocks; one with the same identity is queued once.
    fn publish(
        &self,
        blocks: impl IntoIterator<Item = u64>,
        again: impl Fn(u64) -> String,
    ) -> Result<(), FarmError> {
        let mut open = VecDeque::new();
        let context = self.connection.context();
        for block in blocks {
            let mut headers = HeaderMap::new();
            headers.insert(NATS_MESSAGE_ID, format!("{}/{block}{}", self.job, again(block)));
            let subject = format!("farm.{}.{block}", self.job);
            let sent = context.publish_with_headers(subject, headers, Vec::new().into());
            open.push_back(self.connection.wait("its queue", sent)?);
            if open.len() as u64 >= TOGETHER
                && let Some(first) = open.pop_front()
            {
                self.connection.wait("its queue", first.into_future())?;
            }
        }
        open.into_iter()
            .try_for_each(|ack| self.connection.wait("its queue", ack.into_future()).map(drop))
    }

    /// Fetches some messages, as many as keep this worker busy for a moment.
    fn fetch(&self, mine: &mut Mine) -> Result<(), FarmError> {
        let quick = mine.fetched.is_some_and(|last| last.elapsed() < QUICK * mine.fetch as u32);
        mine.fetch = if quick { (2 * mine.fetch).min(MOST) } else { 1.max(mine.fetch / 2) };
        let count = mine.fetch;
        let fetched = self.connection.wait("the next blocks", async {
            let request = self.consumer.fetch().max_messages(count).expires(FETCH);
            let mut messages = request.messages().await.map_err(|e| e.to_string())?;
            let mut fetched = Vec::with_capacity(count);
            while let Some(message) = messages.next().await {
                let message = message.map_err(|e| e.to_string())?;
                let delivered = message.info().map_or(1, |info| info.delivered).max(1) as u64;
                let block = message.subject.rsplit('.').next().and_then(|n| n.parse().ok());
                fetched.extend(block.map(|block| (block, delivered, Arc::new(message.split().1))));
            }
            Ok::<_, String>(fetched)
        })?;
        mine.fetched = Some(Instant::now());
        mine.waiting.extend(fetched);
        Ok(())
    }

    /// Begins a block that was delivered; none if it is done, parked, or another worker's.
    fn begin(&self, block: u64, delivered: u64) -> Result<Option<Lease>, FarmError> {
        if delivered == 1
            && let Some(lease) = self.desk.claim(block, 1)?
        {
            return Ok(Some(lease));
        }
        self.desk.take_over(block, "its worker was not heard of for the time of a lease")
    }

    /// What is said of an empty queue.
    fn idle(&self, mine: &mut Mine) -> Result<Next, FarmError> {
        let queued = self.connection.wait("its queue", self.stream.get_info())?.state.messages;
        let (progress, done) = self.desk.finished(self.total)?;
        if progress.is_finished() {
            return Ok(Next::Finished);
        }
        if queued == 0 {
            self.queue_again()?;
        }
        let now = self.start.elapsed();
        if mine.listed.is_none_or(|last| now >= last + self.lease / LISTINGS) {
            mine.listed = Some(now);
            mine.copies.look(&self.desk, self.total, &done, now)?;
        }
        match mine.copies.take(&self.desk, now)? {
            Some(lease) => {
                mine.copies.got(lease.block, now);
                Ok(Next::Block(lease))
            }
            None => Ok(Next::Wait),
        }
    }

    /// Queues the blocks that the queue lost, or whose results were.
    fn queue_again(&self) -> Result<(), FarmError> {
        let ledger = self.desk.ledger();
        let mut done: Vec<u64> = Vec::new();
        for kind in [Kind::Receipt, Kind::Parked, Kind::Mismatch] {
            done.extend(blocks(ledger.list(kind)?, self.total));
        }
        done.sort_unstable();
        let tries = blocks(ledger.list(Kind::Lease)?, self.total);
        let missing = (0..self.total).filter(|block| done.binary_search(block).is_err());
        // All who find this out say so with one identity.
        self.publish(missing, |block| {
            format!("/{}", tries.iter().filter(|&&tried| tried == block).count())
        })
    }

    fn is_drained(&self, mine: &mut Mine) -> Result<bool, FarmError> {
        let (looked, found) = mine.drained;
        if looked.is_some_and(|last| last.elapsed() < self.lease / 3) {
            return Ok(found);
        }
        let found = self.desk.ledger().read(&Entry::drain())?.is_some();
        mine.drained = (Some(Instant::now()), found);
        Ok(found)
    }

    fn tell(&self, acker: &Acker, kind: AckKind) -> Result<(), FarmError> {
        self.connection.wait("a lease", acker.ack_with(kind))
    }
}

impl BlockSource for Nats {
    fn next(&self) -> Result<Next, FarmError> {
        let mine = &mut *self.mine();
        if self.is_drained(mine)? {
            for (.., acker) in mine.waiting.drain(..) {
                self.tell(&acker, AckKind::Nak(None))?;
            }
            return Ok(Next::Drained);
        }
        if mine.waiting.is_empty() {
            self.fetch(mine)?;
        }
        while let Some((block, delivered, _)) = mine.waiting.front() {
            let begun = self.begin(*block, *delivered)?;
            let Some((block, _, acker)) = mine.waiting.pop_front() else { break };
            if let Some(lease) = begun {
                mine.begun.insert(block, acker);
                mine.copies.got(block, self.start.elapsed());
                return Ok(Next::Block(lease));
            }
            self.tell(&acker, AckKind::Ack)?;
        }
        self.idle(mine)
    }

    fn renew(&self, leases: &[Lease], beat: &Beat) -> Result<Vec<Lease>, FarmError> {
        let ackers: Vec<Arc<Acker>> = {
            let mine = self.mine();
            let waiting = mine.waiting.iter().map(|(.., acker)| acker.clone());
            waiting.chain(mine.begun.values().cloned()).collect()
        };
        ackers.iter().try_for_each(|acker| self.tell(acker, AckKind::Progress))?;
        self.desk.ledger().put(&Entry::of_worker(self.desk.me()), &json(beat)?)?;
        let mut lost = Vec::new();
        for lease in leases {
            if self.desk.has_ended(lease.block, lease.attempt)? {
                lost.push(lease.clone());
            }
        }
        Ok(lost)
    }

    fn commit(&self, lease: &Lease, receipt: &Receipt) -> Result<Committed, FarmError> {
        let committed = self.desk.commit(lease, receipt)?;
        let acker = {
            let mine = &mut *self.mine();
            mine.copies.committed(lease.block, self.start.elapsed());
            mine.begun.remove(&lease.block)
        };
        if let Some(acker) = acker {
            // If this is lost, the block is delivered again, and found done.
            let _ = self.tell(&acker, AckKind::Ack);
        }
        Ok(committed)
    }

    fn fail(&self, lease: &Lease, ended: &Ended) -> Result<Fate, FarmError> {
        let fate = self.desk.end(lease, ended)?;
        let acker = {
            let mine = &mut *self.mine();
            mine.copies.gave_back(lease.block);
            mine.begun.remove(&lease.block)
        };
        if let Some(acker) = acker {
            let kind = if fate == Fate::Parked { AckKind::Ack } else { AckKind::Nak(None) };
            // If this is lost, the lease runs out.
            let _ = self.tell(&acker, kind);
        }
        Ok(fate)
    }

    fn has_result(&self, block: u64) -> Result<bool, FarmError> {
        Ok(self.desk.receipt(block)?.is_some())
    }

    fn progress(&self) -> Result<Progress, FarmError> {
        self.desk.progress(self.total)
    }
}

/// The queue of a job.
fn queue(job: &str) -> Config {
    Config {
        name: format!("farm-{job}"),
        description: Some("lithoburn: blocks of a job that are not done".into()),
        subjects: vec![format!("farm.{job}.*")],
        retention: RetentionPolicy::WorkQueue,
        storage: StorageType::File,
        duplicate_window: REMEMBERED,
        ..Config::default()
    }
}

fn workers(lease: Duration) -> pull::Config {
    pull::Config {
        durable_name: Some(WORKERS.into()),
        ack_policy: AckPolicy::Explicit,
        ack_wait: lease,
        // Tries are counted in the ledger.
        max_deliver: -1,
        max_ack_pending: 1 << 20,
        ..pull::Config::default()
    }
}
