//! Object messages (OM).

/// An object message (OM2).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ObjectMessage {}
