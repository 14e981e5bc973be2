# What the scripts of this folder share: a temporary folder in $work, the demo's models on drawn images in "${options[@]}", and checks.
[ "$(id -u)" = 0 ] || { echo "this needs root" >&2; exit 1; }
[ -f build/Release/kuea.node ] && [ -d dist/lib ] || { echo 'build first: npm run build:native && npm run build' >&2; exit 1; }

work=$(mktemp -d /tmp/kuea-cluster-XXXXXX)
chmod 755 "$work"
processes=()
background() { processes+=("$1"); }

# leave STATUS: ends what is left, and this script with it.
leave() {
  local status=$1
  for process in "${processes[@]}"; do kill "$process" 2> /dev/null || true; done
  wait
  if [ "$status" = 0 ]; then rm -rf "$work"; else echo "left for a look: $work" >&2; fi
  exit "$status"
}
trap 'leave $?' EXIT

node --input-type=module --eval "import { writeScenes } from '$PWD/dist/lib/data/scenes.js'; await writeScenes('$work/photos', 40, 3, 64);"
# As npm would install it: something that can be executed.
program=$work/kuea-align
printf '#!/bin/sh\nexec node "%s" "$@"\n' "$PWD/dist/lib/cli/kuea-align.cjs" > "$program"
chmod +x "$program"
options=(--student configs/demo/clip --teacher configs/demo/dinov2 --data "$work/photos" --batch-size 8 --w 100 --log-every 1)

check() {
  local what=$1
  shift
  if "$@"; then echo "ok: $what"; else echo "FAILED: $what" >&2; exit 1; fi
}

# Losses of two runs, step by step, within 1e-4 of each other.
same_losses() {
  node --input-type=module --eval "
    import { readFileSync } from 'node:fs';
    const read = (run) => readFileSync(run + '/metrics.jsonl', 'utf8').trim().split('\n').map((line) => JSON.parse(line).loss);
    const [a, b] = [read('$1'), read('$2')];
    const worst = Math.max(...a.map((loss, i) => Math.abs(loss - b[i]) / Math.abs(loss)));
    console.log('steps:', a.length, 'and', b.length, 'largest difference:', worst);
    process.exitCode = a.length === b.length && worst < 1e-4 ? 0 : 1;"
}

# The process that runs as this rank, whoever started it.
rank_process() {
  local file
  for file in /proc/[0-9]*/environ; do
    if { tr '\0' '\n' < "$file"; } 2> /dev/null | grep -Eq "^(RANK|SLURM_PROCID)=$1\$" && grep -q kuea-align "${file%environ}cmdline" &&
      grep -q "$work" "${file%environ}cmdline"; then
      echo "$file" | tr -dc 0-9
      return
    fi
  done
}

# Waits until Slurm knows no more of a job.
finished() { while squeue -h -j "$1" 2> /dev/null | grep -q .; do sleep 0.3; done; }
