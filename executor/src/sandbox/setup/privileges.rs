//! What a job may not do, whoever started it.

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

/// Takes every capability away for good, and becomes `user`.
///
/// The order is fixed by the kernel: the bounding set and the user need capabilities, so these go
/// last; a change of user clears the death signal.
pub(crate) fn drop_all(user: Option<Ids>) -> Result<(), Failure> {
    for capability in 0..u64::BITS {
        // Without this a program of root gets its capabilities back when it is executed.
        match remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << capability))
        {
            Err(Errno::INVAL) => break, // past the last one that this kernel knows
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
            // In a user namespace that another user made, where nobody may change groups.
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

/// Leaves the caller's session keyring, which may hold tickets and disk keys.
fn keyring() -> Result<(), Failure> {
    match sys::new_session_keyring() {
        // ENOSYS: this kernel has no keys. EPERM: a filter around us forbids the call, and so
        // does it for the job. EDQUOT: the user has 200 keys, each running job being one. The
        // keyring stays out of reach then, too: the filter denies every call that uses it.
        Ok(()) | Err(NixErrno::ENOSYS | NixErrno::EPERM | NixErrno::EDQUOT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// No core files by default: they would be in the job's directory and vanish with it. The hard
/// limit stays, so that a job can ask for them.
fn limit_cores() -> Result<(), Errno> {
    let maximum = getrlimit(Resource::Core).maximum;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum })
}
