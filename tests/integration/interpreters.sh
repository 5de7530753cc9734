#!/usr/bin/env bash
# Interpreters and compilers, each with what it asks of a kernel: threads, children, pipes, garbage
# collectors that handle faults, stacks that overflow, programs that it has just made.
. "$(dirname "$0")/lib.sh"

# try NAME PROGRAM COMMAND...: in an empty directory, if there is such a program.
try() {
    local name=$1
    command -v "$2" >/dev/null || return 0
    shift 2
    # shellcheck disable=SC2016 # for the shell that it is run by
    label=$name same bash -c 'd=$(mktemp -d); trap "rm -rf $d" EXIT; cd "$d" && "$@"' try "$@"
}

cat >deep.ml <<'E'
let rec deep n = 1 + deep (n + 1)
let () =
  (try ignore (deep 0) with Stack_overflow -> print_endline "too deep");
  Gc.compact ();
  exit (Sys.command "echo child")
E
try OCaml ocaml ocaml "$work/deep.ml"
try 'OCaml, compiled' ocamlopt sh -c 'cp "$0" . && ocamlopt deep.ml -o deep && ./deep' "$work/deep.ml"

cat >a.hs <<'E'
import Control.Concurrent
main = do
  v <- newEmptyMVar
  mapM_ (\i -> forkIO (putMVar v (i * i))) [1 .. 200]
  xs <- mapM (const (takeMVar v)) [1 .. 200 :: Int]
  print (sum xs)
E
try Haskell ghc sh -c 'cp "$0" . && ghc -v0 -threaded -rtsopts a.hs -o a && ./a +RTS -N4' "$work/a.hs"

cat >a.lisp <<'E'
(print (handler-case (labels ((f (n) (+ 1 (f n)))) (f 1)) (storage-condition () :deep)))
(let ((l (loop for i below 10 collect (sb-thread:make-thread (lambda () (gc) 1)))))
  (print (reduce (function +) (mapcar (function sb-thread:join-thread) l))))
(print (with-output-to-string (s) (sb-ext:run-program "/bin/echo" (list "child") :output s)))
E
try SBCL sbcl sbcl --noinform --non-interactive --load "$work/a.lisp"

cat >a.scm <<'E'
(use-modules (ice-9 threads) (ice-9 popen) (ice-9 rdelim))
(display (par-map (lambda (x) (* x x)) (iota 20)))
(let ((p (open-input-pipe "echo child"))) (display (read-line p)) (close-pipe p))
(gc)
(catch #t (lambda () (car 1)) (lambda (k . a) (display k)))
E
try Guile guile guile --no-auto-compile "$work/a.scm"

cat >a.rb <<'E'
puts (1..20).map { |i| Thread.new { sleep 0.01; i * i } }.map(&:value).sum
puts `echo child`
r, w = IO.pipe
if fork.nil? then w.puts 'from a child'; exit!(4) end
w.close
puts r.read
Process.wait
puts $?.exitstatus
require 'socket'
a, b = UNIXSocket.pair
a.send_io(STDOUT)
b.recv_io.puts 'passed'
trap('USR1') { puts 'signal' }
Process.kill('USR1', $$)
sleep 0.1
def f(n) = f(n + 1)
begin f(0); rescue SystemStackError; puts 'too deep'; end
GC.start
GC.compact
require 'pty'
PTY.spawn('tty; stty size') { |o, i, pid| puts o.gets.sub(/\d+/, 'N'); puts o.gets }
E
try Ruby ruby ruby "$work/a.rb"

cat >a.php <<'E'
<?php
echo shell_exec("echo child");
[$a, $b] = stream_socket_pair(STREAM_PF_UNIX, STREAM_SOCK_STREAM, 0);
fwrite($a, "hello\n");
echo fgets($b);
$pid = pcntl_fork();
if (!$pid) exit(3);
pcntl_waitpid($pid, $status);
echo pcntl_wexitstatus($status), "\n";
file_put_contents("f", "abc", LOCK_EX);
echo filesize("f"), "\n";
E
try PHP php php "$work/a.php"

cat >a.lua <<'E'
local p = io.popen("echo child") print(p:read()) print(p:close())
print(os.rename("/nope", "/n"))
local f = io.tmpfile() f:write("abc") f:seek("set") print(f:read("a"))
print(os.execute("exit 3")) collectgarbage()
E
try Lua lua5.4 lua5.4 "$work/a.lua"

cat >a.tcl <<'E'
puts [exec echo child]
set f [open "|sort" r+]; puts $f "b\na"; close $f write; puts [read $f]; close $f
after 20 {set done 1}; vwait done
puts [catch {exec false} m o]
puts [file size /etc/passwd]
E
try Tcl tclsh tclsh "$work/a.tcl"

try R R R --vanilla -s -e 'print(unlist(parallel::mclapply(1:8, function(i) i^2, mc.cores = 4)))' \
    -e 'system("echo child"); print(round(sum(solve(diag(200) * 2)), 6))'
try Octave octave-cli octave-cli --norc --quiet --no-gui --eval 'A = magic(4); disp(A * A)' \
    --eval '[s, o] = system("echo child"); disp(o)'
# shellcheck disable=SC2016
try Erlang erl erl -noshell -eval 'L = [spawn_monitor(fun() -> lists:sum(lists:seq(1, 1000)) end) ||
    _ <- lists:seq(1, 2000)], [receive {_, R, _, _, normal} -> ok end || {_, R} <- L],
    io:format("~p ~s", [length(L), os:cmd("echo child")]), halt(3).'
try Prolog swipl swipl -q -t halt -g 'concurrent_maplist([X,Y]>>(Y is X*X), [1,2,3,4], Q), writeln(Q),
    thread_create(true, T), thread_join(T, S), writeln(S), shell("echo child"), garbage_collect'
try Racket racket racket -e '(require racket/system racket/future)' -e '(displayln (touch (future (lambda () 42))))' \
    -e '(system "echo child")'
try Forth gforth gforth -e ': f dup 2 < if else dup 1- recurse swap 2 - recurse + then ; 20 f . s" echo child" system bye'
try Pascal fpc sh -c 'echo "begin writeln(6 * 7) end." >a.pas && fpc -v0 a.pas >/dev/null && ./a'
# shellcheck disable=SC2016
try awk gawk gawk 'BEGIN { "echo child" | getline x; print x; c = "sort"; print "b\na" |& c; close(c, "to")
    while ((c |& getline l) > 0) print l }'
[ $((passed + failed)) != 0 ] || skip 'none is installed'
finish
