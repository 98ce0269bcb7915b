#!/bin/sh
# install.sh PACKAGE...: installs the Debian packages that are missing. Where
# there is no apt, it names them and goes on: their programs may be there.
set -eu
missing=
for p; do
	dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
	echo "not a Debian system: these packages, or what they hold, are needed:$missing" >&2
	exit 0
fi
sudo=
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || { echo "install these packages as root, then try again:$missing" >&2; exit 1; }
	sudo=sudo
fi
echo "installing$missing" >&2
$sudo apt-get update -qq
DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
