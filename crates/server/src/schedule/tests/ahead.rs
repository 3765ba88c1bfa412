//! What a device's thread does while the device computes.

use super::*;

/// A model whose batches compute until a gate is open.
struct Gated {
    signature: Signature,
    gate: Arc<AtomicBool>,
    prepared: Arc<AtomicUsize>,
    hands: usize,
}

impl Model for Gated {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn executor(&self, _device: &Device) -> Result<Box<dyn Executor>, Fault> {
        let (gate, prepared, hands) = (self.gate.clone(), self.prepared.clone(), self.hands);
        Ok(Box::new(Gate { gate, prepared, hands }))
    }
}

struct Gate {
    gate: Arc<AtomicBool>,
    prepared: Arc<AtomicUsize>,
    hands: usize,
}

impl Executor for Gate {
    fn pixels(&self) -> usize {
        1 << 20
    }

    fn hands(&self) -> usize {
        self.hands
    }

    fn warm_up(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn prepare(&mut self, batch: &Batch) -> Result<Box<dyn Work>, Fault> {
        self.prepared.fetch_add(batch.requests.len(), Ordering::SeqCst);
        let answers = batch.requests.iter().map(|request| request.inputs.clone()).collect();
        Ok(Box::new(Shut { gate: self.gate.clone(), answers }))
    }
}

struct Shut {
    gate: Arc<AtomicBool>,
    answers: Vec<Answer>,
}

impl Work for Shut {
    fn settles_within(&mut self, time: Duration) -> bool {
        std::thread::sleep(time);
        self.gate.load(Ordering::SeqCst)
    }

    fn finish(&mut self) -> Result<(), Fault> {
        while !self.gate.load(Ordering::SeqCst) {
            std::thread::sleep(MS);
        }
        Ok(())
    }

    fn collect(self: Box<Self>) -> Result<Vec<Answer>, Fault> {
        Ok(self.answers)
    }
}

/// Requests of the second batch come when the first one computes already, as clients that were just answered come back.
#[tokio::test]
async fn a_batch_that_gets_full_while_the_last_one_computes_is_prepared_then() {
    let signature = Sleeping::new("tile", MS, MS, 2).signature().clone();
    let (gate, prepared) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let model = Gated { signature, gate: gate.clone(), prepared: prepared.clone(), hands: 1 };
    let scheduler = serving(1, model, Terms::default()).await;
    let submit = |k| scheduler.submit("tile", None, square(4, k), Urgency::default());
    let reaches = async |expected: usize| {
        while prepared.load(Ordering::SeqCst) < expected {
            tokio::time::sleep(MS).await;
        }
    };
    let first = submit(0).expect("let in");
    reaches(1).await;
    let rest: Vec<_> = (1..4).map(|k| submit(k).expect("let in")).collect();
    // It would wait for ever if that were done only when the first is computed.
    tokio::time::timeout(Duration::from_secs(60), reaches(3)).await.expect("two are prepared");
    assert_eq!(prepared.load(Ordering::SeqCst), 3, "the last one may get company");
    gate.store(true, Ordering::SeqCst);
    for (ticket, k) in std::iter::once(first).chain(rest).zip(0..) {
        assert_eq!(value(&ticket.answer().await.expect("answered")), k);
    }
}

/// A batch that never ends, unless the other one computes beside it.
struct Meeting {
    meets: Arc<std::sync::Barrier>,
    launched: Option<std::thread::JoinHandle<()>>,
    answers: Vec<Answer>,
}

impl Work for Meeting {
    fn launch(&mut self) -> Result<(), Fault> {
        let meets = self.meets.clone();
        self.launched = Some(std::thread::spawn(move || {
            meets.wait();
        }));
        Ok(())
    }

    fn settles_within(&mut self, time: Duration) -> bool {
        std::thread::sleep(time);
        self.launched.as_ref().is_some_and(std::thread::JoinHandle::is_finished)
    }

    fn finish(&mut self) -> Result<(), Fault> {
        let launched = self.launched.take().map(std::thread::JoinHandle::join);
        launched.map_or(Ok(()), |ended| ended.map_err(|panic| Fault::of_panic(panic.as_ref())))
    }

    fn collect(self: Box<Self>) -> Result<Vec<Answer>, Fault> {
        Ok(self.answers)
    }
}

struct Pair(Signature, Arc<std::sync::Barrier>);

impl Model for Pair {
    fn signature(&self) -> &Signature {
        &self.0
    }

    fn executor(&self, _device: &Device) -> Result<Box<dyn Executor>, Fault> {
        Ok(Box::new(Self(self.0.clone(), self.1.clone())))
    }
}

impl Executor for Pair {
    fn pixels(&self) -> usize {
        2 * 16
    }

    fn hands(&self) -> usize {
        2
    }

    fn warm_up(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn prepare(&mut self, batch: &Batch) -> Result<Box<dyn Work>, Fault> {
        let answers = batch.requests.iter().map(|request| request.inputs.clone()).collect();
        Ok(Box::new(Meeting { meets: self.1.clone(), launched: None, answers }))
    }
}

/// Time that both compute is the device's once: it never computes for more than there is.
#[tokio::test]
async fn a_device_of_two_hands_computes_two_batches_at_once_and_no_more_than_all_the_time() {
    let signature = Sleeping::new("tile", MS, MS, 8).signature().clone();
    let model = Pair(signature, Arc::new(std::sync::Barrier::new(2)));
    let start = std::time::Instant::now();
    let scheduler = serving(1, model, Terms::default()).await;
    let submit = |k| scheduler.submit("tile", None, square(4, k), Urgency::default());
    let tickets: Vec<_> = (0..8).map(|k| submit(k).expect("let in")).collect();
    for (ticket, k) in tickets.into_iter().zip(0..) {
        let answered = tokio::time::timeout(Duration::from_secs(60), ticket.answer()).await;
        assert_eq!(value(&answered.expect("they meet").expect("answered")), k);
    }
    let counts = &scheduler.snapshot().devices[0].counts;
    assert_eq!((counts.batches, counts.items), (8, 8));
    assert!(Duration::from_nanos(counts.infer_ns) <= start.elapsed());
}
