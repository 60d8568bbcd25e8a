//! Two hosts with a link between them that a tap sees in both directions, and tunnels over it: the kernel's own devices, or the frame
//! builder's headers around what the kernel sends.
#![expect(clippy::disallowed_methods, reason = "deadlines bound how long a test waits for packets")]

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    os::unix::fs::OpenOptionsExt,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use auscult::{
    lab::{Lab, Namespace},
    scene::frame::{self, ETHERTYPE_IPV4, ETHERTYPE_IPV6, Link},
};

use crate::{
    tap::TapSocket,
    tunnel::{ETHERTYPE_MPLS, ETHERTYPE_PPPOE, Inside, Layer},
};

/// Interfaces of the two ends of the link.
pub const ENDS: [&str; 2] = ["near", "far"];
/// The two ends' addresses on the link.
pub const IPV4: [Ipv4Addr; 2] = [Ipv4Addr::new(192, 0, 2, 1), Ipv4Addr::new(192, 0, 2, 2)];
/// See [`IPV4`].
pub const IPV6: [Ipv6Addr; 2] = [Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 1), Ipv6Addr::new(0xfd00, 2, 0, 0, 0, 0, 0, 2)];
/// Echo requests of one conversation.
pub const ECHOES: u16 = 4;
/// Octets of data in each.
pub const ECHO_OCTETS: usize = 56;
/// Octets that a client sends and a server answers.
pub const OCTETS: [usize; 2] = [120_000, 30_000];
/// The server's port.
pub const PORT: u16 = 8080;
/// How long anything may take to arrive.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an end of a tunnel looks at one of its two sides.
const LOOK: Duration = Duration::from_millis(1);
/// Longest packet on the link: room for every header there is around the longest packet in a tunnel.
const LINK_MTU: u32 = 2000;
/// Longest packet in a tunnel: the least that IPv6 takes.
const INNER_MTU: u32 = 1280;
/// `TUNSETIFF` and its flags (linux/if_tun.h).
const TUNSETIFF: libc::c_ulong = 0x4004_54ca;
const IFF_TUN: u16 = 1;
const IFF_TAP: u16 = 2;
const IFF_NO_PI: u16 = 0x1000;

/// Two hosts, the link between them, and the laboratory with the tap.
#[derive(Debug)]
pub struct Underlay {
    /// The near host and the tap.
    pub lab: std::sync::Arc<Lab>,
    far: Lab,
}

impl Underlay {
    /// Makes both hosts. The tap hears nothing yet: see [`Underlay::mirror`].
    ///
    /// # Errors
    /// No privileges, no tools, or a kernel without what it takes.
    pub fn new() -> Result<Self> {
        // The second laboratory is there for its first namespace.
        let underlay = Self { lab: std::sync::Arc::new(Lab::pair(LINK_MTU)?), far: Lab::pair(LINK_MTU)? };
        let [near, far] = [0, 1].map(|end| underlay.host(end).name().to_owned());
        ip(&format!("-n {near} link add near mtu {LINK_MTU} type veth peer name far mtu {LINK_MTU} netns {far}"))?;
        for (end, host) in [&near, &far].into_iter().enumerate() {
            let device = ENDS[end];
            let features = "tx off rx off sg off tso off gso off gro off rxvlan off txvlan off";
            tool("ip", &format!("netns exec {host} ethtool -K {device} {features}"))?;
            underlay.enable_ipv6(end, device)?;
            underlay.enable_ipv6(end, "lo")?;
            ip(&format!("-n {host} addr add {}/24 dev {device}", IPV4[end]))?;
            ip(&format!("-n {host} addr add {}/64 dev {device} nodad", IPV6[end]))?;
            ip(&format!("-n {host} link set {device} up"))?;
            ip(&format!("-n {host} link set lo up"))?;
        }
        Ok(underlay)
    }

    /// From here on, the tap hears what the two ends send to each other.
    ///
    /// # Errors
    /// The kernel has no classifier for it.
    pub fn mirror(&self) -> Result<()> {
        let host = self.host(0).name();
        tool("tc", &format!("-n {host} qdisc add dev near clsact"))?;
        for side in ["ingress", "egress"] {
            let mirror = |classifier: &str| {
                let action = "action mirred egress mirror dev host0";
                tool("tc", &format!("-n {host} filter add dev near {side} protocol all {classifier} {action}"))
            };
            mirror("matchall").or_else(|_| mirror("u32 match u32 0 0"))?;
        }
        Ok(())
    }

    /// The tap hears nothing any more.
    ///
    /// # Errors
    /// It did not before.
    pub fn silence(&self) -> Result<()> {
        tool("tc", &format!("-n {} qdisc del dev near clsact", self.host(0).name()))
    }

    /// The namespace of an end.
    pub fn host(&self, end: usize) -> &Namespace {
        if end == 0 { self.lab.site() } else { self.far.site() }
    }

    fn enable_ipv6(&self, end: usize, device: &str) -> Result<()> {
        let path = format!("/proc/sys/net/ipv6/conf/{device}/disable_ipv6");
        self.host(end).run(|| fs::write(&path, "0"))?.with_context(|| path.clone())
    }

    /// Gives a device its addresses in the net of a number, and a MAC if it has one, and brings it up.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn raise(&self, end: usize, device: &str, net: u8, has_mac: bool) -> Result<()> {
        let host = self.host(end).name();
        if has_mac {
            ip(&format!("-n {host} link set {device} address 92:00:00:00:{net:02x}:{:02x}", end + 1))?;
        }
        self.enable_ipv6(end, device)?;
        for (pair, length) in [(inner(net, false), 24), (inner(net, true), 64)] {
            let nodad = if length == 64 { "nodad" } else { "" };
            // A device of one family only takes no other addresses.
            let _ = ip(&format!("-n {host} addr add {}/{length} dev {device} {nodad}", pair[end]));
        }
        ip(&format!("-n {host} link set {device} mtu {INNER_MTU} up"))
    }

    /// Echo requests and answers, and a TCP connection that carries [`OCTETS`], between the ends' addresses.
    ///
    /// # Errors
    /// Something does not arrive.
    pub fn talk(&self, ends: [IpAddr; 2]) -> Result<()> {
        self.host(0).run(|| echo(ends))??;
        let server = self.host(1).run(|| TcpListener::bind(SocketAddr::new(ends[1], PORT)))??;
        std::thread::scope(|scope| {
            let served = scope.spawn(|| serve(&server));
            let client = self.host(0).run(|| connect(ends[1]))?;
            served.join().map_err(|_| anyhow::anyhow!("the server died"))??;
            client
        })
    }

    /// Carries what comes to TUN or TAP devices of a name at both ends in `layer`, while `work` runs.
    ///
    /// # Errors
    /// As `work`; or a device cannot be made.
    pub fn tunnelled(&self, layer: &Layer, device: &str, net: u8, work: impl FnOnce() -> Result<()>) -> Result<()> {
        let done = AtomicBool::new(false);
        let has_mac = layer.link.is_some();
        let mut ends = Vec::new();
        for (end, name) in ENDS.iter().enumerate() {
            let [own, peer] = [end, 1 - end].map(|end| self.mac(end));
            let link = Link { target: peer?, source: own?, tags: Vec::new() };
            let (tun, socket) = self.host(end).run(|| anyhow::Ok((tun(device, has_mac)?, TapSocket::open(name)?)))??;
            self.raise(end, device, net, has_mac)?;
            ends.push(End { tun, socket, link, layer: layer.clone(), way: end });
        }
        std::thread::scope(|scope| {
            let carriers: Vec<_> = ends.into_iter().map(|end| scope.spawn(|| end.carry(&done))).collect();
            let result = work();
            done.store(true, Ordering::Relaxed);
            for carrier in carriers {
                carrier.join().map_err(|_| anyhow::anyhow!("an end of the tunnel died"))??;
            }
            result
        })
    }

    fn mac(&self, end: usize) -> Result<[u8; 6]> {
        let path = format!("/sys/class/net/{}/address", ENDS[end]);
        let host = self.host(end).name();
        let output = Command::new("ip").args(["netns", "exec", host, "cat", &path]).output()?;
        let text = String::from_utf8(output.stdout)?;
        let octets: Vec<u8> = text.trim().split(':').map(|octet| u8::from_str_radix(octet, 16)).collect::<Result<_, _>>()?;
        octets.try_into().map_err(|_| anyhow::anyhow!("{text} is no MAC"))
    }
}

/// Addresses of both ends in the net of a number.
pub fn inner(net: u8, is_v6: bool) -> [IpAddr; 2] {
    [1, 2].map(|host| match is_v6 {
        false => IpAddr::V4(Ipv4Addr::new(172, 20, net, host)),
        true => IpAddr::V6(Ipv6Addr::new(0xfd77, net.into(), 0, 0, 0, 0, 0, host.into())),
    })
}

/// Runs `ip`.
///
/// # Errors
/// It refuses; with what it said.
pub fn ip(arguments: &str) -> Result<()> {
    tool("ip", arguments)
}

fn tool(name: &str, arguments: &str) -> Result<()> {
    let output = Command::new(name).args(arguments.split_whitespace()).output().with_context(|| format!("cannot run {name}"))?;
    ensure!(output.status.success(), "`{name} {arguments}`: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

/// Sends echo requests one after the other and waits for each answer.
fn echo(ends: [IpAddr; 2]) -> Result<()> {
    let (family, protocol) =
        if ends[0].is_ipv4() { (libc::AF_INET, libc::IPPROTO_ICMP) } else { (libc::AF_INET6, libc::IPPROTO_ICMPV6) };
    // SAFETY: no memory is passed.
    let raw = unsafe { libc::socket(family, libc::SOCK_RAW | libc::SOCK_CLOEXEC, protocol) };
    ensure!(raw >= 0, "raw socket: {}", io::Error::last_os_error());
    // SAFETY: just opened, no other owner. Datagrams go in and out as they do at a UDP socket.
    let socket = UdpSocket::from(unsafe { OwnedFd::from_raw_fd(raw) });
    socket.connect(SocketAddr::new(ends[1], 0))?;
    socket.set_read_timeout(Some(LOOK * 100))?;
    let data = [b'e'; ECHO_OCTETS];
    for sequence in 0..ECHOES {
        let rest = [0x12, 0x34, 0, sequence as u8];
        let (request, reply, header) = match (ends[0], ends[1]) {
            (IpAddr::V6(a), IpAddr::V6(b)) => (frame::icmpv6(a, b, 128, 0, rest, &data), 129, 0),
            _ => (frame::icmp(8, 0, rest, &data), 0, 20),
        };
        socket.send(&request)?;
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 2048];
        let is_answer = |octets: &[u8]| octets.get(header) == Some(&reply) && octets.get(header + 4..header + 8) == Some(&rest);
        while !socket.recv(&mut buffer).is_ok_and(|octets| is_answer(&buffer[..octets])) {
            ensure!(Instant::now() < deadline, "no answer to echo request {sequence} from {}", ends[1]);
        }
    }
    Ok(())
}

/// Takes one connection: reads what the client sends, answers, and reads until it closes.
fn serve(server: &TcpListener) -> Result<()> {
    let (mut stream, _) = server.accept()?;
    limit(&stream)?;
    let mut octets = vec![0; OCTETS[0]];
    stream.read_exact(&mut octets)?;
    stream.write_all(&vec![b's'; OCTETS[1]])?;
    stream.shutdown(std::net::Shutdown::Write)?;
    ensure!(stream.read(&mut octets)? == 0, "more than was to be sent");
    Ok(())
}

fn connect(server: IpAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(server, PORT), PATIENCE)?;
    limit(&stream)?;
    stream.write_all(&vec![b'c'; OCTETS[0]])?;
    let mut octets = Vec::new();
    stream.read_to_end(&mut octets)?;
    ensure!(octets.len() == OCTETS[1], "{} octets answered", octets.len());
    Ok(())
}

fn limit(stream: &TcpStream) -> Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(stream.set_write_timeout(Some(PATIENCE))?)
}

/// A TUN or TAP device of the calling thread's namespace.
fn tun(name: &str, is_tap: bool) -> Result<File> {
    let device = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun");
    let device = device.context("cannot open /dev/net/tun")?;
    // `struct ifreq`: name, flags.
    let mut request = [0u8; 40];
    request[..name.len()].copy_from_slice(name.as_bytes());
    let flags = IFF_NO_PI | if is_tap { IFF_TAP } else { IFF_TUN };
    request[16..18].copy_from_slice(&flags.to_ne_bytes());
    // SAFETY: the request is as long as the kernel's structure and outlives the call.
    let result = unsafe { libc::ioctl(device.as_raw_fd(), TUNSETIFF, request.as_mut_ptr()) };
    ensure!(result == 0, "TUNSETIFF {name}: {}", io::Error::last_os_error());
    Ok(device)
}

/// One end of a tunnel: between its device and its end of the link.
struct End {
    tun: File,
    socket: TapSocket,
    link: Link,
    layer: Layer,
    way: usize,
}

impl End {
    fn carry(mut self, done: &AtomicBool) -> Result<()> {
        // What the other end puts in front of a packet, link header and all.
        let empty =
            if self.layer.link.is_some() { Inside::Frame(Vec::new()) } else { Inside::Packet(ETHERTYPE_IPV6, Vec::new()) };
        let Inside::Packet(ethertype, header) = self.layer.wrap(&empty, 1 - self.way) else { bail!("a frame in no packet") };
        let mut buffer = [0; 4096];
        while !done.load(Ordering::Relaxed) {
            while let Ok(octets) = self.tun.read(&mut buffer) {
                let inside = self.inside(&buffer[..octets]);
                let Inside::Packet(ethertype, packet) = self.layer.wrap(&inside, self.way) else { bail!("a frame in no packet") };
                self.socket.send(&frame::ethernet(&self.link, ethertype, &packet))?;
            }
            for frame in self.socket.frames(64, LOOK)? {
                if is_ours(&frame, ethertype, &header) {
                    // A packet that the device refuses is lost, as on any link.
                    let _ = self.tun.write(&frame[14 + header.len()..]);
                }
            }
        }
        Ok(())
    }

    fn inside(&self, octets: &[u8]) -> Inside {
        match (&self.layer.link, octets.first().map(|octet| octet >> 4)) {
            (Some(_), _) => Inside::Frame(octets.to_vec()),
            (None, Some(4)) => Inside::Packet(ETHERTYPE_IPV4, octets.to_vec()),
            (None, _) => Inside::Packet(ETHERTYPE_IPV6, octets.to_vec()),
        }
    }
}

/// Whether a frame starts with the tunnel's header, as far as that says which tunnel it is.
fn is_ours(frame: &[u8], ethertype: u16, header: &[u8]) -> bool {
    let place = match ethertype {
        ETHERTYPE_IPV4 => 12..20,
        ETHERTYPE_IPV6 => 8..40,
        ETHERTYPE_MPLS | ETHERTYPE_PPPOE => 0..4,
        _ => return false,
    };
    let is_longer = frame.len() > 14 + header.len();
    is_longer && frame[12..14] == ethertype.to_be_bytes() && frame[14..][place.clone()] == header[place]
}
