//! The notifications of a call's progress, for a client that asked for them: waiting, begun, and then the
//! bytes so far about every second. They are sent by a task of their own, so that a client that does not read
//! them holds up nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use rmcp::RoleServer;
use rmcp::model::{ProgressNotificationParam, ProgressToken};
use rmcp::service::{Peer, RequestContext};
use sluice::client::RequestEvent;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time;

use crate::limits::PROGRESS_PERIOD;

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CallPhase {
    /// The request is on its way.
    Asked,
    /// This many calls are under way here, and no more may be.
    Held { limit: usize },
    /// This many calls of the broker's run, and no more may run.
    Queued { limit: u32 },
    /// It runs.
    Begun { call: u64 },
}

/// What is told of a call, while it lives.
#[derive(Debug)]
pub(crate) struct CallProgress {
    phase: watch::Sender<CallPhase>,
    /// The bytes that came from the command.
    pub(crate) bytes: Arc<AtomicUsize>,
    teller: Option<JoinHandle<()>>,
}

impl CallProgress {
    /// Begins to tell the client, if it gave a token.
    pub(crate) fn new(context: &RequestContext<RoleServer>) -> Self {
        let (phase, phases) = watch::channel(CallPhase::Asked);
        let bytes = Arc::new(AtomicUsize::new(0));
        let teller = context.meta.get_progress_token().map(|token| {
            let teller = ProgressTeller { token, peer: context.peer.clone(), began: Instant::now(), phases };
            tokio::spawn(teller.run(Arc::clone(&bytes)))
        });
        Self { phase, bytes, teller }
    }

    /// Tells that the call waits here.
    pub(crate) fn hold(&self, limit: usize) {
        self.phase.send_replace(CallPhase::Held { limit });
    }

    /// Tells what the broker said.
    pub(crate) fn hear(&self, event: &RequestEvent) {
        match *event {
            RequestEvent::Queued { limit } => self.phase.send_replace(CallPhase::Queued { limit }),
            RequestEvent::Started { call } => self.phase.send_replace(CallPhase::Begun { call }),
            RequestEvent::Ended(_) | RequestEvent::Listing(_) => return,
        };
    }
}

impl Drop for CallProgress {
    fn drop(&mut self) {
        if let Some(teller) = &self.teller {
            teller.abort();
        }
    }
}

struct ProgressTeller {
    token: ProgressToken,
    peer: Peer<RoleServer>,
    began: Instant,
    phases: watch::Receiver<CallPhase>,
}

impl ProgressTeller {
    /// Sends at each change of the phase, and once in a period. The progress is the seconds since the call
    /// was asked for, which only rise.
    async fn run(mut self, bytes: Arc<AtomicUsize>) {
        loop {
            let is_over = tokio::select! {
                changed = self.phases.changed() => changed.is_err(),
                () = time::sleep(PROGRESS_PERIOD) => false,
            };
            if is_over {
                return;
            }
            let phase = *self.phases.borrow_and_update();
            let message = told(phase, bytes.load(Ordering::Relaxed));
            let progress =
                ProgressNotificationParam::new(self.token.clone(), self.began.elapsed().as_secs_f64());
            if self.peer.notify_progress(progress.with_message(message)).await.is_err() {
                return;
            }
        }
    }
}

fn told(phase: CallPhase, bytes: usize) -> String {
    match phase {
        CallPhase::Asked => "asked; the broker has not answered yet".to_owned(),
        CallPhase::Held { limit } => format!("waiting: {limit} calls are under way from here"),
        CallPhase::Queued { limit } => format!("waiting: {limit} calls run, and no more may at once"),
        CallPhase::Begun { call } if bytes == 0 => format!("call {call} runs"),
        CallPhase::Begun { call } => format!("call {call} runs; {bytes} bytes of output so far"),
    }
}
