//! Tests against a real systemd: the units as they are installed, and the broker behind them. `boot` brings
//! the machine; `user` runs in it as an ordinary user with a manager of its own, `system` as root.

mod harness;
mod system;
mod user;
