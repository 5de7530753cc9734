#!/usr/bin/env bash
# Python's own regression tests: each case must end as it ends natively.
#
# The modules here are those that are quick, and ask the kernel for much. PICKET_LONG=1: the slow ones
# too. PICKET_MODULES: these. PICKET_PYTHON: another Python 3.11 (Debian's has no test_sqlite3).
. "$(dirname "$0")/lib.sh"
limit=300
python=${PICKET_PYTHON:-/usr/bin/python3.11}
"$python" -c 'import test.test_posix' 2>/dev/null ||
    skip 'libpython3.11-testsuite is not installed (./dev setup installs it)'

modules=(test_posix test_os test_fork1 test_wait4 test_thread test_threadsignals
    test_eintr test_select test_epoll test_fcntl test_resource test_pwd test_grp test_time test_mmap
    test_popen test_sched test_tempfile test_shutil test_filecmp test_posixpath test_pathlib
    test_glob test_stat test_file test_fileio test_tarfile
    test_mailbox test_dbm test_shelve test_import test_runpy)
if [ -n "${PICKET_LONG:-}" ]; then
    limit=1500
    "$python" -c 'import importlib.util as u; exit(not u.find_spec("test.test_sqlite3"))' &&
        modules+=(test_sqlite3)
    modules+=(test_subprocess test_signal test_threading test_wait3 test_multiprocessing_fork
        test_multiprocessing_spawn test_pty test_poll test_faulthandler test_concurrent_futures
        test_queue test_io test_largefile test_zipfile)
fi
[ -z "${PICKET_MODULES:-}" ] || IFS=' ' read -ra modules <<<"$PICKET_MODULES"

# Cases that end otherwise, and why.
cat >differ <<'END'
test.test_epoll.*                                   Internet sockets
test.test_eintr.EINTRTests.test_all                 Internet sockets
test.test_os.TestSendfile.*                         Internet sockets
test.test_fcntl.TestFcntl.test_fcntl_64_bit         dnotify is absent
test.test_time.*.test_monotonic_settime             the clock is the host's
test.test_signal.*.test_invalid_socket              Internet sockets
test.test_signal.*.test_set_wakeup_fd_socket_result Internet sockets
test.test_largefile.TestSocketSendfile.test_it      Internet sockets
test.test_multiprocessing_*.test_closefd            Internet sockets
test.test_multiprocessing_*.test_wait_socket*       Internet sockets
test.test_multiprocessing_*.test_rapid_restart      Internet sockets
test.test_multiprocessing_*.test_remote             Internet sockets
test.test_multiprocessing_*.test_multiple_bind      Internet sockets
test.test_multiprocessing_*.test_issue16955         Internet sockets
test.test_multiprocessing_*.test_listener_client    Internet sockets
test.test_multiprocessing_*.TestTimeouts.test_timeout Internet sockets
END

# Natively too this one never ends where there are no Internet sockets.
ignored='*TestPicklingConnections.test_pickling'

# Runs one module in an empty directory; prints the results that the test runner writes.
# shellcheck disable=SC2016 # for the shell that it is run by
suite='cd "$(mktemp -d)" && umask 022 && ulimit -Sn 1024 && chmod 755 . &&
    "$1" -m test --timeout "$3" -i "$4" --junit-xml=results.xml "$2" >log 2>&1 </dev/null
    [ -s results.xml ] && cat results.xml || { tail -n 20 log >&2; false; }'

native() { # MODULE
    TMPDIR=$work timeout -k 5 "$limit" bash -c "$suite" suite "$python" "$1" "$limit" "$ignored"
}

cat >compare.py <<'END'
"""compare.py DIFFER NATIVE SANDBOX: prints how many cases end alike; lists the others."""
import fnmatch, sys
import xml.etree.ElementTree as tree

def ends(path):
    return {case.get("name"): (", ".join(sorted({e.tag for e in case} & {"failure", "error", "skipped"}))
                               or "success", "".join(case.itertext()).strip()[-400:])
            for case in tree.parse(path).iter("testcase")}

native, sandbox = ends(sys.argv[2]), ends(sys.argv[3])
expected = [line.split()[0] for line in open(sys.argv[1])]
alike, known, wrong = 0, 0, []
for name in sorted(native.keys() | sandbox.keys()):
    want, got = (r.get(name, ("not run", "")) for r in (native, sandbox))
    if want[0] == got[0]:
        alike += 1
    elif any(fnmatch.fnmatchcase(name, pattern) for pattern in expected):
        known += 1
    else:
        wrong.append(f"{name}: {got[0]}, natively {want[0]}\n{got[1]}")
print(f"{alike} of {len(native)} cases as natively" + f", {known} known to differ" * (known > 0))
print(*wrong, sep="\n")
sys.exit(1 if wrong or not native else 0)
END

for module in "${modules[@]}"; do
    native "$module" >native.xml 2>native.log &
    sandbox -- bash -c "$suite" suite "$python" "$module" "$limit" "$ignored" >sandbox.xml 2>sandbox.log
    wait $!
    if ! [ -s native.xml ]; then
        fail "$module natively" "$(cat native.log)"
    elif ! [ -s sandbox.xml ]; then
        fail "$module" "$(cat sandbox.log)"
    elif summary=$("$python" compare.py differ native.xml sandbox.xml 2>&1); then
        pass "$module: $summary"
    else
        fail "$module" "$summary"
    fi
done
finish
