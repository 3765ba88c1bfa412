//! Panics that are answers: caught with their message and their place, and not printed.
//!
//! A device that panics is news for a report, not for the terminal; but whoever mends it needs the line of the code.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};

thread_local! {
    /// How many calls of [`caught`] this thread is in.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
    /// Where it panicked last in one of them.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// How many [`Quiet`]s there are.
static QUIET: AtomicUsize = AtomicUsize::new(0);

/// A panic that was caught.
pub struct Panic {
    payload: Box<dyn Any + Send>,
    place: Option<String>,
}

impl Panic {
    /// What it carried.
    pub fn payload(&self) -> &(dyn Any + Send) {
        self.payload.as_ref()
    }

    /// Its message, if it carried one.
    pub fn message(&self) -> Option<&str> {
        let text = self.payload.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| self.payload.downcast_ref::<&str>().copied())
    }

    /// File, line and column; none if it was raised again by [`std::panic::resume_unwind`].
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }
}

/// The first line of its message, cut at 200 characters, and its place.
impl std::fmt::Display for Panic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = self.message().unwrap_or("no reason given");
        let line = text.lines().find(|line| !line.trim().is_empty()).unwrap_or(text);
        f.write_str(&line.trim().chars().take(200).collect::<String>())?;
        self.place.as_ref().map_or(Ok(()), |place| write!(f, " (at {place})"))
    }
}

impl std::fmt::Debug for Panic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Panic({self})")
    }
}

/// Runs something; a panic is an error, and is not printed.
///
/// # Errors
///
/// The [`Panic`]. What `work` had hold of may be half changed.
pub fn caught<T>(work: impl FnOnce() -> T) -> Result<T, Panic> {
    install_hook();
    PLACE.set(None);
    DEPTH.set(DEPTH.get() + 1);
    let result = catch_unwind(AssertUnwindSafe(work));
    DEPTH.set(DEPTH.get() - 1);
    result.map_err(|payload| Panic { payload, place: PLACE.take() })
}

/// While it lives, panics of all threads are silent: those that a driver's library has started are not ours to catch.
pub(crate) struct Quiet(());

impl Quiet {
    pub(crate) fn new() -> Self {
        install_hook();
        QUIET.fetch_add(1, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        QUIET.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Notes where caught panics were; all others go the usual way.
fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| match DEPTH.get() {
            0 if QUIET.load(Ordering::Relaxed) == 0 => usual(info),
            0 => {}
            _ => note(info),
        }));
    });
}

fn note(info: &PanicHookInfo<'_>) {
    PLACE.set(info.location().map(ToString::to_string));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_keeps_its_message_and_its_line() {
        let line = line!() + 1;
        let panic = caught(|| panic!("index {} is too large\nand more", 7)).expect_err("panics");
        assert_eq!(panic.message(), Some("index 7 is too large\nand more"));
        let place = format!("(at {}:{line}:", file!());
        let text = panic.to_string();
        assert!(text.starts_with("index 7 is too large (at ") && text.contains(&place), "{text}");
    }

    #[test]
    fn a_panic_that_was_raised_again_has_no_place_and_none_of_an_earlier_one() {
        let _first = caught(|| panic!("first")).expect_err("panics");
        let again = caught::<()>(|| std::panic::resume_unwind(Box::new("second")));
        assert_eq!(again.expect_err("panics").to_string(), "second");
        assert_eq!(caught(|| 3).expect("no panic"), 3);
    }

    #[test]
    fn a_panic_inside_a_caught_one_is_the_inner_ones() {
        let outer = caught(|| {
            let inner = caught::<()>(|| panic!("inner")).expect_err("panics");
            assert!(inner.place().is_some());
            1
        });
        assert_eq!(outer.expect("the inner one was caught"), 1);
        let odd = caught::<()>(|| std::panic::panic_any(7_u8)).expect_err("panics");
        assert!(odd.message().is_none() && odd.to_string().starts_with("no reason given"), "{odd}");
    }
}
