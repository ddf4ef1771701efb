//! The server: lists the tools, makes calls, and tells the client when the rules have changed.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rmcp::model::{
    CallToolRequestParams, CallToolResponse, ErrorData, Implementation, ListToolsResult,
    PaginatedRequestParams, ServerCapabilities, ServerConfig, SubscriptionFilter,
};
use rmcp::service::{NotificationContext, Peer, RequestContext, SubscriptionContext, SubscriptionSink};
use rmcp::{RoleServer, ServerHandler};
use sluice::client::{CallFailure, RequestEvent};
use tokio::sync::{Semaphore, watch};
use tokio::time;
use tokio_util::sync::CancellationToken;

use crate::failure;
use crate::limits::{CALLS_AT_ONCE_MAX, LISTING_PERIOD, LISTING_PERIOD_SILENT, LISTING_WAIT, SILENCE_LEAST};
use crate::listing::Listing;
use crate::place::BrokerPlace;
use crate::progress::CallProgress;
use crate::report::CallReport;
use crate::request::AsyncRequest;
use crate::streams::CallStreams;
use crate::tools::{AskedCommand, RuleTool, ToolSet};

/// What a client is told of this server.
const INSTRUCTIONS: &str = "Each tool is a command that a rule allows to be run outside of the sandbox. Its answer has the \
    exit status, stdout and stderr. What no rule allows is refused, with the reason; every call is on record.";

/// The server of one client.
#[derive(Clone, Debug)]
pub(crate) struct GateServer(Arc<ServerState>);

#[derive(Debug)]
struct ServerState {
    place: BrokerPlace,
    /// Cancelled once the client has closed this program's stdin.
    client_gone: CancellationToken,
    known: Mutex<KnownTools>,
    /// Counts the changes of which the client has to be told.
    changes: watch::Sender<u64>,
    places: Semaphore,
}

/// What is known of the broker's rules.
#[derive(Debug, Default)]
struct KnownTools {
    tools: Option<Arc<ToolSet>>,
    /// The client has asked for the tools, and wants to hear of others.
    is_asked: bool,
    looked: Option<Instant>,
    /// When the client asked for something.
    asked: Option<Instant>,
}

impl KnownTools {
    /// Whether it is time to look at the listing again.
    fn is_due(&self, now: Instant) -> bool {
        let since = |past: Option<Instant>| past.map(|past| now.duration_since(past));
        let is_silent = since(self.asked).is_none_or(|silence| silence >= SILENCE_LEAST);
        // Several listeners have one look, though their clocks differ.
        let period = if is_silent { LISTING_PERIOD_SILENT } else { LISTING_PERIOD / 2 };
        since(self.looked).is_none_or(|past| past >= period)
    }
}

/// Why the listing was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LookReason {
    /// The client asked, and gets what is found.
    Asked,
    /// To see whether it has changed.
    Watch,
}

/// The way in which a client hears of a change.
#[derive(Debug)]
enum ChangeSink {
    Session(Peer<RoleServer>),
    Subscription(SubscriptionSink),
}

impl ChangeSink {
    /// Whether the client could be told.
    async fn tell(&self) -> bool {
        match self {
            Self::Session(peer) => peer.notify_tool_list_changed().await.is_ok(),
            Self::Subscription(sink) => sink.notify_tool_list_changed().await.is_ok(),
        }
    }
}

impl GateServer {
    /// A server that asks the broker at `place`.
    pub(crate) fn new(place: BrokerPlace, client_gone: CancellationToken) -> Self {
        let known = Mutex::new(KnownTools::default());
        let (changes, _) = watch::channel(0);
        let places = Semaphore::new(CALLS_AT_ONCE_MAX);
        Self(Arc::new(ServerState { place, client_gone, known, changes, places }))
    }

    fn known(&self) -> MutexGuard<'_, KnownTools> {
        self.0.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The tool of this name. Where it is not known, the rules may have changed.
    async fn tool(&self, name: &str) -> Result<RuleTool, String> {
        let known = self.known().tools.as_ref().and_then(|tools| tools.named(name));
        if let Some(tool) = known {
            return Ok(tool);
        }
        let tools = self.look(LookReason::Watch).await?;
        tools
            .named(name)
            .ok_or_else(|| format!("there is no tool {name:?}: the rules have changed, or never had it"))
    }

    /// Asks the broker for its listing, and keeps it.
    async fn look(&self, reason: LookReason) -> Result<Arc<ToolSet>, String> {
        let listing = time::timeout(LISTING_WAIT, ask_listing(&self.0.place)).await;
        let place = &self.0.place;
        let listing = match listing {
            Ok(asked) => asked.map_err(|failure| failure::told(&failure, place))?,
            Err(_) => {
                return Err(format!(
                    "the broker on {} does not answer; outside, `systemctl --user status sluice@NAME` says why",
                    place.shown()
                ));
            }
        };
        let listing = serde_json::from_str(&listing)
            .map_err(|why| format!("the listing of the broker on {} cannot be read: {why}", place.shown()))?;
        Ok(self.keep(listing, reason))
    }

    fn keep(&self, listing: Listing, reason: LookReason) -> Arc<ToolSet> {
        let mut known = self.known();
        let is_news = known.is_asked && reason == LookReason::Watch;
        known.is_asked |= reason == LookReason::Asked;
        if let Some(same) = known.tools.as_ref().filter(|tools| tools.listing == listing) {
            return Arc::clone(same);
        }
        let tools = Arc::new(ToolSet::new(listing));
        known.tools = Some(Arc::clone(&tools));
        drop(known);
        if is_news {
            self.0.changes.send_modify(|changes| *changes += 1);
        }
        tools
    }

    /// Looks at the listing, if it is time. A broker that cannot be asked is asked again.
    async fn look_when_due(&self) {
        let now = Instant::now();
        let is_due = self.known().is_due(now);
        if is_due {
            self.known().looked = Some(now);
            self.look(LookReason::Watch).await.ok();
        }
    }

    /// Tells of each change until the client is gone.
    async fn tell_changes(self, sink: ChangeSink) {
        let mut changes = self.0.changes.subscribe();
        let mut looks = time::interval(LISTING_PERIOD);
        looks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = looks.tick() => self.look_when_due().await,
                changed = changes.changed() => {
                    if changed.is_err() || !sink.tell().await {
                        return;
                    }
                }
                () = self.0.client_gone.cancelled() => return,
            }
        }
    }

    /// Makes a call, to its end.
    async fn run(&self, command: AskedCommand, progress: &CallProgress) -> CallReport {
        let place = match self.0.places.try_acquire() {
            Ok(place) => Ok(place),
            Err(_) => {
                progress.hold(CALLS_AT_ONCE_MAX);
                self.0.places.acquire().await
            }
        };
        let report = run(&self.0.place, command, progress).await;
        drop(place);
        report
    }
}

async fn ask_listing(place: &BrokerPlace) -> Result<String, CallFailure> {
    let mut request = AsyncRequest::list(place.clone()).await?;
    loop {
        if let RequestEvent::Listing(text) = request.next_event().await? {
            return Ok(text);
        }
    }
}

async fn run(place: &BrokerPlace, command: AskedCommand, progress: &CallProgress) -> CallReport {
    let (streams, stdio) = match CallStreams::new(command.stdin) {
        Ok(made) => made,
        Err(error) => return CallReport::error(failure::local(&error)),
    };
    let mut request = match AsyncRequest::call(place.clone(), command.words, stdio).await {
        Ok(request) => request,
        Err(failure) => return CallReport::failed(&failure, place, None),
    };
    let ended = CancellationToken::new();
    let follow = async {
        let end = request.end(|event| progress.hear(event)).await;
        ended.cancel();
        end
    };
    let bytes: &AtomicUsize = &progress.bytes;
    let (end, outputs) = tokio::join!(follow, streams.run(bytes, &ended));
    match end {
        Ok(end) => CallReport::ended(end, request.number(), outputs),
        Err(failure) => {
            let (stdout, stderr) = outputs;
            CallReport { stdout, stderr, ..CallReport::failed(&failure, place, request.number()) }
        }
    }
}

impl ServerHandler for GateServer {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder().enable_tools().enable_tool_list_changed().build();
        let name = Implementation::new(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        ServerConfig::new(capabilities).with_server_info(name).with_instructions(INSTRUCTIONS)
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.known().asked = Some(Instant::now());
        match self.look(LookReason::Asked).await {
            Ok(tools) => Ok(ListToolsResult::with_all_items(tools.shown())),
            Err(problem) => {
                let mut known = self.known();
                (known.tools, known.is_asked) = (None, true);
                Err(ErrorData::internal_error(problem, None))
            }
        }
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        self.known().asked = Some(Instant::now());
        let progress = CallProgress::new(&context);
        let call = async {
            let tool = self.tool(&request.name).await.map_err(CallReport::error)?;
            let command = tool.command(&request.arguments.unwrap_or_default()).map_err(CallReport::error)?;
            Ok(self.run(command, &progress).await)
        };
        let report = tokio::select! {
            report = call => report.unwrap_or_else(|report: CallReport| report),
            () = context.ct.cancelled() => CallReport::error("the call was cancelled; its command is ended, unless its rule keeps it".into()),
            () = self.0.client_gone.cancelled() => {
                CallReport::error("the client closed the server's stdin; the command is ended, unless its rule keeps it".into())
            }
        };
        if report.is_unallowed() {
            let server = self.clone();
            tokio::spawn(async move { server.look(LookReason::Watch).await.map(drop).ok() });
        }
        Ok(report.into_result().into())
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        tokio::spawn(self.clone().tell_changes(ChangeSink::Session(context.peer)));
    }

    fn accepted_subscription_filter(&self, _: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(SubscriptionFilter::builder().tools_list_changed().build())
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        tokio::select! {
            () = self.clone().tell_changes(ChangeSink::Subscription(context.sink().clone())) => {}
            () = context.cancelled() => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_silent_client_has_the_listing_looked_at_less_often() {
        let now = Instant::now();
        let ago = |seconds| now.checked_sub(Duration::from_secs(seconds));
        let check = |looked, asked, want| {
            let known = KnownTools { looked, asked, ..KnownTools::default() };
            assert_eq!(known.is_due(now), want, "{looked:?} {asked:?}");
        };
        check(None, None, true);
        check(ago(2), ago(5), true);
        check(ago(0), ago(5), false);
        check(ago(2), ago(60), false);
        check(ago(29), None, false);
        check(ago(30), ago(90), true);
    }
}
