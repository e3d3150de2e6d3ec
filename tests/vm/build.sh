#!/usr/bin/env bash
# Makes the machine in which the service is rehearsed: build.sh x86_64|aarch64 OUT
# OUT gets `disk` (Debian 12 and what pip would fetch, nothing of ours), `kernel` and `initrd`. Needs root. Packages come
# from Debian, wheels from pip as it is set up on this machine.
set -euo pipefail

arch=$1
out=$2
here=$(cd "$(dirname "$0")" && pwd)
source_tree=$(cd "$here/../.." && pwd)
declare -A debian=([x86_64]=amd64 [aarch64]=arm64)
port=${debian[$arch]}
made=$(mktemp -d -p "$(dirname "$out")")
trap 'rm -rf --one-file-system "$made"' EXIT # mmdebstrap mounts /sys in there
root=$made/root
mkdir "$root"
chmod 0755 "$made" "$root"

step() { echo "--- $1 ($((SECONDS)) s)"; }
inside() { env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 chroot "$root" "$@"; }

step "Debian 12 for $arch"
# The kernel is unpacked, not installed: its scripts would make an initramfs that holds everything, 20 minutes of emulation.
cat > "$made/fetch-kernel" <<HOOK
#!/bin/sh -e
cd "\$1/root"
export APT_CONFIG=\$MMDEBSTRAP_APT_CONFIG
kernel=\$(apt-cache depends linux-image-$port:$port | sed -n 's/.*Depends: \(linux-image-.*\)/\1/p')
apt-get -qq -o APT::Sandbox::User=root download "\$kernel" busybox-static:$port
HOOK
chmod 755 "$made/fetch-kernel"
packages=systemd-sysv,udev,dbus,kmod,iproute2,sudo,python3,python3-venv,qemu-guest-agent
mmdebstrap --quiet --variant=minbase --architectures="$port" --include="$packages" \
    --customize-hook="$made/fetch-kernel" bookworm "$root"

step "kernel, and an initrd that mounts the disk and nothing else"
busybox=$made/busybox
initrd=$made/initrd.d
dpkg-deb --fsys-tarfile "$root"/root/linux-image-*.deb | tar -x -C "$root" --keep-directory-symlink  # /lib is one
dpkg-deb --extract "$root"/root/busybox-static*.deb "$busybox"
rm "$root"/root/*.deb
release=$(basename "$root"/boot/vmlinuz-*)
release=${release#vmlinuz-}
inside depmod "$release"
mv "$root/boot/vmlinuz-$release" "$made/kernel"
mkdir -p "$initrd/bin" "$initrd/dev" "$initrd/root"
cp "$busybox/bin/busybox" "$initrd/bin/"
{
    echo '#!/bin/busybox sh'
    echo '/bin/busybox mount -t devtmpfs none /dev'
    for module in virtio_pci virtio_blk ext4; do
        inside modprobe --set-version "$release" --show-depends "$module"
    done | awk '$1 == "insmod" && !seen[$2]++ {print $2}' | while read -r file; do
        cp "$root/$file" "$initrd/"
        echo "/bin/busybox insmod /$(basename "$file")"
    done
    echo 'until [ -b /dev/vda ]; do /bin/busybox sleep 0.1; done'
    echo '/bin/busybox mount -t ext4 /dev/vda /root'
    echo 'exec /bin/busybox switch_root /root /sbin/init'
} > "$initrd/init"
chmod 755 "$initrd/init"
(cd "$initrd" && find . | cpio --quiet --create --format=newc | gzip -1) > "$made/initrd"

step "what pip would fetch"
# Where docs/operations.md has it: `pip install .` then finds its needs there, for the machine reaches no network.
python3 "$source_tree/tests/image/pip_conf.py" "$root/root/ca_bundle" | sed 's|/run/secrets|/root|' > "$root/etc/pip.conf"
cp /etc/resolv.conf "$root/etc/resolv.conf"
inside python3 -m venv /opt/rhythmd
inside python3 -c 'import sys, tomllib; print(*tomllib.load(sys.stdin.buffer)["project"]["dependencies"], sep="\n")' \
    < "$source_tree/pyproject.toml" > "$root/root/needs"
inside /opt/rhythmd/bin/pip install --quiet --requirement /root/needs
inside /opt/rhythmd/bin/pip download --quiet --no-deps --dest /opt/wheels 'setuptools>=77'
printf '[global]\nno-index = true\nfind-links = /opt/wheels\n' > "$root/etc/pip.conf"
rm -rf "$root"/root/{needs,ca_bundle,.cache} "$root/etc/resolv.conf"

step "disk"
echo rehearsal > "$root/etc/hostname"
echo '127.0.0.1 localhost rehearsal' > "$root/etc/hosts"
printf '[Match]\nName=eth0\n[Network]\nAddress=10.0.2.15/24\n' > "$root/etc/systemd/network/eth0.network"
inside systemctl --quiet enable systemd-networkd
inside systemctl --quiet mask apt-daily.timer apt-daily-upgrade.timer e2scrub_reap.service getty@tty1.service \
    serial-getty@ttyS0.service serial-getty@ttyAMA0.service systemd-networkd-wait-online.service
mke2fs -q -t ext4 -d "$root" "$made/disk" 3G

mkdir -p "$out"
mv "$made"/{disk,kernel,initrd} "$out/"
step "done"
