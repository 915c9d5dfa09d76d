#!/usr/bin/env bash
# Labels the views of a Taobao sample and holds every row to a query over the raw file.
#
#   run.sh DATA_DIR WORK_DIR    DATA_DIR holds UserBehavior.csv, or a folder taobao_userbehavior
#                               with it
example=taobao data_name=taobao_userbehavior data_file=UserBehavior.csv
from=2017-11-24T00 to=2017-12-04T00
compared="the query over the raw file"
source "$(dirname "${BASH_SOURCE[0]}")/../common.sh"
