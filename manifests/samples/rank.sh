#!/usr/bin/env bash
# Rank over REST, V1 then V2: manifests/samples/rank.sh [http://host:port] [model]
#   kubectl port-forward service/sightline-transformer 8080 8081 &
set -euo pipefail
url=${1:-http://127.0.0.1:8080}
model=${2:-ranker}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

curl --fail-with-body --silent --show-error "$url/v1/models/$model:predict" \
  --header 'Content-Type: application/json' --data-binary "@$here/rank-v1.json"
echo
curl --fail-with-body --silent --show-error "$url/v2/models/$model/infer" \
  --header 'Content-Type: application/json' --data-binary "@$here/rank-v2.json"
echo
