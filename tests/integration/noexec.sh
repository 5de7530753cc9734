#!/usr/bin/env bash
# A mount of the host that forbids execution forbids it in the sandbox, too, and ends nobody.
. "$(dirname "$0")/lib.sh"
need python3
[ "$(id -u)" = 0 ] || skip "only root can mount"
mkdir quiet
mount -t tmpfs -o noexec none quiet 2>/dev/null || skip "mounting is not allowed here"
trap 'umount "$work/quiet"; rm -rf "$work"' EXIT
cp /bin/true quiet/program
head -c 8192 /dev/zero > quiet/data

cat > try.py <<'PY'
import ctypes, mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
try:
    mmap.mmap(fd, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_EXEC)
    print("mapped")
except OSError as e:
    print(e.strerror)
m = mmap.mmap(fd, 4096, mmap.MAP_PRIVATE, mmap.PROT_READ | mmap.PROT_WRITE)
address = ctypes.addressof(ctypes.c_char.from_buffer(m))
libc = ctypes.CDLL(None, use_errno=True)
print(libc.mprotect(ctypes.c_void_p(address), 4096, 5), os.strerror(ctypes.get_errno()))
PY
same python3 try.py "$work/quiet/data"
sandbox -- "$work/quiet/program" 2> /dev/null
equal "a program on it" $? 126
finish
