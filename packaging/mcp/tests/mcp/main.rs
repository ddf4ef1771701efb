//! `sluice-mcp` between a client of the SDK's own and the real broker.

mod calls;
mod client;
mod doors;
mod figures;
mod gate;
mod inspector;
mod lifecycle;
mod listing;
mod patterns;
