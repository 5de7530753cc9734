#!/usr/bin/env bash
# Database servers, asked through their Unix sockets: shared memory, locks, many processes.
. "$(dirname "$0")/lib.sh"
limit=120

if command -v sqlite3 >/dev/null; then
    label='SQLite: four writers at a time' same bash -c 'cd "$(mktemp -d)"; trap "rm -rf $PWD" EXIT
    for mode in wal delete; do
        sqlite3 $mode.db "pragma journal_mode = $mode; create table t (x);"
        for i in 1 2 3 4; do
            (for j in $(seq 15); do
                sqlite3 -cmd ".timeout 60000" $mode.db "insert into t values ($i * 100 + $j)"
            done) &
        done
        wait
        sqlite3 $mode.db "select count(*), sum(x) from t; pragma integrity_check"
    done'
fi
if command -v redis-server >/dev/null && command -v redis-benchmark >/dev/null; then
    label='Redis' same bash -c 'cd "$(mktemp -d)"; trap "rm -rf $PWD" EXIT
    redis-server --port 0 --unixsocket "$PWD/socket" --save "" --appendonly yes --dir "$PWD" >log &
    until [ -S socket ]; do sleep 0.1; done
    ask() { redis-cli -s "$PWD/socket" "$@"; }
    ask ping
    for i in $(seq 20); do ask set "key$i" "value$i"; done
    ask bgrewriteaof
    until ask info persistence | grep -q aof_rewrite_in_progress:0; do sleep 0.1; done
    ask bgsave
    until ask info persistence | grep -q rdb_bgsave_in_progress:0; do sleep 0.1; done
    ask info persistence | grep -E "last_bgsave_status|last_bgrewrite_status"
    redis-benchmark -q -s "$PWD/socket" -n 1000 -c 20 -t set,get | grep -c "requests per"
    ask dbsize
    ask shutdown
    wait
    echo $?; ls'
fi
postgres=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | tail -n 1)
if [ -n "$postgres" ]; then
    export postgres
    label='PostgreSQL' same bash -c 'cd "$(mktemp -d)"; trap "rm -rf $PWD" EXIT
    as=
    if [ "$(id -u)" = 0 ]; then
        chmod 755 .
        chown nobody .
        as="setpriv --reuid nobody --regid nogroup --clear-groups"
    fi
    export PATH=$postgres:$PATH PGHOST=$PWD PGDATABASE=postgres PGUSER=nobody
    $as initdb -D "$PWD/data" -U nobody -A trust --no-sync >log || cat log
    $as pg_ctl -D "$PWD/data" -o "-c listen_addresses= -k $PWD" -l "$PWD/server.log" -w start >/dev/null
    psql -Atc "create table t as select generate_series(1, 10000) x" -c "create index on t (x)" \
        -c "select count(*), sum(x) from t where x > 500"
    for i in 1 2 3 4; do psql -Atc "insert into t select generate_series(1, 1000)" & done
    wait
    psql -Atc "select count(*) from t"
    pgbench -i -q >/dev/null 2>&1
    pgbench -c 4 -j 2 -t 25 2>&1 | grep -E "actually|failed"
    $as pg_ctl -D "$PWD/data" -m fast stop
    grep -E "ERROR|FATAL|PANIC" server.log'
fi
[ $((passed + failed)) != 0 ] || skip 'neither sqlite3 nor redis nor postgresql is installed'
finish
