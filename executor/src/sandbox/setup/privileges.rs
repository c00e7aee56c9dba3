//! Privileges dropped before a job starts: capabilities, groups, keyring, core files.

use super::failure::Failure;
use crate::env::weaken;
use crate::sandbox::{plan::job::Ids, sys};
use nix::errno::Errno as NixErrno;
use rustix::{
    io::Errno,
    process::{
        Gid, Resource, Rlimit, Signal, Uid, getrlimit, set_parent_process_death_signal, setrlimit,
    },
    thread::{
        CapabilitySet, CapabilitySets, clear_ambient_capability_set,
        remove_capability_from_bounding_set, set_capabilities, set_no_new_privs, set_thread_groups,
        set_thread_res_gid, set_thread_res_uid,
    },
};

/// Drops every capability irrevocably, and changes to `user`.
///
/// The kernel requires this order: dropping the bounding set and changing the user need capabilities, so
/// these are dropped last; a change of user clears the parent-death signal.
pub(crate) fn drop_all(user: Option<Ids>) -> Result<(), Failure> {
    for capability in 0..u64::BITS {
        // Otherwise a program executed by root regains its capabilities.
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << capability))
        {
            Err(Errno::INVAL) => break, // past the last capability of this kernel
            other => other?,
        }
    }
    match clear_ambient_capability_set() {
        Ok(()) | Err(Errno::INVAL) => {}
        Err(errno) => return Err(errno.into()),
    }
    if let Some(ids) = user {
        let (uid, gid) = (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid));
        match set_thread_groups(&[]) {
            // A user namespace of an unprivileged user forbids setgroups(2).
            Err(Errno::PERM) if groups_are_fixed() => {}
            other => other?,
        }
        set_thread_res_gid(gid, gid, gid)?;
        set_thread_res_uid(uid, uid, uid)?;
    }
    let none = CapabilitySet::empty();
    set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none })?;
    set_no_new_privs(true)?;
    keyring()?;
    limit_cores()?;
    let signal = (!weaken::without("follow-launcher")).then_some(Signal::KILL);
    Ok(set_parent_process_death_signal(signal)?)
}

/// Whether this user namespace forbids setgroups(2), user_namespaces(7).
fn groups_are_fixed() -> bool {
    std::fs::read("/proc/self/setgroups").is_ok_and(|policy| policy.starts_with(b"deny"))
}

/// Leaves the caller's session keyring, which may contain Kerberos tickets and disk keys.
fn keyring() -> Result<(), Failure> {
    match sys::new_session_keyring() {
        // ENOSYS: a kernel without keyrings. EPERM: an outer seccomp filter denies the call, to the
        // job as well. EDQUOT: the user's quota of 200 keys is used up, one by each running job.
        // The job cannot use the keyring in these cases either: its filter denies the calls.
        Ok(()) | Err(NixErrno::ENOSYS | NixErrno::EPERM | NixErrno::EDQUOT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Disables core files by default: they would be in the job's directory and be removed with it. The hard
/// limit stays, so that a job can enable them.
fn limit_cores() -> Result<(), Errno> {
    let maximum = getrlimit(Resource::Core).maximum;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum })
}
