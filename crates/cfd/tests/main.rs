//! The flow solver against closed forms, published tables, and itself.

mod closed_forms;
mod golden;
mod gradients;
mod published;
mod unsteady;
