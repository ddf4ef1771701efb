//! Manifests: any bytes are read to their end, whatever the pieces; a record's head is what the whole record
//! says.

use std::io::Read;

use sluice::audit::{LineClassifier, ManifestLines, ParsedRecord, RecordFields, RecordHead};
use sluice::limits::{FOREIGN_PLACES_MAX, RECORD_LINE_BYTES_MAX};

/// Panics when the property does not hold for `data`.
pub(crate) fn check(data: &[u8]) {
    let whole = read(data, usize::MAX);
    assert_eq!(read(data, 3), whole, "in pieces");
    assert_eq!(whole.iter().map(|(_, bytes)| bytes).sum::<usize>(), data.len());
    assert!(whole.iter().all(|&(_, bytes)| bytes <= RECORD_LINE_BYTES_MAX));
    for line in data.split(|&byte| byte == b'\n') {
        head(line);
    }
    standing(data);
}

/// Places without a record are in order and apart, and within the file; a line that says nothing of a line
/// before it is in one of them, unless it is torn.
fn standing(data: &[u8]) {
    let mut standing = LineClassifier::new(None);
    let mut lines = ManifestLines::new(data);
    let mut records = Vec::new();
    while let Some(line) = lines.read_line().expect("no I/O here") {
        let at = line.at;
        if standing.add(&line).is_record() {
            records.push(at);
        }
    }
    let stood = standing.finish();
    let size = u64::try_from(data.len()).expect("data is in memory");
    assert!(stood.foreign.len() <= FOREIGN_PLACES_MAX + 2);
    assert!(stood.foreign.iter().all(|foreign| foreign.at.start < foreign.at.end && foreign.at.end <= size));
    assert!(stood.foreign.windows(2).all(|pair| pair[0].at.end <= pair[1].at.start));
    assert!(stood.last.is_some() || records.is_empty());
    assert!(stood.is_clean() || !stood.is_foreign(size));
    if stood.is_clean() {
        let torn = usize::from(stood.torn.is_some());
        let lines = read(data, usize::MAX).len();
        let torn = torn + usize::try_from(stood.torn_lines).expect("few");
        assert_eq!(records.len() + torn, lines, "each line is a record or torn");
    }
}

/// The number of each line, and its bytes with its newline.
fn read(data: &[u8], piece: usize) -> Vec<(u64, usize)> {
    let mut lines = ManifestLines::new(Pieces(data, piece));
    let mut found = Vec::new();
    while let Some(line) = lines.read_line().expect("no I/O here") {
        assert!(!line.bytes.contains(&b'\n'));
        found.push((line.number, line.bytes.len() + usize::from(line.ended)));
    }
    found
}

fn head(line: &[u8]) {
    let (head, record) = (RecordHead::of(line), ParsedRecord::of(line));
    if let Some((head, record)) = head.zip(record.as_ref()) {
        assert_eq!((Some(head.call), head.ts, head.kind), (record.call, record.ts, record.kind));
    }
    assert!(record.is_none() || line.is_ascii() && line.starts_with(b"{"), "a record is an object in ASCII");
    // There may be values in fields that no record has for which there is no number or text.
    if let Some((RecordFields(fields), record)) = RecordFields::of(line).zip(record) {
        let kind = fields.iter().find(|(name, _)| name == "kind").map(|(_, kind)| kind.as_str());
        assert_eq!(kind, Some(Some(record.kind.name())), "the same record, by its fields");
    }
}

struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let most = into.len().min(self.1);
        self.0.read(&mut into[..most])
    }
}
