#!/usr/bin/env bash
# A Java class: a JIT compiler, many threads, big mappings.
. "$(dirname "$0")/lib.sh"
need java javac

cat >Hello.java <<'E'
import java.util.stream.*;
public class Hello {
    public static void main(String[] args) throws Exception {
        Thread t = new Thread(() -> System.out.println("from a thread"));
        t.start();
        t.join();
        long sum = LongStream.range(0, 3_000_000).filter(x -> x % 3 == 0).sum();
        System.out.println("hello " + sum + " " + IntStream.range(0, 1000).parallel().sum());
        System.gc();
        Object o = null;
        try { o.hashCode(); } catch (NullPointerException e) { System.out.println("caught"); }
        System.exit(5);
    }
}
E
javac Hello.java || skip "javac does not work here"
same java -Xshare:auto Hello
same java -Xint Hello
finish
