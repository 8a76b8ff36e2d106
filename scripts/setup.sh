#!/bin/sh
# Makes .venv with everything the project needs; called by make, which skips it once .venv/.installed is there.
# PYTHON names the interpreter, TORCH=cpu or TORCH=cuda the build of torch; without them both are found out.
set -eu
cd "$(dirname "$0")/.."

fail() {
    echo "error: $1" >&2
    exit 2
}

fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; }

if [ -n "${PYTHON:-}" ]; then
    command -v "$PYTHON" >/dev/null || fail "PYTHON=$PYTHON: there is no such program"
    fits "$PYTHON" || fail "PYTHON=$PYTHON is $("$PYTHON" -V 2>&1 | head -n 1); Python 3.11, 3.12 or 3.13 is needed"
    python=$PYTHON
else
    for name in python3.13 python3.12 python3.11 python3; do
        if fits "$name"; then
            python=$name
            break
        fi
    done
    [ -n "${python:-}" ] || fail "no Python 3.11, 3.12 or 3.13 found (python3 is $(python3 -V 2>&1)); install one, or name it: make PYTHON=/path/to/python3.12"
fi
"$python" -c 'import venv, ensurepip' 2>/dev/null ||
    fail "$python has no venv module; install it (Debian and Ubuntu: apt install python3-venv) and run make again"

# The CUDA build where a GPU is, or SLURM: a login node has no GPU, and what is installed there runs on those that have.
torch=${TORCH:-}
if [ -z "$torch" ]; then
    torch=cpu
    if nvidia-smi -L >/dev/null 2>&1 || sinfo >/dev/null 2>&1; then torch=cuda; fi
fi
case $torch in
cpu) has_build='import torch, sys; sys.exit(torch.version.cuda is not None)' ;;
cuda) has_build='import torch, sys; sys.exit(torch.version.cuda is None and torch.version.hip is None)' ;;
*) fail "TORCH=$TORCH: either cpu or cuda" ;;
esac
[ -n "${TORCH:-}" ] || has_build='import torch' # whichever is there already was chosen

version='import sys; print(sys.version_info[:2])'
if [ -x .venv/bin/python ] && [ -n "${PYTHON:-}" ]; then
    [ "$("$python" -c "$version")" = "$(.venv/bin/python -c "$version")" ] ||
        fail "PYTHON=$PYTHON is $("$python" -V), .venv has $(.venv/bin/python -V): remove .venv to make it anew"
fi

echo "setting up .venv with $("$python" -V), once; this takes a few minutes"
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check --quiet "$@"; }

# PyTorch's own CPU build is a tenth of the size of the ordinary one; its local version +cpu sorts above the ordinary
# build of the same release.
if ! .venv/bin/python -c "$has_build" 2>/dev/null; then
    echo "[1/2] torch (the build for $torch; make TORCH=cpu or TORCH=cuda for the other)"
    pip uninstall --yes torch 2>/dev/null || true
    if [ "$torch" = cuda ]; then
        pip install 'torch>=2.11,<2.15'
    else
        pip install --no-deps torch==2.13.0 --retries 0 --extra-index-url https://download.pytorch.org/whl/cpu
    fi
fi
echo "[2/2] the other packages"
pip install --editable '.[dev]'
touch .venv/.installed
echo "set-up complete"
