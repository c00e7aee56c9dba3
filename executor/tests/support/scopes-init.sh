# The first process of a host where user 1000 has a session and a systemd manager, each in the control group that
# systemd would make. Prints the output of each case between `@@ NAME` and `@@= STATUS`.
# As user 1000, from a shell in the group $1; $2 is the script.
as_user() { b sh -c 'echo $$ >'"$cg/$1"'/cgroup.procs; exec /busybox start-stop-daemon -S -p /none -c 1000:1000 -a /busybox -- sh -c "$0"' "$2"; }
run="/joblet-exec run --store /store --runtime=demo"
session() { as_user $slice/session-1.scope "cd /; $1"; }
own_and_limits() {
    session "$run --memory 64 --cpu 0.5 --pids 20 -- cat /proc/self/cgroup /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max /sys/fs/cgroup/pids.max"
}
# The control group of a job's launcher.
launcher() {
    /busybox sh -c "echo \$\$ >$cg/$slice/session-1.scope/cgroup.procs; exec /busybox start-stop-daemon -S -p /none -c 1000:1000 -a /joblet-exec -- run --store /store --runtime=demo --pids 9 -- sleep 1000" &
    for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
        b pidof sleep >/dev/null && break
        b usleep 300000
    done
    b cat /proc/$!/cgroup
    b kill -$1 $!
    wait $!
    echo $?
}
left() {
    for _ in 1 2 3 4 5 6 7 8 9 10; do
        found=$(b find $cg -name '*joblet*' 2>/dev/null) # groups come and go meanwhile
        [ -n "$found" ] || break
        b usleep 300000
    done
    echo "left: $found"
}

b mkdir -p /proc /sys /dev /etc /run/systemd/system /run/user/1000 /tmp
b mount -t proc proc /proc
b mount -t sysfs sys /sys
b mount -t devtmpfs dev /dev
cg=/sys/fs/cgroup
b mount -t cgroup2 cgroup2 $cg
echo "u:x:1000:1000:u:/:/busybox" >/etc/passwd
echo "u:x:1000:" >/etc/group
slice=user.slice/user-1000.slice
manager=$slice/user@1000.service
b mkdir -p $cg/$manager $cg/$slice/session-1.scope $cg/slurm/job_7
for group in $cg $cg/user.slice $cg/$slice; do echo "+memory +cpu +pids" >$group/cgroup.subtree_control; done
for file in "" cgroup.procs cgroup.subtree_control cgroup.threads; do b chown 1000 $cg/$manager/$file; done
# Instead of the first process, which would move a process from the session for the manager.
b chown 1000 $cg/$slice/cgroup.procs
b chown 1000 /run/user/1000
b chmod 700 /run/user/1000
export XDG_RUNTIME_DIR=/run/user/1000 HOME=/tmp
b chmod 1777 /tmp

try no-bus session "$run --memory 64 -- id"
as_user $manager "exec $DBUS --config-file=/bus.conf --nofork" >/dev/null 2>&1 &
until [ -S /run/user/1000/bus ]; do b usleep 100000; done
try no-manager session "$run --memory 64 -- id"
b kill -9 $!
b rm /run/user/1000/bus
# The manager starts its own bus.
as_user $manager "DBUS_SESSION_BUS_ADDRESS=unix:path=/run/user/1000/bus exec $SYSTEMD --user" >/manager 2>&1 &
ready() { session "$run --pids 9 -- id" >/dev/null 2>&1; }
for _ in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
    ready && break
    b sleep 1
done
ready || b cat /manager
try doctor session "/joblet-exec doctor --store /store --registry /none" </dev/null
try limits own_and_limits
try out-of-memory session "$run --memory 16 -- dd if=/dev/zero of=/dev/null bs=64M count=1"
try controllers session "$run --memory 64 --pids 9 -- cat /sys/fs/cgroup/cgroup.controllers"
try left left
try launcher launcher TERM
try killed launcher KILL
try left-again left
# A job stays in an engine's group.
try engine as_user slurm/job_7 "cd /; $run --memory 64 -- id"
# A user's service with limits, below one that the user may change.
service=$manager/app.slice/a.service
b mkdir -p $cg/$service
for group in $cg/$manager $cg/$manager/app.slice; do echo "+memory +cpu +pids" >$group/cgroup.subtree_control; done
for group in $cg/$manager/app.slice $cg/$service; do
    for file in "" cgroup.procs cgroup.subtree_control cgroup.threads; do b chown 1000 $group/$file; done
done
echo 67108864 >$cg/$service/memory.max
echo "50000 100000" >$cg/$service/cpu.max
show="cat /proc/self/cgroup /sys/fs/cgroup/memory.max /sys/fs/cgroup/cpu.max"
try bounded as_user $service "cd /; $run --memory 32 -- id; exit \$?"
try met as_user $service "cd /; $run --memory 64 --cpu 0.5 -- $show; exit \$?"
# Root's service with a limit, in a slice with one, and without.
b mkdir -p $cg/cron.slice/cron.service
echo "+memory +cpu +pids" >$cg/cron.slice/cgroup.subtree_control
cron() { b sh -c "echo \$\$ >$cg/cron.slice/cron.service/cgroup.procs; cd /; $run --pids 9 -- $*; exit \$?"; }
within() {
    cron sleep 1000 &
    until b pidof sleep >/dev/null; do b usleep 100000; done
    b cat /proc/$(b pidof sleep)/cgroup
    b kill -9 $(b pidof sleep)
    wait $!
}
echo 67108864 >$cg/cron.slice/cron.service/memory.high
try bounded-root cron id
echo max >$cg/cron.slice/cron.service/memory.high
echo 67108864 >$cg/cron.slice/memory.high
try within within
echo max >$cg/cron.slice/memory.high
try free cron cat /proc/self/cgroup /sys/fs/cgroup/pids.max
b poweroff -f
