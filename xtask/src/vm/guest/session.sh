# Second half of the guest, in the host's files: what a running system has mounted, then the job, then off.
# The job's output takes ports of its own; what this script says goes to the console.
here=/run/ringfence-vm
for applet in mount mkdir mkfifo cat sleep ip hostname poweroff kill; do
    alias "$applet=$here/busybox $applet"
done
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root

mount -t securityfs securityfs /sys/kernel/security
mount -t bpf bpf /sys/fs/bpf
mount -t tracefs tracefs /sys/kernel/tracing
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for controller in cpu memory pids io; do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
done
mkdir -p /dev/pts /dev/shm /run/lock /run/user
mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
mount -t tmpfs -o mode=1777 shm /dev/shm
mount -t tmpfs -o mode=1777 tmp /tmp
[ -e /dev/fd ] || $here/busybox ln -s /proc/self/fd /dev/fd
ip link set lo up
hostname ringfence-vm

# A folder that the mounts above have hidden: the host's, with changes in memory.
bind() {
    store="$here/bind$((count = count + 1))"
    mkdir -p "$1" "$store/upper" "$store/work"
    mount -t overlay -o "lowerdir=/run/ringfence-vm/host$1,upperdir=$store/upper,workdir=$store/work" overlay "$1" ||
        echo "ringfence-vm: could not bind $1"
}
count=0
mkdir $here/host
[ -s $here/binds.sh ] && mount -t virtiofs -o ro host $here/host
. $here/binds.sh

mkfifo $here/out $here/err
cat <$here/out >"$(cat $here/out.port)" & out=$!
cat <$here/err >"$(cat $here/err.port)" & err=$!
# Told home, so that a machine that died on its way here can be told from one that the job brought down.
echo started >"$(cat $here/status.port)"
$here/busybox sh $here/command.sh </dev/null >$here/out 2>$here/err
code=$?
# What the job left running may hold its output open: what was written so far is wanted, not its end.
for _ in 1 2 3 4 5 6 7 8 9 10; do
    kill -0 $out 2>/dev/null || kill -0 $err 2>/dev/null || break
    sleep 0.2
done
echo $code >"$(cat $here/status.port)"
poweroff -f
