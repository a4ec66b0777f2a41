//! Memory of acknowledged messages, for those that are published next.
//!
//! The memory of a publish lives until the acknowledgement. Allocators are slow with memory of that kind: with many
//! publishes in flight, none of it is returned soon enough to be at hand.

use std::sync::{Arc, Mutex};

use capably_protocol::Message;

use crate::sync::lock;

/// Memory for single messages.
#[derive(Debug, Default)]
pub(crate) struct SpareMessages(Mutex<Vec<Arc<[Message]>>>);

/// How much memory is kept at most, in messages.
const MAX_SPARE: usize = 128;

impl SpareMessages {
    /// Takes the memory of messages that nobody has any more, as far as there is room. The vector is empty afterwards.
    pub(crate) fn refill(&self, spent: &mut Vec<Arc<[Message]>>) {
        if !spent.is_empty() {
            let mut spare = lock(&self.0);
            let room = MAX_SPARE - spare.len();
            spare.extend(spent.drain(..).take(room));
        }
    }

    /// The message in memory that can be shared.
    pub(crate) fn share(&self, message: Message) -> Arc<[Message]> {
        let spare = lock(&self.0).pop();
        if let Some(mut messages) = spare
            && let Some([place]) = Arc::get_mut(&mut messages)
        {
            *place = message;
            return messages;
        }
        [message].into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_in_spare_memory_if_there_is_any() {
        let spare = SpareMessages::default();
        let first = spare.share(Message::new("a", "data"));
        let place = first.as_ptr();
        spare.refill(&mut vec![first]);
        let [again, new] = ["b", "c"].map(|name| spare.share(Message::new(name, "data")));
        assert_eq!((&*again, again.as_ptr()), (&[Message::new("b", "data")][..], place));
        assert_eq!(*new, [Message::new("c", "data")]);
    }

    #[test]
    fn memory_that_is_still_in_use_stays_as_it_is() {
        let spare = SpareMessages::default();
        let used = spare.share(Message::new("a", "data"));
        spare.refill(&mut vec![Arc::clone(&used)]);
        assert_eq!(*spare.share(Message::new("b", "data")), [Message::new("b", "data")]);
        assert_eq!(*used, [Message::new("a", "data")]);
    }

    #[test]
    fn the_memory_that_is_kept_is_bounded() {
        let spare = SpareMessages::default();
        for _ in 0..3 {
            let mut spent = vec![Arc::from([Message::default()]); 100];
            spare.refill(&mut spent);
            assert!(spent.is_empty());
        }
        assert_eq!(lock(&spare.0).len(), MAX_SPARE);
    }
}
