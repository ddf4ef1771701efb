//! The caller's stdin, stdout and stderr are the command's own.

use crate::harness::Broker;

#[test]
fn a_call_prints_what_the_command_prints() {
    let broker = Broker::shell();
    broker
        .sh("echo out; echo err >&2")
        .exited(0)
        .printed("out\n")
        .complained("err\n")
        .audited(["start resolved=/bin/sh", "exit status=0 !signal"]);
}
