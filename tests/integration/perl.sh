#!/usr/bin/env bash
. "$(dirname "$0")/lib.sh"
need perl

same perl -e 'print "hello\n"'
same perl -MData::Dumper -MList::Util=sum -MPOSIX -e '$Data::Dumper::Sortkeys = 1;
    print Dumper({a => [1, 2], b => sum(1 .. 10)}), floor(2.7), "\n"'
same perl -ne 'print if /root/' /etc/passwd
same perl -e 'my $pid = fork; if (!$pid) { exit 3 } waitpid $pid, 0; print $? >> 8, "\n"'
same perl -e 'open my $p, "-|", "seq 1 5" or die; print map { $_ * 2 . "\n" } <$p>; close $p'
same perl -e '$SIG{ALRM} = sub { print "alarm\n" }; alarm 1; select undef, undef, undef, 3; print "on\n"'
same perl -e 'opendir my $d, "/etc" or die; print join "\n", sort grep !/^\./, readdir $d'
same perl -e '$x .= chr(65 + $_ % 26) for 1 .. 2_000_000; print length $x, " ", unpack("%32C*", $x), "\n"'
same perl -e 'kill "TERM", $$; sleep 5'
same perl -e 'die "no\n"'
finish
