#!/bin/sh
# Makes this process the first one of a machine, which has the whole file system of this one; what it
# changes there is its own.
# Arguments: an empty folder, the machine's name, a folder that all machines have in common, and that
# of the project, of which the machine has a checkout.
set -eu
folder=$1 name=$2 shared=$3 project=$4

mount -t tmpfs -o mode=0755 tmpfs "$folder"
root=$folder/root
mkdir "$folder/upper" "$folder/work" "$folder/upper-project" "$folder/work-project" "$root"
mount -t overlay -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" overlay "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
mount --rbind /sys "$root/sys"
# What this machine and its servers keep there, a new machine does not have.
for empty in root run tmp var/lib/dpkg/updates opt/labapi etc/labapi etc/rabbitmq etc/mysql \
    var/lib/labapi var/lib/mysql var/lib/rabbitmq var/lib/redis \
    var/log/mysql var/log/rabbitmq var/log/redis; do
    mkdir -p "$root/$empty"
    mode=$(stat -c %a "$root/$empty") owner=$(stat -c %u:%g "$root/$empty")
    mount -t tmpfs tmpfs "$root/$empty"
    chmod "$mode" "$root/$empty"
    chown "$owner" "$root/$empty"
done
mkdir -p "$root/run/lock" "$root/run/sshd" "$root/mnt/shared" "$root/root/labapi" "$root/old"
mount --bind "$shared" "$root/mnt/shared"
mount -t overlay overlay "$root/root/labapi" \
    -o "lowerdir=$project,upperdir=$folder/upper-project,workdir=$folder/work-project"
hostname "$name"
cd "$root"
pivot_root . old
umount -l /old
ip link set lo up
exec /mnt/shared/systemctl
