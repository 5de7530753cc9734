#!/usr/bin/env bash
# A Go program, built on the host: static, no C library, many threads, its own signal handling.
. "$(dirname "$0")/lib.sh"
need go

cat >hello.go <<'E'
package main

import (
	"fmt"
	"os"
	"runtime"
	"sync"
	"time"
)

func main() {
	var wg sync.WaitGroup
	sums := make([]int, 16)
	for i := range sums {
		wg.Add(1)
		go func(i int) {
			defer wg.Done()
			for j := 0; j < 10000; j++ {
				sums[i] += j
				if j%1000 == 0 {
					runtime.Gosched()
				}
			}
		}(i)
	}
	wg.Wait()
	time.Sleep(20 * time.Millisecond)
	runtime.GC()
	data, err := os.ReadFile("/etc/passwd")
	fmt.Println("hello", sums[3], len(data), err)
	defer func() { fmt.Println("recovered:", recover()); os.Exit(3) }()
	var p *int
	*p = 1
}
E
export GOCACHE=$work/cache GOFLAGS=-buildvcs=false GOPATH=$work/go GO111MODULE=off
go build -o hello hello.go || skip "go cannot build here"
same ./hello
finish
