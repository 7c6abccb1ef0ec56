#!/usr/bin/env bash
# Caption a picture: manifests/samples/caption.sh picture.png [http://host:port]
#   kubectl port-forward service/sightline-captioner 8000 &
set -euo pipefail
picture=${1:?usage: caption.sh picture.png [http://host:port]}
url=${2:-http://127.0.0.1:8000}

curl --fail-with-body --silent --show-error "$url/v1/captions" \
  --header 'Content-Type: image/*' --data-binary "@$picture"
echo
