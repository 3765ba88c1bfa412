use super::*;

fn entries() -> Vec<Entry> {
    vec![
        Entry::of_try(Kind::Lease, 7, 2),
        Entry::of_try(Kind::Failed, 0, 1),
        Entry::of_try(Kind::Released, 98_304, 3),
        Entry::of_block(Kind::Receipt, 12),
        Entry::of_block(Kind::Parked, 1),
        Entry::of_block(Kind::Mismatch, 1),
        Entry::of_worker("rack7-node-12-ab3f"),
        Entry::drain(),
    ]
}

#[test]
fn an_entry_is_read_as_it_is_written() {
    for entry in entries() {
        assert_eq!(entry.to_string().parse(), Ok(entry));
    }
    for text in ["", "lease", "lease.1", "lease.a.1", "receipt.-1", "what.1", ".lease.1.1"] {
        assert!(text.parse::<Entry>().is_err(), "{text}");
    }
}
