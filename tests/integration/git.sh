#!/usr/bin/env bash
. "$(dirname "$0")/lib.sh"
need git

export GIT_AUTHOR_NAME=A GIT_AUTHOR_EMAIL=a@example.org GIT_AUTHOR_DATE='2024-01-01 00:00:00 +0000'
export GIT_COMMITTER_NAME=C GIT_COMMITTER_EMAIL=c@example.org GIT_COMMITTER_DATE=$GIT_AUTHOR_DATE
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null GIT_PAGER=cat
same bash -c 'set -e; cd "$(mktemp -d)"; trap "rm -rf $PWD" EXIT
git init -q -b main repo; cd repo
for i in $(seq 20); do echo "line $i" > file$i; done
mkdir -p a/b; cp /etc/services a/b/; chmod +x file3; ln -s file1 link
git add .; git commit -q -m "First"
echo more >> file1; git rm -q file2; git mv file3 moved
git status --short
git commit -q -a -m "Second"
git log --stat
git diff HEAD~1 HEAD -- file1
git branch other HEAD~1; git checkout -q other; echo x > new; git add new; git commit -q -m "Third"
git merge -q -m "Merge" main; git log --oneline --graph
git gc -q; git fsck --full; git clone -q . ../clone; cd ../clone; ls; git log --oneline | wc -l'
same git log

# A repository of 10,000 files, cloned inside from the host's.
git init -q -b main many
for i in $(seq 100); do
    mkdir "many/$i"
    for j in $(seq 100); do printf '%s\n' "$i" "$j" >"many/$i/$j"; done
done
git -C many add . && git -C many commit -q -m 'Many'
label='git clone of 10,000 files' same bash -c 'cd "$(mktemp -d)"; trap "rm -rf $PWD" EXIT
git clone -q --no-local "$0/many" clone && cd clone && git status --short && git ls-files | wc -l
find . -type f -not -path "./.git/*" | wc -l; sed -n 2p 57/99; git fsck 2>&1 | grep -v "^notice"; git log --format=%H' "$work"
finish
