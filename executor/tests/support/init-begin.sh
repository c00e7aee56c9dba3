#!/busybox sh
# The beginning of every first process in the emulator: `try NAME COMMAND…` prints the output of a case, between
# `@@ NAME` and `@@= STATUS`.
export PATH=/none
b() { /busybox "$@"; }
try() {
    echo "@@ $1"
    shift
    "$@" >/out 2>&1 # no terminal
    status=$?
    b cat /out
    echo "@@= $status"
}
