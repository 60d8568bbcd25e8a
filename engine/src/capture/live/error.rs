//! Why a live capture could not start. Every message says what, where and what to do next.

use std::io;

/// Why a live capture could not start or stop in order.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// The kernel is older than the floor.
    #[error("linux {found} is too old for live capture, which needs {floor} or newer; boot a newer kernel or use `replay`")]
    Kernel {
        /// Release found.
        found: String,
        /// Least version.
        floor: &'static str,
    },
    /// The kernel may preempt a tap program by a sweep.
    #[error("linux {found} is a PREEMPT_RT kernel, on which the packet ledger cannot be kept exact; boot a non-RT kernel")]
    Realtime {
        /// Release found.
        found: String,
    },
    /// Capabilities are missing.
    #[error(
        "live capture lacks {missing}; run as root, or grant them in the service unit (AmbientCapabilities={missing}) \
         or by `setcap`"
    )]
    Privileges {
        /// Missing capabilities, separated by blanks.
        missing: String,
    },
    /// No such interface.
    #[error("interface {name} does not exist; interfaces here: {present}")]
    NoInterface {
        /// Configured name.
        name: String,
        /// Names that exist, separated by commas.
        present: String,
    },
    /// An engine with other books meters it, or has met its end there.
    #[error(
        "interface {name} is metered already, by what is pinned in {pins}; stop that engine, or start with its data directory to go on \
         from it, or remove that directory and what it holds is lost"
    )]
    Taken {
        /// Configured name.
        name: String,
        /// The directory of the pins.
        pins: String,
    },
    /// The same interface is named twice.
    #[error("interface {name} is named twice; name every tap once")]
    Twice {
        /// The name.
        name: String,
    },
    /// A setting cannot work.
    #[error("{setting} = {value} cannot work: {expected}")]
    Setting {
        /// Name of the setting.
        setting: &'static str,
        /// Its value.
        value: String,
        /// What is expected.
        expected: String,
    },
    /// An interface setting could not be read or changed.
    #[error("cannot {action} on interface {name}: {source}; check the driver and that nothing else manages this interface")]
    Interface {
        /// Interface.
        name: String,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The host could not be looked at.
    #[error("cannot read {what}: {source}; is /proc mounted, and /sys?")]
    Host {
        /// What was read.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The kernel object was refused.
    #[error("kernel refuses the {part} of the tap object for {name}: {reason}; report this together with `uname -a`")]
    Object {
        /// Interface.
        name: String,
        /// Program, map or step.
        part: String,
        /// What the kernel or loader said.
        reason: String,
    },
    /// A ring could not be made.
    #[error("cannot make the {octets}-byte ring of cpu {cpu}: {source}; lower `ring_bytes` or add memory")]
    Ring {
        /// CPU.
        cpu: u32,
        /// Size asked for.
        octets: u32,
        /// What the system said.
        source: io::Error,
    },
    /// No hook took the program.
    #[error("no hook of interface {name} takes the tap program: {reasons}; detach what holds it, or configure another hook")]
    NoHook {
        /// Interface.
        name: String,
        /// One reason per hook, separated by semicolons.
        reasons: String,
    },
    /// A CPU cannot be swept.
    #[error("cannot sweep cpu {cpu}: {reason}; allow the engine all online cpus (cpuset, `AllowedCPUs=`)")]
    Sweep {
        /// CPU.
        cpu: u32,
        /// What the system said.
        reason: String,
    },
    /// A thread could not be started.
    #[error("cannot start thread {name}: {source}; raise the limit of tasks")]
    Thread {
        /// Thread.
        name: String,
        /// What the system said.
        source: io::Error,
    },
}
