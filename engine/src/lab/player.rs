//! Frames in time order → the hosts' ends of a laboratory, paced or as fast as the machine makes it.
//!
//! One thread inside the site's namespace, one packet socket for all ports, so frames enter in the order given. Batches go to
//! the kernel with one call. The thread is pinned when asked: unpinned, a change of CPU can let later frames overtake earlier ones.

use std::{
    ffi::CString,
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Lab, LabError, namespace};
use crate::scene::SceneFrame;

/// Most frames handed to the kernel by one call.
pub const BATCH_FRAMES: usize = 64;

/// Longest wait between looks at the stop flag.
const NAP: Duration = Duration::from_millis(50);

/// How fast a player plays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as it goes.
    Unpaced,
    /// So many seconds of scene time in a second; must be positive.
    Speed(f64),
}

/// What a player did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Played {
    /// Frames the kernel took.
    pub frames: u64,
    /// Their octets.
    pub octets: u64,
    /// From the first to the last.
    pub elapsed: Duration,
}

#[derive(Debug, Default)]
struct Progress {
    frames: AtomicU64,
    octets: AtomicU64,
    stop: AtomicBool,
}

/// A player at work. Dropping it stops it.
#[derive(Debug)]
pub struct Player {
    progress: Arc<Progress>,
    thread: Option<JoinHandle<Result<Played, LabError>>>,
}

impl Player {
    /// Starts to play at most `limit` frames; ports beyond the laboratory's wrap around. Returns when the socket stands.
    ///
    /// # Errors
    /// The namespace cannot be entered, or no packet socket opened.
    pub fn start<I>(lab: &Lab, frames: I, pace: Pace, limit: u64, cpu: Option<usize>) -> Result<Self, LabError>
    where
        I: IntoIterator<Item = SceneFrame> + Send + 'static,
    {
        let progress = Arc::new(Progress::default());
        let (path, hosts, shared) = (lab.site().path(), lab.hosts().to_vec(), Arc::clone(&progress));
        let (ready, is_ready) = mpsc::sync_channel(1);
        let work = move || {
            let socket = Socket::open(&path, &hosts, cpu).map_err(|error| ready.send(Err(error)));
            let Ok(socket) = socket else { return Ok(Played { frames: 0, octets: 0, elapsed: Duration::ZERO }) };
            let _ = ready.send(Ok(()));
            play(&socket, frames.into_iter(), pace, limit, &shared)
        };
        let system = |source| LabError::System { what: "start the player's thread", source };
        let thread = thread::Builder::new().name("player".into()).spawn(work).map_err(system)?;
        let player = Self { progress, thread: Some(thread) };
        is_ready.recv().unwrap_or_else(|_| Err(system(io::Error::other("it ended at once"))))?;
        Ok(player)
    }

    /// Frames sent so far.
    pub fn frames(&self) -> u64 {
        self.progress.frames.load(Ordering::Relaxed)
    }

    /// Octets sent so far.
    pub fn octets(&self) -> u64 {
        self.progress.octets.load(Ordering::Relaxed)
    }

    /// All frames are sent, or the player gave up.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Asks it to stop after the batch at hand.
    pub fn stop(&self) {
        self.progress.stop.store(true, Ordering::Relaxed);
    }

    /// Waits for the end.
    ///
    /// # Errors
    /// The kernel refused a frame.
    pub fn join(mut self) -> Result<Played, LabError> {
        let thread = self.thread.take().map(JoinHandle::join);
        thread
            .unwrap_or_else(|| Ok(Ok(Played { frames: 0, octets: 0, elapsed: Duration::ZERO })))
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn play(
    socket: &Socket,
    frames: impl Iterator<Item = SceneFrame>,
    pace: Pace,
    limit: u64,
    progress: &Progress,
) -> Result<Played, LabError> {
    #[expect(clippy::disallowed_methods, reason = "frames are played at the scene's pace; their times are the scene's own")]
    let begin = Instant::now();
    let mut batch: Vec<SceneFrame> = Vec::with_capacity(BATCH_FRAMES);
    let send = |batch: &mut Vec<SceneFrame>| {
        socket.send(batch)?;
        progress.frames.fetch_add(batch.len() as u64, Ordering::Relaxed);
        progress.octets.fetch_add(batch.iter().map(|frame| frame.octets.len() as u64).sum(), Ordering::Relaxed);
        batch.clear();
        Ok(())
    };
    for frame in frames.take(usize::try_from(limit).unwrap_or(usize::MAX)) {
        if let Pace::Speed(speed) = pace {
            let due = Duration::from_nanos((frame.at_nanos as f64 / speed) as u64);
            if begin.elapsed() < due {
                send(&mut batch)?;
            }
            while let Some(left) = due.checked_sub(begin.elapsed()).filter(|left| !left.is_zero()) {
                if progress.stop.load(Ordering::Relaxed) {
                    break;
                }
                thread::sleep(left.min(NAP));
            }
        }
        if progress.stop.load(Ordering::Relaxed) {
            break;
        }
        batch.push(frame);
        if batch.len() == BATCH_FRAMES {
            send(&mut batch)?;
        }
    }
    send(&mut batch)?;
    let [frames, octets] = [&progress.frames, &progress.octets].map(|count| count.load(Ordering::Relaxed));
    Ok(Played { frames, octets, elapsed: begin.elapsed() })
}

/// A packet socket that only sends, and the interfaces it sends to.
struct Socket {
    descriptor: OwnedFd,
    interfaces: Vec<libc::sockaddr_ll>,
}

impl Socket {
    /// Enters the namespace on the calling thread and opens the socket there.
    fn open(path: &Path, hosts: &[String], cpu: Option<usize>) -> Result<Self, LabError> {
        namespace::enter(path)?;
        if let Some(cpu) = cpu {
            pin(cpu)?;
        }
        // SAFETY: no memory is passed. Protocol zero: the socket receives nothing.
        let raw = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) };
        if raw < 0 {
            return Err(refused("open a packet socket"));
        }
        // SAFETY: the descriptor was just opened and has no other owner.
        let descriptor = unsafe { OwnedFd::from_raw_fd(raw) };
        let one: libc::c_int = 1;
        let (value, octets) = ((&raw const one).cast(), mem::size_of_val(&one) as u32);
        // SAFETY: `one` outlives the call and the length is its own. Skipping the queue is an optimisation: failure does no harm.
        unsafe { libc::setsockopt(raw, libc::SOL_PACKET, libc::PACKET_QDISC_BYPASS, value, octets) };
        let interfaces = hosts.iter().map(|host| interface(host)).collect::<Result<_, _>>()?;
        Ok(Self { descriptor, interfaces })
    }

    /// Sends all frames, in order.
    fn send(&self, frames: &[SceneFrame]) -> Result<(), LabError> {
        let mut vectors: Vec<libc::iovec> = frames
            .iter()
            .map(|frame| libc::iovec { iov_base: frame.octets.as_ptr().cast_mut().cast(), iov_len: frame.octets.len() })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = Vec::with_capacity(frames.len());
        for (frame, vector) in frames.iter().zip(&mut vectors) {
            let address = &self.interfaces[frame.port % self.interfaces.len()];
            // SAFETY: all-zero octets are a valid message header.
            let mut message: libc::mmsghdr = unsafe { mem::zeroed() };
            message.msg_hdr.msg_name = std::ptr::from_ref(address).cast_mut().cast();
            message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_ll>() as u32;
            message.msg_hdr.msg_iov = vector;
            message.msg_hdr.msg_iovlen = 1;
            messages.push(message);
        }
        let mut done = 0;
        while done < messages.len() {
            let left = &mut messages[done..];
            // SAFETY: the headers point to addresses, vectors and octets that live until the end of this function; the kernel only reads them.
            let sent = unsafe { libc::sendmmsg(self.descriptor.as_raw_fd(), left.as_mut_ptr(), left.len() as u32, 0) };
            if sent >= 0 {
                done += sent as usize;
                continue;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                // The device or the memory for buffers is busy: the frame was not taken, so it is offered again.
                Some(libc::EINTR | libc::ENOBUFS | libc::EAGAIN) => thread::yield_now(),
                _ => return Err(LabError::Send { octets: frames[done].octets.len(), source: error }),
            }
        }
        Ok(())
    }
}

fn refused(what: &'static str) -> LabError {
    LabError::System { what, source: io::Error::last_os_error() }
}

fn interface(name: &str) -> Result<libc::sockaddr_ll, LabError> {
    let text = CString::new(name).map_err(|source| LabError::System { what: "name an interface", source: source.into() })?;
    // SAFETY: the name is a C string that outlives the call.
    let index = unsafe { libc::if_nametoindex(text.as_ptr()) };
    if index == 0 {
        return Err(refused("find a host's interface"));
    }
    // SAFETY: all-zero octets are a valid address.
    let mut address: libc::sockaddr_ll = unsafe { mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_ifindex = index as i32;
    address.sll_halen = 6;
    Ok(address)
}

fn pin(cpu: usize) -> Result<(), LabError> {
    // SAFETY: all-zero octets are an empty set.
    let mut set: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: the set is ours; numbers beyond it are ignored.
    unsafe { libc::CPU_SET(cpu, &mut set) };
    // SAFETY: the set outlives the call and the length is its own; zero is the calling thread.
    match unsafe { libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set) } {
        0 => Ok(()),
        _ => Err(refused("pin the player to a CPU")),
    }
}
