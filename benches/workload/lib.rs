//! What the benches share: seeded workloads, and kernel objects loaded for `BPF_PROG_TEST_RUN`.

pub mod kernel;
