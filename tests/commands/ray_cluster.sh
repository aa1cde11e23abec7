# A Ray cluster on the loopback of a network namespace, where it can bind nothing else, and COMMAND as its driver.
# Ray takes the host's own address wherever there is one, even if told 127.0.0.1, and lets anyone who reaches it run code.
# unshare --net --pid --fork --kill-child --mount-proc sh tests/ray_cluster.sh FOLDER COMMAND...
set -e
ip link set lo up
folder=$1
shift
export RAY_USAGE_STATS_ENABLED=0
ray="$1 -m ray.scripts.scripts"
(cd / && $ray start --head --node-ip-address=127.0.0.1 --port=6399 --num-cpus=2 --include-dashboard=false \
    --object-store-memory=80000000 --temp-dir="$folder")
"$@"
