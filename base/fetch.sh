#!/bin/sh
# fetch.sh DIR: downloads the Debian package of the kernel that the reference
# base boots into DIR, unless a copy is there, and prints its path.
#
# The kernel is the one that recipes/ take modules from: recipes/vars.yaml names
# its version. apt finds and verifies it; nothing is installed, and root is not
# needed. If apt has no package lists, or old ones, it gets new ones of its own
# for the time being.
set -eu

dir=${1:?usage: fetch.sh DIR}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
vars=$(dirname "$0")/../recipes/vars.yaml
package=linux-image-$(sed -n 's/^KERNEL_ABI: //p' "$vars")-cloud-amd64
version=$(sed -n 's/^KERNEL_VERSION: //p' "$vars")
file=$dir/${package}_${version}_amd64.deb

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

# download gets the package. It comes to DIR when it is whole, and other
# versions, of which tests would not know which one is meant, go.
download() {
	(cd "$tmp" && apt-get -qq -o APT::Sandbox::User=root download "$package:amd64=$version") >&2 || return 1
	rm -f "$dir"/linux-image-*.deb
	mv "$tmp"/linux-image-*.deb "$file"
}

if [ ! -f "$file" ]; then
	command -v apt-get >/dev/null || {
		echo "fetch.sh: apt-get is missing: on a system other than Debian, put the package $package of version $version here: $file" >&2
		exit 4
	}
	echo "fetching Debian's cloud kernel" >&2
	tmp=$(mktemp -d "$dir/tmp.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 130' INT TERM
	download || { own_lists && download; } || {
		echo "fetch.sh: apt does not find $package of version $version, which is in Debian 12 (bookworm)" >&2
		exit 5
	}
fi
echo "$file"
