//! What the linker is told of a library that node loads.

fn main() {
    napi_build::setup();
}
