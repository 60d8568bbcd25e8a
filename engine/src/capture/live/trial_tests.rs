//! The real object on a veth pair in a network namespace of the test's own. Needs root and `ip`; says so and skips
//! without privileges.

use std::{
    ffi::CString,
    process::Command,
    sync::atomic::{AtomicU64, AtomicUsize},
};

use crossbeam::channel::{Receiver, never};

use super::*;
use crate::{
    batch::Message,
    capture::native::DropSamples,
    ledger::{Count, LedgerAtMark},
};

/// Runs `body` on a thread in a new network namespace with `tap0` and its peer `wire0`.
fn in_namespace(mtu: u32, body: impl FnOnce(&[u8]) + Send) {
    if host::check_privileges().is_err() {
        return eprintln!("skipped: {}", host::check_privileges().expect_err("just checked"));
    }
    thread::scope(|scope| {
        let run = || {
            // SAFETY: affects this thread only, which has no other namespace's sockets open.
            assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWNET) }, 0, "{}", io::Error::last_os_error());
            ip(&format!("link add tap0 mtu {mtu} type veth peer name wire0 mtu {mtu}"));
            ip("link set lo up");
            ip("link set wire0 up arp off addrgenmode none");
            body(OBJECT);
        };
        scope.spawn(run).join().expect("the trial panicked");
    });
}

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split_whitespace()).output().expect("ip runs");
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A raw socket on an interface.
struct Wire(std::os::fd::OwnedFd);

impl Wire {
    fn open(name: &str) -> Self {
        use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
        // SAFETY: no pointers; the descriptor is new; the address lives through the call.
        unsafe {
            let fd = OwnedFd::from_raw_fd(libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0));
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as libc::sa_family_t;
            address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
            let name = CString::new(name).expect("a name");
            address.sll_ifindex = libc::if_nametoindex(name.as_ptr()).cast_signed();
            let size = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
            assert_eq!(libc::bind(fd.as_raw_fd(), (&raw const address).cast(), size), 0);
            Self(fd)
        }
    }

    /// Sends `frame` and says whether the kernel took it.
    fn send(&self, frame: &[u8]) {
        use std::os::fd::AsRawFd as _;
        // SAFETY: the frame lives through the call.
        let sent = unsafe { libc::send(self.0.as_raw_fd(), frame.as_ptr().cast(), frame.len(), 0) };
        assert_eq!(usize::try_from(sent).ok(), Some(frame.len()), "{}", io::Error::last_os_error());
    }
}

/// A UDP frame of `octets` from host `host` and port `port`.
fn frame(host: u16, port: u16, octets: usize) -> Vec<u8> {
    let mut frame = vec![0; octets];
    let [high, low] = host.to_be_bytes();
    frame[..14].copy_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, high, low, 8, 0]);
    let total = u16::try_from(octets - 14).expect("small").to_be_bytes();
    frame[14..34].copy_from_slice(&[0x45, 0, total[0], total[1], 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, high, low, 10, 9, 9, 9]);
    frame[34..36].copy_from_slice(&port.to_be_bytes());
    frame[36..38].copy_from_slice(&9000_u16.to_be_bytes());
    frame[38..40].copy_from_slice(&u16::try_from(octets - 34).expect("small").to_be_bytes());
    frame
}

/// What came out of the outlets.
#[derive(Default)]
struct Received {
    deltas: AtomicU64,
    packets: AtomicU64,
    marks: AtomicUsize,
    closes: AtomicUsize,
    ledgers: AtomicUsize,
}

fn receive(messages: &Receiver<Message>, received: &Received) {
    for message in messages {
        match message {
            Message::Deltas { deltas, .. } => {
                let packets = deltas.iter().map(|delta| delta.header.packets.iter().copied().map(u64::from).sum::<u64>());
                received.packets.fetch_add(packets.sum(), Ordering::Relaxed);
                received.deltas.fetch_add(deltas.len() as u64, Ordering::Relaxed);
            }
            Message::Mark(_) => drop(received.marks.fetch_add(1, Ordering::Relaxed)),
            Message::Close { .. } => drop(received.closes.fetch_add(1, Ordering::Relaxed)),
            Message::ClockStep | Message::Span | Message::TunnelPath(_) => {}
        }
    }
}

fn count(ledger: &Receiver<LedgerAtMark>, received: &Received) {
    for at_mark in ledger {
        assert_eq!(at_mark.ledger.imbalance(), (0, 0), "{at_mark:?}");
        received.ledgers.fetch_add(1, Ordering::Relaxed);
    }
}

/// Captures what `send` puts on the wire and checks every ledger.
fn capture(object: &[u8], settings: &LiveSettings, send: impl FnOnce(&Wire) -> Count) -> (LiveReport, Count) {
    let received = &Received::default();
    thread::scope(|scope| {
        let (shard, messages) = bounded(64);
        let (ledger, ledgers) = bounded(64);
        scope.spawn(move || receive(&messages, received));
        scope.spawn(move || count(&ledgers, received));
        let outlets = Outlets { shards: vec![shard], ledger, recycled: never(), batch_deltas: 512 };
        let live = Live::start(settings, object, &outlets, &mut |_| Box::new(DropSamples), Origin::default()).expect("it starts");
        drop(outlets);
        let wire = Wire::open("wire0");
        let sent = send(&wire);
        let report = live.stop();
        (report, sent)
    })
    .into_checked(received)
}

trait Checked {
    fn into_checked(self, received: &Received) -> Self;
}

impl Checked for (LiveReport, Count) {
    fn into_checked(self, received: &Received) -> Self {
        let (report, sent) = &self;
        let ledger = report.ledger();
        assert!(report.complete(), "{report:?}");
        assert_eq!(ledger.imbalance(), (0, 0), "{report:?}");
        assert_eq!(ledger.seen(), *sent, "{report:?}");
        assert_eq!(ledger.resident, Count::default(), "the last sweep leaves nothing");
        assert_eq!(received.packets.load(Ordering::Relaxed), ledger.metered.packets);
        assert_eq!(received.deltas.load(Ordering::Relaxed), ledger.counters.deltas);
        assert_eq!(received.closes.load(Ordering::Relaxed), report.rings.len());
        let marks: u64 = report.rings.iter().map(|ring| ring.marks).sum();
        assert_eq!(received.marks.load(Ordering::Relaxed) as u64, marks);
        assert_eq!(received.ledgers.load(Ordering::Relaxed) as u64, marks);
        assert_eq!(report.taps[0].counters.map(|counters| counters.transmitted), Some(0), "a tap says nothing");
        self
    }
}

fn settings(hook: HookChoice) -> LiveSettings {
    let mut settings = LiveSettings::dedicated(&["tap0"], Settings::plain());
    settings.taps[0].hook = hook;
    settings.mark_millis = 20;
    settings
}

fn send_flows(wire: &Wire, flows: u16, packets: u64, octets: usize) -> Count {
    let frames: Vec<Vec<u8>> = (0..flows).map(|flow| frame(flow, 1000 + flow, octets)).collect();
    for packet in 0..packets {
        wire.send(&frames[packet as usize % frames.len()]);
    }
    Count { packets, octets: packets * octets as u64 }
}

#[test]
fn every_hook_keeps_the_ledger_exact() {
    for (choice, hook) in [(HookChoice::Auto, Hook::Native), (HookChoice::Generic, Hook::Generic), (HookChoice::Tcx, Hook::Tcx)] {
        in_namespace(1500, |object| {
            let (report, _) = capture(object, &settings(choice), |wire| send_flows(wire, 3000, 60_000, 100));
            assert_eq!(report.taps[0].hook, hook);
            assert_eq!(report.taps[0].refused, []);
            assert_eq!(report.ledger().lost(), Count::default());
            eprintln!("{hook}: {:?} {:?}", report.sweep, report.taps[0]);
        });
    }
}

#[test]
fn jumbo_frames_take_the_multi_buffer_program() {
    in_namespace(9000, |object| {
        let (report, _) = capture(object, &settings(HookChoice::Auto), |wire| send_flows(wire, 10, 2_000, 9014));
        assert_eq!(report.taps[0].hook, Hook::NativeFrags);
    });
}

#[test]
fn a_small_ring_loses_by_the_book_only() {
    in_namespace(1500, |object| {
        let mut settings = settings(HookChoice::Auto);
        settings.ring_bytes = 32 << 10;
        settings.meter.sets_mask = 15;
        let (report, _) = capture(object, &settings, |wire| send_flows(wire, 4000, 200_000, 64));
        assert_ne!(report.ledger().lost_by(auscult_ebpf::discard::Lost::RingFull), Count::default());
        eprintln!("lost {:?} of {:?}; {:?}", report.ledger().lost(), report.ledger().seen(), report.sweep);
    });
}

#[test]
fn an_interface_is_restored() {
    in_namespace(1500, |object| {
        let before = state("tap0");
        let (report, sent) = capture(object, &settings(HookChoice::Auto), |wire| {
            let during = state("tap0");
            assert!(during.contains("NOARP") && during.contains("LOWER_UP") && during.contains("promiscuity 1"), "{during}");
            assert!(during.contains("xdp") && during.contains("ipv6 disabled: 1"), "{during}");
            send_flows(wire, 1, 1, 64)
        });
        assert_eq!(sent.packets, 1);
        assert_eq!(state("tap0"), before);
        // What was switched off is on again: it can be switched off once more.
        let device = netdev::NetDevice::open("tap0").expect("sockets").expect("it exists");
        let again = offload::switch_off(&device).expect("features");
        assert_eq!(again.names, report.taps[0].switched_off);
        assert!(!again.names.is_empty());
    });
}

#[test]
fn an_occupied_hook_is_passed_over_and_named() {
    in_namespace(1500, |object| {
        let received = Received::default();
        let (shard, messages) = bounded(1000);
        let (ledger, ledgers) = bounded(1000);
        let outlets = Outlets { shards: vec![shard], ledger, recycled: never(), batch_deltas: 512 };
        let start = |choice| Live::start(&settings(choice), object, &outlets, &mut |_| Box::new(DropSamples), Origin::default());
        let first = start(HookChoice::Generic).expect("the hook is free");
        let message = start(HookChoice::Native).expect_err("the hook is taken").to_string();
        assert!(message.starts_with("no hook of interface tap0 takes the tap program: xdp_native: "), "{message}");
        assert!(message.contains("os error 16") || message.contains("os error 17"), "{message}");
        let second = start(HookChoice::Auto).expect("TCX is free");
        let tap = second.taps().remove(0);
        assert_eq!(tap.hook, Hook::Tcx);
        let refused: Vec<Hook> = tap.refused.iter().map(|refused| refused.hook).collect();
        assert_eq!(refused, [Hook::Native, Hook::NativeFrags, Hook::Generic]);
        eprintln!("{message}");
        assert!(second.is_draining());
        assert!(second.stop().complete() && first.stop().complete());
        drop(outlets);
        receive(&messages, &received);
        count(&ledgers, &received);
        assert_eq!(received.closes.load(Ordering::Relaxed), 2 * host::online_cpus().expect("cpus").len());
    });
}

/// What `ip` tells of an interface, without its counters, and whether IPv6 is off. A queue stays once it was up.
fn state(name: &str) -> String {
    let output = Command::new("ip").args(["-details", "-oneline", "link", "show", name]).output().expect("ip runs");
    let ipv6 = std::fs::read_to_string(format!("/proc/sys/net/ipv6/conf/{name}/disable_ipv6")).expect("a setting");
    let link = String::from_utf8_lossy(&output.stdout).replace("qdisc noop ", "qdisc noqueue ");
    format!("{link} ipv6 disabled: {ipv6}")
}
