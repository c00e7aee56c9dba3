#!/bin/sh
# test-sandbox.sh DIR: makes DIR/condor-test-1.0.0, the directory of a runtime that has nothing but what HTCondor starts to
# see whether containers work: programs that it ships itself, linked statically. joblet.config names it.
set -eu
from=${LIBEXEC:-$(condor_config_val LIBEXEC)}/singularity_test_sandbox to=$1/condor-test-1.0.0
mkdir -p "$to/isolated"
printf 'name: condor-test\nversion: 1.0.0\nmounts:\n' >"$to/runtime.yml"
for program in exit_37 get_user_ns; do
    [ -e "$from/$program" ] || continue
    install -m 755 "$from/$program" "$to/isolated/"
    echo "  - { source: isolated/$program, target: /$program }" >>"$to/runtime.yml"
done
chmod -R u=rwX,go=rX "$to"
