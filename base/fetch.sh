#!/bin/sh
# fetch.sh DIR: downloads the Debian package of the kernel that the reference
# base boots into DIR, unless a copy is there, and prints its path.
#
# The kernel is the one that linux-image-cloud-amd64 depends on now. apt finds
# and verifies it; nothing is installed, and root is not needed. If apt has no
# package lists, or old ones, it gets new ones of its own for the time being.
set -eu

dir=${1:?usage: fetch.sh DIR}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)

# found prints the package that is in DIR.
found() {
	set -- "$dir"/linux-image-*-cloud-amd64_*_amd64.deb
	[ -f "$1" ] && echo "$1"
}

# own_lists has apt read package lists into the temporary directory. What apt
# is set up to do after that concerns the system's lists.
own_lists() {
	mkdir -p "$tmp/lists/partial" "$tmp/cache/archives/partial"
	cat >"$tmp/apt.conf" <<-END
		Dir::State::lists "$tmp/lists";
		Dir::Cache "$tmp/cache";
		APT::Architectures { "amd64"; };
		APT::Sandbox::User "root";
	END
	export APT_CONFIG="$tmp/apt.conf"
	apt-get -qq update >&2 || true # if the download fails, it says why
}

# download gets the package that the metapackage stands for. It comes to DIR
# when it is whole.
download() {
	package=$(apt-cache depends linux-image-cloud-amd64:amd64 2>/dev/null |
		sed -n 's/^ *Depends: *\(linux-image-[0-9][^: ]*\).*/\1:amd64/p' | head -n 1)
	[ -n "$package" ] || return 1
	(cd "$tmp" && apt-get -qq -o APT::Sandbox::User=root download "$package") >&2 || return 1
	mv "$tmp"/linux-image-*.deb "$dir"
}

found && exit 0
command -v apt-get >/dev/null || {
	echo "fetch.sh: apt-get is missing: on a system other than Debian, put a package linux-image-*-cloud-amd64_*_amd64.deb into $dir" >&2
	exit 4
}
echo "fetching Debian's cloud kernel" >&2
tmp=$(mktemp -d "$dir/tmp.XXXXXX")
trap 'rm -rf "$tmp"' EXIT
trap 'exit 130' INT TERM
download || { own_lists && download; } || {
	echo "fetch.sh: apt finds no kernel package for linux-image-cloud-amd64" >&2
	exit 5
}
found
