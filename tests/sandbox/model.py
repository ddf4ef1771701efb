#!/usr/bin/env python3
"""A model for an agent's tests: it answers on loopback as the services do that Claude Code and codex ask.

usage: model.py PLAN PORT RESULTS

Its answers are the steps of PLAN, a JSON list, one at a time: {"shell": COMMAND} has the agent run a command with its
own tool, {"tool": NAME, "arguments": {...}} calls a tool of an MCP server. After the last one it says that all is
done. What the agent says of each goes to RESULTS, the number of the port to PORT. Of a step with a "check" goes there
"ok CHECK" if what the agent says matches all regexes of the step's "wants", blanks and backslashes
aside, and else "failed CHECK".
"""

import http.server
import itertools
import json
import os
import re
import sys

PLAN, PORT_FILE, RESULTS = sys.argv[1:]
# How long codex waits for a command before it asks what to do.
SHELL_WAIT_MS = 30_000
numbers = itertools.count(1)


def step_after(results):
    """The next step, given the results so far."""
    with open(PLAN, encoding="utf-8") as plan:
        steps = json.load(plan)
    lines = [verdict(step, result) for step, result in zip(steps, results)]
    with open(RESULTS, "w", encoding="utf-8") as file:
        file.write("\n".join(lines) + "\n")
    return steps[len(results)] if len(results) < len(steps) else None


def verdict(step, result):
    """What goes to RESULTS of a step."""
    if "check" not in step:
        return result
    bare = "".join(result.replace("\\", "").split())
    is_good = all(re.search(want, bare) for want in step["wants"])
    return f"ok {step['check']}" if is_good else f"failed {step['check']}: {' '.join(result.split())[:1000]}"


def text_of(content):
    """The text of a result, which may be in parts."""
    if isinstance(content, list):
        return "\n".join(text_of(part) for part in content)
    if isinstance(content, dict):
        return str(content.get("text") or content.get("content") or content.get("output") or "")
    return str(content)


def fail_step(step, names):
    return {"type": "text", "text": f"no tool for {step} among {sorted(filter(None, names))}"}


class Messages:
    """The protocol of Claude Code: a message with blocks, streamed as events."""

    @staticmethod
    def results(request):
        blocks = [block for message in request["messages"] if isinstance(message["content"], list)
                  for block in message["content"]]
        return [text_of(block["content"]) for block in blocks if block.get("type") == "tool_result"]

    @staticmethod
    def block(request):
        names = [tool.get("name", "") for tool in request.get("tools", [])]
        if not names:
            return {"type": "text", "text": "no task"}
        step = step_after(Messages.results(request))
        if step is None:
            return {"type": "text", "text": "done"}
        if "shell" in step:
            name, arguments = "Bash", {"command": step["shell"], "description": "the menu"}
        else:
            name = next((name for name in names if name.endswith("__" + step["tool"])), "")
            arguments = step["arguments"]
        if name not in names:
            return fail_step(step, names)
        return {"type": "tool_use", "id": f"toolu_{next(numbers):024}", "name": name, "input": arguments}

    @staticmethod
    def events(request):
        block = Messages.block(request)
        is_call = block["type"] == "tool_use"
        if is_call:
            empty, delta = {**block, "input": {}}, {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
        else:
            empty, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
        message = {
            "id": f"msg_{next(numbers):024}", "type": "message", "role": "assistant", "model": request.get("model"),
            "content": [], "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1},
        }
        end = {"stop_reason": "tool_use" if is_call else "end_turn", "stop_sequence": None}
        yield {"type": "message_start", "message": message}
        yield {"type": "content_block_start", "index": 0, "content_block": empty}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
        yield {"type": "content_block_stop", "index": 0}
        yield {"type": "message_delta", "delta": end, "usage": {"output_tokens": 1}}
        yield {"type": "message_stop"}


class Responses:
    """The protocol of codex: a list of items, streamed as events."""

    @staticmethod
    def results(request):
        items = [item for item in request.get("input", []) if item.get("type", "").endswith("_call_output")]
        return [text_of(item.get("output", "")) for item in items]

    @staticmethod
    def shell(command, names):
        """The call of whichever shell tool the agent offers."""
        if "exec_command" in names:
            return "exec_command", {"cmd": command, "yield_time_ms": SHELL_WAIT_MS}
        if "shell_command" in names:
            return "shell_command", {"command": command}
        return "shell", {"command": ["bash", "-c", command]}

    @staticmethod
    def item(request):
        tools = request.get("tools", [])
        spaces = {tool["name"]: [inner.get("name") for inner in tool.get("tools", [])]
                  for tool in tools if tool.get("type") == "namespace"}
        names = [tool.get("name") for tool in tools]
        step = step_after(Responses.results(request))
        said = {"type": "message", "role": "assistant", "id": f"msg_{next(numbers)}"}
        if step is None:
            return {**said, "content": [{"type": "output_text", "text": "done"}]}
        call = {"type": "function_call", "id": f"fc_{next(numbers)}", "call_id": f"call_{next(numbers)}"}
        if "shell" in step:
            name, arguments = Responses.shell(step["shell"], names)
            return {**call, "name": name, "arguments": json.dumps(arguments)}
        call["arguments"] = json.dumps(step["arguments"])
        for space, inner in spaces.items():
            if step["tool"] in inner:
                return {**call, "name": step["tool"], "namespace": space}
        name = next((name for name in names if name and name.endswith("__" + step["tool"])), None)
        if name is None:
            return {**said, "content": [{"type": "output_text", "text": fail_step(step, names)["text"]}]}
        return {**call, "name": name}

    @staticmethod
    def events(request):
        response = {"id": f"resp_{next(numbers)}"}
        usage = {"input_tokens": 1, "input_tokens_details": None, "output_tokens": 1, "output_tokens_details": None,
                 "total_tokens": 2}
        yield {"type": "response.created", "response": response}
        yield {"type": "response.output_item.done", "output_index": 0, "item": Responses.item(request)}
        yield {"type": "response.completed", "response": {**response, "usage": usage}}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, format, *arguments):
        pass

    def body(self):
        if self.headers.get("transfer-encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("content-length", 0)))
        whole = b""
        while length := int(self.rfile.readline(), 16):
            whole += self.rfile.read(length)
            self.rfile.readline()
        self.rfile.readline()
        return whole

    def answer(self, text, kind):
        data = text.encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def do_GET(self):
        self.answer(json.dumps({"data": [], "models": []}), "application/json")

    do_HEAD = do_GET

    def do_POST(self):
        body, path = self.body(), self.path.partition("?")[0]
        protocol = {"messages": Messages, "responses": Responses}.get(path.rpartition("/")[2])
        if protocol is None:
            return self.answer(json.dumps({"input_tokens": 1}), "application/json")
        request = json.loads(body)
        events = protocol.events(request)
        if request.get("stream"):
            text = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events)
            return self.answer(text, "text/event-stream")
        block = Messages.block(request)
        reason = "tool_use" if block["type"] == "tool_use" else "end_turn"
        usage = {"input_tokens": 1, "output_tokens": 1}
        whole = {"id": f"msg_{next(numbers)}", "type": "message", "role": "assistant", "model": request.get("model"),
                 "content": [block], "stop_reason": reason, "stop_sequence": None, "usage": usage}
        return self.answer(json.dumps(whole), "application/json")


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
with open(PORT_FILE + ".new", "w", encoding="utf-8") as port:
    port.write(str(server.server_address[1]))
os.rename(PORT_FILE + ".new", PORT_FILE)
server.serve_forever()
