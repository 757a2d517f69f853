#!/bin/sh
# ./go CMD ARGS…: make sure that the environment is there, then run CMD in it.
#
# Needs Python 3.11 or newer with pip, and nothing else. pip brings a pinned uv into .tools
# (--target works without venv and on an "externally managed" Python), uv makes .venv from uv.lock.
set -u

uv_version=0.13.9

say() { echo "go: $*" >&2; }
fail() { say "$*"; exit 1; }

[ $# -gt 0 ] || { echo "usage: ./go CMD ARGS…, for example: ./go holdfast demo" >&2; exit 2; }

unset CDPATH
root=$(cd "$(dirname "$0")" && pwd -P) || exit 1
tools=$root/.tools venv=$root/.venv stamp=$root/.venv/.go-stamp

# What the environment was made from, and where: its scripts hold their own path.
wanted=$(cat "$root/pyproject.toml" "$root/uv.lock" | cksum) || fail "pyproject.toml or uv.lock is missing"
wanted="$root $wanted"

stamped() { cat "$stamp" 2>/dev/null; }
fresh() { [ -x "$venv/bin/python" ] && [ "$(stamped)" = "$wanted" ]; }
uv_runs() { [ "$("$tools/bin/uv" --version 2>/dev/null | cut -d ' ' -f 2)" = "$uv_version" ]; }

# Set $python to the first that is new enough and, if uv is still to come, has pip.
choose_python() {
    newer= needs="sys.version_info >= (3, 11)"
    for python in ${PYTHON:+"$PYTHON"} python3 python3.11 python3.12 python3.13 python3.14; do
        path=$("$python" -c "import sys; print(sys.executable); sys.exit(not $needs)" 2>/dev/null) || continue
        newer=${newer:-$path} python=$path
        uv_runs || "$python" -m pip --version >/dev/null 2>&1 || continue
        return
    done
    [ -z "$newer" ] || fail "$newer has no pip; install it (Debian: apt install python3-pip) or set PYTHON"
    fail "no Python 3.11 or newer found; install one or set PYTHON to its path"
}

# Moved into place as a whole, so that an interrupted install is never taken for a finished one.
install_uv() {
    say "installing uv $uv_version into .tools"
    rm -rf "$tools/new" "$tools/bin"
    PIP_USER=0 PIP_REQUIRE_VIRTUALENV=0 PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 \
        "$python" -m pip install --quiet --no-deps --only-binary :all: --target "$tools/new" "uv==$uv_version" ||
        fail "pip could not install uv $uv_version (see above)"
    mv "$tools/new/bin" "$tools/bin" && rm -rf "$tools/new"
    uv_runs || fail "$tools/bin/uv does not run here (is the folder mounted noexec?)"
}

# No stamp of this place: half-made, moved or not ours, so begin anew; uv's cache makes that cheap.
# The stamp goes first and comes last, for an interrupted sync must not look finished.
sync() {
    say "making the environment in .venv with $python"
    case $(stamped) in "$root "*) rm -f "$stamp" ;; *) rm -rf "$venv" ;; esac
    (
        unset VIRTUAL_ENV UV_PROJECT_ENVIRONMENT
        cd "$root" && UV_PYTHON_DOWNLOADS=never "$tools/bin/uv" sync --quiet --frozen --compile-bytecode --python "$python"
    ) || fail "uv could not make the environment (see above)"
    echo "$wanted" >"$stamp"
}

if ! fresh; then
    # A subshell, so that the lock's descriptor is never inherited by CMD. Python takes the lock,
    # which stays with the descriptor: flock(1) is not everywhere.
    (
        # `true`, for a redirection that fails at `:` would end the shell without a word.
        { mkdir -p "$tools" && true >>"$tools/lock"; } 2>/dev/null ||
            fail "$root is not writable, and its environment is not made yet; use a writable clone"
        choose_python
        exec 9>>"$tools/lock"
        "$python" -c "import fcntl; fcntl.flock(9, fcntl.LOCK_EX)" || fail "cannot lock $tools/lock"
        fresh && exit
        uv_runs || install_uv
        sync
    ) || exit
fi

VIRTUAL_ENV=$venv PATH=$venv/bin:$PATH
export VIRTUAL_ENV PATH
unset PYTHONHOME
exec "$@"
