//! Time in which the process ran.
//!
//! Deadlines tell devices that hang from devices that are slow. The wall's clock goes on while the process is stopped (Ctrl-Z)
//! or the machine sleeps, and no device worked in that time. So time is summed over short ticks, and of a tick that
//! was long only a second counts: then nobody ran.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How often somebody looks at the clock, at least.
const TICK: Duration = Duration::from_millis(200);
/// The most that counts between two looks: several ticks, for machines with much to do.
const LONGEST: Duration = Duration::from_secs(1);

/// A clock that stands still while the process does. Clones are the same clock.
#[derive(Clone, Debug)]
pub struct Clock(Arc<Dial>);

struct Dial {
    wall: Box<dyn Fn() -> Duration + Send + Sync>,
    hands: Mutex<Hands>,
}

#[derive(Debug, Default)]
struct Hands {
    /// The wall's clock, when this one was last looked at.
    wall: Duration,
    ran: Duration,
}

impl std::fmt::Debug for Dial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dial").field("hands", &self.hands).finish_non_exhaustive()
    }
}

impl Clock {
    /// The process's clock; a thread of its own looks at it.
    pub fn of_process() -> Self {
        static CLOCK: OnceLock<Clock> = OnceLock::new();
        let clock = CLOCK.get_or_init(|| {
            let start = Instant::now();
            let clock = Self::reading(move || start.elapsed());
            let ticking = clock.clone();
            let tick = move || {
                loop {
                    std::thread::sleep(TICK);
                    ticking.now();
                }
            };
            // Without that thread the clock goes as often as it is asked, and deadlines come later.
            let _ = std::thread::Builder::new().name("clock".into()).spawn(tick);
            clock
        });
        clock.clone()
    }

    /// A clock that sums the ticks of another one, at each look.
    pub fn reading(wall: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        let hands = Mutex::new(Hands { wall: wall(), ran: Duration::ZERO });
        Self(Arc::new(Dial { wall: Box::new(wall), hands }))
    }

    /// Time in which the process ran.
    pub fn now(&self) -> Duration {
        let mut hands = self.0.hands.lock().unwrap_or_else(PoisonError::into_inner);
        let wall = (self.0.wall)();
        let tick = wall.saturating_sub(hands.wall).min(LONGEST);
        *hands = Hands { wall, ran: hands.ran + tick };
        hands.ran
    }

    /// Time in which the process ran since then.
    pub fn since(&self, then: Duration) -> Duration {
        self.now().saturating_sub(then)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn the_hour_of_a_stopped_process_is_a_second() {
        let wall = Arc::new(AtomicU64::new(0));
        let clock = {
            let wall = wall.clone();
            Clock::reading(move || Duration::from_millis(wall.load(Ordering::Relaxed)))
        };
        for _ in 0..10 {
            wall.fetch_add(200, Ordering::Relaxed);
            clock.now();
        }
        assert_eq!(clock.now(), Duration::from_secs(2));
        wall.fetch_add(3_600_000, Ordering::Relaxed);
        assert_eq!(clock.now(), Duration::from_secs(3));
        assert_eq!(clock.since(Duration::from_secs(1)), Duration::from_secs(2));
    }

    #[test]
    fn the_clock_of_the_process_goes_with_the_walls() {
        let (clock, start) = (Clock::of_process(), Instant::now());
        let then = clock.now();
        std::thread::sleep(Duration::from_millis(30));
        let (ran, wall) = (clock.since(then), start.elapsed());
        assert!(Duration::from_millis(30) <= ran && ran <= wall, "{ran:?} of {wall:?}");
    }
}
