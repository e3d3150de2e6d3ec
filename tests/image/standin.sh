#!/usr/bin/env bash
# Makes a root filesystem to build on where no registry can be reached: standin.sh OUT.tar
# Ubuntu 22.04 is what JetPack 6 runs (Python 3.10, systemd 249); Debian 12 where Ubuntu's archive is out of reach.
set -euo pipefail

out=$1
scratch=$(mktemp -d)
chmod 0755 "$scratch" # apt verifies signatures as another user
trap 'rm -rf "$scratch"' EXIT

command -v mmdebstrap >/dev/null || { echo "mmdebstrap is missing: apt-get install mmdebstrap" >&2; exit 2; }

# Prints the path of Ubuntu's keys. Errexit is off in here, for the callers ask: every step says && itself.
ubuntu_keyring() {
    local keyring=/usr/share/keyrings/ubuntu-archive-keyring.gpg package=$scratch/ubuntu-keyring.deb
    if [ ! -e "$keyring" ]; then
        # Debian 12 does not package them. The checksum is what makes the download trustworthy.
        curl -fsSL -o "$package" \
            https://archive.ubuntu.com/ubuntu/pool/main/u/ubuntu-keyring/ubuntu-keyring_2021.03.26_all.deb \
            && echo "0d0e7ed6b112f5d03eabf3c7eb01ebdacf9c57714b279e90495cfc58c8c4520f  $package" \
                | sha256sum --check --quiet \
            && dpkg-deb --extract "$package" "$scratch/keys" \
            && keyring=$scratch/keys$keyring \
            || return
    fi
    echo "$keyring"
}

jammy() {
    local mirror=http://archive.ubuntu.com/ubuntu keyring
    [ "$(dpkg --print-architecture)" = amd64 ] || mirror=http://ports.ubuntu.com/ubuntu-ports
    keyring=$(ubuntu_keyring) || return
    # The lines go to mmdebstrap's input: given as arguments, they would keep this machine's path to the keyring.
    mmdebstrap --variant=minbase --include=apt,ubuntu-keyring --keyring="$keyring" jammy "$scratch/root.tar" - <<-SOURCES
	deb $mirror jammy main universe
	deb $mirror jammy-updates main universe
	deb $mirror jammy-security main universe
	SOURCES
}

bookworm() {
    mmdebstrap --variant=minbase bookworm "$scratch/root.tar"
}

jammy || { echo "no Ubuntu 22.04 to be had, taking Debian 12" >&2; bookworm; }
mkdir -p "$(dirname "$out")"
mv "$scratch/root.tar" "$out"
