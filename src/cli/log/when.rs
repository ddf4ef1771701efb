//! Times as people write and read them. `jiff` knows the local time zone and its changes.

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, ToSpan, Zoned};

/// A time in milliseconds since 1970.
pub(super) type UnixMillis = u64;

/// The value of `--since` and `--until`: RFC 3339; `YYYY-MM-DD [HH:MM[:SS]]` or `HH:MM[:SS]` of today, in
/// local time; `now`, `today`, `yesterday`; `-1h`, `2 days ago`; `@SECONDS` since 1970.
pub(in crate::cli) fn parse_when(text: &str) -> Result<UnixMillis, String> {
    parse(text.trim(), &Zoned::now()).ok_or_else(|| {
        "not a time; write 2026-11-21T10:00:00Z, \"2026-11-21 10:00\", 10:00, yesterday, today, or -1h"
            .to_owned()
    })
}

fn parse(text: &str, now: &Zoned) -> Option<UnixMillis> {
    let midnight = || now.start_of_day().ok();
    let then = match text {
        "now" => Some(now.timestamp()),
        "today" => midnight().map(|zoned| zoned.timestamp()),
        "yesterday" => midnight()?.checked_sub(1.day()).ok().map(|zoned| zoned.timestamp()),
        _ => None,
    };
    let seconds =
        || text.strip_prefix('@')?.parse().ok().and_then(|seconds| Timestamp::from_second(seconds).ok());
    let moment = || text.parse::<Timestamp>().ok();
    let then =
        then.or_else(seconds).or_else(moment).or_else(|| ago(text, now)).or_else(|| local(text, now))?;
    u64::try_from(then.as_millisecond()).ok()
}

/// A time that is a span before now: `-1h`, `2 days ago`.
fn ago(text: &str, now: &Zoned) -> Option<Timestamp> {
    let is_past = text.starts_with('-') || text.ends_with("ago");
    let span: Span = text.parse().ok().filter(|_| is_past)?;
    now.checked_add(span).ok().map(|zoned| zoned.timestamp())
}

/// A date, a time of today, or both.
fn local(text: &str, now: &Zoned) -> Option<Timestamp> {
    let civil = text.parse::<DateTime>().ok().or_else(|| Some(now.date().to_datetime(text.parse().ok()?)))?;
    now.time_zone().to_timestamp(civil).ok()
}

/// A time to the second, in the local time zone.
pub(super) fn shown(ts: UnixMillis, zone: &TimeZone) -> String {
    format(ts, zone, "%Y-%m-%d %H:%M:%S")
}

/// A time in at most eleven characters: the time of today, the day and the minute of this year, else the
/// day.
pub(super) fn shown_briefly(ts: UnixMillis, now: UnixMillis, zone: &TimeZone) -> String {
    let same = |how: &str| format(ts, zone, how) == format(now, zone, how);
    let how = match (same("%Y-%m-%d"), same("%Y")) {
        (true, _) => "%H:%M:%S",
        (false, true) => "%m-%d %H:%M",
        (false, false) => "%Y-%m-%d",
    };
    format(ts, zone, how)
}

/// A time to the millisecond, with the zone.
pub(super) fn shown_exactly(ts: UnixMillis, zone: &TimeZone) -> String {
    format(ts, zone, "%Y-%m-%d %H:%M:%S%.3f %:z")
}

fn format(ts: UnixMillis, zone: &TimeZone, how: &str) -> String {
    let then = i64::try_from(ts).ok().and_then(|ts| Timestamp::from_millisecond(ts).ok());
    // A number that is no time of the calendar is shown as it is.
    then.map_or_else(|| ts.to_string(), |then| then.to_zoned(zone.clone()).strftime(how).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, want: &str) {
        let now: Zoned = "2026-11-21T10:20:30+01:00[+01:00]".parse().expect("a time");
        let zone = now.time_zone().clone();
        let got = parse(text, &now).map(|ts| shown(ts, &zone));
        assert_eq!(got.as_deref().unwrap_or("none"), want, "{text}");
    }

    #[test]
    fn times_are_read_as_journalctl_reads_them() {
        check("2026-11-20T08:00:00Z", "2026-11-20 09:00:00");
        check("2026-11-20T08:00:00+01:00", "2026-11-20 08:00:00");
        check("2026-11-20 08:01:02", "2026-11-20 08:01:02");
        check("2026-11-20 08:01", "2026-11-20 08:01:00");
        check("2026-11-20", "2026-11-20 00:00:00");
        check("08:01", "2026-11-21 08:01:00");
        check("08:01:02", "2026-11-21 08:01:02");
        check("today", "2026-11-21 00:00:00");
        check("yesterday", "2026-11-20 00:00:00");
        check("now", "2026-11-21 10:20:30");
        check("-1h", "2026-11-21 09:20:30");
        check("-90s", "2026-11-21 10:19:00");
        check("2 days ago", "2026-11-19 10:20:30");
        check("@1700000000", "2023-11-14 23:13:20");
    }

    #[test]
    fn a_time_is_brief_where_there_is_little_room() {
        let now = 1_700_000_000_000;
        let brief = |ago: u64| shown_briefly(now - ago, now, &TimeZone::UTC);
        assert_eq!([0, 86_400_000, 400 * 86_400_000].map(brief), ["22:13:20", "11-13 22:13", "2022-10-10"]);
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in ["", "1h", "soon", "2026-13-01", "25:00", "@x", "-", "ago"] {
            check(text, "none");
        }
    }

    #[test]
    fn a_number_that_is_no_time_is_shown_as_it_is() {
        assert_eq!(shown(u64::MAX, &TimeZone::UTC), u64::MAX.to_string());
        assert_eq!(shown_exactly(1_700_000_000_123, &TimeZone::UTC), "2023-11-14 22:13:20.123 +00:00");
    }
}
