//! The reasons why no rule matches a request.

/// The kinds of misses. The first needs the smallest change to match.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MissReason {
    /// A value starts with `-` and its slot is not in `allow_dash`.
    OptionLike,
    /// A path lies outside its slot's directory.
    Outside,
    /// A value has more than [`VALUE_BYTES_MAX`](crate::limits::VALUE_BYTES_MAX) bytes.
    TooLong,
    /// More than [`REST_VALUES_MAX`](crate::limits::REST_VALUES_MAX) values.
    TooMany,
    /// The decision would take more than [`DECISION_STEPS_MAX`](crate::limits::DECISION_STEPS_MAX).
    TooCostly,
    /// No rule has these words.
    NoRule,
}

impl MissReason {
    /// The name in records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OptionLike => "option_like",
            Self::Outside => "outside",
            Self::TooLong => "too_long",
            Self::TooMany => "too_many",
            Self::TooCostly => "too_costly",
            Self::NoRule => "no_rule",
        }
    }
}
