//! What a device's thread does while the device computes.

use super::*;

/// A model whose batches compute until a gate is open.
struct Gated {
    signature: Signature,
    gate: Arc<AtomicBool>,
    prepared: Arc<AtomicUsize>,
}

impl Model for Gated {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn executor(&self, _device: &Device) -> Result<Box<dyn Executor>, Fault> {
        let (gate, prepared) = (self.gate.clone(), self.prepared.clone());
        Ok(Box::new(Gate { gate, prepared }))
    }
}

struct Gate {
    gate: Arc<AtomicBool>,
    prepared: Arc<AtomicUsize>,
}

impl Executor for Gate {
    fn pixels(&self) -> usize {
        1 << 20
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
    let model = Gated { signature, gate: gate.clone(), prepared: prepared.clone() };
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
