#!/bin/sh
# Makes .venv with everything the project needs; called by make, which skips it once .venv/.installed is there.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "error: $1" >&2
    exit 2
}

for name in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
    if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        python=$name
        break
    fi
done
[ -n "${python:-}" ] || fail "no Python 3.11, 3.12 or 3.13 found (python3 is $(python3 -V 2>&1)); install one, or name it: make PYTHON=/path/to/python3.12"
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python has no venv module; install it (Debian and Ubuntu: apt install python3-venv) and run make again"

echo "setting up .venv with $("$python" -V), once; this takes a few minutes"
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check --quiet "$@"; }

# Already a torch that fits: leave it. Otherwise PyTorch's own CPU build where there is no GPU, which is a tenth of the
# size of the ordinary one; its local version +cpu sorts above the ordinary build of the same release.
if ! .venv/bin/python -c 'import torch' 2>/dev/null; then
    if nvidia-smi -L >/dev/null 2>&1; then
        echo "[1/2] torch (CUDA build)"
        pip install 'torch>=2.11'
    else
        echo "[1/2] torch (CPU build)"
        pip install --no-deps torch==2.13.0 --retries 0 --extra-index-url https://download.pytorch.org/whl/cpu
    fi
fi
echo "[2/2] the other packages"
pip install --editable '.[dev]'
touch .venv/.installed
echo "set-up complete"
