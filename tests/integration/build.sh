#!/usr/bin/env bash
# A C project from its Debian source package: unpacked by dpkg-source, configured, built by four jobs
# and tested by its own test suite, all inside. It takes minutes: PICKET_LONG=1, and the network to
# fetch the source from.
#
# PICKET_SOURCE: another package that is built with configure and make.
. "$(dirname "$0")/lib.sh"
need dpkg-source apt-get make gcc
[ -n "${PICKET_LONG:-}" ] || skip 'it takes minutes (PICKET_LONG=1)'
package=${PICKET_SOURCE:-gzip}
limit=1500

mkdir -p lists/partial
echo 'deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main' >list
apt=(apt-get -qq -o "Dir::Etc::sourcelist=$work/list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$work/lists" -o APT::Sandbox::User=root)
{ "${apt[@]}" update && "${apt[@]}" source --download-only "$package"; } >fetch.log 2>&1 ||
    skip "the source of $package cannot be fetched: $(tail -n 1 fetch.log)"

cat >build.sh <<'X2'
set -e
umask 022
cd "$(mktemp -d)"
dpkg-source --no-check --skip-patches -x "$1"/*.dsc tree >/dev/null 2>&1
cd tree
find . -name '*.c' | wc -l
FORCE_UNSAFE_CONFIGURE=1 ./configure --disable-nls >configure.log 2>&1 || tail -n 5 configure.log
make -j4 >make.log 2>&1 || tail -n 5 make.log
make -j4 check >check.log 2>&1 || tail -n 5 check.log
grep -aE '^# (TOTAL|PASS|SKIP|XFAIL|FAIL|XPASS|ERROR)' check.log
grep -aE '^(SKIP|XFAIL|FAIL|XPASS|ERROR): ' check.log | sort
X2
start=$(date +%s)
bash build.sh "$work" >native.out 2>native.err </dev/null
between=$(date +%s)
sandbox -- bash build.sh "$work" >sandbox.out 2>sandbox.err </dev/null
printf '%s seconds natively, %s in the sandbox; %s\n' $((between - start)) $(($(date +%s) - between)) \
    "$(tr '\n' ' ' <sandbox.out)"
check 'a project of 100 files or more' test "$(head -n 1 native.out)" -ge 100
contains 'it has tests, and they pass' "$(cat sandbox.out)" '# FAIL:  0'
check 'as natively' cmp native.out sandbox.out || differences native.out sandbox.out
finish
