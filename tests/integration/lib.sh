# shellcheck shell=bash
# Sourced by the integration tests: tests/integration/NAME.sh PICKET
#
#   same COMMAND...      runs it natively and in the sandbox; output and exit status must be equal
#   check WHAT COMMAND   the command must succeed; reports WHAT
#   equal WHAT GOT WANT  two strings must be equal
#   need PROGRAM...      skips the test if one is missing
#   sandbox ...          picket do, with a time limit
#   finish               ends the test
#
# $work is an empty directory, removed at the end.
set -u
export LC_ALL=C.UTF-8

binary=$(readlink -f "${1:?usage: $0 PICKET}")
picket=$binary # what tests call: $binary, or a script that chooses the platform
work=$(mktemp -d "${TMPDIR:-/tmp}/picket-integration.XXXXXX")
platform=${PICKET_TEST_PLATFORM:-} # or what Picket chooses
limit=${PICKET_TEST_LIMIT:-60} # seconds for one run
failed=0 passed=0
trap 'rm -rf "$work" "$work".picket*' EXIT
cd "$work" || exit 1

skip() {
    printf 'skipped: %s\n' "$*"
    exit 77
}

if [ "$platform" = kvm ] && [ ! -w /dev/kvm ]; then
    skip "/dev/kvm cannot be used here"
fi

# With a platform, every "picket do" of a test runs on that one, whoever calls it. (A dash script: bash
# would drop PS1.)
if [ -n "$platform" ]; then
    picket=$work.picket
    ln -s "$binary" "$picket.binary"
    cat >"$picket" <<END
#!/bin/dash
[ "\$1" != do ] || { shift; set -- do --platform=$platform "\$@"; }
exec "\$0.binary" "\$@"
END
    chmod +x "$picket"
fi

need() {
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || skip "$program is not installed (./dev setup installs it)"
    done
}

pass() {
    passed=$((passed + 1))
    printf 'ok    %s\n' "$1"
}

fail() { # WHAT [DETAIL]
    failed=$((failed + 1))
    printf 'FAIL  %s\n' "$1"
    [ $# -lt 2 ] || printf '%s\n' "$2" | sed 's/^/      /'
}

check() {
    local what=$1
    shift
    if "$@"; then pass "$what"; else fail "$what"; fi
}

equal() {
    if [ "$2" = "$3" ]; then
        pass "$1"
    else
        fail "$1" "$(printf 'got:  %q\nwant: %q' "$2" "$3")"
    fi
}

contains() { # WHAT TEXT PART
    case $2 in
    *"$3"*) pass "$1" ;;
    *) fail "$1" "$(printf 'in:   %s\nmissing: %s' "$2" "$3")" ;;
    esac
}

sandbox() {
    timeout -k 5 "$limit" "$picket" 'do' "$@"
}

# Exit status of a command, its output thrown away.
status_of() {
    "$@" </dev/null >/dev/null 2>&1
    echo $?
}

# Shows the first lines in which two files differ.
differences() {
    diff -a -u --label native --label sandbox "$1" "$2" | head -n "${3:-12}" | cut -c 1-160
}

same() {
    local what=${label:-$*} input=/dev/null native sandboxed
    [ ! -e input ] || input=input
    timeout -k 5 "$limit" "$@" <$input >native.out 2>native.err
    native=$?
    sandbox -- "$@" <$input >sandbox.out 2>sandbox.err
    sandboxed=$?
    what=$(printf '%s' "$what" | tr '\n' ' ' | cut -c 1-90)
    if [ $native -ne $sandboxed ]; then
        fail "$what" "status $sandboxed, natively $native; stderr: $(head -c 600 sandbox.err)"
    elif ! cmp -s native.out sandbox.out; then
        fail "$what" "$(differences native.out sandbox.out)"
    elif ! cmp -s native.err sandbox.err; then
        fail "$what" "stderr: $(differences native.err sandbox.err)"
    else
        pass "$what"
    fi
}

# All processes below one, itself included.
tree_of() {
    local child
    echo "$1"
    for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do
        tree_of "$child"
    done
}

# Those of the given processes that still run. A zombie is not: its parent has yet to see it.
still_running() {
    local pid state
    for pid in "$@"; do
        state=$(sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$pid/status" 2>/dev/null)
        case $state in '' | Z | X) ;; *) printf '%s ' "$pid" ;; esac
    done
}

# Waits until none of the processes run; fails after five seconds.
all_gone() {
    local i
    for i in $(seq 100); do
        [ -n "$(still_running "$@")" ] || return 0
        sleep 0.05
    done
    printf '      still running after %s tries:\n' "$i"
    ps -o pid,ppid,stat,args -p "$(still_running "$@" | tr ' ' ',' | sed 's/,$//')"
    return 1
}

# wait_for FILE: until it is not empty; fails after ten seconds.
wait_for() {
    local i
    for i in $(seq 200); do
        [ ! -s "$1" ] || return 0
        sleep 0.05
    done
    printf '      nothing in %s after %s tries\n' "$1" "$i"
    return 1
}

finish() {
    printf '%s passed, %s failed\n' "$passed" "$failed"
    [ "$failed" = 0 ] && [ "$passed" -gt 0 ]
    exit
}
