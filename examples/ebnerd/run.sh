#!/usr/bin/env bash
# Labels the EB-NeRD sample and holds every row to the publisher's own flags.
#
#   run.sh DATA_DIR WORK_DIR    DATA_DIR holds behaviors.parquet, or a folder ebnerd_sample with it
example=ebnerd data_name=ebnerd_sample data_file=behaviors.parquet
from=2023-02-23T00 to=2023-03-03T00
compared="the publisher's flags"
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
