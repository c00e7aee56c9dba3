# The first process of a minimal host: the static binary, a registry, and busybox for this script and the jobs. Prints
# the output of each case between `@@ NAME` and `@@= STATUS`.
exec_() { /joblet-exec "$@"; }
run() { options=$1; script=$2; $old /joblet-exec run $options --runtime=demo -- sh -c "$script"; }
# As user 1000, from a shell in the group $1; $3 is the script.
as_user() { b sh -c 'echo $$ > /cg/'"$1"'/cgroup.procs; exec /busybox start-stop-daemon -S -p /none -c 1000:1000 -a /busybox -- sh -c "$0"' "$2"; }
user_run() { as_user "$1" "cd /; /joblet-exec run $2 --runtime=demo -- sh -c '$3'$4"; }
groups() { cd /cg; echo $(b find . -name 'joblet-exec.job.*'); cd /; }
# Starts a long job with these options, and waits until it runs.
begin() {
    /joblet-exec run $1 --runtime=demo -- sleep 1000 &
    until b pidof sleep; do b usleep 100000; done >/dev/null
}
# Ends a launcher by KILL while its job runs.
orphan() {
    begin "--pids 9"
    b kill -9 $!
    while b pidof sleep; do b usleep 100000; done >/dev/null
    groups
    run "--pids 9" :
    groups
}
# Groups of other users beside those of jobs, with a process each: counts the survivors of a run. One has a name like a
# job's, without the mark.
siblings() {
    for name in joblet-agent.service joblet-x.scope joblet-1-0 joblet-exec.job.9.0123456789abcdef; do
        b mkdir -m 700 /cg/$name
        /busybox sleep 1000 & # one process, where b would be two
        echo $! >/cg/$name/cgroup.procs
    done
    run "--pids 9" :
    b cat /cg/joblet-*/cgroup.procs | b wc -l
    b kill -9 $(b cat /cg/joblet-*/cgroup.procs)
    b sleep 1
    b rmdir /cg/joblet-*
}
# A launcher in a group with a valid mark and no lock; then one outside of it.
own() {
    b mkdir -m 700 $own
    /mark $own 0123456789abcdef
    b sh -c "echo \$\$ >$own/cgroup.procs; /joblet-exec run --pids 9 --runtime=demo -- cat /proc/self/cgroup; echo \$?"
    groups
    run "--pids 9" :
    groups
}
own=/cg/joblet-exec.job.77.0123456789abcdef
# The limits of a running job, as the kernel has them.
limits() {
    begin "--memory 64 --cpu 0.5 --pids 20"
    cd /cg/joblet-exec.job.*.*
    b cat memory.max cpu.max pids.max
    cd /
    b kill $!
    wait $!
}

b mkdir /etc
echo "u:x:1000:1000:u:/:/busybox" >/etc/passwd
echo "u:x:1000:" >/etc/group

cd /
try version exec_ version
try bare-list exec_ list
try bare-install exec_ install demo --registry /registry
try bare-run run "" "echo alive"
b mkdir /proc
b mount -t proc proc /proc
b mount -t devtmpfs dev /dev
try install exec_ install demo --registry /registry
try run run "" 'echo $$ $(id -u) $PWD; cat /proc/sys/kernel/hostname'
try limited run "--memory 64 --cpu 0.5 --pids 20" "cat /proc/self/cgroup"
try full run "--memory 16" "dd if=/dev/zero of=/tmp/x bs=1M count=64"
try out-of-memory run "--memory 16" "dd if=/dev/zero of=/dev/null bs=64M count=1"
try starved run "--memory 16K" "echo alive"
b mkdir /cg
b mount -t cgroup2 cgroup2 /cg
try limits limits
try processes run "--pids 5" 'for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; echo all'
old=/old
try old-processes run "--pids 5" 'for i in 1 2 3 4 5 6 7 8; do sleep 1 & done; echo all'
old=
try orphan orphan
try siblings siblings
try own own
b mkdir /data
echo hello >/data/in
cd /data
try no-overlay run "" "cat in"
b insmod /overlay.ko || echo "@@ overlay.ko does not load"
try overlay run "" "cat in; echo mine >in; cat in"
try private b cat in
# A FIFO with a reader: writing to another one blocks.
b mkfifo -m 666 fifo
b sh -c 'exec 9<>/data/fifo; exec /busybox sleep 1000' &
try fifo run "--timeout 5" "cat in; echo x >fifo; echo live"
try bound run "--bind .:/work" "cat in; echo x >fifo; echo live"
cd /

# A user: in a group of another user, in one of a delegated subtree, alone in one.
b mkdir /cg/other /cg/given /cg/given/session /cg/alone
for dir in /cg/given /cg/given/session /cg/alone; do
    b chown 1000 $dir $dir/cgroup.procs $dir/cgroup.subtree_control
done
# Root's, empty, with a valid mark: the user could remove it.
root=/cg/given/joblet-exec.job.5.0123456789abcdef
b mkdir -m 700 $root
/mark $root 0123456789abcdef
try user user_run other "" 'echo $(id -u) $(id -g)'
try user-fifo as_user other "cd /data; /joblet-exec run --timeout 5 --runtime=demo -- sh -c 'cat in; echo x >fifo; echo live'"
try user-refused user_run other "--pids 5" :
try user-limited user_run given/session "--memory 16 --pids 5" 'cat /proc/self/cgroup; dd if=/dev/zero of=/dev/null bs=64M count=1' '; echo $?'
try user-siblings b rmdir $root
try user-alone user_run alone "--pids 5" "cat /proc/self/cgroup"
# While it is being installed: as root, and as a user who may open the device.
[ ! -e /fuse.ko ] || b insmod /fuse.ko || echo "@@ fuse.ko does not load"
b chmod 666 /dev/fuse
b mkdir /mine
b chown 1000 /mine
types='while read line; do case $line in *fuse*) echo fuse;; esac; done </proc/mounts; id -u'
try served run "--lazy --registry /registry --store /served" "$types"
try user-served user_run other "--lazy --registry /registry --store /mine/store" "$types"
try clean groups
b poweroff -f
