//! The answer to a call: how it ended and what it wrote, for programs and as text.

use std::time::Duration;

use rmcp::model::{CallToolResult, ContentBlock, JsonObject};
use serde::Serialize;
use serde_json::{Value, json};

use sluice::client::CallFailure;
use sluice::wire::Status;
use sluice::wire::v2::{CallEnd, EndFlags};

use crate::failure;
use crate::output::ShownOutput;
use crate::place::BrokerPlace;

/// How a call ended, in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OutcomeKind {
    /// By itself.
    Exited,
    /// By a signal.
    Signaled,
    /// By the rule's timeout.
    Timeout,
    /// By the broker, which says why as the status.
    Ended,
    /// It did not run.
    Refused,
    /// It was not asked for, was given up here, or has no answer.
    Error,
}

/// All that an answer says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct CallReport {
    pub(crate) outcome: OutcomeKind,
    pub(crate) exit_code: Option<i32>,
    pub(crate) signal: Option<i32>,
    /// The broker's status, where it is one of its own.
    pub(crate) status: Option<&'static str>,
    /// The number of the call in the records.
    pub(crate) call: Option<u64>,
    pub(crate) reason: Option<String>,
    pub(crate) seconds: Option<f64>,
    pub(crate) timed_out: bool,
    pub(crate) out_of_memory: bool,
    pub(crate) capture_incomplete: bool,
    pub(crate) stdout: ShownOutput,
    pub(crate) stderr: ShownOutput,
}

impl CallReport {
    /// A call that has an end.
    pub(crate) fn ended(
        end: CallEnd,
        call: Option<u64>,
        (stdout, stderr): (ShownOutput, ShownOutput),
    ) -> Self {
        let code = end.status.get();
        let is_exit = (0..=255).contains(&code);
        let outcome = match (end.signal, end.status) {
            (_, Status::TIMEOUT) => OutcomeKind::Timeout,
            (Some(_), _) if is_exit => OutcomeKind::Signaled,
            _ if is_exit => OutcomeKind::Exited,
            _ => OutcomeKind::Ended,
        };
        Self {
            outcome,
            exit_code: Some(code).filter(|_| outcome == OutcomeKind::Exited),
            signal: end.signal,
            status: end.status.name(),
            call,
            reason: (!is_exit).then(|| failure::refused(end.status, "")),
            seconds: Some(Duration::from_micros(end.microseconds).as_secs_f64()),
            timed_out: end.flags.has(EndFlags::TIMED_OUT) || outcome == OutcomeKind::Timeout,
            out_of_memory: end.flags.has(EndFlags::OUT_OF_MEMORY),
            capture_incomplete: end.flags.has(EndFlags::TRUNCATED),
            stdout,
            stderr,
        }
    }

    /// A call that has none.
    pub(crate) fn failed(why: &CallFailure, place: &BrokerPlace, call: Option<u64>) -> Self {
        let reason = failure::told(why, place);
        let CallFailure::Refused(status, explanation) = why else {
            return Self { call, ..Self::error(reason) };
        };
        let timed_out = *status == Status::TIMEOUT;
        let outcome = if timed_out { OutcomeKind::Timeout } else { OutcomeKind::Refused };
        let call = explanation.as_ref().and_then(|why| why.call()).or(call);
        Self { outcome, status: status.name(), call, timed_out, ..Self::error(reason) }
    }

    /// A call that this program did not make, or gave up.
    pub(crate) fn error(reason: String) -> Self {
        let nothing = || ShownOutput { utf8: true, ..ShownOutput::default() };
        Self {
            outcome: OutcomeKind::Error,
            exit_code: None,
            signal: None,
            status: None,
            call: None,
            reason: Some(reason),
            seconds: None,
            timed_out: false,
            out_of_memory: false,
            capture_incomplete: false,
            stdout: nothing(),
            stderr: nothing(),
        }
    }

    /// Whether the rules may be others than this program knows.
    pub(crate) fn is_unallowed(&self) -> bool {
        self.status == Status::NO_RULE.name()
    }

    /// The answer. Anything but an exit status of 0 is an error.
    pub(crate) fn into_result(self) -> CallToolResult {
        let content = vec![ContentBlock::text(self.text())];
        let is_good = self.exit_code == Some(0);
        let mut result =
            if is_good { CallToolResult::success(content) } else { CallToolResult::error(content) };
        result.structured_content = serde_json::to_value(self).ok();
        result
    }

    fn text(&self) -> String {
        let mut text = self.head();
        for (name, output) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if output.bytes > 0 {
                text.push_str(&format!("\n{name}{}:\n{}", remarks(output), output.text));
            }
        }
        text
    }

    /// One line: how the call ended.
    fn head(&self) -> String {
        let how = match (self.outcome, self.exit_code, self.signal, &self.reason) {
            (OutcomeKind::Exited, Some(code), ..) => format!("exit code {code}"),
            (OutcomeKind::Signaled, _, Some(signal), _) => format!("ended by signal {signal}"),
            (_, _, _, Some(reason)) => reason.clone(),
            _ => "ended".to_owned(),
        };
        let call = self.call.map(|call| format!(" (call {call})")).unwrap_or_default();
        let memory =
            if self.out_of_memory { "; the kernel killed a process of it for want of memory" } else { "" };
        format!("{how}{call}{memory}")
    }
}

fn remarks(output: &ShownOutput) -> String {
    let cut = output.truncated.then(|| format!("{} bytes, of which a part is left out", output.bytes));
    let bytes = (!output.utf8).then(|| r"not all of it is UTF-8: other bytes are \xHH".to_owned());
    let remarks: Vec<_> = cut.into_iter().chain(bytes).collect();
    if remarks.is_empty() { String::new() } else { format!(" ({})", remarks.join("; ")) }
}

/// The schema of [`CallReport`].
pub(crate) fn schema() -> JsonObject {
    let nullable =
        |kind: &str, description: &str| json!({"type": [kind, "null"], "description": description});
    let flag = |description: &str| json!({"type": "boolean", "description": description});
    let stream = |name: &str| {
        json!({
            "type": "object",
            "description": format!("What the command wrote to {name}"),
            "properties": {
                "text": {"type": "string", "description": "The beginning and the end, where it is long; bytes that \
                    are not UTF-8 as \\xHH"},
                "bytes": {"type": "integer", "description": "The bytes that came"},
                "truncated": {"type": "boolean", "description": "Whether a part was left out of the text"},
                "utf8": {"type": "boolean", "description": "Whether all bytes of the text were UTF-8"}
            },
            "required": ["text", "bytes", "truncated", "utf8"]
        })
    };
    let schema = json!({
        "type": "object",
        "properties": {
            "outcome": {
                "type": "string",
                "enum": ["exited", "signaled", "timeout", "ended", "refused", "error"],
                "description": "How the call ended; refused: it did not run; ended: by the broker"
            },
            "exit_code": nullable("integer", "The command's exit status"),
            "signal": nullable("integer", "The signal that ended the command"),
            "status": nullable("string", "The broker's own status"),
            "call": nullable("integer", "The number of the call in the broker's records"),
            "reason": nullable("string", "Why there is no exit status"),
            "seconds": nullable("number", "How long the command ran"),
            "timed_out": flag("The rule's timeout ended it"),
            "out_of_memory": flag("The kernel killed a process of it"),
            "capture_incomplete": flag("The broker's capture of its streams is not complete"),
            "stdout": stream("stdout"),
            "stderr": stream("stderr")
        },
        "required": ["outcome", "exit_code", "signal", "status", "call", "reason", "seconds", "timed_out",
            "out_of_memory", "capture_incomplete", "stdout", "stderr"]
    });
    object(schema)
}

/// The members of a JSON object.
pub(crate) fn object(value: Value) -> JsonObject {
    if let Value::Object(members) = value { members } else { JsonObject::new() }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn check(report: &CallReport, text: &str, is_error: bool) {
        assert_eq!(report.text(), text);
        let result = report.clone().into_result();
        assert_eq!(result.is_error, Some(is_error));
        let members = object(result.structured_content.expect("it has one"));
        let got: BTreeSet<_> = members.keys().collect();
        let schema = schema();
        let declared = schema["properties"].as_object().expect("an object").keys().collect();
        assert_eq!(got, declared);
    }

    fn ended(status: Status, signal: Option<i32>, flags: EndFlags) -> CallReport {
        let stdout = ShownOutput { text: "hi\n".into(), bytes: 3, truncated: false, utf8: true };
        let stderr = ShownOutput { utf8: true, ..ShownOutput::default() };
        CallReport::ended(CallEnd { status, signal, flags, microseconds: 1500 }, Some(7), (stdout, stderr))
    }

    #[test]
    fn an_answer_says_how_a_call_ended() {
        let flags = EndFlags::default();
        check(&ended(Status::exited(0), None, flags), "exit code 0 (call 7)\nstdout:\nhi\n", false);
        check(&ended(Status::exited(3), None, flags), "exit code 3 (call 7)\nstdout:\nhi\n", true);
        let killed = ended(Status::signaled(9), Some(9), flags.with(EndFlags::OUT_OF_MEMORY, true));
        let want =
            "ended by signal 9 (call 7); the kernel killed a process of it for want of memory\nstdout:\nhi\n";
        check(&killed, want, true);
        let timeout = ended(Status::TIMEOUT, Some(15), flags);
        check(&timeout, "the rule's timeout ended the command (call 7)\nstdout:\nhi\n", true);
        assert!(timeout.timed_out && timeout.seconds == Some(0.0015));
        let stopped = ended(Status::STOPPING, None, flags);
        assert_eq!((stopped.outcome, stopped.status), (OutcomeKind::Ended, Some("STOPPING")));
        check(&CallReport::error("no".into()), "no", true);
    }
}
