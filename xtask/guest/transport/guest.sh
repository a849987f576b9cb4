#!/bin/sh
# guest.sh IMAGE JOB [kernel arguments…]: boots IMAGE, runs the runner's JOB in it and prints the RESULT lines.
# JOB: cost (one CPU, icount: 1 ns of guest time is 1 instruction), stress, contend, mem (two CPUs).
set -eu
here=$(cd "$(dirname "$0")" && pwd)
image=$1 job=$2
shift 2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir -p "$dir/root/bin" "$dir/root/proc" "$dir/root/sys" "$dir/root/dev"
cp "$(command -v busybox)" "$dir/root/bin/busybox"
strip -o "$dir/root/runner" "$here/runner/target/x86_64-unknown-linux-gnu/release/transport-runner"
cat > "$dir/root/init" <<'I'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mount -t tracefs tracefs /sys/kernel/tracing; mount -t debugfs debugfs /sys/kernel/debug
/runner "$(sed 's/.*job=\([a-z]*\).*/\1/' /proc/cmdline)"
echo "RESULT exit $?"
poweroff -f
I
chmod +x "$dir/root/init"
(cd "$dir/root" && find . | cpio -o -H newc --quiet | gzip -1) > "$dir/initrd"
case $job in
  cost) machine="-accel tcg,thread=single -icount shift=0,sleep=off -smp 1" ;;
  *) machine="-accel tcg,thread=multi -smp 2" ;;
esac
# shellcheck disable=SC2086 # the machine's words are meant to be split
timeout 300 qemu-system-x86_64 -machine q35 -cpu max $machine -m 1G -nodefaults -nographic -no-reboot -nic none \
  -kernel "$image" -initrd "$dir/initrd" -serial stdio </dev/null \
  -append "console=ttyS0 panic=-1 quiet rdinit=/init cryptomgr.notests=1 clocksource=tsc tsc=reliable nokaslr job=$job $*" |
  sed -n 's/\r$//; s/.*RESULT //p'
