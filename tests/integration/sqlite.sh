#!/usr/bin/env bash
. "$(dirname "$0")/lib.sh"
need sqlite3

same bash -c 'set -e; cd "$(mktemp -d)"; trap "rm -rf $PWD" EXIT
sqlite3 t.db "create table t (id integer primary key, name text, x real);
    insert into t (name, x) with recursive n(i) as (select 1 union all select i + 1 from n where i < 20000)
        select printf(\"name %d\", i), i * 0.5 from n;
    create index by_name on t (name);"
sqlite3 t.db "select count(*), sum(x), min(name), max(name) from t"
sqlite3 -header -csv t.db "select * from t where name like \"name 1999%\" order by id desc limit 3"
sqlite3 t.db "pragma journal_mode = wal; begin; update t set x = x + 1 where id % 2; commit;
    select sum(x) from t; pragma integrity_check"
sqlite3 t.db .dump | md5sum
sqlite3 t.db "delete from t where id > 100; vacuum; select count(*) from t"
ls -s --block-size=1 t.db | cut -d" " -f1'
same sqlite3 :memory: 'select 1 +'
finish
