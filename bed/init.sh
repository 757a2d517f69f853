#!/bin/busybox sh
# The guest's first process. Its root is this machine's, to be read only; $BED, from the kernel's
# command line, is the folder of bed/guest.py, which has the command and takes its exit status.
# busybox, for it is linked statically: to start any other program costs seven times as much here.
export PATH=/bin:/usr/bin:/sbin:/usr/sbin
bb=/bin/busybox

fail() {
    echo "bed: $*" >/dev/kmsg
    $bb poweroff -f -n
    $bb sleep 60
}

# A layer of memory over the machine's files, then that as the root.
$bb mount -t proc proc /proc || fail "no /proc"
modules=/usr/lib/uml/modules/$($bb uname -r)
$bb mount -t tmpfs -o mode=755,size=75% layer /mnt || fail "no memory for the layer"
$bb insmod "$modules/kernel/fs/overlayfs/overlay.ko" || fail "no overlay"
$bb mkdir /mnt/upper /mnt/work /mnt/root
$bb mount -t overlay -o lowerdir=/,upperdir=/mnt/upper,workdir=/mnt/work root /mnt/root || fail "no layer"
cd /mnt/root || fail "no root"
$bb mount -t proc proc proc
$bb mount -t sysfs sys sys
$bb mount -t devtmpfs dev dev
$bb mount -t tmpfs -o mode=755,size=75% run run
$bb mkdir -p dev/pts dev/shm run/lock run/lvm run/bed lib/modules
$bb mkdir -m 1777 run/tmp
$bb mount -t devpts -o mode=620,ptmxmode=666 devpts dev/pts
$bb mount -t tmpfs -o mode=1777 shm dev/shm
$bb ln -sfn "$modules" "lib/modules/${modules##*/}"
$bb mount -t hostfs -o "$BED" none run/bed || fail "cannot mount $BED"
$bb pivot_root . mnt || fail "no pivot"
cd /
$bb umount -l /mnt
$bb ln -sfn /proc/self/fd /dev/fd
for stream in stdin:0 stdout:1 stderr:2; do $bb ln -sfn "/proc/self/fd/${stream#*:}" "/dev/${stream%:*}"; done

while read -r folder; do
    { $bb mkdir -p "$folder" && $bb mount -t hostfs -o "$folder" none "$folder"; } || fail "cannot mount $folder"
done </run/bed/writable

$bb ifconfig lo 127.0.0.1 up
$bb hostname bed

# LVM as if it had never run here.
$bb mkdir -p /etc/lvm
$bb rm -rf /etc/lvm/archive /etc/lvm/backup /etc/lvm/cache /etc/lvm/devices
$bb cp /run/bed/lvm.conf /etc/lvm/lvm.conf

$bb mkdir -p /etc/target    # of LIO, which looks for it when it is loaded
while read -r module; do
    $bb modprobe "$module" || fail "cannot load $module"
    [ "$module" != configfs ] || $bb mount -t configfs configfs /sys/kernel/config
done </run/bed/modules

# The command's streams are pipes, and what comes out goes to the consoles as it is.
$bb stty -F /dev/tty1 raw -echo
$bb stty -F /dev/tty2 raw -echo
$bb mkfifo /run/stdout /run/stderr
$bb cat /run/stdout >/dev/tty1 &
$bb cat /run/stderr >/dev/tty2 &
$bb setsid /bin/sh /run/bed/command </dev/null >/run/stdout 2>/run/stderr
status=$?

# All that the command has left, but not the two that still copy: they are of our session.
$bb killall5 -9
wait
# Setting a terminal waits until all is written.
$bb stty -F /dev/tty1 raw
$bb stty -F /dev/tty2 raw
$bb umount -a -r -t ext4,ext3,ext2,xfs,btrfs 2>/dev/null
$bb sync
echo $status >/run/bed/status
$bb poweroff -f -n
$bb sleep 60
