#!/usr/bin/env bash
. "$(dirname "$0")/lib.sh"
need python3

same python3 -c 'print("hello")'
same python3 -c 'import json, re, os, sys, subprocess, hashlib, collections, datetime, decimal
print(json.dumps({"a": [1, 2.5, None]}), re.sub("b+", "x", "abbbc"), hashlib.sha256(b"x").hexdigest())
print(sys.version, os.getcwd(), decimal.Decimal("0.1") + 1)'
same python3 -c 'import subprocess
print(subprocess.run(["sh", "-c", "echo out; echo err >&2; exit 4"], capture_output=True))'
same python3 -c 'import threading
n, lock = [0], threading.Lock()
def f():
    for _ in range(1000):
        with lock: n[0] += 1
ts = [threading.Thread(target=f) for _ in range(8)]
[t.start() for t in ts]; [t.join() for t in ts]; print(n)'
same python3 -c 'import multiprocessing as m
def f(x): return x * x
if __name__ == "__main__":
    with m.get_context("fork").Pool(3) as p: print(p.map(f, range(10)))'
same python3 -c 'import tempfile, os, shutil
d = tempfile.mkdtemp()
for i in range(100): open(os.path.join(d, str(i)), "w").write("x" * i)
print(sorted(os.listdir(d))[:5], sum(os.stat(os.path.join(d, f)).st_size for f in os.listdir(d)))
shutil.rmtree(d); print(os.path.exists(d))'
same python3 -c 'import mmap
m = mmap.mmap(-1, 1 << 20); m[1000:1005] = b"hello"; print(m[998:1008], m.find(b"llo"))'
same python3 -c 'import signal, os, time
signal.signal(signal.SIGALRM, lambda *a: print("alarm")); signal.setitimer(signal.ITIMER_REAL, 0.05)
signal.pause(); print("ok")'
same python3 -c 'import select, os
r, w = os.pipe(); p = select.poll(); p.register(r, select.POLLIN)
print(p.poll(10)); os.write(w, b"x"); print(len(p.poll(1000)))
e = select.epoll(); e.register(r, select.EPOLLIN); print(len(e.poll(1)))'
same python3 -c 'import asyncio
async def f(i): await asyncio.sleep(0.01 * i); return i
async def main():
    print(await asyncio.gather(*[f(i) for i in range(5)]))
    p = await asyncio.create_subprocess_exec("echo", "sub", stdout=-1); print(await p.communicate())
asyncio.run(main())'
same python3 -c 'import time
a = time.monotonic(); time.sleep(0.1); print(0.1 <= time.monotonic() - a < 2, abs(time.time() - time.clock_gettime(0)) < 1)'
same python3 -c 'import ctypes; ctypes.string_at(0)'
same python3 -c 'raise SystemExit(9)'
same python3 -c 'import sys; sys.exit(1 / 0)'
same python3 -c 'import resource, os
print(resource.getrlimit(resource.RLIMIT_STACK)[0] > 0, os.cpu_count() > 0, os.sysconf("SC_PAGESIZE"))'
same python3 -c 'import sqlite3, zlib, bz2, lzma, ssl, socket
print(zlib.crc32(b"x"), len(lzma.compress(b"x" * 1000)), ssl.OPENSSL_VERSION)
a, b = socket.socketpair(); a.send(b"hi"); print(b.recv(9))'
finish
