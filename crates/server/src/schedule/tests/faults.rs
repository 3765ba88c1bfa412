//! Devices that fail, panic and hang: no request is lost.

use super::*;

/// What a device does with its n-th batch.
type Plan = fn(&str, usize, &Batch) -> Result<(), Fault>;

/// A model whose devices fail as planned; otherwise it answers with its input.
struct Failing {
    signature: Signature,
    plan: Plan,
}

fn failing(plan: Plan) -> Failing {
    let signature = Sleeping::new("tile", MS, MS, 4).signature().clone();
    Failing { signature, plan }
}

impl Model for Failing {
    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn executor(&self, device: &Device) -> Result<Box<dyn Executor>, Fault> {
        Ok(Box::new(Half { plan: self.plan, device: device.name.clone(), batches: 0 }))
    }
}

struct Half {
    plan: Plan,
    device: String,
    batches: usize,
}

impl Executor for Half {
    fn pixels(&self) -> usize {
        1 << 20
    }

    fn warm_up(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn prepare(&mut self, batch: &Batch) -> Result<Box<dyn Work>, Fault> {
        self.batches += 1;
        let outcome = (self.plan)(&self.device, self.batches, batch);
        let answers = batch.requests.iter().map(|request| request.inputs.clone()).collect();
        Ok(Box::new(Echo { outcome, answers }))
    }
}

struct Echo {
    outcome: Result<(), Fault>,
    answers: Vec<Answer>,
}

impl Work for Echo {
    fn finish(&mut self) -> Result<(), Fault> {
        std::thread::sleep(MS);
        self.outcome.clone()
    }

    fn collect(self: Box<Self>) -> Result<Vec<Answer>, Fault> {
        Ok(self.answers)
    }
}

/// Sends 40 requests; all have to be answered.
async fn all_answered(scheduler: &Scheduler) {
    let submit = |k| scheduler.submit("tile", None, square(4, k), Urgency::default());
    let tickets: Vec<_> = (0..40_u8).map(|k| submit(k).expect("let in")).collect();
    for (ticket, k) in tickets.into_iter().zip(0..) {
        assert_eq!(value(&ticket.answer().await.expect("answered")), k);
    }
    assert_eq!(scheduler.snapshot().models[0].counts.success.count, 40);
    assert_eq!(scheduler.snapshot().models[0].counts.fail.count, 0);
}

#[tokio::test]
async fn a_lost_device_costs_no_request_and_readiness_is_degraded() {
    let plan: Plan = |device, n, _| match (device, n) {
        ("sleeping:1", 2) => Err(Fault::Lost("fallen off the bus".into())),
        _ => Ok(()),
    };
    let scheduler = serving(2, failing(plan), Terms::default()).await;
    assert_eq!(scheduler.readiness(), Readiness::Ready);
    all_answered(&scheduler).await;
    let Readiness::Degraded(problems) = scheduler.readiness() else { panic!("not degraded") };
    assert!(problems[0].contains("sleeping:1") && problems[0].contains("bus"), "{problems:?}");
    assert!(scheduler.stop(Duration::from_secs(5)).await);
}

#[tokio::test]
async fn a_panic_costs_no_request() {
    // An executor is made anew after a panic; requests pass alone.
    let plan: Plan = |device, n, batch| {
        let panics = device == "sleeping:0" && n == 2 && batch.requests.len() > 1;
        assert!(!panics, "index out of bounds");
        Ok(())
    };
    let scheduler = serving(2, failing(plan), Terms::default()).await;
    all_answered(&scheduler).await;
}

#[tokio::test]
async fn a_batch_that_does_not_fit_is_tried_in_halves() {
    let plan: Plan = |_, _, batch| match batch.requests.len() {
        1 | 2 => Ok(()),
        n => Err(Fault::OutOfMemory(format!("{n} tiles"))),
    };
    let scheduler = serving(1, failing(plan), Terms::default()).await;
    all_answered(&scheduler).await;
    assert!(scheduler.snapshot().models[0].counts.batches.keys().all(|&items| items <= 2));
}

#[tokio::test]
async fn the_one_request_that_is_wrong_is_found_and_the_others_of_its_batch_are_answered() {
    let plan: Plan = |_, _, batch| {
        let wrong = |request: &Arc<Request>| request.inputs[0].to_f32().is_ok_and(|v| v[0] == 13.0);
        match batch.requests.iter().any(wrong) {
            true => Err(Fault::Request("13 is no pixel".into())),
            false => Ok(()),
        }
    };
    let scheduler = serving(2, failing(plan), Terms::default()).await;
    let submit = |k| scheduler.submit("tile", None, square(4, k), Urgency::default());
    let tickets: Vec<_> = (0..40_u8).map(|k| submit(k).expect("let in")).collect();
    for (ticket, k) in tickets.into_iter().zip(0..) {
        match ticket.answer().await {
            Ok(answered) => assert_eq!(value(&answered), k),
            Err(refusal) => assert_eq!((k, refusal), (13, Refusal::Wrong("13 is no pixel".into()))),
        }
    }
    assert_eq!(refused(&scheduler, Reason::Invalid), 1);
}

#[tokio::test]
async fn a_device_that_hangs_is_given_up_and_its_requests_are_done_elsewhere() {
    let plan: Plan = |device, n, _| {
        if device == "sleeping:0" && n == 2 {
            std::thread::sleep(Duration::from_secs(3));
        }
        Ok(())
    };
    let terms = Terms {
        first_patience: Duration::from_secs(1),
        least_patience: Duration::from_secs(1),
        ..Terms::default()
    };
    let scheduler = serving(2, failing(plan), terms).await;
    all_answered(&scheduler).await;
    assert!(matches!(scheduler.readiness(), Readiness::Degraded(_)));
}

#[tokio::test]
async fn a_request_that_breaks_every_device_is_given_up_and_so_are_they_never_the_server() {
    let plan: Plan = |_, _, _| Err(Fault::Broken("kernel panics".into()));
    let scheduler = serving(2, failing(plan), Terms::default()).await;
    let submit = || scheduler.submit("tile", None, square(4, 0), Urgency::default());
    let refusal = submit().expect("let in").answer().await.expect_err("broken");
    assert!(matches!(refusal, Refusal::Failed { tries: 3, .. }), "{refusal}");
    let mut last = None;
    for _ in 0..5 {
        last = match submit() {
            Ok(ticket) => ticket.answer().await.err(),
            Err(refusal) => Some(refusal),
        };
    }
    assert!(matches!(last, Some(Refusal::NoDevice(_) | Refusal::NotReady { .. })), "{last:?}");
    assert!(matches!(scheduler.readiness(), Readiness::Failed(_)));
}
