#!/usr/bin/env bash
# A program that uses libaio.
programs=$(readlink -f "$(dirname "$0")/programs")
. "$(dirname "$0")/lib.sh"
need gcc

gcc -O1 -Wall -Werror -o aio "$programs/aio.c" -laio 2>/dev/null ||
    skip 'libaio-dev is not installed (./dev setup installs it)'
equal 'natively' "$(./aio)" 'done'
equal 'in the sandbox' "$(sandbox -- ./aio)" 'done'
equal 'on a directory of the host' "$(sandbox --volume "$work:$work" -- ./aio)" 'done'
finish
