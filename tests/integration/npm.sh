#!/usr/bin/env bash
# npm install and npm test of a package, from the tarball of the registry. (mime: its tarball has the
# tests, and they need nothing else.)
. "$(dirname "$0")/lib.sh"
need npm node
[ -n "${PICKET_LONG:-}" ] || skip "it asks the registry for the tarball (PICKET_LONG=1)"
limit=200

export npm_config_cache=$work/cache npm_config_update_notifier=false npm_config_loglevel=error
tarball=$work/$(timeout 60 npm pack --silent mime@1.6.0 2>pack.log </dev/null) && [ -f "$tarball" ] ||
    skip "the registry cannot be reached: $(tail -n 1 pack.log)"

# What npm says has times in it.
label='npm install, npm test' same bash -c 'cd "$(mktemp -d)"; trap "rm -rf $PWD" EXIT
export npm_config_cache=$PWD/cache npm_config_offline=true HOME=$PWD
npm init -y >/dev/null && npm install --no-audit --no-fund "$0" | sed "s/ in .*//"
find node_modules -type f | sort | head -n 20; ls -l node_modules/.bin | sed "s/.* mime/mime/"
node -p "require(\"mime\").getType ? 1 : require(\"mime\").lookup(\"a.html\")"
npx mime a.json
cd node_modules/mime && npm test; echo $?
cd ../.. && npm ls | tail -n +2; npm uninstall mime | sed "s/ in .*//"; ls node_modules; npm ci | sed "s/ in .*//"' "$tarball"
finish
