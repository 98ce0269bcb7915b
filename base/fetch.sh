#!/bin/sh
# fetch.sh DIR [PACKAGE]: downloads a Debian package that the reference base is
# made of into DIR, unless a copy is there, and prints its path. Without PACKAGE
# it is that of the kernel.
#
# The kernel is the one that recipes/ take modules from: recipes/vars.yaml names
# its version. Of other packages, any version will do. apt finds and verifies
# them; nothing is installed, and root is not needed. If apt has no package
# lists, or old ones, it gets new ones of its own for the time being.
set -eu

dir=${1:?usage: fetch.sh DIR [PACKAGE]}
package=${2-}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
if [ -z "$package" ]; then
	vars=$(dirname "$0")/../recipes/vars.yaml
	package=linux-image-$(sed -n 's/^KERNEL_ABI: //p' "$vars")-cloud-amd64
	version=$(sed -n 's/^KERNEL_VERSION: //p' "$vars")
	old=linux-image-
	file=$dir/${package}_${version}_amd64.deb
else
	old=${package}_
	version=
	file=$(find "$dir" -maxdepth 1 -name "${package}_*_amd64.deb" | sort | tail -n 1)
fi

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
	(cd "$tmp" && apt-get -qq -o APT::Sandbox::User=root download "$package:amd64${version:+=$version}") >&2 || return 1
	rm -f "$dir/$old"*.deb
	file=${file:-$dir/$(basename "$tmp"/*.deb)}
	mv "$tmp"/*.deb "$file"
}

if [ ! -f "$file" ]; then
	command -v apt-get >/dev/null || {
		echo "fetch.sh: apt-get is missing: on a system other than Debian, put the package $package${version:+ of version $version} here: ${file:-$dir}" >&2
		exit 4
	}
	echo "fetching Debian's $package" >&2
	tmp=$(mktemp -d "$dir/tmp.XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 130' INT TERM
	download || { own_lists && download; } || {
		echo "fetch.sh: apt does not find $package${version:+ of version $version}, which is in Debian 12 (bookworm)" >&2
		exit 5
	}
fi
echo "$file"
