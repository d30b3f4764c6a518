//! `cargo xtask …`: the tasks of the project.
mod codegen;

fn main() -> anyhow::Result<()> {
    codegen::run()
}
