#!/usr/bin/env bash
# dpkg and apt-get: packages built, listed, installed, upgraded and removed in the sandbox.
. "$(dirname "$0")/lib.sh"
need dpkg-deb dpkg-scanpackages apt-get gzip
[ "$(id -u)" = 0 ] || skip 'only root can install packages'
limit=200

cat >install.sh <<'E2'
set -e
export DEBIAN_FRONTEND=noninteractive
package() { # NAME VERSION DEPENDS
    mkdir -p "$1/DEBIAN" "$1/usr/share/$1/deep/er" "$1/etc"
    printf '%s\n' "Package: $1" "Version: $2" 'Architecture: all' 'Maintainer: N <n@example.org>' \
        'Description: for a test' ${3:+"Depends: $3"} >"$1/DEBIAN/control"
    for i in $(seq 200); do
        echo "$1 $2 $i" >"$1/usr/share/$1/deep/file$i"
    done
    ln -sf ../file1 "$1/usr/share/$1/deep/er/link"
    ln -f "$1/usr/share/$1/deep/file2" "$1/usr/share/$1/deep/hard"
    echo "setting of $2" >"$1/etc/$1.conf"
    echo "/etc/$1.conf" >"$1/DEBIAN/conffiles"
    printf '#!/bin/sh\necho "$0: $1" | sed "s,.*/,,"\n' | tee "$1/DEBIAN/postinst" >"$1/DEBIAN/prerm"
    chmod 755 "$1/DEBIAN/postinst" "$1/DEBIAN/prerm"
    dpkg-deb --root-owner-group -b "$1" "repository/$1_$2_all.deb" >/dev/null
}
index() {
    (cd repository && dpkg-scanpackages -m . 2>/dev/null | gzip >Packages.gz)
    apt-get -q "${local[@]}" update | grep -c '^Get'
}
cd "$(mktemp -d)"
chmod 755 .
mkdir repository
local=(-o "Dir::Etc::sourcelist=$PWD/list" -o Dir::Etc::sourceparts=/dev/null)
echo "deb [trusted=yes] file:$PWD/repository ./" >list
package picket-one 1.0 ''
package picket-two 1.0 picket-one
index
apt-get -qq "${local[@]}" -y install picket-two 2>&1 | grep -E '^(Setting|postinst|picket)'
find /usr/share/picket-* | wc -l
stat -c '%n %h %U %a' /usr/share/picket-two/deep/hard
readlink -f /usr/share/picket-two/deep/er/link
package picket-one 2.0 ''
index
echo mine >>/etc/picket-two.conf
apt-get -qq "${local[@]}" -y upgrade 2>&1 | grep -E '^(Setting|prerm|postinst)' || true
cat /etc/picket-one.conf /usr/share/picket-one/deep/hard
dpkg -V picket-two || true
dpkg -r picket-one 2>&1 | grep -E 'problems|depends' || echo 'removed?'
apt-get -qq -y "${local[@]}" remove picket-one 2>&1 | grep -E '^(Removing|prerm)'
ls -d /usr/share/picket-* 2>/dev/null | wc -l
dpkg -P picket-two picket-one 2>&1 | grep -E '^Purging'
ls /etc/picket* 2>/dev/null | wc -l
dpkg -i repository/picket-one_1.0_all.deb | tail -n 2
dpkg-query -W -f '${Package} ${Version} ${Status}\n' picket-one
dpkg --audit
E2
out=$(sandbox -- bash install.sh 2>&1 </dev/null | tr -d '\r')
equal 'install, upgrade, remove' "$out" "$(cat <<'E2'
6
Setting up picket-one (1.0) ...
picket-one.postinst: configure
Setting up picket-two (1.0) ...
picket-two.postinst: configure
410
/usr/share/picket-two/deep/hard 2 root 644
/usr/share/picket-two/deep/file1
6
Setting up picket-one (2.0) ...
setting of 2.0
picket-one 2.0 2
??5?????? c /etc/picket-two.conf
dpkg: dependency problems prevent removal of picket-one:
 picket-two depends on picket-one.
 dependency problems - not removing
Removing picket-two (1.0) ...
Removing picket-one (2.0) ...
0
Purging configuration files for picket-two (1.0) ...
Purging configuration files for picket-one (2.0) ...
0
Setting up picket-one (1.0) ...
picket-one.postinst: configure
picket-one 1.0 install ok installed
E2
)"
check 'the host has none of it' test ! -e /etc/picket-one.conf
finish
