#!/usr/bin/env bash
# Labels the EB-NeRD sample and holds every row to the publisher's own flags.
#
#   run.sh DATA_DIR WORK_DIR      DATA_DIR: with behaviors.parquet, or the folder above ebnerd_sample
#
# Ends with 0 where all rows agree, 1 where one differs, 2 where something is missing.
# $LABELING is the command to use; without it, `labeling` of the PATH.
set -euo pipefail

name=ebnerd data_name=ebnerd_sample needs=behaviors.parquet
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
read -r -a labeling <<< "${LABELING:-labeling}"
[ $# -eq 2 ] || { echo "usage: $0 DATA_DIR WORK_DIR" >&2; exit 2; }
data=$1
[ -f "$data/$needs" ] || data=$1/$data_name
[ -f "$data/$needs" ] || { echo "$name: no $needs in $1 or $1/$data_name" >&2; exit 2; }
data=$(cd "$data" && pwd)

# The project: the mapping and the rule of this folder, beside a link to the data.
mkdir -p "$2" && cd "$2"
cp "$here/labeling.toml" "$here/rules.py" .
ln -sfn "$data" data

"${labeling[@]}" import
"${labeling[@]}" replay --from 2023-02-20T00 --to 2023-03-10T00
"${labeling[@]}" sql 'SELECT records, events, rejected, duplicate, accepted, adds_up FROM counts_total'
"${labeling[@]}" sql - < "$here/results.sql"

"${labeling[@]}" sql - --out differences.csv < "$here/check.sql"
differences=$(($(wc -l < differences.csv) - 1))
if [ "$differences" -ne 0 ]; then
  echo "$name: $differences rows differ from the publisher's flags: $PWD/differences.csv" >&2
  exit 1
fi
echo "$name: every row equals the publisher's flags; the store is $PWD/store.duckdb"
