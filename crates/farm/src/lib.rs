//! Blocks of a layout, handed to any number of machines, and their results, exactly once each.
