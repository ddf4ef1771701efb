//! What an ordinary user gets of the units in `systemd/user`.

mod activation;
mod by_hand;
mod captures;
mod confined;
mod credentials;
mod delegate;
mod delegated_scope;
mod environment;
mod failure;
mod handover;
mod journal;
mod kept;
mod kernels;
mod limits;
mod reload;
mod scope;
mod selftest;
mod slot;
mod stop;
mod units;
mod verify;
