//! A connection to a server: with TLS for https, through a proxy if one is configured, with a minimum
//! transfer rate.

use super::address::is_localhost;
use super::message::Head;
use super::proxy::Proxy;
use super::tls_roots;
use crate::env;
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::io::{self, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};
use url::{Host, Url};

/// Longest time to connect to one address.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// A byte stream whose reads and writes fail after a deadline.
pub(super) trait Stream: Read + Write + Send {
    /// Sets the deadline of all further reads and writes.
    fn set_deadline(&mut self, end: Instant);
}

/// Why a request got no response.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The network, or the server.
    Io(io::Error),
    /// The host name does not resolve; no connection was attempted.
    Name,
    /// The status with which the proxy refused CONNECT.
    Proxy(u16),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The timeout of one read or write: until `end`, but at most the idle timeout.
fn time_left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(too_slow()) } else { Ok(left.min(env::timeout())) }
}

/// Retries on `EINTR` (SIGCONT after SIGSTOP causes it), and distinguishes an idle server from a slow one.
fn with_deadline(
    end: Instant,
    mut act: impl FnMut(Duration) -> io::Result<usize>,
) -> io::Result<usize> {
    loop {
        let done = act(time_left(end)?);
        match done.as_ref().map_err(io::Error::kind) {
            Err(io::ErrorKind::Interrupted) => {}
            Err(io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                time_left(end)?;
                return Err(io::ErrorKind::TimedOut.into());
            }
            _ => return done,
        }
    }
}

/// Minimum average transfer rate, in bytes per second, after the initial allowance of time.
pub(super) const MIN_RATE: u64 = 1024;

/// Not retried: a server this slow is slow the next time, too.
fn too_slow() -> io::Error {
    let reason = format!("the server sends less than {MIN_RATE} bytes a second");
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// A TCP connection with a deadline for everything that goes over it, handshakes included.
struct Socket {
    tcp: TcpStream,
    deadline: Instant,
}

impl Read for Socket {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        with_deadline(self.deadline, |left| {
            self.tcp.set_read_timeout(Some(left))?;
            self.tcp.read(buffer)
        })
    }
}

impl Write for Socket {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        with_deadline(self.deadline, |left| {
            self.tcp.set_write_timeout(Some(left))?;
            self.tcp.write(bytes)
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Socket {
    fn set_deadline(&mut self, end: Instant) {
        self.deadline = end;
    }
}

impl Stream for StreamOwned<ClientConnection, Box<dyn Stream>> {
    fn set_deadline(&mut self, end: Instant) {
        self.sock.set_deadline(end);
    }
}

/// Connects to the server of `url`.
///
/// # Errors
/// [`Fault`].
pub(super) fn open(
    url: &Url,
    proxy: Option<&Proxy>,
    deadline: Instant,
) -> Result<Box<dyn Stream>, Fault> {
    let host = url.host().unwrap_or(Host::Domain(""));
    let port = url.port_or_known_default().unwrap_or_default();
    let tls = url.scheme() == "https";
    let Some(proxy) = proxy else {
        let socket = Box::new(dial(&host, port, deadline)?);
        return if tls { Ok(secure(socket, &host)?) } else { Ok(socket) };
    };
    let (proxy_host, proxy_port, proxy_tls) = proxy.endpoint();
    let mut stream: Box<dyn Stream> = Box::new(dial(&proxy_host, proxy_port, deadline)?);
    if proxy_tls {
        stream = secure(stream, &proxy_host)?;
    }
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
    if let Some(value) = proxy.authorization() {
        request = request + "Proxy-Authorization: " + &value + "\r\n";
    }
    stream.write_all((request + "\r\n").as_bytes())?;
    stream.flush()?;
    // Read byte by byte: what follows the head comes from the server, not the proxy.
    let answer = Head::read(&mut BufReader::with_capacity(1, &mut stream))?;
    match answer.status {
        200..300 => Ok(secure(stream, &host)?),
        status => Err(Fault::Proxy(status)),
    }
}

/// Resolves `host` and connects to the first address that accepts.
fn dial(host: &Host<&str>, port: u16, deadline: Instant) -> Result<Socket, Fault> {
    let at = |address: IpAddr| SocketAddr::new(address, port);
    let addresses = match *host {
        // Not from DNS, which may answer anything for that name.
        Host::Domain(name) if is_localhost(name) => {
            vec![at(Ipv4Addr::LOCALHOST.into()), at(Ipv6Addr::LOCALHOST.into())]
        }
        Host::Domain(name) => (name, port).to_socket_addrs().map_err(|_| Fault::Name)?.collect(),
        Host::Ipv4(address) => vec![at(address.into())],
        Host::Ipv6(address) => vec![at(address.into())],
    };
    let mut first = None;
    for address in addresses {
        match TcpStream::connect_timeout(&address, time_left(deadline)?.min(CONNECT_TIMEOUT)) {
            Ok(tcp) => {
                // TCP_NODELAY: a request is one packet and must not wait for an ACK.
                _ = tcp.set_nodelay(true);
                return Ok(Socket { tcp, deadline });
            }
            Err(error) => {
                first.get_or_insert(error);
            }
        }
    }
    Err(first.map_or(Fault::Name, Fault::Io))
}

/// Starts TLS with `host` on a connection.
fn secure(mut stream: Box<dyn Stream>, host: &Host<&str>) -> io::Result<Box<dyn Stream>> {
    let odd = |error| io::Error::new(io::ErrorKind::InvalidData, error);
    let name = match *host {
        Host::Domain(name) => ServerName::try_from(name.to_owned()).map_err(|_| {
            io::Error::new(io::ErrorKind::InvalidData, "the host name is not valid for TLS")
        })?,
        Host::Ipv4(address) => IpAddr::from(address).into(),
        Host::Ipv6(address) => IpAddr::from(address).into(),
    };
    let mut session = ClientConnection::new(tls_roots::config()?, name).map_err(odd)?;
    while session.is_handshaking() {
        session.complete_io(&mut stream)?;
    }
    Ok(Box::new(StreamOwned::new(session, stream)))
}
