//! A queue with a bell: what a thread is told that waits for descriptors too.

use std::io;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

use crate::sys;

/// Where the thread is told.
#[derive(Debug)]
pub(super) struct QueueSender<T> {
    queue: Sender<T>,
    bell: Arc<EventFd>,
}

/// The thread's side.
#[derive(Debug)]
pub(super) struct QueueReceiver<T> {
    queue: Receiver<T>,
    bell: Arc<EventFd>,
}

/// Both sides of a new queue.
pub(super) fn queue<T>() -> io::Result<(QueueSender<T>, QueueReceiver<T>)> {
    let (send, receive) = mpsc::channel();
    let bell = Arc::new(EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?);
    Ok((QueueSender { queue: send, bell: bell.clone() }, QueueReceiver { queue: receive, bell }))
}

impl<T> QueueSender<T> {
    /// Tells the thread, if there is one.
    pub(in crate::spawn) fn tell(&self, news: T) {
        if self.queue.send(news).is_ok() {
            // A bell that cannot be rung is ringing.
            self.bell.write(1).ok();
        }
    }
}

impl<T> QueueReceiver<T> {
    /// Waits for news, for something to read elsewhere, or for this time. Gives whether there is something elsewhere.
    pub(in crate::spawn) fn wait(
        &self,
        elsewhere: Option<&impl AsFd>,
        until: Option<Instant>,
    ) -> io::Result<bool> {
        let mut looked_at = vec![PollFd::new(self.bell.as_fd(), PollFlags::POLLIN)];
        looked_at.extend(elsewhere.map(|other| PollFd::new(other.as_fd(), PollFlags::POLLIN)));
        sys::poll_until(&mut looked_at, until)?;
        if looked_at[0].any() == Some(true) {
            // Before the queue is read: who rings later is heard later.
            self.bell.read().ok();
        }
        Ok(looked_at.get(1).is_some_and(|other| other.any() == Some(true)))
    }

    /// The next news, if there are any.
    pub(in crate::spawn) fn next(&self) -> Option<T> {
        self.queue.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn what_is_told_ends_the_wait_once() {
        let (sender, queue) = queue().expect("an eventfd");
        sender.tell(1);
        sender.tell(2);
        assert!(!queue.wait(None::<&OwnedFd>, None).expect("the bell rings"));
        assert_eq!([queue.next(), queue.next(), queue.next()], [Some(1), Some(2), None]);
        assert!(!queue.wait(None::<&OwnedFd>, Some(Instant::now())).expect("it is over at once"));
    }
}
