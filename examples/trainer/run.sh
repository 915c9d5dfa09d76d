#!/usr/bin/env bash
# Simulates a feed, makes samples of it, and trains on them: a base model of its first hours when they
# are complete, then a stream model that goes on from it, sample by sample.
#
#   run.sh WORK_DIR [EVENTS]    EVENTS of each half of the log, 200000 unless told
#
# $LABELING is the command to use; without it, `labeling` of the PATH. $PYTHON is its interpreter, which
# needs the package river.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
read -r -a labeling <<< "${LABELING:-labeling}"
python=${PYTHON:-$(dirname "$(command -v labeling || true)")/python}
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
  echo "usage: $0 WORK_DIR [EVENTS]" >&2
  exit 2
fi
mkdir -p "$1"
cd "$1"
cp "$here/labeling.toml" "$here/rules.py" .

"$python" "$here/world.py" "${2:-200000}"
"${labeling[@]}" import
"${labeling[@]}" replay --from 2026-11-20T06 --to 2026-11-20T12
"${labeling[@]}" export --once
bash "$here/batch.sh" 2026-11-20T08
"$python" "$here/trainer.py" report --truth
