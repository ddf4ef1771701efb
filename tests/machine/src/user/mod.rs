//! What an ordinary user gets of the units in `systemd/user`.

mod activation;
mod environment;
mod failure;
mod journal;
mod reload;
mod stop;
mod units;
