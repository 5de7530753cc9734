#!/usr/bin/env bash
# Compiles, links and runs a program, in the sandbox.
. "$(dirname "$0")/lib.sh"
need gcc

same bash -c 'set -e; cd "$(mktemp -d)"; trap "rm -rf $PWD" EXIT
cat > hello.c <<E
#include <stdio.h>
#include <math.h>
#include <pthread.h>
static void *work(void *arg) { *(double *)arg = sqrt(*(double *)arg); return 0; }
int main(int argc, char **argv)
{
    pthread_t t;
    double x = 2;
    pthread_create(&t, 0, work, &x);
    pthread_join(t, 0);
    printf("hello from %d arguments: %.6f\n", argc, x);
    return 42;
}
E
gcc -O2 -Wall -o hello hello.c -lm -pthread
./hello a b c && status=0 || status=$?
gcc -O0 -g -static -o static hello.c -lm
./static || true
gcc -S -O1 -o - hello.c | grep -c main
exit $status'
same bash -c 'cd "$(mktemp -d)" && echo "int main(void) { return undefined_name; }" > x.c; gcc x.c; echo $?; rm -rf "$PWD"'
same gcc -v
same sh -c 'echo "#include <stdio.h>" | gcc -E - | md5sum'
label='make with three jobs' same bash -c 'command -v make >/dev/null || exit 0
set -e; cd "$(mktemp -d)"; trap "rm -rf $PWD" EXIT
for i in 1 2 3; do echo "int f$i(void) { return $i; }" > f$i.c; done
echo "int f1(void), f2(void), f3(void); int main(void) { return f1() + f2() + f3(); }" > main.c
printf "prog: main.o f1.o f2.o f3.o\n\t\$(CC) -o \$@ \$^\n" > Makefile
make -s -j3 prog; ./prog'
finish
