//! The tools: one for each rule, and news of others.

use rmcp::model::{ServerNotification, SubscriptionFilter};
use serde_json::json;

use crate::client::{Client, structure, text, within};
use crate::gate::{Gate, RULES, found};

#[tokio::test(flavor = "multi_thread")]
async fn each_rule_is_a_tool_with_a_schema() {
    let gate = Gate::start(RULES);
    let client = Client::start(&gate).await;
    let tools = client.list().await.expect("a list");
    let names: Vec<_> = tools.iter().map(|tool| tool.name.as_ref()).collect();
    assert_eq!(names[..3], ["sh", "echo", "cat"]);
    assert!(names[3].starts_with("cat_") && names.len() == 4, "{names:?}");
    let echo = &tools[1];
    let about = "Prints a number.\nIt has one or two digits.\nRuns: /bin/echo -n <number>";
    assert_eq!(echo.description.as_deref(), Some(about));
    assert_eq!(echo.title.as_deref(), Some("/bin/echo -n <number>"));
    let schema = echo.schema_as_json_value();
    assert_eq!(schema["properties"]["number"]["pattern"], "^[1-9][0-9]?$");
    assert_eq!(schema["required"], json!(["number"]));
    assert_eq!(schema["additionalProperties"], false);
    assert!(echo.output_schema.as_ref().is_some_and(|schema| schema.contains_key("properties")));
    let files = tools[3].schema_as_json_value()["properties"]["files"].clone();
    assert_eq!(
        (&files["type"], &files["minItems"], &files["maxItems"]),
        (&json!("array"), &json!(1), &json!(64))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_is_told_and_lists_other_tools() {
    let gate = Gate::start(RULES);
    let client = Client::start(&gate).await;
    assert_eq!(client.list().await.expect("a list").len(), 4);
    gate.write_rules("/bin/true\n");
    gate.reload();
    client.change().await;
    let tools = client.list().await.expect("a list");
    assert_eq!(tools.iter().map(|tool| tool.name.as_ref()).collect::<Vec<_>>(), ["true"]);
    let error = client.try_call("echo", json!({"number": "5"})).await.expect("an answer");
    assert!(text(&error).contains("there is no tool \"echo\""), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_and_an_unknown_tool_have_the_listing_looked_at_at_once() {
    let gate = Gate::start("/bin/echo #a\n  a = [a-z]+\n");
    // Nothing else looks where nobody listens.
    let client = Client::without_session(&gate).await;
    let looks = || gate.records("list").len();
    client.list().await.expect("a list");
    assert_eq!(client.call("echo", json!({"a": "x"})).await.is_error, Some(false));
    found("first look", || (looks() == 1).then_some(()));
    gate.write_rules("/bin/true\n\n/bin/echo #a\n  a = [0-9]+\n");
    gate.reload();
    // Until the reload is done, the old rule runs it.
    while client.call("echo", json!({"a": "x"})).await.is_error == Some(false) {}
    found("look after the refusal", || (looks() > 1).then_some(()));
    let before = looks();
    assert_eq!(client.call("nothing", json!({})).await.is_error, Some(true));
    found("look for the unknown tool", || (looks() > before).then_some(()));
    assert_eq!(client.call("true", json!({})).await.is_error, Some(false));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_later_is_told_of() {
    let mut gate = Gate::start("/bin/true\n");
    gate.stop();
    let client = Client::start(&gate).await;
    let error = client.list().await.expect_err("nobody serves").to_string();
    assert!(error.contains("no broker can be reached"), "{error}");
    gate.serve();
    client.change().await;
    assert_eq!(client.list().await.expect("a list").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_session_subscribes_to_changes() {
    let gate = Gate::start(RULES);
    let client = Client::without_session(&gate).await;
    assert_eq!(client.list().await.expect("a list").len(), 4);
    let mut changes = client.listen(SubscriptionFilter::builder().tools_list_changed().build()).await;
    assert_eq!(structure(client.call("echo", json!({"number": "5"})).await)["stdout"]["text"], "5");
    gate.write_rules("/bin/true\n");
    gate.reload();
    let told = within(changes.next()).await.expect("it goes on");
    assert!(matches!(told, Some(ServerNotification::ToolListChangedNotification(_))), "{told:?}");
    assert_eq!(client.list().await.expect("a list").len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_no_client_listens_to_asks_nothing() {
    let gate = Gate::start(RULES);
    let client = Client::without_session(&gate).await;
    client.list().await.expect("a list");
    // Longer than the pause between two looks.
    client.sh("sleep 3").await;
    assert_eq!(gate.records("list").len(), 1);
}
