//! A queue whose receiver can wait for a descriptor too: an eventfd is readable while the queue has messages.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags};

use crate::sys::{self, Wakeup};

/// The sender's side.
#[derive(Debug)]
pub(super) struct QueueSender<T> {
    queue: Sender<T>,
    wakeup: Arc<Wakeup>,
}

/// The receiving thread's side.
#[derive(Debug)]
pub(super) struct QueueReceiver<T> {
    queue: Receiver<T>,
    wakeup: Arc<Wakeup>,
}

/// Both sides of a new queue.
pub(super) fn queue<T>() -> io::Result<(QueueSender<T>, QueueReceiver<T>)> {
    let (send, receive) = mpsc::channel();
    let wakeup = Arc::new(Wakeup::new()?);
    Ok((QueueSender { queue: send, wakeup: wakeup.clone() }, QueueReceiver { queue: receive, wakeup }))
}

impl<T> QueueSender<T> {
    /// Sends `news` to the thread; nothing, if the thread has ended.
    pub(in crate::spawn) fn tell(&self, news: T) {
        if self.queue.send(news).is_ok() {
            self.wakeup.wake();
        }
    }
}

impl<T> QueueReceiver<T> {
    /// Waits for news, for a descriptor `elsewhere` to become readable, or until `until`. Gives whether one
    /// of those is readable.
    pub(in crate::spawn) fn wait(
        &self,
        elsewhere: &[BorrowedFd<'_>],
        until: Option<Instant>,
    ) -> io::Result<bool> {
        let mut looked_at = vec![PollFd::new(self.wakeup.as_fd(), PollFlags::POLLIN)];
        looked_at.extend(elsewhere.iter().map(|other| PollFd::new(*other, PollFlags::POLLIN)));
        sys::poll_until(&mut looked_at, until)?;
        if looked_at[0].any() == Some(true) {
            // Cleared before the queue is read: news that arrive later make the eventfd readable again.
            self.wakeup.clear();
        }
        Ok(looked_at[1..].iter().any(|other| other.any() == Some(true)))
    }

    /// The next news, if there are any.
    pub(in crate::spawn) fn next(&self) -> Option<T> {
        self.queue.try_recv().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_ends_the_wait_once() {
        let (sender, queue) = queue().expect("an eventfd");
        sender.tell(1);
        sender.tell(2);
        assert!(!queue.wait(&[], None).expect("it is woken"));
        assert_eq!([queue.next(), queue.next(), queue.next()], [Some(1), Some(2), None]);
        assert!(!queue.wait(&[], Some(Instant::now())).expect("it is over at once"));
    }
}
