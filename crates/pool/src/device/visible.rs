//! Which of a host's CUDA cards the driver looks at.
//!
//! CUDA's driver readies every card that it sees before it answers anything, whichever of them is used: a quarter of a second each. It
//! numbers those that it sees; users' numbers are those of all cards.

use std::sync::OnceLock;

use super::name::DeviceName;

/// The driver's list of the cards that it sees, which it reads once.
const VISIBLE: &str = "CUDA_VISIBLE_DEVICES";
/// The same list where we wrote it: in processes that this one starts, too, cards keep the numbers of all cards.
const OURS: &str = "LITHOBURN_CARDS";

/// Hides from CUDA's driver the cards that are not wanted, so that it opens sooner. Names stay what they are. Nothing is hidden where a
/// user has listed the visible cards, or where any other device may be chosen.
///
/// Call it in `main`, before any thread is started. Processes that this one starts see what it sees.
#[allow(unsafe_code, reason = "the only way to set a variable; sound while there is one thread")]
pub fn hide_other_cards(wanted: &[DeviceName]) {
    if let (None, Some(list)) = (std::env::var_os(VISIBLE), listed(wanted)) {
        for name in [VISIBLE, OURS] {
            // SAFETY: documented above; nothing else reads or writes the environment now.
            unsafe { std::env::set_var(name, &list) };
        }
    }
}

/// The numbers of the cards that are wanted, as the driver reads them; none if anything but a card may be chosen.
fn listed(wanted: &[DeviceName]) -> Option<String> {
    let mut cards = wanted.iter().map(|name| name.card()).collect::<Option<Vec<usize>>>()?;
    cards.sort_unstable();
    cards.dedup();
    let numbers: Vec<String> = cards.iter().map(usize::to_string).collect();
    (!numbers.is_empty()).then(|| numbers.join(","))
}

/// The cards that the driver shows, by their numbers among all; none if we hid none.
struct Shown(Option<Vec<usize>>);

impl Shown {
    /// What this process's driver shows.
    fn now() -> &'static Self {
        static SHOWN: OnceLock<Shown> = OnceLock::new();
        SHOWN.get_or_init(|| Self::of([VISIBLE, OURS].map(|name| std::env::var(name).ok())))
    }

    /// The driver's list, if it is ours.
    fn of([visible, ours]: [Option<String>; 2]) -> Self {
        let list = ours.filter(|ours| visible.as_ref() == Some(ours));
        let numbers = |list: String| list.split(',').map(|number| number.parse().ok()).collect();
        Self(list.and_then(numbers))
    }

    #[cfg(any(feature = "gpu", test))]
    fn number(&self, place: usize) -> Option<usize> {
        self.0.as_ref().map_or(Some(place), |cards| cards.get(place).copied())
    }

    #[cfg(any(feature = "cuda", test))]
    fn place(&self, number: usize) -> Option<usize> {
        let among = |cards: &Vec<usize>| cards.iter().position(|&card| card == number);
        self.0.as_ref().map_or(Some(number), among)
    }
}

/// Whether cards are hidden that the machine may have.
pub(super) fn is_partial() -> bool {
    Shown::now().0.is_some()
}

/// A card's number among all, by its place among those that the driver shows; none beyond them.
#[cfg(feature = "gpu")]
pub(super) fn number(place: usize) -> Option<usize> {
    Shown::now().number(place)
}

/// A card's place among those that the driver shows, by its number among all; none if it is hidden.
#[cfg(feature = "cuda")]
pub(super) fn place(number: usize) -> Option<usize> {
    Shown::now().place(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(names: &[&str]) -> Option<String> {
        let names = names.iter().map(|name| name.parse().expect("a device"));
        listed(&names.collect::<Vec<_>>())
    }

    #[test]
    fn cards_that_are_wanted_are_listed_once_in_their_order() {
        assert_eq!(list(&["cuda"]), Some("0".into()));
        assert_eq!(list(&["cuda:3", "cuda:0", "cuda:3"]), Some("0,3".into()));
    }

    #[test]
    fn nothing_is_hidden_where_another_device_may_be_chosen() {
        for names in [&["auto"][..], &["cuda:0", "cpu"], &["vulkan"], &[]] {
            assert_eq!(list(names), None, "{names:?}");
        }
    }

    fn shown(visible: Option<&str>, ours: Option<&str>) -> Shown {
        Shown::of([visible, ours].map(|list| list.map(String::from)))
    }

    #[test]
    fn a_card_that_is_shown_has_its_number_among_all_and_one_that_is_hidden_has_no_place() {
        let shown = shown(Some("1,3"), Some("1,3"));
        assert_eq!([0, 1, 2].map(|place| shown.number(place)), [Some(1), Some(3), None]);
        assert_eq!([0, 1, 2, 3].map(|card| shown.place(card)), [None, Some(0), None, Some(1)]);
    }

    /// A list that a user wrote numbers its cards anew, as for CUDA's own programs.
    #[test]
    fn only_our_own_list_keeps_the_numbers_of_all_cards() {
        for (visible, ours) in [
            (Some("2"), None),
            (Some("2"), Some("0,3")),
            (None, Some("0,3")),
            (Some("GPU-1"), Some("GPU-1")),
            (None, None),
        ] {
            let shown = shown(visible, ours);
            assert_eq!((shown.number(2), shown.place(2)), (Some(2), Some(2)), "{visible:?}");
        }
    }
}
