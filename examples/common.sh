# Sourced by each example's run.sh: import, replay, print the results, compare. What it needs:
#   example    name of the example            data_name  its folder of the data
#   data_file  a file in there                from, to   hours to label, UTC, `to` exclusive
#   compared   what check.sql holds the rows to
#
# Ends with 0 where all rows agree, 1 where one differs, 2 where something is missing.
# $LABELING is the command to use; without it, `labeling` of the PATH. $PYTHON is its interpreter.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[1]}")" && pwd)
read -r -a labeling <<< "${LABELING:-labeling}"
python=${PYTHON:-$(dirname "$(command -v labeling || true)")/python}
if [ $# -ne 2 ]; then
  echo "usage: $0 DATA_DIR WORK_DIR" >&2
  exit 2
fi
data=$1
[ -f "$data/$data_file" ] || data=$1/$data_name
if [ ! -f "$data/$data_file" ]; then
  echo "$example: there is no $data_file in $1 or in $1/$data_name" >&2
  exit 2
fi
data=$(cd "$data" && pwd)

# The project: the mapping and the rule of this folder, beside a link to the data.
mkdir -p "$2"
cd "$2"
cp "$here/labeling.toml" "$here/rules.py" .
ln -sfn "$data" data

"${labeling[@]}" import
"${labeling[@]}" replay --from "$from" --to "$to"
"${labeling[@]}" sql 'SELECT records, events, rejected, duplicate, accepted, adds_up FROM counts_total'
"${labeling[@]}" sql - < "$here/results.sql"

# check.sql gives the rows that only one of the two sides has.
"$python" "$here/../compare.py" "$here/check.sql" differences.csv
differences=$(($(wc -l < differences.csv) - 1))
if [ "$differences" -ne 0 ]; then
  echo "$example: $differences rows differ from $compared; $PWD/differences.csv has them" >&2
  exit 1
fi
echo "$example: every row equals $compared; the store is $PWD/store.duckdb"
