//! A scope of the user's systemd manager: a control group that the user may change.
//!
//! It is requested by `StartTransientUnit` of org.freedesktop.systemd1(5), on the user's bus.

use super::bus::{Bus, Bytes, ERROR, Object, SIGNAL, number, text};
use crate::env::Environment;
use rustix::process::{geteuid, getpid};
use std::{
    hash::{BuildHasher, RandomState},
    io::{Error, ErrorKind, Result},
};

/// Maximum number of messages that are read; four are expected.
const MESSAGES: usize = 100;

const BUS: Object = ["org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus"];
const MANAGER: Object =
    ["org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"];

/// Moves this process from the group `own` to a new scope, which ends with it. `None` if no manager can be
/// reached, or this process is not in the user's session.
///
/// A process in a group of a workload manager stays there, below its limits. So does one below a limit in the session
/// itself: `limited` is the number of levels from its own group up to the nearest one with a limit.
///
/// # Errors
/// Why there is none.
pub(super) fn enter(own: &str, limited: Option<usize>) -> Option<Result<()>> {
    let user = geteuid();
    let slice = format!("/user-{}.slice/", user.as_raw());
    let (_, session) = own.split_once(&slice).filter(|_| !user.is_root())?;
    if limited.is_some_and(|levels| levels < session.split('/').count()) {
        return None;
    }
    let bus = Environment::user_buses().find_map(|path| Bus::connect(&path).ok())?;
    // The bus does not answer.
    let timed_out = |error: Error| match error.kind() {
        ErrorKind::WouldBlock => ErrorKind::TimedOut.into(),
        _ => error,
    };
    Some(request(bus).map_err(timed_out))
}

/// Starts the scope and waits for the end of its start job.
fn request(mut bus: Bus) -> Result<()> {
    let digits = RandomState::new().hash_one(0);
    let unit = format!("joblet-exec-{}-{digits:016x}.scope", getpid().as_raw_nonzero());
    bus.authenticate()?;
    let mut rule = Bytes::default();
    rule.text(&format!(
        "type='signal',interface='{}',member='JobRemoved',arg2='{unit}'",
        MANAGER[2]
    ));
    let calls = [
        Bytes::call(1, BUS, "Hello", ("", &Bytes::default())),
        Bytes::call(2, BUS, "AddMatch", ("s", &rule)),
        Bytes::call(3, MANAGER, "StartTransientUnit", ("ssa(sv)a(sa(sv))", &scope(&unit))),
    ];
    bus.send(&calls.map(|call| call.0).concat())?;
    for _ in 0..MESSAGES {
        let refused = match bus.receive()? {
            (ERROR, body) => text(&mut &*body).unwrap_or("refused").to_owned(),
            (SIGNAL, body) => match removed(&body) {
                Some((of, "done")) if of == unit => return Ok(()),
                Some((of, result)) if of == unit => result.to_owned(),
                _ => continue,
            },
            _ => continue,
        };
        return Err(Error::other(refused));
    }
    Err(ErrorKind::TimedOut.into())
}

/// The arguments of `StartTransientUnit`: a scope with this process and delegated groups.
fn scope(unit: &str) -> Bytes {
    let mut all = Bytes::default();
    all.text(unit);
    all.text("fail"); // if the name is in use
    all.structures(|properties| {
        // Length of the list in bytes, and 0: the caller, whatever its ID in the manager's PID namespace is.
        properties.property("PIDs", "au");
        properties.number(4);
        properties.number(0);
        properties.property("Delegate", "b");
        properties.number(1);
        // Unload it even if one of its processes was killed.
        properties.property("CollectMode", "s");
        properties.text("inactive-or-failed");
    });
    all.structures(|_| {}); // no other units
    all
}

/// The unit and the result in the arguments of `JobRemoved`: ID, job, unit, result.
fn removed(mut body: &[u8]) -> Option<(&str, &str)> {
    let body = &mut body;
    number(body)?;
    text(body)?;
    Some((text(body)?, text(body)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read, Write},
        os::unix::net::UnixStream,
        thread,
    };

    /// A message of this type with these arguments, without fields.
    fn message(kind: u8, arguments: &Bytes) -> Vec<u8> {
        let mut all = Bytes(vec![b'l', kind, 0, 1]);
        for number in [arguments.0.len(), 1, 0] {
            all.number(number.try_into().unwrap());
        }
        [all.0, arguments.0.clone()].concat()
    }

    fn texts(texts: &[&str]) -> Bytes {
        let mut all = Bytes::default();
        for text in texts {
            all.text(text);
        }
        all
    }

    /// `JobRemoved` of `unit`.
    fn job_removed(unit: &str, result: &str) -> Vec<u8> {
        let mut all = Bytes::default();
        all.number(7);
        for text in ["/job/7", unit, result] {
            all.text(text);
        }
        message(SIGNAL, &all)
    }

    /// The result with a bus that replies `greeting`, and then `answers` for the unit's name.
    fn requested(greeting: &str, answers: impl Fn(&str) -> Vec<u8> + Send + 'static) -> String {
        let (client, mut server) = UnixStream::pair().unwrap();
        let greeting = greeting.to_owned();
        let bus = thread::spawn(move || {
            let mut received = Vec::new();
            let mut wait_for = |what: &[u8], server: &mut UnixStream| {
                let mut part = [0; 4096];
                while !received.windows(what.len()).any(|it| it == what) {
                    match server.read(&mut part) {
                        Ok(0) | Err(_) => return received.clone(),
                        Ok(len) => received.extend(&part[..len]),
                    }
                }
                received.clone()
            };
            wait_for(b"\r\n", &mut server);
            server.write_all(greeting.as_bytes()).unwrap();
            if greeting.is_empty() {
                return;
            }
            let call = wait_for(b"inactive-or-failed", &mut server);
            let call = String::from_utf8_lossy(&call);
            let unit = call.split("arg2='").nth(1).and_then(|it| it.split('\'').next());
            // The client may have closed the connection.
            _ = server.write_all(&answers(unit.unwrap_or_default()));
        });
        let result = request(Bus(client));
        bus.join().unwrap();
        result.map_or_else(|error| error.to_string(), |()| "moved".to_owned())
    }

    #[test]
    fn answers_of_a_bus() {
        const OK: &str = "OK 0123456789abcdef0123456789abcdef\r\n";
        const END: &str = "failed to fill whole buffer";
        let other = || job_removed("other.scope", "failed");
        let acquired = || message(SIGNAL, &texts(&[":1.7"]));
        let reply = || message(2, &texts(&[":1.7"]));
        let usual = [reply(), acquired(), reply(), other(), reply()].concat();
        let before = usual.clone();
        let moved = move |unit: &str| [before.clone(), job_removed(unit, "done")].concat();
        assert_eq!(requested(OK, moved), "moved");
        let refused = "Sender is not authorized";
        let error = move |_: &str| [reply(), message(ERROR, &texts(&[refused]))].concat();
        assert_eq!(requested(OK, error), refused);
        assert_eq!(requested(OK, |_: &str| message(ERROR, &Bytes::default())), "refused");
        assert_eq!(requested(OK, |unit: &str| job_removed(unit, "canceled")), "canceled");
        assert_eq!(
            requested("REJECTED EXTERNAL\r\n", |_: &str| Vec::new()),
            "the bus does not accept this user"
        );
        // The bus closes the connection: at once, within a message, before the expected message.
        assert_eq!(requested("", |_: &str| Vec::new()), END);
        assert_eq!(requested(OK, |unit: &str| job_removed(unit, "done")[..40].to_vec()), END);
        assert_eq!(requested(OK, move |_: &str| usual.clone()), END);
        // Invalid lengths, big-endian messages.
        let long = || Bytes(b"l\x04\0\x01\xff\xff\xff\xff\x01\0\0\0\0\0\0\0".to_vec()).0;
        assert_eq!(requested(OK, move |_: &str| long()), "invalid data");
        let swapped = |unit: &str| [&b"B"[..], &job_removed(unit, "done")[1..]].concat();
        assert_eq!(requested(OK, swapped), "invalid data");
        // Too many messages.
        let many = move |_: &str| (0..=MESSAGES).flat_map(|_| acquired()).collect();
        assert_eq!(requested(OK, many), "timed out");
    }

    #[test]
    fn only_users_leave_only_groups_of_their_session() {
        for own in ["/", "/slurm/job_7", "/user.slice", "/system.slice/cron.service"] {
            assert!(enter(own, None).is_none(), "{own}");
        }
        let user = geteuid();
        let others = format!("/user.slice/user-{}.slice/session-1.scope", user.as_raw() + 1);
        assert!(enter(&others, None).is_none());
        let own = format!("/user.slice/user-{}.slice/session-1.scope", user.as_raw());
        assert!(!user.is_root() || enter(&own, None).is_none());
        // Nor a limit in the session.
        assert!(enter(&own, Some(0)).is_none());
    }
}
