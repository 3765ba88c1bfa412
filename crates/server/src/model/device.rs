//! A device, as clients and metrics name it.

use std::fmt;

/// A device that computes, by name alone: what it is, only a model knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Device {
    /// Its name, e.g. `cuda:0`: the label of its metrics.
    pub name: String,
    /// Its unique id if it is a card that has one, e.g. `GPU-8f7b…`.
    pub uuid: Option<String>,
}

impl Device {
    /// A device of this name, without an id.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), uuid: None }
    }

    /// With a unique id.
    #[must_use]
    pub fn with_uuid(self, uuid: impl Into<String>) -> Self {
        Self { uuid: Some(uuid.into()), ..self }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.name)
    }
}
