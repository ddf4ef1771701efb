//! A client of the SDK's own, which notes what it is told.

use std::future::Future;
use std::path::Path;

use rmcp::ClientHandler;
use rmcp::model::{
    CallToolRequest, CallToolRequestParams, CallToolResult, ClientRequest, ProgressNotificationParam,
    ProtocolVersion, ServerResult, SubscriptionFilter, Tool,
};
use rmcp::service::{
    ClientLifecycleMode, ClientServiceExt, NotificationContext, PeerRequestOptions, RequestHandle,
    RoleClient, RunningService, ServiceError, Subscription,
};
use rmcp::transport::TokioChildProcess;
use serde_json::Value;
use tokio::process::Command;
use tokio::sync::Mutex;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::gate::{Gate, SOON, sluice_mcp};

/// What a client is told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Heard {
    Changed,
    Progress(f64, String),
}

struct Listener(UnboundedSender<Heard>);

impl ClientHandler for Listener {
    async fn on_progress(&self, progress: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.0.send(Heard::Progress(progress.progress, progress.message.unwrap_or_default())).ok();
    }

    async fn on_tool_list_changed(&self, _: NotificationContext<RoleClient>) {
        self.0.send(Heard::Changed).ok();
    }
}

/// A client with a server of its own.
pub(crate) struct Client {
    service: RunningService<RoleClient, Listener>,
    heard: Mutex<UnboundedReceiver<Heard>>,
    /// The pid of the server.
    pub(crate) server: i32,
}

impl Client {
    /// A client of this gate.
    pub(crate) async fn start(gate: &Gate) -> Self {
        Self::at(&gate.socket()).await
    }

    /// A client of the broker at this path.
    pub(crate) async fn at(socket: &Path) -> Self {
        let mut command = Command::new(sluice_mcp());
        command.arg("--socket").arg(socket);
        Self::of(command).await
    }

    /// A client of the server that this command starts.
    pub(crate) async fn of(command: Command) -> Self {
        Self::with(command, ClientLifecycleMode::Initialize).await
    }

    /// A client of this gate without a session, as protocol version 2026-07-28 has it.
    pub(crate) async fn without_session(gate: &Gate) -> Self {
        let mut command = Command::new(sluice_mcp());
        command.arg("--socket").arg(gate.socket());
        let preferred_versions = vec![ProtocolVersion::V_2026_07_28];
        Self::with(command, ClientLifecycleMode::Discover { preferred_versions }).await
    }

    async fn with(command: Command, lifecycle: ClientLifecycleMode) -> Self {
        let (sender, heard) = unbounded_channel();
        let transport = TokioChildProcess::new(command).expect("it starts");
        let server = transport.id().and_then(|pid| pid.try_into().ok()).expect("a pid");
        let service = Listener(sender).serve_with_lifecycle(transport, lifecycle);
        let service = within(service).await.expect("it is initialised");
        Self { service, heard: Mutex::new(heard), server }
    }

    pub(crate) async fn list(&self) -> Result<Vec<Tool>, ServiceError> {
        within(self.service.list_all_tools()).await
    }

    /// The notifications that the client subscribes to.
    pub(crate) async fn listen(&self, filter: SubscriptionFilter) -> Subscription {
        within(self.service.listen(filter)).await.expect("it is acknowledged")
    }

    /// A call, to its end.
    pub(crate) async fn call(&self, tool: &str, arguments: Value) -> CallToolResult {
        self.try_call(tool, arguments).await.expect("an answer")
    }

    /// A call, which may be answered by an error of the protocol.
    pub(crate) async fn try_call(
        &self,
        tool: &str,
        arguments: Value,
    ) -> Result<CallToolResult, ServiceError> {
        within(self.service.call_tool(params(tool, arguments))).await
    }

    /// A script, to its end; gives what the answer says in its structure.
    pub(crate) async fn sh(&self, script: &str) -> Value {
        structure(self.call("sh", serde_json::json!({"script": script})).await)
    }

    /// A call that is waited for later.
    pub(crate) async fn begin(&self, tool: &str, arguments: Value) -> RequestHandle<RoleClient> {
        let request = ClientRequest::CallToolRequest(CallToolRequest::new(params(tool, arguments)));
        let options = PeerRequestOptions::no_options();
        self.service.send_cancellable_request(request, options).await.expect("it is sent")
    }

    /// The next thing that the client is told.
    pub(crate) async fn hear(&self) -> Heard {
        within(async { self.heard.lock().await.recv().await }).await.expect("the server goes on")
    }

    /// The next message of progress that has this text in it.
    pub(crate) async fn progress(&self, text: &str) -> String {
        loop {
            match self.hear().await {
                Heard::Progress(_, message) if message.contains(text) => return message,
                Heard::Progress(..) | Heard::Changed => {}
            }
        }
    }

    /// Waits until the client is told that the list has changed.
    pub(crate) async fn change(&self) {
        while self.hear().await != Heard::Changed {}
    }

    /// Closes the server's stdin, and waits for its end.
    pub(crate) async fn close(self) {
        within(self.service.cancel()).await.expect("it ends");
    }
}

fn params(tool: &str, arguments: Value) -> CallToolRequestParams {
    let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
    CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments)
}

/// The answer of a call that was begun.
pub(crate) async fn answer(handle: RequestHandle<RoleClient>) -> CallToolResult {
    let answer = within(handle.await_response()).await.expect("an answer");
    let ServerResult::CallToolResult(result) = answer else { panic!("no answer to a call: {answer:?}") };
    result
}

pub(crate) fn structure(result: CallToolResult) -> Value {
    result.structured_content.expect("every answer has a structure")
}

/// The text of an answer.
pub(crate) fn text(result: &CallToolResult) -> String {
    result.content.iter().filter_map(|block| block.as_text()).map(|block| block.text.as_str()).collect()
}

/// What a future gives before the deadline.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("it comes in time")
}
