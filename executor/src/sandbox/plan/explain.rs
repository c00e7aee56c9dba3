//! Messages for the error numbers of steps: cause and remedy.

use super::step::{Origin, Step};
use nix::errno::Errno;
use std::fs;

/// The text for `errno` in `step`, with a hint if strerror(3) is misleading or a remedy is known.
pub(crate) fn explain(step: &Step, errno: Errno, user_namespace: bool) -> String {
    let plain = errno.desc();
    let denied = matches!(errno, Errno::EPERM | Errno::EACCES);
    let namespaces = matches!(step, Step::Namespaces { .. } | Step::Network);
    let early = namespaces
        || matches!(
            step,
            Step::MapIds { .. } | Step::PrivateMounts | Step::Hostname { .. } | Step::Root { .. }
        );
    if user_namespace && (namespaces && errno == Errno::ENOSPC || early && denied) {
        // A program has any name.
        let read = |path: &str| fs::read(path).map(|it| String::from_utf8_lossy(&it).into()).ok();
        return format!("{plain}; {}", why_no_user_namespace(read));
    }
    let hint = match errno {
        Errno::ENOSPC if namespaces => {
            "; the limit is in /proc/sys/user (max_mnt_namespaces, max_net_namespaces, …)"
        }
        Errno::EUSERS if namespaces => "; too many nested namespaces",
        Errno::EINVAL if namespaces => {
            "; this kernel lacks one of them (CONFIG_NAMESPACES and what is below it), or needs \
             user.max_*_namespaces above 0"
        }
        Errno::EAGAIN if namespaces => "; too many processes (ulimit -u, pids.max)",
        _ if matches!(step, Step::Serve { .. }) => explain_serve(errno),
        Errno::ENOSYS if matches!(step, Step::Root { .. }) => {
            "; Linux 5.2 or later is needed, without a filter on its mount calls"
        }
        Errno::EINVAL | Errno::ENOSYS if matches!(step, Step::Seccomp) => {
            "; this kernel lacks CONFIG_SECCOMP_FILTER"
        }
        Errno::EINVAL if matches!(step, Step::PrivateMounts) => {
            "; the root directory is not a mount here (a chroot): `mount --bind DIR DIR` before the \
             chroot fixes it"
        }
        Errno::EPERM if early => {
            "; this container lacks CAP_SYS_ADMIN: start it with that capability"
        }
        Errno::EPERM if matches!(step, Step::Bind { .. }) => {
            "; the kernel does not let a user change the flags of this mount"
        }
        Errno::ENOENT if is_name(step) => "; no volume has a name: name a directory, ./DIR",
        _ => "",
    };
    format!("{plain}{hint}")
}

/// Whether the source of a bind mount is a name without `/`, as other tools' volumes have one.
fn is_name(step: &Step) -> bool {
    let Step::Bind { source: Origin::Host(path), .. } = step else { return false };
    !path.as_os_str().as_encoded_bytes().contains(&b'/')
}

/// The reason why FUSE is not available, and a remedy.
fn explain_serve(errno: Errno) -> &'static str {
    match errno {
        Errno::ENOENT | Errno::ENXIO | Errno::ENODEV => {
            ", /dev/fuse; as root, modprobe fuse, or start the container with --device /dev/fuse"
        }
        Errno::EACCES => ", /dev/fuse; as root, chmod 0666 /dev/fuse",
        Errno::EPERM | Errno::EINVAL => {
            ", FUSE; in a user namespace it needs Linux 4.18 and no policy against it"
        }
        _ => ", FUSE",
    }
}

/// The first of the usual reasons why a user cannot create a user namespace. `read` reads a file.
fn why_no_user_namespace(read: impl Fn(&str) -> Option<String>) -> String {
    let is = |path: &str, value: &str| read(path).is_some_and(|text| text.trim() == value);
    for (name, value, remedy) in [
        ("user.max_user_namespaces", "0", "15000"),
        ("kernel.unprivileged_userns_clone", "0", "1"),
        ("kernel.apparmor_restrict_unprivileged_userns", "1", "0"),
    ] {
        if is(&format!("/proc/sys/{}", name.replace('.', "/")), value) {
            let profile = if name.contains("apparmor") {
                ", or an AppArmor profile that allows `userns` to this program,"
            } else {
                ""
            };
            return format!(
                "user namespaces are disabled by {name}={value}: as root, `sysctl -w {name}={remedy}`{profile} fixes it"
            );
        }
    }
    let status = read("/proc/self/status").unwrap_or_default();
    if status.lines().any(|line| line.starts_with("Seccomp:") && line.ends_with('2')) {
        return "a filter of system calls around this process, as containers have, forbids \
                namespaces: start the container without it (seccomp=unconfined)"
            .into();
    }
    "user namespaces are not available here (a chroot, a security module or a container forbids \
     them): run as root, or allow them to this user"
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cause_is_named() {
        for (file, text, want) in [
            (
                "/proc/sys/user/max_user_namespaces",
                "0\n",
                "sysctl -w user.max_user_namespaces=15000",
            ),
            ("/proc/sys/kernel/unprivileged_userns_clone", "0\n", "unprivileged_userns_clone=1"),
            ("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1\n", "AppArmor profile"),
            ("/proc/self/status", "Name:\tx\nSeccomp:\t2\n", "seccomp=unconfined"),
            ("/nothing", "", "not available here"),
        ] {
            let reason = why_no_user_namespace(|path| (path == file).then(|| text.to_owned()));
            assert!(reason.contains(want), "{reason}");
        }
    }

    #[test]
    fn errors_that_mislead_are_explained() {
        let namespaces = Step::Namespaces { user: false, network: true, ipc: true };
        let source = Origin::Host("data".into());
        let bind = Step::Bind { source, target: "/data".into(), writable: true };
        for (step, errno, want) in [
            (&namespaces, Errno::ENOSPC, "/proc/sys/user"),
            (&namespaces, Errno::EPERM, "CAP_SYS_ADMIN"),
            (&Step::Root { size: None }, Errno::ENOSYS, "Linux 5.2"),
            (&Step::PrivateMounts, Errno::EINVAL, "mount --bind"),
            (&Step::Seccomp, Errno::EINVAL, "CONFIG_SECCOMP_FILTER"),
            (&Step::EnterRoot, Errno::EIO, Errno::EIO.desc()),
            (&bind, Errno::ENOENT, "name a directory, ./DIR"),
        ] {
            assert!(explain(step, errno, false).contains(want), "{step}");
        }
    }
}
