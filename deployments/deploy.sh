#!/bin/sh
# Put a fleet on the Prefect server of PREFECT_API_URL; again after an upgrade or a change. See deployments/README.md.
set -eu
here=$(dirname "$0")
: "${HUMWATCH_LAKE:?root URI of the lake}" "${HUMWATCH_SOURCES:?JSON list of archives and folders}"
pool=${HUMWATCH_WORK_POOL:-humwatch}

set_variable() { prefect variable set "$1" "$2" --overwrite; }

prefect work-pool inspect "$pool" >/dev/null 2>&1 ||
    prefect work-pool create "$pool" --type "${HUMWATCH_WORK_POOL_TYPE:-process}"
set_variable humwatch_work_pool "$pool"
set_variable humwatch_lake "$HUMWATCH_LAKE"
set_variable humwatch_sources "$HUMWATCH_SOURCES"
set_variable humwatch_time_zone "${HUMWATCH_TIME_ZONE:-UTC}"
[ -z "${HUMWATCH_IMAGE:-}" ] || set_variable humwatch_image "$HUMWATCH_IMAGE"
prefect automation inspect "Orphaned runs are crashed" >/dev/null 2>&1 ||
    prefect automation create --from-file "$here/automations.yaml"
prefect --no-prompt deploy --prefect-file "$here/prefect.yaml" --all
