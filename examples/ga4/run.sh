#!/usr/bin/env bash
# Labels the views of a web shop's GA4 export and holds every row to a query over the raw file.
#
#   run.sh DATA_DIR WORK_DIR    DATA_DIR holds ecommerce-event-data.parquet, or a folder
#                               kaskada_ga4_ecommerce with it
example=ga4 data_name=kaskada_ga4_ecommerce data_file=ecommerce-event-data.parquet
from=2022-01-25T00 to=2022-04-27T00
compared="the query over the raw file"
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
