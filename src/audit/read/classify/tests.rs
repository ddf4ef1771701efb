//! Lines that are added, removed and exchanged, and which lines are records then.

use crate::audit::chain::{chained, no_line};
use crate::audit::read::lines::ManifestLines;

use super::*;

fn stood(text: &str, anchor: Option<&str>) -> ClassifiedLines {
    let mut standing = LineClassifier::new(anchor.map(|line| Digest::of_line(line.trim_end().as_bytes())));
    let mut lines = ManifestLines::new(text.as_bytes());
    while let Some(line) = lines.read_line().expect("no I/O here") {
        standing.add(&line);
    }
    standing.finish()
}

/// Lines that follow each other; the first one follows the line with the hash `prev`.
fn run<const N: usize>(prev: &str, kind: &str) -> [String; N] {
    let mut prev = prev.to_owned();
    std::array::from_fn(|call| {
        let body = format!(r#"{{"kind":"{kind}","call":{call},"ts":1}}"#);
        let (line, hash) = chained(&body, &prev);
        prev = hash;
        line
    })
}

/// The lines, from 1, that are foreign.
fn check(lines: &[&str], anchor: Option<&str>, want: &[usize]) {
    let text = lines.concat();
    let stood = stood(&text, anchor);
    let places = lines.iter().scan(0, |at, line| {
        let begin = *at;
        *at += line.len() as u64;
        Some(begin)
    });
    let foreign: Vec<_> =
        places.enumerate().filter(|(_, at)| stood.is_foreign(*at)).map(|(index, _)| index + 1).collect();
    assert_eq!((&*foreign, stood.is_clean()), (want, want.is_empty()), "{text}");
    assert_eq!(stood.foreign.first().map(|first| first.line), want.first().map(|&line| line as u64));
}

#[test]
fn what_does_not_follow_is_foreign() {
    let [a, b, c, d] = &run::<4>(&no_line(), "start");
    let [x, y, z] = &run::<3>(&"ab".repeat(32), "exit");
    check(&[a, b, c, d], None, &[]);
    check(&[a, "dear diary\n", b, "\n", c], None, &[2, 4]);
    check(&[a, b, x, c, d], None, &[3]);
    check(&[a, b, x, y, z, c, d], None, &[3, 4, 5]);
    check(&[a, a, b, b, c], None, &[2, 4]);
    check(&[a, b, c, b, d], None, &[4]);
    check(&[a, x, b, "{}\n", y, c], None, &[2, 4, 5]);
    // Lines that lead to the file's end are believed, lines between two gaps are not.
    check(&[a, b, d], None, &[2]);
    check(&[a, b, x, y, z], None, &[2]);
    check(&[a, b, x, y, d], None, &[2, 3, 4]);
    // The anchor, a line that is known to be a record, shows which run is believed.
    check(&[a, b, x, y, z], Some(b), &[3, 4, 5]);
    check(&[a, b, x, y, z], Some(y), &[2]);
    check(&[a, b, d, x, y], Some(d), &[2, 4, 5]);
    check(&[a, b, d, x, c], Some(d), &[2, 4, 5]);
}

/// Only the next broker writes after a `close`, and its first record is an `open`.
#[test]
fn what_follows_a_close_and_is_no_open_is_foreign() {
    let after = |prev: &str, kinds: &[&str]| {
        let mut prev = prev.to_owned();
        let line = |kind: &&str| {
            let (line, hash) = chained(&format!(r#"{{"kind":"{kind}","ts":1}}"#), &prev);
            prev = hash;
            line
        };
        kinds.iter().map(line).collect::<Vec<_>>()
    };
    let hash = |line: &String| Digest::of_line(line.trim_end().as_bytes()).to_hash();
    let [a, close] = &after(&no_line(), &["open", "close"])[..] else { panic!("two lines") };
    let good = after(&hash(close), &["open", "start", "close"]);
    let good: Vec<&str> = good.iter().map(String::as_str).collect();
    let put = after(&hash(close), &["start", "exit", "close", "lost"]);
    let put: Vec<&str> = put.iter().map(String::as_str).collect();
    let check = |more: &[&[&str]], anchor, want: &[usize]| {
        check(&[&[&**a, close][..], &more.concat()].concat(), anchor, want);
    };
    let again = after(&hash(&good[2].to_owned()), &["exit"]);
    let again = [&*again[0]];
    for anchor in [None, Some(&**close)] {
        check(&[], anchor, &[]);
        check(&[&put[..1]], anchor, &[3]);
        check(&[&put], anchor, &[3, 4, 5, 6]);
        check(&[&put[..2], &put[..1]], anchor, &[3, 4, 5]);
        check(&[&put, &good], anchor, &[3, 4, 5, 6]);
        check(&[&good, &again], anchor, &[6]);
    }
    // A mark that names such a line does not help.
    check(&[&put[..2]], Some(put[1]), &[3, 4]);
    // A broker that took these lines for records went on there: its own lines are records.
    let later = after(&hash(&put[3].to_owned()), &["open", "start"]);
    let later: Vec<&str> = later.iter().map(String::as_str).collect();
    check(&[&put, &later], None, &[3, 4, 5, 6]);
    check(&[&put, &later], Some(later[1]), &[3, 4, 5, 6]);
}

#[test]
fn an_open_vouches_for_the_torn_line_before_it() {
    let [a, b] = &run::<2>(&no_line(), "start");
    let hash = Digest::of_line(b.trim_end().as_bytes()).to_hash();
    let torn = r#"{"kind":"exit","call":1,"#;
    let open = |torn: &str, bytes: usize, prev: &str| {
        let sha = Digest::of_line(torn.as_bytes()).to_hash();
        chained(&format!(r#"{{"kind":"open","ts":1,"torn":{bytes},"torn_sha256":"{sha}"}}"#), prev).0
    };
    let line = format!("{torn}\n");
    let good = open(torn, torn.len(), &hash);
    check(&[a, b, &line, &good], None, &[]);
    assert_eq!(stood(&[a, b, &*line, &good].concat(), None).torn_lines, 1);
    check(&[&line, &open(torn, torn.len(), &no_line())], None, &[]);
    check(&[a, b, &line, &open(torn, torn.len() - 1, &hash)], None, &[3]);
    check(&[a, b, &line, &open("other", torn.len(), &hash)], None, &[3]);
    check(&[a, b, &line, &line, &good], None, &[3]);
    check(&[a, b, &line, "\n", &good], None, &[3, 4]);
    check(&[a, b, &good, &line], None, &[4]);
    let whole = r#"{"kind":"exit","call":1}"#;
    check(&[a, b, &format!("{whole}\n"), &open(whole, whole.len(), &hash)], None, &[3]);
}

#[test]
fn every_beginning_of_a_record_may_be_torn() {
    let line = chained(r#"{"kind":"reject","argv":["a\u00e9\\\"","b"],"ts":17,"ok":true}"#, &no_line()).0;
    let line = line.trim_end();
    for end in 1..line.len() {
        assert!(is_torn(&line.as_bytes()[..end]), "{}", &line[..end]);
    }
    for other in
        ["", line, "x", "{\"kind\":\"other", "{\"call\":1", "{\"kind\":\"exit\"}", "{\"kind\":\"exit\",\u{1}"]
    {
        assert!(!is_torn(other.as_bytes()), "{other}");
    }
}

#[test]
fn runs_and_places_are_bounded() {
    let leftover = |number: usize| chained(r#"{"kind":"close","ts":1}"#, &format!("{number:064x}")).0;
    let [a, b] = &run::<2>(&no_line(), "start");
    let mut text = a.clone();
    (0..1000).for_each(|number| text += &leftover(number + 1));
    let mut standing = LineClassifier::new(None);
    let mut lines = ManifestLines::new(text.as_bytes());
    while let Some(line) = lines.read_line().expect("no I/O here") {
        standing.add(&line);
        assert!(standing.runs.len() <= RUNS_MAX && standing.foreign.len() <= FOREIGN_PLACES_MAX);
    }
    assert_eq!(stood(&(text + b), None).foreign.len(), 1, "the first run is kept");
}
