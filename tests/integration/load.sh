#!/usr/bin/env bash
# Runtimes at work: goroutines, Java threads under three collectors, node's workers and children.
#
# PICKET_LONG=1: ten times the work.
. "$(dirname "$0")/lib.sh"
limit=200
scale=1
[ -z "${PICKET_LONG:-}" ] || scale=10

cat >load.go <<'E2'
package main

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

func check(err error) {
	if err != nil {
		panic(err)
	}
}

// Every goroutine waits for a timer, makes garbage and reports through one channel.
func many(n int) {
	var wg sync.WaitGroup
	var made int64
	reports, sum := make(chan int, 64), make(chan int)
	go func() {
		s := 0
		for v := range reports {
			s += v
		}
		sum <- s
	}()
	for i := 0; i < n; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			<-time.NewTimer(time.Duration(i%50) * time.Millisecond).C
			var keep [][]byte
			for j := 0; j < 20; j++ {
				keep = append(keep, make([]byte, 1024))
				runtime.Gosched()
			}
			atomic.AddInt64(&made, int64(len(keep)))
			reports <- i
		}(i)
	}
	for k := 0; k < 5; k++ {
		runtime.GC()
		time.Sleep(10 * time.Millisecond)
	}
	wg.Wait()
	close(reports)
	fmt.Println(<-sum, made)
}

// They never call a function: only a signal takes the processor from them.
func spin(n int) {
	var wg sync.WaitGroup
	for i := 0; i < n; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			x := 0
			for j := 0; j < 20000000; j++ {
				x += j
			}
			_ = x
		}()
	}
	wg.Wait()
}

func children(n int) {
	var wg sync.WaitGroup
	for i := 0; i < n; i++ {
		wg.Add(1)
		go func() {
			defer wg.Done()
			out, err := exec.Command("/bin/echo", "child").Output()
			check(err)
			if string(out) != "child\n" {
				panic(string(out))
			}
		}()
	}
	wg.Wait()
}

func files(n int) {
	var wg sync.WaitGroup
	f, err := os.CreateTemp("", "load")
	check(err)
	defer os.Remove(f.Name())
	for i := 0; i < n; i++ {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			_, err := f.WriteAt([]byte{byte(i)}, int64(i))
			check(err)
		}(i)
	}
	wg.Wait()
	st, err := f.Stat()
	check(err)
	fmt.Println(st.Size())
}

func main() {
	runtime.GOMAXPROCS(8)
	scale := len(os.Args[1])
	for i := 0; i < scale; i++ {
		many(10000)
		spin(16)
		children(20)
		files(500)
	}
}
E2

cat >Load.java <<'E2'
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;

public class Load {
    static int deep(int n) { return deep(n + 1) + 1; }

    public static void main(String[] args) throws Exception {
        int rounds = 2000 * args[0].length();
        ExecutorService pool = Executors.newFixedThreadPool(200);
        CountDownLatch together = new CountDownLatch(200);
        AtomicLong count = new AtomicLong();
        Map<Integer, byte[]> shared = new ConcurrentHashMap<>();
        for (int i = 0; i < 200; i++) {
            int k = i;
            pool.submit(() -> {
                together.countDown();
                together.await();
                Random random = new Random(k);
                List<byte[]> keep = new ArrayList<>();
                for (int j = 0; j < rounds; j++) {
                    byte[] b = new byte[1024 + random.nextInt(1024)];
                    if (j % 50 == 0 && keep.size() < 40) keep.add(b);
                    shared.put(k * 16 + j % 16, b);
                    count.incrementAndGet();
                }
                Thread.sleep(5);
                return null;
            });
        }
        pool.shutdown();
        System.out.println(pool.awaitTermination(150, TimeUnit.SECONDS) + " " + count + " " + shared.size());
        Process child = new ProcessBuilder("echo", "child").inheritIO().start();
        System.out.println(child.waitFor());
        try { deep(0); } catch (StackOverflowError e) { System.out.println("too deep"); }
    }
}
E2

cat >load.js <<'E2'
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const { execFile, fork } = require('child_process');
const fs = require('fs'), os = require('os'), path = require('path');

if (!isMainThread) {
    const shared = new Int32Array(workerData);
    let sum = 0;
    for (let i = 0; i < 200000; i++) {
        sum += i % 7;
        if (i % 1000 == 0) Atomics.add(shared, 0, 1);
    }
    parentPort.postMessage(sum);
} else if (process.send) {
    process.on('message', m => process.send({ got: m }));
} else {
    const all = (n, f) => Promise.all([...Array(n).keys()].map(f));
    const worker = shared => new Promise((ok, bad) => {
        const w = new Worker(__filename, { workerData: shared });
        w.on('message', ok).on('error', bad);
    });
    const echo = i => new Promise((ok, bad) =>
        execFile('/bin/echo', [String(i)], (e, out) => e ? bad(e) : ok(out.trim())));
    const talk = () => new Promise(ok => {
        const child = fork(__filename);
        child.on('message', m => { console.log(m); child.disconnect(); }).on('exit', ok);
        child.send({ a: 1 });
    });
    const files = async () => {
        const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'load'));
        await all(200, i => fs.promises.writeFile(path.join(dir, String(i)), 'x'.repeat(i)));
        const sizes = await all(200, i => fs.promises.stat(path.join(dir, String(i))));
        console.log(sizes.reduce((sum, st) => sum + st.size, 0));
        await new Promise(ok => {
            const w = fs.watch(dir, (event, name) => { console.log(event, name); w.close(); ok(); });
            fs.writeFileSync(path.join(dir, 'new'), '1');
        });
        fs.rmSync(dir, { recursive: true });
    };
    (async () => {
        for (let round = 0; round < process.argv[2].length; round++) {
            const shared = new SharedArrayBuffer(4);
            const [sums, echoed] = await Promise.all([all(8, () => worker(shared)), all(16, echo)]);
            console.log(sums.join(), new Int32Array(shared)[0], echoed.join());
            console.log(await talk());
            await files();
        }
    })();
}
E2

work_units=$(printf 'x%.0s' $(seq $scale)) # as many letters as rounds
if command -v go >/dev/null; then
    export GOCACHE=$work/cache GOFLAGS=-buildvcs=false GOPATH=$work/go GO111MODULE=off
    go build -o load load.go && label='10,000 goroutines' same ./load "$work_units"
fi
if command -v javac >/dev/null && javac Load.java; then
    for collector in G1 Parallel Serial; do
        label="200 Java threads, $collector" same java -XX:+Use${collector}GC -Xmx256m Load "$work_units"
    done
fi
if command -v node >/dev/null; then
    label="node's workers and children" same node load.js "$work_units"
fi
[ $((passed + failed)) != 0 ] || skip 'neither go nor java nor node is installed'
finish
