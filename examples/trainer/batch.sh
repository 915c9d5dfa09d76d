#!/usr/bin/env bash
# A batch training that a marker drives, and a stream model that is refreshed from that batch.
#
#   batch.sh HOUR    in the project's folder: waits until the samples of all hours up to HOUR (UTC,
#                    inclusive) are complete, makes the base model of them, then lets the stream model
#                    begin anew from it and learn what came since
#
# Schedulers call it once an hour, beside `labeling export`. It ends with 3 when HOUR is not complete
# within two hours, and with 1 when the brake of [health] holds one.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
read -r -a labeling <<< "${LABELING:-labeling}"
python=${PYTHON:-$(dirname "$(command -v labeling || true)")/python}

"${labeling[@]}" wait --rule click_samples --through "$1" --timeout 2h \
  --exec "'$python' '$here/trainer.py' base --marker"
"$python" "$here/trainer.py" stream --refresh
