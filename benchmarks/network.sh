#!/bin/bash
# Run a command on N machines that there are not: network namespaces of this one, each with an
# address and a link of its own, of the rate and delay given (both ways together), through a switch.
#
#     benchmarks/network.sh 1gbit 1ms 2 python benchmarks/workers.py --workers 2 --hosts HOSTS
#
# HOSTS is replaced by a file of the machines, h1 to hN, for aae_mx.launch --hosts; "ssh" finds
# them. Needs Linux with user namespaces, ip and tc. Where the kernel has no delays (netem), the
# links have the rate alone, and one line says so; a delay of 0 asks for that.
set -euo pipefail

if [ -z "${IN_NAMESPACE:-}" ]; then
  if [ $# -lt 4 ]; then echo "usage: network.sh RATE DELAY N COMMAND..." >&2; exit 2; fi
  for program in unshare ip tc; do
    if ! command -v "$program" > /dev/null; then echo "skipped: $program is missing" >&2; exit 0; fi
  done
  if ! unshare -Urnm true 2> /dev/null; then
    echo "skipped: namespaces are not allowed here" >&2; exit 0
  fi
  IN_NAMESPACE=1 exec unshare -Urnm "$0" "$@"
fi

rate=$1 delay=$2 n=$3
shift 3
mount -t tmpfs none /run
mkdir /run/netns /run/bin
half=$(awk -v d="$delay" 'BEGIN { print d / 2 (match(d, /[a-z]+$/) ? substr(d, RSTART) : "ms") }')
netem=yes
if ! tc qdisc add dev lo root netem 2> /dev/null; then netem=; fi
if [ "$delay" = 0 ]; then netem=
elif [ -z "$netem" ]; then echo "this kernel has no netem: without the delay of $delay" >&2; fi

limit() { # tc's arguments: with the rate, and with the delay
  if [ -n "$netem" ]; then tc "$@" root netem delay "$half" rate "$rate" limit 100000
  else tc "$@" root tbf rate "$rate" burst 256kb latency 50ms; fi
}

ip link set lo up
ip link add switch type bridge
ip link set switch up
ip addr add 10.77.0.254/24 dev switch
for i in $(seq "$n"); do
  ip netns add "h$i"
  ip link add "port$i" type veth peer name net0 netns "h$i"
  ip link set "port$i" master switch up
  ip -n "h$i" addr add "10.77.0.$i/24" dev net0
  ip -n "h$i" link set net0 up
  ip -n "h$i" link set lo up
  limit -n "h$i" qdisc add dev net0
  limit qdisc add dev "port$i"
  echo "h$i address=10.77.0.$i" >> /run/hosts
done

cat > /run/bin/ssh << 'EOF'
#!/bin/sh
# ssh [-o X]... HOST LINE
while [ "$1" = -o ]; do shift 2; done
host=$1
shift
exec ip netns exec "$host" sh -c "$*"
EOF
chmod +x /run/bin/ssh
export PATH="/run/bin:$PATH"
exec "${@//HOSTS//run/hosts}"
