//! The tools of a listing: one for each rule, with its name, its description, and the schemas of what it
//! takes and gives; and the command line that a call's arguments make.

use std::ffi::OsString;
use std::sync::Arc;

use rmcp::model::{JsonObject, Tool, ToolAnnotations};
use serde_json::{Value, json};
use sluice::text::visible;

use crate::limits::TITLE_CHARS_MAX;
use crate::listing::{ListedRule, ListedSlot, ListedWord, Listing};
use crate::names::names;
use crate::pattern::pattern;
use crate::report::{object, schema};

/// The tools of one listing.
#[derive(Debug)]
pub(crate) struct ToolSet {
    pub(crate) listing: Listing,
    tools: Vec<RuleTool>,
}

/// The tool of a rule.
#[derive(Clone, Debug)]
pub(crate) struct RuleTool {
    pub(crate) tool: Tool,
    rule: ListedRule,
    /// The argument with the text for the command's stdin.
    stdin: String,
}

/// What a call asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct AskedCommand {
    pub(crate) words: Vec<OsString>,
    pub(crate) stdin: Option<String>,
}

impl ToolSet {
    /// The tools of this listing.
    pub(crate) fn new(listing: Listing) -> Self {
        let answer = Arc::new(schema());
        let tools = names(&listing.rules).into_iter().zip(&listing.rules);
        let tools = tools.filter_map(|(name, rule)| Some(RuleTool::new(name?, rule, &answer))).collect();
        Self { listing, tools }
    }

    /// The tools as a client is told of them.
    pub(crate) fn shown(&self) -> Vec<Tool> {
        self.tools.iter().map(|tool| tool.tool.clone()).collect()
    }

    /// The tool of this name.
    pub(crate) fn named(&self, name: &str) -> Option<RuleTool> {
        self.tools.iter().find(|tool| tool.tool.name == name).cloned()
    }
}

impl RuleTool {
    fn new(name: String, rule: &ListedRule, answer: &Arc<JsonObject>) -> Self {
        let stdin = stdin_name(rule);
        let title: String = visible(&rule.command).chars().take(TITLE_CHARS_MAX).collect();
        let tool = Tool::new(name, description(rule), input_schema(rule, &stdin))
            .with_title(title.clone())
            .with_annotations(ToolAnnotations::with_title(title))
            .with_raw_output_schema(Arc::clone(answer));
        Self { tool, rule: rule.clone(), stdin }
    }

    /// The command line of a call with these arguments. Errors: what is wrong with them.
    pub(crate) fn command(&self, arguments: &JsonObject) -> Result<AskedCommand, String> {
        let is_known = |name: &str| name == self.stdin || self.rule.slots().any(|slot| slot.name == name);
        if let Some(unknown) = arguments.keys().find(|name| !is_known(name)) {
            return Err(format!("there is no argument {unknown:?}"));
        }
        let mut words = Vec::new();
        for word in &self.rule.words {
            match word {
                ListedWord::Literal(literal) => words.push(literal.into()),
                ListedWord::Slot(slot) => words.extend(values(slot, arguments.get(&slot.name))?),
            }
        }
        let stdin = match arguments.get(&self.stdin) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text.clone()),
            Some(_) => return Err(format!("{:?} has to be a string", self.stdin)),
        };
        Ok(AskedCommand { words, stdin })
    }
}

/// The values of a slot. Whether they fit the rule is the broker's to say.
fn values(slot: &ListedSlot, argument: Option<&Value>) -> Result<Vec<OsString>, String> {
    let name = &slot.name;
    let given: Vec<_> = match argument {
        None => return Err(format!("the argument {name:?} is missing")),
        Some(Value::Array(values)) if slot.many => values.iter().map(Value::as_str).collect(),
        Some(value) if !slot.many => vec![value.as_str()],
        Some(_) => return Err(format!("{name:?} has to be a list of strings")),
    };
    if given.is_empty() || given.len() > slot.max_values {
        return Err(format!("{name:?} takes 1 to {} values", slot.max_values));
    }
    given
        .into_iter()
        .map(|value| match value {
            Some(value) if value.contains('\0') => {
                Err(format!("{name:?} has a NUL character, which no word can have"))
            }
            Some(value) => Ok(value.into()),
            None => Err(format!("{name:?} has to be a string")),
        })
        .collect()
}

/// `stdin`, or where a slot has that name, with as many `_` behind it as it takes.
fn stdin_name(rule: &ListedRule) -> String {
    let mut name = "stdin".to_owned();
    while rule.slots().any(|slot| slot.name == name) {
        name.push('_');
    }
    name
}

fn description(rule: &ListedRule) -> String {
    let about = rule.about.iter().map(|line| visible(line).into_owned());
    let command = format!("Runs: {}", visible(&rule.command));
    about.chain([command]).collect::<Vec<_>>().join("\n")
}

fn input_schema(rule: &ListedRule, stdin: &str) -> JsonObject {
    let mut properties: JsonObject = rule.slots().map(|slot| (slot.name.clone(), property(slot))).collect();
    let text = json!({"type": "string", "description": "Text for the command's standard input; without it, there is none"});
    properties.insert(stdin.to_owned(), text);
    let required: Vec<_> = rule.slots().map(|slot| slot.name.as_str()).collect();
    object(json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false
    }))
}

fn property(slot: &ListedSlot) -> Value {
    let description = slot_description(slot);
    if !slot.many {
        let mut value = value_schema(slot);
        value.insert("description".to_owned(), description.into());
        return value.into();
    }
    json!({
        "type": "array",
        "description": description,
        "items": value_schema(slot),
        "minItems": 1,
        "maxItems": slot.max_values
    })
}

/// The schema of one value. The broker counts bytes and a schema characters, of which there are never more.
fn value_schema(slot: &ListedSlot) -> JsonObject {
    let mut value = object(json!({"type": "string", "maxLength": slot.max_bytes}));
    if let Some(pattern) = slot_pattern(slot) {
        value.insert("pattern".to_owned(), pattern.into());
    }
    value
}

fn slot_pattern(slot: &ListedSlot) -> Option<String> {
    match (&slot.regex, &slot.directory) {
        (Some(regex), _) => pattern(regex, slot.dash),
        // Neither is an empty path one, nor one that begins with a dash.
        (None, Some(_)) => Some("^[^-]".to_owned()),
        (None, None) => None,
    }
}

fn slot_description(slot: &ListedSlot) -> String {
    let what = match (&slot.regex, &slot.directory) {
        (Some(regex), _) if pattern(regex, slot.dash).is_some() => {
            format!("The whole value matches {}", visible(regex))
        }
        (Some(regex), _) => format!(
            "The whole value matches {} (a regex of Rust, which has no equal in a schema)",
            visible(regex)
        ),
        (None, Some(directory)) => format!("A path that leads into {}", visible(directory)),
        (None, None) => "Any value".to_owned(),
    };
    let dash = if slot.dash { "" } else { "; it may not begin with -" };
    format!("{what}{dash}; at most {} bytes", slot.max_bytes)
}

#[cfg(test)]
mod tests {
    use crate::listing::tests::rule;

    use super::*;

    fn tool(command: &str) -> RuleTool {
        ToolSet::new(Listing { rules: vec![rule(command)] }).tools.remove(0)
    }

    fn check(command: &str, arguments: Value, want: Result<(&[&str], Option<&str>), &str>) {
        let got = tool(command).command(&object(arguments));
        let want = want.map(|(words, stdin)| AskedCommand {
            words: words.iter().map(OsString::from).collect(),
            stdin: stdin.map(str::to_owned),
        });
        assert_eq!(got, want.map_err(str::to_owned));
    }

    #[test]
    fn arguments_become_words() {
        check("git log -n <n>", json!({"n": "5"}), Ok((&["git", "log", "-n", "5"], None)));
        check("cat <f>...", json!({"f": ["a", "b"], "stdin": "x"}), Ok((&["cat", "a", "b"], Some("x"))));
        check("cat <stdin>", json!({"stdin": "a", "stdin_": "x"}), Ok((&["cat", "a"], Some("x"))));
    }

    #[test]
    fn what_is_wrong_with_arguments_is_said() {
        check("cat <f>", json!({}), Err("the argument \"f\" is missing"));
        check("cat <f>", json!({"f": "a", "g": 1}), Err("there is no argument \"g\""));
        check("cat <f>", json!({"f": 1}), Err("\"f\" has to be a string"));
        check("cat <f>", json!({"f": "a\0b"}), Err("\"f\" has a NUL character, which no word can have"));
        check("cat <f>...", json!({"f": "a"}), Err("\"f\" has to be a list of strings"));
        check("cat <f>...", json!({"f": []}), Err("\"f\" takes 1 to 64 values"));
        check("cat", json!({"stdin": 1}), Err("\"stdin\" has to be a string"));
    }

    #[test]
    fn a_slot_is_described_as_the_broker_takes_it() {
        let mut slot = rule("x <n>").slots().next().expect("a slot").clone();
        assert_eq!(
            property(&slot),
            json!({"type": "string", "maxLength": 4096, "description": "Any value; at most 4096 bytes"})
        );
        (slot.regex, slot.dash) = (Some("[a-z-]+".into()), false);
        assert_eq!(property(&slot)["pattern"], r"^(?!-)[\-a-z]+$");
        slot.regex = Some(r"\w+".into());
        assert!(property(&slot).get("pattern").is_none());
        assert!(slot_description(&slot).contains("which has no equal"));
        (slot.regex, slot.directory, slot.many, slot.max_values) = (None, Some("/srv".into()), true, 64);
        let many = property(&slot);
        assert_eq!((&many["minItems"], &many["maxItems"]), (&json!(1), &json!(64)));
        assert_eq!(many["items"]["pattern"], "^[^-]");
    }
}
