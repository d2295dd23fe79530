#!/bin/busybox sh
# First program of the machine: load modules, lay memory over the host's files, go there.
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
while read -r module; do
    insmod "/modules/$module.ko" || echo "ringfence-vm: could not load $module"
done </modules/order

port() {
    for candidate in /sys/class/virtio-ports/*; do
        [ "$(cat "$candidate/name")" = "$1" ] && echo "/dev/${candidate##*/}" && return
    done
}
give_up() {
    echo "ringfence-vm: $1"
    echo 125 >"$(port status)"
    poweroff -f
}
# Asked only whether a kernel comes up at all.
grep -qw ringfence.probe /proc/cmdline && { echo 0 >"$(port status)"; poweroff -f; }

mount -t virtiofs -o ro host /root || give_up "the host's files cannot be reached"
mount -t tmpfs -o size=75% top /top && mkdir /top/upper /top/work
mount -t overlay -o lowerdir=/root,upperdir=/top/upper,workdir=/top/work overlay /overlay || give_up "no overlay"
mount -t tmpfs -o mode=755 run /overlay/run
mkdir /overlay/run/ringfence-vm
cp /bin/busybox /session.sh /job/* /overlay/run/ringfence-vm/
for name in out err status; do
    port "$name" >"/overlay/run/ringfence-vm/$name.port"
done
for folder in proc sys dev; do mount --move "/$folder" "/overlay/$folder"; done
exec switch_root /overlay /run/ringfence-vm/busybox sh /run/ringfence-vm/session.sh
